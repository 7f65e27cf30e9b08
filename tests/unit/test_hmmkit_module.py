# SPDX-License-Identifier: GPL-2.0-only
"""Reloading the module, with programs of our own in place of rmmod, modprobe and insmod."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import PageRun, Pages
from hmmkit.device import Migration
from hmmkit.errors import HmmError, ModuleProblem
from hmmkit.outcome import Outcome, attempt


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole PATH, with tools that write down how they were called."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "BUILT_HERE", tmp_path / "hmm_dmirror.ko")
    monkeypatch.setattr(module, "PARAMETERS", tmp_path)  # as if it were loaded
    for name in ("rmmod", "modprobe", "insmod"):
        tool(tmp_path, name, "exit 0")
    return tmp_path


def tool(directory: Path, name: str, does: str) -> None:
    """Put a program called ``name`` into the directory."""
    program = directory / name
    program.write_text(f'#!/bin/sh\necho "{name} $*" >> {directory}/calls\n{does}\n')
    program.chmod(0o755)


def calls(directory: Path) -> list[str]:
    """What was called, in order."""
    return (directory / "calls").read_text().splitlines()


def test_a_reload_unloads_and_loads(tools: Path) -> None:
    module.reload()
    assert calls(tools) == ["rmmod hmm_dmirror", "modprobe hmm_dmirror"]


def test_what_is_not_loaded_is_not_unloaded(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARAMETERS", tools / "none")
    module.reload("devices=3")
    assert calls(tools) == ["modprobe hmm_dmirror devices=3"]


def test_a_module_in_use_stays_loaded(tools: Path) -> None:
    tool(tools, "rmmod", "echo 'rmmod: ERROR: Module hmm_dmirror is in use' >&2; exit 1")
    with pytest.raises(ModuleProblem, match="is in use") as caught:
        module.reload()
    assert caught.value.errno == errno.EINVAL
    assert calls(tools) == ["rmmod hmm_dmirror"]


def test_the_module_built_here_is_taken_where_modprobe_knows_none(tools: Path) -> None:
    tool(tools, "modprobe", "exit 1")
    with pytest.raises(ModuleProblem, match="modprobe hmm_dmirror"):
        module.reload()
    module.BUILT_HERE.touch()
    module.reload()
    assert calls(tools)[-1] == f"insmod {module.BUILT_HERE}"


def test_a_missing_tool_is_named(tools: Path) -> None:
    (tools / "rmmod").unlink()
    with pytest.raises(ModuleProblem, match="rmmod: no such program") as caught:
        module.reload()
    assert caught.value.errno == errno.ENOENT


def test_an_attempt_turns_a_refusal_into_a_result() -> None:
    def refuse(pages: Pages) -> Migration:
        raise HmmError(errno.EINVAL, "because")

    def move(pages: Pages) -> Migration:
        return Migration(pages.npages, pages.npages)

    assert attempt(refuse, PageRun(0, 1)) == Outcome(-22, 0, "because", None)
    assert attempt(move, PageRun(0, 3)) == Outcome(0, 3, "", Migration(3, 3))


def test_an_attempt_hides_no_other_error() -> None:
    def break_(pages: Pages) -> Migration:
        raise OSError(errno.EBADF, "closed")

    with pytest.raises(OSError, match="closed"):
        attempt(break_, PageRun(0, 1))
