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
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError

CGROUPS = Path("/sys/fs/cgroup")

_BOUNDS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
_SIZE = re.compile(r"(\w+): +(\d+) kB$")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


def parse_smaps(text: str, address: int) -> dict[str, int]:
    """The sizes, in KiB by name, of the mapping that holds ``address``; empty if none does."""
    sizes: dict[str, int] = {}
    inside = False
    for line in text.splitlines():
        bounds, size = _BOUNDS.match(line), _SIZE.match(line)
        if bounds:
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif size and inside:
            sizes[size[1]] = int(size[2])
    return sizes


def smaps(pages: Pages, process: int | str = "self") -> dict[str, int]:
    """/proc/PID/smaps of the mapping that holds ``pages``: KiB by name.

    The kernel joins neighbours of the same kind into one mapping, so only what has changed
    between two readings means anything.
    """
    return parse_smaps(Path(f"/proc/{process}/smaps").read_text(), pages.address)


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
    if _libc.mincore(pages.address, pages.npages * PAGE_SIZE, answer):
        number = ctypes.get_errno()
        raise OSError(number, f"mincore: {os.strerror(number)}")
    return [bool(byte & 1) for byte in answer]


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
