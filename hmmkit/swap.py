# SPDX-License-Identifier: GPL-2.0-only
"""Swap space in compressed RAM, and a page that is really swapped out.

zram (Documentation/admin-guide/blockdev/zram.rst) is a disk whose sectors are kept, compressed, in
RAM: swapping that needs no disk. The machine has one, ``/dev/zram0``.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages, advise
from hmmkit.errors import HmmError
from hmmkit.libc import call
from hmmkit.pagemap import page_entries

_SIGNATURE = b"SWAPSPACE2"
_HEADER_OFFSET = 1024
_MADV_PAGEOUT = 21
_ATTEMPTS = 50


class NoSwap(HmmError):
    """There is no zram disk, or it cannot be used for swapping now."""


@contextmanager
def zram_swap(mebibytes: int = 64) -> Iterator[None]:
    """Inside the block there is swap space of ``mebibytes`` MiB, on ``/dev/zram0``.

    At the end everything is read back, and the disk is reset.

    Raises ``NoSwap`` without such a disk, or if it is in use; ``OSError`` as swapon(2) does.
    """
    disk, settings = Path("/dev/zram0"), Path("/sys/block/zram0")
    try:
        (settings / "disksize").write_text(f"{mebibytes}M")
    except OSError as error:
        raise NoSwap(error.errno or 0, f"no zram disk to swap to: {settings}: {error.strerror}") from None
    try:
        disk.write_bytes(_header(mebibytes))
        call("swapon", str(disk).encode(), 0)
        try:
            yield
        finally:
            call("swapoff", str(disk).encode())
    finally:
        (settings / "reset").write_text("1")


def _header(mebibytes: int) -> bytes:
    """The first page of a swap area: version 1, the number of its last page, the signature."""
    page = bytearray(PAGE_SIZE)
    struct.pack_into("II", page, _HEADER_OFFSET, 1, (mebibytes << 20) // PAGE_SIZE - 1)
    page[-len(_SIGNATURE) :] = _SIGNATURE
    return bytes(page)


def page_out(pages: Pages) -> None:
    """Have the kernel swap the pages out: madvise(MADV_PAGEOUT), until none is present.

    A page that was just faulted in waits in a batch of the processor that did it (``folio_add_lru``,
    mm/swap.c), and reclaim cannot take it from there. madvise empties the batch of the processor
    that it runs on. So it is called on each that this thread may run on.

    Raises ``NoSwap`` (EBUSY) if a page is still present after all that, ``OSError`` as
    madvise(2) does.
    """
    processors = os.sched_getaffinity(0)
    try:
        for _ in range(_ATTEMPTS):
            for processor in sorted(processors):
                os.sched_setaffinity(0, {processor})
                advise(pages, _MADV_PAGEOUT)
                if not page_entries(pages).present:
                    return
    finally:
        os.sched_setaffinity(0, processors)
    raise NoSwap(errno.EBUSY, "some page is still in RAM: no swap space, or somebody holds the page")
