# SPDX-License-Identifier: GPL-2.0-only
"""Reading a kernel's configuration from text, and from either of its two places."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest

from hmmkit import kernelconfig
from hmmkit.errors import HmmError

TEXT = '# comment\nCONFIG_DEVICE_PRIVATE=y\n# CONFIG_SLUB_TINY is not set\nCONFIG_TEST_HMM=m\nCONFIG_NAME="x"'
OPTIONS = {"DEVICE_PRIVATE": "y", "TEST_HMM": "m", "NAME": "x"}


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelconfig, "PROC", tmp_path / "config.gz")
    monkeypatch.setattr(kernelconfig, "BOOT", tmp_path)


def test_what_is_off_is_missing() -> None:
    assert kernelconfig.parse_config(TEXT) == OPTIONS


def test_the_kernels_own_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "config.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / f"config-{os.uname().release}").write_text("CONFIG_OTHER=y\n")
    assert kernelconfig.kernel_config() == OPTIONS


def test_then_the_distributions(tmp_path: Path) -> None:
    (tmp_path / f"config-{os.uname().release}").write_text(TEXT)
    assert kernelconfig.kernel_config() == OPTIONS


def test_without_either_it_says_so() -> None:
    with pytest.raises(HmmError, match="does not show its configuration") as caught:
        kernelconfig.kernel_config()
    assert caught.value.errno == errno.ENOENT
