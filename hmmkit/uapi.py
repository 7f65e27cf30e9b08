# SPDX-License-Identifier: GPL-2.0-only
"""The driver's user ABI in numbers: what ``module/uapi/hmm_dmirror.h`` declares, for ctypes.

Nothing here does anything. ``hmmkit.device`` is the layer to use; a test compiles the C header
and compares every size, offset and number below with it.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

DEVICE_NODE = "/dev/hmm_dmirror{index}"

# The name under which a device's chunks stand in /proc/iomem.
IOMEM_NAME = "hmm_dmirror"


class Command(ctypes.Structure):
    """``struct hmm_dmirror_cmd``: one request, five 64-bit words.

    ``addr`` (bytes, user address), ``ptr`` (bytes, user address of the caller's own buffer) and
    ``npages`` go in; ``cpages`` (pages) and ``faults`` (rounds of device faults) come out.
    """

    _fields_ = (
        ("addr", ctypes.c_uint64),
        ("ptr", ctypes.c_uint64),
        ("npages", ctypes.c_uint64),
        ("cpages", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
    )


def _iowr(nr: int) -> int:
    """``_IOWR('H', nr, struct hmm_dmirror_cmd)`` as <asm-generic/ioctl.h> packs it."""
    read_and_write = 3
    return read_and_write << 30 | ctypes.sizeof(Command) << 16 | ord("H") << 8 | nr


class Request(IntEnum):
    """The ioctl numbers."""

    READ = _iowr(0)
    WRITE = _iowr(1)
    MIGRATE_TO_DEV = _iowr(2)
    MIGRATE_TO_SYS = _iowr(3)
    SNAPSHOT = _iowr(4)
    EXCLUSIVE = _iowr(5)
    CHECK_EXCLUSIVE = _iowr(6)
    RELEASE = _iowr(7)
    FLAGS = _iowr(8)
    READ_UNLOCKED = _iowr(9)


class Flag(IntFlag):
    """The bits of FLAGS, which go where other requests have ``npages``."""

    FAIL_ALLOC = 1


class Prot(IntEnum):
    """The bytes that SNAPSHOT writes, one a page.

    The low nibble holds bits. The high nibble is a code and not bits: 0x30 does not mean 0x20
    and 0x10, so compare it under ``PROT_KIND``.
    """

    ERROR = 0xFF
    NONE = 0x00
    READ = 0x01
    WRITE = 0x02
    PMD = 0x04
    PUD = 0x08
    ZERO = 0x10
    DEV_PRIVATE_LOCAL = 0x20
    DEV_PRIVATE_REMOTE = 0x30
    DEV_COHERENT_LOCAL = 0x40
    DEV_COHERENT_REMOTE = 0x50


PROT_KIND = 0xF0
