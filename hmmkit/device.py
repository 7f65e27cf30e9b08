# SPDX-License-Identifier: GPL-2.0-only
"""One mirror device, for people: open it, move pages to it and back, look.

The device mirrors the address space of the process that opened it. Every request names pages
of that process; ``Buffer`` is the usual way to have some.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from dataclasses import dataclass
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
from hmmkit.uapi import DEVICE_NODE, PROT_KIND, Command, Flag, Prot, Request


@dataclass(frozen=True)
class Access:
    """A READ or WRITE: ``data`` that crossed, in ``pages`` pages, with ``faults`` fault rounds.

    ``faults`` counts how often the device had to ask the kernel for pages, not pages.
    """

    data: bytes
    pages: int
    faults: int


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


@dataclass(frozen=True)
class MirrorPage:
    """One page as a device may see it, decoded from one SNAPSHOT byte."""

    code: int

    def __str__(self) -> str:
        if self.code == Prot.ERROR:
            return "error"
        if self.code & Prot.WRITE:
            access = "read and write"
        elif self.code & Prot.READ:
            access = "read"
        else:
            access = "none"
        place = {
            int(Prot.ZERO): "the zero page",
            int(Prot.DEV_PRIVATE_LOCAL): "on this device",
            int(Prot.DEV_PRIVATE_REMOTE): "on another device",
            int(Prot.DEV_COHERENT_LOCAL): "on this device, and in the CPU's reach",
            int(Prot.DEV_COHERENT_REMOTE): "on another device, and in the CPU's reach",
        }.get(self.code & PROT_KIND)
        return f"{access}, {place}" if place else access

    @property
    def on_this_device(self) -> bool:
        """Whether the page lies in the memory of the device that was asked."""
        local = (Prot.DEV_PRIVATE_LOCAL, Prot.DEV_COHERENT_LOCAL)
        return self.code != Prot.ERROR and self.code & PROT_KIND in local


class Device:
    """``/dev/hmm_dmirror<index>``, open for the length of a ``with`` block.

    With the book's module a page that is on the device stays there when the file is closed; the
    kernel's own test driver brings all pages of that device back.

    Raises ``NoDevice`` where there is no such node, ``NeedRoot`` where it may not be opened.
    The requests raise the subclasses of ``HmmError`` that ``hmmkit.errors`` describes.
    """

    def __init__(self, index: int = 0) -> None:
        self._fd = _open(DEVICE_NODE.format(index=index))

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
        landing = ctypes.create_string_buffer(pages.npages * PAGE_SIZE)
        done = self._request("device read", Request.READ, pages, landing)
        return Access(landing.raw, done.cpages, done.faults)

    def read_unlocked(self, pages: Pages) -> Access:
        """Read, and let go of the lock on the mapping where a page has to be waited for.

        ``read`` keeps that lock, and answers EFAULT for a page that userfaultfd has to supply.

        Raises ``NoSuchRequest`` where the kernel has no ``hmm_range_fault_unlocked_timeout()``
        (before 7.3) or the driver does not know the request.
        """
        landing = ctypes.create_string_buffer(pages.npages * PAGE_SIZE)
        try:
            done = self._request("unlocked device read", Request.READ_UNLOCKED, pages, landing)
        except InvalidRequest as error:
            raise _if_unknown(error, "READ_UNLOCKED") from None
        return Access(landing.raw, done.cpages, done.faults)

    def write(self, pages: Pages, data: bytes) -> Access:
        """The device writes ``data``, filled up with zeros to whole pages, into the pages."""
        source = ctypes.create_string_buffer(data, pages.npages * PAGE_SIZE)
        done = self._request("device write", Request.WRITE, pages, source)
        return Access(source.raw, done.cpages, done.faults)

    def migrate_to_device(self, pages: Pages) -> Migration:
        """Move the pages into the device's memory, and read them back through the device."""
        landing = ctypes.create_string_buffer(pages.npages * PAGE_SIZE)
        done = self._request("migrate to device", Request.MIGRATE_TO_DEV, pages, landing)
        return Migration(done.cpages, pages.npages, landing.raw)

    def migrate_to_system(self, pages: Pages) -> Migration:
        """Move those of the pages that are on the device back, without any CPU fault."""
        nothing = ctypes.create_string_buffer(0)
        done = self._request("migrate to system", Request.MIGRATE_TO_SYS, pages, nothing)
        return Migration(done.cpages, pages.npages)

    def exclusive(self, pages: Pages) -> Access:
        """Keep the CPU away from the pages, which stay in RAM, until it touches them.

        The device reads the pages then: ``data`` is what it sees.

        Raises ``DeviceBusy`` if a page could not be had, ``NotAnonymous`` where the kernel does
        this for anonymous memory only.
        """
        landing = ctypes.create_string_buffer(pages.npages * PAGE_SIZE)
        done = self._request("exclusive access", Request.EXCLUSIVE, pages, landing)
        return Access(landing.raw, done.cpages, done.faults)

    def any_exclusive(self, pages: Pages) -> bool:
        """Whether some page of the range is still kept from the CPU, by this open file."""
        nothing = ctypes.create_string_buffer(0)
        try:
            self._request("check of exclusive access", Request.CHECK_EXCLUSIVE, pages, nothing)
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
            fcntl.ioctl(self._fd, Request.FLAGS, command)
        except OSError as error:
            raise NoSuchRequest(error.errno or 0, "this driver has no request FLAGS") from None

    def snapshot(self, pages: Pages) -> list[MirrorPage]:
        """How the device may see each page, without faulting anything in."""
        codes = ctypes.create_string_buffer(pages.npages)
        self._request("snapshot", Request.SNAPSHOT, pages, codes)
        return [MirrorPage(code) for code in codes.raw]

    def release(self) -> None:
        """Bring back every page that is on this device, and free the device's chunks."""
        command = Command(npages=1)  # not used, and still checked
        try:
            fcntl.ioctl(self._fd, Request.RELEASE, command)
        except OSError as error:
            number = error.errno or 0
            raise HmmError(number, f"release: {os.strerror(number)}") from error

    def _request(
        self, what: str, request: Request, pages: Pages, memory: ctypes.Array[ctypes.c_char]
    ) -> Command:
        command = Command(addr=pages.address, ptr=ctypes.addressof(memory), npages=pages.npages)
        try:
            fcntl.ioctl(self._fd, request, command)
        except OSError as error:
            raise request_error(what, error.errno or 0, pages.address, pages.npages, own_mappings()) from None
        return command


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
