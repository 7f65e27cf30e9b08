# SPDX-License-Identifier: GPL-2.0-only
"""Where a page frame is, in words that are the same on every machine.

The devices list their chunks in sysfs (``module/sysfs.c``), the coherent ones too; for the rest
there is /proc/iomem.
"""

from __future__ import annotations

from hmmkit.counters import DEVICES, read_chunks
from hmmkit.iomem import system_ram
from hmmkit.pagemap import PageEntry

RAM = "system RAM"
ELSEWHERE = "neither RAM nor a device"


def device_indexes() -> list[int]:
    """The numbers of the mirror devices that there are."""
    return sorted(int(path.name.removeprefix("hmm_dmirror")) for path in DEVICES.glob("hmm_dmirror*"))


def place_of(pfn: int) -> str:
    """Where the frame ``pfn`` is: "device 2" and so on, ``RAM`` or ``ELSEWHERE``.

    Raises ``OtherDriver`` with the kernel's own driver, which does not list its chunks.
    """
    for index in device_indexes():
        if any(chunk.first <= pfn < chunk.end for chunk in read_chunks(index)):
            return f"device {index}"
    return RAM if any(pfn in ram for ram in system_ram()) else ELSEWHERE


def says(entry: PageEntry) -> str:
    """An entry in words: whether it is present, and where the frame in it is."""
    if entry.present:
        return f"present, frame of {place_of(entry.pfn)}"
    if entry.swap_type is None:
        return "empty"
    return f"not present, frame of {place_of(entry.pfn)}"
