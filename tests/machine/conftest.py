# SPDX-License-Identifier: GPL-2.0-only
"""What all tests of the machine share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmmkit.device import Device
from tests.machine.memory import huge_pages_for


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
