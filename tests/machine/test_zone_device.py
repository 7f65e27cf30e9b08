# SPDX-License-Identifier: GPL-2.0-only
"""What it takes to give a device's memory struct pages: memmap_init_zone_device and around it.

Sources: mm/memremap.c, mm/mm_init.c (mm/page_alloc.c in 6.1), kernel/resource.c of the kernels that
the tests run on. What the struct pages of a chunk hold cannot be read by a program: /proc/kpageflags
and /proc/kpagecount know only pages of memory that is online.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.device import Device
from hmmkit.dyndbg import debug_messages
from hmmkit.iomem import device_chunks
from hmmkit.kmsg import KernelLog
from hmmkit.ram import free_pages
from hmmkit.trace import TRACEFS
from tests.machine.memory import marked

SECTION = 128 << 20  # bytes that memory is hotplugged in, on x86-64
STRUCT_PAGE = 64  # bytes
# pagemap_range, between the second and the third, is inlined and cannot be traced.
STEPS = (
    "request_free_mem_region",
    "memremap_pages",
    "add_pages",
    "move_pfn_range_to_zone",
    "memmap_init_zone_device",
)


def test_the_first_chunk_lies_on_top_and_the_second_just_below() -> None:
    module.reload()
    first, second = device_chunks()[:2]
    assert second.end == first.first
    assert all(chunk.first * 4096 % SECTION == 0 for chunk in (first, second))
    assert first.npages * 4096 == 2 * SECTION


def test_the_chunk_above_all_others_ends_where_the_next_entry_of_iomem_begins() -> None:
    """request_free_mem_region walks down: nothing fits between the first chunk and what is above."""
    module.reload()
    top = device_chunks()[0].end * 4096
    starts = [int(line.split("-")[0], 16) for line in Path("/proc/iomem").read_text().splitlines()]
    above = min((start for start in starts if start >= top), default=None)
    limit = 1 << physical_bits()
    assert (limit if above is None else above) - top < SECTION


def physical_bits() -> int:
    """How many address bits the processor says it has."""
    found = re.search(r"address sizes\s*: (\d+) bits physical", Path("/proc/cpuinfo").read_text())
    assert found
    return int(found[1])


@pytest.mark.usefixtures("ram_is_ours")
def test_struct_pages_cost_a_64th_of_the_memory_they_stand_for() -> None:
    """64 bytes of RAM for each page of 4 KiB: 4 MiB for a chunk of 256 MiB.

    The median of three, and a quarter on top for the driver's own books and whoever else runs.
    """
    costs = []
    for _ in range(3):
        module.reload()
        pages = sum(chunk.npages for chunk in device_chunks())
        loaded = free_pages()
        module.unload()
        costs.append((free_pages() - loaded) * 4096)
        module.load()
    assert pages * STRUCT_PAGE <= statistics.median(costs) < pages * STRUCT_PAGE * 1.25


def test_the_steps_come_in_this_order(device: Device) -> None:
    """A device that has RELEASEd its chunks adds one when a page is to move there."""
    region = marked(1)
    device.release()
    instance = TRACEFS / "instances" / "zone_device"
    instance.mkdir()
    try:
        (instance / "set_ftrace_filter").write_text(" ".join(STEPS))
        (instance / "current_tracer").write_text("function")
        device.migrate_to_device(region)
        (instance / "tracing_on").write_text("0")
        lines = (instance / "trace").read_text().splitlines()
    finally:
        (instance / "current_tracer").write_text("nop")
        instance.rmdir()
    called = [found[1] for line in lines if (found := re.search(r": (\w+)(?:\.\w+)* <-", line))]
    assert called == list(STEPS)


def test_the_message_is_a_debug_message() -> None:
    """pr_info became pr_debug after 6.3, and in the 6.1 series, too: silent until asked."""
    with KernelLog() as log:
        module.reload()
        assert log.messages("memmap_init_zone_device") == []
    with KernelLog() as log, debug_messages("func memmap_init_zone_device"):
        module.reload()
        assert log.messages("memmap_init_zone_device")
