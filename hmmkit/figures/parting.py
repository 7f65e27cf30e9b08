# SPDX-License-Identifier: GPL-2.0-only
"""Two call trees that begin alike: the common way once, and what follows side by side."""

from __future__ import annotations

from collections.abc import Mapping

from hmmkit.figures.calls import call_rows, calls_in_words, draw_rows
from hmmkit.figures.drawing import (
    GREY,
    INDENT,
    MARGIN,
    ORANGE,
    PADDING,
    ROW,
    SKY,
    Drawing,
    Svg,
    box_width,
)
from hmmkit.trace import Call, CallTree


def parting_ways(title: str, trees: Mapping[str, CallTree]) -> Svg:
    """Draw two trees, each of one root, under their names: first what both call, then the rest.

    Raises ``ValueError`` if there are not two trees, or if they do not begin alike.
    """
    (left, one), (right, other) = trees.items()
    shared, rests = _part(one, other)
    if not shared:
        raise ValueError(f"{left!r} and {right!r} have no first step in common")
    rows = [[row for call in rest for row in call_rows(call, 0)] for rest in rests]
    common = [(function, depth) for depth, function in enumerate(shared)]
    widths = [
        max([box_width(name), *(depth * INDENT + box_width(function) for function, depth in column)])
        for name, column in zip(trees, rows, strict=True)
    ]
    height = len(common) + 1.5 + max(len(column) for column in rows)
    drawing = Drawing(
        2 * MARGIN + max(sum(widths) + 4 * PADDING, len(common) * INDENT + box_width(shared[-1])),
        2 * MARGIN + height * ROW,
    )
    draw_rows(drawing, common, MARGIN, MARGIN, dict.fromkeys(shared, SKY))
    top, x = MARGIN + (len(common) + 0.5) * ROW, MARGIN
    for name, column, width, colour in zip(trees, rows, widths, (ORANGE, GREY), strict=True):
        drawing.text(x, top, name)
        draw_rows(drawing, column, x, top + ROW, {function: colour for function, _ in column})
        x += width + 4 * PADDING
    sentences = [f"Both: {', then '.join(shared)}."]
    for name, rest in zip(trees, rests, strict=True):
        sentences.append(f"{name}: {shared[-1]} calls {', then '.join(call.function for call in rest)}.")
        sentences += [words for call in rest if (words := calls_in_words(CallTree((call,)))) and call.calls]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")


def _part(one: CallTree, other: CallTree) -> tuple[list[str], tuple[tuple[Call, ...], tuple[Call, ...]]]:
    """The names of the calls that both trees make alone, from the root down, and what is below."""
    shared = []
    left, right = one.roots, other.roots
    while len(left) == len(right) == 1 and left[0].function == right[0].function:
        shared.append(left[0].function)
        left, right = left[0].calls, right[0].calls
    return shared, (left, right)
