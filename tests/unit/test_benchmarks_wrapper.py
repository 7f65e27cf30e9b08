# SPDX-License-Identifier: GPL-2.0-only
"""What ``make bench`` writes about hmmkit."""

from __future__ import annotations

import json

from benchmarks.costs import SERIES
from benchmarks.wrapper import LOOP, READ, RESULTS, TABLE, as_markdown


def test_the_table_has_the_ratios() -> None:
    results = {
        "6.12": {"figures": {READ: [4000, 7000], LOOP: [0, 236]}},
        "7.3": {"figures": {READ: [5000, 5500], LOOP: [0, 1236]}},
    }
    assert as_markdown(results).splitlines()[2:] == [
        "| | 6.12: the bare call | hmmkit | 7.3: the bare call | hmmkit |",
        "|---|--:|--:|--:|--:|",
        f"| {READ} | 4,000 | 7,000 (1.75) | 5,000 | 5,500 (1.10) |",
        f"| {LOOP} |  | 236 |  | 1,236 |",
    ]


def test_the_committed_table_is_that_of_the_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert set(results) == set(SERIES)
    assert as_markdown(results) == TABLE.read_text()
