# SPDX-License-Identifier: GPL-2.0-only
"""Debian's compiler in a root of its own, where the host does not allow that."""

from __future__ import annotations

from pathlib import Path

import pytest

from testmachine.errors import HostError
from testmachine.stock import StockKernel


def test_a_host_without_namespaces_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2; exit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"Operation not permitted\): allow them .*--privileged"):
        StockKernel("7.3", tmp_path, tmp_path, "stock").compile_command(tmp_path)
