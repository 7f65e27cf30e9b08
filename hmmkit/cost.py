# SPDX-License-Identifier: GPL-2.0-only
"""What something costs, in instructions, on a machine whose clock counts them.

In the book's counting machine (``python -m testmachine run --counting``) the guest's clock goes on
by one nanosecond with each instruction that the guest executes: ``-icount shift=0`` of QEMU. So the
time that something takes is the number of its instructions, the kernel's and the process's. Any
other clock says how busy the host was, so :meth:`Counter.calibrate` refuses it.
"""

from __future__ import annotations

import errno
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hmmkit.errors import HmmError
from hmmkit.instructions import (
    SPIN_INSTRUCTIONS,
    SPIN_LONG_INSTRUCTIONS,
    Instructions,
)

Action = Callable[[], object]

_TURNS = 50_000
_RUNS = 10
_TOLERANCE = 0.01


class NotCounting(HmmError):
    """ENOTSUP: the clock of this machine does not count instructions."""


@dataclass(frozen=True)
class Counter:
    """Counts instructions; ``empty`` of them are what counting an action that does nothing takes."""

    instructions: Instructions
    empty: int

    @classmethod
    def calibrate(cls) -> Counter:
        """A counter for this machine.

        Two loops whose instructions are known must take as many nanoseconds, within 1 %: one of
        two instructions a turn, and one of ten, which no real processor does at the same pace.
        Raises ``NotCounting`` if they do not.
        """
        instructions = Instructions()
        for loop, a_turn in (
            (instructions.spin, SPIN_INSTRUCTIONS),
            (instructions.spin_long, SPIN_LONG_INSTRUCTIONS),
        ):
            # The shortest of some: the others met the timer's interrupt. In turn, since Python calls
            # a function with fewer instructions after some calls.
            pairs = [[_once(partial(loop, turns)) for turns in (_TURNS, 2 * _TURNS)] for _ in range(_RUNS)]
            few, many = map(min, zip(*pairs, strict=True))
            if abs((many - few) / (_TURNS * a_turn) - 1) > _TOLERANCE:
                raise NotCounting(
                    errno.ENOTSUP,
                    "the clock of this machine does not count instructions, so there are no figures: "
                    "use the counting machine (kernel hmm-counting, or testmachine run --counting)",
                )
        return cls(instructions, min(_once(instructions.nothing()) for _ in range(_RUNS)))

    def count(self, action: Action, before: Action | None = None, runs: int = 3) -> int:
        """Instructions of one ``action()``: the least of ``runs``, less what counting takes.

        Whatever comes in between, a timer's interrupt or a message to the notebook, only adds.
        ``before()`` is called before each run and not counted. An action that returns a negative
        number has failed, with that errno: ``OSError``.
        """
        took = []
        for _ in range(runs):
            if before is not None:
                before()
            took.append(_once(action))
        return min(took) - self.empty


def _once(action: Action) -> int:
    """Nanoseconds of one call, with Python's garbage collector out of the way."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = time.perf_counter_ns()
        result = action()
        took = time.perf_counter_ns() - begin
    finally:
        if collecting:
            gc.enable()
    if isinstance(result, int) and result < 0:
        raise OSError(-result, f"the call that was to be counted: {os.strerror(-result)}")
    return took


def steady(measured: float, recorded: float | None, within: float = 0.06) -> float:
    """``recorded`` if ``measured`` is as near as ``within``, else ``measured``.

    Two counts of the same thing differ by one in a thousand, two programs that count it by a few in
    a hundred. Whatever they are rounded to, now and then that is the difference between one figure
    and the next, and a page that is compared with a new run would be right and yet not the same. So
    a page prints the recorded figure as long as the new one agrees with it. ``recorded`` None means
    that there is none.
    """
    if recorded is not None and abs(measured / recorded - 1) <= within:
        return recorded
    return measured
