# SPDX-License-Identifier: GPL-2.0-only
"""Memory to experiment on: whole pages with the protection and the population one asks for.

Python's ``mmap`` cannot make a mapping without access, nor change it later, nor say where it
is. So this module calls the C library's mmap, mprotect and so on itself.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import re
from dataclasses import dataclass
from enum import IntFlag
from types import TracebackType
from typing import Protocol

from hmmkit.libc import call

PAGE_SIZE = mmap.PAGESIZE

_MREMAP_MAYMOVE_FIXED = 1 | 2

PRIVATE_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MAP_FIXED = 0x10  # <linux/mman.h>

_BLOCK = 2 << 20  # what one page table maps: 512 pages


class Protection(IntFlag):
    """What the process may do with the pages: the ``PROT_`` bits of mmap(2)."""

    NONE = 0
    READ = mmap.PROT_READ
    WRITE = mmap.PROT_WRITE
    READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


PROTECTION_NAMES = {
    Protection.NONE: "none",
    Protection.READ: "read",
    Protection.WRITE: "write only",
    Protection.READ_WRITE: "read and write",
}


class Pages(Protocol):
    """Anything that is a run of pages: ``address`` in bytes, ``npages`` in pages."""

    @property
    def address(self) -> int:
        """First address, in bytes."""

    @property
    def npages(self) -> int:
        """Length in pages."""


@dataclass(frozen=True)
class PageRun:
    """A run of pages by its bare numbers, right or wrong: nothing is checked or mapped."""

    address: int
    npages: int


def protect(pages: Pages, protection: Protection) -> None:
    """mprotect(2) of these pages; a ``Buffer`` that they are a part of is not told.

    Raises ``OSError`` as mprotect(2) does, and so do the next three as theirs do.
    """
    call("mprotect", pages.address, pages.npages * PAGE_SIZE, protection)


def advise(pages: Pages, advice: int) -> None:
    """madvise(2) for these pages; ``advice`` is a MADV_ number, as in :mod:`mmap`."""
    call("madvise", pages.address, pages.npages * PAGE_SIZE, advice)


def discard(pages: Pages) -> None:
    """munmap(2) of these pages; a ``Buffer`` that they are a part of is not told."""
    call("munmap", pages.address, pages.npages * PAGE_SIZE)


def move(pages: Pages, address: int) -> PageRun:
    """mremap(2) to ``address``, in place of what is mapped there. Returns where they are now."""
    size = pages.npages * PAGE_SIZE
    return PageRun(call("mremap", pages.address, size, size, _MREMAP_MAYMOVE_FIXED, address), pages.npages)


def _map(size: int, protection: Protection, flags: int = PRIVATE_ANONYMOUS, fd: int = -1) -> int:
    """mmap(2) of ``size`` bytes under one page table if they fit; the address."""
    address = call("mmap", 0, size, protection, flags, fd, 0)
    if size > _BLOCK or address // _BLOCK == (address + size - 1) // _BLOCK:
        return address
    call("munmap", address, size)
    room = call("mmap", 0, size + _BLOCK, Protection.NONE, PRIVATE_ANONYMOUS, -1, 0)
    address = (room // _BLOCK + 1) * _BLOCK
    # in place of a part of the room, which another thread cannot be given meanwhile
    call("mmap", address, size, protection, flags | _MAP_FIXED, fd, 0)
    call("munmap", room, address - room)
    if address < room + _BLOCK:
        call("munmap", address + size, room + _BLOCK - address)
    return address


class Buffer:
    """``npages`` pages of private anonymous memory, unmapped when the ``with`` block ends.

    A fresh buffer has protection and no pages: the kernel gives a page only when it is touched.
    Up to 512 pages are under one page table, so that what happens to them does not depend on the
    address: the driver, for one, migrates no batch across the end of a page table.
    ``touched=True`` fills every page with zeros first, also where the final protection would not
    allow it. ``flags`` and ``fd`` are those of mmap(2), for the kinds of memory that
    ``hmmkit.kinds`` makes.

    Raises ``OSError`` (ENOMEM, EINVAL) as mmap(2) does.
    """

    def __init__(
        self,
        npages: int = 1,
        protection: Protection = Protection.READ_WRITE,
        *,
        touched: bool = False,
        flags: int = PRIVATE_ANONYMOUS,
        fd: int = -1,
    ) -> None:
        self.npages = npages
        self.size = npages * PAGE_SIZE
        self.protection = Protection.READ_WRITE if touched else protection
        self.address = _map(self.size, self.protection, flags, fd)
        self._mapped = True
        if touched:
            ctypes.memset(self.address, 0, self.size)
            self.protect(protection)

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unmap()

    def unmap(self) -> None:
        """Give the pages back. A second call does nothing."""
        if self._mapped:
            discard(self)
        self._mapped = False

    def protect(self, protection: Protection) -> None:
        """Change the protection of the whole buffer, as mprotect(2) does."""
        protect(self, protection)
        self.protection = protection

    def advise(self, advice: int) -> None:
        """madvise(2) for the whole buffer; ``advice`` is a MADV_ number, as in :mod:`mmap`."""
        advise(self, advice)

    def move(self) -> None:
        """Move the mapping to another address, as mremap(2) does; ``address`` changes."""
        self.address = move(self, _map(self.size, Protection.NONE)).address

    def part(self, first: int, npages: int) -> PageRun:
        """``npages`` of the pages, from page ``first`` on."""
        return PageRun(self.address + first * PAGE_SIZE, npages)

    def write(self, data: bytes, offset: int = 0) -> None:
        """The CPU writes ``data`` at ``offset`` (bytes)."""
        self._check(Protection.WRITE, offset, len(data))
        ctypes.memmove(self.address + offset, data, len(data))

    def read(self, size: int, offset: int = 0) -> bytes:
        """The CPU reads ``size`` bytes at ``offset`` (bytes)."""
        self._check(Protection.READ, offset, size)
        return ctypes.string_at(self.address + offset, size)

    def touch(self, page: int = 0) -> int:
        """The CPU reads the first byte of one page: the smallest thing that can fault."""
        return self.read(1, page * PAGE_SIZE)[0]

    def name_addresses(self, text: str) -> str:
        """``text`` with every address inside this buffer written as ``buffer+0x...``.

        An address differs from run to run; its place in the buffer does not.
        """

        def name(match: re.Match[str]) -> str:
            offset = int(match[0], 16) - self.address
            return f"buffer+{offset:#x}" if 0 <= offset < self.size else match[0]

        return re.sub(r"\b0x[0-9a-f]+\b", name, text)

    def _check(self, needed: Protection, offset: int, size: int) -> None:
        """Raise instead of letting the CPU kill the process."""
        if not self._mapped:
            raise ValueError("the buffer is unmapped")
        if offset < 0 or offset + size > self.size:
            raise IndexError(f"bytes {offset} to {offset + size} of a buffer of {self.size}")
        if not self.protection & needed:
            raise PermissionError(
                errno.EACCES,
                f"the buffer's protection is {PROTECTION_NAMES[self.protection]!r}: "
                "this access would end the process with SIGSEGV",
            )
