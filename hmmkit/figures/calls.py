# SPDX-License-Identifier: GPL-2.0-only
"""A call tree as a picture: one box a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from hmmkit.trace import Call, CallTree


def call_graph(title: str, tree: CallTree, groups: Mapping[str, str]) -> Svg:
    """Draw a call tree: one box a call, one row each, below and to the right of its caller.

    ``groups`` maps a function to the name of the part of the system that it belongs to; each
    part has a colour, and the legend names it.

    Raises ``KeyError`` for a function without a group, ``ValueError`` for more groups than there
    are colours.
    """
    rows = [row for root in tree.roots for row in call_rows(root, 0)]
    parts = list(dict.fromkeys(groups[function] for function, _ in rows))
    fills = (SKY, ORANGE, YELLOW, GREY)
    if len(parts) > len(fills):
        raise ValueError(f"{len(parts)} groups, but only {len(fills)} colours")
    fill = dict(zip(parts, fills, strict=False))

    legend = sum(box_width(part) + PADDING for part in parts)
    width = max([legend, *(depth * INDENT + box_width(function) for function, depth in rows)])
    drawing = Drawing(2 * MARGIN + width, 2 * MARGIN + (len(rows) + 1.5) * ROW)

    x = MARGIN
    for part in parts:
        drawing.box(x, MARGIN, box_width(part), part, fill[part])
        x += box_width(part) + PADDING

    draw_rows(drawing, rows, MARGIN, MARGIN + 1.5 * ROW, {name: fill[groups[name]] for name, _ in rows})
    return drawing.finish(title, f"{title}. {calls_in_words(tree)}")


def draw_rows(
    drawing: Drawing, rows: Sequence[tuple[str, int]], left: float, top: float, fill: Mapping[str, str]
) -> None:
    """Draw calls, given as pairs (function, depth), from ``left``, ``top`` down, each with its colour.

    Raises ``KeyError`` for a function without a colour.
    """
    tops = [top + number * ROW for number in range(len(rows))]
    for number, (function, depth) in enumerate(rows):
        x, y = left + depth * INDENT, tops[number]
        if depth:
            # From the caller's lower edge down, then right to this box.
            caller = max(above for above in range(number) if rows[above][1] == depth - 1)
            corner, middle = x - INDENT / 2, y + BOX_HEIGHT / 2
            drawing.line([corner, corner, x], [tops[caller] + BOX_HEIGHT, middle, middle])
        drawing.box(x, y, box_width(function), function, fill[function])


def call_rows(call: Call, depth: int) -> list[tuple[str, int]]:
    """A call and all below it as pairs (function, depth), in the order of the calls."""
    rows = [(call.function, depth)]
    for below in call.calls:
        rows += call_rows(below, depth + 1)
    return rows


def calls_in_words(tree: CallTree) -> str:
    """Who calls whom, in sentences."""
    sentences = []
    for root in tree.roots:
        if not root.calls:
            sentences.append(f"{root.function} is called.")
        sentences += [
            f"{call.function} calls {', then '.join(below.function for below in call.calls)}."
            for call in root.walk()
            if call.calls
        ]
    return " ".join(sentences)
