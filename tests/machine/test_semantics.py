# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of each kind of page when it is asked to move, and of a page that has moved.

The sources are the kernel's mm/migrate_device.c (what is collected and what is refused),
mm/memory.c (fork, the fault), mm/mprotect.c and mm/mremap.c, on each series that the tests run on.

One thing is not here, since no program can arrange it: a page whose lock somebody else holds is
skipped. The stress test meets it by chance.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import pytest

from hmmkit.accesses import by_proc_mem, by_write
from hmmkit.accounting import charged, join, memory_cgroup, resident, rss_anon, smaps
from hmmkit.buffer import PAGE_SIZE, Buffer, Pages, Protection, discard, protect
from hmmkit.child import Child
from hmmkit.device import Device
from hmmkit.errors import Cause, InvalidRequest, NotOnDevice, ReadOnlyMemory
from hmmkit.holding import NoPins, pinned, referenced
from hmmkit.huge import HugeBuffer
from hmmkit.kinds import file_mapping, hugetlb_memory, lock, shared_memory
from hmmkit.pagemap import SwapTypes, page_entries
from hmmkit.ram import free_pages
from hmmkit.swap import page_out, zram_swap
from hmmkit.uapi import Command, Prot, Request
from tests.machine.memory import is_marked, mark, marked, missing_faults_watched, on_device

MADV_PAGEOUT = 21  # <asm-generic/mman-common.h>


def present(pages: Pages) -> list[bool]:
    """Which pages the CPU's page table shows as being in RAM."""
    return [entry.present for entry in page_entries(pages)]


def frames(pages: Pages) -> list[int]:
    """The page frame number in each entry."""
    return [entry.pfn for entry in page_entries(pages)]


def stays(device: Device, region: Buffer) -> None:
    """Ask for a region none of whose pages can move: refused in words, and nothing is changed."""
    before = page_entries(region)
    with pytest.raises(NotOnDevice):
        device.migrate_to_device(region)
    assert page_entries(region) == before


# --- What moves and what stays: the kinds of page


def test_a_page_with_another_reference_stays(device: Device) -> None:
    region = marked(8)
    with referenced(region.part(3, 2)):
        with pytest.raises(NotOnDevice):
            device.migrate_to_device(region)
        assert on_device(device, region) == [True] * 3 + [False] * 2 + [True] * 3
    assert device.migrate_to_device(region).pages == 8
    assert is_marked(region)


def test_a_pinned_page_stays(device: Device) -> None:
    region = marked(2)
    try:
        with pinned(region.part(0, 1)):
            with pytest.raises(NotOnDevice):
                device.migrate_to_device(region)
            assert on_device(device, region) == [False, True]
    except NoPins as error:
        pytest.skip(str(error))
    assert device.migrate_to_device(region).pages == 2
    assert is_marked(region)


def test_a_page_shared_by_fork_moves_for_all_who_map_it(device: Device) -> None:
    region = marked(4)
    with Child(look=lambda: present(region), read=lambda: is_marked(region)) as child:
        assert child.do("look") == [True] * 4
        assert device.migrate_to_device(region).pages == 4
        assert child.do("look") == [False] * 4
        assert child.do("read")
    assert is_marked(region)


def test_shared_memory_stays(device: Device) -> None:
    region = shared_memory(4)
    mark(region)
    stays(device, region)
    assert is_marked(region)


def test_pages_of_a_shared_file_mapping_stay(device: Device) -> None:
    with file_mapping(2, shared=True) as region:
        before = region.read(region.size)
        stays(device, region)
        assert region.read(region.size) == before


def test_of_a_private_file_mapping_only_what_was_written_moves(device: Device) -> None:
    with file_mapping(3, shared=False) as region:
        untouched = region.read(6)
        region.write(b"mine 1", PAGE_SIZE)
        with pytest.raises(NotOnDevice):
            device.migrate_to_device(region)
        assert on_device(device, region) == [False, True, False]
        words = [region.read(6, page * PAGE_SIZE) for page in range(3)]
        assert words == [untouched, b"mine 1", untouched]


def test_a_swapped_page_is_ignored_until_it_is_touched(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    with zram_swap():
        region = marked(4)
        page_out(region)
        swapped = page_entries(region)
        assert not swapped.present
        assert {entry.swap_type for entry in swapped} & {types.device_read, types.device_write, None} == set()
        stays(device, region)
        assert is_marked(region)  # which touches it
        assert device.migrate_to_device(region).pages == 4
        assert is_marked(region)


def test_hugetlb_memory_is_refused(device: Device) -> None:
    with hugetlb_memory() as region:
        region.write(b"page 0")
        with pytest.raises(InvalidRequest) as caught:
            device.migrate_to_device(region)
        assert caught.value.cause is Cause.REFUSED
        assert region.read(6) == b"page 0"


def test_a_huge_page_moves(device: Device) -> None:
    """Newer kernels keep it whole on the device; before, the kernel splits it first."""
    region = HugeBuffer(touched=True)
    mark(region)
    assert smaps(region)["AnonHugePages"] == 2048
    assert device.migrate_to_device(region).pages == 512
    codes = {page.code & ~Prot.WRITE for page in device.snapshot(region)}
    whole = "folio_split_unmapped" in Path("/proc/kallsyms").read_text()
    assert codes == {Prot.DEV_PRIVATE_LOCAL | (Prot.PMD if whole else 0)}
    assert is_marked(region)


def test_a_huge_page_asked_for_in_part_is_split(device: Device) -> None:
    region = HugeBuffer(touched=True)
    mark(region)
    part = region.part(100, 50)
    assert device.migrate_to_device(part).pages == 50
    assert on_device(device, region) == [100 <= page < 150 for page in range(512)]
    assert not any(page.code & Prot.PMD for page in device.snapshot(region))
    assert is_marked(region)


def test_locked_pages_move_and_a_later_mlock_has_them_back(device: Device) -> None:
    region = marked(4)
    lock(region)
    assert device.migrate_to_device(region).pages == 4
    assert on_device(device, region) == [True] * 4
    lock(region)
    assert present(region) == [True] * 4
    assert is_marked(region)


def test_another_devices_pages_stay_where_they_are(device: Device) -> None:
    region = marked(4)
    with Device(1) as other:
        other.migrate_to_device(region)
        stays(device, region)
        assert device.migrate_to_system(region).pages == 0
        assert on_device(other, region) == [True] * 4
    assert is_marked(region)


# --- Holes, and how far a request gets


def test_a_hole_that_userfaultfd_watches_is_not_filled(device: Device) -> None:
    region = Buffer(4)
    with missing_faults_watched(region):
        stays(device, region)
    assert device.migrate_to_device(region).pages == 4
    assert region.read(region.size) == bytes(region.size)


def test_what_moved_before_an_error_stays_moved(device: Device) -> None:
    region = marked(600)
    protect(region.part(300, 1), Protection.NONE)
    with pytest.raises(InvalidRequest) as caught:
        device.migrate_to_device(region)
    assert caught.value.cause is Cause.NOT_READABLE
    assert on_device(device, region) == [page < 300 for page in range(600)]
    protect(region.part(300, 1), Protection.READ)
    assert is_marked(region)


def test_a_write_from_a_buffer_that_ends_too_early_writes_what_there_is(device: Device) -> None:
    region, source = Buffer(3), Buffer(3)
    region.write(b"o" * region.size)
    source.write(b"x" * source.size)
    discard(source.part(2, 1))
    command = Command(addr=region.address, ptr=source.address + 1000, npages=3)
    with pytest.raises(OSError) as caught:
        ioctl(device.fileno(), Request.WRITE, command)
    assert (caught.value.errno, command.cpages) == (errno.EFAULT, 1)
    there = 2 * PAGE_SIZE - 1000
    assert region.read(region.size) == b"x" * there + b"o" * (region.size - there)


# --- What becomes of a page on the device


def test_fork_copies_the_entry_and_takes_the_write_permission(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    region = marked(2)
    device.migrate_to_device(region)
    assert {entry.swap_type for entry in page_entries(region)} == {types.device_write}
    before = frames(region)
    with Child() as child:
        theirs = page_entries(region, child.pid)
        assert [(entry.swap_type, entry.pfn) for entry in theirs] == [
            (types.device_read, pfn) for pfn in before
        ]
        assert page_entries(region) == theirs


def test_after_fork_a_touch_brings_the_page_back_for_both_and_a_write_copies_it(device: Device) -> None:
    region = marked(2)
    device.migrate_to_device(region)

    with Child(read=lambda: region.read(6)) as child:
        assert is_marked(region)  # which touches it
        assert frames(region) == [entry.pfn for entry in page_entries(region, child.pid)]
        shared = frames(region)
        region.write(b"parent")
        assert child.do("read") == b"page 0"
        theirs = [entry.pfn for entry in page_entries(region, child.pid)]
        assert [mine != other for mine, other in zip(frames(region), theirs, strict=True)] == [True, False]
        assert theirs == shared


def test_mremap_moves_the_entry_and_not_the_page(device: Device) -> None:
    region = marked(4)
    device.migrate_to_device(region)
    before = page_entries(region)
    region.move()
    assert page_entries(region) == before
    assert device.read(region).data[:PAGE_SIZE].rstrip(b"\0") == b"page 0"
    assert on_device(device, region) == [True] * 4
    assert is_marked(region)


@pytest.mark.usefixtures("ram_is_ours")
@pytest.mark.parametrize("end", [Buffer.unmap, lambda region: region.advise(mmap.MADV_DONTNEED)])
def test_discarded_memory_leaves_the_device(device: Device, end: Callable[[Buffer], None]) -> None:
    region = marked(2000)
    device.migrate_to_device(region)
    before = free_pages()
    end(region)
    assert free_pages() - before > 1900


@pytest.mark.usefixtures("ram_is_ours")
def test_a_dead_process_leaves_the_device(device: Device) -> None:
    def move() -> int:
        with Device() as own:
            return own.migrate_to_device(marked(2000)).pages

    with Child(move=move) as child:
        assert child.do("move") == 2000
        before = free_pages()
    assert free_pages() - before > 1900


def test_a_page_made_read_only_is_still_so_when_it_may_be_written_again(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    region = marked(1)
    device.migrate_to_device(region)
    region.protect(Protection.READ)
    assert page_entries(region)[0].swap_type == types.device_read
    with pytest.raises(ReadOnlyMemory):
        device.write(region, b"x")
    region.protect(Protection.READ_WRITE)
    assert page_entries(region)[0].swap_type == types.device_read
    assert device.write(region, b"from the device").pages == 1
    assert present(region) == [True]
    assert region.read(15) == b"from the device"


def test_reclaim_leaves_device_pages_alone(device: Device) -> None:
    with zram_swap():
        region, other = marked(4), marked(4)
        device.migrate_to_device(region)
        region.advise(MADV_PAGEOUT)
        page_out(other)  # reclaim does take ordinary pages
        assert on_device(device, region) == [True] * 4


@pytest.mark.parametrize("read", [by_write, by_proc_mem])
def test_the_kernels_own_accesses_bring_pages_back(
    device: Device, read: Callable[[Pages, int], bytes]
) -> None:
    region = marked(1)
    device.migrate_to_device(region)
    assert read(region, 6) == b"page 0"
    assert present(region) == [True]


# --- How the page is counted


def test_smaps_and_mincore_count_it_as_memory_of_the_process(device: Device) -> None:
    region = marked(1024)
    before = smaps(region)
    device.migrate_to_device(region)
    after = smaps(region)
    assert [after[name] for name in ("Rss", "Anonymous", "Swap")] == [
        before[name] for name in ("Rss", "Anonymous", "Swap")
    ]
    assert not any(present(region))
    assert all(resident(region))


def test_rss_does_not_change(device: Device) -> None:
    """4 MiB go; the counter may be off by some tens of pages, since each CPU keeps a part of it."""
    region = marked(1024)
    device.migrate_to_device(region)  # once for nothing: the heap may keep the buffer of the call
    region.touch()
    before = rss_anon()
    device.migrate_to_device(region)
    assert abs(rss_anon() - before) < 1024


def test_the_memory_cgroup_is_still_charged(device: Device) -> None:
    with memory_cgroup("semantics") as group:

        def move_and_unmap() -> int:
            join(group)
            region = marked(2048)
            with Device() as own:
                assert own.migrate_to_device(region).pages == 2048
            before = charged(group)
            region.unmap()
            return before - charged(group)

        with Child(move_and_unmap=move_and_unmap) as child:
            # 8 MiB, of which the CPUs keep some at hand
            assert abs(child.do("move_and_unmap") - (8 << 10)) < 1 << 10
