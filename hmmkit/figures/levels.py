# SPDX-License-Identifier: GPL-2.0-only
"""What is under one PMD entry: a huge page, or a page table of 512 entries, each as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from math import nan

from hmmkit.figures.drawing import (
    BOX_HEIGHT,
    FONT_SIZE,
    GREY,
    GROUND,
    INDENT,
    LINE,
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
from hmmkit.huge import HUGE_PAGES
from hmmkit.snapshot import MirrorPage, Snapshot
from hmmkit.uapi import PROT_KIND, Prot

ON_DEVICE, IN_RAM, EMPTY, UNMAPPED = "on the device", "in RAM", "empty", "not mapped"

FILLS = {ON_DEVICE: ORANGE, IN_RAM: SKY, EMPTY: GREY, UNMAPPED: YELLOW}

# The 512 pages as a field, in points.
_ACROSS = 32
_CELL = 7.0


def state(page: MirrorPage) -> str:
    """Where one page is, in one of the words of ``FILLS``."""
    if page.code == Prot.ERROR:
        return UNMAPPED
    if page.on_this_device:
        return ON_DEVICE
    return IN_RAM if page.code & (Prot.READ | Prot.WRITE) or page.code & PROT_KIND else EMPTY


def page_levels(title: str, views: Mapping[str, Snapshot]) -> Svg:
    """Draw views below each other: the PMD entry on the left, what it leads to on the right.

    Each view is a caption and the snapshot of the 512 pages under one PMD entry, in order. A huge
    page is one area; a page table is a field of 512 cells, 32 a row, from the top left.

    Raises ``ValueError`` for a view that has not 512 pages.
    """
    for caption, pages in views.items():
        if len(pages) != HUGE_PAGES:
            raise ValueError(f"{caption!r} has {len(pages)} pages, and {HUGE_PAGES} are under a PMD entry")
    entries = {
        caption: "PMD entry: the page" if pages.is_one_entry else "PMD entry: a table"
        for caption, pages in views.items()
    }
    entry_width = max(box_width(entry) for entry in entries.values())
    field, left = (_ACROSS * _CELL, HUGE_PAGES / _ACROSS * _CELL), MARGIN + entry_width + 2 * INDENT
    legends = {caption: _counts(pages) for caption, pages in views.items()}
    legend_width = max(sum(box_width(text) + PADDING for _, text in legend) for legend in legends.values())
    caption_width = max(box_width(caption) for caption in views)
    width = max(left + field[0], MARGIN + caption_width, left + legend_width) + MARGIN
    step = 2 * ROW + field[1] + ROW
    drawing = Drawing(width, 2 * MARGIN + len(views) * step - ROW / 2)

    for number, (caption, pages) in enumerate(views.items()):
        y = MARGIN + number * step
        drawing.text(MARGIN, y, caption)
        y += ROW
        drawing.box(MARGIN, y, entry_width, entries[caption], GROUND)
        drawing.line([MARGIN + entry_width, left], [y + BOX_HEIGHT / 2] * 2)
        _draw_pages(drawing, left, y, pages)
        x = left
        for kind, text in legends[caption]:
            drawing.box(x, y + field[1] + PADDING, box_width(text), text, FILLS[kind])
            x += box_width(text) + PADDING
    sentences = [_in_words(caption, pages) for caption, pages in views.items()]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")


def _draw_pages(drawing: Drawing, left: float, top: float, pages: Snapshot) -> None:
    states = [state(page) for page in pages]
    width, height = _ACROSS * _CELL, HUGE_PAGES / _ACROSS * _CELL
    if pages.is_one_entry:
        drawing.area(left, top, width, height, FILLS[states[0]])
        drawing.text(left + PADDING, top + height / 2 - FONT_SIZE, "one folio, 512 pages")
    else:
        for row in range(HUGE_PAGES // _ACROSS):
            at = left
            for kind, run in groupby(states[row * _ACROSS : (row + 1) * _ACROSS]):
                length = len(list(run)) * _CELL
                drawing.area(at, top + row * _CELL, length, _CELL, FILLS[kind])
                at += length
        # One path: across, then down.
        rows = [top + row * _CELL for row in range(1, HUGE_PAGES // _ACROSS)]
        columns = [left + column * _CELL for column in range(1, _ACROSS)]
        drawing.line(
            [left, left + width, nan] * len(rows) + [x for column in columns for x in (column, column, nan)],
            [y for row in rows for y in (row, row, nan)] + [top, top + height, nan] * len(columns),
            GROUND,
        )
    drawing.line(
        [left, left + width, left + width, left, left], [top, top, top + height, top + height, top], LINE
    )


def _counts(pages: Snapshot) -> list[tuple[str, str]]:
    """Each state that occurs, and it in words with its number, in the order of the colours."""
    found: Counter[str] = Counter()
    for page, count in pages.counts().items():
        found[state(page)] += count
    return [(kind, f"{found[kind]} {kind}") for kind in FILLS if kind in found]


def _in_words(caption: str, pages: Snapshot) -> str:
    what = "one PMD entry" if pages.is_one_entry else "a page table"
    return f"{caption}: {what}, {', '.join(text for _, text in _counts(pages))}."
