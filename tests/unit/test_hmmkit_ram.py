# SPDX-License-Identifier: GPL-2.0-only
"""Zones in the text of /proc/zoneinfo."""

from __future__ import annotations

from hmmkit.ram import parse_zone

ZONEINFO = """\
Node 0, zone   Normal
  pages free     100
        boost    0
        spanned  300
        present  250
        managed  200
        protection: (0, 0)
      nr_free_pages 100
Node 0, zone   Device
  pages free     0
        spanned  131072
        present  0
        managed  0
Node 1, zone   Device
  pages free     0
        spanned  65536
        present  0
        managed  0
"""


def test_one_zone() -> None:
    assert parse_zone(ZONEINFO, "Normal") == {"spanned": 300, "present": 250, "managed": 200, "free": 100}


def test_zones_of_one_name_are_added() -> None:
    assert parse_zone(ZONEINFO, "Device") == {"spanned": 196608, "present": 0, "managed": 0, "free": 0}


def test_a_zone_that_is_not_there() -> None:
    assert set(parse_zone(ZONEINFO, "Movable").values()) == {0}
