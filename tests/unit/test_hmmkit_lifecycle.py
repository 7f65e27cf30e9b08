# SPDX-License-Identifier: GPL-2.0-only
"""The diagram of a page's life as data: whole, without contradictions, and what is read out of it."""

from __future__ import annotations

import pytest

from hmmkit.figures.states import PLACES
from hmmkit.lifecycle import TRANSITIONS, Action, State, after, swap_state, transition, way_to
from hmmkit.pagemap import PageEntry, SwapTypes

TYPES = SwapTypes(27, 28)
LASTING = [state for state in State if state.lasting]


def entry(kind: int | None) -> PageEntry:
    """An entry that is not present."""
    return PageEntry(False, kind, 0x1234 if kind else 0)


def test_no_action_leads_two_ways_from_a_state() -> None:
    keys = [(each.before, each.action) for each in TRANSITIONS]
    assert len(keys) == len(set(keys))


def test_migration_is_only_on_the_way() -> None:
    for each in TRANSITIONS:
        assert each.before.lasting and each.after.lasting, each
        assert each.before != each.after, each


def test_every_state_has_a_place_in_the_figure() -> None:
    assert set(PLACES) == set(State)
    assert len(set(PLACES.values())) == len(State)


@pytest.mark.parametrize("state", LASTING)
def test_every_lasting_state_can_be_reached(state: State) -> None:
    reached = State.NONE
    for action in way_to(state):
        reached = after(reached, action)
    assert reached == state


def test_no_way_leads_to_a_moment() -> None:
    with pytest.raises(ValueError, match="migration, write"):
        way_to(State.MIGRATION_WRITE)


def test_what_is_not_listed_changes_nothing() -> None:
    assert transition(State.EXCLUSIVE, Action.TO_DEVICE) is None
    assert after(State.EXCLUSIVE, Action.TO_DEVICE) == State.EXCLUSIVE


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (None, State.NONE),
        (24, State.MIGRATION_READ),
        (25, State.MIGRATION_READ),
        (26, State.MIGRATION_WRITE),
        (27, State.DEVICE_WRITE),
        (28, State.DEVICE_READ),
        (29, State.EXCLUSIVE),
        (30, State.EXCLUSIVE),
    ],
)
def test_the_types_of_swap_entries(kind: int | None, state: State) -> None:
    assert swap_state(entry(kind), TYPES) == state


def test_a_page_really_swapped_out_is_not_in_the_diagram() -> None:
    with pytest.raises(ValueError, match="swap type 0"):
        swap_state(entry(0), TYPES)
    with pytest.raises(ValueError, match="present"):
        swap_state(PageEntry(True, None, 1), TYPES)


def test_actions_are_numbered_from_one() -> None:
    assert [action.number for action in Action] == list(range(1, len(Action) + 1))
