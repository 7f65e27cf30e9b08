# SPDX-License-Identifier: GPL-2.0-only
"""Rounds, signs and holds of the live kernel: that they say what happens, and leave nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection, protect
from hmmkit.device import Device
from hmmkit.faults import counted
from hmmkit.holding import NoPins, pinned, referenced, shared_with_child
from hmmkit.kinds import file_mapping, hugetlb_memory, lock, shared_memory
from hmmkit.outcome import attempt
from hmmkit.pagemap import page_entries
from hmmkit.rounds import PAGES_SEEN, Stage, trace_rounds
from hmmkit.swap import NoSwap, page_out, zram_swap
from hmmkit.tell import Sign, observe, signs
from hmmkit.trace import TRACEFS


def nothing_left() -> bool:
    """Neither probes nor trace instances."""
    instances = list((TRACEFS / "instances").iterdir())
    return not instances and not (TRACEFS / "kprobe_events").read_text()


def test_a_round_there_and_a_round_back(device: Device) -> None:
    with Buffer(4, touched=True) as buffer:
        there = trace_rounds(lambda: device.migrate_to_device(buffer))
        back = trace_rounds(lambda: device.migrate_to_system(buffer))
    assert [(one.asked, one.returns, one.cpages) for one in there + back] == [(4, 0, 4)] * 2
    assert there[0].stages == back[0].stages == (Stage.MOVED,) * 4
    assert nothing_left()


def test_a_touch_is_a_round_of_one_page(device: Device) -> None:
    with Buffer(4, touched=True) as buffer:
        device.migrate_to_device(buffer)
        (one,) = trace_rounds(lambda: buffer.touch(2))
    assert (one.asked, one.stages) == (1, (Stage.MOVED,))


def test_of_a_large_round_the_first_pages_are_seen(device: Device) -> None:
    with Buffer(1024) as buffer:
        rounds = trace_rounds(lambda: device.migrate_to_device(buffer))
    assert sum(one.asked for one in rounds) == 1024
    assert all(len(one.stages) == min(one.asked, PAGES_SEEN) for one in rounds)


def test_an_action_that_raises_leaves_no_probe() -> None:
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        trace_rounds(fail)
    assert nothing_left()


def test_a_failed_allocation_leaves_a_page_and_is_tried_again(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.fail_next_allocation()
        rounds = trace_rounds(lambda: device.migrate_to_device(buffer))
    assert [one.stages for one in rounds] == [(Stage.LEFT,), (Stage.MOVED,)]


def test_what_is_seen_and_how_far_it_comes(device: Device) -> None:
    with Buffer(4) as buffer:
        buffer.write(b"x")
        buffer.touch(1)
        found = observe(device, PageRun(buffer.address, 3))
        assert found.signs == (Sign.ANONYMOUS, Sign.ANONYMOUS, Sign.HOLE)
        assert (found.returns, found.moved, found.asked, found.stage) == (0, 3, 3, Stage.MOVED)
        assert signs(buffer) == [Sign.ON_DEVICE] * 3 + [Sign.HOLE]
        assert signs(buffer, device=1)[0] is Sign.ON_OTHER_DEVICE
        device.exclusive(PageRun(buffer.address + 3 * PAGE_SIZE, 1))
        assert signs(buffer)[3] is Sign.OTHER_ENTRY


def test_kinds_of_memory_and_their_signs(device: Device) -> None:
    with shared_memory(2) as buffer:
        found = observe(device, buffer)
        assert found.signs == (Sign.FILE_OR_SHARED,) * 2
        assert (found.returns, found.stage) == (-errno.ENOENT, Stage.NOT_TAKEN)
    with file_mapping(2, shared=False) as buffer:
        buffer.write(b"mine")
        assert signs(buffer) == [Sign.ANONYMOUS, Sign.FILE_OR_SHARED]
    with file_mapping(shared=True) as buffer:
        assert signs(buffer) == [Sign.FILE_OR_SHARED]
    with hugetlb_memory() as buffer:
        found = observe(device, buffer)
        assert found.signs == (Sign.HUGETLB,) * 512
        assert (found.returns, found.stage) == (-errno.EINVAL, Stage.REFUSED)
    with Buffer(2, touched=True) as buffer:
        protect(PageRun(buffer.address, 1), Protection.NONE)
        assert signs(buffer) == [Sign.NOT_READABLE, Sign.ANONYMOUS]
        found = observe(device, buffer)
        assert (found.returns, found.stage, found.rounds) == (-errno.EINVAL, Stage.NOT_ASKED, ())


def test_the_kernels_own_mapping_is_special() -> None:
    """[vvar] is there in every process, and nobody can migrate it."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "[vvar]" in line)
    start = int(line.split("-")[0], 16)
    assert signs(PageRun(start, 1)) == [Sign.SPECIAL]


def test_a_held_page_stays_as_long_as_it_is_held(device: Device) -> None:
    with Buffer(3, touched=True) as buffer:
        middle = PageRun(buffer.address + PAGE_SIZE, 1)
        with referenced(middle):
            stages = observe(device, buffer).stages
            assert stages == (Stage.MOVED, Stage.PUT_BACK, Stage.MOVED)
        assert observe(device, middle).stage is Stage.MOVED


def test_a_pinned_page_is_not_even_collected(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        try:
            with pinned(PageRun(buffer.address, 1)):
                assert observe(device, buffer).stages == (Stage.PASSED_OVER, Stage.MOVED)
        except NoPins as error:
            pytest.skip(str(error))
        assert observe(device, PageRun(buffer.address, 1)).stage is Stage.MOVED


def test_a_page_that_a_child_has_too_moves(device: Device) -> None:
    with Buffer(2, touched=True) as buffer, shared_with_child():
        assert observe(device, buffer).stages == (Stage.MOVED, Stage.MOVED)


def test_locking_a_page_brings_it_back(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        lock(buffer)
        assert attempt(device.migrate_to_device, buffer).pages == 2
        lock(buffer)
        assert signs(buffer) == [Sign.ANONYMOUS] * 2


def test_a_swapped_page_is_seen_counted_and_passed_over(device: Device) -> None:
    with zram_swap(), Buffer(3, touched=True) as buffer:
        for page in range(3):
            buffer.write(b"page %d" % page, page * PAGE_SIZE)
        page_out(buffer)
        assert signs(buffer) == [Sign.SWAPPED] * 3
        assert observe(device, buffer).stages == (Stage.PASSED_OVER,) * 3
        seen = counted(buffer, lambda: [buffer.touch(page) for page in range(3)])
        assert seen.major == 3 and seen.swapped_in >= 1
        assert all(entry.present for entry in page_entries(buffer))
        assert buffer.read(6, PAGE_SIZE) == b"page 1"


def test_a_page_that_another_processor_faulted_in_is_swapped_out() -> None:
    processors = os.sched_getaffinity(0)
    assert len(processors) > 1, "the machine has two"
    try:
        with zram_swap():
            for first in processors:
                os.sched_setaffinity(0, {first})
                with Buffer(4, touched=True) as buffer:
                    os.sched_setaffinity(0, processors - {first})  # the thread is moved at once
                    os.sched_setaffinity(0, processors)
                    page_out(buffer)
                    assert signs(buffer) == [Sign.SWAPPED] * 4
                    assert os.sched_getaffinity(0) == processors
    finally:
        os.sched_setaffinity(0, processors)


def test_without_swap_space_nothing_is_swapped_out() -> None:
    with Buffer(touched=True) as buffer, pytest.raises(NoSwap):
        page_out(buffer)


def test_the_swap_disk_can_be_had_once_at_a_time_and_again() -> None:
    with zram_swap(), pytest.raises(NoSwap), zram_swap():
        pass
    with zram_swap():
        assert "zram0" in Path("/proc/swaps").read_text()
    assert "zram0" not in Path("/proc/swaps").read_text()
