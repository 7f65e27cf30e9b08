# SPDX-License-Identifier: GPL-2.0-only
"""What is mapped where: /proc/self/maps, read the way proc(5) describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps: bytes [start, end), and ``rwxp`` or ``rwxs`` with dashes."""

    start: int
    end: int
    permissions: str

    @property
    def readable(self) -> bool:
        """VM_READ, the flag that the driver asks for."""
        return self.permissions[0] == "r"


def parse_maps(text: str) -> list[Mapping]:
    """The mappings in the text of a maps file, in address order."""
    mappings = []
    for line in text.splitlines():
        span, permissions = line.split(maxsplit=2)[:2]
        start, end = (int(word, 16) for word in span.split("-"))
        mappings.append(Mapping(start, end, permissions))
    return mappings


def own_mappings() -> list[Mapping]:
    """This process's mappings at this moment."""
    return parse_maps(Path("/proc/self/maps").read_text())


def mapping_at(mappings: list[Mapping], address: int) -> Mapping | None:
    """The mapping that holds ``address``, or None where there is a hole."""
    for mapping in mappings:
        if mapping.start <= address < mapping.end:
            return mapping
    return None
