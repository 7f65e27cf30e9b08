# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says when something is wrong with it: one judge for all tests."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first line of each kind of report, in the words of the kernel's own source.
REPORT = re.compile(
    r"""
      \bBUG:                                  # oops, KASAN, bad page state, sleeping while atomic
    | \bWARNING:                              # WARN_ON, lockdep, suspicious RCU usage
    | \bUBSAN:
    | \bKASAN:
    | \bOops:
    | general\ protection\ fault
    | Kernel\ panic
    | \bINFO:\ (?:task|rcu|trying|lockdep|possible)  # hung task, stall, unregistered lock
    | rcu.*detected\ stall
    | soft\ lockup | hard\ LOCKUP
    | kmemleak:.*(?:new\ suspected|disabled)
    | refcount_t: | list_(?:add|del)\ corruption
    | page\ dumped\ because
    | held\ lock\ freed | inconsistent\ lock\ state
    | Unable\ to\ handle | segfault\ at
    """,
    re.VERBOSE,
)


def reports(lines: Iterable[str]) -> list[str]:
    """Those of the kernel's messages that begin a report of an error, in order."""
    return [line.strip() for line in lines if REPORT.search(line)]
