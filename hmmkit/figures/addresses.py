# SPDX-License-Identifier: GPL-2.0-only
"""The range of physical addresses as a column of boxes, the highest on top."""

from __future__ import annotations

from collections.abc import Sequence

from hmmkit.addressmap import CHUNK, FREE, OTHER, RAM, Stretch
from hmmkit.figures.drawing import (
    CHARACTER_WIDTH,
    GREY,
    GROUND,
    MARGIN,
    ORANGE,
    PADDING,
    ROW,
    SKY,
    Drawing,
    Svg,
    box_width,
)

FILLS = {RAM: SKY, CHUNK: ORANGE, OTHER: GREY, FREE: GROUND}


def address_map(title: str, stretches: Sequence[Stretch]) -> Svg:
    """Draw one box a stretch, with its first address on the left and its size on the right.

    ``stretches`` come lowest first, as ``hmmkit.addressmap.whole_map`` returns them. The boxes
    are of one height: a true scale would show a single one. Chunks are numbered from the highest.

    Raises ``KeyError`` for a kind of stretch that has no colour.
    """
    rows, chunks = [], 0
    for stretch in reversed(stretches):
        words = stretch.kind
        if stretch.kind == CHUNK:
            words, chunks = f"{CHUNK} {chunks}", chunks + 1
        rows.append((f"{stretch.start:#x}", words, size_in_words(stretch.size), FILLS[stretch.kind]))

    left = max(len(row[0]) for row in rows) * CHARACTER_WIDTH + PADDING
    middle = max(box_width(row[1]) for row in rows)
    right = max(len(row[2]) for row in rows) * CHARACTER_WIDTH + PADDING
    drawing = Drawing(2 * MARGIN + left + middle + right, 2 * MARGIN + len(rows) * ROW)
    for number, (start, words, size, fill) in enumerate(rows):
        y = MARGIN + number * ROW
        drawing.text(MARGIN + left - PADDING - len(start) * CHARACTER_WIDTH, y, start)
        drawing.box(MARGIN + left, y, middle, words, fill)
        drawing.text(MARGIN + left + middle + PADDING, y, size)
    sentences = [f"{words}, {size}, from {start}." for start, words, size, _ in rows]
    return drawing.finish(title, f"{title}. From the top down: {' '.join(sentences)}")


def size_in_words(size: int) -> str:
    """A number of bytes in the largest unit of which there is at least one, to one decimal."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} bytes"
