# SPDX-License-Identifier: GPL-2.0-only
"""Rounds of migration, read from samples of a trace file."""

from __future__ import annotations

import pytest

from hmmkit.rounds import PAGES_SEEN, Round, SourceBits, Stage, parse_rounds

THREAD = 92
HEAD = "           <...>-92      [001] .....    47.88"

# Of 6.12, shortened: five pages, of which one moves, one was passed over, one is put back, one the
# driver leaves and one the kernel refuses. What is beyond the range is whatever memory holds.
FIVE = f"""\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
{HEAD}0001: setup: (migrate_vma_setup+0x4/0x260) start=4096 end=24576
{HEAD}0002: unmap: (migrate_device_unmap+0x4/0x390) src={{0x37514b,0x0,0x37518b,0x2,0x3751c3,0xffffea00002c4780}}
{HEAD}0003: checked: (dmirror_send+0x50/0xe0 <- migrate_vma_setup) ret=0
           <...>-93      [000] .....    47.880004: setup: (migrate_vma_setup+0x4/0x260) start=0 end=4096
{HEAD}0005: pages: (migrate_vma_pages+0x4/0x20) cpages=3 src={{0x37514b,0x0,0x0,0x2,0x3751c3,0x17}}
{HEAD}0006: finalize: (migrate_vma_finalize+0x4/0x20) src={{0x37514b,0x0,0x0,0x0,0x3751c1,0x17}} dst={{0x3f3ffffc1,0x0,0x0,0x0,0x3f3ffff81,0x17}}
"""  # noqa: E501

REFUSED = f"""\
{HEAD}0001: setup: (migrate_vma_setup+0x4/0x260) start=0 end=2097152
{HEAD}0002: checked: (dmirror_send+0x50/0xe0 <- migrate_vma_setup) ret=-22
"""


def test_each_page_comes_as_far_as_it_comes() -> None:
    (found,) = parse_rounds(FIVE, THREAD)
    assert (found.asked, found.returns, found.cpages) == (5, 0, 3)
    assert found.stages == (Stage.MOVED, Stage.PASSED_OVER, Stage.PUT_BACK, Stage.LEFT, Stage.NOT_TAKEN)


def test_the_bits_of_each_step() -> None:
    (found,) = parse_rounds(FIVE, THREAD)
    assert [str(bits) for bits in found.collected] == [
        "VALID | MIGRATE | WRITE",
        "0",
        "VALID | MIGRATE | WRITE",
        "MIGRATE",
        "VALID | MIGRATE",
    ]
    assert found.supplied == (True, False, False, False, True)
    assert str(found.done[4]) == "VALID"


def test_a_refused_range_has_no_arrays() -> None:
    (found,) = parse_rounds(REFUSED, THREAD)
    assert found == Round(512, -22)
    assert found.stages == (Stage.REFUSED,) * PAGES_SEEN


def test_where_nothing_was_collected_there_is_no_unmapping() -> None:
    text = "\n".join(line for line in FIVE.splitlines() if "unmap" not in line)
    text = text.replace("src={0x37514b", "src={0x0")
    (found,) = parse_rounds(text, THREAD)
    assert found.stages[0] is Stage.PASSED_OVER


def test_another_threads_rounds_are_not_ours() -> None:
    assert parse_rounds(FIVE, THREAD + 7) == []


def test_a_round_that_is_cut_off_is_left_out() -> None:
    assert parse_rounds("\n".join(FIVE.splitlines()[:-1]), THREAD) == []


def test_a_second_round_does_not_see_the_first() -> None:
    assert [found.asked for found in parse_rounds(FIVE + REFUSED, THREAD)] == [5, 512]


@pytest.mark.parametrize(
    ("entry", "words"), [(0, "0"), (2, "MIGRATE"), (1 << 6 | 1, "VALID"), (0b1011, "VALID | MIGRATE | WRITE")]
)
def test_bits_in_words(entry: int, words: str) -> None:
    assert str(SourceBits.decode(entry)) == words


def test_a_huge_page_is_one_entry() -> None:
    assert str(SourceBits.decode(0x3C0 | 0b11011)) == "VALID | MIGRATE | WRITE | COMPOUND"
    assert not SourceBits.decode(0b1011).compound
