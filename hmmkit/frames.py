# SPDX-License-Identifier: GPL-2.0-only
"""Names for page frames: the same frame has the same name, in whosever page table it is found.

A page frame number is different in each run and says little. What matters is where the frame is,
and whether two entries name the same one.
"""

from __future__ import annotations

from collections import Counter
from string import ascii_uppercase

from hmmkit.iomem import PfnRange, device_chunks, system_ram
from hmmkit.pagemap import PageEntry

DEVICE_PAGE = "device page"
RAM_PAGE = "RAM page"


class FrameNames:
    """Gives names in the order in which frames are met: "RAM page A", "device page A" and so on.

    Good for as long as none of the frames is freed: a frame that the kernel hands out again keeps
    the name that it had. ``chunks`` and ``ram`` are where the frames can be; by default what
    ``/proc/iomem`` says now.

    Raises ``NeedRoot`` where the kernel hides that.
    """

    def __init__(self, chunks: list[PfnRange] | None = None, ram: list[PfnRange] | None = None) -> None:
        self._chunks = device_chunks() if chunks is None else chunks
        self._ram = system_ram() if ram is None else ram
        self._names: dict[int, str] = {}
        self._met: Counter[str] = Counter()

    def name(self, entry: PageEntry) -> str | None:
        """The name of the frame that an entry leads to; None where it leads to none.

        Raises ``IndexError`` at the 27th frame of a kind.
        """
        kind = self._kind(entry.pfn)
        if kind is None or (not entry.present and entry.swap_type is None):
            return None
        if entry.pfn not in self._names:
            self._names[entry.pfn] = f"{kind} {ascii_uppercase[self._met[kind]]}"
            self._met[kind] += 1
        return self._names[entry.pfn]

    def _kind(self, pfn: int) -> str | None:
        if any(pfn in chunk for chunk in self._chunks):
            return DEVICE_PAGE
        if any(pfn in ram for ram in self._ram):
            return RAM_PAGE
        return None
