# SPDX-License-Identifier: GPL-2.0-only
"""Words of 64 bits, one under the other: which bits belong to what, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmmkit.figures.drawing import GREY, MARGIN, PADDING, ROW, SKY, YELLOW, Drawing, Svg, box_width
from hmmkit.pagemap_fields import Field


def bit_fields(title: str, words: Mapping[str, Sequence[Field]]) -> Svg:
    """Draw each word as a row of boxes, the highest bits at the left, with what is in them.

    A single bit is grey where it is 0; the numbers above the boxes are bits. Fields need not be
    the same in each word.
    """
    first = box_width(max(words, key=len))
    total = max(sum(_width(field) + PADDING for field in fields) for fields in words.values())
    drawing = Drawing(2 * MARGIN + first + total, 2 * MARGIN + len(words) * 3 * ROW)
    for down, (name, fields) in enumerate(words.items()):
        y = MARGIN + down * 3 * ROW
        drawing.text(MARGIN, y + ROW, name)
        x = MARGIN + first
        for field in fields:
            drawing.text(x, y, _bits(field))
            fill = YELLOW if field.high > field.low else SKY if field.value else GREY
            drawing.box(x, y + ROW, _width(field), field.words, fill)
            x += _width(field) + PADDING
    sentences = [
        f"{name}: {', '.join(f'bits {_bits(field)}, {field.name}: {field.words}' for field in fields)}."
        for name, fields in words.items()
    ]
    return drawing.finish(title, f"{title}. {' '.join(sentences)}")


def _bits(field: Field) -> str:
    return str(field.low) if field.high == field.low else f"{field.high}-{field.low}"


def _width(field: Field) -> float:
    return max(box_width(field.words), box_width(_bits(field)) - PADDING)
