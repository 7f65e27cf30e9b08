# SPDX-License-Identifier: GPL-2.0-only
"""The module as a maintainer would check it, with the tools of each kernel tree.

checkpatch --strict, kernel-doc, coccinelle's own kernel scripts, W=1 and sparse, for each series;
at last how much of the text is the kernel driver's.

    python -m tests.check_module SERIES...

Prints what the tools report; exit status 1 if they report anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from testmachine import kernel, module
from testmachine.errors import HostError, TestMachineError
from testmachine.machine import REPOSITORY
from tests import similarity, sparse

FLOOR = REPOSITORY / "benchmarks" / "floor" / "hmm_floor.c"


@contextmanager
def copied_sources() -> Iterator[Path]:
    """The module's sources, and nothing a build left there, in a directory that may be written.

    The driver that the benchmark takes for the floor is beside them, as a module of its own.
    """
    directory = module.source_directory()
    with tempfile.TemporaryDirectory() as name:
        for path in module.sources(directory):
            target = Path(name) / path.relative_to(directory)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
        shutil.copy2(FLOOR, name)
        with (Path(name) / "Kbuild").open("a") as kbuild:
            kbuild.write(f"obj-m += {FLOOR.stem}.o\n")
        yield Path(name)


def code(work: Path) -> list[Path]:
    """The C files and headers."""
    return [path for path in module.sources(work) if path.suffix in (".c", ".h")]


def checkpatch(built: kernel.Kernel, work: Path) -> list[str]:
    """What the tree's checkpatch says of our files; the kernel's rule on new files is not ours."""
    done = subprocess.run(
        [built.source / "scripts" / "checkpatch.pl", "--strict", "--no-tree", "--terse", "--no-summary",
         "--file", *code(work)],
        capture_output=True, text=True,
    )  # fmt: skip
    return (done.stdout + done.stderr).splitlines()


def kernel_doc(built: kernel.Kernel, work: Path) -> list[str]:
    """Comments that say what the code does not: wrong names, missing parameters or members."""
    script = built.source / "scripts" / "kernel-doc"
    # -Wall is newer than 6.1, which warns of less
    strict = ["-Wall"] if b"-Wall" in script.read_bytes() else []
    # a header may say what it is in an ordinary comment
    files = [path for path in code(work) if "/**" in path.read_text()]
    done = subprocess.run([script, "-none", *strict, *files], capture_output=True, text=True)
    reports = (done.stdout + done.stderr).splitlines()
    if done.returncode and not reports:
        reports.append(f"kernel-doc ended with status {done.returncode}")
    return list(dict.fromkeys(reports))  # the newest says everything twice


def coccinelle_scripts(kernels: list[kernel.Kernel]) -> dict[Path, kernel.Kernel]:
    """The trees' scripts that make reports, each as the newest tree has it, less those written in OCaml.

    Those want an OCaml compiler on the host. They are two: one is for the tables of a battery
    driver, the other finds 0 used as a pointer, which sparse finds too.
    """
    newest: dict[Path, tuple[Path, kernel.Kernel]] = {}
    for built in sorted(kernels, key=lambda built: [int(n) for n in re.findall(r"\d+", built.release)]):
        scripts = built.source / "scripts" / "coccinelle"
        newest |= {script.relative_to(scripts): (script, built) for script in scripts.rglob("*.cocci")}
    return {
        script: built
        for _, (script, built) in sorted(newest.items())
        if re.search(r"^virtual\s+report", text := script.read_text(), re.MULTILINE)
        and "initialize:ocaml" not in text
    }


def coccinelle(kernels: list[kernel.Kernel], work: Path) -> list[str]:
    """What the trees' semantic patches report, each run as scripts/coccicheck would run it.

    Our sources have no `#if` but in one header, so that a text says the same on every series.
    """
    if not shutil.which("spatch"):
        raise HostError("no spatch: apt-get install coccinelle (make installs it)")

    def run(script: Path, built: kernel.Kernel) -> list[str]:
        includes = ["-I", f"{built.source}/include", "-I", f"{built.source}/arch/x86/include"]
        options = re.findall(r"^// Options:(.*)", script.read_text(), re.MULTILINE)
        done = subprocess.run(
            ["spatch", "-D", "report", "--no-show-diff", "--very-quiet", "--cocci-file", script,
             *" ".join(options).split(), "--dir", work, *includes],
            capture_output=True, text=True,
        )  # fmt: skip
        reports = [f"{line} ({script.name})" for line in done.stdout.splitlines() if line.strip()]
        if done.returncode:  # what it says of its own script while it works is not about us
            reports.append(f"{script.name}: spatch ended with status {done.returncode}: {done.stderr}")
        return reports

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        scripts = coccinelle_scripts(kernels)
        return [report for found in pool.map(run, scripts, scripts.values()) for report in found]


def compile_and_analyse(built: kernel.Kernel, work: Path) -> list[str]:
    """The warnings of gcc at W=1, and of sparse."""
    done = subprocess.run(
        ["make", "-C", built.build, f"M={work}", "W=1", "C=2", "modules"],
        env={**os.environ, "PATH": f"{sparse.directory()}:{os.environ['PATH']}"},
        capture_output=True, text=True,
    )  # fmt: skip
    reports = done.stderr.splitlines()
    if done.returncode and not reports:
        reports = done.stdout.splitlines()[-3:]
    elif "CHECK" not in done.stdout:
        reports.append("sparse was not run: kbuild said no CHECK line")
    return reports


TOOLS = {
    "checkpatch --strict": checkpatch,
    "kernel-doc": kernel_doc,
    "W=1 and sparse": compile_and_analyse,
}


def too_alike(kernels: list[kernel.Kernel], work: Path) -> list[str]:
    """Our files that have more in common with the kernel's own driver than independent code has."""
    drivers = similarity.reference_drivers(built.source for built in kernels)
    reports = []
    for path in module.sources(work):
        if path.suffix in (".c", ".h") and path.parent == work:  # not uapi/
            likeness = similarity.compare(path.read_text(), drivers)
            print(f"  {path.name}: {likeness}")
            if likeness.over_limit():
                reports.append(f"{path}: too much like lib/test_hmm.c: {likeness}")
    return reports


def check(names: list[str]) -> list[str]:
    """Everything that is reported for these series."""
    kernels = [kernel.get(name) for name in names]
    reports = []
    with copied_sources() as work:
        for built in kernels:
            for tool, run in TOOLS.items():
                found = run(built, work)
                print(f"{tool} on Linux {built.release}: {len(found)} reports", flush=True)
                reports += found
        found = coccinelle(kernels, work)
        print(f"coccinelle, the scripts of all series: {len(found)} reports", flush=True)
        reports += found
        print("what is in lib/test_hmm.c too:")
        reports += too_alike(kernels, work)
        return [report.replace(f"{work}/", "module/") for report in reports]


def main(names: list[str]) -> int:
    """Check against each series."""
    try:
        reports = check(names)
    except TestMachineError as error:
        reports = [f"testmachine: {error}"]
    for report in reports:
        print(report, file=sys.stderr)
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
