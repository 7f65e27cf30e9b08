# SPDX-License-Identifier: GPL-2.0-only
"""Exclusive access: the page stays in RAM, the CPU is kept away, and gets it back by a touch."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection
from hmmkit.device import Device
from hmmkit.errors import DeviceBusy, HmmError, NotAnonymous, ReadOnlyMemory, UnreachableMemory
from hmmkit.pagemap import page_entries
from hmmkit.uapi import DEVICE_NODE, Command, Request
from tests.machine.memory import huge_pages_for

HUGE_PAGE_SIZE = 2 << 20


@pytest.fixture(params=["never", "always"])
def huge_pages(request: pytest.FixtureRequest) -> Iterator[str]:
    """Huge pages switched off, then switched on for every mapping."""
    with huge_pages_for(request.param):
        yield request.param


@contextmanager
def shared_memory(npages: int) -> Iterator[PageRun]:
    """Pages that are not anonymous: a MAP_SHARED mapping of a file in memory."""
    with mmap.mmap(-1, npages * PAGE_SIZE) as memory:
        view = ctypes.c_char.from_buffer(memory)
        yield PageRun(ctypes.addressof(view), npages)
        del view


def huge_page_sizes(run: PageRun) -> set[str]:
    """What /proc/self/smaps says of huge pages in the mapping of ``run``."""
    inside, found = False, set()
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(part, 16) for part in first.split("-"))
            inside = start <= run.address < end
        elif inside and first == "AnonHugePages:":
            found.add(" ".join(line.split()[1:]))
    return found


def test_the_page_stays_in_ram_and_a_touch_takes_it_back(device: Device) -> None:
    with Buffer(3, touched=True) as buffer:
        buffer.write(b"hello", PAGE_SIZE)
        taken = device.exclusive(buffer)
        assert (taken.pages, taken.data[PAGE_SIZE : PAGE_SIZE + 5]) == (3, b"hello")
        entries = page_entries(buffer)
        assert not any(entry.present for entry in entries)
        assert len({entry.swap_type for entry in entries}) == 1

        assert device.any_exclusive(buffer)
        assert buffer.read(5, PAGE_SIZE) == b"hello"
        assert [entry.present for entry in page_entries(buffer)] == [False, True, False]
        assert not device.any_exclusive(PageRun(buffer.address + PAGE_SIZE, 1))
        assert device.any_exclusive(buffer)

        buffer.read(buffer.size)
        assert not device.any_exclusive(buffer)


def test_the_device_works_on_it_without_giving_it_up(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        device.exclusive(buffer)
        done = device.write(buffer, b"by the device")
        assert done.faults == 0
        assert device.read(buffer).data[:13] == b"by the device"
        assert device.any_exclusive(buffer)
        assert buffer.read(13) == b"by the device"


def test_taken_twice(device: Device) -> None:
    with Buffer(40, touched=True) as buffer:
        buffer.write(b"x" * buffer.size)
        for _ in range(3):
            assert device.exclusive(buffer).data == b"x" * buffer.size
        assert device.any_exclusive(buffer)


@pytest.mark.parametrize("populated", [True, False])
def test_whatever_the_size_of_the_pages(device: Device, huge_pages: str, populated: bool) -> None:
    """Also where the kernel leaves out pages inside a huge page, and where nothing was touched."""
    npages = 3 * HUGE_PAGE_SIZE // PAGE_SIZE
    with Buffer(npages) as buffer:
        if populated:
            buffer.write(b"\5" * buffer.size)
            in_one_piece = huge_page_sizes(PageRun(buffer.address, npages)) != {"0 kB"}
            assert in_one_piece == (huge_pages == "always")
        taken = device.exclusive(buffer)
        assert taken.pages == npages
        assert taken.data == bytes([5 if populated else 0]) * buffer.size
        assert not any(entry.present for entry in page_entries(buffer))
        assert buffer.read(buffer.size) == taken.data
        assert not device.any_exclusive(buffer)


def test_from_the_middle_of_a_huge_page(device: Device, huge_pages: str) -> None:
    with Buffer(3 * HUGE_PAGE_SIZE // PAGE_SIZE, touched=True) as buffer:
        middle = PageRun(
            (buffer.address + HUGE_PAGE_SIZE) // HUGE_PAGE_SIZE * HUGE_PAGE_SIZE + 9 * PAGE_SIZE, 7
        )
        assert device.exclusive(middle).pages == 7
        assert [entry.present for entry in page_entries(middle)] == [False] * 7
        assert page_entries(PageRun(middle.address - PAGE_SIZE, 1))[0].present


def test_a_page_of_the_device_comes_back_first(device: Device) -> None:
    with Buffer(4) as buffer:
        buffer.write(b"there and back")
        device.migrate_to_device(buffer)
        assert device.exclusive(buffer).data[:14] == b"there and back"
        assert not any(page.on_this_device for page in device.snapshot(buffer))


def test_another_file_takes_it_over(device: Device) -> None:
    with Device() as other, Buffer(touched=True) as buffer:
        device.exclusive(buffer)
        assert not other.any_exclusive(buffer)
        other.exclusive(buffer)
        assert other.any_exclusive(buffer)
        assert not device.any_exclusive(buffer)


def test_a_fork_ends_it(device: Device) -> None:
    with Buffer() as buffer:
        buffer.write(b"before")
        device.exclusive(buffer)
        child = os.fork()
        if child == 0:
            buffer.write(b"child!")
            os._exit(0 if buffer.read(6) == b"child!" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert buffer.read(6) == b"before"


def test_unmapping_ends_it(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        device.exclusive(buffer)
        buffer.unmap()
        assert not device.any_exclusive(PageRun(buffer.address, 2))


def test_what_cannot_be_had_is_refused(device: Device) -> None:
    with Buffer(protection=Protection.READ, touched=True) as buffer, pytest.raises(ReadOnlyMemory):
        device.exclusive(buffer)
    with pytest.raises(UnreachableMemory):
        device.exclusive(PageRun(0, 1))
    # EBUSY from the older function, EOPNOTSUPP from the newer
    with shared_memory(1) as run, pytest.raises((DeviceBusy, NotAnonymous)):
        device.exclusive(run)


def test_a_failed_request_says_how_far_it_came() -> None:
    """cpages is written on a failure, too."""
    fd = os.open(DEVICE_NODE.format(index=0), os.O_RDWR)
    landing = ctypes.create_string_buffer(4 * PAGE_SIZE)
    try:
        with Buffer(4, touched=True) as buffer:
            command = Command(addr=buffer.address, ptr=ctypes.addressof(landing), npages=4)
            fcntl.ioctl(fd, Request.EXCLUSIVE, command)
            buffer.touch(2)
            command.cpages = 77
            with pytest.raises(OSError, match="not permitted") as caught:
                fcntl.ioctl(fd, Request.CHECK_EXCLUSIVE, command)
            assert (caught.value.errno, command.cpages) == (errno.EPERM, 3)

            # a wrong range is told by the number alone
            command = Command(addr=buffer.address + 1, npages=1, cpages=77)
            with pytest.raises(OSError, match="Invalid"):
                fcntl.ioctl(fd, Request.CHECK_EXCLUSIVE, command)
            assert command.cpages == 77
    finally:
        os.close(fd)


def test_all_errors_are_os_errors(device: Device) -> None:
    with pytest.raises(HmmError), Buffer(protection=Protection.NONE) as buffer:
        device.exclusive(buffer)
