# SPDX-License-Identifier: GPL-2.0-only
"""What chapter 16 says of three kernels, against their headers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from testmachine import kernel
from testmachine.machine import REPOSITORY
from testmachine.series import SERIES
from tests.book.test_appendices import table

CHAPTER = "16-kernel-versions.md"
KBUILD = (REPOSITORY / "module" / "Kbuild").read_text()
CHANGES = table(CHAPTER, "name")
STAYS = table(CHAPTER, "function")


@cache
def header(series: str, name: str) -> str:
    """The text of a header without comments, or nothing if there is no such header."""
    path = kernel.get(series).source / "include" / "linux" / name
    return re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL) if path.is_file() else ""


def declaration(series: str, file: str, function: str) -> str:
    """The words of a function's declaration."""
    found = re.search(rf"[\w* ]+\b{function}\s*\([^;{{]*\)", header(series, file))
    assert found, f"{function} is not declared in {file} of {series}"
    return " ".join(found[0].split())


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: row[0])
def test_a_name_is_where_the_chapter_says(row: list[str]) -> None:
    name, file, *said = row[:5]
    there = [bool(re.search(rf"\b{name}\b", header(series, file))) for series in SERIES]
    assert said == ["yes" if found else "no" for found in there]


@pytest.mark.parametrize("row", STAYS, ids=lambda row: row[0])
def test_a_declaration_stays(row: list[str]) -> None:
    function, file, _ = row
    declarations = {declaration(series, file, function) for series in SERIES}
    assert len(declarations) == 1, declarations


def test_the_columns_are_the_series_of_the_machine() -> None:
    text = (REPOSITORY / "book" / CHAPTER).read_text(encoding="utf-8")
    assert f"| name | header | {' | '.join(SERIES)} |" in text


def test_the_first_answer() -> None:
    probes = re.findall(r"call have,(\w+),(\S+?),(.+)\)$", KBUILD, re.MULTILINE)

    def yes(series: str) -> list[str]:
        include = kernel.get(series).source / "include" / "linux"
        return [macro for macro, file, regex in probes if re.search(regex, Path(include, file).read_text())]

    assert yes("6.12") == ["HAVE_KZALLOC_OBJ"]
    assert yes("6.1") == []
    assert len(yes("7.3")) == len(probes)


def test_the_second_answer() -> None:
    shift = {
        series: re.search(r"HMM_PFN_ORDER_SHIFT = \((.*)\)", header(series, "hmm.h")) for series in SERIES
    }
    assert [found and found[1] for found in shift.values()] == [
        "BITS_PER_LONG - 8", "BITS_PER_LONG - 8", "BITS_PER_LONG - 11",
    ]  # fmt: skip
