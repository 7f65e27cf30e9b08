# SPDX-License-Identifier: GPL-2.0-only
"""The table and the file that ``make bench`` writes."""

from __future__ import annotations

import json

import pytest

from benchmarks.costs import FLOOR, RESULTS, TABLES, Cost, as_json, as_markdown, rounded, tables

COSTS = [
    Cost("6.12", "base", "to device", 64, "ours", 5240),
    Cost("6.12", "base", "to device", 64, "kernel's own", 5770),
    Cost("6.12", "base", "to device", 4096, "ours", 5130),
    Cost("6.12", "base", "back by ioctl", 64, "kernel's own", 3830),
]


@pytest.mark.parametrize(
    ("value", "digits"),
    [(5133.71, 5130), (0.98765, 0.988), (59659.0, 59700), (64.0, 64), (153.4, 153)],
)
def test_three_digits(value: float, digits: float) -> None:
    assert rounded(value) == digits


def test_the_table_has_a_ratio_where_both_were_measured() -> None:
    title, sizes, to_device, by_ioctl, _ = tables(COSTS)
    assert title.startswith("Linux 6.12, base pages")
    assert sizes.split()[-2:] == ["64", "4,096"]
    assert to_device.split()[-4:] == ["5,240", "5,770", "0.91", "5,130"]
    assert by_ioctl.split()[-1] == "3,830"


def test_the_file_is_sorted_and_has_no_more_digits_than_repeat() -> None:
    text = as_json(reversed(COSTS), {"emulator": "QEMU"})
    assert text == as_json(COSTS, {"emulator": "QEMU"})
    rows = json.loads(text)["costs"]
    assert [row["instructions"] for row in rows] == [3830, 5770, 5240, 5130]


def test_faults_of_one_page_are_compared_with_the_same_of_the_other_driver() -> None:
    fault = "back by fault, in order"
    rows = [
        Cost("7.3", "base", f"{fault}, window 1", 64, "ours", 8000),
        Cost("7.3", "base", fault, 64, "kernel's own", 8000),
    ]
    assert f"| {fault}, window 1 | 8,000 (1.00) |" in as_markdown(rows)


def test_the_floor_is_beside_what_has_one() -> None:
    rows = [
        Cost("7.3", "base", "to device", 4096, "ours", 5000),
        Cost("7.3", "base", "to device", 4096, FLOOR, 2500),
        Cost("7.3", "base", "READ", 4096, "ours", 800),
        Cost("7.3", "huge", "to device", 4096, "ours", 1000),
    ]
    lines = as_markdown(rows).splitlines()
    assert "| Linux 7.3, single pages | 4,096 pages | floor | the driver's part |" in lines
    assert "| to device | 5,000 | 2,500 | 50% |" in lines
    assert "| READ | 800 |  |  |" in lines
    assert "| to device | 1,000 |" in lines


def test_the_committed_tables_are_those_of_the_results() -> None:
    rows = [Cost(**row) for row in json.loads(RESULTS.read_text())["costs"]]
    written = TABLES.read_text().splitlines()
    assert set(as_markdown(rows).splitlines()) == set(written)


def test_the_committed_results_are_whole() -> None:
    rows = json.loads(RESULTS.read_text())["costs"]
    measured = {(row["kernel"], row["kind"], row["driver"]) for row in rows}
    for driver in ("ours", "kernel's own"):
        assert {("6.12", "base", driver), ("7.3", "base", driver), ("7.3", "huge", driver)} <= measured
