# SPDX-License-Identifier: GPL-2.0-only
"""Buffers have the protection and the pages that were asked for, on any Linux."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from pathlib import Path

import pytest

from hmmkit.buffer import PAGE_SIZE, Buffer, Protection


def present(buffer: Buffer) -> list[bool]:
    """Which pages have memory: bit 63 of each pagemap word, which needs no root."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(buffer.address // PAGE_SIZE * 8)
        words = pagemap.read(buffer.npages * 8)
    return [bool(words[at + 7] & 0x80) for at in range(0, len(words), 8)]


def test_a_fresh_buffer_has_no_pages_and_a_touched_one_has_all() -> None:
    with Buffer(3) as fresh, Buffer(3, touched=True) as touched:
        assert present(fresh) == [False, False, False]
        assert present(touched) == [True, True, True]


@pytest.mark.parametrize("protection", list(Protection.__members__.values()), ids=str)
def test_touched_works_under_every_protection(protection: Protection) -> None:
    with Buffer(2, protection, touched=True) as buffer:
        assert buffer.protection == protection
        assert present(buffer) == [True, True]


@pytest.mark.parametrize("npages", [7, 300, 512])
def test_a_buffer_that_fits_is_under_one_page_table(npages: int) -> None:
    """Of seven pages by chance 1 of 85 were not, so many are made, and all of them kept."""
    with ExitStack() as stack:
        buffers = [stack.enter_context(Buffer(npages)) for _ in range(400)]
        buffers[0].move()
        for buffer in buffers:
            assert buffer.address >> 21 == (buffer.address + buffer.size - 1) >> 21


def test_touch_reads_one_page_only() -> None:
    with Buffer(3) as buffer:
        assert buffer.touch(1) == 0
        assert present(buffer) == [False, True, False]


def test_what_is_written_is_read() -> None:
    with Buffer(2) as buffer:
        buffer.write(b"hello world", PAGE_SIZE - 5)
        assert buffer.read(11, PAGE_SIZE - 5) == b"hello world"
        assert buffer.size == 2 * PAGE_SIZE


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.WRITE])
def test_a_read_that_would_kill_the_process_raises(protection: Protection) -> None:
    with Buffer(protection=protection) as buffer, pytest.raises(PermissionError) as caught:
        buffer.read(1)
    assert caught.value.errno == errno.EACCES


def test_a_write_to_read_only_pages_raises() -> None:
    with Buffer(protection=Protection.READ) as buffer, pytest.raises(PermissionError):
        buffer.write(b"x")


@pytest.mark.parametrize(("size", "offset"), [(1, PAGE_SIZE), (PAGE_SIZE + 1, 0), (1, -1)])
def test_nothing_outside_the_buffer_is_read(size: int, offset: int) -> None:
    with Buffer() as buffer, pytest.raises(IndexError):
        buffer.read(size, offset)


def test_an_unmapped_buffer_cannot_be_used() -> None:
    buffer = Buffer()
    buffer.unmap()
    buffer.unmap()
    with pytest.raises(ValueError, match="unmapped"):
        buffer.read(1)


def test_no_pages_is_an_error_of_mmap() -> None:
    with pytest.raises(OSError, match="mmap") as caught:
        Buffer(0)
    assert caught.value.errno == errno.EINVAL


def test_addresses_of_the_buffer_are_named_and_others_left() -> None:
    with Buffer(2) as buffer:
        inside, last = buffer.address + PAGE_SIZE, buffer.address + buffer.size - 1
        text = f"at {buffer.address:#x}, {inside:#x}, {last:#x}; not {last + 1:#x} nor 0x1f"
        assert buffer.name_addresses(text) == (
            f"at buffer+0x0, buffer+0x1000, buffer+0x1fff; not {last + 1:#x} nor 0x1f"
        )
