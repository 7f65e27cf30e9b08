# SPDX-License-Identifier: GPL-2.0-only
"""What tests.status makes of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY
from tests import status

REPORT = """<testsuites><testsuite>
<testcase classname="notebooks.x" name="Cell 0"/>
<testcase classname="notebooks.x" name="Cell 1"><failure message="differs"/></testcase>
<testcase classname="notebooks.x" name="Cell 2"><error message="dead"/></testcase>
<testcase classname="" name="notebooks/x.ipynb"><error message="not collected"/></testcase>
</testsuite></testsuites>"""


def notebook(directory: Path, kernel: str) -> Path:
    path = directory / "x.ipynb"
    path.write_text(json.dumps({"metadata": {"kernelspec": {"name": kernel}}}))
    return path


def test_a_report_is_counted_by_cells() -> None:
    assert status.parse_report(REPORT) == (3, [1, 2])


@pytest.mark.parametrize(
    ("kernel", "column", "end"),
    [
        ("hmm", "6.1", ["--nbval-kernel-name=hmm-6.1"]),
        ("hmm-7.3", "6.12", ["--nbval-kernel-name=hmm-6.12"]),
        ("hmm-7.3", "stock", ["--nbval-current-env"]),
    ],
)
def test_the_column_chooses_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, column: str, end: list[str]
) -> None:
    monkeypatch.setattr(status, "REPOSITORY", tmp_path)
    command = status.nbval_command(notebook(tmp_path, kernel), column, tmp_path / "report.xml")
    assert command[-1:] == end
    assert ("testmachine" in command) == (column == "stock")


def test_a_machine_that_counts_is_no_others_business(tmp_path: Path) -> None:
    counts = notebook(tmp_path, "hmm-7.3-counting")
    assert status.run_notebook(counts, "6.1") == {"needs": "hmm-7.3-counting"}
    assert status.run_notebook(counts, "stock") == {"needs": "hmm-7.3-counting"}
    assert not status.only_there("hmm-7.3-counting", "7.3")


def test_notebooks_are_chosen_by_the_beginning_of_their_names() -> None:
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert status.chosen(notebooks, []) == notebooks
    assert [path.stem[:2] for path in status.chosen(notebooks, ["05"])] == ["05"]
