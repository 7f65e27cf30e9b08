# SPDX-License-Identifier: GPL-2.0-only
"""A forked child does what it is told, tells what went wrong, and ends."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest

from hmmkit.buffer import Buffer
from hmmkit.child import Child


def gone(pid: int) -> bool:
    """Whether there is no such process, not even a dead one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_task_runs_in_the_child_and_answers() -> None:
    with Child(pid=os.getpid, big=lambda: b"x" * 300_000) as child:
        assert child.do("pid") == child.pid != os.getpid()
        assert child.do("big") == b"x" * 300_000
    assert gone(child.pid)


def test_the_child_writes_into_its_own_copy() -> None:
    with Buffer() as buffer:
        buffer.write(b"before")
        with Child(write=lambda: buffer.write(b"child!"), read=lambda: buffer.read(6)) as child:
            child.do("write")
            assert child.do("read") == b"child!"
        assert buffer.read(6) == b"before"


def test_nothing_is_copied_for_a_collection_of_garbage() -> None:
    with Child(collects=gc.isenabled) as child:
        assert child.do("collects") is False
    assert gc.isenabled()


def test_what_a_task_raises_is_told() -> None:
    with Child(fail=lambda: 1 // 0, work=lambda: "still there") as child:
        with pytest.raises(ChildProcessError, match="'fail' in the child: ZeroDivisionError: "):
            child.do("fail")
        assert child.do("work") == "still there"


def test_a_task_must_have_been_given() -> None:
    with Child(one=int, two=int) as child, pytest.raises(ValueError, match="only one, two"):
        child.do("three")


def test_the_death_of_a_child_is_told() -> None:
    child = Child(die=lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError, match="died"):
        child.do("die")
    child.end()
    assert gone(child.pid)


def test_brothers_end_in_any_order() -> None:
    """Each later child has inherited the pipes of the earlier ones."""
    children = [Child() for _ in range(3)]
    for child in children:
        child.end()
    assert all(gone(child.pid) for child in children)


def test_a_killed_child_is_gone_and_asks_for_nothing() -> None:
    child = Child(work=int)
    child.kill()
    child.kill()
    assert gone(child.pid)
    with pytest.raises(ChildProcessError, match="ended"):
        child.do("work")


def test_no_descriptor_is_left() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    Child().end()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
