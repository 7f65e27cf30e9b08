# SPDX-License-Identifier: GPL-2.0-only
"""What a chapter teaches, killed: each notebook must notice the defects that are listed for it.

``<notebook>.toml`` beside this file lists deliberate defects of the module. Each is built into a
copy, and ``pytest --nbval`` of the notebook must fail with it, in a cell that ran.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY
from tests.nbval_run import nbval

HERE = Path(__file__).parent
NOTEBOOKS = REPOSITORY / "notebooks"


@dataclass(frozen=True)
class Defect:
    """One defect: in ``file``, ``replace`` in place of ``find``, which is there once."""

    notebook: str
    what: str
    file: str
    find: str
    replace: str

    def source(self) -> str:
        """The text of the file, with this defect."""
        good = (REPOSITORY / "module" / self.file).read_text()
        assert good.count(self.find) == 1, f"{self.file} has {good.count(self.find)} of {self.find!r}"
        return good.replace(self.find, self.replace)

    def build_into(self, module: Path) -> None:
        """Copy the module's sources to ``module``, with this defect."""
        shutil.copytree(REPOSITORY / "module", module)
        (module / self.file).write_text(self.source())


def listed() -> list[Defect]:
    """All defects of all notebooks."""
    return [
        Defect(path.stem, **entry)
        for path in sorted(HERE.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["defect"]
    ]


@pytest.mark.parametrize("defect", listed(), ids=lambda d: f"{d.notebook[:2]}: {d.what}")
def test_the_notebook_notices(defect: Defect, tmp_path: Path) -> None:
    module = tmp_path / "module"
    defect.build_into(module)
    # one cell that fails is enough
    done = nbval(NOTEBOOKS / f"{defect.notebook}.ipynb", "--exitfirst", HMM_MODULE=str(module))
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    # one of our cells, not the machine or the collection
    assert re.search(r"^FAILED .*\.ipynb::Cell \d+", done.stdout, re.MULTILINE), said


def test_every_notebook_has_a_defect() -> None:
    without = {path.stem for path in NOTEBOOKS.glob("*.ipynb")} - {defect.notebook for defect in listed()}
    assert without == set()
