# SPDX-License-Identifier: GPL-2.0-only
"""How much memory the kernel thinks a process has: smaps, status, mincore, a memory cgroup.

proc(5), mincore(2) and Documentation/admin-guide/cgroup-v2.rst say what the numbers mean.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError
from hmmkit.libc import call

CGROUPS = Path("/sys/fs/cgroup")

_HEADER = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) \S+ \S+ \S+ (?P<inode>\d+)")
_SIZE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_LAST_LINE = re.compile(r"\nVmFlags:(?P<words>.*)\n")
_RESIDENT = {byte: bool(byte & 1) for byte in range(256)}  # by a byte of mincore's answer


@dataclass(frozen=True)
class SmapsMapping:
    """One mapping of a smaps file: bytes [start, end), its VmFlags, whether it has a file.

    ``sizes`` are the lines with kB behind them, in KiB by name.
    """

    start: int
    end: int
    has_file: bool
    flags: frozenset[str]
    sizes: dict[str, int]


def parse_smaps(text: str, start: int = 0, end: int = 1 << 64) -> list[SmapsMapping]:
    """Those mappings in the text of a smaps file that have some of the bytes [start, end), in order."""
    found, at = [], 0
    for flags in _LAST_LINE.finditer(text):  # every mapping ends with them
        header = _HEADER.match(text, at)
        if not header:
            raise ValueError(f"not the first line of a mapping: {text[at : text.find(chr(10), at)]!r}")
        first, last = int(header["start"], 16), int(header["end"], 16)
        if first < end and last > start:
            sizes = {name: int(kib) for name, kib in _SIZE.findall(text, at, flags.start() + 1)}
            words = frozenset(flags["words"].split())
            found.append(SmapsMapping(first, last, header["inode"] != "0", words, sizes))
        at = flags.end()
    return found


def smaps_of(pages: Pages, process: int | str = "self") -> list[SmapsMapping]:
    """The mappings in /proc/PID/smaps that ``pages`` are in."""
    text = Path(f"/proc/{process}/smaps").read_text()
    return parse_smaps(text, pages.address, pages.address + pages.npages * PAGE_SIZE)


def smaps(pages: Pages, process: int | str = "self") -> dict[str, int]:
    """The sizes of the mapping that holds the first of ``pages``: KiB by name; none if nothing does.

    The kernel joins neighbours of the same kind into one mapping, so only what has changed
    between two readings means anything.
    """
    found = smaps_of(pages, process)
    return found[0].sizes if found and found[0].start <= pages.address else {}


def rss_anon(process: int | str = "self") -> int:
    """RssAnon of a process, in KiB: resident anonymous memory, as counted by the kernel.

    Each CPU keeps a part of the count for itself, so it may be off by some tens of pages.

    Raises ``ProcessLookupError`` for a process that has no memory any more.
    """
    found = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    if not found:
        raise ProcessLookupError(errno.ESRCH, f"process {process} has no memory")
    return int(found[1])


def resident(pages: Pages) -> list[bool]:
    """What mincore(2) says of each page of this process: whether it is in memory.

    Raises ``OSError`` (ENOMEM) where something is not mapped.
    """
    answer = (ctypes.c_ubyte * pages.npages)()
    call("mincore", pages.address, pages.npages * PAGE_SIZE, answer)
    return [*map(_RESIDENT.__getitem__, bytes(answer))]


@contextmanager
def memory_cgroup(name: str) -> Iterator[Path]:
    """A new memory cgroup for the length of the block; a process joins by :func:`join`.

    All that joined must have ended before the block does. Raises ``HmmError`` (ENOTSUP) without
    cgroup v2 or its memory controller.
    """
    try:
        (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    except OSError:
        raise HmmError(errno.ENOTSUP, f"no memory controller of cgroup v2 in {CGROUPS}") from None
    group = CGROUPS / name
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()


def join(group: Path) -> None:
    """Put this process into a cgroup: what it allocates from now on is charged there."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def charged(group: Path) -> int:
    """What a memory cgroup is charged, in KiB, to within some tens of pages a CPU."""
    return int((group / "memory.current").read_text()) // 1024
