# SPDX-License-Identifier: GPL-2.0-only
"""The recorded costs, as a notebook asks for them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hmmkit.record import KERNELS_OWN, Record, running_series

ROW = {"kernel": "6.12", "kind": "base", "operation": "memcpy", "pages": 64}
ROWS = [
    {**ROW, "driver": "ours", "instructions": 385},
    {**ROW, "driver": "kernel's own", "instructions": 386},
    {**ROW, "kernel": "7.3", "kind": "huge", "driver": "ours", "instructions": 384},
]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"costs": ROWS}))
    return Record.load(path)


def test_a_cost_is_found_by_what_it_is_the_cost_of(record: Record) -> None:
    assert record.find("memcpy", 64, series="6.12") == 385
    assert record.find("memcpy", 64, series="6.12", driver=KERNELS_OWN) == 386
    assert record.find("memcpy", 64, series="7.3", huge=True) == 384
    assert record.find("memcpy", 64, series="7.3") is None
    assert record.find("memcpy", 1, series="6.12") is None


def test_the_running_kernels_series_is_the_default(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="6.12.117-hmm"))
    assert running_series() == "6.12"
    assert record.find("memcpy", 64) == 385
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="unknown"))
    with pytest.raises(ValueError, match="unknown"):
        running_series()


def test_without_a_record_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Record.load(tmp_path / "none.json")
