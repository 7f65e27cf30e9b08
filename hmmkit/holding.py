# SPDX-License-Identifier: GPL-2.0-only
"""Hold on to pages: what a device driver, a pipe or a child process does to them.

A page to which somebody holds a reference that the kernel cannot account for does not migrate,
since whoever holds it knows the page by its frame and not by its address.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError, NeedRoot
from hmmkit.libc import call

GUP_TEST = Path("/sys/kernel/debug/gup_test")

# PIN_LONGTERM_TEST_START and _STOP of mm/gup_test.h: _IOW('g', 7, ...) and _IO('g', 8).
_PIN_START = 0x40186707
_PIN_STOP = 0x6708
_PIN_FOR_WRITING = 1


class NoPins(HmmError):
    """ENOENT or EINVAL: this kernel has no ``gup_test`` that keeps a page pinned."""


@contextmanager
def referenced(pages: Pages) -> Iterator[int]:
    """Inside the block a pipe holds a reference to each page: vmsplice(2).

    Yields the file descriptor of the end of the pipe that reads the pages. At most 16 pages, as
    many as a pipe has slots. Raises ``OSError`` as vmsplice(2) does.
    """
    reader, writer = os.pipe()
    try:
        vector = struct.pack("QQ", pages.address, pages.npages * PAGE_SIZE)
        os.set_blocking(writer, False)
        if call("vmsplice", writer, vector, 1, 0) != pages.npages * PAGE_SIZE:
            raise OSError(errno.EAGAIN, f"vmsplice: {os.strerror(errno.EAGAIN)}")
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def pinned(pages: Pages) -> Iterator[None]:
    """Inside the block each page is pinned for long, as for a device's DMA: pin_user_pages(9).

    The kernel's own test file for this does it (CONFIG_GUP_TEST, mm/gup_test.c).

    Raises ``NoPins`` where it is missing, or too old to keep the pin (6.1), ``NeedRoot`` where it
    may not be opened.
    """
    try:
        fd = os.open(GUP_TEST, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NoPins(
            error.errno or 0, "this kernel has no CONFIG_GUP_TEST, or debugfs is not mounted"
        ) from None
    except PermissionError as error:
        raise NeedRoot(error.errno or 0, f"{GUP_TEST} is for root only: run as root") from None
    try:
        request = struct.pack("QQI4x", pages.address, pages.npages * PAGE_SIZE, _PIN_FOR_WRITING)
        try:
            fcntl.ioctl(fd, _PIN_START, request)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise
            raise NoPins(error.errno or 0, "gup_test of this kernel cannot keep a page pinned") from None
        try:
            yield
        finally:
            fcntl.ioctl(fd, _PIN_STOP)
    finally:
        os.close(fd)


@contextmanager
def shared_with_child() -> Iterator[None]:
    """Inside the block a child process shares every private page of ours: fork(2).

    The child does nothing but wait for the end of the block.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(child, 0)
