# SPDX-License-Identifier: GPL-2.0-only
"""nbval does notice: a changed output, and a module that does not do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testmachine import module
from testmachine.machine import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def nbval(notebook: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``pytest --nbval`` on one notebook, with the project's configuration."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", REPOSITORY / "pyproject.toml",
         "--rootdir", REPOSITORY, "--nbval", notebook],
        cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tampered_output_fails(notebook: Path, tmp_path: Path) -> None:
    content = json.loads(notebook.read_text())
    streams = [
        output
        for cell in content["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if output["output_type"] == "stream"
    ]
    last = streams[-1]
    text = "".join(last["text"])
    last["text"] = text.rstrip("\n") + " (and more)\n"
    copy = tmp_path / notebook.name
    copy.write_text(json.dumps(content))
    done = nbval(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout.splitlines()[-1], done.stdout


def test_a_module_that_skips_the_copy_fails(tmp_path: Path) -> None:
    broken = tmp_path / "module"
    shutil.copytree(REPOSITORY / "module", broken)
    source = broken / "copy.c"
    good = source.read_text()
    without = re.sub(r"copy_highpage\(\w+, \w+\);", ";", good)
    assert without != good, "copy.c has no copy_highpage() to leave out"
    source.write_text(without)
    assert module.sources(broken), "no sources were copied"
    done = nbval(REPOSITORY / "notebooks" / "05-device-private-migration.ipynb", HMM_MODULE=str(broken))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed" in done.stdout.splitlines()[-1], done.stdout
