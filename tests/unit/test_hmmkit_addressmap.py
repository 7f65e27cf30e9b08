# SPDX-License-Identifier: GPL-2.0-only
"""The map of physical addresses, the kernel's rule for a free range, and the figure of it."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from hmmkit.addressmap import (
    CHUNK,
    FREE,
    OTHER,
    RAM,
    SECTION,
    Stretch,
    find_free,
    parse_claims,
    parse_limit,
    whole_map,
)
from hmmkit.errors import HmmError, NeedRoot
from hmmkit.figures import address_map
from hmmkit.figures.addresses import size_in_words

GIB = 1 << 30
IOMEM = """\
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
00100000-3fffffff : System RAM
  01000000-017fffff : Kernel code
c0000000-febfffff : PCI Bus 0000:00
  febe0000-febe3fff : 0000:00:01.0
fe0000000-fefffffff : hmm_dmirror
ff0000000-fffffffff : hmm_dmirror
"""
CPUINFO = "address sizes\t: {} bits physical, {} bits virtual\n"


def test_only_the_outermost_entries_count() -> None:
    kinds = [claim.kind for claim in parse_claims(IOMEM)]
    assert kinds == [RAM, OTHER, RAM, OTHER, CHUNK, CHUNK]
    assert parse_claims(IOMEM)[0] == Stretch(0x1000, 0x9FC00, RAM)


def test_zeros_mean_that_root_is_needed() -> None:
    with pytest.raises(NeedRoot):
        parse_claims("00000000-00000000 : System RAM\n")


@pytest.mark.parametrize(
    ("physical", "virtual", "bits"), [(39, 48, 39), (40, 48, 40), (48, 48, 46), (52, 57, 52), (48, 57, 48)]
)
def test_the_processor_and_the_kernel_both_set_a_limit(physical: int, virtual: int, bits: int) -> None:
    assert parse_limit(CPUINFO.format(physical, virtual)) == 1 << bits


def test_a_processor_that_does_not_say() -> None:
    with pytest.raises(HmmError) as caught:
        parse_limit("processor : 0\n")
    assert caught.value.errno == errno.ENODATA


def test_the_highest_free_place_is_taken() -> None:
    assert find_free([], 256 << 20, 1 << 38) == Stretch((1 << 38) - (256 << 20), 1 << 38, FREE)


def test_a_claim_is_stepped_over_by_sections() -> None:
    claim = Stretch(63 * GIB + 1, 64 * GIB, OTHER)
    found = find_free([claim], 256 << 20, 64 * GIB)
    assert found.end == 63 * GIB
    assert find_free([claim, found], 256 << 20, 64 * GIB).end == found.start


def test_a_small_request_takes_a_whole_section() -> None:
    assert find_free([], 2 << 20, 1 << 36).size == SECTION


def test_no_room() -> None:
    with pytest.raises(HmmError) as caught:
        find_free([Stretch(0, 1 << 36, RAM)], SECTION, 1 << 36)
    assert caught.value.errno == errno.ERANGE


def test_the_whole_map_has_no_gap() -> None:
    found = whole_map(parse_claims(IOMEM), 1 << 36)
    assert found[0].start == 0 and found[-1].end == 1 << 36
    assert all(low.end == high.start for low, high in pairwise(found))
    kinds = [stretch.kind for stretch in found]
    # between 0xfec00000 and the chunks there is room, above 0x40000000 too; below 1 MiB there is not
    assert kinds == [OTHER, RAM, OTHER, RAM, FREE, OTHER, FREE, CHUNK, CHUNK]


def test_the_figure_says_what_it_shows() -> None:
    figure = address_map("Addresses", whole_map(parse_claims(IOMEM), 1 << 36))
    assert figure.svg == address_map("Addresses", whole_map(parse_claims(IOMEM), 1 << 36)).svg
    assert figure.alt.startswith("Addresses. From the top down: device chunk 0, 256 MiB, from 0xff0000000.")
    for words in ("device chunk 1", "claimed by others", "RAM", "free"):
        assert f">{words}<" in figure.svg


@pytest.mark.parametrize(
    ("size", "words"),
    [(64, "64 bytes"), (1 << 12, "4 KiB"), (3 << 19, "1.5 MiB"), (12 << 30, "12 GiB"), (1 << 41, "2 TiB")],
)
def test_sizes(size: int, words: str) -> None:
    assert size_in_words(size) == words
