# SPDX-License-Identifier: GPL-2.0-only
"""What a launcher leaves behind, looked at from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from testmachine.cache import cache_dir, is_built

Launch = Callable[..., "subprocess.CompletedProcess[str]"]  # the fixture `testmachine`


def children(pid: int) -> list[int]:
    """The process ids of the direct children of ``pid``."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    """Whether the process ends within that time."""
    limit = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def machines() -> set[int]:
    """The process ids of all our QEMUs."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"hmm-testmachine\0" in command and alive(int(entry.name)):
                found.add(int(entry.name))
    return found


def files_left(temporary: Path) -> set[Path]:
    """What a launcher that ran with TMPDIR=``temporary`` left there, and half-built artefacts."""
    artefacts = [path for name in ("states", "modules") for path in (cache_dir() / name).iterdir()]
    return {*temporary.iterdir(), *(path for path in artefacts if path.is_dir() and not is_built(path))}
