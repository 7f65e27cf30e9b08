# SPDX-License-Identifier: GPL-2.0-only
"""What hmmkit itself costs: its requests and views beside the bare system calls.

    python -m benchmarks.wrapper [--here]

Runs itself with ``--here`` in fresh machines whose clock counts instructions, and writes the figures
to ``wrapper.json`` and ``wrapper.md``, which the reference of hmmkit shows. The bare calls have
everything prepared that can be, numbers and memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from typing import Any

from benchmarks.costs import SERIES, rounded
from hmmkit.buffer import PAGE_SIZE, Buffer
from hmmkit.cost import Action, Counter
from hmmkit.device import Device
from hmmkit.pagemap import WORD_SIZE, page_entries
from hmmkit.uapi import Command, Request

HERE = Path(__file__).parent
RESULTS = HERE / "wrapper.json"
TABLE = HERE / "wrapper.md"
PAGES = 65536
TURNS = 200
WARM_UP = 50  # Python looks at what a function does in its first calls, to do it faster from then on
READ = "READ of one page"
LOOP = f"a loop in Python that does nothing, each of {PAGES:,} pages"

# Instructions by what was done: with the bare calls, 0 if there are none, and with hmmkit.
Figures = dict[str, list[float]]


def one_page(counter: Counter) -> Figures:
    """READ of one page that the device knows: instructions of one call."""
    with Device() as device, Buffer(touched=True) as page:
        landing = ctypes.create_string_buffer(PAGE_SIZE)
        command = Command(page.address, ctypes.addressof(landing), 1)
        fd, request = device.fileno(), int(Request.READ)

        def in_turn(call: Action) -> float:
            def loop() -> None:
                for _ in range(TURNS):
                    call()

            for _ in range(WARM_UP):
                call()
            return counter.count(loop) / TURNS

        def each(*calls: Action) -> list[float]:
            return [in_turn(call) - in_turn(lambda: None) for call in calls]

        return {
            READ: each(lambda: ioctl(fd, request, command), lambda: device.read(page)),
            "and its bytes": each(
                lambda: (ioctl(fd, request, command), landing.raw), lambda: device.read(page).data
            ),
        }


def many_pages(counter: Counter) -> Figures:
    """Views of PAGES pages: instructions for each of them."""
    with Device() as device, Buffer(PAGES, touched=True) as pages:
        codes = ctypes.create_string_buffer(PAGES)
        command = Command(pages.address, ctypes.addressof(codes), PAGES)
        fd, request = device.fileno(), int(Request.SNAPSHOT)
        words = bytearray(PAGES * WORD_SIZE)
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        offset = pages.address // PAGE_SIZE * WORD_SIZE

        def look() -> object:
            return ioctl(fd, request, command)

        def read() -> object:
            return os.preadv(pagemap, [words], offset)

        def each(*calls: Action) -> list[float]:
            for call in calls:
                call()  # and what it touches for the first time
            return [counter.count(call) / PAGES for call in calls]

        figures = {
            f"SNAPSHOT, each of {PAGES:,} pages": each(look, lambda: device.snapshot(pages)),
            "and how many are on the device": each(look, lambda: device.snapshot(pages).on_this_device),
            f"pagemap, each of {PAGES:,} pages": each(read, lambda: page_entries(pages)),
            "and how many are present": each(read, lambda: page_entries(pages).present),
            LOOP: [0, *each(lambda: [None for _ in range(PAGES)])],
        }
        os.close(pagemap)
        return figures


def in_machine(series: str) -> dict[str, Any]:
    """The figures and versions of a fresh machine; SystemExit if it does not come to its end."""
    machine = ["-m", "testmachine", "run", "--kernel", series, "--counting", "--"]
    program = ["python", "-m", "benchmarks.wrapper", "--here"]
    done = subprocess.run([sys.executable, *machine, *program], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks: no figures of hmmkit on Linux {series}: status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def as_markdown(results: dict[str, dict[str, Any]]) -> str:
    """The table for the book, from what the file has: instructions, and in brackets the ratio."""
    text = "<!-- Written by make bench. -->\n\n"
    text += f"| |{'|'.join(f' {series}: the bare call | hmmkit ' for series in results)}|\n"
    text += f"|---|{'--:|--:|' * len(results)}\n"
    for name in next(iter(results.values()))["figures"]:
        pairs = [result["figures"][name] for result in results.values()]
        cells = [
            f"{bare:,} | {ours:,} ({ours / bare:.2f})" if bare else f" | {ours:,}" for bare, ours in pairs
        ]
        text += f"| {name} | {' | '.join(cells)} |\n"
    return text


def main() -> int:
    """Count on this machine and print JSON, or have that done in machines and write the files."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--here", action="store_true", help="count on this machine, and print JSON")
    if options.parse_args().here:
        counter = Counter.calibrate()
        counted = {**one_page(counter), **many_pages(counter)}
        figures = {name: [rounded(value) for value in pair] for name, pair in counted.items()}
        versions = {"Linux": platform.release(), "Python": platform.python_version()}
        print(json.dumps({"versions": versions, "figures": figures}))
        return 0
    results = {series: in_machine(series) for series in SERIES}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    TABLE.write_text(as_markdown(results))
    print(TABLE.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
