# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the test machine from outside: each starts machines, as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY, WRITABLE
from tests.host.processes import Launch


@pytest.fixture
def testmachine() -> Launch:
    """``python -m testmachine ARGS`` to its end; text streams."""

    def launch(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "testmachine", *args],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return launch


@pytest.fixture
def writable() -> Iterator[Path]:
    """A directory that the guest can write, emptied of what the test left there."""
    directory = REPOSITORY / WRITABLE
    directory.mkdir(parents=True, exist_ok=True)
    before = set(directory.iterdir())
    yield directory
    for path in set(directory.iterdir()) - before:
        path.unlink()
