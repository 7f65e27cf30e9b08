# SPDX-License-Identifier: GPL-2.0-only
"""The life of a page as data: what its page-table entry can be, and what leads from one to the next.

``TRANSITIONS`` is the diagram of the book. ``figures.state_diagram`` draws it, ``LivePages`` walks
it on the running kernel, and a test of the machine tries every action in every state and compares.

It is about private anonymous memory that may be read and written, and that nothing but what is
listed here acts on: no swapping, no other process. The functions were read in Linux 6.12; where
6.1 or 7.3 call one of them otherwise, a comment says so.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from hmmkit.buffer import PAGE_SIZE, Buffer, Protection
from hmmkit.device import Device
from hmmkit.errors import HmmError, NotOnDevice
from hmmkit.pagemap import WORD_SIZE, PageEntry, SwapTypes, page_entries


class State(Enum):
    """What the page-table entry of one page is; the value is its name in words."""

    NONE = "none"
    ZERO = "the zero page"
    PRESENT_WRITE = "present, write"
    PRESENT_READ = "present, read"
    EXCLUSIVE = "exclusive"
    MIGRATION_WRITE = "migration, write"
    MIGRATION_READ = "migration, read"
    DEVICE_WRITE = "device, write"
    DEVICE_READ = "device, read"

    @property
    def lasting(self) -> bool:
        """Whether a page can be left in this state; a migration entry is there for a moment."""
        return self not in (State.MIGRATION_WRITE, State.MIGRATION_READ)


class Action(Enum):
    """What is done to the page; the value is what it is, in words. The order is that of the book."""

    READ = "the CPU reads"
    WRITE = "the CPU writes"
    PROTECT = "mprotect to read only, and back"
    FORK = "fork, and the child ends"
    EXCLUSIVE = "EXCLUSIVE"
    TO_DEVICE = "MIGRATE_TO_DEV"
    TO_SYSTEM = "MIGRATE_TO_SYS"
    RELEASE = "RELEASE"
    DISCARD = "madvise(MADV_DONTNEED)"

    @property
    def number(self) -> int:
        """Its place in the list, from 1: what stands on the arrows of the diagram."""
        return list(Action).index(self) + 1


@dataclass(frozen=True)
class Writer:
    """Who writes a page-table entry: ``function``, called from ``below``.

    A compiler may merge a static function into its caller, and a tracer then sees only that.
    ``below`` can be traced in every kernel of the book.
    """

    function: str
    below: str


ANONYMOUS = Writer("do_anonymous_page", "handle_mm_fault")
COPY_ON_WRITE = Writer("do_wp_page", "handle_mm_fault")
PROTECTION = Writer("change_pte_range", "change_protection")
FORK_PRESENT = Writer("copy_present_ptes", "copy_page_range")  # 6.1: copy_present_pte
FORK_OTHER = Writer("copy_nonpresent_pte", "copy_page_range")
TAKE = Writer("make_device_exclusive_range", "dmirror_exclusive")  # 7.3: make_device_exclusive
GIVE_BACK = Writer("restore_exclusive_pte", "do_swap_page")
GIVE_BACK_FORK = Writer("restore_exclusive_pte", "copy_page_range")
COLLECT = Writer("migrate_vma_collect_pmd", "migrate_vma_setup")
UNMAP = Writer("try_to_migrate_one", "migrate_device_range")  # 7.3: migrate_device_pfns
REMOVE = Writer("remove_migration_pte", "migrate_vma_finalize")
REMOVE_DEVICE = Writer("remove_migration_pte", "migrate_device_finalize")
INSERT = Writer("migrate_vma_insert_page", "migrate_vma_pages")
ZAP = Writer("zap_pte_range", "__x64_sys_madvise")


@dataclass(frozen=True)
class Transition:
    """``action`` on a page in the state ``before`` leads through ``steps``, to the last of them."""

    before: State
    action: Action
    steps: tuple[tuple[State, Writer], ...]

    @property
    def path(self) -> tuple[State, ...]:
        """All states, from ``before`` to the last."""
        return (self.before, *(state for state, _ in self.steps))

    @property
    def after(self) -> State:
        """The state in which it ends."""
        return self.path[-1]


def _transitions() -> tuple[Transition, ...]:
    # Short names, so that the table below can be read as one.
    none, zero, write, read = State.NONE, State.ZERO, State.PRESENT_WRITE, State.PRESENT_READ
    away_write, away_read = State.MIGRATION_WRITE, State.MIGRATION_READ
    device_write, device_read, taken = State.DEVICE_WRITE, State.DEVICE_READ, State.EXCLUSIVE
    take = (taken, TAKE)
    by_driver = (Action.READ, Action.WRITE, Action.TO_SYSTEM)

    back_write = ((away_write, COLLECT), (write, REMOVE))
    back_read = ((away_read, COLLECT), (read, REMOVE))
    reuse = (write, COPY_ON_WRITE)
    return (
        Transition(none, Action.READ, ((zero, ANONYMOUS),)),
        Transition(none, Action.WRITE, ((write, ANONYMOUS),)),
        Transition(none, Action.EXCLUSIVE, ((write, ANONYMOUS), take)),
        Transition(none, Action.TO_DEVICE, ((device_write, INSERT),)),
        Transition(zero, Action.WRITE, ((write, COPY_ON_WRITE),)),
        Transition(zero, Action.EXCLUSIVE, ((write, COPY_ON_WRITE), take)),
        Transition(zero, Action.TO_DEVICE, ((device_write, INSERT),)),
        Transition(write, Action.FORK, ((read, FORK_PRESENT),)),
        Transition(write, Action.EXCLUSIVE, (take,)),
        Transition(write, Action.TO_DEVICE, ((away_write, COLLECT), (device_write, REMOVE))),
        Transition(read, Action.WRITE, (reuse,)),
        Transition(read, Action.EXCLUSIVE, (reuse, take)),
        Transition(read, Action.TO_DEVICE, ((away_read, COLLECT), (device_read, REMOVE))),
        Transition(taken, Action.READ, ((write, GIVE_BACK),)),
        Transition(taken, Action.WRITE, ((write, GIVE_BACK),)),
        Transition(taken, Action.FORK, ((write, GIVE_BACK_FORK), (read, FORK_PRESENT))),
        *(Transition(device_write, action, back_write) for action in by_driver),
        Transition(device_write, Action.PROTECT, ((device_read, PROTECTION),)),
        Transition(device_write, Action.FORK, ((device_read, FORK_OTHER),)),
        Transition(device_write, Action.EXCLUSIVE, (*back_write, take)),
        Transition(device_write, Action.RELEASE, ((away_write, UNMAP), (write, REMOVE_DEVICE))),
        Transition(device_read, Action.READ, back_read),
        Transition(device_read, Action.WRITE, (*back_read, reuse)),
        Transition(device_read, Action.EXCLUSIVE, (*back_read, reuse, take)),
        Transition(device_read, Action.TO_SYSTEM, back_read),
        Transition(device_read, Action.RELEASE, ((away_read, UNMAP), (read, REMOVE_DEVICE))),
        *(
            Transition(state, Action.DISCARD, ((none, ZAP),))
            for state in State
            if state.lasting and state != none
        ),
    )


TRANSITIONS = _transitions()
"""The diagram. What is not listed leaves the state as it is."""


def transition(state: State, action: Action) -> Transition | None:
    """What ``action`` does to a page in ``state``, or None if that is nothing."""
    found = [each for each in TRANSITIONS if (each.before, each.action) == (state, action)]
    return found[0] if found else None


def after(state: State, action: Action) -> State:
    """The state after ``action``, as the diagram has it."""
    found = transition(state, action)
    return found.after if found else state


def way_to(state: State) -> tuple[Action, ...]:
    """The shortest row of actions from none to a lasting state, after the diagram.

    Raises ``ValueError`` for a state that no action ends in.
    """
    rows: dict[State, tuple[Action, ...]] = {State.NONE: ()}
    pending = [State.NONE]
    for before in pending:
        for action in Action:
            reached = after(before, action)
            if reached not in rows:
                rows[reached] = (*rows[before], action)
                pending.append(reached)
    if state not in rows:
        raise ValueError(f"no action ends in the state {state.value!r}")
    return rows[state]


def swap_state(entry: PageEntry, types: SwapTypes) -> State:
    """The state of an entry that is empty or a swap entry.

    include/linux/swap.h numbers the types in the same order in all releases: three for migration
    (read, read and not shared, write), two for the device (write, read), then the exclusive ones.

    Raises ``ValueError`` for a present page, or a type below these: one that is really swapped out.
    """
    kind = entry.swap_type
    if entry.present:
        raise ValueError("the page is present")
    if kind is None:
        return State.NONE
    if kind > types.device_read:
        return State.EXCLUSIVE
    named = {
        types.device_read: State.DEVICE_READ,
        types.device_write: State.DEVICE_WRITE,
        types.device_write - 1: State.MIGRATION_WRITE,
        types.device_write - 2: State.MIGRATION_READ,
        types.device_write - 3: State.MIGRATION_READ,
    }
    if kind not in named:
        raise ValueError(f"swap type {kind} is none of migration, device or exclusive")
    return named[kind]


class LivePages:
    """``npages`` fresh pages of this process, on which actions are done and states are seen.

    All pages are treated alike. Use it in a ``with`` block, like the ``Buffer`` that it holds.
    """

    def __init__(self, device: Device, npages: int = 4) -> None:
        self.types = SwapTypes.calibrate(device)
        self.device = device
        self.buffer = Buffer(npages)
        with suppress(OSError):  # a kernel without huge pages need not be told
            self.buffer.advise(mmap.MADV_NOHUGEPAGE)

    def __enter__(self) -> LivePages:
        return self

    def __exit__(self, *_: object) -> None:
        self.buffer.unmap()

    def state(self) -> State:
        """The state that all pages are in, by /proc/self/pagemap and SNAPSHOT.

        Raises ``HmmError`` (EUCLEAN) if the pages differ from each other.
        """
        pages = zip(page_entries(self.buffer), self.device.snapshot(self.buffer), strict=True)
        states = {
            self._present_state(str(mirror)) if entry.present else swap_state(entry, self.types)
            for entry, mirror in pages
        }
        if len(states) != 1:
            raise HmmError(errno.EUCLEAN, f"the pages are in {len(states)} different states")
        return states.pop()

    def do(self, action: Action) -> bool:
        """Do it to all pages. False if the driver answered that some page did not move (ENOENT)."""
        acts: dict[Action, Callable[[], object]] = {
            Action.READ: lambda: self.buffer.read(self.buffer.size),
            Action.WRITE: lambda: self.buffer.write(b"\1" * self.buffer.size),
            Action.PROTECT: self._protect,
            Action.FORK: _fork,
            Action.EXCLUSIVE: lambda: self.device.exclusive(self.buffer),
            Action.TO_DEVICE: lambda: self.device.migrate_to_device(self.buffer),
            Action.TO_SYSTEM: lambda: self.device.migrate_to_system(self.buffer),
            Action.RELEASE: self.device.release,
            Action.DISCARD: lambda: self.buffer.advise(mmap.MADV_DONTNEED),
        }
        try:
            acts[action]()
        except NotOnDevice:
            return False
        return True

    def bring_to(self, state: State) -> None:
        """Start again from none and go the shortest way of the diagram to ``state``."""
        for action in (Action.DISCARD, *way_to(state)):
            self.do(action)

    def watch(self, action: Action) -> tuple[State, ...]:
        """Do it, while a second thread looks at the entry of the middle page again and again.

        Returns what the entry was whenever it was not present, in order. How it was before and how it
        is afterwards are always seen. The thread looks often, and may still miss what lasts a moment;
        the moment is longer the more pages are moved at a time, up to 512, the pages under one page
        table.
        """
        middle = (self.buffer.address // PAGE_SIZE + self.buffer.npages // 2) * WORD_SIZE
        words: list[bytes] = []
        looking, done = threading.Event(), threading.Event()

        def look() -> None:
            fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            try:
                over = False
                while not over:
                    over = done.is_set()  # and then one look more, at how it ended
                    word = os.pread(fd, WORD_SIZE, middle)
                    if words[-1:] != [word]:
                        words.append(word)
                    looking.set()
            finally:
                os.close(fd)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            looking.wait()
            self.do(action)
        finally:
            done.set()
            watcher.join()
        entries = [PageEntry.decode(int.from_bytes(word, "little")) for word in words]
        states = [swap_state(entry, self.types) for entry in entries if not entry.present]
        return tuple(state for state, before in zip(states, [None, *states], strict=False) if state != before)

    def _protect(self) -> None:
        self.buffer.protect(Protection.READ)
        self.buffer.protect(Protection.READ_WRITE)

    @staticmethod
    def _present_state(mirror: str) -> State:
        return {
            "read, the zero page": State.ZERO,
            "read and write": State.PRESENT_WRITE,
            "read": State.PRESENT_READ,
        }[mirror]


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
