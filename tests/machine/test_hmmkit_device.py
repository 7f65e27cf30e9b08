# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit against the live driver: pages go, are seen on the device, and come back."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection
from hmmkit.device import Device
from hmmkit.errors import (
    Cause,
    HmmError,
    InvalidRequest,
    ModuleProblem,
    NeedRoot,
    ReadOnlyMemory,
    UnreachableMemory,
)
from hmmkit.faults import minor_faults
from hmmkit.iomem import device_chunks, system_ram
from hmmkit.outcome import attempt
from hmmkit.pagemap import SwapTypes, describe, page_entries
from hmmkit.trace import PAGE_FAULT, trace_calls
from tests.machine.memory import on_device


@contextmanager
def as_nobody() -> Iterator[None]:
    """Inside the block, a user who may do nothing special."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("npages", [1, 7, 300])
def test_there_and_back_by_touch(device: Device, npages: int) -> None:
    with Buffer(npages) as buffer:
        content = os.urandom(buffer.size)
        buffer.write(content)
        migration = device.migrate_to_device(buffer)
        assert (migration.pages, migration.asked) == (npages, npages)
        assert migration.data == content
        assert all(on_device(device, buffer))
        assert buffer.read(buffer.size) == content
        assert not any(on_device(device, buffer))


def test_there_and_back_by_ioctl(device: Device) -> None:
    with Buffer(5) as buffer:
        buffer.write(b"hello world")
        device.migrate_to_device(buffer)
        assert device.migrate_to_system(buffer).pages == 5
        assert device.migrate_to_system(buffer).pages == 0
        assert all(entry.present for entry in page_entries(buffer))
        assert buffer.read(11) == b"hello world"


@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "touched"])
@pytest.mark.parametrize(
    ("protection", "returns"),
    [
        (Protection.NONE, -errno.EINVAL),
        (Protection.READ, 0),
        (Protection.WRITE, -errno.EINVAL),
        (Protection.READ_WRITE, 0),
    ],
    ids=str,
)
def test_protection_decides_and_population_does_not(
    device: Device, protection: Protection, touched: bool, returns: int
) -> None:
    with Buffer(protection=protection, touched=touched) as buffer:
        assert page_entries(buffer)[0].present == touched
        outcome = attempt(device.migrate_to_device, buffer)
        assert outcome.returns == returns
        if returns:
            assert "not readable" in outcome.why
            assert page_entries(buffer)[0].present == touched
        else:
            assert outcome.pages == 1
            assert outcome.migration is not None and outcome.migration.data == bytes(PAGE_SIZE)
            assert page_entries(buffer)[0].swap_type is not None


def test_the_live_causes_of_einval(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        wrong = {
            PageRun(buffer.address, 0): Cause.ZERO_PAGES,
            PageRun(buffer.address + 1, 1): Cause.UNALIGNED,
            PageRun(0, 1): Cause.NO_MAPPING,
            PageRun((1 << 64) - PAGE_SIZE, 2): Cause.WRAPS,
        }
        for run, cause in wrong.items():
            for request in (device.migrate_to_device, device.migrate_to_system):
                with pytest.raises(InvalidRequest) as caught:
                    request(run)
                assert (caught.value.errno, caught.value.cause) == (errno.EINVAL, cause)


def test_readable_memory_of_a_special_kind_is_told_from_unreadable(device: Device) -> None:
    """The vvar pages of the kernel are readable, and migrate_vma_setup refuses them."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "[vvar]" in line)
    start = int(line.split("-")[0], 16)
    with pytest.raises(InvalidRequest) as caught:
        device.migrate_to_device(PageRun(start, 1))
    assert caught.value.cause is Cause.REFUSED


def test_device_reads_and_writes_stay_in_ram(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        assert device.write(buffer, b"from the device").pages == 2
        assert buffer.read(15) == b"from the device"
        assert device.read(buffer).data.rstrip(b"\0") == b"from the device"
        assert all(entry.present for entry in page_entries(buffer))


@pytest.mark.parametrize("npages", [1, 2])
def test_an_answer_keeps_what_the_device_saw(device: Device, npages: int) -> None:
    """Though answers that are dropped leave their memory to the next ones."""
    with Buffer(npages) as buffer:
        device.read(buffer)
        buffer.advise(mmap.MADV_DONTNEED)  # so the device has to ask again
        buffer.write(b"first")
        first = device.read(buffer)
        buffer.write(b"later")
        later, again = device.read(buffer), device.read(buffer)
        assert [seen.data[:5] for seen in (first, later, again)] == [b"first", b"later", b"later"]
        assert (first.pages, first.faults, later.faults, again.faults) == (npages, 1, 0, 0)
        device.write(buffer, b"x")
        assert buffer.read(5) == b"x\0\0\0\0"


def test_a_write_to_read_only_memory(device: Device) -> None:
    with Buffer(protection=Protection.READ, touched=True) as buffer, pytest.raises(ReadOnlyMemory) as caught:
        device.write(buffer, b"x")
    assert caught.value.errno == errno.EPERM


def test_a_read_of_nothing(device: Device) -> None:
    with pytest.raises(UnreachableMemory) as caught:
        device.read(PageRun(0, 1))
    assert caught.value.errno == errno.EFAULT


def test_release_brings_all_pages_back(device: Device) -> None:
    with Buffer(3) as buffer:
        buffer.write(b"hello world")
        device.migrate_to_device(buffer)
        device.release()
        assert all(entry.present for entry in page_entries(buffer))
        assert buffer.read(11) == b"hello world"
        assert device.migrate_to_device(buffer).pages == 3


def test_each_device_knows_its_own_pages_only(device: Device) -> None:
    with Device(1) as other, Buffer(touched=True) as mine, Buffer(touched=True) as theirs:
        device.migrate_to_device(mine)
        other.migrate_to_device(theirs)
        assert (on_device(device, mine), on_device(device, theirs)) == ([True], [False])
        assert (on_device(other, mine), on_device(other, theirs)) == ([False], [True])
        own, others = page_entries(mine)[0].pfn, page_entries(theirs)[0].pfn
        chunks = device_chunks()
        assert [own in chunk for chunk in chunks] != [others in chunk for chunk in chunks]


def test_the_entry_before_on_and_after(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    assert types.device_write != types.device_read
    with Buffer() as buffer:
        seen = [describe(page_entries(buffer)[0], types)]
        buffer.write(b"x")
        seen.append(describe(page_entries(buffer)[0], types))
        device.migrate_to_device(buffer)
        entry = page_entries(buffer)[0]
        seen.append(describe(entry, types))
        buffer.touch()
        seen.append(describe(page_entries(buffer)[0], types))
    assert seen == [
        "empty",
        "present, PFN in system RAM",
        "swap entry, type DEVICE_WRITE, PFN in chunk 0",
        "present, PFN in system RAM",
    ]
    assert any(entry.pfn in chunk for chunk in device_chunks())


def test_a_page_that_was_read_only_gets_the_other_type(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    with Buffer(protection=Protection.READ, touched=True) as buffer:
        device.migrate_to_device(buffer)
        assert page_entries(buffer)[0].swap_type == types.device_read


def test_chunks_are_above_all_ram() -> None:
    chunks = device_chunks()
    assert len(chunks) >= 2
    assert min(chunk.first for chunk in chunks) >= max(ram.end for ram in system_ram())
    assert {chunk.npages for chunk in chunks} == {65536}


def test_a_touch_is_one_minor_fault_and_an_ioctl_none(device: Device) -> None:
    with Buffer(16, touched=True) as buffer:
        device.migrate_to_device(buffer)
        # from the end: in order, a touch brings the pages behind it along
        by_touch = [
            minor_faults(buffer, lambda page=page: buffer.touch(page))  # type: ignore[misc]
            for page in reversed(range(16))
        ]
        device.migrate_to_device(buffer)
        by_ioctl = minor_faults(buffer, lambda: device.migrate_to_system(buffer))
    assert (by_touch, by_ioctl) == ([1] * 16, 0)


def test_faults_elsewhere_are_not_counted() -> None:
    with Buffer(16) as here, Buffer(16) as there:

        def write_both() -> None:
            here.write(b"x")
            there.write(b"x" * there.size)

        assert minor_faults(here, write_both) == 1
        assert minor_faults(PageRun(here.address, 1), lambda: here.write(b"x" * here.size)) == 0


def test_faults_of_a_process_that_has_forked_are_those_of_the_pages(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        for _ in range(5):
            device.migrate_to_device(buffer)
            child = os.fork()  # each page of Python's own has a fault when it is written to again
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
            assert minor_faults(buffer, buffer.touch) == 1


def test_more_faults_than_can_be_recorded_are_an_error() -> None:
    with Buffer(5000) as buffer:
        buffer.advise(mmap.MADV_NOHUGEPAGE)
        with pytest.raises(HmmError) as caught:
            minor_faults(buffer, lambda: buffer.write(b"x" * buffer.size))
    assert caught.value.errno == errno.EOVERFLOW


def set_parameter() -> None:
    """Change a module parameter and back."""
    with module.verified_copies():
        pass


@pytest.mark.parametrize(
    "view",
    [
        Device,
        device_chunks,
        set_parameter,
        lambda: trace_calls(int, PAGE_FAULT),
        lambda: minor_faults(PageRun(0, 1), int),
    ],
    ids=["device", "iomem", "parameter", "trace", "faults"],
)
def test_without_root_each_view_says_so(view: Callable[[], object]) -> None:
    with as_nobody(), pytest.raises(NeedRoot, match="root"):
        view()


def test_an_unloaded_module_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PARAMETERS", tmp_path)
    with pytest.raises(ModuleProblem, match="modprobe"), module.verified_copies():
        pass


def test_all_errors_are_os_errors(device: Device) -> None:
    with pytest.raises(OSError, match="not readable") as caught, Buffer(protection=Protection.NONE) as buffer:
        device.migrate_to_device(buffer)
    assert isinstance(caught.value, HmmError)
