# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit with the kernel's own test driver in place of ours: one ABI, and what only ours has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import Buffer, PageRun, Protection
from hmmkit.counters import read_chunks, read_counters
from hmmkit.device import Device
from hmmkit.errors import (
    Cause,
    InvalidRequest,
    ModuleProblem,
    NotOnDevice,
    OtherDriver,
    ReadOnlyMemory,
    UnreachableMemory,
)
from hmmkit.events import trace_events
from hmmkit.faults import minor_faults
from hmmkit.iomem import device_chunks
from tests.machine.memory import on_device
from tests.machine.test_exclusive import shared_memory

LIBRARY = Path("/lib/modules", os.uname().release)


@pytest.fixture(scope="module", autouse=True)
def kernels_own_driver() -> Iterator[None]:
    """The kernel's driver is loaded during these tests, and ours is not."""
    if not any(LIBRARY.rglob("test_hmm.ko*")):
        pytest.skip("this kernel has no CONFIG_TEST_HMM (Debian leaves it out)")
    module.unload()
    subprocess.run(["modprobe", "test_hmm"], check=True)
    try:
        yield
    finally:
        subprocess.run(["rmmod", "test_hmm"], check=True)
        module.load()


def test_it_reads_and_writes(device: Device) -> None:
    with Buffer(3) as buffer:
        buffer.write(b"hello world")
        access = device.read(buffer)
        assert (access.data[:11], access.pages) == (b"hello world", 3)
        device.write(buffer, b"HELLO")
        assert buffer.read(5) == b"HELLO"


def test_pages_move_and_come_back_by_touch_and_by_request(device: Device) -> None:
    with Buffer(4) as buffer:
        buffer.write(b"hello world")
        migration = device.migrate_to_device(buffer)
        assert (migration.pages, migration.data[:11]) == (4, b"hello world")
        assert [str(page) for page in device.snapshot(buffer)] == ["read and write, on this device"] * 4
        assert minor_faults(buffer, lambda: buffer.touch(0)) == 1
        assert on_device(device, buffer) == [False, True, True, True]
        assert device.migrate_to_system(buffer).pages == 3
        assert buffer.read(11) == b"hello world"


def test_exclusive_access_ends_at_a_touch(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.exclusive(buffer)
        assert device.any_exclusive(buffer)
        buffer.touch(0)
        assert not device.any_exclusive(buffer)


def test_a_device_write_ends_exclusive_access(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.exclusive(buffer)
        device.write(buffer, b"by the device")
        assert not device.any_exclusive(buffer)
        assert buffer.read(13) == b"by the device"


def test_release_brings_back_what_is_on_the_device() -> None:
    with Buffer(4, touched=True) as buffer, Device() as looks:
        with Device() as moves:
            moves.migrate_to_device(buffer)
            moves.release()
        assert not any(on_device(looks, buffer))


def test_it_refuses_with_the_same_errors(device: Device) -> None:
    with Buffer(protection=Protection.NONE) as buffer, pytest.raises(InvalidRequest) as refused:
        device.migrate_to_device(buffer)
    assert refused.value.cause is Cause.NOT_READABLE
    with Buffer(protection=Protection.READ, touched=True) as buffer, pytest.raises(ReadOnlyMemory):
        device.write(buffer, b"x")
    with pytest.raises(UnreachableMemory):
        device.read(PageRun(0, 1))
    with shared_memory(1) as run, pytest.raises(NotOnDevice):
        device.migrate_to_device(run)


READERS: tuple[Callable[[], object], ...] = (read_counters, read_chunks, lambda: trace_events(int))


@pytest.mark.parametrize("reader", READERS, ids=("counters", "chunks", "events"))
def test_what_only_our_module_has_says_so(reader: Callable[[], object]) -> None:
    with pytest.raises(OtherDriver, match="kernel's own test driver"):
        reader()


def test_copies_are_verified_by_our_module_only() -> None:
    with pytest.raises(ModuleProblem, match="not loaded"), module.verified_copies():
        pass


def test_its_chunks_are_found() -> None:
    with Device() as device, Buffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        assert device_chunks()
