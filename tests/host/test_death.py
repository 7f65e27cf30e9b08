# SPDX-License-Identifier: GPL-2.0-only
"""How a machine ends that does not end well: at once, in plain words, leaving nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from testmachine.machine import REPOSITORY
from tests.host.processes import Launch, children, files_left, gone_within


def test_a_panic_is_an_error_of_its_own(testmachine: Launch) -> None:
    start = time.monotonic()
    done = testmachine("run", "--", "sh", "-c", "echo before; sleep 1; echo c > /proc/sysrq-trigger; sleep 9")
    assert done.returncode == 125
    assert done.stdout == "before\n"
    said = done.stderr
    assert "testmachine: the guest's kernel panicked:" in said
    assert "last kernel messages of the guest:" in said
    assert "sysrq_handle_crash" in said
    assert time.monotonic() - start < 40, "a panic is to be noticed at once"


def test_an_oops_ends_the_machine(testmachine: Launch) -> None:
    done = testmachine("run", "--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert "after BUG: kernel NULL pointer dereference" in done.stderr


def test_no_memory_is_said(testmachine: Launch) -> None:
    done = testmachine("run", "--", "python", "-c", "x = bytearray(2 << 30)")
    assert done.returncode == 125
    assert "testmachine: the guest ran out of memory (768 MiB)" in done.stderr


def _running() -> tuple[subprocess.Popen[bytes], int]:
    launcher = subprocess.Popen(
        [sys.executable, "-m", "testmachine", "run", "--", "sh", "-c", "echo started; sleep 600"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"started\n"
    (qemu,) = children(launcher.pid)
    return launcher, qemu


def test_qemu_dies_with_a_killed_launcher_and_nothing_is_left() -> None:
    before = files_left()
    launcher, qemu = _running()
    launcher.kill()
    launcher.wait()
    assert gone_within(qemu, 2)
    assert files_left() <= before


def test_interrupted_launcher_ends_qemu_too() -> None:
    launcher, qemu = _running()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(10) == 130
    assert gone_within(qemu, 2)


def test_qemu_killed_is_said() -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-m", "testmachine", "run", "--", "sh", "-c", "echo started; sleep 600"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert launcher.stdout is not None
    launcher.stdout.readline()
    (qemu,) = children(launcher.pid)
    import os

    os.kill(qemu, signal.SIGKILL)
    _, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 125
    assert "QEMU was ended by SIGKILL" in err
