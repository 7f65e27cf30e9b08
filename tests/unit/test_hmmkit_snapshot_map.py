# SPDX-License-Identifier: GPL-2.0-only
"""The map of a snapshot: a box a page, the byte in it, and the same in words."""

from __future__ import annotations

from hmmkit.figures import Svg, snapshot_map
from hmmkit.snapshot import Snapshot

ROWS = [
    ("written", Snapshot(b"\x02" * 4)),
    ("in turn", Snapshot(b"\x11\x00" * 2)),
    ("half away", Snapshot(b"\x22\x22\x22\xff")),
]


def draw() -> Svg:
    """A small map."""
    return snapshot_map("A map", ROWS)


def test_the_same_pages_give_the_same_bytes() -> None:
    assert draw().svg == draw().svg


def test_every_page_has_its_byte_and_each_byte_a_legend() -> None:
    svg = draw().svg
    for byte, pages in (("02", 4), ("11", 2), ("00", 2), ("22", 3), ("ff", 1)):
        assert svg.count(f">{byte}<") == pages + 1
    assert ">read, the zero page<" in svg


def test_the_words_say_what_the_boxes_show() -> None:
    assert draw().alt == (
        "A map. written: 4 pages read and write. in turn: read, the zero page and none in turn. "
        "half away: 3 pages read and write, on this device, then 1 page error."
    )
