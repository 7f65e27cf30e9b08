# SPDX-License-Identifier: GPL-2.0-only
"""What goes with the module on somebody's own machine: the DKMS configuration and the udev rule."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "module"
CHAPTER = MODULE.parent / "book" / "02-test-machine.md"


def dkms() -> dict[str, str]:
    """What DKMS reads: the variables of dkms.conf, sourced by bash as DKMS does."""
    done = subprocess.run(
        ["bash", "-euc", "kernel_source_dir=/some/kernel; set -a; . ./dkms.conf; env -0"],
        cwd=MODULE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)


def test_dkms_builds_for_the_kernel_it_was_asked_for() -> None:
    read = dkms()
    assert read["MAKE"] == "make KDIR=/some/kernel"
    assert read["CLEAN"] == "make clean KDIR=/some/kernel"
    assert read["PACKAGE_NAME"] == read["BUILT_MODULE_NAME"] == "hmm_dmirror"
    assert f"obj-m := {read['BUILT_MODULE_NAME']}.o" in (MODULE / "Kbuild").read_text()


def test_the_chapter_names_the_version() -> None:
    named = re.findall(r"hmm_dmirror/([0-9.]+)", CHAPTER.read_text())
    assert named and set(named) == {dkms()["PACKAGE_VERSION"]}


def test_the_udev_rule_is_off_until_its_mark_is_taken_away() -> None:
    lines = (MODULE / "60-hmm-dmirror.rules").read_text().splitlines()
    assert all(line.startswith("#") for line in lines if line)
    assert [line for line in lines if line.startswith("#SUBSYSTEM")] == [
        '#SUBSYSTEM=="misc", KERNEL=="hmm_dmirror[0-9]*", GROUP="hmm", MODE="0660"'
    ]
