# SPDX-License-Identifier: GPL-2.0-only
"""Run every notebook and the kernel's own suite on every kernel; write what happened.

    python -m tests.status [--kernel 7.3 --kernel stock ...] [--notebook 05 ...] [--no-suite]

``make status`` calls this. The result is ``book/status.json``, which the status page shows. A run
of a part replaces that part; every entry has its own date.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testmachine import kernel, qemu, stock
from testmachine.machine import REPOSITORY, WRITABLE
from testmachine.series import SERIES
from tests.kernel_suite import DAMON_OFF

STATUS = REPOSITORY / "book" / "status.json"
STOCK = "stock"  # Debian's own kernel, with its own environment's Jupyter kernel
STOCK_SERIES = next(name for name, series in SERIES.items() if series.stock)
COLUMNS = (*SERIES, STOCK)
RUN_SECONDS = 1800
# What the book's machines have from their configuration, and chapter 2 asks for: huge pages on
# request, and nobody who locks pages now and then.
AS_IN_THE_BOOK = f'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled\n{DAMON_OFF}exec "$@"'
CELL = re.compile(r"Cell (\d+)")


def names_kernel(notebook: Path) -> str:
    """The Jupyter kernel that the notebook names."""
    name: str = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"]
    return name


def only_there(kernel_name: str, column: str) -> bool:
    """Whether a notebook of that kernel means a machine that ``column`` has not: one that counts."""
    return kernel_name.endswith("-counting") and kernel_name != f"hmm-{column}-counting"


def nbval_command(notebook: Path, column: str, report: Path) -> list[str]:
    """What runs ``notebook`` there and writes a report in JUnit's form."""
    name = str(notebook.relative_to(REPOSITORY))
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", f"--junitxml={report}", name]
    if column == STOCK:
        return [sys.executable, "-m", "testmachine", "run", "--kernel", STOCK_SERIES, "--variant", "stock",
                "--", "sh", "-ec", AS_IN_THE_BOOK, "sh",
                "python", *pytest, "--nbval-current-env"]  # fmt: skip
    if names_kernel(notebook).endswith("-counting"):
        return [sys.executable, *pytest]
    return [sys.executable, *pytest, f"--nbval-kernel-name=hmm-{column}"]


def parse_report(text: str) -> tuple[int, list[int]]:
    """How many code cells were run, and the numbers of those that did not show what is committed."""
    cells = 0
    differ = []
    for case in ElementTree.fromstring(text).iter("testcase"):
        number = CELL.search(case.get("name", ""))
        if number:
            cells += 1
            if case.find("failure") is not None or case.find("error") is not None:
                differ.append(int(number[1]))
    return cells, differ


def run_notebook(notebook: Path, column: str) -> dict[str, Any]:
    """One entry of the table."""
    if only_there(names_kernel(notebook), column):
        return {"needs": names_kernel(notebook)}
    report = REPOSITORY / WRITABLE / f"status-{notebook.stem}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    began = time.monotonic()
    done = subprocess.run(
        nbval_command(notebook, column, report), cwd=REPOSITORY, capture_output=True, text=True,
        timeout=RUN_SECONDS,
    )  # fmt: skip
    seconds = round(time.monotonic() - began)
    if not report.exists():
        raise SystemExit(f"{notebook.stem} on {column} wrote no report:\n{done.stdout}{done.stderr}")
    cells, differ = parse_report(report.read_text(encoding="utf-8"))
    report.unlink()
    return {"date": time.strftime("%F"), "seconds": seconds, "cells": cells, "differ": differ}


def run_suite(column: str) -> dict[str, Any]:
    """The kernel tree's own tests against our module."""
    kernel_options = ["--kernel", column]
    if column == STOCK:
        kernel_options = ["--kernel", STOCK_SERIES, "--variant", "stock"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernel_suite", *kernel_options],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    seconds = round(time.monotonic() - began)
    said = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped", done.stdout)
    if not said:
        raise SystemExit(f"the suite of {column} did not end:\n{done.stdout}{done.stderr}")
    passed, failed, skipped = map(int, said.groups())
    return {"date": time.strftime("%F"), "seconds": seconds, "passed": passed, "failed": failed,
            "skipped": skipped}  # fmt: skip


def release(column: str) -> str:
    """What ``uname -r`` says there."""
    if column == STOCK:
        return stock.get(STOCK_SERIES).release
    return kernel.get(column).release


def versions() -> dict[str, str]:
    """What else a result may depend on."""
    emulated = qemu.accelerator(kernel.get(next(iter(SERIES)))).name
    return {"QEMU": qemu.version().removeprefix("QEMU emulator version "), "accelerator": emulated,
            "Python": platform.python_version()}  # fmt: skip


def read() -> dict[str, Any]:
    """What is written down, or a table without entries."""
    if STATUS.exists():
        status: dict[str, Any] = json.loads(STATUS.read_text(encoding="utf-8"))
        return status
    return {"releases": {}, "versions": {}, "notebooks": {}, "suite": {}}


def write(status: dict[str, Any]) -> None:
    """Write it, after each run: an interrupted one keeps what it has."""
    STATUS.write_text(json.dumps(status, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def chosen(notebooks: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """Those whose names begin with one of ``names``; without names, all."""
    return [path for path in notebooks if not names or any(path.stem.startswith(name) for name in names)]


def main() -> int:
    """Run what was asked for; 0 if it could be run, whatever came out."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kernel", choices=COLUMNS, action="append", default=[])
    options.add_argument("--notebook", action="append", default=[], metavar="NN")
    options.add_argument("--no-suite", action="store_true")
    asked = options.parse_args()
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

    status = read()
    status["versions"] = versions()
    there = {path.stem for path in notebooks}
    status["notebooks"] = {name: row for name, row in status["notebooks"].items() if name in there}
    for column in asked.kernel or COLUMNS:
        status["releases"][column] = release(column)
        for notebook in chosen(notebooks, asked.notebook):
            entry = run_notebook(notebook, column)
            status["notebooks"].setdefault(notebook.stem, {})[column] = entry
            write(status)
            print(f"{column:6} {notebook.stem}: {entry}", flush=True)
        if not asked.no_suite:
            status["suite"][column] = run_suite(column)
            write(status)
            print(f"{column:6} suite: {status['suite'][column]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
