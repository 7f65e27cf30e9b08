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
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from hmmkit.buffer import Pages
from hmmkit.device import Device
from hmmkit.errors import Cause, InvalidRequest, NotOnDevice, ReadOnlyMemory
from hmmkit.pagemap import SwapTypes, page_entries
from hmmkit.ram import free_pages
from hmmkit.uapi import Prot
from tests.machine import memory
from tests.machine.memory import Region, call, forked, mapped, marked, on_device

SHARED_MEMORY = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
PIN_START = 0x40186707  # PIN_LONGTERM_TEST_START of mm/gup_test.h
PIN_STOP = 0x6708


def present(pages: Pages) -> list[bool]:
    """Which pages the CPU's page table shows as being in RAM."""
    return [entry.present for entry in page_entries(pages)]


def frames(pages: Pages) -> list[int]:
    """The page frame number in each entry."""
    return [entry.pfn for entry in page_entries(pages)]


def stays(device: Device, region: Region) -> None:
    """Ask for a region none of whose pages can move: refused in words, and nothing is changed."""
    before = page_entries(region)
    with pytest.raises(NotOnDevice):
        device.migrate_to_device(region)
    assert page_entries(region) == before


@contextmanager
def file_of(*pages: bytes) -> Iterator[int]:
    """An open temporary file, one of ``pages`` at the start of each of its pages."""
    with tempfile.TemporaryFile() as file:
        for page in pages:
            file.write(page.ljust(mmap.PAGESIZE, b"\0"))
        file.flush()
        yield file.fileno()


# --- What moves and what stays: the kinds of page


def test_a_page_with_another_reference_stays(device: Device) -> None:
    region = marked(8)
    with memory.referenced(region.part(3, 2)):
        with pytest.raises(NotOnDevice):
            device.migrate_to_device(region)
        assert on_device(device, region) == [True] * 3 + [False] * 2 + [True] * 3
    assert device.migrate_to_device(region).pages == 8
    assert region.marked()


def test_a_pinned_page_stays(device: Device) -> None:
    gup_test_node = Path("/sys/kernel/debug/gup_test")
    if not gup_test_node.exists():
        pytest.skip("this kernel has no CONFIG_GUP_TEST, which holds the pin (Debian leaves it out)")
    region = marked(2)
    with gup_test_node.open("rb") as gup_test:
        try:
            ioctl(gup_test, PIN_START, struct.pack("QQI4x", region.address, mmap.PAGESIZE, 1))
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.ENOTTY)
            pytest.skip("gup_test of this kernel cannot hold a pin (PIN_LONGTERM_TEST came after 6.1)")
        with pytest.raises(NotOnDevice):
            device.migrate_to_device(region)
        assert on_device(device, region) == [False, True]
        ioctl(gup_test, PIN_STOP)
    assert device.migrate_to_device(region).pages == 2
    assert region.marked()


def test_a_page_shared_by_fork_moves_for_all_who_map_it(device: Device) -> None:
    region = marked(4)
    with forked(lambda: present(region)) as child_sees:
        assert child_sees() == [True] * 4
        assert device.migrate_to_device(region).pages == 4
        assert child_sees() == [False] * 4
    with forked(region.marked) as child_reads:
        assert child_reads()
    assert region.marked()


def test_shared_memory_stays(device: Device) -> None:
    region = mapped(4, SHARED_MEMORY)
    region.mark()
    stays(device, region)
    assert region.marked()


def test_pages_of_a_shared_file_mapping_stay(device: Device) -> None:
    with file_of(b"page 0", b"page 1") as file:
        region = mapped(2, mmap.MAP_SHARED, file)
        region.touch()
        stays(device, region)
        assert region.marked()


def test_of_a_private_file_mapping_only_what_was_written_moves(device: Device) -> None:
    with file_of(b"page 0", b"page 1", b"page 2") as file:
        region = mapped(3, mmap.MAP_PRIVATE, file)
        region.touch()
        region.write(b"mine 1", 1)
        with pytest.raises(NotOnDevice):
            device.migrate_to_device(region)
        assert on_device(device, region) == [False, True, False]
        assert [region.read(6, page) for page in range(3)] == [b"page 0", b"mine 1", b"page 2"]


def test_a_swapped_page_is_ignored_until_it_is_touched(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    with memory.zram_swap():
        region = marked(4)
        region.advise(memory.MADV_PAGEOUT)
        swapped = page_entries(region)
        assert not any(entry.present for entry in swapped)
        assert {entry.swap_type for entry in swapped} & {types.device_read, types.device_write, None} == set()
        stays(device, region)
        region.touch()
        assert device.migrate_to_device(region).pages == 4
        assert region.marked()


def test_hugetlb_memory_is_refused(device: Device) -> None:
    setting = Path("/proc/sys/vm/nr_hugepages")
    before = setting.read_text()
    setting.write_text("4")
    try:
        region = mapped(512, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | memory.MAP_HUGETLB)
        region.write(b"page 0")
        with pytest.raises(InvalidRequest) as caught:
            device.migrate_to_device(region)
        assert caught.value.cause is Cause.REFUSED
        assert region.read(6) == b"page 0"
        region.unmap()
    finally:
        setting.write_text(before)


def test_a_huge_page_moves(device: Device) -> None:
    """Newer kernels keep it whole on the device; before, the kernel splits it first."""
    region = memory.huge_page()
    ordinary = memory.smaps(region)["AnonHugePages"]
    region.mark()
    assert memory.smaps(region)["AnonHugePages"] == ordinary + 2048
    assert device.migrate_to_device(region).pages == 512
    codes = {page.code & ~Prot.WRITE for page in device.snapshot(region)}
    whole = "folio_split_unmapped" in Path("/proc/kallsyms").read_text()
    assert codes == {Prot.DEV_PRIVATE_LOCAL | (Prot.PMD if whole else 0)}
    assert region.marked()


def test_a_huge_page_asked_for_in_part_is_split(device: Device) -> None:
    region = memory.huge_page()
    region.mark()
    part = region.part(100, 50)
    assert device.migrate_to_device(part).pages == 50
    assert on_device(device, region) == [100 <= page < 150 for page in range(512)]
    assert not any(page.code & Prot.PMD for page in device.snapshot(region))
    assert region.marked()


def test_locked_pages_move_and_a_later_mlock_has_them_back(device: Device) -> None:
    region = marked(4)
    call("mlock", region.address, region.size)
    assert device.migrate_to_device(region).pages == 4
    assert on_device(device, region) == [True] * 4
    call("mlock", region.address, region.size)
    assert present(region) == [True] * 4
    assert region.marked()


def test_another_devices_pages_stay_where_they_are(device: Device) -> None:
    region = marked(4)
    with Device(1) as other:
        other.migrate_to_device(region)
        stays(device, region)
        assert device.migrate_to_system(region).pages == 0
        assert on_device(other, region) == [True] * 4
    assert region.marked()


# --- Holes, and how far a request gets


def test_a_hole_that_userfaultfd_watches_is_not_filled(device: Device) -> None:
    region = mapped(4)
    with memory.missing_faults_watched(region):
        stays(device, region)
    assert device.migrate_to_device(region).pages == 4
    assert region.read(region.size) == bytes(region.size)


def test_what_moved_before_an_error_stays_moved(device: Device) -> None:
    region = marked(600)
    region.part(300, 1).protect(memory.PROT_NONE)
    with pytest.raises(InvalidRequest) as caught:
        device.migrate_to_device(region)
    assert caught.value.cause is Cause.NOT_READABLE
    assert on_device(device, region) == [page < 300 for page in range(600)]
    region.part(300, 1).protect(mmap.PROT_READ)
    assert region.marked()


# --- What becomes of a page on the device


def test_fork_copies_the_entry_and_takes_the_write_permission(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    region = marked(2)
    device.migrate_to_device(region)
    assert {entry.swap_type for entry in page_entries(region)} == {types.device_write}
    before = frames(region)
    with forked(lambda: [(entry.swap_type, entry.pfn) for entry in page_entries(region)]) as child_sees:
        assert child_sees() == [(types.device_read, pfn) for pfn in before]
        assert [(entry.swap_type, entry.pfn) for entry in page_entries(region)] == child_sees()


def test_after_fork_a_touch_brings_the_page_back_for_both_and_a_write_copies_it(device: Device) -> None:
    region = marked(2)
    device.migrate_to_device(region)

    def child() -> tuple[list[int], bytes]:
        return frames(region), region.read(6, 0)

    with forked(child) as ask:
        region.touch()
        assert ask() == (frames(region), b"page 0")
        shared = frames(region)
        region.write(b"parent")
        theirs, words = ask()
        assert words == b"page 0"
        assert [mine != other for mine, other in zip(frames(region), theirs, strict=True)] == [True, False]
        assert theirs == shared


def test_mremap_moves_the_entry_and_not_the_page(device: Device) -> None:
    region = marked(4)
    device.migrate_to_device(region)
    before = page_entries(region)
    moved = region.move()
    assert page_entries(moved) == before
    assert device.read(moved).data[: mmap.PAGESIZE].rstrip(b"\0") == b"page 0"
    assert on_device(device, moved) == [True] * 4
    assert moved.marked()


@pytest.mark.parametrize("end", [Region.unmap, lambda region: region.advise(memory.MADV_DONTNEED)])
def test_discarded_memory_leaves_the_device(device: Device, end: Callable[[Region], None]) -> None:
    region = marked(2000)
    device.migrate_to_device(region)
    before = free_pages()
    end(region)
    assert free_pages() - before > 1900


def test_a_dead_process_leaves_the_device(device: Device) -> None:
    def child() -> int:
        region = marked(2000)
        with Device() as own:
            return own.migrate_to_device(region).pages

    with forked(child) as ask:
        assert ask() == 2000
        before = free_pages()
    assert free_pages() - before > 1900


def test_a_page_made_read_only_is_still_so_when_it_may_be_written_again(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    region = marked(1)
    device.migrate_to_device(region)
    region.protect(mmap.PROT_READ)
    assert page_entries(region)[0].swap_type == types.device_read
    with pytest.raises(ReadOnlyMemory):
        device.write(region, b"x")
    region.protect(mmap.PROT_READ | mmap.PROT_WRITE)
    assert page_entries(region)[0].swap_type == types.device_read
    assert device.write(region, b"from the device").pages == 1
    assert present(region) == [True]
    assert region.read(15) == b"from the device"


def test_reclaim_leaves_device_pages_alone(device: Device) -> None:
    with memory.zram_swap():
        region, other = marked(4), marked(4)
        device.migrate_to_device(region)
        region.advise(memory.MADV_PAGEOUT)
        other.advise(memory.MADV_PAGEOUT)
        assert not any(present(other)), "reclaim would have taken ordinary pages"
        assert on_device(device, region) == [True] * 4


def by_write(region: Region) -> bytes:
    """write(2): the kernel reads the page as the CPU would."""
    reader, writer = os.pipe()
    try:
        call("write", writer, region.address, 6)
        return os.read(reader, 6)
    finally:
        os.close(reader)
        os.close(writer)


def by_another(region: Region) -> bytes:
    """/proc/PID/mem: the kernel takes the page with get_user_pages(), as a core dump does."""
    with Path(f"/proc/{os.getpid()}/mem").open("rb", buffering=0) as file:
        return os.pread(file.fileno(), 6, region.address)


@pytest.mark.parametrize("read", [by_write, by_another])
def test_the_kernels_own_accesses_bring_pages_back(device: Device, read: Callable[[Region], bytes]) -> None:
    region = marked(1)
    device.migrate_to_device(region)
    assert read(region) == b"page 0"
    assert present(region) == [True]


# --- How the page is counted


def test_smaps_and_mincore_count_it_as_memory_of_the_process(device: Device) -> None:
    region = marked(1024)
    before = memory.smaps(region)
    device.migrate_to_device(region)
    after = memory.smaps(region)
    assert [after[name] for name in ("Rss", "Anonymous", "Swap")] == [
        before[name] for name in ("Rss", "Anonymous", "Swap")
    ]
    assert not any(present(region))
    assert all(memory.resident(region))


def rss_anon() -> int:
    """RssAnon of this process, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def test_rss_does_not_change(device: Device) -> None:
    """4 MiB go; the counter may be off by some tens of pages, since each CPU keeps a part of it."""
    region = marked(1024)
    before = rss_anon()
    device.migrate_to_device(region)
    assert abs(rss_anon() - before) < 1024


def test_the_memory_cgroup_is_still_charged(device: Device) -> None:
    root = Path("/sys/fs/cgroup")
    (root / "cgroup.subtree_control").write_text("+memory")
    group = root / "semantics"
    group.mkdir()

    def child() -> int:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        region = marked(2048)
        with Device() as own:
            assert own.migrate_to_device(region).pages == 2048
        charged = int((group / "memory.current").read_text())
        region.unmap()
        return charged - int((group / "memory.current").read_text())

    try:
        with forked(child) as ask:
            # 8 MiB; a charge is rounded by much less than one
            assert abs(ask() - (8 << 20)) < 1 << 20
    finally:
        group.rmdir()
