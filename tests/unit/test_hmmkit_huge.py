# SPDX-License-Identifier: GPL-2.0-only
"""Memory for a huge page: its address, its parts and its numbers, on any Linux; and the figure of it."""

from __future__ import annotations

import errno
import os
import re

import pytest

from hmmkit import huge
from hmmkit.buffer import PAGE_SIZE, PageRun, Pages, Protection, advise, discard, move, protect
from hmmkit.figures import page_levels
from hmmkit.figures.levels import state
from hmmkit.huge import HUGE_PAGES, HUGE_SIZE, HugeBuffer, collapse, numbers_in
from hmmkit.maps import mapping_at, own_mappings
from hmmkit.snapshot import MirrorPage, Snapshot

MADV_DONTNEED = 4


def permissions(address: int) -> str | None:
    """How the byte at ``address`` is mapped, or None."""
    mapping = mapping_at(own_mappings(), address)
    return mapping.permissions if mapping else None


def test_it_is_2_mib_where_a_huge_page_can_be_with_nothing_of_its_kind_beside() -> None:
    with HugeBuffer() as buffer:
        assert (buffer.npages, buffer.size) == (HUGE_PAGES, HUGE_SIZE)
        assert buffer.address % HUGE_SIZE == 0
        (mapping,) = [found for found in own_mappings() if found.start <= buffer.address < found.end]
        assert (mapping.start, mapping.end) == (buffer.address, buffer.address + HUGE_SIZE)
        room = (buffer.address - 1, buffer.address + HUGE_SIZE)
        assert [permissions(address) for address in room] == ["---p", "---p"]
        address = buffer.address
    assert permissions(address) is None


def test_each_page_has_its_number() -> None:
    with HugeBuffer(touched=True) as buffer:
        assert [buffer.number_at(page) for page in (0, 1, 255, 256, 511)] == [0, 1, 255, 256, 511]
        assert numbers_in(buffer.read(buffer.size)) == list(range(HUGE_PAGES))
    with HugeBuffer(touched=True, huge=False) as buffer:
        assert buffer.number_at(300) == 300


def test_a_part_can_be_discarded_protected_and_emptied() -> None:
    with HugeBuffer(touched=True) as buffer:
        assert buffer.part(3, 2) == PageRun(buffer.address + 3 * PAGE_SIZE, 2)
        advise(buffer.part(10, 1), MADV_DONTNEED)
        protect(buffer.part(20, 1), Protection.READ)
        discard(buffer.part(30, 1))
        pages = (10, 20, 30, 31)
        assert [permissions(buffer.address + page * PAGE_SIZE) for page in pages] == [
            "rw-p",
            "r--p",
            None,
            "rw-p",
        ]
        assert (buffer.number_at(9), buffer.number_at(10), buffer.number_at(31)) == (9, 0, 31)
        address = buffer.address
    assert permissions(address) is None


def test_all_can_move_to_another_place() -> None:
    with HugeBuffer(touched=True) as buffer, HugeBuffer() as other:
        moved = move(buffer, other.address)
        assert moved == PageRun(other.address, HUGE_PAGES)
        assert other.number_at(7) == 7
        assert permissions(buffer.address) is None


def test_a_bad_request_raises() -> None:
    with pytest.raises(OSError, match="madvise"):
        advise(PageRun(0, 1), MADV_DONTNEED)
    with HugeBuffer() as buffer, pytest.raises(OSError, match="mremap"):
        move(buffer, buffer.address + 1)


# Codes of a snapshot.
RAM, HUGE_RAM, ON_DEVICE, HUGE_ON_DEVICE, NONE, ERROR = 0x02, 0x06, 0x22, 0x26, 0x00, 0xFF


def pages(*runs: tuple[int, int]) -> Snapshot:
    """Runs of ``(how many, code)``."""
    return Snapshot(b"".join(bytes([code]) * count for count, code in runs))


def test_where_a_page_is() -> None:
    states = [
        state(MirrorPage(code))
        for code in (RAM, HUGE_RAM, ON_DEVICE, HUGE_ON_DEVICE, NONE, ERROR, 0x11, 0x52)
    ]
    assert states == [
        "in RAM", "in RAM", "on the device", "on the device", "empty", "not mapped", "in RAM", "in RAM"
    ]  # fmt: skip


def test_one_entry_is_all_or_nothing() -> None:
    assert pages((512, HUGE_ON_DEVICE)).is_one_entry
    assert not pages((511, HUGE_ON_DEVICE), (1, ON_DEVICE)).is_one_entry
    assert not pages((511, HUGE_ON_DEVICE), (1, ERROR)).is_one_entry


def test_levels_say_what_they_show() -> None:
    figure = page_levels(
        "Levels",
        {
            "whole": pages((512, HUGE_ON_DEVICE)),
            "in parts": pages((100, ON_DEVICE), (50, ERROR), (300, RAM), (62, NONE)),
        },
    )
    assert repr(figure) == (
        "Levels. whole: one PMD entry, 512 on the device. "
        "in parts: a page table, 100 on the device, 300 in RAM, 62 empty, 50 not mapped."
    )
    words = re.findall(r">([^<>]+)</text>", figure.svg)
    assert words == [
        "whole", "PMD entry: the page", "one folio, 512 pages", "512 on the device",
        "in parts", "PMD entry: a table", "100 on the device", "300 in RAM", "62 empty", "50 not mapped",
    ]  # fmt: skip


def test_levels_are_drawn_the_same_each_time() -> None:
    views = {"in parts": pages((100, ON_DEVICE), (412, RAM))}
    assert page_levels("Levels", views).svg == page_levels("Levels", views).svg


def test_levels_of_a_wrong_number_of_pages() -> None:
    with pytest.raises(ValueError, match="'short' has 3 pages, and 512"):
        page_levels("Levels", {"short": pages((3, RAM))})


def test_a_collapse_that_cannot_be_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [errno.EAGAIN, errno.EAGAIN, 0, errno.EINVAL, *[errno.EAGAIN] * 20, 0]

    def advise(pages: Pages, advice: int) -> None:
        if number := answers.pop(0):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(huge, "advise", advise)
    pages = PageRun(0, HUGE_PAGES)
    collapse(pages)
    for number in (errno.EINVAL, errno.EAGAIN):
        with pytest.raises(OSError) as refused:
            collapse(pages)
        assert refused.value.errno == number
    assert answers == [0]
