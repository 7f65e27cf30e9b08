# SPDX-License-Identifier: GPL-2.0-only
"""What all tests of the machine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hmmkit.device import Device
from tests.machine.memory import huge_pages_for

DAMON = Path("/sys/module/damon_stat/parameters/enabled")


@pytest.fixture(scope="session", autouse=True)
def nobody_looks_at_pages() -> Iterator[None]:
    """DAMON's thread, which Debian has on, locks pages here and there. A locked page does not move."""
    if not DAMON.exists():
        yield
        return
    before = DAMON.read_text()
    DAMON.write_text("N")
    yield
    DAMON.write_text(before)


@pytest.fixture
def device() -> Iterator[Device]:
    """The first device. There is no skip here: without it, the machine is not the one meant."""
    with Device() as device:
        yield device


@pytest.fixture
def ram_is_ours() -> Iterator[None]:
    """For who counts free RAM. Where huge pages are for everybody, as in Debian's kernels, khugepaged
    may fill the gaps in Python's heap meanwhile, and take up to 512 pages for it."""
    with huge_pages_for("madvise"):
        yield
