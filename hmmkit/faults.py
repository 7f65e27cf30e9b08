# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel counts when the CPU touches pages: faults, and pages read from swap.

getrusage(2) counts the faults of a thread, and the interpreter has faults of its own, at any time:
a new piece of its heap, a page that is shared with a child since a fork. So each fault is asked for
its address: perf_event_open(2), ``PERF_COUNT_SW_PAGE_FAULTS_MIN`` and ``_MAJ`` with
``PERF_SAMPLE_ADDR``, and those that are elsewhere are left out. ``handle_mm_fault`` reports a fault
to perf where it counts it (``mm_account_fault``, mm/memory.c), unless the kernel itself asked for
the page, as ``hmm_range_fault`` does.

What was read from swap is of the whole machine: /proc/vmstat.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import platform
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError, NeedRoot
from hmmkit.libc import call

VMSTAT = Path("/proc/vmstat")

# <linux/perf_event.h>, and the number of the system call on x86-64
_PERF_EVENT_OPEN = 298
_TYPE_SOFTWARE = 1
_PAGE_FAULTS_MINOR, _PAGE_FAULTS_MAJOR = 5, 6
_SAMPLE_ADDR = 1 << 3
_DISABLED = 1 << 0
_FLAG_CLOEXEC = 1 << 3
_IOC_ENABLE = 0x2400
_ATTRIBUTES = struct.Struct("IIQQQQQIIQ")  # PERF_ATTR_SIZE_VER0
_DATA_HEAD = 1024
_SAMPLE = struct.Struct("IHHQ")  # struct perf_event_header, the address
_RING_PAGES = 16


@dataclass(frozen=True)
class FaultCounters:
    """Page faults of this thread in some pages, and pages that the whole machine read from swap."""

    minor: int
    major: int
    swapped_in: int


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters in the text of /proc/vmstat, by name."""
    return {name: int(count) for name, count in (line.split() for line in text.splitlines())}


def counted(pages: Pages, action: Callable[[], object]) -> FaultCounters:
    """What was counted while ``action`` ran, the faults of this thread in ``pages``.

    Raises ``NeedRoot`` without it; ``HmmError`` with EOVERFLOW if there were more than 4,000 faults in
    all, with ENOTSUP on a processor that is not x86-64; ``OSError`` as perf_event_open(2) does.
    """
    swapped_in = parse_vmstat(VMSTAT.read_text())["pswpin"]
    with _faults(_PAGE_FAULTS_MAJOR) as major, _faults(_PAGE_FAULTS_MINOR) as minor:
        action()
        in_ram, from_disk = _number_in(pages, minor()), _number_in(pages, major())
    return FaultCounters(in_ram, from_disk, parse_vmstat(VMSTAT.read_text())["pswpin"] - swapped_in)


def minor_faults(pages: Pages, action: Callable[[], object]) -> int:
    """The minor faults alone, of this thread and in ``pages``. Raises as :func:`counted` does."""
    with _faults(_PAGE_FAULTS_MINOR) as minor:
        action()
        return _number_in(pages, minor())


def _number_in(pages: Pages, addresses: list[int]) -> int:
    return sum(0 <= address - pages.address < pages.npages * PAGE_SIZE for address in addresses)


@contextmanager
def _faults(event: int) -> Iterator[Callable[[], list[int]]]:
    """Inside the block, faults of this thread are recorded; what is yielded gives their addresses."""
    if platform.machine() != "x86_64":
        raise HmmError(
            errno.ENOTSUP, f"the system call is known for x86-64 only, this is {platform.machine()}"
        )
    attributes = _ATTRIBUTES.pack(
        _TYPE_SOFTWARE, _ATTRIBUTES.size, event, 1, _SAMPLE_ADDR, 0, _DISABLED, 0, 0, 0
    )
    try:
        fd = call("syscall", _PERF_EVENT_OPEN, attributes, 0, -1, -1, _FLAG_CLOEXEC)
    except PermissionError as error:
        number = error.errno or errno.EACCES
        raise NeedRoot(number, "only root may count page faults by address") from None
    try:
        with mmap.mmap(fd, (1 + _RING_PAGES) * PAGE_SIZE) as ring:
            fcntl.ioctl(fd, _IOC_ENABLE)
            yield lambda: _addresses(fd, ring)
    finally:
        os.close(fd)


def _addresses(fd: int, ring: mmap.mmap) -> list[int]:
    """The address of each fault so far, from the start of the ring."""
    (happened,) = struct.unpack("Q", os.read(fd, 8))
    (head,) = struct.unpack_from("Q", ring, _DATA_HEAD)
    addresses = [address for *_, address in _SAMPLE.iter_unpack(ring[PAGE_SIZE : PAGE_SIZE + head])]
    if len(addresses) < happened:
        raise HmmError(errno.EOVERFLOW, f"{happened} page faults, and room for the first {len(addresses)}")
    return addresses
