# SPDX-License-Identifier: GPL-2.0-only
"""Pin pages for long, as a network card or a virtual machine's device does: FOLL_LONGTERM.

``pin_user_pages`` (Documentation/core-api/pin_user_pages.rst). What pins a page for long may keep
it for ever, so the kernel first moves it to where it does not stand in the way.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError
from hmmkit.libc import call

GUP_TEST = Path("/sys/kernel/debug/gup_test")

# struct gup_test of mm/gup_test.h: two durations, address, size; pages a call, flags, test flags,
# eight numbers of pages; padded to whole 64-bit words. PIN_LONGTERM_BENCHMARK is _IOWR('g', 3, ...):
# it pins all pages with FOLL_LONGTERM and lets them go again.
_REQUEST = struct.Struct("=QQQQIII32x4x")
_PIN_LONGTERM = 3 << 30 | _REQUEST.size << 16 | ord("g") << 8 | 3
_FOLL_WRITE = 1

# <asm/unistd_64.h>, and IORING_REGISTER_BUFFERS of <linux/io_uring.h>: io_uring pins the buffers
# that it is given in advance with FOLL_LONGTERM, for as long as the ring lives.
_IO_URING_SETUP, _IO_URING_REGISTER = 425, 427
_REGISTER_BUFFERS, _UNREGISTER_BUFFERS = 0, 1
_PARAMETERS_SIZE = 120


def pin_for_long(pages: Pages) -> None:
    """Pin the pages with FOLL_LONGTERM, and let go of them again.

    By the kernel's own test file where there is one (CONFIG_GUP_TEST), else by io_uring.

    Raises ``HmmError`` (ENOSYS) on a kernel without either, ``OSError`` as the kernel says.
    """
    if GUP_TEST.exists():
        size = pages.npages * PAGE_SIZE
        request = bytearray(_REQUEST.pack(0, 0, pages.address, size, pages.npages, _FOLL_WRITE, 0))
        with GUP_TEST.open("rb", buffering=0) as file:
            fcntl.ioctl(file, _PIN_LONGTERM, request)
        if _REQUEST.unpack(request)[3] != size:  # it reports how far it came, and no error
            raise OSError(errno.EFAULT, "pin_user_pages: some page could not be pinned")
    else:
        _register(pages)


def _register(pages: Pages) -> None:
    parameters = ctypes.create_string_buffer(_PARAMETERS_SIZE)
    try:
        ring = call("syscall", _IO_URING_SETUP, 1, parameters)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise HmmError(
            error.errno, "this kernel has neither CONFIG_GUP_TEST nor io_uring to pin pages with"
        ) from None
    try:
        vector = struct.pack("=QQ", pages.address, pages.npages * PAGE_SIZE)
        call("syscall", _IO_URING_REGISTER, ring, _REGISTER_BUFFERS, vector, 1)
        # a ring that is closed lets go of them some time later
        call("syscall", _IO_URING_REGISTER, ring, _UNREGISTER_BUFFERS, 0, 0)
    finally:
        os.close(ring)
