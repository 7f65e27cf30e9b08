# SPDX-License-Identifier: GPL-2.0-only
"""The costs that ``make bench`` has measured and committed: ``benchmarks/results.json``.

They come from a C program (``benchmarks/costs.c``), in instructions a page, to three digits.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results.json"

OURS, KERNELS_OWN = "ours", "kernel's own"
"""The two drivers that were measured."""


@dataclass(frozen=True)
class Record:
    """All recorded costs: (series, kind of page, operation, pages, driver) to instructions a page."""

    costs: dict[tuple[str, str, str, int, str], float]

    @classmethod
    def load(cls, path: Path | None = None) -> Record:
        """The committed record, or that in the file ``path``.

        Raises ``OSError`` without the file, ``ValueError`` if it is no record.
        """
        rows = json.loads((path or RESULTS).read_text())["costs"]
        names = ("kernel", "kind", "operation", "pages", "driver")
        return cls({tuple(row[name] for name in names): row["instructions"] for row in rows})

    def find(
        self, operation: str, pages: int, *, huge: bool = False, driver: str = OURS, series: str | None = None
    ) -> float | None:
        """Instructions a page of ``operation`` on so many pages; None if that was not recorded.

        ``series`` is that of the running kernel if it is None.
        """
        kind = "huge" if huge else "base"
        return self.costs.get((series or running_series(), kind, operation, pages, driver))


def running_series() -> str:
    """The series of the running kernel: "6.12" of 6.12.117. ValueError if uname(2) says none."""
    found = re.match(r"\d+\.\d+", os.uname().release)
    if found is None:
        raise ValueError(f"a kernel without a version: {os.uname().release!r}")
    return found.group()
