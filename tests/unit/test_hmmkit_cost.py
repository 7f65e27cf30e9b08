# SPDX-License-Identifier: GPL-2.0-only
"""Counting instructions, and the few instructions of our own: what needs no counting machine."""

from __future__ import annotations

import errno
import platform
from unittest.mock import patch

import pytest

from hmmkit.buffer import Buffer
from hmmkit.cost import Counter, NotCounting, steady
from hmmkit.errors import HmmError
from hmmkit.instructions import SPIN_INSTRUCTIONS, SPIN_LONG_INSTRUCTIONS, Instructions
from hmmkit.uapi import Command, Request

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")


def test_pages_are_written_and_read_in_any_order() -> None:
    with Buffer(4) as buffer:
        Instructions().writer(buffer, [3, 1])()
        assert [buffer.touch(page) for page in range(4)] == [0, 1, 0, 1]
        Instructions().reader(buffer, [2, 2, 0])()


def test_pages_outside_are_refused() -> None:
    with Buffer(4) as buffer:
        for order in ([], [4], [-1]):
            with pytest.raises(IndexError):
                Instructions().reader(buffer, order)


def test_the_bare_ioctl_returns_what_the_kernel_returns() -> None:
    assert Instructions().ioctl(-1, Request.READ, Command())() == -errno.EBADF


def test_another_processor_is_refused() -> None:
    with (
        patch("platform.machine", return_value="aarch64"),
        pytest.raises(HmmError, match="aarch64"),
    ):
        Instructions()


def test_a_clock_that_does_not_count_is_refused() -> None:
    with pytest.raises(NotCounting, match="hmm-counting") as raised:
        Counter.calibrate()
    assert raised.value.errno == errno.ENOTSUP


class CountingClock:
    """A clock as the counting machine's: it goes on with the loops' instructions only."""

    def __init__(self) -> None:
        self.now = 0

    def routines(self, spin: int, spin_long: int) -> type[Instructions]:
        clock = self

        class Routines(Instructions):
            def spin(self, turns: int) -> None:
                clock.now += turns * spin

            def spin_long(self, turns: int) -> None:
                clock.now += turns * spin_long

        return Routines


@pytest.mark.parametrize("each", [(2, 10), (2, 5), (1, 10)])
def test_both_loops_must_agree(each: tuple[int, int]) -> None:
    clock = CountingClock()
    with (
        patch("hmmkit.cost.Instructions", clock.routines(*each)),
        patch("time.perf_counter_ns", lambda: clock.now),
    ):
        if each == (SPIN_INSTRUCTIONS, SPIN_LONG_INSTRUCTIONS):
            assert Counter.calibrate().empty == 0
        else:
            with pytest.raises(NotCounting):
                Counter.calibrate()


def test_a_count_is_the_least_less_what_counting_takes() -> None:
    clock, took, before = CountingClock(), iter([5000, 150, 180]), []

    def action() -> int:
        clock.now += next(took)
        return 0

    counter = Counter(Instructions(), empty=30)
    with patch("time.perf_counter_ns", lambda: clock.now):
        assert counter.count(action, before=lambda: before.append(clock.now)) == 120
    assert len(before) == 3


def test_an_action_that_fails_is_an_error() -> None:
    with pytest.raises(OSError, match="Permission denied") as raised:
        Counter(Instructions(), 0).count(lambda: -errno.EACCES)
    assert raised.value.errno == errno.EACCES


def test_two_counts_of_the_same_thing_print_the_same() -> None:
    assert steady(5138, 5133.0) == 5133
    assert steady(5500, 5133.0) == 5500
    assert steady(5138, None) == 5138
