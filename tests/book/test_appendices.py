# SPDX-License-Identifier: GPL-2.0-only
"""What the appendices say, against what they are about."""

from __future__ import annotations

import errno
import importlib
import json
import re
from pathlib import Path

import pytest

from book import generated
from hmmkit import errors, uapi
from testmachine.series import SERIES

REPOSITORY = Path(__file__).resolve().parents[2]
BOOK = REPOSITORY / "book"
HEADER = REPOSITORY / "module" / "uapi" / "hmm_dmirror.h"
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]-*.md"))


def table(page: str, first_heading: str) -> list[list[str]]:
    """The rows of the table whose first heading is that: texts, without backquotes."""
    rows: list[list[str]] = []
    inside = False
    for line in (BOOK / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_heading:
            inside = True
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    assert rows, f"{page} has no table that begins with {first_heading!r}"
    return rows


def test_the_table_of_commands_is_the_abi() -> None:
    rows = {row[1]: (int(row[0]), int(row[2], 16)) for row in table("abi.md", "nr")}
    assert rows == {request.name: (request & 0xFF, int(request)) for request in uapi.Request}
    declared = re.findall(r"#define HMM_DMIRROR_(\w+)\s+_IOWR\('H', (\d+),", HEADER.read_text())
    assert {name: int(nr) for name, nr in declared} == {name: nr for name, (nr, _) in rows.items()}


def test_the_table_of_fields_is_the_abi() -> None:
    rows = {row[0]: (int(row[1]), int(row[2])) for row in table("abi.md", "field")}
    fields = {name: getattr(uapi.Command, name) for name, _ in uapi.Command._fields_}
    assert rows == {name: (field.offset, field.size) for name, field in fields.items()}


def test_the_table_of_snapshot_bytes_is_the_abi() -> None:
    rows = {row[0]: int(row[1], 16) for row in table("abi.md", "name")}
    assert rows == {prot.name: int(prot) for prot in uapi.Prot}
    declared = re.findall(r"HMM_DMIRROR_PROT_(\w+) = (0x\w+)", HEADER.read_text())
    assert {name: int(value, 16) for name, value in declared if name != "KIND"} == rows


def test_each_command_has_its_errors() -> None:
    """Every command is named in the table of errors, but for those that "all" covers."""
    rows = table("abi.md", "command")
    named = set(re.findall(r"[A-Z_]{4,}", " ".join(row[0] for row in rows)))
    assert named == {request.name for request in uapi.Request}


def errnos_in_use() -> set[str]:
    """Every errno that the module's or hmmkit's source names."""
    found: set[str] = set()
    for path in (REPOSITORY / "module").glob("*.[ch]"):
        found |= set(re.findall(r"-(E[A-Z]{3,})\b", path.read_text()))
    for path in (REPOSITORY / "hmmkit").rglob("*.py"):
        found |= set(re.findall(r"\berrno\.(E[A-Z]{3,})\b", path.read_text()))
    return found


def errno_sections() -> dict[str, str]:
    """The index of errors: name, and text of its section."""
    text = (BOOK / "errors-by-errno.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (E[A-Z]+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_errno_in_use_is_in_the_index() -> None:
    assert errnos_in_use() - set(errno_sections()) == set()


def test_the_index_is_in_order_and_has_the_right_numbers() -> None:
    sections = errno_sections()
    assert list(sections) == sorted(sections)
    said = {name: int(re.search(r"Number (\d+),", text)[1]) for name, text in sections.items()}  # type: ignore[index]
    assert said == {name: getattr(errno, name) for name in sections}


def kinds_of_error(kind: type[OSError]) -> set[str]:
    """The names of all classes below ``kind``."""
    return {below.__name__ for below in kind.__subclasses__()}.union(
        *(kinds_of_error(below) for below in kind.__subclasses__())
    )


def test_the_index_names_every_exception_of_hmmkit() -> None:
    text = (BOOK / "errors-by-errno.md").read_text(encoding="utf-8")
    for name in generated.hmmkit_modules():
        importlib.import_module(name)
    names = {"HmmError", *kinds_of_error(errors.HmmError), *(cause.name for cause in errors.Cause)}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", ["errors-by-errno.md", "abi.md"])
def test_every_function_of_the_module_that_is_named_exists(page: str) -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "module").glob("*.c"))
    named = set(re.findall(r"`(dmirror_\w+)`", (BOOK / page).read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if f"{name}(" not in source] == []


def test_the_reference_has_every_module_of_hmmkit() -> None:
    modules = generated.hmmkit_modules()
    files = {path.stem for path in (REPOSITORY / "hmmkit").rglob("*.py")} - {"__init__"}
    assert {name.rpartition(".")[2] for name in modules} >= files
    page = generated.with_reference((BOOK / "hmmkit.md").read_text(encoding="utf-8"))
    assert [name for name in modules if f".. automodule:: {name}\n" not in page] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_uses_the_glossary(chapter: Path) -> None:
    assert "{term}`" in chapter.read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_asks_its_question_first(chapter: Path) -> None:
    paragraphs = chapter.read_text(encoding="utf-8").split("\n\n")
    assert paragraphs[1].startswith("**") and "?" in paragraphs[1].partition("**")[2].partition("**")[0]


def status() -> dict[str, dict[str, dict[str, object]]]:
    """The committed results."""
    read: dict[str, dict[str, dict[str, object]]] = json.loads(generated.STATUS.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_status_page_has_every_notebook_on_every_kernel(notebook: Path) -> None:
    runs = status()["notebooks"].get(notebook.stem, {})
    assert set(runs) == {*SERIES, "stock"}, f"make status has not seen {notebook.name}"


def test_the_status_page_has_the_suite_of_every_kernel() -> None:
    assert set(status()["suite"]) == {*SERIES, "stock"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_differs_by_release_is_explained(notebook: Path) -> None:
    runs: dict[str, object] = dict(status()["notebooks"].get(notebook.stem, {}))
    differ = [column for column, run in runs.items() if isinstance(run, dict) and run.get("differ")]
    assert not differ or generated.differs_by_release(notebook), f"cells differ on {', '.join(differ)}"


def test_the_status_page_shows_what_differs() -> None:
    name = NOTEBOOKS[0].stem
    said = {"date": "2026-01-02", "seconds": 7, "cells": 9, "differ": [3, 4]}
    shown = generated.with_status(
        generated.STATUS_MARK,
        {
            "releases": {"9.9": "9.9.1"},
            "versions": {"QEMU": "8"},
            "notebooks": {name: {"9.9": said}},
            "suite": {},
        },
    )
    (row,) = [line for line in shown.splitlines() if f"{name}.ipynb" in line]
    assert "2 of 9 cells differ" in row and generated.when(said) in row
    assert "| the kernel's own suite | not run |" in shown
