# SPDX-License-Identifier: GPL-2.0-only
"""The kernel tree's own HMM tests, compiled from that tree, run against our module.

    python -m tests.kernel_suite [--kernel SERIES] [--variant debug] [--thp always]
        [--driver ours|reference] [-t FIXTURE.TEST ...]

Nothing of the kernel's is kept here: the suite is compiled from the machine kernel's source tree
into the cache, statically, and run in a machine booted with the memory it asks for.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from testmachine import qemu, session
from testmachine.cache import building, cache_dir, digest, file_digest
from testmachine.errors import MachineDied, TestMachineError
from testmachine.kernel import Kernel
from testmachine.progress import Progress, run_logged
from testmachine.series import DEFAULT, VARIANTS
from tests.kernel_messages import reports

MEMORY_MIB = 4096
HUGE_PAGES = 8

# How many results each suite has, counted once: fewer means that it did not run to its end.
RESULTS = {"6.1": 58, "6.12": 58, "7.3": 78}
# What a kernel cannot run, and why; each is there for both kinds of device, so twice.
LEFT_OUT = {
    "7.3-debug": ("benchmark_thp_migration", "it has a time limit, too short under the checkers"),
    "7.3-stock": ("hmm_gup_test", "Debian's kernel has no CONFIG_GUP_TEST"),
}
# DAMON's thread locks pages here and there, to see who uses them; a page that somebody has locked
# stays where it is. Debian has it on. For a shell in the guest.
DAMON_OFF = "f=/sys/module/damon_stat/parameters/enabled; [ ! -e $f ] || echo N > $f\n"


@dataclass(frozen=True)
class Result:
    """One result of the suite, as TAP says it: ``name`` is e.g. "hmm.hmm_device_private.migrate"."""

    name: str
    outcome: str  # "pass", "fail" or "skip"
    words: str


def parse(tap: str) -> list[Result]:
    """The results in the suite's output."""
    results = []
    for line in tap.splitlines():
        found = re.match(r"(not )?ok \d+ (?:- )?(\S+)(?: *# *(SKIP)?\s*(.*))?", line)
        if found:
            failed, name, skipped, words = found.groups()
            results.append(Result(name, "fail" if failed else "skip" if skipped else "pass", words or ""))
    return results


def compile_suite(kernel: Kernel) -> Path:
    """The suite's program for ``kernel``, compiled once; BuildError with the compiler's words."""
    tests = kernel.source / "tools" / "testing" / "selftests"
    here = next(d for d in (tests / "mm", tests / "vm") if (d / "hmm-tests.c").is_file())
    helpers = [here / name for name in ("vm_util.c", "hugepage_settings.c", "thp_settings.c")]
    sources = [here / "hmm-tests.c"]
    if "mm/vm_util.h" in sources[0].read_text():
        sources += [path for path in helpers if path.is_file()]
    key = digest(kernel.build.name, *(file_digest(path) for path in sources))
    directory = cache_dir() / "selftests" / f"{kernel.series}-{key}"
    with building(directory) as partial:
        if partial is not None:
            log = cache_dir() / "logs" / f"selftests-{kernel.series}.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            progress = Progress(f"the suite of Linux {kernel.release}: compiling", log=log)
            headers = partial / "headers"
            run_logged(["make", "-C", kernel.source, f"O={headers}", "headers"], log)
            run_logged(
                ["gcc", "-O2", "-static", "-pthread", "-D_GNU_SOURCE=", f"-I{tests}", f"-I{kernel.source}",
                 f"-I{tests}/../..", f"-I{kernel.source}/tools/testing/selftests/mm",
                 "-isystem", headers / "usr" / "include", "-o", partial / "hmm-tests", *sources],
                log,
            )  # fmt: skip
            run_logged(["rm", "-r", headers], log)
            progress.finish()
    return directory / "hmm-tests"


def main() -> int:
    """Run the suite; 0 if what must pass has passed."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kernel", default=DEFAULT, metavar="SERIES")
    options.add_argument("--variant", choices=VARIANTS, default="default")
    options.add_argument("--thp", choices=("madvise", "always"), default="madvise", help="huge pages")
    options.add_argument("--driver", choices=("ours", "reference"), default="ours")
    options.add_argument("-t", dest="only", action="append", default=[], metavar="FIXTURE.TEST")
    chosen = options.parse_args()
    hardware = qemu.Hardware(memory=MEMORY_MIB)
    try:
        setup = session.prepare(chosen.kernel, hardware, variant=chosen.variant, load_module=False)
        program = compile_suite(setup.kernel)
        driver = "hmm_dmirror" if chosen.driver == "ours" else "test_hmm"
        first, second = qemu.COHERENT
        choice = [f"-t{name}" for name in chosen.only]
        left_out = LEFT_OUT.get(setup.kernel.name) if not chosen.only else None
        if left_out:
            print(f"left out: {left_out[0]}: {left_out[1]}")
            choice.append(f"-T{left_out[0]}")
        script = (
            f"echo {HUGE_PAGES} > /proc/sys/vm/nr_hugepages\n"
            f"echo {chosen.thp} > /sys/kernel/mm/transparent_hugepage/enabled\n"
            f"{DAMON_OFF}"
            f"modprobe {driver} spm_addr_dev0={first:#x} spm_addr_dev1={second:#x}\n"
            f"{shlex.join([str(program), *choice])}\n"
        )
        console: list[str] = []
        status, out, err = session.capture(setup, ["sh", "-ec", script], Path.cwd(), console.append)
    except MachineDied as death:
        print(death.report(), file=sys.stderr)
        return 125
    except TestMachineError as error:
        print(f"testmachine: {error}", file=sys.stderr)
        return 125
    # a part of the suite, or the kernel's own driver, is run to be looked at
    whole = chosen.driver == "ours" and not chosen.only
    least = RESULTS.get(chosen.kernel, 1) if whole else 0
    if whole and left_out:
        least -= 2
    found = reports(console)
    for report in found:
        print(f"the kernel said: {report}", file=sys.stderr)
    return judge(out, err, status, setup.kernel.name, least) or (1 if found else 0)


def judge(out: str, err: str, status: int, series: str, least: int) -> int:
    """Print the results and what they mean; 0 if ``least`` of them passed and none did not.

    With ``least`` 0 every outcome is fine, as long as there is one.
    """
    results = parse(out)
    if not results:
        print(out + err, end="", file=sys.stderr)
        print(f"the suite ran nothing (exit status {status})", file=sys.stderr)
        return 1
    for result in results:
        print(f"{result.outcome:5} {result.name}  {result.words}".rstrip())
    count = Counter(result.outcome for result in results)
    wrong = least > 0 and (count["pass"] < least or count["pass"] < len(results))
    if wrong:
        print(out + err, end="", file=sys.stderr)  # the reasons are in err
        print(f"{least} results must pass, and no other outcome is fine", file=sys.stderr)
    print(f"Linux {series}: {count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
