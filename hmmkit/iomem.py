# SPDX-License-Identifier: GPL-2.0-only
"""Who owns which physical addresses: /proc/iomem, in page frame numbers (PFNs).

A device-private chunk has physical addresses that no memory answers to. They exist so that
each page can have a ``struct page``, and /proc/iomem is where the kernel lists them.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE
from hmmkit.errors import NeedRoot
from hmmkit.uapi import IOMEM_NAME

SYSTEM_RAM = "System RAM"


@dataclass(frozen=True)
class PfnRange:
    """The PFNs from ``first`` up to, not including, ``end``."""

    first: int
    end: int

    @property
    def npages(self) -> int:
        """Length in pages."""
        return self.end - self.first

    def __contains__(self, pfn: int) -> bool:
        return self.first <= pfn < self.end


def parse_iomem(text: str, name: str) -> list[PfnRange]:
    """The ranges called ``name``, at any depth, highest first.

    Highest first because ``request_free_mem_region`` walks down: chunk 0 is the one that was
    added first.

    Raises ``NeedRoot`` when the kernel shows zeros in place of addresses.
    """
    ranges = []
    for line in text.splitlines():
        span, _, owner = line.strip().partition(" : ")
        if owner != name:
            continue
        start, last = (int(word, 16) for word in span.split("-"))
        if last == 0:
            raise NeedRoot(errno.EPERM, "/proc/iomem shows its addresses to root only: run as root")
        ranges.append(PfnRange(start // PAGE_SIZE, (last + 1) // PAGE_SIZE))
    return sorted(ranges, key=lambda found: -found.first)


def device_chunks() -> list[PfnRange]:
    """The chunks of all mirror devices, in the order in which they were added."""
    return parse_iomem(Path("/proc/iomem").read_text(), IOMEM_NAME)


def system_ram() -> list[PfnRange]:
    """The ranges of ordinary memory."""
    return parse_iomem(Path("/proc/iomem").read_text(), SYSTEM_RAM)
