# SPDX-License-Identifier: GPL-2.0-only
"""book/execute.py on small notebooks in an ordinary Python kernel: what it keeps and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
from nbformat import NotebookNode

from book import execute

PATTERNS = [(r"in \d+ ms", "in N ms")]
TIMED = "import time\nprint(f'done in {time.monotonic_ns() % 1000} ms')"


def notebook(*sources: str, kernel: str = "python3") -> NotebookNode:
    """Return a notebook that was never run, one code cell per source."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": source,
            "metadata": {},
            "execution_count": None,
            "outputs": [],
        }
        for number, source in enumerate(sources)
    ]
    kernelspec = {"name": kernel, "display_name": "Python 3", "language": "python"}
    page = {
        "cells": cells,
        "metadata": {"kernelspec": kernelspec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return execute.loads(json.dumps(page))


def output(kind: str, **fields: Any) -> NotebookNode:
    """Return one output of a code cell."""
    made: NotebookNode = nbformat.v4.new_output(kind, **fields)  # type: ignore[no-untyped-call]
    return made


def written(tmp_path: Path, *sources: str) -> Path:
    """Return the path of a notebook file with these cells, run once."""
    path = tmp_path / "page.ipynb"
    path.write_text(execute.dumps(notebook(*sources)))
    assert execute.refresh(path, PATTERNS).rewritten
    return path


def test_outputs_that_differ_only_in_what_the_sanitizer_covers_leave_the_file_alone(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, TIMED)
    text = path.read_text()
    tampered = text.replace(text.split("done in ")[1].split()[0] + " ms", "123456 ms")
    assert tampered != text
    path.write_text(tampered)
    assert not execute.refresh(path, PATTERNS).rewritten
    assert path.read_text() == tampered


def test_a_true_difference_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, "print(6 * 7)")
    text = path.read_text()
    path.write_text(text.replace('"42\\n"', '"43\\n"'))
    assert execute.refresh(path, PATTERNS).rewritten
    assert path.read_text() == text


def test_a_file_that_left_normal_form_is_brought_back(tmp_path: Path) -> None:
    path = written(tmp_path, "print(6 * 7)")
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text), indent=4))
    assert execute.refresh(path, PATTERNS).rewritten
    assert path.read_text() == text


def test_normal_form_counts_from_one_and_forgets_the_run() -> None:
    page = notebook("1 + 1", "", "2 + 2")
    for cell, count in ((page.cells[0], 17), (page.cells[2], 21)):
        cell.execution_count = count
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        cell.metadata["tags"] = ["remove-input"]
        cell.outputs = [output("execute_result", data={"text/plain": "2"}, execution_count=count)]
    page.metadata["language_info"] = {
        "name": "python",
        "version": "3.11.2",
        "pygments_lexer": "ipython3",
    }
    normal = execute.normal_form(page)
    assert [cell.execution_count for cell in normal.cells] == [1, None, 2]
    assert [cell.outputs[0].execution_count for cell in normal.cells if cell.outputs] == [1, 2]
    assert [cell.id for cell in normal.cells] == ["cell-0", "cell-1", "cell-2"]
    assert normal.cells[0].metadata == {"tags": ["remove-input"]}
    assert normal.metadata["language_info"] == {"name": "python", "pygments_lexer": "ipython3"}
    assert page.cells[0].execution_count == 17, "the argument itself must stay as it was"
    assert execute.dumps(execute.normal_form(normal)) == execute.dumps(normal)


def test_normal_form_merges_writes_to_one_stream_only() -> None:
    page = notebook("...")
    page.cells[0].execution_count = 1
    page.cells[0].outputs = [
        output("stream", name=name, text=text)
        for name, text in (
            ("stdout", "a\n"),
            ("stdout", "b\n"),
            ("stderr", "c\n"),
            ("stdout", "d\n"),
        )
    ]
    outputs = execute.normal_form(page).cells[0].outputs
    assert [(one.name, one.text) for one in outputs] == [
        ("stdout", "a\nb\n"),
        ("stderr", "c\n"),
        ("stdout", "d\n"),
    ]


def test_an_svg_stays_and_its_png_goes() -> None:
    page = notebook("figure")
    page.cells[0].execution_count = 1
    both = {"image/png": "iVBORw0KGgo=", "image/svg+xml": "<svg/>", "text/plain": "<Figure>"}
    page.cells[0].outputs = [output("display_data", data=both)]
    assert sorted(execute.normal_form(page).cells[0].outputs[0].data) == [
        "image/svg+xml",
        "text/plain",
    ]
    page.cells[0].outputs = [output("display_data", data={"image/png": "iVBORw0KGgo="})]
    with pytest.raises(execute.NotebookError, match="code cell 1 shows image/png"):
        execute.normal_form(page)


def test_the_words_of_a_figure_become_the_text_of_its_picture() -> None:
    page = notebook("figure")
    page.cells[0].execution_count = 1
    page.cells[0].outputs = [
        output("execute_result", data={"image/svg+xml": "<svg/>", "text/plain": "A line."})
    ]
    assert execute.normal_form(page).cells[0].metadata == {"mystnb": {"image": {"alt": "A line."}}}


def test_an_exception_names_the_cell_and_brings_its_traceback(tmp_path: Path) -> None:
    page = notebook("x = 1", "# the division\nx / 0")
    with pytest.raises(execute.NotebookError) as caught:
        execute.run(page, tmp_path)
    text = str(caught.value)
    assert text.startswith("an exception in cell 2 of 2: # the division\n")
    assert "ZeroDivisionError: division by zero" in text
    assert "\x1b[" not in text


def test_an_exception_the_page_is_about_is_an_output_without_frames(tmp_path: Path) -> None:
    page = notebook("1 / 0")
    page.cells[0].metadata["tags"] = ["raises-exception"]
    normal = execute.normal_form(execute.run(page, tmp_path))
    assert normal.cells[0].outputs[0].traceback == ["ZeroDivisionError: division by zero"]


def test_a_kernel_that_dies_has_a_message_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(execute.NotebookError, match=r"the machine died in cell 1 of 1: import os, signal"):
        execute.run(notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"), tmp_path)


def test_a_cell_that_never_ends_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "CELL_SECONDS", 1)
    with pytest.raises(execute.NotebookError, match="no end after 1 s in cell 1 of 1: import time"):
        execute.run(notebook("import time\ntime.sleep(60)"), tmp_path)


def test_a_kernel_nobody_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(execute.NotebookError, match="no Jupyter kernel is called 'hmm-none'"):
        execute.run(notebook("1", kernel="hmm-none"), tmp_path)


def test_main_reports_each_notebook_and_fails_if_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    (tmp_path / "sanitize.cfg").write_text("")
    (tmp_path / "a-good.ipynb").write_text(execute.dumps(notebook("print('good')")))
    (tmp_path / "b-bad.ipynb").write_text(execute.dumps(notebook("raise OSError(22, 'bad')")))
    assert execute.main([]) == 1
    printed = capsys.readouterr().out
    assert "[1/2] a-good.ipynb ... " in printed
    assert "outputs rewritten" in printed
    assert "b-bad.ipynb: an exception in cell 1 of 1: raise OSError(22, 'bad')" in printed
