# SPDX-License-Identifier: GPL-2.0-only
"""How a machine ends that does not end well: at once, in plain words, leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from testmachine import kernel
from testmachine.machine import REPOSITORY
from testmachine.series import DEFAULT
from tests.host.processes import Launch, children, files_left, gone_within


def test_a_panic_is_an_error_of_its_own(testmachine: Launch) -> None:
    start = time.monotonic()
    done = testmachine("run", "--", "sh", "-c", "echo before; sleep 1; echo c > /proc/sysrq-trigger; sleep 9")
    assert done.returncode == 125
    assert done.stdout == "before\n"
    said = done.stderr
    assert "testmachine: the guest's kernel panicked:" in said
    assert "last kernel messages of the guest:" in said
    assert "sysrq triggered crash" in said
    assert time.monotonic() - start < 40, "a panic is to be noticed at once"


OOPS = """
#include <linux/module.h>
static int __init oops_init(void) { *(volatile int *)16 = 0; return 0; }
module_init(oops_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Writes to address 16");
"""


def test_an_oops_ends_the_machine(testmachine: Launch, tmp_path: Path, writable: Path) -> None:
    (tmp_path / "oops.c").write_text(OOPS)
    (tmp_path / "Kbuild").write_text("obj-m := oops.o\n")
    build = kernel.get(DEFAULT).build
    subprocess.run(["make", "-s", "-C", build, f"M={tmp_path}", "modules"], check=True, capture_output=True)
    shutil.copy(tmp_path / "oops.ko", writable)
    done = testmachine("run", "--", "insmod", f"{writable}/oops.ko")
    assert done.returncode == 125
    assert "panicked: Fatal exception after BUG: kernel NULL pointer dereference" in done.stderr
    assert "oops_init" in done.stderr, "the last kernel messages say where"


def test_no_memory_is_said(testmachine: Launch) -> None:
    done = testmachine("run", "--", "python", "-c", "x = [b'x' * (1 << 24) for _ in range(100)]")
    assert done.returncode == 125
    assert "testmachine: the guest ran out of memory (768 MiB)" in done.stderr


def _running(temporary: Path) -> tuple[subprocess.Popen[bytes], int]:
    launcher = subprocess.Popen(
        [sys.executable, "-m", "testmachine", "run", "--", "sh", "-c", "echo started; sleep 600"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # whoever runs the tests in the background may have them ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"started\n"
    (qemu,) = children(launcher.pid)
    return launcher, qemu


def test_qemu_dies_with_a_killed_launcher_and_nothing_is_left(tmp_path: Path) -> None:
    launcher, qemu = _running(tmp_path)
    launcher.kill()
    launcher.wait()
    assert gone_within(qemu, 2)
    assert files_left(tmp_path) == set()


def test_interrupted_launcher_ends_qemu_too(tmp_path: Path) -> None:
    launcher, qemu = _running(tmp_path)
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
    os.kill(qemu, signal.SIGKILL)
    _, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 125
    assert "QEMU was ended by SIGKILL" in err
