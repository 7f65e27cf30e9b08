# SPDX-License-Identifier: GPL-2.0-only
"""How many page faults the kernel counted: getrusage(2), for this thread."""

from __future__ import annotations

import resource
from collections.abc import Callable


def minor_faults(action: Callable[[], object]) -> int:
    """The minor faults that the kernel counted in this thread while ``action`` ran.

    The count is of everything the thread did meanwhile, Python's own work included, so the
    action should be short and have run before.
    """
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    action()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
