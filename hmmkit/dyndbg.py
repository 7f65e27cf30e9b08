# SPDX-License-Identifier: GPL-2.0-only
"""Switch on messages that the kernel prints only when asked: dynamic debug.

Documentation/admin-guide/dynamic-debug-howto.rst. Every ``pr_debug`` is a site, listed in one
control file with its flags; flag ``p`` means that it prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.errors import NeedRoot, NoDynamicDebug

CONTROL = Path("/proc/dynamic_debug/control")

# mm/mm_init.c:1012 [mm_init]memmap_init_zone_device =_ "..."
_SITE = re.compile(r"^(?P<file>\S+):(?P<line>\d+) \[[^]]*\](?P<function>\S+) =(?P<flags>\S+) ")


@contextmanager
def debug_messages(*queries: str) -> Iterator[None]:
    """Print the sites that the queries match (``module NAME``, ``func NAME``) inside the block.

    Sites that printed before go on doing so afterwards; only what was switched on here is
    switched off again.

    Raises ``NoDynamicDebug`` on a kernel without it, ``NeedRoot`` without the right to write.
    """
    before = printing_sites(_control_text())
    for query in queries:
        _command(f"{query} +p")
    switched_on = printing_sites(_control_text()) - before
    try:
        yield
    finally:
        # A module that was unloaded meanwhile took its sites with it: nothing matches, no error.
        for file, line in sorted(switched_on):
            _command(f"file {file} line {line} -p")


def printing_sites(control: str) -> set[tuple[str, int]]:
    """File and line of every site that prints, from the text of the control file."""
    sites = set()
    for text in control.splitlines():
        match = _SITE.match(text)
        if match and "p" in match["flags"]:
            sites.add((match["file"], int(match["line"])))
    return sites


def _control_text() -> str:
    try:
        return CONTROL.read_text()
    except FileNotFoundError as error:
        raise NoDynamicDebug(
            error.errno or 0, "this kernel has no dynamic debug (CONFIG_DYNAMIC_DEBUG is off)"
        ) from None
    except PermissionError as error:
        raise NeedRoot(error.errno or 0, f"{CONTROL} is for root only: run as root") from None


def _command(command: str) -> None:
    CONTROL.write_text(command + "\n")
