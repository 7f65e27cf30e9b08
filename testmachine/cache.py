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
COMPLETE = ".complete"  # the file that makes a directory a built artefact


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


def is_built(directory: Path) -> bool:
    """Whether an artefact is there and whole."""
    return (directory / COMPLETE).is_file()


@contextmanager
def building(directory: Path) -> Iterator[Path | None]:
    """Build the artefact ``directory`` once, whoever asks and however many ask at a time.

    Yields None if it is there already; else the empty directory, which counts as built when the
    block has ended without an exception. It is built where it stays, since kernel builds remember
    their path. What a killed builder left is removed by the next.
    """
    if not is_built(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _lock_file(directory).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_built(directory):  # nobody else built it while we waited
                if directory.exists():
                    shutil.rmtree(directory)
                directory.mkdir()
                yield directory
                (directory / COMPLETE).touch()
                return
    os.utime(directory)  # sweep() goes by the last use
    yield None


def sweep(directory: Path, keep: int) -> None:
    """Remove all but the ``keep`` most recently used artefacts of ``directory``, and broken ones."""
    entries = [entry for entry in directory.iterdir() if entry.is_dir()]
    whole = [entry for entry in entries if is_built(entry)]
    whole.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in whole[keep:]:
        (entry / COMPLETE).unlink(missing_ok=True)  # first, so that nobody finds half of it
        shutil.rmtree(entry, ignore_errors=True)
    for entry in set(entries) - set(whole):
        with _lock_file(entry).open("w") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else somebody is building it
            if not is_built(entry):
                shutil.rmtree(entry, ignore_errors=True)


def _lock_file(directory: Path) -> Path:
    return directory.parent / f"{directory.name}.lock"
