# SPDX-License-Identifier: GPL-2.0-only
"""Lines of trace and sysfs files as they are printed, read into what they mean."""

from __future__ import annotations

import errno

import pytest

from hmmkit.counters import ChunkUse, Counters, parse_chunks
from hmmkit.errors import HmmError
from hmmkit.events import (
    ChunkAdd,
    ChunkRemove,
    Evict,
    Fault,
    Invalidate,
    MigrateBegin,
    MigrateEnd,
    parse_events,
)

TRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 8/8   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
   a-name with 9-77      [001] .....    12.000002: dmirror_migrate_end: hmm_dmirror0 to=device start=0x7f0000001000 asked=2 moved=1 ret=-12
         python3-77      [000] .....    12.000001: dmirror_migrate_begin: hmm_dmirror0 to=device start=0x7f0000001000 asked=2
         python3-77      [000] d..1.    12.000003: dmirror_fault: hmm_dmirror1 addr=0x7f0000001008 moved=1 ret=0
           rmmod-80      [000] .....    13.000000: dmirror_evict: hmm_dmirror1 pfn=0x7ff0000 moved=3 ret=0
           rmmod-80      [000] .....    13.000001: dmirror_chunk_remove: hmm_dmirror1 pfn=0x7ff0000 end=0x8000000
        modprobe-81      [000] .....    14.000000: dmirror_chunk_add: hmm_dmirror1 pfn=0x7ff0000 end=0x8000000
         kswapd0-33      [000] .....    15.500000: dmirror_invalidate: hmm_dmirror0 start=0x7f0000001000 end=0x7f0000002000 reason=clear
         python3-77      [000] .....    16.000000: mm_page_free: page=0x1 pfn=0x1 order=0
"""  # noqa: E501


def test_every_kind_of_event_is_read_and_put_in_order() -> None:
    assert parse_events(TRACE) == [
        MigrateBegin(12.000001, 77, "hmm_dmirror0", "device", 0x7F0000001000, 2),
        MigrateEnd(12.000002, 77, "hmm_dmirror0", "device", 0x7F0000001000, 2, 1, -errno.ENOMEM),
        Fault(12.000003, 77, "hmm_dmirror1", 0x7F0000001008, 1, 0),
        Evict(13.0, 80, "hmm_dmirror1", 0x7FF0000, 3, 0),
        ChunkRemove(13.000001, 80, "hmm_dmirror1", 0x7FF0000, 0x8000000),
        ChunkAdd(14.0, 81, "hmm_dmirror1", 0x7FF0000, 0x8000000),
        Invalidate(15.5, 33, "hmm_dmirror0", 0x7F0000001000, 0x7F0000002000, "clear"),
    ]


def test_chunks() -> None:
    text = "0x3ff0000 0x4000000 17\n0x3fe0000 0x3ff0000 0\n"
    assert parse_chunks(text) == [ChunkUse(0x3FF0000, 0x4000000, 17), ChunkUse(0x3FE0000, 0x3FF0000, 0)]
    assert parse_chunks("") == []


def test_a_list_of_chunks_that_was_cut_short_is_no_list() -> None:
    with pytest.raises(HmmError, match="and 3 more") as caught:
        parse_chunks("0x3ff0000 0x4000000 17\nand 3 more\n")
    assert caught.value.errno == errno.EOVERFLOW


def test_the_difference_of_two_readings() -> None:
    before, after = Counters(5, 1, 2, 3, 4, 5, 6, 7), Counters(3, 11, 12, 13, 14, 15, 16, 17)
    assert after - before == Counters(-2, 10, 10, 10, 10, 10, 10, 10)
