# SPDX-License-Identifier: GPL-2.0-only
"""What all figures are drawn with: one canvas, one style, the same bytes from the same results.

An SVG with text kept as text, positions computed here and nowhere measured from a font, no date
and no random names in it. Dark on a light ground of its own, so that it reads the same on a light
and on a dark page; colours from the set of Okabe and Ito, which colour-blind readers can tell
apart, and never the only thing that tells.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

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


class Drawing:
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

    def curve(self, x: Sequence[float], y: Sequence[float], color: str, mark: str) -> None:
        """A coloured line through the given points, a mark at each: "o", "s", "^" of matplotlib."""
        self._axes.plot(x, y, color=color, linewidth=1.6, marker=mark, markersize=5)

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

    def area(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A filled rectangle of any size, without an edge."""
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor="none"))

    def line(self, x: Sequence[float], y: Sequence[float], color: str = LINE) -> None:
        """A line through the given points. A point that is not a number (NaN) lifts the pen."""
        self._axes.plot(x, y, color=color, linewidth=1.0)

    def finish(self, title: str, alt: str) -> Svg:
        """The picture, with its title and its words inside."""
        file = io.StringIO()
        no_dates = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with matplotlib.rc_context({"svg.hashsalt": "hmmkit", "svg.fonttype": "none"}):
            self._figure.savefig(file, format="svg", metadata=no_dates)
        return Svg(_with_words(file.getvalue(), title, alt), alt)


def box_width(text: str) -> float:
    """How wide a box around ``text`` is, in points."""
    return len(text) * CHARACTER_WIDTH + 2 * PADDING


def _with_words(svg: str, title: str, alt: str) -> str:
    """The svg element alone, with a title and a description for screen readers."""
    before, after = svg[svg.index("<svg ") :].split(">", 1)
    return (
        f'{before} role="img" aria-label="{escape(alt)}">\n'
        f" <title>{escape(title)}</title>\n <desc>{escape(alt)}</desc>{after}"
    )
