# SPDX-License-Identifier: GPL-2.0-only
"""nbval does notice a changed output. (A changed module: tests/defects.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY
from tests.nbval_run import nbval

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


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
    first = streams[0]
    text = "".join(first["text"])
    first["text"] = text.rstrip("\n") + " (and more)\n"
    copy = tmp_path / notebook.name
    copy.write_text(json.dumps(content))
    done = nbval(copy, "--exitfirst")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout.splitlines()[-1], done.stdout
