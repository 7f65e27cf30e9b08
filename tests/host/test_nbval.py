# SPDX-License-Identifier: GPL-2.0-only
"""nbval does notice a changed output. That each notebook notices a changed module: tests/defects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testmachine.machine import REPOSITORY
from tests.nbval_run import nbval

NOTEBOOK = REPOSITORY / "notebooks" / "05-device-private-migration.ipynb"
SVG = "image/svg+xml"


def outputs(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in content["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]


def tamper_with_text(content: dict[str, Any]) -> None:
    first = next(output for output in outputs(content) if output["output_type"] == "stream")
    first["text"] = "".join(first["text"]).rstrip("\n") + " (and more)\n"


def tamper_with_figure(content: dict[str, Any]) -> None:
    first = next(output for output in outputs(content) if SVG in output.get("data", {}))
    first["data"][SVG] = "".join(first["data"][SVG]).replace("</text>", " (and more)</text>", 1)


@pytest.mark.parametrize("tamper", [tamper_with_text, tamper_with_figure])
def test_a_tampered_output_fails(tamper: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    content = json.loads(NOTEBOOK.read_text())
    good = json.dumps(content)
    tamper(content)
    assert json.dumps(content) != good
    copy = tmp_path / NOTEBOOK.name
    copy.write_text(json.dumps(content))
    done = nbval(copy, "--exitfirst")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout.splitlines()[-1], done.stdout
