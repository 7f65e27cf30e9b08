# SPDX-License-Identifier: GPL-2.0-only
"""Page tables and the page frames that they lead to, at one moment after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from hmmkit.figures.drawing import (
    BOX_HEIGHT,
    GREY,
    INDENT,
    MARGIN,
    ORANGE,
    PADDING,
    ROW,
    SKY,
    YELLOW,
    Drawing,
    Svg,
    box_width,
)
from hmmkit.frames import RAM_PAGE, FrameNames
from hmmkit.pagemap import PageEntry, SwapTypes

_GAP = 2 * INDENT
_EMPTY = "empty"
_PRESENT = "present"


@dataclass(frozen=True)
class Entry:
    """One entry of a page table: what it says, and the name of the frame that it leads to, if any."""

    says: str
    frame: str | None = None

    @classmethod
    def of(cls, entry: PageEntry, types: SwapTypes, frames: FrameNames) -> Entry:
        """An entry as it was read, with names in place of numbers."""
        frame = frames.name(entry)
        if entry.present:
            return cls(_PRESENT, frame)
        return cls(_EMPTY) if entry.swap_type is None else cls(types.name(entry.swap_type), frame)


@dataclass(frozen=True)
class Moment:
    """What all page tables held at one moment: the entries of each, in order, by whose it is."""

    caption: str
    tables: Mapping[str, Sequence[Entry]]


def page_tables(title: str, moments: Sequence[Moment]) -> Svg:
    """Draw moments below each other: one page table on the left, the frames, another on the right.

    All moments have the same one or two tables. An entry that is present, one that is not, and an
    empty one have different colours, as have the two kinds of frame; a line leads from each entry
    to its frame.

    Raises ``ValueError`` without a moment, for more than two tables, or where they differ.
    """
    owners = list(moments[0].tables) if moments else []
    if not 1 <= len(owners) <= 2 or any(list(moment.tables) != owners for moment in moments):
        raise ValueError("page_tables wants one or two page tables, the same at each moment")

    columns = [
        max(box_width(text) for text in (owner, *_all_entries(moments, owner))) for owner in owners
    ]  # of the tables
    middle = max(box_width(text) for text in ("page frames", *_all_frames(moments)))
    lefts = [MARGIN, MARGIN + columns[0] + _GAP + middle + _GAP]
    center = MARGIN + columns[0] + _GAP
    end = lefts[1] + columns[1] if len(owners) == 2 else center + middle
    captions = max(box_width(moment.caption) for moment in moments)
    rows = sum(_rows(moment) + 1.25 for moment in moments)
    drawing = Drawing(max(end, MARGIN + captions) + MARGIN, 2 * MARGIN + (1 + rows) * ROW)

    for left, owner in zip(lefts, owners, strict=False):
        drawing.text(left + PADDING, MARGIN, owner)
    drawing.text(center + PADDING, MARGIN, "page frames")

    y = MARGIN + ROW
    for moment in moments:
        drawing.text(MARGIN, y + ROW / 8, moment.caption)
        y += 1.25 * ROW
        frames = _frames(moment)
        for row, frame in enumerate(frames):
            fill = GREY if frame.startswith(RAM_PAGE) else YELLOW
            drawing.box(center, y + row * ROW, middle, frame, fill)
        for number, owner in enumerate(owners):
            for row, entry in enumerate(moment.tables[owner]):
                top = y + row * ROW
                drawing.box(lefts[number], top, columns[number], entry.says, _fill(entry))
                if entry.frame is not None:
                    edge = lefts[1] if number else lefts[0] + columns[0]
                    target = center + middle if number else center
                    bottom = y + frames.index(entry.frame) * ROW
                    drawing.line([edge, target], [top + BOX_HEIGHT / 2, bottom + BOX_HEIGHT / 2])
        y += _rows(moment) * ROW
    return drawing.finish(title, f"{title}. {' '.join(_in_words(moment) for moment in moments)}")


def _fill(entry: Entry) -> str:
    if entry.says == _PRESENT:
        return SKY
    return GREY if entry.frame is None else ORANGE


def _all_entries(moments: Sequence[Moment], owner: str) -> list[str]:
    return [entry.says for moment in moments for entry in moment.tables[owner]]


def _all_frames(moments: Sequence[Moment]) -> list[str]:
    return list(chain.from_iterable(_frames(moment) for moment in moments))


def _frames(moment: Moment) -> list[str]:
    """The frames that some entry leads to, each once, in the order in which they are met."""
    entries = chain.from_iterable(moment.tables.values())
    return list(dict.fromkeys(entry.frame for entry in entries if entry.frame is not None))


def _rows(moment: Moment) -> int:
    return max(len(_frames(moment)), *(len(entries) for entries in moment.tables.values()), 1)


def _in_words(moment: Moment) -> str:
    tables = "; ".join(
        f"{owner}: {', '.join(_entry_in_words(entry) for entry in entries)}"
        for owner, entries in moment.tables.items()
    )
    return f"{moment.caption}: {tables}."


def _entry_in_words(entry: Entry) -> str:
    return entry.says if entry.frame is None else f"{entry.says}, {entry.frame}"
