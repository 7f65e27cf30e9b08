# SPDX-License-Identifier: GPL-2.0-only
"""What a device would see of some memory: one box a page, in the colour of the place it is in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from hmmkit.figures.drawing import (
    CHARACTER_WIDTH,
    GREY,
    GROUND,
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
from hmmkit.snapshot import MirrorPage, Snapshot
from hmmkit.uapi import PROT_KIND, Prot

GREEN = "#009e73"  # Okabe and Ito's bluish green

_PLACES = {
    int(Prot.ZERO): YELLOW,
    int(Prot.DEV_PRIVATE_LOCAL): ORANGE,
    int(Prot.DEV_PRIVATE_REMOTE): ORANGE,
    int(Prot.DEV_COHERENT_LOCAL): GREEN,
    int(Prot.DEV_COHERENT_REMOTE): GREEN,
}


def snapshot_map(title: str, rows: Sequence[tuple[str, Snapshot]]) -> Svg:
    """Draw one row of boxes for each pair of a label and the pages of a SNAPSHOT, and a legend.

    A box has the byte that SNAPSHOT wrote, in hexadecimal, and the legend says it in words. White
    is nothing, grey an error, blue RAM; the zero page and the devices have colours of their own.
    """
    bytes_met = sorted(set().union(*(pages.codes for _, pages in rows)))
    cell = box_width("00")
    step = cell + PADDING / 2
    left = max(len(label) for label, _ in rows) * CHARACTER_WIDTH + PADDING
    across = max(
        left + step * max(len(pages) for _, pages in rows),
        max(cell + 2 * PADDING + len(str(MirrorPage(code))) * CHARACTER_WIDTH for code in bytes_met),
    )
    drawing = Drawing(2 * MARGIN + across, 2 * MARGIN + (len(rows) + len(bytes_met) + 0.5) * ROW)
    for number, (label, pages) in enumerate(rows):
        y = MARGIN + number * ROW
        drawing.text(MARGIN, y, label)
        for at, page in enumerate(pages):
            drawing.box(MARGIN + left + at * step, y, cell, f"{page.code:02x}", _fill(page.code))
    for number, code in enumerate(bytes_met):
        y = MARGIN + (len(rows) + number + 0.5) * ROW
        drawing.box(MARGIN, y, cell, f"{code:02x}", _fill(code))
        drawing.text(MARGIN + cell + PADDING, y, str(MirrorPage(code)))
    sentences = [f"{label}: {_in_words(pages)}." for label, pages in rows]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")


def _fill(code: int) -> str:
    if code == Prot.ERROR:
        return GREY
    if code == Prot.NONE:
        return GROUND
    return _PLACES.get(code & PROT_KIND, SKY)


def _in_words(pages: Snapshot) -> str:
    """The pages in words, runs of equal ones together; a pattern of two is said once."""
    words = [str(page) for page in pages]
    runs = [(word, len(list(same))) for word, same in groupby(words)]
    if len(runs) > 2 and len(set(words)) == 2 and all(count == 1 for _, count in runs):
        return f"{words[0]} and {words[1]} in turn"
    return ", then ".join(f"{count} {'page' if count == 1 else 'pages'} {word}" for word, count in runs)
