# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit is to stay cheap: counted in the machine that counts instructions."""

from __future__ import annotations

from benchmarks.wrapper import LOOP, READ, in_machine


def test_hmmkit_is_cheap() -> None:
    figures: dict[str, list[float]] = in_machine("6.12")["figures"]
    bare, ours = figures.pop(READ)
    assert ours <= 2 * bare
    # What goes through the pages one by one, in Python, takes more than a loop that does nothing.
    loop = figures.pop(LOOP)[1]
    views = {name: ours - bare for name, (bare, ours) in figures.items() if "its bytes" not in name}
    assert len(views) == 4
    assert {name: more for name, more in views.items() if more > loop / 2} == {}
