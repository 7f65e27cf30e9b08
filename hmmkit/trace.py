# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel functions ran: the function_graph tracer, as a tree.

Documentation/trace/ftrace.rst. The tracer records entry and exit of kernel functions below chosen
roots, here for one thread and for the length of one action. ``CallTree.pruned`` keeps the calls
one wants to talk about.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hmmkit.buffer import PAGE_SIZE, Pages
from hmmkit.errors import HmmError, NeedRoot, NoTracing

TRACEFS = Path("/sys/kernel/tracing")

# Where a page fault of a process can be seen from: the handler itself, and the two ways in
# which the fault code takes a lock on the mapping before it. (do_user_addr_fault, above them,
# is closed to tracing.)
PAGE_FAULT = ("lock_vma_under_rcu", "lock_mm_and_find_vma", "handle_mm_fault")

# What tells the address of a fault, before any of these.
_FAULT_EVENTS = ("page_fault_user", "page_fault_kernel")
_FAULT = re.compile(r"^/\* page_fault_(?:user|kernel): address=0x(?P<address>[0-9a-f]+) ")

# Where an ioctl enters the kernel proper.
IOCTL = ("__x64_sys_ioctl",)

# What is recorded below the roots: faults, swapping in, migration, locks on mappings, notifiers,
# page bookkeeping, and the driver. Not every function of the kernel, since each one that is recorded
# has to be patched and patched back: seconds, on an emulated processor.
WATCHED = (
    "*handle_mm_fault",
    "do_swap_page",
    "swap_cache_get_folio",
    "swap_read*",
    "zram_*",
    "lock_vma_under_rcu",
    "lock_mm_and_find_vma",
    "vma_end_read",
    "down_read*",
    "up_read",
    "*migrate_*",
    "*migration_pte*",
    "*mmu_notifier_invalidate*",
    "walk_page_range*",
    "*vma_alloc_folio*",
    "alloc_pages*",
    "folio_unlock",
    "*folio_put",
    "free_zone_device_*",
    "dmirror_*",
)

# What getpgid(2) calls: the sign that the tracer sees a thread.
_SIGN = "__x64_sys_getpgid"
_ATTEMPTS = 20

# How the trace is to look. The task column tells our thread from any other.
_OPTIONS = {
    "options/funcgraph-irqs": "0",
    "options/funcgraph-proc": "1",
    "options/funcgraph-duration": "0",
    "options/funcgraph-overhead": "0",
    "options/funcgraph-abstime": "0",
    "options/funcgraph-tail": "0",
    "max_graph_depth": "0",
}

# " 0)  python3-77   |    foo() {", with or without further columns before the last bar.
_LINE = re.compile(r"^\s*\d+\)\s*\S.*?-(?P<tid>\d+)\s*\|(?:.*\|)?\s*(?P<body>[^|]*)$")
_ENTRY = re.compile(r"^(?P<function>[\w.]+)(?: \[\w+\])?\(.*\)(?: \[\w+\])?(?P<end>;| \{)")

# An interrupt may come at any time. Its handler is not traced (funcgraph-irqs), but the frame
# around it is, with whatever soft interrupts have to say.
_INTERRUPT = re.compile(r"^_*(sysvec_|common_interrupt|irq_enter|irq_exit|do_softirq|handle_softirqs)")


@dataclass(frozen=True)
class Call:
    """One call of a kernel function, and the calls that it made, in order."""

    function: str
    calls: tuple[Call, ...] = ()

    def walk(self) -> Iterator[Call]:
        """This call and all below it, in the order in which they were entered."""
        yield self
        for call in self.calls:
            yield from call.walk()


@dataclass(frozen=True)
class CallTree:
    """What one action called, in order. ``str()`` draws it."""

    roots: tuple[Call, ...]

    def functions(self) -> list[str]:
        """The names of all functions, in the order in which they were entered."""
        return [call.function for root in self.roots for call in root.walk()]

    def __contains__(self, function: str) -> bool:
        return function in self.functions()

    def callers_of(self, start: str) -> list[str]:
        """Which functions called one whose name begins with ``start``, in order, each once."""
        callers = [
            call.function
            for root in self.roots
            for call in root.walk()
            if any(below.function.startswith(start) for below in call.calls)
        ]
        return list(dict.fromkeys(callers))

    def pruned(self, keep: Collection[str]) -> CallTree:
        """The tree with only the functions in ``keep``.

        The calls of a function that is left out move up to its caller, so that what is kept
        stays below what it was really called from.
        """
        return CallTree(_prune(self.roots, keep))

    def __str__(self) -> str:
        return "\n".join(line for root in self.roots for line in _draw(root))


def _prune(calls: tuple[Call, ...], keep: Collection[str]) -> tuple[Call, ...]:
    kept: list[Call] = []
    for call in calls:
        below = _prune(call.calls, keep)
        if call.function in keep:
            kept.append(Call(call.function, below))
        else:
            kept.extend(below)
    return tuple(kept)


def _draw(call: Call) -> Iterator[str]:
    yield call.function
    for child in call.calls:
        last = child is call.calls[-1]
        for number, line in enumerate(_draw(child)):
            if number == 0:
                yield ("└── " if last else "├── ") + line
            else:
                yield ("    " if last else "│   ") + line


def parse_function_graph(text: str, thread: int, faults_in: Pages | None = None) -> CallTree:
    """The tree in the text of a trace file, of one thread, without interrupts.

    The lines of other threads are skipped, as are comments and lines that mark a context
    switch. A thread may change the processor in the middle; its calls still nest. Page faults
    elsewhere than in ``faults_in`` are left out, where the trace has the events that tell it.
    """
    roots: list[Call] = []
    open_calls: list[tuple[str, list[Call]]] = []
    elsewhere: int | None = None  # how deep the calls of a fault elsewhere are

    def finish(call: Call) -> None:
        if elsewhere == len(open_calls) and call.function in PAGE_FAULT:
            return
        if not _INTERRUPT.match(call.function):
            (open_calls[-1][1] if open_calls else roots).append(call)

    for line in text.splitlines():
        match = _LINE.match(line)
        if not match or int(match["tid"]) != thread:
            continue
        entry = _ENTRY.match(match["body"])
        fault = _FAULT.match(match["body"])
        if fault and faults_in:
            offset = int(fault["address"], 16) - faults_in.address
            elsewhere = None if 0 <= offset < faults_in.npages * PAGE_SIZE else len(open_calls)
        elif entry:
            # gcc names its variants of a function foo.isra.0, foo.constprop.0 and so on.
            function = entry["function"].partition(".")[0]
            if entry["end"] == ";":
                finish(Call(function))
            else:
                open_calls.append((function, []))
        elif match["body"].startswith("}") and open_calls:
            function, calls = open_calls.pop()
            if elsewhere is not None and elsewhere > len(open_calls):
                elsewhere = None
            finish(Call(function, tuple(calls)))
    return CallTree(tuple(roots))


def trace_calls(
    action: Callable[[], object],
    roots: Collection[str],
    watched: Collection[str] = WATCHED,
    *,
    faults_in: Pages | None = None,
) -> CallTree:
    """Run ``action`` in this thread and return what it called from any of ``roots`` down.

    Recorded are the roots and the functions that match ``watched``, names or patterns with a star.
    Those that this kernel does not have are left out. Every setting of the tracer that is
    changed is put back, also when ``action`` raises; what was in the trace buffer before is lost.

    The interpreter has page faults of its own, at any time: a new piece of its heap, a page shared
    with a child since a fork. With ``faults_in``, of the faults only those in these pages are told.

    Raises ``NoTracing`` without tracefs, without the tracer or without any of the roots,
    ``NeedRoot`` without access, ``HmmError`` if the kernel dropped part of the trace (EOVERFLOW) or
    does not trace this thread (EAGAIN).
    """
    need_tracefs()
    if "function_graph" not in (TRACEFS / "available_tracers").read_text().split():
        raise NoTracing(errno.ENOENT, "this kernel has no CONFIG_FUNCTION_GRAPH_TRACER, so no call graphs")
    thread = threading.get_native_id()
    with ExitStack() as stack:
        _set(stack, "tracing_on", "0")
        _set(stack, "set_ftrace_pid", str(thread))
        taken = _set_roots(stack, (*roots, _SIGN))
        if not set(roots) & set(taken):
            raise NoTracing(errno.ENOENT, f"this kernel can trace none of {', '.join(roots)}")
        _set(stack, "set_ftrace_filter", "")
        _write("set_ftrace_filter", function_numbers((*taken, *watched)))
        _set(stack, "current_tracer", "function_graph")
        for name, value in _OPTIONS.items():
            _set(stack, name, value)
        if faults_in:
            for event in _FAULT_EVENTS:
                _set(stack, f"events/exceptions/{event}/enable", "1")
        stack.callback(_write, "trace", "")

        switch = os.open(TRACEFS / "tracing_on", os.O_WRONLY | os.O_CLOEXEC)
        stack.callback(os.close, switch)

        def seen_during(action: Callable[[], object]) -> CallTree:
            _write("trace", "")
            try:
                os.write(switch, b"1")
                action()
                os.getpgid(0)
            finally:
                os.write(switch, b"0")
            complain_of_lost_events(TRACEFS)
            return parse_function_graph((TRACEFS / "trace").read_text(), thread, faults_in)

        # An empty tree has to mean that nothing was called, and not that the tracer does not see this
        # thread. So it shows that it does by a call that nobody asked for, before the action and after.
        not_seen = HmmError(errno.EAGAIN, "the tracer did not see what this thread did")
        for _ in range(_ATTEMPTS):
            if _SIGN in seen_during(lambda: None):
                break
        else:
            raise not_seen
        seen = seen_during(action)
        if _SIGN not in seen:
            raise not_seen
        # Switching the tracer on and off leaves the tail ends of its own system calls.
        return CallTree(
            tuple(root for root in seen.roots if root.function in taken and root.function != _SIGN)
        )


def need_tracefs() -> None:
    """Raise ``NoTracing`` or ``NeedRoot`` where there is no tracefs for us."""
    if not TRACEFS.is_dir():
        raise NoTracing(errno.ENOENT, f"this kernel has no tracefs: there is no {TRACEFS}")
    if not os.access(TRACEFS, os.R_OK, effective_ids=True):
        raise NeedRoot(errno.EACCES, f"{TRACEFS} is for root only: run as root")
    if not (TRACEFS / "current_tracer").exists():
        raise NoTracing(errno.ENOENT, f"mount tracefs first: mount -t tracefs none {TRACEFS}")


def complain_of_lost_events(instance: Path) -> None:
    """Raise ``HmmError`` (EOVERFLOW) if events were overwritten or dropped: a gap would not show."""
    lost = 0
    for stats in instance.glob("per_cpu/cpu*/stats"):
        counts = dict(line.split(": ", 1) for line in stats.read_text().splitlines())
        lost += int(counts["overrun"]) + int(counts["dropped events"])
    if lost:
        raise HmmError(errno.EOVERFLOW, f"the trace buffer lost {lost} events: trace less")


@contextmanager
def trace_instance(name: str) -> Iterator[Path]:
    """A trace buffer of its own for the length of the block: its directory in tracefs.

    Raises ``HmmError`` with the kernel's errno where there can be none.
    """
    instance = TRACEFS / "instances" / name
    try:
        instance.mkdir()
    except OSError as error:
        raise HmmError(error.errno or 0, f"no trace instance {instance}: {error.strerror}") from None
    try:
        yield instance
    finally:
        instance.rmdir()


def record_events(instance: Path, group: str, action: Callable[[], object]) -> str:
    """Run ``action`` and return what the events of ``group`` put into the instance's trace meanwhile.

    Raises ``HmmError`` (EOVERFLOW) if events were lost.
    """
    switch = instance / "events" / group / "enable"
    switch.write_text("1")
    try:
        action()
    finally:
        switch.write_text("0")
    complain_of_lost_events(instance)
    return (instance / "trace").read_text()


def function_numbers(patterns: Collection[str]) -> str:
    """The functions of this kernel that match, by their numbers.

    For each name or pattern that is written to ``set_ftrace_filter`` the kernel looks at each of its
    functions. A number, the function's line in ``available_filter_functions``, it finds at once.
    """
    text = (TRACEFS / "available_filter_functions").read_text()
    numbers = []
    number, counted = 1, 0
    for line in sorted({line for pattern in patterns for line in _lines(text, pattern)}):
        number, counted = number + text.count("\n", counted, line), line
        numbers.append(str(number))
    return " ".join(numbers)


def _set(stack: ExitStack, name: str, value: str) -> None:
    """Write one setting, and have the stack write back what was there."""
    before = (TRACEFS / name).read_text()
    # What the files show is not all they take back: an empty list says so in words, and a
    # module's function is followed by the module's name.
    before = "" if before.startswith(("#", "no pid")) else re.sub(r" \[\w+\]", "", before)
    stack.callback(_write, name, before)
    _write(name, value)


def _set_roots(stack: ExitStack, functions: Collection[str]) -> list[str]:
    """Have the tracer begin at these functions; return those that this kernel has."""
    _set(stack, "set_graph_function", "")
    taken = []
    for function in functions:
        try:
            with (TRACEFS / "set_graph_function").open("a") as file:
                file.write(function)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            taken.append(function)
    return taken


def _lines(text: str, pattern: str) -> Iterator[int]:
    """Where the lines begin whose first word matches ``pattern``."""
    literal = max(pattern.split("*"), key=len)
    at = text.find(literal)
    while at >= 0:
        begin, end = text.rfind("\n", 0, at) + 1, text.index("\n", at)
        if fnmatchcase(text[begin:end].partition(" ")[0], pattern):
            yield begin
        at = text.find(literal, end)


def _write(name: str, value: str) -> None:
    # Opening for writing truncates, and that is how the list files are emptied.
    (TRACEFS / name).write_text(value)
