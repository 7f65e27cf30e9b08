# SPDX-License-Identifier: GPL-2.0-only
"""An error keeps its number and names the cause that the memory map shows."""

from __future__ import annotations

import errno
import mmap

import pytest

from hmmkit.buffer import Buffer, Protection
from hmmkit.errors import (
    Cause,
    DeviceBusy,
    HmmError,
    InvalidRequest,
    NotOnDevice,
    ReadOnlyMemory,
    UnreachableMemory,
    cause_of_einval,
    request_error,
)
from hmmkit.maps import mapping_at, own_mappings, parse_maps

PAGE = mmap.PAGESIZE

MAPS = """\
55d0c0a00000-55d0c0a02000 r-xp 00001000 08:01 1234    /usr/bin/a name with spaces (deleted)
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000003000 rw-p 00000000 00:00 0
7f0000003000-7f0000004000 -w-p 00000000 00:00 0
7f0000006000-7f0000008000 r--s 00000000 00:01 77      /dev/shm/x
7ffd0a000000-7ffd0a021000 rw-p 00000000 00:00 0       [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""

MAPPINGS = parse_maps(MAPS)
NONE, READ_WRITE, WRITE_ONLY, HOLE = 0x7F0000000000, 0x7F0000001000, 0x7F0000003000, 0x7F0000004000


def test_every_line_of_a_maps_file_is_read() -> None:
    assert len(MAPPINGS) == 7
    assert (MAPPINGS[0].start, MAPPINGS[0].end, MAPPINGS[0].permissions) == (
        0x55D0C0A00000,
        0x55D0C0A02000,
        "r-xp",
    )


def test_a_mapping_ends_before_its_end() -> None:
    assert mapping_at(MAPPINGS, NONE + PAGE - 1) is MAPPINGS[1]
    assert mapping_at(MAPPINGS, NONE + PAGE) is MAPPINGS[2]
    assert mapping_at(MAPPINGS, HOLE) is None


@pytest.mark.parametrize(
    ("address", "npages", "cause"),
    [
        (READ_WRITE, 0, Cause.ZERO_PAGES),
        (READ_WRITE + 8, 1, Cause.UNALIGNED),
        ((1 << 64) - PAGE, 2, Cause.WRAPS),
        (HOLE, 1, Cause.NO_MAPPING),
        (NONE, 1, Cause.NOT_READABLE),
        (WRITE_ONLY, 1, Cause.NOT_READABLE),
        (READ_WRITE, 2, Cause.REFUSED),
    ],
)
def test_each_cause_of_einval_is_told_from_the_others(address: int, npages: int, cause: Cause) -> None:
    error = request_error("migrate to device", errno.EINVAL, address, npages, MAPPINGS)
    assert isinstance(error, InvalidRequest)
    assert error.cause is cause
    assert error.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("address", "npages", "words"),
    [
        (READ_WRITE, 3, "page 2 of the range is mapped -w-p"),
        (READ_WRITE - PAGE, 4, "page 0 of the range is mapped ---p"),
        (0x7F0000006000, 4, "nothing is mapped at page 2"),
    ],
)
def test_the_first_bad_page_is_named(address: int, npages: int, words: str) -> None:
    _, sentence = cause_of_einval(address, npages, MAPPINGS)
    assert words in sentence


def test_a_sentence_holds_no_address() -> None:
    for address in (NONE, HOLE, WRITE_ONLY, READ_WRITE):
        assert "7f0000" not in str(request_error("x", errno.EINVAL, address, 1, MAPPINGS))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EFAULT, UnreachableMemory),
        (errno.EPERM, ReadOnlyMemory),
        (errno.ENOENT, NotOnDevice),
        (errno.EBUSY, DeviceBusy),
        (errno.ENOMEM, HmmError),
    ],
)
def test_other_numbers_keep_their_number_and_have_words(number: int, kind: type[HmmError]) -> None:
    error = request_error("device write", number, READ_WRITE, 1, MAPPINGS)
    assert type(error) is kind
    assert isinstance(error, OSError)
    assert error.errno == number
    assert error.strerror is not None and error.strerror.startswith("device write: ")


def test_the_own_map_is_what_mprotect_made_it() -> None:
    with Buffer(protection=Protection.READ) as buffer:
        for protection, permissions in (
            (Protection.NONE, "---p"),
            (Protection.WRITE, "-w-p"),
            (Protection.READ_WRITE, "rw-p"),
        ):
            buffer.protect(protection)
            mapping = mapping_at(own_mappings(), buffer.address)
            assert mapping is not None and mapping.permissions == permissions
    assert cause_of_einval(buffer.address, 0, [])[0] is Cause.ZERO_PAGES
