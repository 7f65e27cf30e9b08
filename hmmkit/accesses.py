# SPDX-License-Identifier: GPL-2.0-only
"""Ways in which the kernel itself gets at a process's memory, on somebody's behalf.

A system call that is handed a buffer, a debugger, ``mlock``: none of them is an instruction of the
program that touches an address, and each needs the page all the same.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.munlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.vmsplice.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
_libc.vmsplice.restype = ctypes.c_ssize_t


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
    for call in (_libc.mlock, _libc.munlock):
        if call(pages.address, pages.npages * PAGE_SIZE):
            number = ctypes.get_errno()
            raise OSError(number, f"mlock: {os.strerror(number)}")


@contextmanager
def held_by_pipe(pages: Pages) -> Iterator[int]:
    """Inside the block a pipe holds a reference to each page, by vmsplice(2).

    Yields the file descriptor of the end of the pipe that reads the pages. A pipe has room for 16.

    Raises ``OSError`` as vmsplice does.
    """
    reader, writer = os.pipe()
    try:
        vector = struct.pack("QQ", pages.address, pages.npages * PAGE_SIZE)
        if _libc.vmsplice(writer, vector, 1, 0) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"vmsplice: {os.strerror(number)}")
        yield reader
    finally:
        os.close(reader)
        os.close(writer)
