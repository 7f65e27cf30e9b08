# SPDX-License-Identifier: GPL-2.0-only
"""One mirror device, for people: open it, move pages to it and back, look.

The device mirrors the address space of the process that opened it. Every request names pages
of that process; ``Buffer`` is the usual way to have some.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from fcntl import ioctl
from types import TracebackType

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import (
    Cause,
    HmmError,
    InvalidRequest,
    NeedRoot,
    NoDevice,
    NoSuchRequest,
    ReadOnlyMemory,
    request_error,
)
from hmmkit.maps import own_mappings
from hmmkit.snapshot import Snapshot
from hmmkit.uapi import DEVICE_NODE, Command, Flag, Request

# Python 3.11 takes a thousand instructions to look up a member of an enumeration.
_READ = Request.READ


class _Exchange:
    """A command about ``npages`` pages, and ``size`` bytes of our own that its ``ptr`` leads to.

    ``spare`` is where it goes when its answer is not needed any more, to be used again.
    """

    __slots__ = ("address", "command", "memory", "spare")

    def __init__(self, npages: int, size: int, spare: list[_Exchange] | None = None) -> None:
        self.memory = (ctypes.c_char * size)()
        self.address = 0
        self.command = Command(ptr=ctypes.addressof(self.memory), npages=npages)
        self.spare = spare


class Access:
    """A READ or WRITE that did not fail: what crossed, and what it took."""

    __slots__ = ("_exchange",)
    _exchange: _Exchange  # set by who makes one: a call of __init__ would take as long as the rest

    @property
    def data(self) -> bytes:
        """What crossed, ``pages`` whole pages of it. It is copied each time that one asks."""
        return self._exchange.memory.raw

    @property
    def pages(self) -> int:
        """How many pages crossed."""
        return int(self._exchange.command.cpages)

    @property
    def faults(self) -> int:
        """How often the device had to ask the kernel for pages. Not a number of pages."""
        return int(self._exchange.command.faults)

    def __del__(self) -> None:
        exchange = self._exchange
        if exchange.spare is not None:
            exchange.spare.append(exchange)


@dataclass(frozen=True)
class Migration:
    """A migration that did not fail: ``pages`` of ``asked`` pages.

    To the device, ``data`` is what the device then sees in the range, and ``pages`` counts the
    pages it read. To the system there is no read-back: ``data`` is empty and ``pages`` counts
    the pages that moved.
    """

    pages: int
    asked: int
    data: bytes = b""


class Device:
    """``/dev/hmm_dmirror<index>``, open for the length of a ``with`` block.

    With the book's module a page that is on the device stays there when the file is closed; the
    kernel's own test driver brings all pages of that device back.

    Raises ``NoDevice`` where there is no such node, ``NeedRoot`` where it may not be opened.
    The requests raise the subclasses of ``HmmError`` that ``hmmkit.errors`` describes.
    """

    def __init__(self, index: int = 0) -> None:
        self._fd = _open(DEVICE_NODE.format(index=index))
        self._spare: list[_Exchange] = []  # for one page

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """The file descriptor, for who speaks to the driver by other means."""
        return self._fd

    def read(self, pages: Pages) -> Access:
        """The device reads the pages; they stay where they are."""
        # It takes longer to make an exchange for one page than to ask. So that of an answer which
        # nobody holds any more is used again, and it may even be about this page already. For more
        # pages it would be too much memory to keep.
        if pages.npages == 1:
            try:
                exchange = self._spare.pop()
            except IndexError:
                exchange = _Exchange(1, PAGE_SIZE, self._spare)
        else:
            exchange = _Exchange(pages.npages, pages.npages * PAGE_SIZE)
        if exchange.address != pages.address:
            exchange.address = exchange.command.addr = pages.address
        try:
            ioctl(self._fd, _READ, exchange.command)
        except OSError as error:
            raise _refusal("device read", error, pages) from None
        done = Access()
        done._exchange = exchange
        return done

    def read_unlocked(self, pages: Pages) -> Access:
        """Read, and let go of the lock on the mapping where a page has to be waited for.

        ``read`` keeps that lock, and answers EFAULT for a page that userfaultfd has to supply.

        Raises ``NoSuchRequest`` where the kernel has no ``hmm_range_fault_unlocked_timeout()``
        (before 7.3) or the driver does not know the request.
        """
        try:
            return self._access("unlocked device read", Request.READ_UNLOCKED, pages)
        except InvalidRequest as error:
            raise _if_unknown(error, "READ_UNLOCKED") from None

    def write(self, pages: Pages, data: bytes) -> Access:
        """The device writes ``data``, filled up with zeros to whole pages, into the pages."""
        return self._access("device write", Request.WRITE, pages, data)

    def migrate_to_device(self, pages: Pages) -> Migration:
        """Move the pages into the device's memory, and read them back through the device."""
        done = self._access("migrate to device", Request.MIGRATE_TO_DEV, pages)
        return Migration(done.pages, pages.npages, done.data)

    def migrate_to_system(self, pages: Pages) -> Migration:
        """Move those of the pages that are on the device back, without any CPU fault."""
        done = self._request("migrate to system", Request.MIGRATE_TO_SYS, pages)
        return Migration(done.command.cpages, pages.npages)

    def exclusive(self, pages: Pages) -> Access:
        """Keep the CPU away from the pages, which stay in RAM, until it touches them.

        The device reads the pages then: ``data`` is what it sees.

        Raises ``DeviceBusy`` if a page could not be had, ``NotAnonymous`` where the kernel does
        this for anonymous memory only.
        """
        return self._access("exclusive access", Request.EXCLUSIVE, pages)

    def any_exclusive(self, pages: Pages) -> bool:
        """Whether some page of the range is still kept from the CPU, by this open file."""
        try:
            self._request("check of exclusive access", Request.CHECK_EXCLUSIVE, pages)
        except ReadOnlyMemory:  # its EPERM is the answer here
            return True
        return False

    def fail_next_allocation(self) -> None:
        """Have the next allocation in a migration fail, once, whoever migrates.

        Raises ``NoSuchRequest`` where the driver does not know the request: the kernel's own
        knows it from 7.2 on.
        """
        command = Command(npages=Flag.FAIL_ALLOC)
        try:
            ioctl(self._fd, Request.FLAGS, command)
        except OSError as error:
            raise NoSuchRequest(error.errno or 0, "this driver has no request FLAGS") from None

    def snapshot(self, pages: Pages) -> Snapshot:
        """How the device may see each page, without faulting anything in."""
        return Snapshot(self._request("snapshot", Request.SNAPSHOT, pages, 1).memory.raw)

    def release(self) -> None:
        """Bring back every page that is on this device, and free the device's chunks."""
        command = Command(npages=1)  # not used, and still checked
        try:
            ioctl(self._fd, Request.RELEASE, command)
        except OSError as error:
            number = error.errno or 0
            raise HmmError(number, f"release: {os.strerror(number)}") from error

    def _access(self, what: str, request: Request, pages: Pages, data: bytes = b"") -> Access:
        """Ask for what fills our memory with whole pages, or takes ``data`` and zeros from there."""
        exchange = self._request(what, request, pages, PAGE_SIZE, data)
        done = Access()
        done._exchange = exchange
        return done

    def _request(
        self, what: str, request: Request, pages: Pages, a_page: int = 0, data: bytes = b""
    ) -> _Exchange:
        """Ask with memory of our own, ``a_page`` bytes for each page, which begins with ``data``."""
        exchange = _Exchange(pages.npages, pages.npages * a_page)
        exchange.memory.raw = data
        exchange.command.addr = pages.address
        try:
            ioctl(self._fd, request, exchange.command)
        except OSError as error:
            raise _refusal(what, error, pages) from None
        return exchange


def _refusal(what: str, error: OSError, pages: Pages) -> HmmError:
    return request_error(what, error.errno or 0, pages.address, pages.npages, own_mappings())


def _if_unknown(error: InvalidRequest, name: str) -> HmmError:
    """EINVAL for a range without fault means that nobody knows the request."""
    if error.cause in (Cause.ZERO_PAGES, Cause.UNALIGNED, Cause.WRAPS):
        return error
    return NoSuchRequest(error.errno or 0, f"this kernel, or this driver, has no request {name}")


def _open(node: str) -> int:
    try:
        return os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise NoDevice(
                error.errno,
                f"no {node}: load the driver first (modprobe hmm_dmirror), or use the book's test machine",
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NeedRoot(error.errno, f"{node} is for root only: run as root") from None
        raise
