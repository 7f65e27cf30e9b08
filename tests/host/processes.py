# SPDX-License-Identifier: GPL-2.0-only
"""What a launcher leaves behind, looked at from outside."""

from __future__ import annotations

import fcntl
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


def files_left(temporary: Path) -> set[Path]:
    """What a launcher that ran with TMPDIR=``temporary`` left there, and artefacts left half-built."""
    artefacts = [path for name in ("states", "modules") for path in (cache_dir() / name).iterdir()]
    return {*temporary.iterdir(), *(path for path in artefacts if path.is_dir() and _abandoned(path))}


def _abandoned(artefact: Path) -> bool:
    """Whether it is half-built and nobody, such as a test run beside this one, is building it."""
    if is_built(artefact):
        return False
    with artefact.with_name(f"{artefact.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return artefact.exists() and not is_built(artefact)
