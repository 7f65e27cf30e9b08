# SPDX-License-Identifier: GPL-2.0-only
"""A child process made by fork(2), that does what it is told until it is let go.

A fork copies the page table, and with it what the page table says about pages on a device. So a
page about forks needs a child that waits while its parent looks: at ``/proc/PID/pagemap`` for
instance, with ``hmmkit.pagemap.page_entries``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

_LENGTH_BYTES = 8


class Child:
    """A fork of this process that does ``tasks``, by name, when asked; ended by the ``with`` block.

    A task runs in the child, on the child's copy of the memory, and should do no more than touch
    memory and call the system: only the thread that forked is there. What it returns comes back
    through a pipe, pickled. Nothing collects garbage in the child: that writes to every object, and
    the copies of all their pages (1.5 MB were seen) would be counted as the task's.

    Raises ``OSError`` as fork(2) does, ``ValueError`` for a task without a name.
    """

    def __init__(self, **tasks: Callable[[], Any]) -> None:
        self._names = frozenset(tasks)
        orders, self._order = os.pipe()
        self._answers, answer = os.pipe()
        with warnings.catch_warnings():
            # Python from 3.12 on warns of forks in a process with threads. The tasks are bare calls.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            gc.disable()
            os.close(self._order)
            os.close(self._answers)
            try:
                _obey(tasks, orders, answer)
            finally:
                os._exit(0)
        os.close(orders)
        os.close(answer)
        self._alive = True

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def do(self, task: str) -> Any:
        """Have the child do ``task``, wait for it, and return what it returned.

        Raises ``ValueError`` for a task that was not given, ``ChildProcessError`` if the task
        raised (with its words) or if the child is gone.
        """
        if task not in self._names:
            raise ValueError(f"the child has no task {task!r}, only {', '.join(sorted(self._names))}")
        if not self._alive:
            raise ChildProcessError("the child has ended")
        os.write(self._order, _packed(task))
        answer = _unpacked(self._answers)
        if answer is None:
            raise ChildProcessError(f"the child died over {task!r}")
        result, words = answer
        if words is not None:
            raise ChildProcessError(f"{task!r} in the child: {words}")
        return result

    def end(self) -> None:
        """Let the child exit, and wait until its memory is given back. A second call does nothing."""
        if self._alive:
            self._alive = False
            # Another child may hold the other end of this pipe, so closing it is no message.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._order, _packed(None))
            os.close(self._order)
            os.close(self._answers)
            os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """End the child in the middle of whatever it does, by SIGKILL. After ``end`` it does nothing."""
        if self._alive:
            os.kill(self.pid, signal.SIGKILL)
            self.end()


def _obey(tasks: dict[str, Callable[[], Any]], orders: int, answer: int) -> None:
    """Do one task after the other, until the parent says None, or dies."""
    while (task := _unpacked(orders)) is not None:
        try:
            reply = _packed((tasks[task](), None))
        except Exception as error:  # whatever it is, the parent is told
            reply = _packed((None, f"{type(error).__name__}: {error}"))
        while reply:
            reply = reply[os.write(answer, reply) :]


def _packed(what: object) -> bytes:
    data = pickle.dumps(what)
    return len(data).to_bytes(_LENGTH_BYTES, "little") + data


def _unpacked(fd: int) -> Any:
    """What ``_packed`` made, or None where the other end was closed."""
    header = _read(fd, _LENGTH_BYTES)
    return pickle.loads(_read(fd, int.from_bytes(header, "little"))) if header else None


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data
