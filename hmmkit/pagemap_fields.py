# SPDX-License-Identifier: GPL-2.0-only
"""A word of /proc/self/pagemap, field by field.

Documentation/admin-guide/mm/pagemap.rst. The lower 55 bits are a page frame number where the page
is present, and a swap entry's type and offset where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmmkit.iomem import device_chunks, system_ram
from hmmkit.pagemap import FRAME_MASK, PRESENT, SWAP, SWAP_TYPE_BITS, SwapTypes

_FLAGS = {
    63: "present",
    62: "swapped",
    61: "file or shared",
    57: "uffd-wp",
    56: "one mapping",
    55: "soft-dirty",
}
_FRAME_BITS = 55


@dataclass(frozen=True)
class Field:
    """Bits ``high`` down to ``low``: a ``name``, the number in them, and that number in words."""

    high: int
    low: int
    name: str
    value: int
    words: str


def fields(word: int, types: SwapTypes, bits: tuple[int, ...] = (63, 62, 61)) -> list[Field]:
    """The flags at ``bits`` and the fields below them, from the highest bit down.

    Frame numbers are told as places, since they differ from machine to machine.
    """
    flags = [Field(bit, bit, _FLAGS[bit], word >> bit & 1, str(word >> bit & 1)) for bit in bits]
    return flags + _frame_fields(word, types)


def _frame_fields(word: int, types: SwapTypes) -> list[Field]:
    frame, top = word & FRAME_MASK, _FRAME_BITS - 1
    if word & PRESENT:
        in_ram = any(frame in ram for ram in system_ram())
        return [Field(top, 0, "PFN", frame, "a frame of RAM" if in_ram else "a frame that is no RAM")]
    if not word & SWAP:
        return [Field(top, 0, "nothing", frame, "0")]
    swap_type, offset = frame & ((1 << SWAP_TYPE_BITS) - 1), frame >> SWAP_TYPE_BITS
    chunk = next((number for number, one in enumerate(device_chunks()) if offset in one), None)
    if swap_type in (types.device_write, types.device_read):
        place = f"a PFN in chunk {chunk}" if chunk is not None else "a PFN in no chunk"
        kind = types.name(swap_type)
    else:
        place, kind = "a slot of the swap file", f"swap file {swap_type}"
    return [
        Field(top, SWAP_TYPE_BITS, "offset", offset, place),
        Field(SWAP_TYPE_BITS - 1, 0, "type", swap_type, kind),
    ]
