# SPDX-License-Identifier: GPL-2.0-only
"""Counters, chunk list and trace events of the live driver, each against what was just done."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection
from hmmkit.counters import Counters, read_chunks, read_counters
from hmmkit.device import Device
from hmmkit.errors import HmmError, NoDevice, NoTracing, OtherDriver
from hmmkit.events import (
    KINDS,
    ChunkAdd,
    ChunkRemove,
    Event,
    Evict,
    Fault,
    Invalidate,
    MigrateBegin,
    MigrateEnd,
    trace_events,
)
from hmmkit.iomem import device_chunks
from hmmkit.trace import TRACEFS


def mine(events: list[Event], *kinds: type[Event]) -> list[Event]:
    """Those of this process, of some kinds."""
    return [event for event in events if event.thread == os.getpid() and isinstance(event, kinds)]


def test_the_counters_count(device: Device) -> None:
    with Buffer(20, touched=True) as buffer:
        before = read_counters()
        device.migrate_to_device(buffer)
        assert read_counters().pages_in_use == before.pages_in_use + 20
        for page in reversed(range(5)):  # in order, a touch brings the pages behind it along
            buffer.touch(page)
        device.migrate_to_system(PageRun(buffer.address + 5 * PAGE_SIZE, 6))
        device.release()
        done = read_counters() - before
    assert done.invalidations > 0
    assert done == Counters(
        pages_in_use=-before.pages_in_use,
        pages_to_device=20,
        pages_back_by_ioctl=6,
        pages_back_by_fault=5,
        pages_evicted=9 + before.pages_in_use,
        faults=5,
        invalidations=done.invalidations,
        allocation_failures=0,
    )


def test_each_device_has_its_own_counters(device: Device) -> None:
    before = read_counters(1)
    with Buffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        after = read_counters(1)
        assert (after - before).pages_to_device == (after - before).pages_in_use == 0


def test_a_failed_allocation_is_counted(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        before = read_counters()
        device.fail_next_allocation()
        device.migrate_to_device(buffer)
        assert (read_counters() - before).allocation_failures == 1
        device.migrate_to_system(buffer)


def test_the_chunk_list_is_what_iomem_says(device: Device) -> None:
    device.release()
    assert read_chunks() == []
    assert read_counters().pages_in_use == 0
    with Buffer(3, touched=True) as buffer:
        device.migrate_to_device(buffer)
        (chunk,) = read_chunks()
        assert (chunk.end - chunk.first, chunk.used) == (65536, 3)
        assert (chunk.first, chunk.end) in [(each.first, each.end) for each in device_chunks()]


def test_a_migration_there_and_back(device: Device) -> None:
    with Buffer(7, touched=True) as buffer:
        events = trace_events(lambda: (device.migrate_to_device(buffer), device.migrate_to_system(buffer)))
        seen = mine(events, MigrateBegin, MigrateEnd)
    common = [(event.thread, event.device) for event in seen]
    assert common == [(os.getpid(), "hmm_dmirror0")] * 4
    expected: list[type[Event]] = [MigrateBegin, MigrateEnd, MigrateBegin, MigrateEnd]
    assert [type(event) for event in seen] == expected
    there, back = seen[1], seen[3]
    assert isinstance(there, MigrateEnd) and isinstance(back, MigrateEnd)
    assert (there.to, there.start, there.asked, there.moved, there.ret) == ("device", buffer.address, 7, 7, 0)
    assert (back.to, back.start, back.asked, back.moved, back.ret) == ("system", buffer.address, 7, 7, 0)
    assert [event.time for event in events] == sorted(event.time for event in events)


def test_a_refused_migration_says_why(device: Device) -> None:
    def refused() -> None:
        with Buffer(protection=Protection.NONE) as buffer, pytest.raises(HmmError):
            device.migrate_to_device(buffer)

    (end,) = mine(trace_events(refused), MigrateEnd)
    assert isinstance(end, MigrateEnd)
    assert (end.moved, end.ret) == (0, -errno.EINVAL)


def test_a_touch(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        device.migrate_to_device(buffer)
        events = mine(trace_events(lambda: buffer.touch(1)), Fault, Invalidate)
        (fault,) = [event for event in events if isinstance(event, Fault)]
    assert (fault.device, fault.moved, fault.ret) == ("hmm_dmirror0", 1, 0)
    assert fault.addr // PAGE_SIZE == buffer.address // PAGE_SIZE + 1
    reasons = [event.reason for event in events if isinstance(event, Invalidate)]
    assert "migrate" in reasons


def test_invalidations_say_their_reason(device: Device) -> None:
    def change() -> None:
        with Buffer(touched=True) as buffer:
            device.read(buffer)
            buffer.protect(Protection.READ)
            buffer.protect(Protection.READ_WRITE)
            device.exclusive(buffer)
            addresses.append(buffer.address)

    addresses: list[int] = []
    events = mine(trace_events(change), Invalidate)
    reasons = [
        event.reason
        for event in events
        if isinstance(event, Invalidate) and event.start <= addresses[0] < event.end
    ]
    for reason in ("protection_vma", "exclusive", "unmap"):
        assert reason in reasons, reasons


def test_chunks_come_and_go(device: Device) -> None:
    with Buffer(3, touched=True) as buffer:
        device.release()

        def around() -> None:
            device.migrate_to_device(buffer)
            device.release()

        seen = mine(trace_events(around), ChunkAdd, ChunkRemove, Evict)
    added, evicted, removed = seen
    assert isinstance(added, ChunkAdd) and isinstance(evicted, Evict) and isinstance(removed, ChunkRemove)
    assert (added.pfn, added.end) == (removed.pfn, removed.end)
    assert (evicted.pfn, evicted.moved, evicted.ret) == (added.pfn, 3, 0)


def test_every_event_of_the_driver_is_known() -> None:
    events = {path.name for path in (TRACEFS / "events" / "dmirror").iterdir() if path.is_dir()}
    assert events == set(KINDS)


def test_nothing_is_left_behind() -> None:
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        trace_events(fail)
    assert list((TRACEFS / "instances").iterdir()) == []
    assert (TRACEFS / "events" / "dmirror" / "enable").read_text().strip() == "0"


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Our module is not loaded during the test."""
    module.unload()
    try:
        yield
    finally:
        module.reload()


@pytest.mark.usefixtures("unloaded")
def test_without_the_driver_each_reader_says_so() -> None:
    with pytest.raises(NoDevice, match="modprobe hmm_dmirror"):
        read_counters()
    with pytest.raises(NoDevice, match="modprobe hmm_dmirror"):
        read_chunks()
    with pytest.raises(NoTracing, match="modprobe hmm_dmirror"):
        trace_events(int)


@pytest.mark.usefixtures("unloaded")
def test_with_the_kernels_own_driver_each_reader_says_so() -> None:
    if not any(Path("/lib/modules", os.uname().release).rglob("test_hmm.ko*")):
        pytest.skip("this kernel has no CONFIG_TEST_HMM (Debian leaves it out)")
    subprocess.run(["modprobe", "test_hmm"], check=True)
    try:
        readers: list[Callable[[], object]] = [read_counters, read_chunks, lambda: trace_events(int)]
        for reader in readers:
            with pytest.raises(OtherDriver, match="kernel's own test driver"):
                reader()
    finally:
        subprocess.run(["rmmod", "test_hmm"], check=True)
