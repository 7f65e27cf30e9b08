# SPDX-License-Identifier: GPL-2.0-only
"""One attempt, whether it worked or not, as a line of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hmmkit.buffer import Pages
from hmmkit.device import Migration
from hmmkit.errors import HmmError


@dataclass(frozen=True)
class Outcome:
    """``returns`` as the kernel counts (0 or a negative errno), ``pages`` moved, and why.

    ``why`` is empty for a success. ``migration`` is what the device reported, if anything.
    """

    returns: int
    pages: int
    why: str
    migration: Migration | None


def attempt(migrate: Callable[[Pages], Migration], pages: Pages) -> Outcome:
    """Migrate ``pages`` and turn the driver's refusal into an outcome instead of an exception."""
    try:
        migration = migrate(pages)
    except HmmError as error:
        return Outcome(-(error.errno or 0), 0, error.strerror or "", None)
    return Outcome(0, migration.pages, "", migration)
