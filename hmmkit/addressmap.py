# SPDX-License-Identifier: GPL-2.0-only
"""The whole range of physical addresses: who claims what, and where the kernel would put a chunk.

``request_free_mem_region`` (kernel/resource.c) looks for addresses that nothing claims, from the
highest down. ``find_free`` is its rule in a few lines, so that a page can say beforehand what the
kernel is going to answer. All addresses and sizes here are in bytes.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmmkit.errors import HmmError, NeedRoot
from hmmkit.iomem import SYSTEM_RAM
from hmmkit.uapi import IOMEM_NAME

SECTION = 128 << 20
"""Memory is added by sections, on x86-64 of this size (SECTION_SIZE_BITS); chunks begin with one."""

RAM, CHUNK, OTHER, FREE = "RAM", "device chunk", "claimed by others", "free"

# The kernel's own limit, MAX_PHYSMEM_BITS in arch/x86/include/asm/sparsemem.h: with page tables of
# four levels (48 bits of virtual address), and with five (57).
_KERNEL_LIMIT_BITS = {48: 46, 57: 52}


@dataclass(frozen=True)
class Stretch:
    """The addresses from ``start`` to before ``end``, and what they are."""

    start: int
    end: int
    kind: str

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


def parse_claims(text: str) -> list[Stretch]:
    """The outermost entries of /proc/iomem, lowest first, as RAM, CHUNK or OTHER.

    Raises ``NeedRoot`` when the kernel shows zeros in place of addresses.
    """
    claims = []
    for line in text.splitlines():
        if line.startswith(" "):
            continue
        span, _, owner = line.partition(" : ")
        start, last = (int(word, 16) for word in span.split("-"))
        if last == 0:
            raise NeedRoot(errno.EPERM, "/proc/iomem shows its addresses to root only: run as root")
        kind = {SYSTEM_RAM: RAM, IOMEM_NAME: CHUNK}.get(owner, OTHER)
        claims.append(Stretch(start, last + 1, kind))
    return claims


def claims() -> list[Stretch]:
    """Who claims what on this machine, lowest first."""
    return parse_claims(Path("/proc/iomem").read_text())


def parse_limit(cpuinfo: str) -> int:
    """The first address that no chunk may reach, from the text of /proc/cpuinfo.

    What the processor can address, and not more than the kernel is made for. A kernel that places
    its direct map at random (KASLR) may stop lower, and does not say where.

    Raises ``HmmError`` (ENODATA) where the processor does not say how many bits it has.
    """
    found = re.search(r"address sizes\s*: (\d+) bits physical, (\d+) bits virtual", cpuinfo)
    if not found:
        raise HmmError(errno.ENODATA, "/proc/cpuinfo has no line of address sizes")
    physical, virtual = int(found[1]), int(found[2])
    return 1 << min(physical, _KERNEL_LIMIT_BITS.get(virtual, physical))


def limit() -> int:
    """The first address that no chunk may reach on this machine."""
    return parse_limit(Path("/proc/cpuinfo").read_text())


def find_free(claimed: Sequence[Stretch], size: int, limit: int) -> Stretch:
    """Where the kernel would put ``size`` bytes: the highest place that no claim touches.

    ``size`` is rounded up to whole sections, and the search goes down from ``limit`` section by
    section, as ``get_free_mem_region`` does in 6.12. (6.1 goes down by ``size`` at a time.)

    Raises ``HmmError`` (ERANGE), as the kernel does, where there is no such place.
    """
    size = -(-size // SECTION) * SECTION
    start = limit - size
    while start > size:
        if all(claim.end <= start or start + size <= claim.start for claim in claimed):
            return Stretch(start, start + size, FREE)
        start -= SECTION
    raise HmmError(errno.ERANGE, f"no {size} bytes below {limit:#x} are free")


def whole_map(claimed: Sequence[Stretch], limit: int) -> list[Stretch]:
    """Every address below ``limit``, lowest first, neighbours of one kind together.

    Chunks stay apart. A gap in which no section fits counts as claimed: no chunk will be there.
    """
    found: list[Stretch] = []
    position = 0
    for claim in [*claimed, Stretch(limit, limit, OTHER)]:
        gap = claim.start - position
        if gap > 0:
            _append(found, Stretch(position, claim.start, FREE if gap >= SECTION else OTHER))
        if claim.end > claim.start:
            _append(found, claim)
        position = max(position, claim.end)
    return found


def _append(found: list[Stretch], stretch: Stretch) -> None:
    if found and found[-1].kind == stretch.kind != CHUNK:
        stretch = Stretch(found.pop().start, stretch.end, stretch.kind)
    found.append(stretch)
