# SPDX-License-Identifier: GPL-2.0-only
"""Who calls a kernel function: the function tracer, for some functions and the length of an action.

Cheaper than a call graph (``hmmkit.trace``): only the functions asked for are patched. It works in
a trace instance of its own (Documentation/trace/ftrace.rst), so nobody else's tracing is disturbed.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.errors import NoTracing
from hmmkit.trace import TRACEFS, complain_of_lost_events, function_numbers, need_tracefs, trace_instance

# " python3-77  [000] .....  12.345678: do_wp_page <-__handle_mm_fault"
_LINE = re.compile(r"-(?P<thread>\d+) .*: (?P<function>[\w.]+) <-(?P<caller>[\w.]+)$", re.MULTILINE)


def plain(name: str) -> str:
    """A function's name without what gcc adds to it: foo.isra.0, foo.constprop.0."""
    return name.partition(".")[0]


def traceable() -> set[str]:
    """All functions that this kernel lets a tracer see. Some are merged into their callers.

    Raises as ``hmmkit.trace.need_tracefs``.
    """
    need_tracefs()
    lines = (TRACEFS / "available_filter_functions").read_text().splitlines()
    return {plain(line.split()[0]) for line in lines}


def parse_calls(text: str, thread: int) -> list[tuple[str, str]]:
    """The calls of one thread in the text of a trace, in order: (function, caller)."""
    return [
        (plain(match["function"]), plain(match["caller"]))
        for match in _LINE.finditer(text)
        if int(match["thread"]) == thread
    ]


class CallerTrace:
    """Watches ``functions`` while a ``with watching(...)`` block lasts."""

    def __init__(self, instance: Path) -> None:
        self._instance = instance

    def calls(self, action: Callable[[], object]) -> list[tuple[str, str]]:
        """Run ``action`` in this thread: which of the functions it called, and from where.

        Raises ``HmmError`` (EOVERFLOW) if the kernel dropped part of the trace.
        """
        (self._instance / "trace").write_text("")
        (self._instance / "tracing_on").write_text("1")
        try:
            action()
        finally:
            (self._instance / "tracing_on").write_text("0")
        complain_of_lost_events(self._instance)
        return parse_calls((self._instance / "trace").read_text(), threading.get_native_id())


@contextmanager
def watching(functions: Collection[str]) -> Iterator[CallerTrace]:
    """Prepare to watch ``functions``; those that this kernel does not have are left out.

    Raises as ``hmmkit.trace.need_tracefs``, ``NoTracing`` if it has none of them, and ``HmmError`` if
    there can be no trace instance.
    """
    need_tracefs()
    chosen = function_numbers([pattern for name in functions for pattern in (name, f"{name}.*")])
    if not chosen:  # an empty filter would be all functions
        raise NoTracing(errno.ENOENT, f"this kernel can trace none of {', '.join(sorted(functions))}")
    with trace_instance(f"hmmkit-callers-{os.getpid()}") as instance:
        (instance / "tracing_on").write_text("0")
        (instance / "set_ftrace_filter").write_text(chosen)
        (instance / "current_tracer").write_text("function")
        try:
            yield CallerTrace(instance)
        finally:
            (instance / "current_tracer").write_text("nop")
