# SPDX-License-Identifier: GPL-2.0-only
"""Figures are the same bytes each time, say what they show, and are well-formed SVG."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from hmmkit.figures import (
    Entry,
    Moment,
    Svg,
    bit_fields,
    call_graph,
    cost_bars,
    cost_curves,
    outcome_grid,
    page_tables,
    parting_ways,
    stage_chart,
    state_diagram,
)
from hmmkit.figures.drawing import ORANGE, SKY
from hmmkit.lifecycle import TRANSITIONS
from hmmkit.outcome import Outcome
from hmmkit.pagemap_fields import Field
from hmmkit.rounds import Stage
from hmmkit.trace import Call, CallTree

SVG = "{http://www.w3.org/2000/svg}"
TREE = CallTree((Call("top", (Call("left", (Call("leaf"),)), Call("right"))), Call("alone")))
GROUPS = {"top": "kernel", "left": "driver", "right": "driver", "leaf": "kernel", "alone": "kernel"}


def graph() -> Svg:
    """A small call graph."""
    return call_graph("A title", TREE, GROUPS)


def grid() -> Svg:
    """A grid of two rows and two columns with both kinds of outcome."""
    refused, moved = Outcome(-22, 0, "because", None), Outcome(0, 1, "", None)
    cells = {("none", "a"): refused, ("none", "b"): refused, ("read", "a"): moved, ("read", "b"): moved}
    return outcome_grid("A grid", ["none", "read"], ["a", "b"], cells)


def tables() -> Svg:
    """Two page tables that share a page, and then do not."""
    away, here, copy = (
        Entry("AWAY", "device page A"),
        Entry("present", "RAM page A"),
        Entry("present", "RAM page B"),
    )
    moments = [
        Moment("forked", {"parent": [away, Entry("empty")], "child": [away, Entry("empty")]}),
        Moment("written", {"parent": [copy, Entry("empty")], "child": [here, Entry("empty")]}),
    ]
    return page_tables("Two tables", moments)


def states() -> Svg:
    """The life of a page."""
    return state_diagram("A life", TRANSITIONS)


def curves() -> Svg:
    """Two curves of costs."""
    costs = {"to device": {1: 14500, 64: 5860, 4096: 5750}, "memcpy": {64: 405, 4096: 451}}
    return cost_curves("Costs", costs, "instructions a page", "pages at a time")


def bars() -> Svg:
    """Two bars."""
    return cost_bars("Bars", {"memcpy": 451, "first touch": 3300}, "instructions a page", ["memcpy"])


def stages() -> Svg:
    """Two cases that come to their end at different steps."""
    return stage_chart("Stages", {"a": (Stage.MOVED, "0"), "b": (Stage.PUT_BACK, "-2")})


def bits() -> Svg:
    """A word with a flag that is set, one that is not, and a number."""
    word = [Field(63, 63, "present", 0, "0"), Field(62, 62, "swap", 1, "1"), Field(61, 0, "rest", 5, "five")]
    return bit_fields("Bits", {"a word": word})


def ways() -> Svg:
    """Two trees with one step in common."""
    other = CallTree((Call("top", (Call("elsewhere"),)),))
    return parting_ways("Ways", {"here": CallTree(TREE.roots[:1]), "there": other})


figures = pytest.mark.parametrize("draw", [graph, grid, tables, states, curves, bars, stages, bits, ways])


@figures
def test_the_same_results_give_the_same_bytes(draw: Callable[[], Svg]) -> None:
    assert draw().svg == draw().svg


def test_another_process_gives_the_same_bytes() -> None:
    program = "from tests.unit.test_hmmkit_figures import graph; print(graph().svg, end='')"
    repository = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=repository, env=environment, capture_output=True, text=True
    )
    assert done.stdout == graph().svg, done.stderr


@figures
def test_no_date_and_no_metadata(draw: Callable[[], Svg]) -> None:
    svg = draw().svg
    assert not re.search(r"\d{4}-\d\d-\d\d|metadata|matplotlib", svg, re.IGNORECASE)


@figures
def test_the_picture_speaks_for_itself(draw: Callable[[], Svg]) -> None:
    figure: Svg = draw()
    root = ElementTree.fromstring(figure.svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == figure.alt == repr(figure)
    described = root.find(f"{SVG}desc")
    assert described is not None and described.text == figure.alt
    titled = root.find(f"{SVG}title")
    assert titled is not None and titled.text and figure.alt.startswith(titled.text)


def test_every_call_is_drawn_as_text_and_told_in_words() -> None:
    figure = graph()
    root = ElementTree.fromstring(figure.svg)
    drawn = [element.text for element in root.iter(f"{SVG}text")]
    assert drawn == ["kernel", "driver", "top", "left", "leaf", "right", "alone"]
    assert figure.alt == ("A title. top calls left, then right. left calls leaf. alone is called.")


def test_every_outcome_is_drawn_in_its_place() -> None:
    figure = grid()
    drawn = [element.text for element in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")]
    assert drawn[:2] == ["a", "b"]
    assert drawn.count("refused, -22") == drawn.count("moved 1 page, 0") == 2
    assert figure.svg.count(SKY) == 2
    assert "none, a: refused, -22." in figure.alt


def test_a_shared_frame_is_drawn_once_for_both_tables() -> None:
    figure = tables()
    drawn = [element.text for element in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")]
    assert [drawn.count(text) for text in ("device page A", "RAM page A", "RAM page B", "AWAY")] == [
        1,
        1,
        1,
        2,
    ]
    assert (figure.svg.count(ORANGE), figure.svg.count(SKY)) == (2, 2)
    assert "forked: parent: AWAY, device page A, empty; child: AWAY, device page A, empty." in figure.alt


def test_page_tables_that_do_not_belong_together_are_an_error() -> None:
    one, other = Moment("a", {"parent": [Entry("empty")]}), Moment("b", {"child": [Entry("empty")]})
    three = Moment("c", {owner: [Entry("empty")] for owner in "xyz"})
    for moments in ([], [one, other], [three]):
        with pytest.raises(ValueError, match="one or two page tables"):
            page_tables("x", moments)


def drawn(figure: Svg) -> list[str | None]:
    """The texts of a figure, in the order in which they were drawn."""
    return [element.text for element in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")]


def test_every_case_is_drawn_with_its_word() -> None:
    figure = stages()
    assert drawn(figure)[-4:] == ["a", "0", "b", "-2"]
    assert figure.alt == "Stages. a: moved, 0. b: unmap, -2."
    assert figure.svg.count(SKY) == 1


def test_every_field_is_drawn_under_its_bits() -> None:
    assert drawn(bits()) == ["a word", "63", "0", "62", "1", "61-0", "five"]


def test_what_two_trees_share_is_drawn_once() -> None:
    assert drawn(ways()) == ["top", "here", "left", "leaf", "right", "there", "elsewhere"]
    assert ways().alt == (
        "Ways. Both: top. here: top calls left, then right. left calls leaf. there: top calls elsewhere."
    )


def test_ways_that_never_met_cannot_part() -> None:
    alone = CallTree((Call("alone"),))
    with pytest.raises(ValueError, match="no first step"):
        parting_ways("x", {"a": CallTree(TREE.roots[:1]), "b": alone})


def test_a_function_without_a_group_is_an_error() -> None:
    with pytest.raises(KeyError):
        call_graph("x", TREE, {"top": "kernel"})


def test_markup_in_a_title_is_escaped() -> None:
    figure = call_graph('a < b & "c"', TREE, GROUPS)
    assert ElementTree.fromstring(figure.svg).find(f"{SVG}title").text == 'a < b & "c"'  # type: ignore[union-attr]


def test_a_notebook_gets_picture_and_words() -> None:
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(graph())  # type: ignore[no-untyped-call]
    assert set(data) == {"image/svg+xml", "text/plain"}


def test_costs_are_in_the_words_of_the_figure() -> None:
    assert "to device: 14,500 at 1, 5,860 at 64, 5,750 at 4,096." in curves().alt
    assert bars().alt == "Bars. instructions a page: memcpy 451, first touch 3,300."


def test_labels_of_curves_do_not_lie_on_each_other() -> None:
    near = {name: {1: 1000.0, 64: 990.0 + at} for at, name in enumerate("abc")}
    svg = cost_curves("Near", near, "u", "p").svg
    found = {name: re.search(rf'y="(\S+)"[^>]*>{name}</text>', svg) for name in "abc"}
    heights = sorted(float(place[1]) for place in found.values() if place)
    assert len(heights) == 3, svg
    assert min(below - above for above, below in itertools.pairwise(heights)) > 10


def test_too_many_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="7 curves"):
        cost_curves("t", {str(n): {1: 1.0} for n in range(7)}, "u", "p")
    with pytest.raises(ValueError, match="no points"):
        cost_curves("t", {"a": {}}, "u", "p")
