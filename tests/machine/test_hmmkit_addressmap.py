# SPDX-License-Identifier: GPL-2.0-only
"""The rule for a free range of addresses says where the kernel puts chunks, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmmkit import module
from hmmkit.addressmap import CHUNK, RAM, claims, find_free, limit, whole_map
from hmmkit.device import Device
from hmmkit.iomem import device_chunks, system_ram
from hmmkit.ram import memmap_pages, zone_sizes


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """After each test, the module without parameters."""
    yield
    module.reload()


@pytest.mark.parametrize(("number", "mebibytes"), [(1, 256), (4, 256), (3, 2), (2, 128), (2, 1024)])
def test_the_rule_predicts_every_chunk(number: int, mebibytes: int) -> None:
    module.unload()
    claimed, places = claims(), []
    for _ in range(number):
        places.append(find_free(claimed, mebibytes << 20, limit()))
        claimed.append(places[-1])
    module.load(f"devices={number}", f"chunk_mb={mebibytes}")
    assert [chunk.first * 4096 for chunk in device_chunks()] == [place.start for place in places]


def test_the_map_has_what_iomem_has() -> None:
    found = whole_map(claims(), limit())
    assert [s.start for s in reversed(found) if s.kind == CHUNK] == [c.first * 4096 for c in device_chunks()]
    ram = sum(stretch.size for stretch in found if stretch.kind == RAM) // 4096
    assert abs(ram - sum(each.npages for each in system_ram())) <= len(system_ram())


def test_struct_pages_are_counted_where_the_kernel_counts() -> None:
    before = memmap_pages()
    if before is None:
        pytest.skip("this kernel does not count its struct pages (nr_memmap_pages came in 6.11)")
    with Device() as device:
        device.release()
    after = memmap_pages()
    assert after is not None and before - after == 65536 * 64 // 4096


def test_the_zone_has_no_memory() -> None:
    zone = zone_sizes("Device")
    assert zone["spanned"] >= sum(chunk.npages for chunk in device_chunks())
    assert zone["present"] == zone["managed"] == zone["free"] == 0
