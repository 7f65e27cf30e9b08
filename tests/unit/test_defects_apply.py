# SPDX-License-Identifier: GPL-2.0-only
"""The deliberate defects still have a place in the module. (That they are noticed: tests/defects.)"""

from __future__ import annotations

import pytest

from tests.defects.test_defects import Defect, listed


@pytest.mark.parametrize("defect", listed(), ids=lambda d: f"{d.notebook[:2]}: {d.what}")
def test_a_defect_has_its_place(defect: Defect) -> None:
    assert defect.source()
