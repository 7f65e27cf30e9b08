# SPDX-License-Identifier: GPL-2.0-only
"""What a device has done so far, and its chunks: /sys/class/misc/hmm_dmirror<index>.

``module/sysfs.c`` says what is in each file. The kernel's own test driver has none of this.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from hmmkit.errors import HmmError, NoDevice, OtherDriver

DEVICES = Path("/sys/class/misc")
KERNELS_OWN_DRIVER = Path("/sys/module/test_hmm")


@dataclass(frozen=True)
class Counters:
    """A device's counters at (nearly) one moment.

    Fields that count pages count pages of 4 KiB. All but ``pages_in_use`` start at 0 when the
    module is loaded and only grow; the difference of two readings says what was done between.
    """

    pages_in_use: int
    pages_to_device: int
    pages_back_by_ioctl: int
    pages_back_by_fault: int
    pages_evicted: int
    faults: int
    invalidations: int
    allocation_failures: int

    def __sub__(self, before: Counters) -> Counters:
        """What happened since ``before``; of ``pages_in_use``, how many more there are."""
        return Counters(
            **{field.name: getattr(self, field.name) - getattr(before, field.name) for field in fields(self)}
        )


@dataclass(frozen=True)
class ChunkUse:
    """One chunk: its PFNs from ``first`` to before ``end``, and how many are in use."""

    first: int
    end: int
    used: int

    @classmethod
    def parse(cls, line: str) -> Self:
        """One line of the file ``chunks``."""
        first, end, used = line.split()
        return cls(int(first, 16), int(end, 16), int(used))


def read_counters(index: int = 0) -> Counters:
    """The counters of device ``index``.

    Raises ``NoDevice`` without such a device, ``OtherDriver`` with the kernel's own driver.
    """
    directory = _device_directory(index) / "counters"
    return Counters(**{field.name: int((directory / field.name).read_text()) for field in fields(Counters)})


def parse_chunks(text: str) -> list[ChunkUse]:
    """The chunks in the text of the file ``chunks``, in the order in which they were added.

    Raises ``HmmError`` (EOVERFLOW) if the file says that there are more than it shows.
    """
    lines = text.splitlines()
    if lines and lines[-1].startswith("and "):
        raise HmmError(errno.EOVERFLOW, f"the device has too many chunks to list: {lines[-1]}")
    return [ChunkUse.parse(line) for line in lines]


def read_chunks(index: int = 0) -> list[ChunkUse]:
    """The chunks of device ``index``, in the order in which they were added.

    Raises as ``read_counters`` and ``parse_chunks``.
    """
    return parse_chunks((_device_directory(index) / "chunks").read_text())


def _device_directory(index: int) -> Path:
    directory = DEVICES / f"hmm_dmirror{index}"
    if directory.is_dir():
        return directory
    if KERNELS_OWN_DRIVER.is_dir():
        raise OtherDriver("counters")
    raise NoDevice(errno.ENOENT, f"no {directory}: load the driver first (modprobe hmm_dmirror)")
