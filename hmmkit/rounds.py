# SPDX-License-Identifier: GPL-2.0-only
"""The rounds of a migration, page by page: what the kernel left in the source array at each step.

A driver sees ``struct migrate_vma`` (include/linux/migrate.h), and a program does not. Kprobe
events (Documentation/trace/kprobetrace.rst) can read it at the moments that matter: when the walk
has collected pages (``migrate_device_unmap`` is entered), when the driver has chosen (entry of
``migrate_vma_pages``) and when the kernel has moved what it would (entry of
``migrate_vma_finalize``). The names and the layout are the same in 6.1, 6.12 and 7.3. The addresses
of struct page and the frame numbers are thrown away; the bits are what tells.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

from hmmkit.errors import NeedRoot, NoTracing
from hmmkit.trace import TRACEFS, need_tracefs, record_events, trace_instance

GROUP = "hmmkit"

# The longest array that a kprobe event takes (MAX_ARRAY_LEN in kernel/trace/trace_probe.h).
PAGES_SEEN = 64

_VALID, _MIGRATE, _WRITE, _COMPOUND = 1 << 0, 1 << 1, 1 << 3, 1 << 4

# Offsets in struct migrate_vma, in bytes: dst 8, src 16, cpages 24, npages 32, start 40, end 48.
_ARRAY = f"x64[{PAGES_SEEN}]"
_PROBES = (
    "p:{group}/setup migrate_vma_setup start=+40($arg1):u64 end=+48($arg1):u64",
    "r:{group}/checked migrate_vma_setup ret=$retval:s32",
    f"p:{{group}}/unmap migrate_device_unmap src=+0($arg1):{_ARRAY}",
    f"p:{{group}}/pages migrate_vma_pages cpages=+24($arg1):u64 src=+0(+16($arg1)):{_ARRAY}",
    f"p:{{group}}/finalize migrate_vma_finalize src=+0(+16($arg1)):{_ARRAY} dst=+0(+8($arg1)):{_ARRAY}",
)
_PAGE_SHIFT = 12

# "  python3-92  [001] .....  47.887954: unmap: (migrate_device_unmap+0x0/0x430) src={0x1,0x2}"
_LINE = re.compile(
    r"^\s*.+-(?P<thread>\d+)\s+\[\d+\]\s+\S+\s+\d+\.\d+: (?P<event>\w+): \(.*?\) (?P<values>.*)$"
)


class Stage(Enum):
    """How far one page came, in the order of the steps."""

    NOT_ASKED = "the range was refused by the driver"
    REFUSED = "the range was refused by migrate_vma_setup"
    PASSED_OVER = "passed over by the walk"
    PUT_BACK = "collected, and put back by migrate_device_unmap"
    LEFT = "offered to the driver, which left it"
    NOT_TAKEN = "copied by the driver, and refused by migrate_vma_pages"
    MOVED = "moved"


@dataclass(frozen=True)
class SourceBits:
    """The flags of one entry of the array ``src``: ``valid`` says that a page is named in it.

    ``compound``: the entry stands for all pages of a huge one (6.19 and later).
    """

    valid: bool
    migrate: bool
    write: bool
    compound: bool = False

    @classmethod
    def decode(cls, entry: int) -> Self:
        """Decode one entry; its frame number is dropped."""
        flags = (_VALID, _MIGRATE, _WRITE, _COMPOUND)
        return cls(*(bool(entry & flag) for flag in flags))

    def __str__(self) -> str:
        names = {
            "VALID": self.valid,
            "MIGRATE": self.migrate,
            "WRITE": self.write,
            "COMPOUND": self.compound,
        }
        return " | ".join(name for name, there in names.items() if there) or "0"


@dataclass(frozen=True)
class Round:
    """One call of ``migrate_vma_setup`` and what followed it.

    ``asked`` counts the pages of the range, ``returns`` is 0 or a negative errno, ``cpages`` is
    what the kernel offers to the driver in the end. The other fields have one entry a page, of
    the first ``PAGES_SEEN`` pages: the source bits after the walk, as offered to the driver, after
    ``migrate_vma_pages``; and whether the driver supplied a page. All are empty if ``returns``
    is an error.
    """

    asked: int
    returns: int
    cpages: int = 0
    collected: tuple[SourceBits, ...] = ()
    offered: tuple[SourceBits, ...] = ()
    supplied: tuple[bool, ...] = ()
    done: tuple[SourceBits, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """How far each of the first ``PAGES_SEEN`` pages came."""
        if self.returns:
            return (Stage.REFUSED,) * min(self.asked, PAGES_SEEN)
        return tuple(self._stage(page) for page in range(len(self.offered)))

    def _stage(self, page: int) -> Stage:
        if not self.offered[page].migrate:
            return Stage.PUT_BACK if self.collected[page].migrate else Stage.PASSED_OVER
        if not self.supplied[page]:
            return Stage.LEFT
        return Stage.MOVED if self.done[page].migrate else Stage.NOT_TAKEN


def parse_rounds(text: str, thread: int) -> list[Round]:
    """The rounds of one thread in the text of a trace file, in order.

    A round without all its steps (the last one, if the trace ends in the middle of it) is left out.
    """
    rounds: list[Round] = []
    seen: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match or int(match["thread"]) != thread:
            continue
        event = match["event"]
        if event == "setup":
            seen.clear()
        seen[event] = dict(re.findall(r"(\w+)=(\{[^}]*\}|\S+)", match["values"]))
        refused = event == "checked" and int(seen[event]["ret"])
        if "setup" in seen and (refused or event == "finalize"):
            rounds.append(_round(seen))
            seen.clear()
    return rounds


def _round(seen: dict[str, dict[str, str]]) -> Round:
    asked = int(seen["setup"]["end"]) - int(seen["setup"]["start"]) >> _PAGE_SHIFT
    returns = int(seen["checked"]["ret"])
    if returns:
        return Round(asked, returns)
    offered = _bits(seen["pages"]["src"], asked)
    # Where nothing was collected there is nothing to unmap, and the array is what it will be.
    collected = _bits(seen["unmap"]["src"], asked) if "unmap" in seen else offered
    return Round(
        asked,
        returns,
        int(seen["pages"]["cpages"]),
        collected,
        offered,
        tuple(bits.valid for bits in _bits(seen["finalize"]["dst"], asked)),
        _bits(seen["finalize"]["src"], asked),
    )


def _bits(array: str, asked: int) -> tuple[SourceBits, ...]:
    entries = array.strip("{}").split(",")[:asked]
    return tuple(SourceBits.decode(int(entry, 16)) for entry in entries)


def trace_rounds(action: Callable[[], object]) -> list[Round]:
    """Run ``action`` and return the rounds of migration that this thread made meanwhile.

    The probes are set for this and taken away again, also when ``action`` raises.

    Raises ``NoTracing`` without tracefs, without CONFIG_KPROBE_EVENTS or where the kernel has not
    these functions, ``NeedRoot`` without access, ``HmmError`` (EOVERFLOW) if events were lost.
    """
    need_tracefs()
    probes = TRACEFS / "kprobe_events"
    if not probes.exists():
        raise NoTracing(errno.ENOENT, "this kernel has no CONFIG_KPROBE_EVENTS, so its arrays cannot be read")
    group = f"{GROUP}_{os.getpid()}"
    with ExitStack() as stack:
        for probe in _PROBES:
            command = probe.format(group=group)
            _append(probes, command)
            stack.callback(_append, probes, f"-:{command.split()[0].partition(':')[2]}")
        instance = stack.enter_context(trace_instance(group))
        return parse_rounds(record_events(instance, group, action), threading.get_native_id())


def _append(probes: Path, command: str) -> None:
    # Python's own way of appending looks for the end of the file first, and this one has none.
    try:
        fd = os.open(probes, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except PermissionError as error:
        raise NeedRoot(error.errno or 0, f"{probes} is for root only: run as root") from None
    try:
        os.write(fd, command.encode())
    except OSError as error:
        raise NoTracing(error.errno or 0, f"the kernel does not take the probe {command}") from None
    finally:
        os.close(fd)
