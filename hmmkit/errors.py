# SPDX-License-Identifier: GPL-2.0-only
"""Errors that say why.

Each is an ``OSError`` and keeps ``errno``, so a program can decide by number, and carries a
sentence, so a reader need not. The driver answers four different mistakes with EINVAL;
``request_error`` asks the process's own memory map which of them it was.

What an errno means to this driver is listed in the appendix on the user ABI; the check for a
readable mapping is in ``module/migrate.c``, before ``migrate_vma_setup`` is ever called.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence
from enum import Enum

from hmmkit.maps import Mapping, mapping_at

ADDRESS_SPACE_END = 1 << 64


class HmmError(OSError):
    """Base of all errors here. ``errno`` is the kernel's, ``strerror`` a sentence."""


class InvalidRequest(HmmError):
    """EINVAL. ``cause`` says which of the possible causes it was."""

    def __init__(self, number: int, sentence: str, cause: Cause) -> None:
        super().__init__(number, sentence)
        self.cause = cause


class UnreachableMemory(HmmError):
    """EFAULT: the device asked for a page that the process itself could not have."""


class ReadOnlyMemory(HmmError):
    """EPERM: the device asked to write where the process itself may not."""


class NotOnDevice(HmmError):
    """ENOENT: after the migration some page of the range was not on the device."""


class DeviceBusy(HmmError):
    """EBUSY: the page tables kept changing while the device looked at them.

    From a request for exclusive access also: a page could not be had. Up to Linux 6.14 that is a
    page of a huge page that is mapped in parts.
    """


class NotAnonymous(HmmError):
    """EOPNOTSUPP: the kernel gives exclusive access to anonymous memory only."""


class NoSuchRequest(HmmError):
    """EINVAL: this driver, or this kernel, does not know the request."""


class NeedRoot(HmmError):
    """EACCES or EPERM from a file that only root may open or read in full."""


class NoDevice(HmmError):
    """ENOENT or ENXIO: there is no such device node, so no driver is loaded."""


class OtherDriver(HmmError):
    """ENOENT: the devices are those of the kernel's own test driver, which has no such thing."""

    def __init__(self, what: str) -> None:
        super().__init__(
            errno.ENOENT,
            f"the kernel's own test driver is loaded, and it has no {what}: "
            "rmmod test_hmm, then modprobe hmm_dmirror",
        )


class NoTracing(HmmError):
    """ENOENT: tracefs is not mounted, or the kernel was built without the tracer."""


class NoDynamicDebug(HmmError):
    """ENOENT: the kernel was built without CONFIG_DYNAMIC_DEBUG."""


class ModuleProblem(HmmError):
    """The module could not be loaded, unloaded or set; the sentence is the tool's own."""


class Cause(Enum):
    """What can be behind an EINVAL of a request, in the order in which it is checked."""

    ZERO_PAGES = "the request asks for zero pages"
    UNALIGNED = "the address is not a multiple of the page size"
    WRAPS = "the range runs past the end of the address space"
    NO_MAPPING = "nothing is mapped at page {page} of the range"
    NOT_READABLE = (
        "page {page} of the range is mapped {permissions}: the mapping is not readable, "
        "and the driver refuses it before it looks for pages"
    )
    REFUSED = (
        "the range is mapped and readable, so migrate_vma_setup refused the mapping itself "
        "(hugetlb, device or other special memory), or the process that opened the device is gone"
    )


def cause_of_einval(address: int, npages: int, mappings: Sequence[Mapping]) -> tuple[Cause, str]:
    """Which cause of EINVAL applies to ``npages`` pages at ``address``, and a sentence for it.

    Pages are counted from the start of the range, not given as addresses: the sentence is the
    same in every process.
    """
    size = npages * mmap.PAGESIZE
    if npages == 0:
        return Cause.ZERO_PAGES, Cause.ZERO_PAGES.value
    if address % mmap.PAGESIZE:
        return Cause.UNALIGNED, Cause.UNALIGNED.value
    if address + size > ADDRESS_SPACE_END:
        return Cause.WRAPS, Cause.WRAPS.value

    position = address
    while position < address + size:
        page = (position - address) // mmap.PAGESIZE
        mapping = mapping_at(list(mappings), position)
        if mapping is None:
            return Cause.NO_MAPPING, Cause.NO_MAPPING.value.format(page=page)
        if not mapping.readable:
            return Cause.NOT_READABLE, Cause.NOT_READABLE.value.format(
                page=page, permissions=mapping.permissions
            )
        position = mapping.end
    return Cause.REFUSED, Cause.REFUSED.value


def request_error(what: str, number: int, address: int, npages: int, mappings: Sequence[Mapping]) -> HmmError:
    """The error for a request ``what`` that came back with errno ``number``."""
    if number == errno.EINVAL:
        cause, sentence = cause_of_einval(address, npages, mappings)
        return InvalidRequest(number, f"{what}: {sentence}", cause)
    if number == errno.EFAULT:
        return UnreachableMemory(number, f"{what}: some page of the range is not mapped, or not readable")
    if number == errno.EPERM:
        return ReadOnlyMemory(number, f"{what}: some page of the range is mapped read-only")
    if number == errno.ENOENT:
        return NotOnDevice(
            number,
            f"{what}: some page of the range is not on the device afterwards "
            "(a shared mapping, a page in use, or another device's page)",
        )
    if number == errno.EBUSY:
        return DeviceBusy(
            number,
            f"{what}: for a whole second the range was invalidated again and again, "
            "or a page of it could not be had",
        )
    if number == errno.EOPNOTSUPP:
        return NotAnonymous(number, f"{what}: some page of the range is not anonymous memory")
    return HmmError(number, f"{what}: {os.strerror(number)}")
