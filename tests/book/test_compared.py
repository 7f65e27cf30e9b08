# SPDX-License-Identifier: GPL-2.0-only
"""The cells of the notebooks are compared, but for few, each with a reason beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from book import execute
from tests.book.compared import is_compared, reason, share
from tests.book.test_book import NOTEBOOKS

LEAST_PERCENT = 95.0


def test_most_cells_are_compared() -> None:
    counted = share(NOTEBOOKS)
    assert counted.cells > 0
    assert counted.percent >= LEAST_PERCENT, counted.lines()


def test_each_other_cell_has_its_reason() -> None:
    assert [cell.where for cell in share(NOTEBOOKS).ignored if not cell.reason] == []


def cell(source: str, count: int | None = 1, tags: tuple[str, ...] = ()) -> NotebookNode:
    made: NotebookNode = new_code_cell(source, execution_count=count, metadata={"tags": list(tags)})  # type: ignore[no-untyped-call]
    return made


@pytest.mark.parametrize(
    "one",
    [
        cell("# NBVAL_IGNORE_OUTPUT\nprint(1)"),
        cell("# NBVAL_SKIP\nprint(1)"),
        cell("print(1)", tags=("nbval-ignore-output",)),
        cell("print(1)", tags=("nbval-skip",)),
        cell("print(1)", count=None),
    ],
    ids=["ignore", "skip", "ignore by tag", "skip by tag", "never run"],
)
def test_a_cell_that_nbval_leaves_out_is_counted(one: NotebookNode) -> None:
    assert not is_compared(one)
    assert is_compared(cell("print(1)", tags=("raises-exception",)))


def test_a_reason_is_a_comment_beside_the_mark() -> None:
    mark = "# NBVAL_IGNORE_OUTPUT\n"
    assert reason(cell(f"{mark}# the host's clock decides\nx()")) == "the host's clock decides"
    assert reason(cell(f"{mark}x()\n# the host's clock decides")) == ""
    assert reason(cell(f"{mark}# so\nx()")) == ""


def test_the_share(tmp_path: Path) -> None:
    cells = [cell("1"), cell("2"), cell("# NBVAL_SKIP\n# needs a graphics card\n3"), cell("4")]
    notebook: NotebookNode = new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    path = tmp_path / "one.ipynb"
    path.write_text(execute.dumps(notebook), encoding="utf-8")
    assert share([path]).lines() == [
        "3 of 4 code cells are compared (75.0 %)",
        "not compared: one, cell 2: needs a graphics card",
    ]
