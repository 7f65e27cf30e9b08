# SPDX-License-Identifier: GPL-2.0-only
"""A few machine instructions of our own, called from Python.

Between two touches of memory the interpreter executes thousands of instructions, and touches
memory of its own. What is to be counted is done here by four or five instructions a turn, whose
number is known: x86-64, put into an executable page, called with ctypes by the C calling convention.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hmmkit.buffer import Pages
from hmmkit.errors import HmmError

# mov rax, rdi;  turn: dec rax;  jnz turn;  ret
_SPIN = bytes.fromhex("4889f8 48ffc8 75fb c3")
SPIN_INSTRUCTIONS = 2  # a turn
# mov rax, rdi;  turn: 8 x nop;  dec rax;  jnz turn;  ret
_SPIN_LONG = bytes.fromhex("4889f8 9090909090909090 48ffc8 75f3 c3")
SPIN_LONG_INSTRUCTIONS = 10  # a turn
# turn: mov rax, [rdi];  movzx eax, byte [rax];  add rdi, 8;  dec rsi;  jnz turn;  ret
_TOUCH = bytes.fromhex("488b07 0fb600 4883c708 48ffce 75f1 c3")
TOUCH_INSTRUCTIONS = 5  # a page
# turn: mov rax, [rdi];  mov byte [rax], 1;  add rdi, 8;  dec rsi;  jnz turn;  ret
_WRITE = bytes.fromhex("488b07 c60001 4883c708 48ffce 75f1 c3")
WRITE_INSTRUCTIONS = 5  # a page
# mov eax, 16 (ioctl);  syscall;  ret. The kernel takes its arguments where C puts them.
_IOCTL = bytes.fromhex("b810000000 0f05 c3")
# xor eax, eax;  ret
_NOTHING = bytes.fromhex("31c0 c3")

# One type for all: what ctypes takes for a call depends on the number of arguments, and is counted.
_ROUTINE = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


class Instructions:
    """The routines of this module, ready to be called.

    Raises ``HmmError`` (ENOTSUP) on a processor that is not x86-64.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise HmmError(errno.ENOTSUP, f"these are instructions of x86-64, this is {platform.machine()}")
        routines = (_SPIN, _SPIN_LONG, _TOUCH, _WRITE, _NOTHING, _IOCTL)
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=protection)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        functions = []
        for routine in routines:
            functions.append(_ROUTINE(start + self._page.tell()))
            self._page.write(routine.ljust(64, b"\xcc"))
        self._spin, self._spin_long, self._touch, self._write, self._nothing, self._ioctl = functions

    def nothing(self) -> Callable[[], None]:
        """A function that returns at once: what a call of any of the others takes besides."""
        return self._bound(self._nothing)

    def spin(self, turns: int) -> None:
        """Execute :data:`SPIN_INSTRUCTIONS` instructions ``turns`` times; at least once."""
        self._spin(turns, 0, 0)

    def spin_long(self, turns: int) -> None:
        """Execute :data:`SPIN_LONG_INSTRUCTIONS` instructions ``turns`` times; at least once."""
        self._spin_long(turns, 0, 0)

    def reader(self, pages: Pages, order: Sequence[int]) -> Callable[[], None]:
        """A function that reads a byte of each page of ``order``, :data:`TOUCH_INSTRUCTIONS` a page.

        ``order`` are page numbers from the start of ``pages``, one or more; IndexError if one is
        not among them.
        """
        return self._over(self._touch, pages, order)

    def writer(self, pages: Pages, order: Sequence[int]) -> Callable[[], None]:
        """As :meth:`reader`, but it writes the byte 1 to the start of each page."""
        return self._over(self._write, pages, order)

    def ioctl(self, fd: int, request: int, argument: ctypes.Structure) -> Callable[[], int]:
        """A function that does one ioctl(2), and returns what the kernel does: 0 or a negative errno."""
        call = self._bound(self._ioctl, fd, request, ctypes.addressof(argument))
        call.__dict__["argument"] = argument  # its address alone does not keep it
        return call

    def _over(self, routine: Callable[..., Any], pages: Pages, order: Sequence[int]) -> Callable[[], None]:
        if not order or min(order) < 0 or max(order) >= pages.npages:
            raise IndexError(f"{len(order)} pages to touch, all must be below {pages.npages}")
        addresses = (ctypes.c_uint64 * len(order))(*(pages.address + page * mmap.PAGESIZE for page in order))
        call = self._bound(routine, ctypes.addressof(addresses), len(order))
        call.__dict__["addresses"] = addresses
        return call

    def _bound(self, routine: Callable[..., Any], *arguments: int) -> partial[Any]:
        """The routine with its arguments, as numbers of C: converting them takes long, too.

        It keeps the page that the routine is in.
        """
        numbers = (*arguments, 0, 0, 0)[:3]
        call = partial(routine, *(ctypes.c_uint64(number) for number in numbers))
        call.__dict__["page"] = self._page
        return call
