# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of memory besides the private anonymous: shared, of a file, hugetlb, locked, protected.

Each is a ``Buffer`` for the length of a ``with`` block.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Buffer, Pages
from hmmkit.libc import call

_HUGETLB_POOL = Path("/proc/sys/vm/nr_hugepages")
_HUGETLB_PAGE = 2 << 20
_MAP_HUGETLB = 0x40000


def shared_memory(npages: int = 1) -> Buffer:
    """Memory that a child would share: shmem, though no file can be seen."""
    return Buffer(npages, touched=True, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


@contextmanager
def file_mapping(npages: int = 1, *, shared: bool) -> Iterator[Buffer]:
    """A temporary file of ``npages`` pages, mapped; each page was read by the CPU, none written."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes([1]) * npages * PAGE_SIZE)
        file.flush()
        flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        with Buffer(npages, flags=flags, fd=file.fileno()) as buffer:
            for page in range(npages):
                buffer.touch(page)
            yield buffer


@contextmanager
def hugetlb_memory() -> Iterator[Buffer]:
    """One page of 2 MiB of the hugetlb pool, which is given one for this.

    Raises ``OSError`` (ENOMEM) if there are no 2 MiB in one piece.
    """
    before = _HUGETLB_POOL.read_text()
    _HUGETLB_POOL.write_text(str(int(before) + 1))
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB
        with Buffer(_HUGETLB_PAGE // PAGE_SIZE, flags=flags) as buffer:
            buffer.touch()
            yield buffer
    finally:
        _HUGETLB_POOL.write_text(before)


def lock(pages: Pages) -> None:
    """mlock(2): the pages are brought into RAM and stay there, as far as reclaim goes.

    Raises ``OSError`` as mlock(2) does.
    """
    call("mlock", pages.address, pages.npages * PAGE_SIZE)
