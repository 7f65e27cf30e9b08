# SPDX-License-Identifier: GPL-2.0-only
"""The runner of `make test`: what fails is said, the rest runs, nothing at all is not green."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import parts

MAKEFILE = """
.PHONY: good bad other
good other:
\t@echo output of $@
bad:
\t@echo output of $@; exit 3
"""


@pytest.fixture(autouse=True)
def makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.setattr(parts, "REPOSITORY", tmp_path)


def test_all_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["good", "--", "other"]) == 0
    said = capfd.readouterr().out
    assert "output of good" in said and "output of other" in said
    assert "FAILED" not in said


def test_the_others_run_beside_one_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["good", "--", "bad", "other"]) == 1
    said = capfd.readouterr().out
    assert "output of bad" in said and "output of other" in said
    assert "bad  FAILED" in said
    assert "failed: bad;" in said


def test_nothing_runs_after_a_first_one_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["bad", "--", "other"]) == 1
    assert "output of other" not in capfd.readouterr().out


def test_a_part_that_does_not_exist(capfd: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["good", "--", "missing"]) == 1
    assert "No rule to make target 'missing'" in capfd.readouterr().out


def test_no_parts_is_an_error() -> None:
    with pytest.raises(SystemExit):
        parts.main([])
