# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's text files say, read from samples of them."""

from __future__ import annotations

import errno
from array import array

import pytest

from hmmkit.device import Device
from hmmkit.dyndbg import printing_sites
from hmmkit.errors import NeedRoot, NoDevice
from hmmkit.iomem import SYSTEM_RAM, PfnRange, parse_iomem
from hmmkit.kmsg import parse_record
from hmmkit.pagemap import PageEntries, PageEntry, SwapTypes
from hmmkit.snapshot import MirrorPage, Snapshot
from hmmkit.table import Table
from hmmkit.uapi import IOMEM_NAME, Prot

IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-2ffdffff : System RAM
  01000000-017fffff : Kernel code
fd000000-fdffffff : PCI Bus 0000:00
  fd000000-fd000fff : hmm_dmirror lookalike
fce0000000-fcefffffff : hmm_dmirror
fcf0000000-fcffffffff : hmm_dmirror
"""

IOMEM_WITHOUT_ROOT = """\
00000000-00000000 : Reserved
00000000-00000000 : System RAM
00000000-00000000 : hmm_dmirror
"""

# Of 6.12: a file of the kernel, a module's, one that prints, one with more flags.
CONTROL = """\
# filename:lineno [module]function flags format
mm/mm_init.c:1012 [mm_init]memmap_init_zone_device =_ "%s initialised %lu pages in %ums\\n"
kernel/module/main.c:3017 [main]move_module =p "\\t0x%lx %s\\n"
migrate.c:279 [hmm_dmirror]dmirror_migrate_to_device =pmf "%s: migrate to device: %lu\\n"
migrate.c:301 [hmm_dmirror]dmirror_migrate_to_system =_ "=p \\"%s\\"\\n"
"""


def test_chunks_are_counted_from_the_top() -> None:
    assert parse_iomem(IOMEM, IOMEM_NAME) == [
        PfnRange(0xFCF0000, 0xFD00000),
        PfnRange(0xFCE0000, 0xFCF0000),
    ]


def test_a_chunk_has_65536_pages_and_ends_before_its_end() -> None:
    chunk = parse_iomem(IOMEM, IOMEM_NAME)[0]
    assert chunk.npages == 65536
    assert 0xFCFFFFF in chunk
    assert 0xFD00000 not in chunk


def test_ram_is_found_without_what_is_inside_it() -> None:
    assert parse_iomem(IOMEM, SYSTEM_RAM) == [PfnRange(0x100, 0x2FFE0), PfnRange(0x1, 0x9F)]


def test_hidden_addresses_are_an_error_and_not_a_range() -> None:
    with pytest.raises(NeedRoot) as caught:
        parse_iomem(IOMEM_WITHOUT_ROOT, IOMEM_NAME)
    assert caught.value.errno == errno.EPERM


def test_a_present_entry_has_its_frame() -> None:
    assert PageEntry.decode(1 << 63 | 1 << 55 | 0x3748) == PageEntry(True, None, 0x3748)


def test_a_device_entry_has_type_and_device_pfn() -> None:
    word = 1 << 62 | 0xFCFFFFF << 5 | 27
    assert PageEntry.decode(word) == PageEntry(False, 27, 0xFCFFFFF)


def test_the_published_misreading_decodes_to_the_top_of_the_chunk() -> None:
    """ "Physical address 8796093014016" was a swap entry: the book's exercise."""
    word = 1 << 62 | 8796093014016 >> 12
    assert PageEntry.decode(word) == PageEntry(False, 30, 0x3FFFFFF)


def test_an_empty_entry_is_empty() -> None:
    assert PageEntry.decode(0) == PageEntry(False, None, 0)


@pytest.mark.parametrize("bit", [63, 62])
def test_a_hidden_frame_is_an_error(bit: int) -> None:
    with pytest.raises(NeedRoot):
        PageEntry.decode(1 << bit)


def test_only_calibrated_types_have_names() -> None:
    types = SwapTypes(device_write=27, device_read=28)
    assert [types.name(number) for number in (27, 28, 29)] == [
        "DEVICE_WRITE",
        "DEVICE_READ",
        "another type (29)",
    ]


@pytest.mark.parametrize(("read", "name"), [(30, "DEVICE_EXCLUSIVE_READ"), (29, "another type (30)")])
def test_an_exclusive_type_is_one_or_two(read: int, name: str) -> None:
    types = SwapTypes(device_write=27, device_read=28, exclusive=29, exclusive_read=read)
    assert [types.name(number) for number in (28, 29, 30)] == ["DEVICE_READ", "DEVICE_EXCLUSIVE", name]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Prot.NONE, "none"),
        (Prot.ERROR, "error"),
        (Prot.READ | Prot.ZERO, "read, the zero page"),
        (Prot.READ | Prot.WRITE, "read and write"),
        (Prot.READ | Prot.WRITE | Prot.DEV_PRIVATE_LOCAL, "read and write, on this device"),
        (Prot.READ | Prot.DEV_PRIVATE_REMOTE, "read, on another device"),
    ],
)
def test_a_snapshot_byte_in_words(code: int, words: str) -> None:
    assert str(MirrorPage(code)) == words


def test_remote_is_not_local_though_it_has_its_bit() -> None:
    assert MirrorPage(Prot.WRITE | Prot.DEV_PRIVATE_LOCAL).on_this_device
    assert not MirrorPage(Prot.WRITE | Prot.DEV_PRIVATE_REMOTE).on_this_device
    assert not MirrorPage(Prot.ERROR).on_this_device


def test_a_snapshot_is_a_sequence_of_pages() -> None:
    local, none = MirrorPage(Prot.WRITE | Prot.DEV_PRIVATE_LOCAL), MirrorPage(Prot.NONE)
    remote, error = MirrorPage(Prot.READ | Prot.DEV_PRIVATE_REMOTE), MirrorPage(Prot.ERROR)
    pages = [local, none, local, remote, error, local]
    snapshot = Snapshot(bytes(page.code for page in pages))
    assert [*snapshot] == [snapshot[at] for at in range(len(snapshot))] == pages
    assert snapshot[2:4] == Snapshot(bytes([local.code, remote.code]))
    assert snapshot.counts() == {local: 3, none: 1, remote: 1, error: 1}
    assert snapshot.on_this_device == 3
    assert Snapshot(b"").counts() == {}


def test_entries_are_counted_and_decoded_alike() -> None:
    words = [1 << 63 | 0x3748, 0, 1 << 62 | 0xFCFFFFF << 5 | 27, 1 << 63 | 1 << 55 | 0x3749, 1 << 61]
    entries = PageEntries(array("Q", words))
    assert [*entries] == [entries[at] for at in range(len(entries))] == [*map(PageEntry.decode, words)]
    assert entries[1:3] == PageEntries(array("Q", words[1:3]))
    assert (entries.present, entries.swapped) == (2, 1)
    assert entries == PageEntries(array("Q", [*words[:3], 1 << 63 | 0x3749, 0]))  # the same, decoded
    assert entries[:1] != entries[3:4]


def test_a_kernel_message_loses_its_time_and_its_tags() -> None:
    record = b"6,1234,5678901,-;hmm_dmirror0: a; b\n SUBSYSTEM=misc\n DEVICE=+misc:x\n"
    assert parse_record(record) == "hmm_dmirror0: a; b"


def test_sites_that_print_are_told_by_their_flags_only() -> None:
    assert printing_sites(CONTROL) == {("kernel/module/main.c", 3017), ("migrate.c", 279)}


def test_a_device_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(NoDevice, match="modprobe hmm_dmirror") as caught:
        Device(99)
    assert caught.value.errno == errno.ENOENT


def test_a_table_lines_up_and_escapes() -> None:
    table = Table(["name", "n"], [["a<b", "1"], ["longer", "22"]])
    assert repr(table) == "name    n\na<b     1\nlonger  22"
    assert "<td>a&lt;b</td>" in table._repr_html_()
