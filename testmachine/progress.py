# SPDX-License-Identifier: GPL-2.0-only
"""Says what a long step is doing, how far it is and where its log is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testmachine.errors import BuildError

EVERY_SECONDS = 20.0  # between two lines where the output is not a terminal


class Progress:
    """One step's progress on standard error: a line that rewrites itself, or a line now and then.

    ``total`` is the expected number of ``advance()`` calls, 0 if it is not known.
    """

    def __init__(self, what: str, total: int = 0, log: Path | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._start = time.monotonic()
        self._shown = self._start
        self._terminal = sys.stderr.isatty()
        self._say(f"{what} ..." + (f"  (log: {log})" if log else ""))

    def advance(self) -> None:
        """One unit of work is done."""
        self.done += 1
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._terminal else EVERY_SECONDS):
            self._shown = now
            far = f"{min(99, 100 * self.done // self.total)} %" if self.total else f"{self.done} steps"
            self._say(f"{self.what}: {far}, {now - self._start:.0f} s", rewrite=True)

    def finish(self) -> float:
        """The step is done; returns its seconds."""
        seconds = time.monotonic() - self._start
        self._say(f"{self.what}: done in {seconds:.0f} s")
        return seconds

    def _say(self, text: str, rewrite: bool = False) -> None:
        if self._terminal:
            print(f"\r\033[K{text}", end="" if rewrite else "\n", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    step: Callable[[], None] | None = None,
) -> None:
    """Run a command, its output into ``log``, ``step()`` called for each line it prints.

    BuildError names the command, its exit status, its last words and the log.
    """
    with log.open("a") as file:
        print("+", *argv, file=file, flush=True)
        process = subprocess.Popen(
            [str(arg) for arg in argv],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        last: list[str] = []
        try:
            for line in process.stdout:
                file.write(line)
                last = [*last[-400:], line.rstrip()]
                if step:
                    step()
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            status = process.wait()
    if status:
        telling = [line for line in last if "rror" in line or "No space" in line] or last
        said = "; ".join(line.strip() for line in telling[-3:])
        raise BuildError(f"{Path(str(argv[0])).name} ended with status {status}: {said} (log: {log})")
