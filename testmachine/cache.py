# SPDX-License-Identifier: GPL-2.0-only
"""Where built things live, under which key, and who may build them.

Everything is under ``$XDG_CACHE_HOME/hmm-testmachine``. An artefact's directory is named by a
digest of what it was made from: a changed input is a new name, and nothing is ever rewritten.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testmachine.errors import HostError

GIB = 1 << 30


def cache_dir() -> Path:
    """The cache directory, created if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base).resolve() / "hmm-testmachine"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot create the cache {path}: {error.strerror}; set XDG_CACHE_HOME to a "
            "directory that can be written"
        ) from error
    return path


def digest(*parts: str | bytes) -> str:
    """Sixteen hex digits that name the given inputs."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little"))
        whole.update(data)
    return whole.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The digest of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_space(gib: float, what: str) -> None:
    """HostError unless the cache's file system has ``gib`` GiB free for ``what``."""
    directory = cache_dir()
    free = shutil.disk_usage(directory).free / GIB
    if free < gib:
        raise HostError(
            f"no disk space for {what}: {gib:.1f} GiB wanted in {directory}, {free:.1f} GiB "
            "free; free some or set XDG_CACHE_HOME to a larger disk"
        )


@contextmanager
def building(directory: Path) -> Iterator[Path | None]:
    """Build ``directory`` once, whoever asks and however many ask at a time.

    Yields None if it is there already; else an empty ``<directory>.partial`` which becomes
    ``directory`` if the block ends without an exception. A partial one left by a killed builder
    is removed by the next.
    """
    if directory.is_dir():
        yield None
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.is_dir():  # somebody else built it while we waited
            yield None
            return
        partial = directory.parent / f"{directory.name}.partial"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        yield partial
        partial.rename(directory)


def sweep(directory: Path, keep: int) -> None:
    """Remove all but the ``keep`` most recently used artefacts of ``directory``, and dead partials."""
    entries = [entry for entry in directory.iterdir() if entry.is_dir()]
    built = [entry for entry in entries if entry.suffix != ".partial"]
    built.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in built[keep:]:
        shutil.rmtree(entry, ignore_errors=True)
    for entry in entries:
        if entry.suffix == ".partial":
            with entry.with_suffix(".lock").open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else somebody is building it
                shutil.rmtree(entry, ignore_errors=True)
