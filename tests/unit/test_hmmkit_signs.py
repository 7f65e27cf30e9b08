# SPDX-License-Identifier: GPL-2.0-only
"""What /proc says of a page before it is asked to move, read from samples."""

from __future__ import annotations

from array import array

import pytest

from hmmkit import pagemap_fields, tell
from hmmkit.accounting import SmapsMapping, parse_smaps
from hmmkit.buffer import PAGE_SIZE, PageRun
from hmmkit.counters import ChunkUse
from hmmkit.faults import parse_vmstat
from hmmkit.iomem import PfnRange
from hmmkit.pagemap import PRESENT, SWAP, SwapTypes
from hmmkit.pagemap_fields import fields
from hmmkit.rounds import Round, Stage
from hmmkit.swap import _header
from hmmkit.tell import FILE_OR_SHARED, Sign, signs, stages_of

SMAPS = """\
10000-20000 rw-p 00000000 00:00 0 
Size:                 64 kB
Rss:                   8 kB
VmFlags: rd wr mr mw me ac sd 
20000-30000 ---p 00000000 00:00 0 
Size:                 64 kB
VmFlags: mr mw me sd 
30000-40000 rw-s 00000000 00:01 1045                      /dev/zero (deleted)
Size:                 64 kB
VmFlags: rd wr sh mr mw me ms sd 
200000-400000 rw-p 00000000 00:0f 4711                    /anon_hugepage (deleted)
Size:               2048 kB
VmFlags: rd wr mr mw me de ht sd 
7fff000-8000000 r--p 00000000 00:00 0                     [vvar]
Size:                  4 kB
VmFlags: rd mr pf io de dd sd 
"""  # noqa: W291 - smaps has them

TYPES = SwapTypes(device_write=27, device_read=28)
CHUNKS = [PfnRange(0xFCF0000, 0xFD00000), PfnRange(0xFCE0000, 0xFCF0000)]


def swap_word(kind: int, offset: int) -> int:
    return SWAP | offset << 5 | kind


def smaps_of(pages: PageRun) -> list[SmapsMapping]:
    return parse_smaps(SMAPS, pages.address, pages.address + pages.npages * PAGE_SIZE)


def test_smaps_in_pieces() -> None:
    mappings = parse_smaps(SMAPS)
    assert [(one.start, one.end) for one in mappings][:2] == [(0x10000, 0x20000), (0x20000, 0x30000)]
    assert [one.has_file for one in mappings] == [False, False, True, True, False]
    assert mappings[0].sizes == {"Size": 64, "Rss": 8}
    assert "ht" in mappings[3].flags


@pytest.mark.parametrize(
    ("address", "word", "sign"),
    [
        (0x0, 0, Sign.NOT_MAPPED),
        (0x20000, 0, Sign.NOT_READABLE),
        (0x200000, PRESENT | 5, Sign.HUGETLB),
        (0x7FFF000, PRESENT | 5, Sign.SPECIAL),
        (0x10000, 0, Sign.HOLE),
        (0x30000, 0, Sign.EMPTY_OF_FILE),
        (0x30000, PRESENT | FILE_OR_SHARED | 5, Sign.FILE_OR_SHARED),
        (0x10000, PRESENT | 5, Sign.ANONYMOUS),
        (0x10000, swap_word(0, 0xFCFFFFF), Sign.SWAPPED),
        (0x10000, swap_word(27, 0xFCFFFFF), Sign.ON_DEVICE),
        (0x10000, swap_word(28, 0xFCE0000), Sign.ON_OTHER_DEVICE),
        (0x10000, swap_word(29, 0x1234), Sign.OTHER_ENTRY),
    ],
)
def test_every_sign(monkeypatch: pytest.MonkeyPatch, address: int, word: int, sign: Sign) -> None:
    monkeypatch.setattr(tell, "smaps_of", smaps_of)
    monkeypatch.setattr(tell, "page_words", lambda pages: array("Q", [word] * pages.npages))
    monkeypatch.setattr(tell, "swap_files_in_use", lambda: 1)
    monkeypatch.setattr(tell, "read_chunks", lambda index: [ChunkUse(0xFCF0000, 0xFD00000, 1)])
    monkeypatch.setattr(tell, "device_chunks", lambda: CHUNKS)
    assert signs(PageRun(address, 1)) == [sign]


def test_a_run_may_cross_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "smaps_of", smaps_of)
    monkeypatch.setattr(tell, "page_words", lambda pages: array("Q", [0] * pages.npages))
    monkeypatch.setattr(tell, "swap_files_in_use", lambda: 0)
    monkeypatch.setattr(tell, "read_chunks", lambda index: [])
    monkeypatch.setattr(tell, "device_chunks", lambda: CHUNKS)
    assert signs(PageRun(0x20000 - PAGE_SIZE, 2)) == [Sign.HOLE, Sign.NOT_READABLE]


def test_pages_of_one_range_have_each_its_own_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [PRESENT | 0x1234, swap_word(27, 0xFCF01FF), swap_word(27, 0xFCEFFFF), 0, PRESENT | 0x1235]
    monkeypatch.setattr(tell, "smaps_of", smaps_of)
    monkeypatch.setattr(tell, "page_words", lambda pages: array("Q", words))
    monkeypatch.setattr(tell, "swap_files_in_use", lambda: 1)
    # the smallest chunk there is, 2 MiB
    monkeypatch.setattr(tell, "read_chunks", lambda index: [ChunkUse(0xFCF0000, 0xFCF0200, 1)])
    monkeypatch.setattr(tell, "device_chunks", lambda: [PfnRange(0xFCEFE00, 0xFCF0200)])
    expected = [Sign.ANONYMOUS, Sign.ON_DEVICE, Sign.ON_OTHER_DEVICE, Sign.HOLE, Sign.ANONYMOUS]
    assert signs(PageRun(0x10000, len(words))) == expected


def test_without_a_round_the_driver_has_said_no() -> None:
    assert stages_of([]) == (Stage.NOT_ASKED,)
    assert stages_of([Round(2, -22)]) == (Stage.REFUSED, Stage.REFUSED)


def test_the_fields_of_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagemap_fields, "device_chunks", lambda: CHUNKS)
    monkeypatch.setattr(pagemap_fields, "system_ram", lambda: [PfnRange(0x100, 0x2FFE0)])
    words = {
        PRESENT | 0x3748: ["1", "0", "0", "a frame of RAM"],
        swap_word(27, 0xFCFFFFF): ["0", "1", "0", "a PFN in chunk 0", "DEVICE_WRITE"],
        swap_word(0, 0x200): ["0", "1", "0", "a slot of the swap file", "swap file 0"],
        0: ["0", "0", "0", "0"],
    }
    for word, expected in words.items():
        found = fields(word, TYPES)
        assert [field.words for field in found] == expected
        assert found[0].high == 63 and found[-1].low == 0


def test_vmstat_by_name() -> None:
    assert parse_vmstat("pswpin 12\npswpout 3\n") == {"pswpin": 12, "pswpout": 3}


def test_the_header_of_a_swap_area() -> None:
    header = _header(1)
    assert len(header) == PAGE_SIZE
    assert header.endswith(b"SWAPSPACE2")
    assert header[1024:1032] == (1).to_bytes(4, "little") + (255).to_bytes(4, "little")
