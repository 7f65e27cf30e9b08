# SPDX-License-Identifier: GPL-2.0-only
"""What goes into the machine's root, and what does not."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from testmachine import root


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with one package of ours and one that only the host can use."""
    library = tmp_path / "lib" / "python3" / "site-packages"
    for name, files in (
        ("playwright", ["playwright/__init__.py", "playwright/driver/node", "../../../bin/playwright"]),
        ("attrs", ["attrs/__init__.py"]),
    ):
        metadata = library / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "RECORD").write_text(
            "".join(f"{file},,\n" for file in (*files, f"{metadata.name}/RECORD"))
        )

    def found() -> list[Distribution]:
        return list(distributions(path=[str(library)]))

    monkeypatch.setattr(root, "distributions", found)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return library


def test_what_only_the_host_uses_stays_outside(installed: Path) -> None:
    assert root.host_only_files() == [
        "bin/playwright",
        "lib/python3/site-packages/playwright",
        "lib/python3/site-packages/playwright-1.0.dist-info",
    ]


def test_the_root_is_the_same_with_and_without_it(installed: Path) -> None:
    def change(name: str) -> str:
        (installed / f"{name}-1.0.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n"
        )
        return root._key()

    before = root._key()
    assert change("playwright") == before
    assert change("attrs") != before, "any other package is in the machine"
