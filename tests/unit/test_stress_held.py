# SPDX-License-Identifier: GPL-2.0-only
"""Whose pages are those that are not free when the stress is over: the driver's, or lost by the kernel."""

from __future__ import annotations

import pytest

from tests.stress import guest

BY_DEVICE = (
    " do_huge_pmd_anonymous_page+0x1c0/0x23b0\n hmm_range_fault+0x14d/0x2c0\n"
    " dmirror_range_fault+0x1a8/0x3e0 [hmm_dmirror]\nnr_base_pages: {}"
)
BY_CPU = " do_huge_pmd_anonymous_page+0x1c0/0x23b0\n exc_page_fault+0x61/0xd0\nnr_base_pages: {}"
BACKING = " alloc_pages_bulk_noprof+0x2c8\n dmirror_pages_get+0x10/0x20 [hmm_dmirror]\nnr_base_pages: {}"


@pytest.mark.parametrize(
    ("stack", "driver", "old_kernel", "new_kernel"),
    [
        (BY_DEVICE.format(1024), True, 1024, 0),
        (BY_DEVICE.format(513), True, 0, 0),
        (BY_CPU.format(512), False, 512, 0),
        (BACKING.format(512), True, 0, 0),
    ],
    ids=["huge, for the device", "not whole", "huge, for the CPU", "the driver's own"],
)
def test_only_a_whole_huge_page_of_a_process_may_be_lost(
    stack: str, driver: bool, old_kernel: int, new_kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guest.of_driver(stack) == driver
    monkeypatch.setattr(guest, "has_huge_device_pages", lambda: False)
    assert guest.lost_pages(stack) == old_kernel
    monkeypatch.setattr(guest, "has_huge_device_pages", lambda: True)
    assert guest.lost_pages(stack) == new_kernel


@pytest.mark.parametrize(("text", "pages"), [(BACKING.format(7), 7), (BACKING.format(0), 0), ("", 0)])
def test_pages_of_a_stack(text: str, pages: int) -> None:
    assert guest.pages_of(text) == pages
