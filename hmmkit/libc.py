# SPDX-License-Identifier: GPL-2.0-only
"""Functions of the C library that Python has no words for: those about memory, for the most part."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LIBRARY = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | bytes | ctypes.Array[Any]) -> int:
    """Call ``name``; what it returns, as a number of 64 bits.

    A number is passed as one of 64 bits, bytes and arrays as their address. Raises ``OSError`` with
    the library's errno where it returns -1.
    """
    function = getattr(_LIBRARY, name)
    function.restype = ctypes.c_long  # an address would be cut off
    result: int = function(*(ctypes.c_long(word) if isinstance(word, int) else word for word in arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
