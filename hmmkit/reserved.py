# SPDX-License-Identifier: GPL-2.0-only
"""RAM that was set aside at boot, for devices whose memory the CPU can reach.

``memmap=SIZE$ADDRESS`` on the kernel's command line takes a range of RAM out of use
(Documentation/admin-guide/kernel-parameters.txt). The module's parameters ``spm_addr_dev0`` and
``spm_addr_dev1`` then say where it is; ``module/coherent.c`` checks that it is reserved.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE
from hmmkit.errors import ModuleProblem
from hmmkit.iomem import PfnRange, parse_iomem

COHERENT_SIZE = 256 << 20
"""Bytes of memory of one device-coherent device (``DMIRROR_COHERENT_SIZE`` of the module)."""

ALIGNMENT = 2 << 20

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_NUMBER = r"(0x[0-9a-fA-F]+|[0-9]+)([KMGT]?)"
_RESERVING = re.compile(rf"(?:^|[ ,=]){_NUMBER}\${_NUMBER}(?=[ ,]|$)", re.IGNORECASE)


def parse_memmap(command_line: str) -> list[PfnRange]:
    """The ranges that ``memmap=SIZE$ADDRESS`` of a kernel command line takes out of use."""
    ranges = []
    for word in command_line.split():
        if not word.startswith("memmap="):
            continue
        for size, size_unit, start, start_unit in _RESERVING.findall(word):
            first = _bytes(start, start_unit) // PAGE_SIZE
            ranges.append(PfnRange(first, first + _bytes(size, size_unit) // PAGE_SIZE))
    return ranges


def _bytes(number: str, unit: str) -> int:
    return int(number, 0) << _UNITS[unit.upper()]


def coherent_parameters() -> tuple[str, str]:
    """What to give ``module.reload`` to have the two device-coherent devices, 2 and 3.

    Each gets 256 MiB of the first range that is set aside on the command line, is reserved
    according to /proc/iomem, and is large enough.

    Raises ``ModuleProblem`` with what to boot with if there is none, ``NeedRoot`` where
    /proc/iomem shows no addresses.
    """
    reserved = parse_iomem(Path("/proc/iomem").read_text(), "Reserved")
    for range_ in parse_memmap(Path("/proc/cmdline").read_text()):
        start = -(-range_.first * PAGE_SIZE // ALIGNMENT) * ALIGNMENT
        wanted = PfnRange(start // PAGE_SIZE, (start + 2 * COHERENT_SIZE) // PAGE_SIZE)
        if wanted.end <= range_.end and any(_holds(known, wanted) for known in reserved):
            return f"spm_addr_dev0={start:#x}", f"spm_addr_dev1={start + COHERENT_SIZE:#x}"
    raise ModuleProblem(
        errno.ENODEV,
        "no RAM is set aside for device-coherent devices: boot with memmap=512M$ADDRESS on the kernel's "
        'command line, where /proc/iomem says "System RAM" from ADDRESS on for 512 MiB',
    )


def _holds(outer: PfnRange, inner: PfnRange) -> bool:
    return outer.first <= inner.first and inner.end <= outer.end
