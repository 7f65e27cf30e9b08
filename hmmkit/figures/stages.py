# SPDX-License-Identifier: GPL-2.0-only
"""How far pages came: the steps of a migration across, one case a row."""

from __future__ import annotations

from collections.abc import Mapping

from hmmkit.figures.drawing import BOX_HEIGHT, MARGIN, ORANGE, PADDING, ROW, SKY, Drawing, Svg, box_width
from hmmkit.rounds import Stage

STEPS = {
    Stage.NOT_ASKED: "driver",
    Stage.REFUSED: "setup",
    Stage.PASSED_OVER: "walk",
    Stage.PUT_BACK: "unmap",
    Stage.LEFT: "copy",
    Stage.NOT_TAKEN: "pages",
    Stage.MOVED: "moved",
}


def stage_chart(title: str, cases: Mapping[str, tuple[Stage, str]]) -> Svg:
    """Draw one row a case: a line from the left to the step at which its page came to its end.

    A case is the stage, and a word for the box at that place.
    """
    first = box_width(max(cases, key=len))
    cell = max(box_width(word) for word in (*STEPS.values(), *(word for _, word in cases.values())))
    step = cell + 2 * PADDING
    drawing = Drawing(2 * MARGIN + first + len(STEPS) * step, 2 * MARGIN + (len(cases) + 1) * ROW)
    left = {stage: MARGIN + first + across * step for across, stage in enumerate(STEPS)}
    for stage, name in STEPS.items():
        drawing.text(left[stage] + PADDING, MARGIN, name)
    for down, (case, (stage, word)) in enumerate(cases.items(), start=1):
        y = MARGIN + down * ROW
        drawing.text(MARGIN, y, case)
        drawing.line([MARGIN + first, left[stage]], [y + BOX_HEIGHT / 2] * 2)
        drawing.box(left[stage], y, cell, word, SKY if stage is Stage.MOVED else ORANGE)
    sentences = [f"{case}: {STEPS[stage]}, {word}." for case, (stage, word) in cases.items()]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")
