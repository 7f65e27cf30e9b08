# SPDX-License-Identifier: GPL-2.0-only
"""The memory of the devices: how much there is, of what kind, and in what pieces it moves."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from hmmkit import module
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, advise, discard
from hmmkit.counters import read_counters
from hmmkit.device import Device
from hmmkit.errors import HmmError
from hmmkit.faults import minor_faults
from hmmkit.huge import collapse, has_huge_device_pages
from hmmkit.iomem import device_chunks, parse_iomem
from hmmkit.pagemap import page_entries
from hmmkit.uapi import PROT_KIND, Prot
from tests.machine.test_module_parameters import refusal

MIB = 1 << 20
HUGE = 2 * MIB // PAGE_SIZE  # pages
COHERENT = 256 * MIB


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """After each test, the module without parameters."""
    yield
    module.reload()


def reserved() -> int:
    """Where the machine has set memory aside for two device-coherent devices."""
    ranges = parse_iomem(Path("/proc/iomem").read_text(), "Reserved")
    # not the range at the end of the physical addresses, where there is no memory
    wide = [r for r in ranges if r.npages * PAGE_SIZE == 2 * COHERENT]
    return wide[0].first * PAGE_SIZE


def coherent_parameters() -> tuple[str, str]:
    return f"spm_addr_dev0={reserved():#x}", f"spm_addr_dev1={reserved() + COHERENT:#x}"


def kinds(device: Device, pages: Buffer | PageRun) -> list[int]:
    """Of each page, the kind that a snapshot reports."""
    return [page.code & PROT_KIND for page in device.snapshot(pages)]


def test_coherent_memory_is_in_the_reach_of_the_cpu() -> None:
    module.reload(*coherent_parameters())
    with Device(2) as device, Device(3) as other, Buffer(40) as buffer:
        content = os.urandom(buffer.size)
        buffer.write(content)
        migration = device.migrate_to_device(buffer)
        assert (migration.pages, migration.data) == (40, content)
        assert kinds(device, buffer) == [Prot.DEV_COHERENT_LOCAL] * 40
        assert kinds(other, buffer) == [Prot.DEV_COHERENT_REMOTE] * 40

        first = reserved() // PAGE_SIZE
        frames = [entry.pfn for entry in page_entries(buffer)]
        assert all(first <= pfn < first + COHERENT // PAGE_SIZE for pfn in frames)

        # no fault, no way back: the CPU works with the page where it is
        assert minor_faults(buffer, lambda: [buffer.touch(page) for page in range(40)]) == 0
        buffer.write(b"by the CPU", 39 * PAGE_SIZE)
        assert device.read(buffer).data[39 * PAGE_SIZE :][:10] == b"by the CPU"
        device.write(PageRun(buffer.address, 1), b"by the device")
        assert buffer.read(13) == b"by the device"
        assert kinds(device, buffer) == [Prot.DEV_COHERENT_LOCAL] * 40

        with pytest.raises(HmmError) as refused:
            other.migrate_to_device(buffer)
        assert refused.value.errno == errno.ENOENT

        assert device.migrate_to_system(PageRun(buffer.address, 10)).pages == 10
        device.release()
        assert kinds(device, buffer) == [0] * 40
        assert buffer.read(13) == b"by the device"
        assert buffer.read(10, 39 * PAGE_SIZE) == b"by the CPU"
        # what was released comes back when it is needed
        assert device.migrate_to_device(buffer).pages == 40


def test_coherent_memory_is_full_at_its_end() -> None:
    module.reload(*coherent_parameters())
    pages = COHERENT // PAGE_SIZE
    with Device(2) as device, Buffer(pages + 1) as buffer:
        with pytest.raises(HmmError) as full:
            device.migrate_to_device(buffer)
        assert full.value.errno == errno.ENOMEM
        assert read_counters(2).pages_in_use == pages
    assert read_counters(2).pages_in_use == 0


# The addresses are distances from the memory that is set aside.
@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (0, None, "give both spm_addr_dev0 and spm_addr_dev1, or neither"),
        (None, 0, "give both spm_addr_dev0 and spm_addr_dev1, or neither"),
        (4 * MIB, COHERENT, "spm_addr_dev0={first} and spm_addr_dev1={second} overlap: each is 256 MB long"),
        (-PAGE_SIZE, COHERENT, "spm_addr_dev0={first} is not a multiple of 2 MB"),
        (-COHERENT, COHERENT, "spm_addr_dev0={first}: {use}=256M${first}"),
        (0, COHERENT + 2 * MIB, "spm_addr_dev1={second}: {use}=256M${second}"),
    ],
)
def test_memory_that_is_in_use_is_refused(first: int | None, second: int | None, why: str) -> None:
    addresses = {
        name: f"{reserved() + distance:#x}"
        for name, distance in (("first", first), ("second", second))
        if distance is not None
    }
    number = {"first": 0, "second": 1}
    use = "the 256 MB from there are not reserved memory: boot with memmap"
    parameters = [f"spm_addr_dev{number[name]}={address}" for name, address in addresses.items()]
    assert refusal(*parameters) == "hmm_dmirror: " + why.format(**addresses, use=use)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ("chunk_mb=3", "chunk_mb=3: must be a power of two from 2 to 1024"),
        ("chunk_mb=2048", "chunk_mb=2048: must be a power of two from 2 to 1024"),
        ("chunk_mb=64 limit_mb=100", "limit_mb=100: must be 0 or a multiple of chunk_mb=64"),
        ("fault_pages=0", "fault_pages=0: must be a power of two from 1 to 512"),
        ("fault_pages=24", "fault_pages=24: must be a power of two from 1 to 512"),
    ],
)
def test_a_bad_value_is_refused(parameters: str, why: str) -> None:
    assert refusal(*parameters.split()) == f"hmm_dmirror: {why}"


def test_a_device_that_is_full_keeps_what_it_has() -> None:
    module.reload("chunk_mb=2", "limit_mb=4")
    with Device() as device, Buffer(2 * HUGE + 300) as buffer:
        content = os.urandom(buffer.size)
        buffer.write(content)
        with pytest.raises(HmmError) as full:
            device.migrate_to_device(buffer)
        assert full.value.errno == errno.ENOMEM
        assert kinds(device, buffer).count(Prot.DEV_PRIVATE_LOCAL) == 2 * HUGE
        assert [chunk.npages for chunk in device_chunks()] == [HUGE] * 3
        assert buffer.read(buffer.size) == content
        # the touches made room
        assert device.migrate_to_device(PageRun(buffer.address, 2 * HUGE)).pages == 2 * HUGE


@contextmanager
def on_the_device(device: Device) -> Iterator[tuple[Callable[[int], int], Callable[[], set[int]]]]:
    """64 pages on the device, all under one page table: how to touch one, and which are in RAM."""
    with Buffer(HUGE + 64) as buffer:
        first = -buffer.address % (HUGE * PAGE_SIZE) // PAGE_SIZE
        content = os.urandom(64 * PAGE_SIZE)
        buffer.write(content, first * PAGE_SIZE)
        pages = PageRun(buffer.address + first * PAGE_SIZE, 64)
        device.migrate_to_device(pages)

        def in_ram() -> set[int]:
            return {page for page, kind in enumerate(kinds(device, pages)) if kind == 0}

        yield lambda page: minor_faults(buffer, lambda: buffer.touch(first + page)), in_ram
        assert buffer.read(len(content), first * PAGE_SIZE) == content


def test_touches_that_follow_each_other_bring_more_and_more() -> None:
    module.reload("fault_pages=8")
    with Device() as device, on_the_device(device) as (touch, in_ram):
        back = 0
        for window in (1, 2, 4, 8, 8):
            assert touch(back) == 1
            back += window
            assert in_ram() == set(range(back))
        touch(40)  # elsewhere: one page again
        assert in_ram() == {*range(back), 40}
        touch(back)  # and the first place is not forgotten
        assert in_ram() == {*range(back + 8), 40}


def test_touches_at_random_bring_one_page_each() -> None:
    module.reload("fault_pages=512")
    with Device() as device, on_the_device(device) as (touch, in_ram):
        order = [5, 50, 20, 63, 33, 0, 41]
        for count, page in enumerate(order, start=1):
            touch(page)
            assert in_ram() == set(order[:count])


def test_what_a_touch_brings_ends_with_the_mapping() -> None:
    module.reload("fault_pages=512")
    with Device() as device, Buffer(4) as buffer:
        content = os.urandom(buffer.size)
        buffer.write(content)
        device.migrate_to_device(buffer)
        assert buffer.read(buffer.size) == content


class HugeBuffer(Buffer):
    """Two huge pages' worth of memory that may be huge pages; ``start`` is where they begin."""

    def __init__(self) -> None:
        super().__init__(3 * HUGE)
        size = HUGE * PAGE_SIZE
        self.start = -(-self.address // size) * size
        self.offset = self.start - self.address
        self.pages = PageRun(self.start, 2 * HUGE)
        advise(self.pages, mmap.MADV_HUGEPAGE)

    def fill(self, content: bytes) -> None:
        """Write it to the huge pages, and have them be huge where the faults found none at hand."""
        self.write(content, self.offset)
        collapse(self.pages)

    def __enter__(self) -> Self:
        return self


def huge(device: Device, pages: PageRun) -> set[bool]:
    """Whether the pages are parts of huge ones."""
    return {bool(page.code & Prot.PMD) for page in device.snapshot(pages)}


def test_a_huge_page_goes_and_comes_back() -> None:
    with Device() as device, HugeBuffer() as buffer:
        content = os.urandom(2 * HUGE * PAGE_SIZE)
        buffer.fill(content)
        assert huge(device, buffer.pages) == {True}
        assert device.migrate_to_device(buffer.pages).data == content
        assert huge(device, buffer.pages) == {has_huge_device_pages()}

        # the device reads from the middle of it
        part = PageRun(buffer.start + 700 * PAGE_SIZE, 50)
        assert device.read(part).data == content[700 * PAGE_SIZE : 750 * PAGE_SIZE]

        # one touch: all of the first huge page, or one page
        buffer.read(1, buffer.offset + 5 * PAGE_SIZE)
        back = kinds(device, buffer.pages).count(0)
        assert back == (HUGE if has_huge_device_pages() else 1)
        assert device.migrate_to_system(buffer.pages).pages == 2 * HUGE - back
        assert buffer.read(len(content), buffer.offset) == content


def test_a_huge_page_is_evicted() -> None:
    with Device() as device, HugeBuffer() as buffer:
        content = os.urandom(2 * HUGE * PAGE_SIZE)
        buffer.fill(content)
        device.migrate_to_device(buffer.pages)
        device.release()
        assert huge(device, buffer.pages) == {has_huge_device_pages()}
        assert set(kinds(device, buffer.pages)) == {0}
        assert buffer.read(len(content), buffer.offset) == content
        assert read_counters().pages_in_use == 0


@pytest.mark.parametrize("way", ["to the device", "back", "back by touch"])
def test_without_memory_in_one_piece_single_pages_move(way: str) -> None:
    with Device() as device, HugeBuffer() as buffer:
        content = os.urandom(2 * HUGE * PAGE_SIZE)
        buffer.fill(content)
        one = PageRun(buffer.start, HUGE)
        if way == "to the device":
            device.fail_next_allocation()
            assert device.migrate_to_device(one).data == content[: HUGE * PAGE_SIZE]
            assert set(kinds(device, one)) == {Prot.DEV_PRIVATE_LOCAL}
            assert huge(device, one) == {False}
        else:
            device.migrate_to_device(one)
            device.fail_next_allocation()
            if way == "back":
                assert device.migrate_to_system(one).pages == HUGE
            else:
                buffer.read(1, buffer.offset + 77 * PAGE_SIZE)
                assert kinds(device, one).count(0) == 1
        assert buffer.read(len(content), buffer.offset) == content


def test_a_huge_device_page_loses_a_part() -> None:
    before = read_counters().pages_in_use
    with Device() as device, HugeBuffer() as buffer:
        content = os.urandom(2 * HUGE * PAGE_SIZE)
        buffer.fill(content)
        device.migrate_to_device(buffer.pages)
        hole = buffer.start + 100 * PAGE_SIZE
        discard(PageRun(hole, 50))
        rest = PageRun(buffer.start + 150 * PAGE_SIZE, 2 * HUGE - 150)
        assert device.read(rest).data == content[150 * PAGE_SIZE :]
        buffer.read(1, buffer.offset)
        assert device.migrate_to_system(rest).pages == 2 * HUGE - 150
        left = content[150 * PAGE_SIZE :]
        assert buffer.read(len(left), buffer.offset + 150 * PAGE_SIZE) == left
    assert read_counters().pages_in_use == before


def test_nothing_is_not_brought_back() -> None:
    with Device() as device, HugeBuffer() as buffer:
        assert device.migrate_to_system(buffer.pages).pages == 0
        # but goes, as zeros
        assert device.migrate_to_device(buffer.pages).data == bytes(2 * HUGE * PAGE_SIZE)
        assert huge(device, buffer.pages) == {has_huge_device_pages()}
