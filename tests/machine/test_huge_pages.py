# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a huge page on its way to a device and back, release by release.

The table "Differs by release" of notebook 10 says what is asserted here: up to 6.18 a huge page is
split first, from 6.19 on it stays whole (mm/migrate_device.c).
"""

from __future__ import annotations

import errno

import pytest

from hmmkit.accounting import smaps
from hmmkit.buffer import discard
from hmmkit.counters import read_counters
from hmmkit.device import Device
from hmmkit.huge import (
    HUGE_PAGES,
    HugeBuffer,
    collapse,
    has_huge_device_pages,
    split_counts,
)
from tests.machine.memory import huge_pages_for

WHOLE = has_huge_device_pages()


def pages_split() -> int:
    return split_counts()["page"]


def test_a_huge_page_is_split_on_its_way_unless_it_can_stay_whole(device: Device) -> None:
    with HugeBuffer(touched=True) as buffer:
        assert device.snapshot(buffer).is_one_entry, "no huge page was to be had"
        before = pages_split()
        assert device.migrate_to_device(buffer).pages == HUGE_PAGES
        assert pages_split() - before == (0 if WHOLE else 1)
        assert device.snapshot(buffer).is_one_entry == WHOLE
        counters = read_counters()
        assert buffer.number_at(5) == 5
        done = read_counters() - counters
        assert (done.faults, done.pages_back_by_fault) == (1, HUGE_PAGES if WHOLE else 1)
        assert [buffer.number_at(page) for page in range(HUGE_PAGES)] == list(range(HUGE_PAGES))


def test_a_huge_page_is_made_where_a_fault_finds_none() -> None:
    with huge_pages_for("never"):
        with HugeBuffer(touched=True) as buffer:
            assert smaps(buffer)["AnonHugePages"] == 2048
            assert [buffer.number_at(page) for page in range(HUGE_PAGES)] == list(range(HUGE_PAGES))
        with HugeBuffer(touched=True, huge=False) as buffer:
            assert smaps(buffer)["AnonHugePages"] == 0


def test_a_part_that_is_unmapped_is_freed_with_its_folio(device: Device) -> None:
    with HugeBuffer(touched=True) as buffer:
        empty = read_counters().pages_in_use
        device.migrate_to_device(buffer)
        discard(buffer.part(100, 50))
        assert read_counters().pages_in_use - empty == (HUGE_PAGES if WHOLE else HUGE_PAGES - 50)
        device.migrate_to_system(buffer.part(0, 1))
        assert read_counters().pages_in_use - empty == HUGE_PAGES - 51


def test_what_nobody_touched_goes_as_it_would_be_faulted_in(device: Device) -> None:
    with HugeBuffer() as buffer:
        assert not any(device.migrate_to_device(buffer).data)
        assert device.snapshot(buffer).is_one_entry == WHOLE


def test_a_collapse_brings_single_pages_back(device: Device) -> None:
    with HugeBuffer(touched=True) as buffer:
        device.migrate_to_device(buffer.part(100, 50))
        before = read_counters()
        collapse(buffer)
        assert (read_counters() - before).pages_back_by_fault == 50
        assert device.snapshot(buffer).is_one_entry


def test_a_collapse_of_nothing_but_device_pages(device: Device) -> None:
    with HugeBuffer(touched=True) as buffer:
        device.fail_next_allocation()  # so that they are single ones on each kernel
        device.migrate_to_device(buffer)
        if WHOLE:
            collapse(buffer)
            assert device.snapshot(buffer).is_one_entry
            return
        with pytest.raises(OSError, match="madvise") as refused:
            collapse(buffer)
        assert refused.value.errno == errno.EINVAL
        assert all(page.on_this_device for page in device.snapshot(buffer))


@pytest.mark.skipif(not WHOLE, reason="no huge device pages before Linux 6.19")
def test_a_collapse_leaves_a_huge_device_page_alone(device: Device) -> None:
    with HugeBuffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        with pytest.raises(OSError, match="madvise"):
            collapse(buffer)
        assert device.snapshot(buffer).is_one_entry
