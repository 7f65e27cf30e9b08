# SPDX-License-Identifier: GPL-2.0-only
"""Run the parts of ``make test``, one more at a time than there are cores; say what each took.

    python -m tests.parts FIRST... -- PART...

Each is a target of the Makefile. The first ones run one after the other, the others at a time: a
machine keeps one core busy, but each part waits for something now and then. All of them run, whatever
fails; the end is a table of minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from testmachine.machine import REPOSITORY


@dataclass(frozen=True)
class Ran:
    """One part that has ended, and how many seconds it took."""

    name: str
    status: int
    seconds: float
    output: bytes


def run(name: str, live: bool) -> Ran:
    """Run one target to its end; its output goes on as it comes if ``live``, else it is kept."""
    begin = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", name],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL,
        stdout=None if live else subprocess.PIPE, stderr=None if live else subprocess.STDOUT,
    )  # fmt: skip
    return Ran(name, done.returncode, time.monotonic() - begin, done.stdout or b"")


def run_all(first: Sequence[str], parts: Sequence[str], at_once: int) -> Iterator[Ran]:
    """Run the first ones in order, as long as they succeed, then the others, ``at_once`` at a time."""
    for name in first:
        ran = run(name, live=True)
        yield ran
        if ran.status:
            return
    with ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(run, name, live=False) for name in parts]
        for done in as_completed(waiting):
            yield done.result()


def table(all_ran: Sequence[Ran], seconds: float, at_once: int) -> str:
    """What each part took, the longest first, and ``seconds``, which all of them took together."""
    lines = ["minutes  part"]
    for ran in sorted(all_ran, key=lambda ran: -ran.seconds):
        lines.append(f"{ran.seconds / 60:7.1f}  {ran.name}" + ("  FAILED" if ran.status else ""))
    lines.append(f"{seconds / 60:7.1f}  all, {at_once} at a time")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run and tell; 1 if a part failed."""
    if "--" not in arguments or arguments[-1] == "--":
        raise SystemExit("python -m tests.parts FIRST... -- PART...: no part was named")
    dashes = arguments.index("--")
    first, parts = arguments[:dashes], arguments[dashes + 1 :]
    begin, at_once = time.monotonic(), (os.cpu_count() or 1) + 1
    ended: list[Ran] = []
    for ran in run_all(first, parts, at_once):
        ended.append(ran)
        sys.stdout.buffer.write(ran.output)
        verdict = f"failed with status {ran.status}" if ran.status else "ok"
        print(f"--- {ran.name}: {verdict} ({len(ended)} of {len(first) + len(parts)})", flush=True)
    print(table(ended, time.monotonic() - begin, at_once))
    failed = [ran.name for ran in ended if ran.status]
    if failed:
        print(f"failed: {', '.join(failed)}; each runs alone by: make PART")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
