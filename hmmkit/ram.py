# SPDX-License-Identifier: GPL-2.0-only
"""How much RAM is free, to the page, and where the kernel says what its struct pages take."""

from __future__ import annotations

import re
from pathlib import Path


def free_pages() -> int:
    """Pages of RAM that are free, those included that a CPU keeps at hand for itself.

    Each CPU counts for itself, so all are told to settle first (/proc/sys/vm/stat_refresh, which
    root may write).
    """
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    zones = Path("/proc/zoneinfo").read_text()
    return sum(int(count) for count in re.findall(r"\b(?:nr_free_pages|count:) +(\d+)$", zones, re.M))


def memmap_pages() -> int | None:
    """Pages of RAM that hold struct pages made after the boot, or None where nobody counts them.

    ``nr_memmap_pages`` in /proc/vmstat, since Linux 6.11.
    """
    found = re.search(r"^nr_memmap_pages (\d+)$", Path("/proc/vmstat").read_text(), re.M)
    return int(found[1]) if found else None


def parse_zone(zoneinfo: str, zone: str) -> dict[str, int]:
    """Of all zones of that name: pages spanned, present, managed and free, by these words."""
    sizes = dict.fromkeys(("spanned", "present", "managed", "free"), 0)
    for part in re.split(r"^Node \d+, zone +", zoneinfo, flags=re.M)[1:]:
        if part.split(maxsplit=1)[0] != zone:
            continue
        for word in sizes:
            found = re.search(rf"\b{word} +(\d+)$", part, re.M)
            sizes[word] += int(found[1]) if found else 0
    return sizes


def zone_sizes(zone: str) -> dict[str, int]:
    """The sizes of a zone, in pages, as :func:`parse_zone` says."""
    return parse_zone(Path("/proc/zoneinfo").read_text(), zone)
