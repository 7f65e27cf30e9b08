# SPDX-License-Identifier: GPL-2.0-only
"""The life of a page as a picture: one box a state, one arrow where some action leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmmkit.figures.drawing import (
    BOX_HEIGHT,
    GREY,
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
from hmmkit.lifecycle import Action, State, Transition

# Column and row of each state. The lower row is the upper one without the right to write.
PLACES: Mapping[State, tuple[int, int]] = {
    State.NONE: (1, 0),
    State.ZERO: (2, 0),
    State.EXCLUSIVE: (0, 1),
    State.PRESENT_WRITE: (1, 1),
    State.MIGRATION_WRITE: (2, 1),
    State.DEVICE_WRITE: (3, 1),
    State.PRESENT_READ: (1, 2),
    State.MIGRATION_READ: (2, 2),
    State.DEVICE_READ: (3, 2),
}
FILLS: Mapping[State, str] = {
    State.NONE: GREY,
    State.ZERO: SKY,
    State.PRESENT_WRITE: SKY,
    State.PRESENT_READ: SKY,
    State.EXCLUSIVE: ORANGE,
    State.MIGRATION_WRITE: YELLOW,
    State.MIGRATION_READ: YELLOW,
    State.DEVICE_WRITE: ORANGE,
    State.DEVICE_READ: ORANGE,
}
BOX = max(box_width(state.value) for state in State)
ACROSS = BOX + 72.0
DOWN = 84.0
SIDE = 5.0  # two arrows between the same boxes lie so far to either side
TOP = 2 * MARGIN + 10.0
HEAD = 6.0


def state_diagram(title: str, transitions: Sequence[Transition]) -> Svg:
    """Draw the states and the steps between them; numbers on an arrow are those of the actions.

    Transitions that end in none are not drawn as arrows, since every state has one: a sentence
    below says by which action. Follow one number from box to box to see one transition.
    """
    to_none = {each.action for each in transitions if each.after == State.NONE}
    arrows: dict[tuple[State, State], set[Action]] = {}
    for each in transitions:
        if each.after != State.NONE:
            for step in zip(each.path, each.path[1:], strict=False):
                arrows.setdefault(step, set()).add(each.action)

    legend = [f"{action.number}  {action.value}" for action in Action if action not in to_none]
    legend += [f"{action.number}  {action.value}: from every state to none" for action in to_none]
    height = TOP + 2 * DOWN + BOX_HEIGHT + (len(legend) + 1) * ROW * 0.75 + MARGIN
    drawing = Drawing(2 * MARGIN + 3 * ACROSS + BOX, height)
    for (before, after), actions in arrows.items():
        _arrow(drawing, before, after, _numbers(actions))
    for state, fill in FILLS.items():
        x, y = _corner(state)
        drawing.box(x, y, BOX, state.value, fill)
    y = TOP + 2 * DOWN + BOX_HEIGHT + 0.75 * ROW
    for line in legend:
        drawing.text(MARGIN, y, line)
        y += 0.75 * ROW
    return drawing.finish(title, f"{title}. {_in_words(transitions)}")


def _numbers(actions: set[Action]) -> str:
    return " ".join(str(action.number) for action in sorted(actions, key=lambda each: each.number))


def _corner(state: State) -> tuple[float, float]:
    column, row = PLACES[state]
    return MARGIN + column * ACROSS, TOP + row * DOWN


def _arrow(drawing: Drawing, before: State, after: State, label: str) -> None:
    """An arrow from box to box: along a row, along a column, slanting, or over the top."""
    (column, row), (to_column, to_row) = PLACES[before], PLACES[after]
    (x, y), (to_x, to_y) = _corner(before), _corner(after)
    middle, to_middle = x + BOX / 2, to_x + BOX / 2
    width = box_width(label) - 2 * PADDING
    if row == to_row and abs(column - to_column) == 1:
        right = column < to_column
        level = y + BOX_HEIGHT / 2 + (-SIDE if right else SIDE)
        ends = (x + BOX, to_x) if right else (x, to_x + BOX)
        _line(drawing, [(ends[0], level), (ends[1], level)])
        centre = (ends[0] + ends[1] - width) / 2
        drawing.text(centre, level - BOX_HEIGHT + 1 if right else level + 1, label)
    elif column == to_column:
        down = row < to_row
        line = middle + (-SIDE if down else SIDE)
        ends = (y + BOX_HEIGHT, to_y) if down else (y, to_y + BOX_HEIGHT)
        _line(drawing, [(line, ends[0]), (line, ends[1])])
        level = (ends[0] + ends[1] - BOX_HEIGHT) / 2
        drawing.text(line - width - PADDING if down else line + PADDING, level, label)
    elif row == to_row or to_column - column > 1:
        # Far away: up, along above everything, and down.
        over = TOP - 12.0
        _line(drawing, [(middle, y), (middle, over), (to_middle, over), (to_middle, to_y)])
        drawing.text(middle + PADDING, over - BOX_HEIGHT + 2, label)
    else:
        # Slanting, from a lower corner to an upper one.
        start = x + BOX * (0.25 if to_column < column else 0.75)
        end = to_x + BOX * (0.75 if to_column < column else 0.25)
        _line(drawing, [(start, y + BOX_HEIGHT), (end, to_y)])
        aside = -width - PADDING if to_column < column else PADDING
        drawing.text((start + end) / 2 + aside, (y + to_y) / 2 - 6.0, label)


def _line(drawing: Drawing, points: Sequence[tuple[float, float]]) -> None:
    """A line through the points, with an arrow head at the last."""
    drawing.line([x for x, _ in points], [y for _, y in points])
    (x, y), (tip_x, tip_y) = points[-2:]
    length = ((tip_x - x) ** 2 + (tip_y - y) ** 2) ** 0.5
    along_x, along_y = (tip_x - x) / length, (tip_y - y) / length
    for turn in (1, -1):
        back_x = tip_x - HEAD * along_x + turn * HEAD / 2 * along_y
        back_y = tip_y - HEAD * along_y - turn * HEAD / 2 * along_x
        drawing.line([back_x, tip_x], [back_y, tip_y])


def _in_words(transitions: Sequence[Transition]) -> str:
    sentences = []
    for action in Action:
        ways = [
            " to ".join(state.value for state in each.path) for each in transitions if each.action == action
        ]
        if ways:
            sentences.append(f"{action.number}, {action.value}: {'; '.join(ways)}.")
    return " ".join(sentences)
