# SPDX-License-Identifier: GPL-2.0-only
"""Pages to measure with: brought into a known state, and then one bare operation on them.

Each operation is one system call, or one touch a page, by instructions of our own
(``hmmkit.instructions``): what is counted is the kernel's work, not Python's.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from types import TracebackType

from hmmkit.buffer import PAGE_SIZE, PRIVATE_ANONYMOUS, Buffer, PageRun, Protection, advise
from hmmkit.device import Device
from hmmkit.huge import HUGE_PAGES
from hmmkit.instructions import Instructions
from hmmkit.libc import call
from hmmkit.uapi import Command, Request

_libc = ctypes.CDLL(None, use_errno=True)
_libc.memcpy.restype = None  # a pointer would look like a number
_libc.memcpy.argtypes = [ctypes.c_uint64] * 3  # as hmmkit.instructions calls
_FIXED = PRIVATE_ANONYMOUS | 0x10  # MAP_FIXED


class Workload:
    """``npages`` pages of one process, ``huge`` ones or single ones, and what is done to them.

    The pages begin at a multiple of 2 MiB, so that they use as few page tables in every run.
    What a device reads, and what ``copy`` copies, goes to a buffer of the same length, in RAM. A
    ``with`` block gives all of it back.

    ``first_touch`` writes a byte to each page, ``copy`` is memcpy(3); ``to_device``, ``to_system``
    and ``device_read`` are one ioctl each, and return 0 or a negative errno.

    Raises ``OSError`` as mmap(2), madvise(2) and the driver do.
    """

    def __init__(
        self, device: Device, instructions: Instructions, npages: int, *, huge: bool = False
    ) -> None:
        self._device = device
        self._instructions = instructions
        self._huge = huge
        self._room = Buffer(npages + HUGE_PAGES, Protection.NONE)
        self._landing = Buffer(npages)
        first = -(-self._room.address // (HUGE_PAGES * PAGE_SIZE)) * HUGE_PAGES * PAGE_SIZE
        self.pages = PageRun(first, npages)
        in_order = range(npages)
        instructions.writer(self._landing, in_order)()
        self.first_touch = instructions.writer(self.pages, in_order)
        self.to_device = self._ioctl(Request.MIGRATE_TO_DEV)
        self.to_system = self._ioctl(Request.MIGRATE_TO_SYS)
        self.device_read = self._ioctl(Request.READ)
        numbers = (self._landing.address, self.pages.address, npages * PAGE_SIZE)
        self.copy = partial(_libc.memcpy, *(ctypes.c_uint64(number) for number in numbers))
        self.untouched()

    def __enter__(self) -> Workload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._room.unmap()
        self._landing.unmap()

    def untouched(self) -> None:
        """Make the pages a new mapping: whatever was there is gone, wherever it was."""
        size = self.pages.npages * PAGE_SIZE
        call("mmap", self.pages.address, size, Protection.READ_WRITE, _FIXED, -1, 0)
        advise(self.pages, mmap.MADV_HUGEPAGE if self._huge else mmap.MADV_NOHUGEPAGE)

    def resident(self) -> None:
        """Have all pages in RAM, each written to."""
        self.untouched()
        self.first_touch()

    def filled(self) -> None:
        """Have all pages in RAM, half of each word by word random, the rest zeros.

        A compressor finds something to do there, and the same in every run.
        """
        size = self.pages.npages * PAGE_SIZE
        words = array("Q", bytes(size))
        words[1::2] = array("Q", Random(1).randbytes(size // 2))
        self.resident()
        ctypes.memmove(self.pages.address, words.tobytes(), size)

    def on_device(self) -> None:
        """Have all pages on the device. Raises ``OSError`` as the driver does."""
        self.resident()
        self._must(self.to_device)

    def touch(self, order: Sequence[int] | None = None) -> Callable[[], None]:
        """A function that reads a byte of each page; of all in order if no ``order`` is given."""
        return self._instructions.reader(self.pages, range(self.pages.npages) if order is None else order)

    @staticmethod
    def _must(call: Callable[[], int]) -> None:
        result = call()
        if result:
            raise OSError(-result, f"migrate to device: {os.strerror(-result)}")

    def _ioctl(self, request: Request) -> Callable[[], int]:
        command = Command(addr=self.pages.address, ptr=self._landing.address, npages=self.pages.npages)
        return self._instructions.ioctl(self._device.fileno(), request, command)
