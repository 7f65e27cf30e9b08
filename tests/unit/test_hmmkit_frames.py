# SPDX-License-Identifier: GPL-2.0-only
"""Frames have names by where they are and by when they are met; and how memory is counted."""

from __future__ import annotations

import mmap
import os

import pytest

from hmmkit.accounting import parse_smaps, resident, rss_anon, smaps
from hmmkit.buffer import PAGE_SIZE, Buffer
from hmmkit.frames import FrameNames
from hmmkit.iomem import PfnRange
from hmmkit.pagemap import PageEntry

SMAPS = """\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
Size:                  4 kB
Rss:                   4 kB
VmFlags: rd wr mr mw me ac
7f0000002000-7f0000006000 rw-p 00000000 00:00 0                          [heap]
Size:                 16 kB
Rss:                   8 kB
Swap:                  4 kB
THPeligible:           0
VmFlags: rd wr mr mw me ac
"""


def names() -> FrameNames:
    """Names on a machine with one chunk above its RAM."""
    return FrameNames(chunks=[PfnRange(0x1000, 0x2000)], ram=[PfnRange(0x100, 0x200)])


def test_the_same_frame_has_the_same_name() -> None:
    frames = names()
    device, ram = PageEntry(False, 27, 0x1005), PageEntry(True, None, 0x105)
    assert frames.name(device) == "device page A"
    assert frames.name(ram) == "RAM page A"
    assert frames.name(PageEntry(False, 27, 0x1006)) == "device page B"
    assert frames.name(PageEntry(False, 28, 0x1005)) == "device page A"
    # an exclusive entry leads to a page that has not moved
    assert frames.name(PageEntry(False, 29, 0x105)) == "RAM page A"


def test_what_leads_nowhere_has_no_name() -> None:
    frames = names()
    assert frames.name(PageEntry(False, None, 0)) is None
    assert frames.name(PageEntry(False, 0, 0x77777)) is None


def test_names_run_out() -> None:
    frames = names()
    for pfn in range(0x100, 0x11A):
        frames.name(PageEntry(True, None, pfn))
    with pytest.raises(IndexError):
        frames.name(PageEntry(True, None, 0x150))


def test_smaps_of_some_mappings() -> None:
    first, second = parse_smaps(SMAPS)
    assert (first.sizes, second.sizes) == ({"Size": 4, "Rss": 4}, {"Size": 16, "Rss": 8, "Swap": 4})
    assert parse_smaps(SMAPS, 0x7F0000000FFF, 0x7F0000001000) == [first]
    assert parse_smaps(SMAPS, 0x7F0000001000, 0x7F0000002001) == [second]
    assert parse_smaps(SMAPS, 0x7F0000001000, 0x7F0000002000) == []


def test_memory_that_is_touched_is_counted() -> None:
    data = b"x" * PAGE_SIZE * 512
    with Buffer(1024) as buffer:
        buffer.advise(mmap.MADV_NOHUGEPAGE)  # else the kernel may join it to a neighbour
        before, at_first = smaps(buffer)["Rss"], rss_anon()
        assert not any(resident(buffer))
        buffer.write(data)
        assert resident(buffer) == [True] * 512 + [False] * 512
        assert smaps(buffer)["Rss"] - before == 2048
        assert abs(rss_anon(os.getpid()) - at_first - 2048) < 1024
