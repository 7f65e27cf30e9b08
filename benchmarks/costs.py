# SPDX-License-Identifier: GPL-2.0-only
"""What each operation costs, in instructions a page: our driver beside the kernel's own.

    python -m benchmarks.costs [--kernel SERIES ...] [--most N] [--driver D ...] [--no-results]

Compiles ``costs.c`` and runs it with each driver in a fresh machine whose clock counts the guest's
instructions. Prints a table for each kernel and kind of page, and writes ``results.json``: what
chapter 12 tells. The kernel's own driver is ``test_hmm``, built from the tree of the machine's
kernel, for comparison only. The floor is ``floor/``, a driver that does the least: what it costs is
the kernel's part. ``results.md`` has the tables, for the chapter.

A figure of the table repeats to within one in a thousand on any host, however busy: the file has
three digits of each, and no date, so that a second run gives the same file but for a last digit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from testmachine import module, qemu, session
from testmachine.cache import building, cache_dir, digest, file_digest
from testmachine.errors import MachineDied, TestMachineError
from testmachine.kernel import Kernel, compiler
from testmachine.progress import Progress, run_logged

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TABLES = HERE / "results.md"
SOURCE = HERE / "costs.c"
SERIES = ("6.12", "7.3")
HUGE_SERIES = ("7.3",)  # huge pages move whole from 6.19 on
PAGES = (1, 4, 16, 64, 256, 1024, 4096, 65536)
HUGE_PAGES = (512, 1024, 4096, 65536)
SHOWN = {"base": (1, 64, 4096, 65536), "huge": (512, 4096, 65536)}  # the rest is for plots
DRIVERS = {"ours": "hmm_dmirror", "kernel's own": "test_hmm"}
# The driver that does the least, and what it can do: how these operations' names begin.
FLOOR = "floor"
FLOOR_SOURCE = HERE / "floor"
FLOOR_OPERATIONS = ("to device", "back by")
FLOOR_PAGES = 4096  # where the chapter's tables compare with it
# It moves single pages. Where huge pages move whole, untouched memory becomes huge ones: no floor.
NO_FLOOR = {(series, "to device, untouched") for series in HUGE_SERIES}
# Faults once more, with one page each: no window that grows while they follow each other.
WINDOW = 1
WINDOWED = "back by fault"
# 256 MiB to move, as much for a copy of it, for the device's pages and for a driver's buffer.
HARDWARE = qemu.Hardware(memory=2048, cpus=1, counting=True)
ZRAM = "64M"
DIGITS = 3


@dataclass(frozen=True, order=True)
class Cost:
    """``instructions`` a page of one operation on ``pages`` pages of one kind, "base" or "huge"."""

    kernel: str
    kind: str
    operation: str
    pages: int
    driver: str
    instructions: float


def rounded(value: float, digits: int = DIGITS) -> float:
    """``value`` to so many significant digits; whole if it has no fraction then."""
    shorter = float(f"{value:.{digits}g}")
    return int(shorter) if shorter.is_integer() else shorter


def compile_program() -> Path:
    """The guest's program, compiled once; BuildError with the compiler's words."""
    uapi = module.source_directory() / "uapi"
    key = digest(*(file_digest(path) for path in (SOURCE, *sorted(uapi.iterdir()))), compiler())
    directory = cache_dir() / "benchmarks" / key
    with building(directory) as partial:
        if partial is not None:
            log = cache_dir() / "logs" / "benchmarks.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            run_logged(
                ["gcc", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror", "-static",
                 f"-I{uapi}", "-o", partial / "costs", SOURCE],
                log,
            )  # fmt: skip
    return directory / "costs"


def compile_floor(kernel: Kernel) -> Path:
    """The driver that does the least, for ``kernel``; BuildError with the compiler's words."""
    sources = {path.name: path for path in sorted(FLOOR_SOURCE.iterdir())}
    ours = module.source_directory()
    sources |= {
        "module.Kbuild": ours / "Kbuild",
        "compat.h": ours / "compat.h",
        "dkms.conf": ours / "dkms.conf",
    }
    sources |= {f"uapi/{path.name}": path for path in sorted((ours / "uapi").iterdir())}
    key = digest(kernel.build.name, *(f"{name} {file_digest(path)}" for name, path in sources.items()))
    directory = cache_dir() / "benchmarks" / f"floor-{kernel.name}-{key}"
    with building(directory) as partial:
        if partial is not None:
            log = cache_dir() / "logs" / "benchmarks.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            for name, path in sources.items():
                (partial / name).parent.mkdir(exist_ok=True)
                shutil.copy2(path, partial / name)
            run_logged(kernel.compile_command(partial), log)
    return directory / "hmm_floor.ko"


def measure(series: str, driver: str, kind: str, pages: Sequence[int]) -> tuple[Kernel, list[Cost]]:
    """Run the program in a fresh machine. TestMachineError if it does not come to its end."""
    setup = session.prepare(series, HARDWARE, load_module=False)
    program = f"{compile_program()} {kind} {' '.join(map(str, pages))}"
    script = f"echo {ZRAM} >/sys/block/zram0/disksize; mkswap /dev/zram0 >/dev/null; swapon /dev/zram0\n"
    if driver == FLOOR:
        script += f"insmod {compile_floor(setup.kernel)}\n"
        script += "".join(f"ONLY='{name}' {program}\n" for name in FLOOR_OPERATIONS)
    else:
        script += f"modprobe {DRIVERS[driver]}\n{program}\n"
    if driver == "ours" and kind == "base":
        script += (
            f"rmmod {DRIVERS[driver]}; modprobe {DRIVERS[driver]} fault_pages={WINDOW}\n"
            f"ONLY='{WINDOWED}' {program} | sed 's/\", \"pages\"/, window {WINDOW}&/'\n"
        )
    status, out, err = session.capture(setup, ["sh", "-ec", script], Path.cwd())
    print(err, end="", file=sys.stderr)
    if status:
        raise TestMachineError(f"the program ended with status {status}: {err.strip()}")
    costs = []
    for line in out.splitlines():
        row = json.loads(line)
        each = rounded(row["instructions"] / row["pages"])
        operation = row["operation"]
        if driver == FLOOR and (series, operation) in NO_FLOOR:
            continue
        if driver == FLOOR and operation.startswith(WINDOWED):
            operation += f", window {WINDOW}"  # it brings one page and knows no other way
        costs.append(Cost(series, kind, operation, row["pages"], driver, each))
    return setup.kernel, costs


def tables(costs: Iterable[Cost]) -> list[str]:
    """A table for each kernel and kind of page, as lines: instructions a page, and the ratios."""
    lines: list[str] = []
    costs = list(costs)
    ours, other = DRIVERS
    for series, kind in dict.fromkeys((cost.kernel, cost.kind) for cost in costs):
        chosen = [cost for cost in costs if (cost.kernel, cost.kind) == (series, kind)]
        found = {(cost.operation, cost.pages, cost.driver): cost.instructions for cost in chosen}
        sizes = sorted({cost.pages for cost in chosen} & {*SHOWN[kind]})
        lines.append(
            f"Linux {series}, {kind} pages: instructions a page: ours, the kernel's own, ratio, floor"
        )
        lines.append(f"{'pages at a time':36}" + "".join(f"{size:34,}   " for size in sizes))
        for operation in dict.fromkeys(cost.operation for cost in chosen):
            line = f"{operation:36}"
            for size in sizes:
                mine = found.get((operation, size, ours))
                its = found.get((operation.removesuffix(f", window {WINDOW}"), size, other))
                ratio = f"{mine / its:.2f}" if mine and its else ""
                floor = found.get((operation, size, FLOOR))
                line += f"{_figure(mine)}{_figure(its)}{ratio:>7}{_figure(floor)}"
            lines.append(line.rstrip())
        lines.append("")
    return lines


def _figure(value: float | None) -> str:
    return f"{'':>10}" if value is None else f"{value:>10,}"


def as_markdown(costs: Iterable[Cost]) -> str:
    """The tables as the book shows them: instructions a page of ours, and the ratio in brackets.

    Single pages have two columns more, for FLOOR_PAGES pages: the floor, and what is above it.
    """
    costs = list(costs)
    ours, other = DRIVERS
    text = "<!-- Written by make bench. -->\n"
    for series, kind in dict.fromkeys((cost.kernel, cost.kind) for cost in costs):
        chosen = [cost for cost in costs if (cost.kernel, cost.kind) == (series, kind)]
        found = {(cost.operation, cost.pages, cost.driver): cost.instructions for cost in chosen}
        sizes = sorted({cost.pages for cost in chosen} & {*SHOWN[kind]})
        heads = "".join(f" | {size:,} page{'s' if size > 1 else ''}" for size in sizes)
        aligned = len(sizes)
        floors = kind == "base"
        if floors:
            heads += " | floor | the driver's part"
            aligned += 2
        text += f"\n| Linux {series}, {'single' if kind == 'base' else 'huge'} pages{heads} |\n"
        text += "|---" + "|--:" * aligned + "|\n"
        for operation in dict.fromkeys(cost.operation for cost in chosen):
            cells = []
            for size in sizes:
                mine = found.get((operation, size, ours))
                its = found.get((operation.removesuffix(f", window {WINDOW}"), size, other))
                ratio = f" ({mine / its:.2f})" if mine and its else ""
                cells.append(f"{mine:,}{ratio}" if mine else "")
            if floors:
                mine = found.get((operation, FLOOR_PAGES, ours))
                least = found.get((operation, FLOOR_PAGES, FLOOR))
                cells += [f"{least:,}", f"{1 - least / mine:.0%}"] if mine and least else ["", ""]
            text += f"| {operation} | {' | '.join(cells)} |\n"
    return text


def as_json(costs: Iterable[Cost], versions: dict[str, str]) -> str:
    """The file's text: the versions, and one line for each cost, sorted."""
    rows = [asdict(cost) for cost in sorted(costs)]
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return f'{{\n "versions": {json.dumps(versions)},\n "costs": [\n{lines}\n ]\n}}\n'


def main() -> int:
    """Measure, print, write; 1 if a program or a machine did not come to its end."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kernel", nargs="+", default=SERIES, metavar="SERIES")
    options.add_argument("--most", type=int, default=max(PAGES), metavar="N", help="no more pages at a time")
    drivers = [*DRIVERS, FLOOR]
    options.add_argument("--driver", nargs="+", default=drivers, choices=drivers)
    options.add_argument("--no-results", action="store_true", help="print only, leave results.json as it is")
    chosen = options.parse_args()
    versions = {"emulator": qemu.version(), "compiler": compiler()}
    costs: list[Cost] = []
    try:
        for series in chosen.kernel:
            kinds = {"base": PAGES, "huge": HUGE_PAGES if series in HUGE_SERIES else ()}
            for kind, sizes in kinds.items():
                pages = [size for size in sizes if size <= chosen.most]
                if not pages:
                    continue
                for driver in chosen.driver:
                    if driver == FLOOR and kind == "huge":
                        continue  # it knows single pages only
                    progress = Progress(f"Linux {series}, {kind} pages, {driver}")
                    kernel, measured = measure(series, driver, kind, pages)
                    progress.finish()
                    versions[f"Linux {series}"] = kernel.release
                    costs += measured
    except MachineDied as death:
        print(death.report(), file=sys.stderr)
        return 1
    except TestMachineError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print("\n".join(tables(costs)))
    if not chosen.no_results:
        RESULTS.write_text(as_json(costs, versions))
        TABLES.write_text(as_markdown(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
