# SPDX-License-Identifier: GPL-2.0-only
"""The diagram of a page's life, walked on the running kernel: states, ways through, and who did it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmmkit import module
from hmmkit.callers import CallerTrace, traceable, watching
from hmmkit.device import Device
from hmmkit.lifecycle import (
    TRANSITIONS,
    Action,
    LivePages,
    State,
    Transition,
    after,
)

LASTING = [state for state in State if state.lasting]
WRITERS = [writer for each in TRANSITIONS for _, writer in each.steps]
NAMES = {writer.function for writer in WRITERS} | {writer.below for writer in WRITERS}
PRESENT = (State.ZERO, State.PRESENT_READ, State.PRESENT_WRITE)
ATTEMPTS = 50

# Where the second thread can run meanwhile: ctypes reads under Python's own lock. An eviction has
# one page at a time between setup and finalize, too short a moment to be sure of. Exclusive access
# to so many pages takes seconds, and comes by the way of a write.
NOT_WATCHED = (Action.READ, Action.RELEASE, Action.EXCLUSIVE)
WATCHED = [
    each
    for each in TRANSITIONS
    if any(not state.lasting for state in each.path) and each.action not in NOT_WATCHED
]


def named(transition: Transition) -> str:
    """What stands in the list of tests."""
    return f"{transition.before.name}-{transition.action.name}"


@pytest.fixture
def live(device: Device) -> Iterator[LivePages]:
    """A few pages."""
    with LivePages(device) as pages:
        yield pages


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
@pytest.mark.parametrize("before", LASTING, ids=lambda state: state.name)
def test_the_diagram_is_what_happens(live: LivePages, before: State, action: Action) -> None:
    """Every action in every state, the ones without an arrow too."""
    live.bring_to(before)
    assert live.state() == before
    moved = live.do(action)
    assert live.state() == after(before, action)
    assert moved == ((before, action) != (State.EXCLUSIVE, Action.TO_DEVICE))


@pytest.fixture(scope="module")
def long_moments() -> Iterator[None]:
    """A fault brings back 512 pages at a time, so that a migration lasts long enough to be seen."""
    module.reload("fault_pages=512")
    yield
    module.reload()


@pytest.fixture
def watched(long_moments: None, device: Device) -> Iterator[LivePages]:
    """Pages enough for a batch of 512."""
    with LivePages(device, 512) as pages:
        yield pages


@pytest.fixture(scope="module")
def seen_whole() -> set[str]:
    """The transitions whose whole way was seen: it is a matter of luck for each."""
    return set()


@pytest.mark.parametrize("transition", WATCHED, ids=named)
def test_nothing_is_seen_off_the_way(
    watched: LivePages, seen_whole: set[str], transition: Transition
) -> None:
    way = tuple(state for state in transition.path if state not in PRESENT)
    for _ in range(ATTEMPTS):
        watched.bring_to(transition.before)
        seen = watched.watch(transition.action)
        assert [state for state in way if state in seen] == list(seen)
        for end in (0, -1):  # how it was, and how it ended, is never missed
            assert transition.path[end] in PRESENT or seen[end] == transition.path[end]
        if seen == way:
            seen_whole.add(named(transition))
            return


def test_the_migration_entry_is_seen_if_one_looks_often(seen_whole: set[str]) -> None:
    assert seen_whole


@pytest.fixture(scope="module")
def trace() -> Iterator[CallerTrace]:
    """Watches all functions that the diagram names."""
    with watching(NAMES) as trace:
        yield trace


@pytest.fixture(scope="module")
def can_be_seen() -> set[str]:
    """The functions that this kernel lets a tracer see."""
    return traceable()


@pytest.mark.parametrize("transition", TRANSITIONS, ids=named)
def test_the_functions_named_are_called(
    trace: CallerTrace, can_be_seen: set[str], live: LivePages, transition: Transition
) -> None:
    """The function itself, or where the compiler has merged it into its caller, that one."""
    live.bring_to(transition.before)
    seen = {function for function, _ in trace.calls(lambda: live.do(transition.action))}
    for _, writer in transition.steps:
        wanted = writer.function if writer.function in can_be_seen else writer.below
        assert wanted in seen, f"{wanted} was not called, only {sorted(seen)}"
