# SPDX-License-Identifier: GPL-2.0-only
"""The driver's hard tests: stress, hostile arguments, failing allocations, and what is left after.

    python -m tests.stress [--kernel SERIES] [--variant V] [--seconds N] [--seed N] [--stride N]

Compiles the C programs of this directory, runs them in a machine (see guest.py) and judges what
they and the kernel said. With the same seed the programs make the same choices; how their
processes interleave is up to the machine.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testmachine import module, qemu, session
from testmachine.cache import building, cache_dir, digest, file_digest
from testmachine.errors import MachineDied, TestMachineError
from testmachine.progress import run_logged
from testmachine.series import DEFAULT, VARIANTS
from tests.kernel_messages import reports
from tests.stress.guest import INJECTING

HERE = Path(__file__).parent
PROGRAMS = ("stress", "fuzz", "disk", "inject")
REPORT_LINES = 150

# Where the kernel itself warns when an allocation is made to fail in its own code, which is no
# fault of the driver's: when hotplug fails for any reason; when a module could not be loaded to
# its end ("No memory during module load"); when a trace event's fields could not be described.
EXPECTED = ("arch/x86/mm/init_64.c", "kernel/jump_label.c", "kernel/trace/trace_events.c")


@dataclass
class Said:
    """What came out of the machine."""

    console: list[str] = field(default_factory=list)
    output: str = ""

    def take(self, data: bytes) -> None:
        """A part of the standard output: shown at once, and kept."""
        self.output += data.decode(errors="replace")
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()

    def summaries(self) -> list[dict[str, Any]]:
        """The JSON objects among the lines."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith('{"')]

    def problems(self) -> list[str]:
        """What the programs and the kernel found wrong; empty if all is well."""
        injecting = next((n for n, line in enumerate(self.console) if INJECTING in line), len(self.console))
        found = reports(self.console[:injecting])
        found += [
            line for line in reports(self.console[injecting:]) if not any(place in line for place in EXPECTED)
        ]
        if found:
            first = next(n for n, line in enumerate(self.console) if found[0] in line)
            found += self.console[first : first + REPORT_LINES]
        for summary in self.summaries():
            found += summary.get("problems", [])
        return found


def compile_programs() -> Path:
    """The directory with the programs, compiled once; BuildError with the compiler's words."""
    uapi = module.source_directory() / "uapi"
    sources = sorted(HERE.glob("*.[ch]"))
    key = digest(*(file_digest(path) for path in (*sources, *uapi.iterdir())))
    directory = cache_dir() / "stress" / key
    with building(directory) as partial:
        if partial is not None:
            log = cache_dir() / "logs" / "stress.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            for name in PROGRAMS:
                run_logged(
                    ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", f"-I{uapi}",
                     "-o", partial / name, HERE / f"{name}.c", HERE / "device.c"],
                    log,
                )  # fmt: skip
    return directory


def table(summaries: list[dict[str, Any]]) -> list[str]:
    """The figures of each program, as lines."""
    columns = ("calls", "failed", "undocumented", "checks", "wrong", "kills", "forks", "injected")
    lines = [f"{'':14}" + "".join(f"{name:>14}" for name in columns)]
    for summary in summaries:
        if "program" not in summary:
            continue
        calls = sum(summary["calls"].values())
        failed = calls - sum(n for name, n in summary["calls"].items() if name.endswith(" ok"))
        figures = {**summary, "calls": calls, "failed": failed}
        lines.append(f"{summary['program']:14}" + "".join(f"{figures[name]:14}" for name in columns))
    slowest = max((summary.get("slowest_death_us", 0) for summary in summaries), default=0)
    return [*lines, f"a killed process took {slowest / 1e6:.2f} s to end, at most"]


def main() -> int:
    """Run all of it; 0 if nothing was wrong."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kernel", default=DEFAULT, metavar="SERIES")
    options.add_argument("--variant", choices=VARIANTS, default="debug")
    options.add_argument("--seconds", type=int, default=20, help="of stress, and of fuzz (default 20)")
    options.add_argument("--seed", type=int, help="as a run before printed it (default: a new one)")
    options.add_argument(
        "--stride",
        type=int,
        default=1,
        help="fail only each Nth allocation (default 1)",
    )
    chosen = options.parse_args()
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    said = Said()
    try:
        setup = session.prepare(chosen.kernel, variant=chosen.variant, load_module=False)
        parameters = [f"spm_addr_dev{nr}={address:#x}" for nr, address in enumerate(qemu.COHERENT)]
        figures = (compile_programs(), chosen.seconds, seed, chosen.stride)
        argv = ["python", "-m", "tests.stress.guest", *map(str, figures), *parameters]
        status = session.run(setup, argv, Path.cwd(), said.take, said.console.append)
    except MachineDied as death:
        print("\n".join(said.problems()) or death.report(), file=sys.stderr)
        print(f"testmachine: {death}  (seed {seed})", file=sys.stderr)
        return 125
    except TestMachineError as error:
        print(f"testmachine: {error}", file=sys.stderr)
        return 125
    summaries = said.summaries()
    print("\n".join(table(summaries)))
    problems = said.problems()
    if status or not summaries or "problems" not in summaries[-1]:
        problems.append(f"the tests did not come to their end (status {status})")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"Linux {setup.kernel.name}, seed {seed}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
