# SPDX-License-Identifier: GPL-2.0-only
"""What the machine costs a reader: from the launch of a kernelspec to a first figure, and its memory.

    python -m benchmarks.launch [--kernel SERIES] [--runs N] [--launches N]

``make bench-launch`` calls this. Measures one, two and four launches at a time, a cold boot and a
restore in the same run, the saved state, and what one more notebook adds to ``pytest --nbval``; prints
a table and writes it to ``launch.md``, for the chapter. With --launches it then launches that many
kernels, half of them four at a time, and counts answers and what is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

from jupyter_client.manager import KernelManager

from testmachine import qemu, session, state
from testmachine.machine import BOOT_SECONDS, REPOSITORY, Setup, start
from testmachine.series import DEFAULT
from tests.host.processes import children, files_left, gone_within
from tests.nbval_run import nbval

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
AT_ONCE = (1, 2, 4)
MORE = 4  # notebooks
TABLE = Path(__file__).with_name("launch.md")


@dataclass(frozen=True)
class Launched:
    """One kernel's launch: seconds to its first figure, bytes of its QEMU, and that QEMU's id."""

    seconds: float
    memory: int
    qemu: int


def memory_of(pid: int) -> int:
    """The memory of a process in bytes; of pages that several share, its share (Pss)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"no Pss in /proc/{pid}/smaps_rollup")


def first_figure(kernel: str, together: Barrier) -> Launched:
    """Launch ``kernel`` with the others of ``together``; end it when all have their figure."""
    together.wait()
    begin = time.monotonic()
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel(cwd=str(REPOSITORY))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        outputs: list[dict[str, Any]] = []
        client.execute_interactive(FIGURE, timeout=120, output_hook=outputs.append)
        seconds = time.monotonic() - begin
        if not any("image/png" in m["content"].get("data", {}) for m in outputs):
            raise SystemExit(f"no figure came back: {outputs}")
        (qemu,) = children(getattr(manager.provisioner, "pid", 0))
        together.wait()
        launched = Launched(seconds, memory_of(qemu), qemu)
        together.wait()
        return launched
    except BaseException:
        together.abort()
        raise
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def at_once(kernel: str, count: int) -> list[Launched]:
    """Launch ``count`` kernels at a time."""
    together = Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: first_figure(kernel, together), range(count)))


def until_ready(setup: Setup, saved: Path | None) -> float:
    """Seconds from the start of QEMU until the guest's agent, its imports done, waits for its job.

    The machine boots, or is restored from ``saved``.
    """

    async def wait() -> float:
        begin = time.monotonic()
        async with start(setup, saved) as machine:
            await machine.event("ready", seconds=BOOT_SECONDS)
            return time.monotonic() - begin

    return asyncio.run(wait())


def median_and_range(seconds: Sequence[float]) -> str:
    """What the tables show of several runs."""
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def main() -> int:
    """Measure and print; 1 if a launch had no answer or left something behind."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kernel", default=DEFAULT, metavar="SERIES")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--launches", type=int, default=0)
    chosen = options.parse_args()
    name = f"hmm-{chosen.kernel}"
    setup = session.prepare(chosen.kernel)
    saved = state.get(setup)
    booted = until_ready(setup, None)
    restored = [until_ready(setup, saved) for _ in range(chosen.runs)]
    lines = [
        f"Linux {setup.kernel.release}, {qemu.version()}, {setup.accelerator}, {os.cpu_count()} cores, "
        f"{datetime.now(UTC):%Y-%m-%d}",
        "",
        "| what | seconds | memory of each machine |",
        "|---|---|---|",
        f"| a cold boot, everything imported | {booted:.1f} | |",
        f"| a restore of that | {median_and_range(restored)} | |",
    ]
    for count in AT_ONCE:
        runs = [launched for _ in range(chosen.runs) for launched in at_once(name, count)]
        lines.append(
            f"| launch to first figure, {count} at a time | "
            f"{median_and_range([run.seconds for run in runs])} | "
            f"{max(run.memory for run in runs) / (1 << 20):.0f} MiB |"
        )
    lines += [
        f"| one more notebook of one cell in `pytest --nbval` | {one_more_notebook(name):.1f} | |",
        "",
        f"The saved state has {saved.stat().st_size / 1e6:.0f} MB. Seconds are the median of "
        f"{chosen.runs} runs, with the fastest and the slowest launch.",
    ]
    print("\n".join(lines))
    TABLE.write_text("\n".join(lines) + "\n")
    if chosen.launches:
        return launches(name, chosen.launches)
    return 0


def one_more_notebook(kernel: str) -> float:
    """Seconds that a notebook with one short cell adds to a run of several."""
    cell = {"cell_type": "code", "execution_count": 1, "id": "cell", "metadata": {}, "outputs": [],
            "source": "one = 1"}  # fmt: skip
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    text = json.dumps({"cells": [cell], "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5})
    taken = []
    for count in (1, 1 + MORE):
        with tempfile.TemporaryDirectory() as name:
            for number in range(count):
                (Path(name) / f"{number}.ipynb").write_text(text)
            begin = time.monotonic()
            done = nbval(Path(name))
            taken.append(time.monotonic() - begin)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
    return (taken[1] - taken[0]) / MORE


def launches(kernel: str, count: int) -> int:
    """Launch ``count`` kernels, half of them ``max(AT_ONCE)`` at a time; 1 if one left something."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["TMPDIR"] = name  # of the launchers
        most = max(AT_ONCE)
        crowded = count // 2 // most
        ended = [run for _ in range(crowded) for run in at_once(kernel, most)]
        ended += [run for _ in range(count - len(ended)) for run in at_once(kernel, 1)]
        left = files_left(Path(name))
        alive = [run.qemu for run in ended if not gone_within(run.qemu, 1)]
    print(f"{len(ended)} answers to {count} launches, {most * crowded} of them {most} at a time")
    print(f"left behind: {len(alive)} processes, {len(left)} files {sorted(map(str, left))}")
    return 1 if alive or left else 0


if __name__ == "__main__":
    sys.exit(main())
