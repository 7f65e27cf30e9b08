# SPDX-License-Identifier: GPL-2.0-only
"""Will this page move, and if not, why not? Signs that /proc shows, and one observed attempt.

The signs are read without touching anything: /proc/self/smaps for the mapping
(Documentation/filesystems/proc.rst), /proc/self/pagemap for each page. They foretell what the
kernel looks at in ``migrate_vma_setup`` and ``migrate_vma_collect_pmd``. What they cannot show is
who else holds a reference to a page; that is seen only in the attempt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hmmkit.accounting import SmapsMapping, smaps_of
from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.counters import ChunkUse, read_chunks
from hmmkit.device import Device
from hmmkit.events import Event, MigrateEnd, trace_events
from hmmkit.iomem import PfnRange, device_chunks
from hmmkit.outcome import attempt
from hmmkit.pagemap import FRAME_MASK, PRESENT, SWAP, SWAP_TYPE_BITS, page_words
from hmmkit.rounds import Round, Stage, trace_rounds

FILE_OR_SHARED = 1 << 61

# Chunks begin and end at multiples of this: SUBSECTION_SIZE of include/linux/mmzone.h.
_SUBSECTION = 2 << 20
# All of a word but the place of a swap entry's frame in its subsection.
_SORT = (1 << 64) - 1 - ((_SUBSECTION // PAGE_SIZE - 1) << SWAP_TYPE_BITS)

# VM_SPECIAL of include/linux/mm.h: VM_IO, VM_PFNMAP, VM_MIXEDMAP, VM_DONTEXPAND.
_SPECIAL = {"io", "pf", "mm", "de"}


class Sign(Enum):
    """What can be seen of a page before it is asked to move."""

    NOT_MAPPED = "nothing is mapped here"
    NOT_READABLE = "VmFlags: no rd"
    HUGETLB = "VmFlags: ht"
    SPECIAL = "VmFlags: io, pf, mm or de"
    EMPTY_OF_FILE = "no page, and the mapping has a file"
    HOLE = "no page, private anonymous mapping"
    FILE_OR_SHARED = "pagemap: bit 61"
    ANONYMOUS = "pagemap: present, not bit 61"
    SWAPPED = "pagemap: swap entry of a swap file"
    ON_DEVICE = "pagemap: swap entry, PFN in a chunk of this device"
    ON_OTHER_DEVICE = "pagemap: swap entry, PFN in another device's chunk"
    OTHER_ENTRY = "pagemap: swap entry of another kind"


def signs(pages: Pages, device: int = 0) -> list[Sign]:
    """One sign a page, for a migration to device ``device``. Nothing is touched.

    Raises ``NeedRoot`` where the kernel hides frame numbers, and as ``read_chunks`` does.
    """
    swap_files = swap_files_in_use()
    own, chunks = read_chunks(device), device_chunks()
    words = page_words(pages)
    found: list[Sign] = []
    for mapping, npages in _parts(pages, smaps_of(pages)):
        # Without the place of a swap entry's frame in its subsection, which belongs to one chunk or
        # to none, there are few different words. Each is looked at once.
        here = [*map(_SORT.__and__, words[len(found) : len(found) + npages])]
        of_word = {
            word: _of_mapping(mapping, word) or _of_word(word, swap_files, own, chunks) for word in set(here)
        }
        found += map(of_word.__getitem__, here)
    return found


def _parts(pages: Pages, mappings: list[SmapsMapping]) -> Iterator[tuple[SmapsMapping | None, int]]:
    """The mappings of which the range is made, each with its pages there; None where there is none."""
    at, end = pages.address, pages.address + pages.npages * PAGE_SIZE
    for mapping in mappings:
        if at < mapping.start:
            yield None, (mapping.start - at) // PAGE_SIZE
        at = max(at, mapping.start)
        yield mapping, (min(end, mapping.end) - at) // PAGE_SIZE
        at = min(end, mapping.end)
    if at < end:
        yield None, (end - at) // PAGE_SIZE


def swap_files_in_use() -> int:
    """How many swap files and disks /proc/swaps lists, under its line of headings."""
    return len(Path("/proc/swaps").read_text().splitlines()) - 1


def _of_mapping(mapping: SmapsMapping | None, word: int) -> Sign | None:
    """The sign of a mapping of which nothing moves, or of a page that is not there; else None."""
    if mapping is None:
        return Sign.NOT_MAPPED
    if "rd" not in mapping.flags:
        return Sign.NOT_READABLE
    if "ht" in mapping.flags:
        return Sign.HUGETLB
    if mapping.flags & _SPECIAL:
        return Sign.SPECIAL
    if not word & (PRESENT | SWAP):
        return Sign.EMPTY_OF_FILE if mapping.has_file else Sign.HOLE
    return None


def _of_word(word: int, swap_files: int, own: list[ChunkUse], chunks: list[PfnRange]) -> Sign:
    """The sign of a word of pagemap that is not empty."""
    frame = word & FRAME_MASK
    if word & FILE_OR_SHARED:
        return Sign.FILE_OR_SHARED
    if word & PRESENT:
        return Sign.ANONYMOUS
    swap_type, offset = frame & ((1 << SWAP_TYPE_BITS) - 1), frame >> SWAP_TYPE_BITS
    if swap_type < swap_files:
        return Sign.SWAPPED
    if any(chunk.first <= offset < chunk.end for chunk in own):
        return Sign.ON_DEVICE
    if any(offset in chunk for chunk in chunks):
        return Sign.ON_OTHER_DEVICE
    return Sign.OTHER_ENTRY


@dataclass(frozen=True)
class Observation:
    """One request to move ``asked`` pages to a device, watched from all sides.

    ``signs`` were read before it. ``returns`` is what the caller got, 0 or a negative errno,
    ``moved`` is what the driver's event ``dmirror_migrate_end`` says, ``rounds`` are what the kernel
    was asked for.
    """

    asked: int
    signs: tuple[Sign, ...]
    returns: int
    moved: int
    rounds: tuple[Round, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """How far the pages of all rounds came, of each round the first 64."""
        return stages_of(self.rounds)

    @property
    def stage(self) -> Stage:
        """Where the first page that did not move came to its end; ``MOVED`` if all did."""
        return next((stage for stage in self.stages if stage is not Stage.MOVED), Stage.MOVED)


def observe(device: Device, pages: Pages) -> Observation:
    """Read the signs, ask the device for the pages, and say how far they came.

    Raises as ``trace_rounds`` and ``trace_events`` do. A refusal is no error here.
    """
    before = tuple(signs(pages))
    returns: list[int] = []
    events: list[Event] = []
    rounds = trace_rounds(
        lambda: events.extend(
            trace_events(lambda: returns.append(attempt(device.migrate_to_device, pages).returns))
        )
    )
    end = migrate_ends(events)[-1]
    return Observation(end.asked, before, returns[0], end.moved, tuple(rounds))


def migrate_ends(events: list[Event]) -> list[MigrateEnd]:
    """The ends of the ioctls of this thread, in order: what was asked, moved and returned."""
    thread = threading.get_native_id()
    return [event for event in events if isinstance(event, MigrateEnd) and event.thread == thread]


def stages_of(rounds: Sequence[Round]) -> tuple[Stage, ...]:
    """How far the pages of these rounds came, one after the other."""
    return tuple(stage for one in rounds for stage in one.stages) or (Stage.NOT_ASKED,)
