# SPDX-License-Identifier: GPL-2.0-only
"""From the launch of a kernelspec to the result of a first cell that draws a matplotlib figure.

    python -m benchmarks.launch [--kernel SERIES] [--runs N] [--launches N]

Prints each run's seconds beside those of a cold boot in the same run, the machine's memory and the
size of its saved state; with --launches, launches that many kernels in a row, the last twenty four
at a time, and counts answers and what is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from testmachine import session, state
from testmachine.machine import BOOT_SECONDS, REPOSITORY, start
from testmachine.series import DEFAULT
from tests.host.processes import files_left, machines

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
AT_ONCE, TOGETHER = 4, 20


def memory_of(pid: int) -> int:
    """The peak resident memory of a process, in bytes (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def first_figure(kernel: str) -> tuple[float, int]:
    """Seconds from launch to the figure, and the machine's peak memory in bytes."""
    before = machines()
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
        mine = machines() - before
        return seconds, max((memory_of(pid) for pid in mine), default=0)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def cold_boot(series: str) -> float:
    """Seconds from the start of QEMU until the guest's agent has imported everything."""
    setup = session.prepare(series)

    async def boot() -> None:
        async with start(setup) as machine:
            await machine.event("ready", seconds=BOOT_SECONDS)

    begin = time.monotonic()
    asyncio.run(boot())
    return time.monotonic() - begin


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
    print(f"Linux {setup.kernel.release}, {setup.accelerator}")
    print(f"cold boot to a warm interpreter: {cold_boot(chosen.kernel):.1f} s")
    runs = [first_figure(name) for _ in range(chosen.runs)]
    seconds = [run[0] for run in runs]
    print(
        f"launch to first figure: median {statistics.median(seconds):.1f} s, "
        f"{min(seconds):.1f} to {max(seconds):.1f} s in {len(runs)} runs"
    )
    print(f"memory of a machine: {max(run[1] for run in runs) / (1 << 20):.0f} MiB at its peak")
    print(f"saved state: {saved.stat().st_size / 1e6:.0f} MB")
    if chosen.launches:
        return launches(name, chosen.launches)
    return 0


def launches(kernel: str, count: int) -> int:
    """Launch ``count`` kernels; the last twenty four at a time."""
    before = machines()
    with tempfile.TemporaryDirectory() as name:
        os.environ["TMPDIR"] = name  # of the launchers
        return _launches(kernel, count, before, Path(name))


def _launches(kernel: str, count: int, before: set[int], temporary: Path) -> int:
    alone = [first_figure(kernel)[0] for _ in range(max(0, count - TOGETHER))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        crowded = list(pool.map(lambda _: first_figure(kernel)[0], range(min(count, TOGETHER))))
    time.sleep(1)
    processes, left = machines() - before, files_left(temporary)
    print(f"{len(alone) + len(crowded)} answers to {count} launches")
    if alone:
        print(f"  one at a time: {min(alone):.1f} to {max(alone):.1f} s")
    print(f"  {AT_ONCE} at a time: {min(crowded):.1f} to {max(crowded):.1f} s")
    print(f"left behind: {len(processes)} processes, {len(left)} files {sorted(map(str, left))}")
    return 1 if processes or left else 0


if __name__ == "__main__":
    sys.exit(main())
