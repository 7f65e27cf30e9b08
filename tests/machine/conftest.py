# SPDX-License-Identifier: GPL-2.0-only
"""What all tests of the machine share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmmkit.device import Device


@pytest.fixture
def device() -> Iterator[Device]:
    """The first device. There is no skip here: without it, the machine is not the one meant."""
    with Device() as device:
        yield device
