# SPDX-License-Identifier: GPL-2.0-only
"""notebooks/sanitize.cfg: nbval takes every line of it, and it hides what it should and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns

TEXT = (Path(__file__).resolve().parents[2] / "notebooks" / "sanitize.cfg").read_text()
PATTERNS: list[tuple[str, str]] = get_sanitize_patterns(TEXT)

MILLISECONDS = "memmap_init_zone_device initialised 65536 pages in 40ms"
CHUNK = "hmm_dmirror0: added new 256 MB chunk (total 1 chunks, 256 MB) PFNs [0xfcf0000 0xfd00000)"

# What is hidden, and with it one example for each pair of the file, in the file's order.
HIDDEN = {
    MILLISECONDS: "memmap_init_zone_device initialised 65536 pages in Nms",
    CHUNK: "hmm_dmirror0: added new 256 MB chunk (total 1 chunks, 256 MB) PFNs [FIRST END)",
}

# What must stay: each line is close to one above, and a change in it would be a change of the page.
KEPT = [
    "memmap_init_zone_device initialised 65535 pages in 0ms, said somebody",
    "it took 5ms",
    "initialised 65536 pages in 0ms",
    "PFNs [0xfcf0000 0xfd00000)",
    "hmm_dmirror0: migrate to device: 1 of 1 pages, returns -22",
    'hmm_dmirror0: verify buffer+0x0: source page and device page are equal, first bytes "hello world"',
    "hmm_dmirror0: CPU fault at 0x7f1234567000: 1 page back, returns 0",
    "swap entry, type DEVICE_WRITE, PFN in chunk 0",
    "16 of 16 pages",
]


def sanitize(text: str) -> str:
    """Apply the pairs as nbval does: in order, each to the whole text."""
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


def test_nbval_reads_every_pair() -> None:
    meant = [line for line in TEXT.splitlines() if line.lstrip().startswith(("regex", "replace"))]
    assert len(meant) == 2 * len(PATTERNS) > 0


def test_every_line_is_a_pair_a_comment_or_empty() -> None:
    other = [
        line for line in TEXT.splitlines() if line and not line.startswith(("# ", "regex: ", "replace: "))
    ]
    assert other == []


@pytest.mark.parametrize(("seen", "compared"), HIDDEN.items())
def test_what_differs_from_machine_to_machine_is_hidden(seen: str, compared: str) -> None:
    assert sanitize(seen) == compared


@pytest.mark.parametrize("number", range(len(PATTERNS)))
def test_every_pair_has_an_example_that_needs_it(number: int) -> None:
    regex = PATTERNS[number][0]
    assert any(re.search(regex, seen) for seen in HIDDEN), f"nothing here tries {regex!r}"


def test_two_machines_show_the_same_after_it() -> None:
    other = CHUNK.replace("[0xfcf0000 0xfd00000)", "[0x3ff0000 0x4000000)")
    assert sanitize(f"{MILLISECONDS}\n{CHUNK}") == sanitize(f"{MILLISECONDS.replace('40', '0')}\n{other}")


@pytest.mark.parametrize("text", KEPT)
def test_nothing_else_is_hidden(text: str) -> None:
    assert sanitize(text) == text


def test_a_number_next_to_what_is_hidden_is_kept() -> None:
    assert sanitize(CHUNK) != sanitize(CHUNK.replace("total 1", "total 2"))
    assert sanitize(CHUNK) != sanitize(CHUNK.replace("hmm_dmirror0", "hmm_dmirror1"))
