# SPDX-License-Identifier: GPL-2.0-only
"""What a page table entry says, through /proc/self/pagemap.

The kernel packs one 64-bit word a page (Documentation/admin-guide/mm/pagemap.rst): bit 63
present, bit 62 swap; a present page's PFN in bits 0-54; a swap entry's type in bits 0-4 and its
offset in bits 5-54. A device-private page shows as a swap entry, and its offset is the PFN of
the device page.

Which type number means "device-private" depends on the kernel's configuration. It is no part of
any ABI, so it is measured here on a page that is known to be on the device.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, overload

from hmmkit.buffer import PAGE_SIZE, Buffer, Pages, Protection
from hmmkit.device import Device
from hmmkit.errors import HmmError, NeedRoot
from hmmkit.iomem import device_chunks, system_ram

PRESENT = 1 << 63
SWAP = 1 << 62
FRAME_MASK = (1 << 55) - 1
SWAP_TYPE_BITS = 5
WORD_SIZE = 8


@dataclass(frozen=True)
class PageEntry:
    """One decoded word. ``pfn`` is the frame number, or 0 for an entry that is empty.

    ``swap_type`` is None unless the entry is a swap entry.
    """

    present: bool
    swap_type: int | None
    pfn: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """Decode one word. Raises ``NeedRoot`` where the kernel hides the frame number."""
        frame = word & FRAME_MASK
        if word & (PRESENT | SWAP) and not frame:
            raise NeedRoot(errno.EPERM, "/proc/self/pagemap shows frame numbers to root only: run as root")
        if word & PRESENT:
            return cls(True, None, frame)
        if word & SWAP:
            return cls(False, frame & ((1 << SWAP_TYPE_BITS) - 1), frame >> SWAP_TYPE_BITS)
        return cls(False, None, 0)


class PageEntries(Sequence[PageEntry]):
    """The entries of some pages in order; ``words`` has the 64-bit word of each.

    An entry is decoded when one asks for it. How many there are of a kind is counted over the words
    as a whole: a range may have millions.
    """

    def __init__(self, words: array[int]) -> None:
        self.words = words

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, at: int) -> PageEntry: ...

    @overload
    def __getitem__(self, at: slice) -> PageEntries: ...

    def __getitem__(self, at: int | slice) -> PageEntry | PageEntries:
        return PageEntries(self.words[at]) if isinstance(at, slice) else PageEntry.decode(self.words[at])

    def __iter__(self) -> Iterator[PageEntry]:
        return map(PageEntry.decode, self.words)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, PageEntries) else NotImplemented

    @property
    def present(self) -> int:
        """How many pages are present."""
        return self._with(PRESENT)

    @property
    def swapped(self) -> int:
        """How many pages have a swap entry: on a device, in a swap file, or any other."""
        return self._with(SWAP)

    def _with(self, bit: int) -> int:
        """How many words have ``bit``, one of the uppermost eight."""
        top = self.words.tobytes()[WORD_SIZE - 1 :: WORD_SIZE]  # little end first: one byte of each word
        without = bytes(byte for byte in range(256) if not byte << 56 & bit)
        return len(top.translate(None, without))


def page_words(pages: Pages, process: int | str = "self") -> array[int]:
    """The 64-bit words of all pages of a range, read without touching any of them.

    ``process`` is whose page table to look at, by number.
    """
    fd = os.open(f"/proc/{process}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = pages.address // PAGE_SIZE * WORD_SIZE
        return array("Q", os.pread(fd, pages.npages * WORD_SIZE, offset))
    finally:
        os.close(fd)


def page_entries(pages: Pages, process: int | str = "self") -> PageEntries:
    """The entries of all pages of a range, as :func:`page_words` reads them."""
    return PageEntries(page_words(pages, process))


@dataclass(frozen=True)
class SwapTypes:
    """The numbers that this kernel uses for the device's types of swap entry.

    ``exclusive`` is that of a page which only a device may touch. Up to 6.14 there is a second
    one, for a mapping that may only be read; later kernels have one type for both.
    """

    device_write: int
    device_read: int
    exclusive: int | None = None
    exclusive_read: int | None = None

    @classmethod
    def calibrate(cls, device: Device) -> Self:
        """Move a page of our own to the device and look at its entry.

        A page that was writable becomes a DEVICE_WRITE entry; taking the write permission away
        turns the entry into DEVICE_READ (``change_pte_range`` in mm/mprotect.c). The same with a
        page that the device has for itself.

        Raises ``HmmError`` if the page does not end up on the device.
        """
        found: list[int] = []
        for take in (device.migrate_to_device, device.exclusive):
            with Buffer(touched=True) as buffer:
                take(buffer)
                writable = page_entries(buffer)[0]
                buffer.protect(Protection.READ)
                readable = page_entries(buffer)[0]
            if writable.swap_type is None or readable.swap_type is None:
                raise HmmError(errno.ENODATA, "the calibration page has no swap entry on the device")
            found += [writable.swap_type, readable.swap_type]
        return cls(*found)

    def name(self, swap_type: int) -> str:
        """The kernel's name for a type, as far as it was calibrated."""
        names = {
            self.exclusive_read: "DEVICE_EXCLUSIVE_READ",
            self.exclusive: "DEVICE_EXCLUSIVE",
            self.device_write: "DEVICE_WRITE",
            self.device_read: "DEVICE_READ",
        }
        return names.get(swap_type, f"another type ({swap_type})")


def describe(entry: PageEntry, types: SwapTypes) -> str:
    """An entry in words that are the same on every machine: places, no frame numbers."""
    if entry.present:
        in_ram = any(entry.pfn in ram for ram in system_ram())
        return f"present, PFN in {'system RAM' if in_ram else 'no system RAM'}"
    if entry.swap_type is None:
        return "empty"
    kind = types.name(entry.swap_type)
    for number, chunk in enumerate(device_chunks()):
        if entry.pfn in chunk:
            return f"swap entry, type {kind}, PFN in chunk {number}"
    # A page that is exclusive to a device has not moved.
    place = "system RAM" if any(entry.pfn in ram for ram in system_ram()) else "no chunk"
    return f"swap entry, type {kind}, PFN in {place}"
