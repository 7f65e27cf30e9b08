# SPDX-License-Identifier: GPL-2.0-only
"""How the running kernel was configured: /proc/config.gz, or the file that distributions put in /boot.

A version number says little about what a kernel can do, since distributions backport and switch
off. The configuration is the kernel's own word.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
from pathlib import Path

from hmmkit.errors import HmmError

PROC = Path("/proc/config.gz")
BOOT = Path("/boot")

_SET = re.compile(r"^CONFIG_(?P<name>\w+)=(?P<value>.*)$", re.MULTILINE)


def parse_config(text: str) -> dict[str, str]:
    """Options that are set, without the prefix ``CONFIG_``: ``y``, ``m``, a number or a string."""
    return {match["name"]: match["value"].strip('"') for match in _SET.finditer(text)}


def kernel_config() -> dict[str, str]:
    """The options that are set in the running kernel. One that is missing is off.

    Raises ``HmmError`` (ENOENT) where the kernel's configuration is in neither place.
    """
    if PROC.is_file():
        return parse_config(gzip.decompress(PROC.read_bytes()).decode())
    boot = BOOT / f"config-{os.uname().release}"
    if boot.is_file():
        return parse_config(boot.read_text())
    raise HmmError(errno.ENOENT, f"this kernel does not show its configuration: no {PROC}, no {boot}")
