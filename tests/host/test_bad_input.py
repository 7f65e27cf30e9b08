# SPDX-License-Identifier: GPL-2.0-only
"""What people get wrong, or lack: each is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY
from testmachine.series import SERIES
from tests.host.processes import Launch


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failed launcher."""
    assert done.returncode == 125, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("testmachine: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def test_an_unknown_series_names_those_of_the_archive(testmachine: Launch) -> None:
    line = complaint(testmachine("run", "--kernel", "9.9", "--", "true"))
    assert "unknown kernel series '9.9'" in line
    assert f"the machine has {', '.join(SERIES)}" in line
    archive = line.partition("the archive has ")[2].partition(";")[0].split(", ")
    assert set(SERIES) <= set(archive), "the archive was asked"


def test_no_qemu(testmachine: Launch, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    assert gcc is not None
    (tmp_path / "gcc").symlink_to(gcc)  # the kernel's key names the compiler
    line = complaint(testmachine("run", "--", "true", PATH=str(tmp_path)))
    assert "no qemu-system-x86_64: apt-get install qemu-system-x86" in line


def test_kernel_src_that_is_no_tree(testmachine: Launch, tmp_path: Path) -> None:
    line = complaint(testmachine("run", "--", "true", KERNEL_SRC=str(tmp_path)))
    assert "is not a kernel source tree: no Kconfig in it" in line


def test_too_little_memory(testmachine: Launch) -> None:
    assert "512 MiB at least" in complaint(testmachine("run", "--memory", "64", "--", "true"))


def make_module(kdir: Path) -> str:
    """What ``make module KDIR=...`` says when it fails."""
    done = subprocess.run(
        ["make", "module", f"KDIR={kdir}"], cwd=REPOSITORY, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )  # fmt: skip
    assert done.returncode != 0
    return next(line for line in done.stderr.splitlines() if "***" in line)


@pytest.mark.parametrize("lacking", ["CONFIG_DEVICE_PRIVATE", "CONFIG_HMM_MIRROR"])
def test_a_kernel_that_cannot_do_it(tmp_path: Path, lacking: str) -> None:
    (tmp_path / "Makefile").write_text("")
    config = tmp_path / "include" / "config" / "auto.conf"
    config.parent.mkdir(parents=True)
    options = ("CONFIG_DEVICE_PRIVATE", "CONFIG_HMM_MIRROR")
    config.write_text("".join(f"{option}=y\n" for option in options if option != lacking))
    line = make_module(tmp_path)
    assert f"has no {lacking}" in line
    assert "choose a kernel built with it" in line


def test_no_kernel_build_tree(tmp_path: Path) -> None:
    line = make_module(tmp_path / "nowhere")
    assert "no kernel build tree at" in line and "install the headers of that kernel" in line


def test_the_kernels_own_driver_is_loaded_already(testmachine: Launch) -> None:
    script = "modprobe test_hmm && modprobe hmm_dmirror; echo status $?; dmesg | grep 'test_hmm driver'"
    done = testmachine("run", "--no-module", "--", "sh", "-c", script)
    assert "status 0" not in done.stdout
    assert "Device or resource busy" in done.stderr or "can't load module" in done.stderr
    assert "rmmod test_hmm first" in done.stdout.splitlines()[-1]
