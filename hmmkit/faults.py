# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel counts when the CPU touches pages: faults, and pages read from swap.

getrusage(2) for this thread, /proc/vmstat for the whole machine.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True)
class FaultCounters:
    """Page faults of this thread, and pages that the whole machine read from swap."""

    minor: int
    major: int
    swapped_in: int


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters in the text of /proc/vmstat, by name."""
    return {name: int(count) for name, count in (line.split() for line in text.splitlines())}


def counted(action: Callable[[], object]) -> FaultCounters:
    """What was counted while ``action`` ran. It should be short, and have run before."""
    swapped_in = parse_vmstat(VMSTAT.read_text())["pswpin"]
    before = resource.getrusage(resource.RUSAGE_THREAD)
    action()
    after = resource.getrusage(resource.RUSAGE_THREAD)
    swapped_in = parse_vmstat(VMSTAT.read_text())["pswpin"] - swapped_in
    return FaultCounters(after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt, swapped_in)


def minor_faults(action: Callable[[], object]) -> int:
    """The minor faults alone, as :func:`counted` counts them: Python's own work included."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    action()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
