# SPDX-License-Identifier: GPL-2.0-only
"""How many code cells of the notebooks nbval compares, as nbval itself decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbval.plugin import comment_markers, find_comment_markers, find_metadata_tags

from book import execute

REASON_LENGTH = 15
"""Characters of a comment that can be a reason."""


@dataclass(frozen=True)
class Ignored:
    """A cell that is run and not compared: where, and the comment beside the mark, or nothing."""

    where: str
    reason: str


@dataclass(frozen=True)
class Share:
    """Of ``cells`` code cells all are compared but those in ``ignored``."""

    cells: int
    ignored: tuple[Ignored, ...]

    @property
    def percent(self) -> float:
        """The share of cells that are compared."""
        return 100 * (self.cells - len(self.ignored)) / self.cells if self.cells else 0.0

    def lines(self) -> list[str]:
        """What to print."""
        compared = self.cells - len(self.ignored)
        said = [f"{compared} of {self.cells} code cells are compared ({self.percent:.1f} %)"]
        return said + [f"not compared: {cell.where}: {cell.reason}" for cell in self.ignored]


def is_compared(cell: NotebookNode) -> bool:
    """Whether nbval runs the cell and compares what it shows."""
    options = {**dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}
    return bool(options.get("check", True)) and not options.get("skip") and cell.execution_count is not None


def reason(cell: NotebookNode) -> str:
    """The comments of a cell that stand beside a mark, joined."""
    lines = [line.strip() for line in cell.source.splitlines()]
    marks = [n for n, line in enumerate(lines) if line.lstrip("#").strip() in comment_markers]
    beside = []
    for mark in marks:
        for line in lines[mark + 1 :]:
            if not line.startswith("#"):
                break
            beside.append(line.lstrip("#").strip())
    words = " ".join(beside)
    return words if len(words) >= REASON_LENGTH else ""


def share(notebooks: Iterable[Path]) -> Share:
    """Count over ``notebooks``."""
    cells = 0
    ignored = []
    for path in notebooks:
        notebook = execute.loads(path.read_text(encoding="utf-8"))
        for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
            cells += 1
            if not is_compared(cell):
                ignored.append(Ignored(f"{path.stem}, cell {number}", reason(cell)))
    return Share(cells, tuple(ignored))
