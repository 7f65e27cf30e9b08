# SPDX-License-Identifier: GPL-2.0-only
"""Ways in which the kernel itself gets at a process's memory, on somebody's behalf.

A system call that is handed a buffer, a debugger, ``mlock``: none of them is an instruction of the
program that touches an address, and each needs the page all the same.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.libc import call


def by_write(pages: Pages, size: int) -> bytes:
    """``size`` bytes from the start of ``pages`` as write(2) into a pipe sees them."""
    reader, writer = os.pipe()
    try:
        os.write(writer, (ctypes.c_char * size).from_address(pages.address))
        return os.read(reader, size)
    finally:
        os.close(reader)
        os.close(writer)


def by_proc_mem(pages: Pages, size: int) -> bytes:
    """``size`` bytes from the start of ``pages`` as a debugger sees them, through /proc/PID/mem.

    The kernel takes the page with ``get_user_pages``, as it does for a core dump.
    """
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, pages.address)


def by_mlock(pages: Pages) -> None:
    """mlock(2), which faults in what it locks, and munlock(2).

    Raises ``OSError`` (ENOMEM, EPERM) as mlock does.
    """
    for name in ("mlock", "munlock"):
        call(name, pages.address, pages.npages * PAGE_SIZE)
