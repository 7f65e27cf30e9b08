# SPDX-License-Identifier: GPL-2.0-only
"""The driver's trace events: what it did during an action, step by step.

``module/trace.h`` says what the events are. They are recorded in a trace instance of our own
(Documentation/trace/ftrace.rst), so nobody else's tracing is disturbed. The events of all
processes are recorded: a mapping of ours may well be changed by another.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

from hmmkit.counters import KERNELS_OWN_DRIVER
from hmmkit.errors import NoTracing, OtherDriver
from hmmkit.trace import TRACEFS, need_tracefs, record_events, trace_instance

GROUP = "dmirror"

# "  python3-77  [000] .....  12.345678: dmirror_fault: hmm_dmirror0 addr=0x7f0000 moved=1 ret=0"
_LINE = re.compile(
    r"^\s*.+-(?P<thread>\d+)\s+\[\d+\]\s+\S+\s+(?P<time>\d+\.\d+): "
    r"(?P<event>dmirror_\w+): (?P<device>\w+) (?P<values>.*)$"
)


@dataclass(frozen=True)
class Event:
    """What all events have: ``time`` in seconds since boot, the thread that ran, the device's name."""

    time: float
    thread: int
    device: str

    @classmethod
    def make(cls, time: float, thread: int, device: str, values: dict[str, str]) -> Self:
        """An event of this kind out of the words of a line."""
        found: dict[str, int | str] = {
            field.name: values[field.name] if field.type == "str" else int(values[field.name], 0)
            for field in fields(cls)
            if field.name not in ("time", "thread", "device")
        }
        return cls(time, thread, device, **found)


@dataclass(frozen=True)
class MigrateBegin(Event):
    """An ioctl begins to move ``asked`` pages from address ``start`` ``to`` "device" or "system"."""

    to: str
    start: int
    asked: int


@dataclass(frozen=True)
class MigrateEnd(Event):
    """It has moved ``moved`` of them, and returns ``ret``: 0 or a negative errno."""

    to: str
    start: int
    asked: int
    moved: int
    ret: int


@dataclass(frozen=True)
class Fault(Event):
    """The CPU touched ``addr``, whose page was on the device; ``moved`` pages came back."""

    addr: int
    moved: int
    ret: int


@dataclass(frozen=True)
class Evict(Event):
    """The chunk that begins with ``pfn`` was to be emptied; ``moved`` pages came back."""

    pfn: int
    moved: int
    ret: int


@dataclass(frozen=True)
class ChunkAdd(Event):
    """The device has got a chunk, with the PFNs from ``pfn`` to before ``end``."""

    pfn: int
    end: int


@dataclass(frozen=True)
class ChunkRemove(Event):
    """The device has given up that chunk."""

    pfn: int
    end: int


@dataclass(frozen=True)
class Invalidate(Event):
    """The mapping from ``start`` to before ``end`` is about to change, and for what ``reason``.

    The reason is the kernel's: ``enum mmu_notifier_event`` without its prefix, in small letters.
    """

    start: int
    end: int
    reason: str


KINDS: dict[str, type[Event]] = {
    "dmirror_migrate_begin": MigrateBegin,
    "dmirror_migrate_end": MigrateEnd,
    "dmirror_fault": Fault,
    "dmirror_evict": Evict,
    "dmirror_chunk_add": ChunkAdd,
    "dmirror_chunk_remove": ChunkRemove,
    "dmirror_invalidate": Invalidate,
}


def parse_events(text: str) -> list[Event]:
    """The driver's events in the text of a trace file, by time. Other lines are skipped."""
    events = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and match["event"] in KINDS:
            values = dict(word.split("=", 1) for word in match["values"].split())
            kind = KINDS[match["event"]]
            events.append(kind.make(float(match["time"]), int(match["thread"]), match["device"], values))
    return sorted(events, key=lambda event: event.time)


def trace_events(action: Callable[[], object]) -> list[Event]:
    """Run ``action`` and return the driver's events of that time, of all processes, by time.

    Raises ``NoTracing`` without tracefs or where no driver is loaded, ``OtherDriver`` with the
    kernel's own test driver, ``NeedRoot`` without access, ``HmmError`` (EOVERFLOW) if events
    were lost.
    """
    need_tracefs()
    if not (TRACEFS / "events" / GROUP).is_dir():
        if KERNELS_OWN_DRIVER.is_dir():
            raise OtherDriver("trace events")
        raise NoTracing(
            errno.ENOENT, f"no events/{GROUP} in {TRACEFS}: load the driver first (modprobe hmm_dmirror)"
        )
    with trace_instance(f"hmmkit-{os.getpid()}") as instance:
        return parse_events(record_events(instance, GROUP, action))
