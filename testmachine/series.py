# SPDX-License-Identifier: GPL-2.0-only
"""The kernel series the machine comes in: the one table to edit for a new one."""

from __future__ import annotations

from dataclasses import dataclass

from testmachine.errors import BadInput


@dataclass(frozen=True)
class Series:
    """One kernel series.

    ``suites`` are the Debian suites that carry ``linux-source-<name>``; the newest version among
    them is taken. ``build_steps`` is how many lines the build prints, measured once: it only
    scales the progress display. ``stock`` is whether Debian's own build of it holds device-private
    pages (it does from 6.18 on), so that there is a variant of that name.
    """

    name: str
    suites: tuple[str, ...]
    build_steps: int
    stock: bool


SERIES = {
    series.name: series
    for series in (
        Series("6.1", ("bookworm-security", "bookworm"), 1900, stock=False),
        Series("6.12", ("trixie-security", "trixie"), 1950, stock=False),
        Series("7.3", ("trixie-backports",), 2050, stock=True),
    )
}
DEFAULT = "6.12"
# The default build is the reader's; "debug" has the kernel's checkers in (debug.config).
# "stock" is not built here but Debian's own (stock.py).
VARIANTS = ("default", "debug", "stock")


def find(name: str) -> Series:
    """The series called ``name``; BadInput names those there are, here and in the archive."""
    if name in SERIES:
        return SERIES[name]
    from testmachine.source import archive_series  # asks apt: only when the answer is needed

    raise BadInput(
        f"unknown kernel series {name!r}: the machine has {', '.join(SERIES)}; "
        f"the archive has {', '.join(archive_series())}; "
        "KERNEL_SRC=DIR takes any unpacked tree, testmachine/series.py a new line"
    )
