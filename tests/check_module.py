# SPDX-License-Identifier: GPL-2.0-only
"""The module as a maintainer would check it: checkpatch --strict, then W=1 and sparse per kernel.

A kernel newer than the host's sparse refuses it (7.3 wants sparse 0.6.5): that kernel gets W=1
only, which is printed.

    python -m tests.check_module SERIES...

Prints what the tools report; exit status 1 if they report anything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testmachine import kernel, module
from testmachine.errors import HostError, TestMachineError


def checkpatch(source: Path) -> list[str]:
    """What the tree's checkpatch says of our files; the kernel's rule on new files is not ours."""
    directory = module.source_directory()
    files = [path for path in module.sources(directory) if path.suffix in (".c", ".h")]
    done = subprocess.run(
        [source / "scripts" / "checkpatch.pl", "--strict", "--no-tree", "--terse", "--no-summary",
         "--file", *files],
        capture_output=True, text=True,
    )  # fmt: skip
    return (done.stdout + done.stderr).splitlines()


def accepts_sparse(built: kernel.Kernel) -> bool:
    """Whether this kernel's build takes the host's sparse; older kernels do not ask."""
    script = built.source / "scripts" / "checker-valid.sh"
    if not script.is_file():
        return True
    done = subprocess.run([script, "sparse", "--arch=x86", "-m64"], capture_output=True, text=True)
    return done.stdout.strip() == "1"


def compile_and_analyse(built: kernel.Kernel, sparse: bool) -> list[str]:
    """The warnings of gcc at W=1, and of sparse if it is to run."""
    directory = module.source_directory()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for path in module.sources(directory):
            target = work / path.relative_to(directory)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
        done = subprocess.run(
            ["make", "-C", built.build, f"M={work}", "W=1", *(["C=2"] if sparse else []), "modules"],
            capture_output=True, text=True,
        )  # fmt: skip
        reports = [line.replace(f"{work}/", "module/") for line in done.stderr.splitlines()]
        if done.returncode and not reports:
            reports = done.stdout.splitlines()[-3:]
        elif sparse and "CHECK" not in done.stdout:
            reports.append("sparse was not run: kbuild said no CHECK line")
    return reports


def main(names: list[str]) -> int:
    """Check against each series."""
    reports: list[str] = []
    try:
        if not shutil.which("sparse"):
            raise HostError("no sparse: apt-get install sparse (make installs it)")
        for number, name in enumerate(names):
            built = kernel.get(name)
            if number == 0:
                found = checkpatch(built.source)
                print(f"checkpatch --strict of Linux {built.release}: {len(found)} reports")
                reports += found
            sparse = accepts_sparse(built)
            found = compile_and_analyse(built, sparse)
            tools = "W=1 and sparse" if sparse else "W=1 (no sparse: the host's is older than it wants)"
            print(f"{tools} on Linux {built.release}: {len(found)} reports")
            reports += found
    except TestMachineError as error:
        reports.append(f"testmachine: {error}")
    for report in reports:
        print(report, file=sys.stderr)
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
