# SPDX-License-Identifier: GPL-2.0-only
"""What this host has and lacks: for the test machine, and to load the module itself."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from testmachine import kernel, qemu
from testmachine.cache import GIB, cache_dir
from testmachine.errors import TestMachineError
from testmachine.series import DEFAULT, SERIES

PACKAGES = Path(__file__).with_name("packages.txt")
FREE_GIB = 8.0
MEMORY_GIB = 3.0
# Options that the module needs, and whose kernels have them.
NEEDED_OPTIONS = {
    "CONFIG_DEVICE_PRIVATE": "Debian's kernels from 6.18 on",
    "CONFIG_HMM_MIRROR": "all of Debian's kernels",
}


def packages() -> list[str]:
    """The Debian packages the host needs."""
    lines = PACKAGES.read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def missing_packages() -> list[str]:
    """Those of :func:`packages` that dpkg does not have; all of them where there is no dpkg."""
    missing = []
    for name in packages():
        try:
            done = subprocess.run(
                ["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True
            )
        except FileNotFoundError:
            return packages()
        if done.stdout != "installed":
            missing.append(name)
    return missing


def host_kernel_config() -> str | None:
    """The running kernel's configuration, or None if the host does not show it."""
    proc = Path("/proc/config.gz")
    if proc.is_file():
        return gzip.decompress(proc.read_bytes()).decode()
    boot = Path(f"/boot/config-{os.uname().release}")
    return boot.read_text() if boot.is_file() else None


def machine_checks() -> Iterator[tuple[bool, str]]:
    """For the test machine: (fine, what was found and what to do)."""
    try:
        yield True, qemu.version()
    except TestMachineError as error:
        yield False, str(error)
    missing = missing_packages()
    if missing:
        yield False, f"packages missing: {' '.join(missing)}: apt-get install them (make does)"
    else:
        yield True, "all Debian packages are installed"
    free = shutil.disk_usage(cache_dir()).free / GIB
    yield free > FREE_GIB, f"{free:.0f} GiB free in {cache_dir()} ({FREE_GIB:.0f} wanted for all kernels)"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield memory > MEMORY_GIB, f"{memory:.0f} GiB of memory ({MEMORY_GIB:.0f} wanted to build)"


def machine_notes() -> Iterator[str]:
    """What is worth knowing and neither right nor wrong."""
    for name in SERIES:
        try:
            built = kernel.get(name, build_it=False)
        except TestMachineError as error:
            yield str(error)
            continue
        yield f"Linux {built.release} is built"
        if name == DEFAULT:
            try:
                yield qemu.accelerator(built).why
            except TestMachineError as error:
                yield str(error)


def host_checks() -> Iterator[tuple[bool, str]]:
    """For loading the module into the host's own kernel."""
    release = os.uname().release
    config = host_kernel_config()
    if config is None:
        yield False, f"Linux {release} does not show its configuration (/proc/config.gz, /boot/config-*)"
    else:
        for option, who_has in NEEDED_OPTIONS.items():
            has = f"{option}=y" in config.splitlines()
            hint = "" if has else f": {who_has} have it; others must be rebuilt with it"
            yield has, f"Linux {release}: {option} is {'on' if has else 'off'}{hint}"
    headers = Path(f"/lib/modules/{release}/build/Makefile").is_file()
    yield headers, f"headers of {release}" + ("" if headers else f": apt-get install linux-headers-{release}")
    yield os.geteuid() == 0, "root" if os.geteuid() == 0 else "not root: loading a module needs it"


def main() -> int:
    """Print everything; 0 if the test machine can run here."""
    fine = True
    print("the test machine:")
    for good, text in machine_checks():
        fine &= good
        print(f"  {'yes' if good else 'NO '}  {text}")
    for text in machine_notes():
        print(f"   -   {text}")
    print("the module in this host's own kernel (not needed for the book):")
    for good, text in host_checks():
        print(f"  {'yes' if good else 'NO '}  {text}")
    return 0 if fine else 1
