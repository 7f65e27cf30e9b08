# SPDX-License-Identifier: GPL-2.0-only
"""``pytest --nbval`` on one notebook, for tests that must see it fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testmachine.machine import REPOSITORY


def nbval(notebook: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run as the project configures it, with ``options`` of pytest and ``environment`` on top of ours."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.without_grammar",
         "-c", REPOSITORY / "pyproject.toml", "--rootdir", REPOSITORY, "--nbval", *options, notebook],
        cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
