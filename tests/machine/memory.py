# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of memory that the tests of the machine need: what hmmkit's private ``Buffer`` is not.

Numbers of flags and system calls are those of x86-64, from the kernel's uapi headers.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pickle
import re
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.device import Device

HUGE_PAGE_SIZE = 2 << 20
PROT_NONE = 0
MREMAP_MAYMOVE = 1
MREMAP_FIXED = 2
MADV_DONTNEED = 4
MADV_HUGEPAGE = 14
MADV_PAGEOUT = 21
MAP_HUGETLB = 0x40000
SYS_USERFAULTFD = 323
UFFDIO_API = 0xC018AA3F
UFFDIO_REGISTER = 0xC020AA00
UFFD_API = 0xAA
UFFDIO_REGISTER_MODE_MISSING = 1

Answer = TypeVar("Answer")
_libc = ctypes.CDLL(None, use_errno=True)
for _name in ("mmap", "mremap"):
    getattr(_libc, _name).restype = ctypes.c_void_p


def call(name: str, *arguments: int | bytes) -> int:
    """Call the C library with 64-bit words; OSError when it returns -1."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int | None = getattr(_libc, name)(*words)
    if result in (-1, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result or 0


@dataclass
class Region:
    """A run of mapped pages of any kind. Nothing is checked: a bad access ends the process."""

    address: int
    npages: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.npages * PAGE_SIZE

    def part(self, first: int, npages: int) -> Region:
        """``npages`` of the pages, from page ``first`` on."""
        return Region(self.address + first * PAGE_SIZE, npages)

    def write(self, data: bytes, page: int = 0) -> None:
        """The CPU writes at the start of a page."""
        ctypes.memmove(self.address + page * PAGE_SIZE, data, len(data))

    def read(self, size: int, page: int = 0) -> bytes:
        """The CPU reads at the start of a page."""
        return ctypes.string_at(self.address + page * PAGE_SIZE, size)

    def mark(self) -> None:
        """The CPU writes a different word into each page."""
        for page in range(self.npages):
            self.write(b"page %d" % page, page)

    def marked(self) -> bool:
        """Whether the CPU reads in every page what :meth:`mark` wrote."""
        return all(self.read(16, page).rstrip(b"\0") == b"page %d" % page for page in range(self.npages))

    def touch(self) -> None:
        """The CPU reads every page."""
        for page in range(self.npages):
            self.read(1, page)

    def protect(self, protection: int) -> None:
        """mprotect(2) of all pages."""
        call("mprotect", self.address, self.size, protection)

    def advise(self, advice: int) -> None:
        """madvise(2) for all pages."""
        call("madvise", self.address, self.size, advice)

    def move(self) -> Region:
        """mremap(2) to another address; the old one is no longer mapped."""
        room = call("mmap", 0, self.size, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        fixed = MREMAP_MAYMOVE | MREMAP_FIXED
        return Region(call("mremap", self.address, self.size, self.size, fixed, room), self.npages)

    def unmap(self) -> None:
        """munmap(2) of all pages."""
        call("munmap", self.address, self.size)


def mapped(
    npages: int,
    flags: int = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    fd: int = -1,
    protection: int = mmap.PROT_READ | mmap.PROT_WRITE,
) -> Region:
    """A new mapping, as mmap(2) makes it. It stays until it is unmapped or the tests end."""
    return Region(call("mmap", 0, npages * PAGE_SIZE, protection, flags, fd, 0), npages)


def marked(npages: int) -> Region:
    """Private anonymous pages, each with a word of its own in it."""
    region = mapped(npages)
    region.mark()
    return region


def huge_page() -> Region:
    """Private anonymous memory of the size, and at an address, that one huge page can fill."""
    room = mapped(2 * HUGE_PAGE_SIZE // PAGE_SIZE)
    address = -(-room.address // HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE
    region = Region(address, HUGE_PAGE_SIZE // PAGE_SIZE)
    region.advise(MADV_HUGEPAGE)
    return region


def on_device(device: Device, pages: Pages) -> list[bool]:
    """Which of the pages are on this device."""
    return [page.on_this_device for page in device.snapshot(pages)]


def smaps(pages: Pages) -> dict[str, int]:
    """/proc/self/smaps of the mapping that holds ``pages``: KiB by name.

    The kernel joins neighbours of the same kind, so only what changed means anything.
    """
    sizes: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        bounds = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        size = re.match(r"(\w+): +(\d+) kB$", line)
        if bounds:
            inside = int(bounds[1], 16) <= pages.address < int(bounds[2], 16)
        elif size and inside:
            sizes[size[1]] = int(size[2])
    return sizes


def resident(pages: Pages) -> list[bool]:
    """mincore(2), page by page."""
    answer = (ctypes.c_ubyte * pages.npages)()
    call("mincore", pages.address, pages.npages * PAGE_SIZE, ctypes.addressof(answer))
    return [bool(byte & 1) for byte in answer]


@contextmanager
def referenced(pages: Pages) -> Iterator[None]:
    """Inside the block a pipe holds a reference to each page: vmsplice(2)."""
    reader, writer = os.pipe()
    try:
        vector = struct.pack("QQ", pages.address, pages.npages * PAGE_SIZE)
        landing = ctypes.create_string_buffer(vector)
        call("vmsplice", writer, ctypes.addressof(landing), 1, 0)
        yield
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def zram_swap(mebibytes: int = 64) -> Iterator[None]:
    """Inside the block there is swap, in compressed RAM."""
    device = Path("/dev/zram0")
    settings = Path("/sys/block/zram0")
    (settings / "disksize").write_text(f"{mebibytes}M")
    # The header that swapon(2) looks for: version 1, the last page, the magic word at the page's end.
    header = bytearray(PAGE_SIZE)
    struct.pack_into("II", header, 1024, 1, mebibytes * 256 - 1)
    header[-10:] = b"SWAPSPACE2"
    device.write_bytes(header)
    try:
        call("swapon", str(device).encode(), 0)
        try:
            yield
        finally:
            call("swapoff", str(device).encode())
    finally:
        (settings / "reset").write_text("1")


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


@contextmanager
def forked(answer: Callable[[], Answer]) -> Iterator[Callable[[], Answer]]:
    """A child process, made by fork(2), that ends with the block.

    Each call of what this yields has the child call ``answer`` and returns what it returned.
    """
    questions, ask = os.pipe()
    answers, reply = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ask)
        try:
            while os.read(questions, 1):
                data = pickle.dumps(answer())
                os.write(reply, len(data).to_bytes(4, "little") + data)
        finally:
            os._exit(1)
    os.close(questions)
    os.close(reply)

    def asked() -> Any:
        os.write(ask, b"?")
        size = int.from_bytes(os.read(answers, 4), "little")
        if not size:
            raise ChildProcessError("the child died over the question")
        return pickle.loads(os.read(answers, size))

    try:
        yield asked
    finally:
        os.close(ask)
        os.close(answers)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
