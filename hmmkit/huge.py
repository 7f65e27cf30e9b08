# SPDX-License-Identifier: GPL-2.0-only
"""Memory that one huge page can fill, and what can be done to a part of it.

A transparent huge page (Documentation/admin-guide/mm/transhuge.rst) is mapped by one entry of the
page table's second level, the PMD: 2 MiB on x86-64, at an address that is a multiple of that.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path
from typing import Self

from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Pages, Protection, advise

HUGE_SIZE = 2 << 20
"""Bytes under one PMD entry."""
HUGE_PAGES = HUGE_SIZE // PAGE_SIZE
"""Pages of 4 KiB under one PMD entry."""

_MADV_COLLAPSE = 25  # <asm-generic/mman-common.h>; Linux 6.1
_ATTEMPTS = 20


class HugeBuffer(Buffer):
    """512 pages at an address that a huge page can have, with MADV_HUGEPAGE.

    Nothing else is mapped in the same way beside it, so ``smaps`` of it shows these pages only.
    With ``touched=True`` each page begins with its own number, two bytes, little end first, and
    the kernel has supplied a huge page if it can. With ``huge=False`` it is asked not to.

    Raises ``OSError`` as mmap(2) and madvise(2) do (EINVAL without transparent huge pages).
    """

    def __init__(self, *, touched: bool = False, huge: bool = True) -> None:
        # Some of it stays without access, before and after.
        super().__init__(3 * HUGE_PAGES, Protection.NONE)
        self._room = PageRun(self.address, self.npages)
        self.address = (self.address // HUGE_SIZE + 1) * HUGE_SIZE
        self.npages, self.size = HUGE_PAGES, HUGE_SIZE
        self.protect(Protection.READ_WRITE)
        self.advise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        if touched:
            self.write(b"".join(number(page).ljust(PAGE_SIZE, b"\0") for page in range(HUGE_PAGES)))
            if huge:
                # A page fault takes single pages where no huge one is at hand; this has one made.
                with suppress(OSError):
                    collapse(self)

    def __enter__(self) -> Self:
        return self

    def unmap(self) -> None:
        """Give all pages back, wherever parts of the buffer are now. A second call does nothing."""
        self.address, self.npages = self._room.address, self._room.npages
        super().unmap()

    def number_at(self, page: int) -> int:
        """The number that the CPU reads at the start of ``page``; its own, if nothing went wrong."""
        return int.from_bytes(self.read(2, page * PAGE_SIZE), "little")


def collapse(pages: Pages) -> None:
    """Have huge pages made of these, each aligned 2 MiB of them, by madvise(MADV_COLLAPSE).

    It is asked again while it says EAGAIN: a page was locked, or waited in another processor's
    batch for its place in the kernel's lists.

    Raises ``OSError`` as madvise(2) does, with EAGAIN after many calls.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            advise(pages, _MADV_COLLAPSE)
            return
        except BlockingIOError:  # EAGAIN
            if not left:
                raise


def number(page: int) -> bytes:
    """The mark of a page: its number, two bytes."""
    return page.to_bytes(2, "little")


def numbers_in(data: bytes) -> list[int]:
    """The numbers of the pages in ``data``, as a device reads it."""
    return memoryview(data).cast("H")[:: PAGE_SIZE // 2].tolist()


def has_huge_device_pages() -> bool:
    """Whether this kernel can keep a huge page on a device as it is (6.19 and later).

    The function that serves the CPU's fault on one, ``do_huge_pmd_device_private``, is a proof.
    Raises ``OSError`` without CONFIG_KALLSYMS.
    """
    return " do_huge_pmd_device_private\n" in Path("/proc/kallsyms").read_text()


def split_counts() -> dict[str, int]:
    """How often the kernel split a huge page's ``entry``, and a huge ``page`` itself, so far.

    thp_split_pmd and thp_split_page of /proc/vmstat.
    """
    lines = (line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    counts = {name: int(count) for name, count in lines}
    return {"entry": counts["thp_split_pmd"], "page": counts["thp_split_page"]}
