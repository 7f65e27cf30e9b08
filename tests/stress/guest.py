# SPDX-License-Identifier: GPL-2.0-only
"""The part of the stress tests that runs in the machine: load, torment, unload, look for remains.

    python -m tests.stress.guest DIRECTORY SECONDS SEED STRIDE PARAMETER...

DIRECTORY has the programs, PARAMETERs are the module's. Prints what it does, each program's
summary, and at the end one JSON object with everything that was not as it should be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from hmmkit.counters import DEVICES
from hmmkit.huge import HUGE_PAGES, has_huge_device_pages
from hmmkit.iomem import device_chunks
from hmmkit.module import NAME
from hmmkit.ram import free_pages

DEBUGFS = Path("/sys/kernel/debug")
KMEMLEAK = DEBUGFS / "kmemleak"
OWNERS = DEBUGFS / "page_owner_stacks" / "show_stacks"
FAULT_KINDS = ("failslab", "fail_page_alloc")

# What may be missing at the end: per-CPU caches, page tables and slabs of the kernel's own. With the
# checkers also their books, which grow with each new stack: 2,672 pages in nine minutes on 7.3.
TOLERANCE_PAGES = 2048
TOLERANCE_CHECKERS = 4096
# Of the pages that processes got by faults: what this program itself grew by.
TOLERANCE_PROCESSES = 1024
# A page that one of these functions asked for is not the driver's to give back; or it belongs to
# a loaded module (its chunks and arrays, kvmalloc): kmemleak finds those if they are lost.
OTHERS_PAGES = ("slab", "memremap_pages", "stack_depot", "get_huge_zero_folio", "kvmalloc")
# Functions that supply a process with a huge page. In 6.1 and 6.12 migrate_vma_collect_pmd() keeps
# its reference to one that somebody else has locked at that moment, and the page is lost.
HUGE_PAGE_SUPPLIERS = ("do_huge_pmd_anonymous_page", "collapse_huge_page")
# Said in the kernel's log: from here on allocations fail, and the kernel may complain of that.
INJECTING = "tests.stress: allocations fail from here on"
UNLOAD_SECONDS = 60
DYING_SECONDS = 20
LATE_SECONDS = 1800  # longer than a program was told, or takes under the slowest of kernels


@dataclass
class Torment:
    """One run of all programs, and what was found wrong."""

    directory: Path
    parameters: list[str]
    seconds: int
    problems: list[str] = field(default_factory=list)

    def load(self) -> None:
        """Load the module."""
        done = subprocess.run(["modprobe", NAME, *self.parameters], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"modprobe {NAME}: {done.stderr}")

    def unload(self, after: str) -> None:
        """Unload the module, which brings back whatever is still on a device."""
        rmmod = subprocess.Popen(["rmmod", NAME])
        try:
            status = rmmod.wait(UNLOAD_SECONDS)
        except subprocess.TimeoutExpired:  # not waited for: it cannot be killed, either
            self.problems.append(f"after {after} the module did not unload within {UNLOAD_SECONDS} s")
            print(json.dumps({"problems": self.problems}), flush=True)
            raise SystemExit(1) from None
        if status:
            self.problems.append(f"after {after} the module does not unload")
        if device_chunks():
            self.problems.append(f"after {after} and rmmod there are chunks: {device_chunks()}")

    def run(self, *command: object) -> None:
        """Run one program. Its last line, the summary, goes to our output with the rest.

        SystemExit if it does not end: then some process of it cannot be killed, or waits for ever.
        """
        words = [str(self.directory / str(command[0])), *map(str, command[1:])]
        print(f"{' '.join(map(str, command))} ...", flush=True)
        began = time.monotonic()
        try:
            status = subprocess.Popen(words).wait(self.seconds + LATE_SECONDS)
        except subprocess.TimeoutExpired:  # nor is this
            raise SystemExit(f"{command[0]} did not end") from None
        print(f"{command[0]}: status {status} after {time.monotonic() - began:.0f} s", flush=True)
        if status:
            self.problems.append(f"{command[0]} ended with status {status}")

    def nothing_in_use(self, after: str) -> None:
        """With all processes gone, no device page may be in use and no RAM held for one."""
        for _ in range(DYING_SECONDS):  # the last of the killed processes
            time.sleep(1)
            found = [
                f"after {after}, {file}: {file.read_text().strip()}"
                for file in sorted(DEVICES.glob(f"{NAME}*/counters/pages_in_use"))
                if int(file.read_text())
            ]
            found += [
                f"after {after} the driver holds pages:\n{stack}"
                for stack in held_stacks()
                if of_driver(stack) and not lost_pages(stack)
            ]
            if not found:
                return
        self.problems += found

    def torment(self, name: str, *arguments: object) -> None:
        """Load, run one program, look, unload, look."""
        self.load()
        self.run(name, *arguments)
        self.nothing_in_use(name)
        self.unload(name)


def held_stacks() -> list[str]:
    """Stacks that allocated pages which are still not free, each with the number of pages.

    Empty where the kernel does not keep such books (CONFIG_PAGE_OWNER, from 6.9 on).
    """
    if not OWNERS.exists():
        return []
    return [stack for stack in OWNERS.read_text().split("\n\n") if pages_of(stack)]


def pages_of(stack: str) -> int:
    """The number of pages that a stack of ``show_stacks`` ends with."""
    last = stack.rpartition("nr_base_pages: ")[2].strip()
    return int(last) if last.isdecimal() else 0


def of_driver(stack: str) -> bool:
    """Whether the driver asked for these pages, and has to give them back."""
    return f"[{NAME}]" in stack and not any(word in stack for word in OTHERS_PAGES)


def lost_pages(stack: str) -> int:
    """How many of these pages this kernel may have lost by itself: whole huge pages of a process."""
    if not any(word in stack for word in HUGE_PAGE_SUPPLIERS):
        return 0
    pages = pages_of(stack)
    return 0 if pages % HUGE_PAGES or has_huge_device_pages() else pages


def process_pages() -> int:
    """Pages that processes got by faults and that are not free, those not counted that were lost."""
    return sum(
        pages_of(stack) for stack in held_stacks() if "handle_mm_fault" in stack and not lost_pages(stack)
    )


def all_lost_pages() -> int:
    """Huge pages of processes that are gone, in pages of 4 KiB. No process here has any for long."""
    return sum(map(lost_pages, held_stacks()))


def settle() -> int:
    """Have the kernel give back what it keeps for later; the pages that are free then."""
    Path("/proc/sys/vm/drop_caches").write_text("3")
    for cache in Path("/sys/kernel/slab").iterdir():
        (cache / "shrink").write_text("1")  # with KASAN also the objects in quarantine
    return free_pages()


def faults_begin() -> bool:
    """Allow allocations to fail where a thread's fail-nth says so. False if this kernel cannot.

    The C library of what is started from here on does without rseq(2). With it the kernel writes the
    number of the processor into the process's memory when it has run another one meanwhile. After a
    fork that page is shared and has to be copied, and if the allocation of the copy is what fails,
    the kernel sends SIGSEGV (rseq_slowpath_update_usr in 7.3, __rseq_handle_notify_resume before).
    """
    for kind in FAULT_KINDS:
        directory = DEBUGFS / kind
        if not directory.is_dir():
            return False
        (directory / "ignore-gfp-wait").write_text("N")
        (directory / "times").write_text("-1")
        (directory / "verbose").write_text("0")
    (DEBUGFS / "fail_page_alloc" / "ignore-gfp-highmem").write_text("N")
    (DEBUGFS / "fail_page_alloc" / "min-order").write_text("0")
    os.environ["GLIBC_TUNABLES"] = "glibc.pthread.rseq=0"
    Path("/dev/kmsg").write_text(INJECTING)
    return True


def leaks() -> list[str]:
    """What kmemleak finds. The second scan reports: an object must have been lost twice."""
    for _ in range(2):
        KMEMLEAK.write_text("scan")
        time.sleep(6)  # what is younger than 5 s is not looked at
    KMEMLEAK.write_text("scan")
    return [report for report in KMEMLEAK.read_text().split("unreferenced object") if report.strip()]


def not_checked(what: str, option: str) -> None:
    """Say what this kernel cannot tell."""
    print(f"not checked: {what} ({option} is not in this kernel, but in VARIANT=debug)", flush=True)


def main() -> int:
    """Run everything; 0, whatever was found: the host judges."""
    directory, seconds, seed, stride, *parameters = sys.argv[1:]
    torment = Torment(Path(directory), parameters, int(seconds))

    torment.load()  # once before anything is counted: what is set up once stays
    torment.run("stress", 2, seed)
    torment.nothing_in_use("the rehearsal")
    torment.unload("the rehearsal")
    if KMEMLEAK.exists():
        KMEMLEAK.write_text("clear")
    else:
        not_checked("leaked objects", "CONFIG_DEBUG_KMEMLEAK")
    if not OWNERS.exists():
        not_checked("pages that the driver holds", "CONFIG_PAGE_OWNER")
    before, lost_before, faulted_before = settle(), all_lost_pages(), process_pages()

    torment.torment("stress", seconds, seed)
    # Under the checkers, and emulated, everything takes ten times as long and more.
    torment.torment("fuzz", seconds, seed, 10_000 if KMEMLEAK.exists() else 1000)
    torment.torment("disk")
    if faults_begin():
        torment.torment("inject", stride)
        path = subprocess.run(["modinfo", "-n", NAME], capture_output=True, text=True).stdout.strip()
        # without the coherent devices, see NO_CHUNK in inject.c
        torment.run("inject", "module", path, "", stride)
    else:
        not_checked("failing allocations", "CONFIG_FAULT_INJECTION")

    if KMEMLEAK.exists():
        torment.problems += leaks()
    lost = all_lost_pages() - lost_before
    if lost:
        print(f"{lost} pages lost by migrate_vma_collect_pmd (see chapter 11)", flush=True)
    missing = before - settle() - lost
    tolerance = TOLERANCE_CHECKERS if KMEMLEAK.exists() else TOLERANCE_PAGES
    print(f"{missing} pages of RAM less than before (up to {tolerance} are the kernel's)", flush=True)
    if missing > tolerance:
        torment.problems.append(f"{missing} pages of RAM are gone")
    faulted = process_pages() - faulted_before
    if faulted > TOLERANCE_PROCESSES:
        torment.problems.append(f"{faulted} pages of processes that are gone are not free")
    print(json.dumps({"problems": torment.problems}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
