# SPDX-License-Identifier: GPL-2.0-only
"""A grid of attempts: what was tried across and down, what came of it in each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmmkit.figures.drawing import MARGIN, ORANGE, PADDING, ROW, SKY, Drawing, Svg, box_width
from hmmkit.outcome import Outcome


def outcome_grid(
    title: str, rows: Sequence[str], columns: Sequence[str], outcomes: Mapping[tuple[str, str], Outcome]
) -> Svg:
    """Draw one box an outcome, in the row and column of its key ``(row, column)``.

    Raises ``KeyError`` where an outcome is missing.
    """
    words = {place: _in_words(outcome) for place, outcome in outcomes.items()}
    first = box_width(max(rows, key=len))
    cell = max(box_width(text) for text in (*columns, *words.values()))
    step = cell + PADDING
    drawing = Drawing(2 * MARGIN + first + len(columns) * step, 2 * MARGIN + (len(rows) + 1) * ROW)
    for across, column in enumerate(columns):
        drawing.text(MARGIN + first + across * step + PADDING, MARGIN, column)
    for down, row in enumerate(rows, start=1):
        y = MARGIN + down * ROW
        drawing.text(MARGIN, y, row)
        for across, column in enumerate(columns):
            fill = ORANGE if outcomes[row, column].returns else SKY
            drawing.box(MARGIN + first + across * step, y, cell, words[row, column], fill)
    sentences = [f"{row}, {column}: {words[row, column]}." for row in rows for column in columns]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")


def _in_words(outcome: Outcome) -> str:
    if outcome.returns:
        return f"refused, {outcome.returns}"
    return f"moved {outcome.pages} page{'' if outcome.pages == 1 else 's'}, 0"
