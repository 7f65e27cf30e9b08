# SPDX-License-Identifier: GPL-2.0-only
"""The pages that costs are counted with are in the state that they are said to be in."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from hmmkit.device import Device
from hmmkit.faults import minor_faults
from hmmkit.huge import HUGE_PAGES
from hmmkit.instructions import Instructions
from hmmkit.pagemap import page_entries
from hmmkit.workload import Workload

NPAGES = 40


@pytest.fixture
def work(device: Device) -> Iterator[Workload]:
    with Workload(device, Instructions(), NPAGES) as work:
        yield work


def on_device(device: Device, work: Workload) -> int:
    return sum(page.on_this_device for page in device.snapshot(work.pages))


def present(work: Workload) -> int:
    return sum(entry.present for entry in page_entries(work.pages))


def test_the_states_are_what_they_are_called(device: Device, work: Workload) -> None:
    assert work.pages.address % (HUGE_PAGES * 4096) == 0
    assert (present(work), on_device(device, work)) == (0, 0)
    work.resident()
    assert (present(work), on_device(device, work)) == (NPAGES, 0)
    work.on_device()
    assert (present(work), on_device(device, work)) == (0, NPAGES)
    work.filled()
    assert (present(work), on_device(device, work)) == (NPAGES, 0)
    work.untouched()
    assert (present(work), on_device(device, work)) == (0, 0)


def test_each_operation_is_done_and_done_once(device: Device, work: Workload) -> None:
    assert minor_faults(work.pages, work.first_touch) == NPAGES
    assert work.to_device() == 0
    assert on_device(device, work) == NPAGES
    assert work.to_system() == 0
    assert present(work) == NPAGES
    work.on_device()
    order = list(reversed(range(NPAGES)))  # in order, a touch brings the pages behind it along
    assert minor_faults(work.pages, work.touch(order)) == NPAGES
    assert present(work) == NPAGES
    assert work.device_read() == 0
    assert minor_faults(work.pages, work.copy) == 0


def test_a_refusal_is_an_errno(device: Device, work: Workload) -> None:
    work._room.unmap()
    assert work.to_device() == -errno.EINVAL
    with pytest.raises(OSError, match="migrate to device") as refused:
        work._must(work.to_device)
    assert refused.value.errno == errno.EINVAL
