# SPDX-License-Identifier: GPL-2.0-only
"""The device's page table, and where the pages come from that replace those on the device."""

from __future__ import annotations

import mmap
from pathlib import Path

from hmmkit.accounting import charged, join, memory_cgroup
from hmmkit.buffer import PAGE_SIZE, Buffer, advise
from hmmkit.child import Child
from hmmkit.device import Device
from hmmkit.libc import call
from tests.machine.memory import is_marked, marked, on_device

BLOCK = 512  # pages under one PMD entry
BLOCKS = 1024
KEPT = 2 * 64 * PAGE_SIZE // 1024  # KiB: each CPU charges up to 64 pages ahead (mm/memcontrol.c)
MAP_NORESERVE = 0x4000
SET_MEMPOLICY = 238
MPOL_DEFAULT, MPOL_BIND = 0, 2


def test_a_page_here_and_there_leaves_no_tables_behind() -> None:
    """A table of the device is a page: as many as blocks were read, and none when all is unmapped."""

    def child(group: Path) -> list[int]:
        join(group)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        with Device() as device, Buffer(BLOCKS * BLOCK, flags=flags) as region:
            region.advise(mmap.MADV_NOHUGEPAGE)
            for block in range(BLOCKS):
                region.write(b"x", block * BLOCK * PAGE_SIZE)
            touched = charged(group)
            for block in range(BLOCKS):
                device.read(region.part(block * BLOCK, 1))
            read = charged(group)
            # page by page: each takes the last entry of a table away
            for block in range(BLOCKS):
                advise(region.part(block * BLOCK, 1), mmap.MADV_DONTNEED)
            return [touched, read, charged(group)]

    with memory_cgroup("page-tables") as group, Child(run=lambda: child(group)) as process:
        touched, read, forgotten = process.do("run")
    tables = BLOCKS * PAGE_SIZE // 1024
    assert abs(read - touched - tables) <= KEPT
    # the pages themselves are given up as well; those that were touched last wait in a CPU's list
    assert read - forgotten > 1.8 * tables


def test_pages_come_back_where_a_memory_policy_is_set(device: Device) -> None:
    region = marked(100)
    device.migrate_to_device(region)
    call("syscall", SET_MEMPOLICY, MPOL_BIND, (1).to_bytes(8, "little"), 64)
    try:
        assert device.migrate_to_system(region).pages == 100
    finally:
        call("syscall", SET_MEMPOLICY, MPOL_DEFAULT, 0, 0)
    assert not any(on_device(device, region))
    assert is_marked(region)
    region.unmap()
