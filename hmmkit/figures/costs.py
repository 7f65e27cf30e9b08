# SPDX-License-Identifier: GPL-2.0-only
"""What things cost: curves over the number of pages, and bars beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hmmkit.figures.drawing import (
    CHARACTER_WIDTH,
    FONT_SIZE,
    GREY,
    MARGIN,
    ORANGE,
    PADDING,
    ROW,
    SKY,
    Drawing,
    Svg,
    box_width,
)

# Of the set of Okabe and Ito, those dark enough for a line on white; each with a mark of its own.
CURVES = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#222222", "v"),
    ("#e69f00", "P"),
)
WIDTH, HEIGHT = 360.0, 260.0  # of the field inside the axes
LABEL_STEP = 1.4 * FONT_SIZE
BAR = 300.0


def cost_curves(title: str, curves: Mapping[str, Mapping[int, float]], unit: str, across: str) -> Svg:
    """Draw one curve for each name: pages to cost, both axes logarithmic.

    ``unit`` is what the cost is in, ``across`` what the pages are. The name stands where the curve
    ends.

    Raises ``ValueError`` for more curves than there are colours, or a curve without points.
    """
    if len(curves) > len(CURVES):
        raise ValueError(f"{len(curves)} curves, but only {len(CURVES)} colours")
    if not all(curves.values()):
        raise ValueError("a curve has no points")
    pages = sorted({page for curve in curves.values() for page in curve})
    costs = [cost for curve in curves.values() for cost in curve.values()]
    ticks = _ticks(min(costs), max(costs))
    left = MARGIN + max(len(f"{tick:,}") for tick in ticks) * CHARACTER_WIDTH + PADDING
    top = MARGIN + ROW
    names = max(box_width(name) for name in curves)
    drawing = Drawing(left + WIDTH + names + 3 * MARGIN, top + HEIGHT + 2 * ROW + MARGIN)

    def x_of(page: float) -> float:
        return left + WIDTH * _share(page, pages[0], pages[-1])

    def y_of(cost: float) -> float:
        return top + HEIGHT * (1 - _share(cost, ticks[0], ticks[-1]))

    drawing.text(MARGIN, MARGIN - PADDING, unit)
    for tick in ticks:
        label = f"{tick:,}"
        drawing.curve([left, left + WIDTH], [y_of(tick)] * 2, GREY, "")
        drawing.text(left - PADDING - len(label) * CHARACTER_WIDTH, y_of(tick) - FONT_SIZE, label)
    for page in pages:
        drawing.line([x_of(page)] * 2, [top + HEIGHT, top + HEIGHT + PADDING])
        label = f"{page:,}"
        drawing.text(x_of(page) - len(label) * CHARACTER_WIDTH / 2, top + HEIGHT + PADDING, label)
    drawing.text(
        left + WIDTH / 2 - len(across) * CHARACTER_WIDTH / 2, top + HEIGHT + PADDING + 0.8 * ROW, across
    )

    ends = {name: y_of(curve[max(curve)]) for name, curve in curves.items()}
    places = dict(zip(sorted(ends, key=ends.__getitem__), _apart(sorted(ends.values())), strict=True))
    for (name, curve), (color, mark) in zip(curves.items(), CURVES, strict=False):
        points = sorted(curve.items())
        drawing.curve([x_of(page) for page, _ in points], [y_of(cost) for _, cost in points], color, mark)
        x = left + WIDTH + MARGIN
        drawing.curve([x], [places[name]], color, mark)
        drawing.text(x + PADDING, places[name] - FONT_SIZE, name)

    words = [
        f"{name}: " + ", ".join(f"{cost:,.0f} at {page:,}" for page, cost in sorted(curve.items())) + "."
        for name, curve in curves.items()
    ]
    return drawing.finish(title, f"{title}. {unit} over {across}. {' '.join(words)}")


def cost_bars(title: str, costs: Mapping[str, float], unit: str, marked: Sequence[str] = ()) -> Svg:
    """Draw one bar for each name, from the left, the longest for the largest cost.

    ``marked`` are names whose bar has another colour; the alternative text does not depend on it.
    """
    names = max(box_width(name) for name in costs)
    figures = max(box_width(f"{cost:,.0f}") for cost in costs.values())
    drawing = Drawing(2 * MARGIN + names + BAR + figures, 2 * MARGIN + (len(costs) + 1) * ROW)
    drawing.text(MARGIN + names, MARGIN, unit)
    for down, (name, cost) in enumerate(costs.items(), start=1):
        y = MARGIN + down * ROW
        length = BAR * cost / max(costs.values())
        drawing.text(MARGIN, y, name)
        drawing.box(MARGIN + names, y, length, "", ORANGE if name in marked else SKY)
        drawing.text(MARGIN + names + length + PADDING, y, f"{cost:,.0f}")
    words = ", ".join(f"{name} {cost:,.0f}" for name, cost in costs.items())
    return drawing.finish(title, f"{title}. {unit}: {words}.")


def _share(value: float, least: float, most: float) -> float:
    """Where ``value`` lies between the two, on a logarithmic scale: 0 to 1."""
    return math.log(value / least) / math.log(most / least) if most > least else 0.0


def _ticks(least: float, most: float) -> list[int]:
    """Round numbers around a range of costs: 1, 2 and 5 times a power of ten."""
    power = 10 ** max(0, math.floor(math.log10(least)))
    ticks = [power * step for step in (1, 2, 5)]
    while ticks[-1] < most:
        ticks.append(ticks[-3] * 10)
    below = [tick for tick in ticks if tick <= least]
    return [*below[-1:], *(tick for tick in ticks if tick > least)][: len(ticks)]


def _apart(heights: Sequence[float]) -> list[float]:
    """The same heights, from the top down, moved so that labels do not lie on each other."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + LABEL_STEP) if places else height)
    return places
