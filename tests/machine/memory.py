# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the machine need of memory, beyond what hmmkit has.

Numbers of flags and system calls are those of x86-64, from the kernel's uapi headers.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Buffer, Pages
from hmmkit.device import Device
from hmmkit.libc import call

SYS_USERFAULTFD = 323
UFFDIO_API = 0xC018AA3F
UFFDIO_REGISTER = 0xC020AA00
UFFD_API = 0xAA
UFFDIO_REGISTER_MODE_MISSING = 1

HUGE_PAGES_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def mark(buffer: Buffer) -> None:
    """The CPU writes a different word into each page."""
    for page in range(buffer.npages):
        buffer.write(b"page %d" % page, page * PAGE_SIZE)


def marked(npages: int) -> Buffer:
    """Private anonymous pages, each with a word of its own in it. They stay until the tests end."""
    buffer = Buffer(npages)
    mark(buffer)
    return buffer


def is_marked(buffer: Buffer) -> bool:
    """Whether the CPU reads in every page what :func:`mark` wrote."""
    words = (buffer.read(16, page * PAGE_SIZE).rstrip(b"\0") for page in range(buffer.npages))
    return all(word == b"page %d" % page for page, word in enumerate(words))


def on_device(device: Device, pages: Pages) -> list[bool]:
    """Which of the pages are on this device."""
    return [page.on_this_device for page in device.snapshot(pages)]


@contextmanager
def huge_pages_for(whom: str) -> Iterator[None]:
    """Inside the block "always", "madvise" or "never" is who gets transparent huge pages."""
    before = HUGE_PAGES_SETTING.read_text().split("[")[1].split("]")[0]
    HUGE_PAGES_SETTING.write_text(whom)
    try:
        yield
    finally:
        HUGE_PAGES_SETTING.write_text(before)


@contextmanager
def missing_faults_watched(pages: Pages) -> Iterator[None]:
    """Inside the block userfaultfd is told of the first touch of each page."""
    fd = call("syscall", SYS_USERFAULTFD, os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, UFFDIO_API, struct.pack("QQQ", UFFD_API, 0, 0))
        size = pages.npages * PAGE_SIZE
        request = struct.pack("QQQQ", pages.address, size, UFFDIO_REGISTER_MODE_MISSING, 0)
        fcntl.ioctl(fd, UFFDIO_REGISTER, request)
        yield
    finally:
        os.close(fd)
