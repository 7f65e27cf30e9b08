# SPDX-License-Identifier: GPL-2.0-only
"""Figures that are drawn from results, and that draw the same bytes from the same results.

An SVG with text kept as text, positions computed here and nowhere measured from a font, no date
and no random names in it. Dark on a light ground of its own, so that it reads the same on a light
and on a dark page; colours from the set of Okabe and Ito, which colour-blind readers can tell
apart, and never the only thing that tells.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hmmkit.outcome import Outcome
from hmmkit.trace import Call, CallTree

# All lengths are in points, 1/72 inch.
FONT = ("DejaVu Sans Mono", "monospace")
FONT_SIZE = 10.0
CHARACTER_WIDTH = 0.602 * FONT_SIZE
ROW = 24.0
BOX_HEIGHT = 18.0
INDENT = 26.0
PADDING = 6.0
MARGIN = 12.0

GROUND = "#ffffff"
INK = "#222222"
LINE = "#666666"
SKY, ORANGE, YELLOW, GREY = "#56b4e9", "#e69f00", "#f0e442", "#dddddd"


@dataclass(frozen=True)
class Svg:
    """A figure for a notebook: ``svg`` is the picture, ``alt`` says the same in words."""

    svg: str
    alt: str

    def __repr__(self) -> str:
        return self.alt

    def _repr_svg_(self) -> str:
        return self.svg


class _Drawing:
    """A canvas of ``width`` x ``height`` points, the origin at the top left."""

    def __init__(self, width: float, height: float) -> None:
        self._figure = Figure(figsize=(width / 72, height / 72), facecolor=GROUND)
        FigureCanvasSVG(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, width)
        self._axes.set_ylim(height, 0)

    def text(self, x: float, y: float, text: str) -> None:
        """Text whose row has its upper left corner at x, y."""
        baseline = y + 0.7 * BOX_HEIGHT
        self._axes.text(x, baseline, text, color=INK, fontsize=FONT_SIZE, family=FONT)

    def box(self, x: float, y: float, width: float, text: str, fill: str) -> None:
        """A filled box one row high, with text."""
        self._axes.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=3",
                facecolor=fill,
                edgecolor=LINE,
                linewidth=0.8,
            )
        )
        self.text(x + PADDING, y, text)

    def line(self, x: Sequence[float], y: Sequence[float]) -> None:
        """A line through the given points."""
        self._axes.plot(x, y, color=LINE, linewidth=1.0)

    def finish(self, title: str, alt: str) -> Svg:
        """The picture, with its title and its words inside."""
        file = io.StringIO()
        no_dates = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with matplotlib.rc_context({"svg.hashsalt": "hmmkit", "svg.fonttype": "none"}):
            self._figure.savefig(file, format="svg", metadata=no_dates)
        return Svg(_with_words(file.getvalue(), title, alt), alt)


def outcome_grid(
    title: str, rows: Sequence[str], columns: Sequence[str], outcomes: Mapping[tuple[str, str], Outcome]
) -> Svg:
    """Draw one box an outcome, in the row and column of its key ``(row, column)``.

    Raises ``KeyError`` where an outcome is missing.
    """
    words = {place: _in_words(outcome) for place, outcome in outcomes.items()}
    first = _box_width(max(rows, key=len))
    cell = max(_box_width(text) for text in (*columns, *words.values()))
    step = cell + PADDING
    drawing = _Drawing(2 * MARGIN + first + len(columns) * step, 2 * MARGIN + (len(rows) + 1) * ROW)
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


def call_graph(title: str, tree: CallTree, groups: Mapping[str, str]) -> Svg:
    """Draw a call tree: one box a call, one row each, below and to the right of its caller.

    ``groups`` maps a function to the name of the part of the system that it belongs to; each
    part has a colour, and the legend names it.

    Raises ``KeyError`` for a function without a group, ``ValueError`` for more groups than there
    are colours.
    """
    rows = [row for root in tree.roots for row in _rows(root, 0)]
    parts = list(dict.fromkeys(groups[function] for function, _ in rows))
    fills = (SKY, ORANGE, YELLOW, GREY)
    if len(parts) > len(fills):
        raise ValueError(f"{len(parts)} groups, but only {len(fills)} colours")
    fill = dict(zip(parts, fills, strict=False))

    legend = sum(_box_width(part) + PADDING for part in parts)
    width = max([legend, *(depth * INDENT + _box_width(function) for function, depth in rows)])
    drawing = _Drawing(2 * MARGIN + width, 2 * MARGIN + (len(rows) + 1.5) * ROW)

    x = MARGIN
    for part in parts:
        drawing.box(x, MARGIN, _box_width(part), part, fill[part])
        x += _box_width(part) + PADDING

    tops = [MARGIN + (number + 1.5) * ROW for number in range(len(rows))]
    for number, (function, depth) in enumerate(rows):
        x, y = MARGIN + depth * INDENT, tops[number]
        if depth:
            # From the caller's lower edge down, then right to this box.
            caller = max(above for above in range(number) if rows[above][1] == depth - 1)
            corner, middle = x - INDENT / 2, y + BOX_HEIGHT / 2
            drawing.line([corner, corner, x], [tops[caller] + BOX_HEIGHT, middle, middle])
        drawing.box(x, y, _box_width(function), function, fill[groups[function]])
    return drawing.finish(title, f"{title}. {_calls_in_words(tree)}")


def _rows(call: Call, depth: int) -> list[tuple[str, int]]:
    rows = [(call.function, depth)]
    for below in call.calls:
        rows += _rows(below, depth + 1)
    return rows


def _box_width(text: str) -> float:
    return len(text) * CHARACTER_WIDTH + 2 * PADDING


def _in_words(outcome: Outcome) -> str:
    if outcome.returns:
        return f"refused, {outcome.returns}"
    return f"moved {outcome.pages} page{'' if outcome.pages == 1 else 's'}, 0"


def _calls_in_words(tree: CallTree) -> str:
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


def _with_words(svg: str, title: str, alt: str) -> str:
    """The svg element alone, with a title and a description for screen readers."""
    before, after = svg[svg.index("<svg ") :].split(">", 1)
    return (
        f'{before} role="img" aria-label="{escape(alt)}">\n'
        f" <title>{escape(title)}</title>\n <desc>{escape(alt)}</desc>{after}"
    )
