# SPDX-License-Identifier: GPL-2.0-only
"""What a device may see of some pages: the bytes that SNAPSHOT wrote, one a page.

``hmmkit.uapi.Prot`` has their meanings. There are 256 different bytes and maybe a million pages, so
questions about all pages are answered from the bytes as a whole; a page of its own is made when
one asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from hmmkit.uapi import PROT_KIND, Prot


@dataclass(frozen=True)
class MirrorPage:
    """One page as a device may see it, decoded from one SNAPSHOT byte."""

    code: int

    def __str__(self) -> str:
        if self.code == Prot.ERROR:
            return "error"
        if self.code & Prot.WRITE:
            access = "read and write"
        elif self.code & Prot.READ:
            access = "read"
        else:
            access = "none"
        place = {
            int(Prot.ZERO): "the zero page",
            int(Prot.DEV_PRIVATE_LOCAL): "on this device",
            int(Prot.DEV_PRIVATE_REMOTE): "on another device",
            int(Prot.DEV_COHERENT_LOCAL): "on this device, and in the CPU's reach",
            int(Prot.DEV_COHERENT_REMOTE): "on another device, and in the CPU's reach",
        }.get(self.code & PROT_KIND)
        return f"{access}, {place}" if place else access

    @property
    def on_this_device(self) -> bool:
        """Whether the page lies in the memory of the device that was asked."""
        local = (Prot.DEV_PRIVATE_LOCAL, Prot.DEV_COHERENT_LOCAL)
        return self.code != Prot.ERROR and self.code & PROT_KIND in local


_PAGES = {code: MirrorPage(code) for code in range(256)}


@dataclass(frozen=True)
class Snapshot(Sequence[MirrorPage]):
    """The pages of one SNAPSHOT in order; ``codes`` has the byte of each."""

    codes: bytes

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, at: int) -> MirrorPage: ...

    @overload
    def __getitem__(self, at: slice) -> Snapshot: ...

    def __getitem__(self, at: int | slice) -> MirrorPage | Snapshot:
        return Snapshot(self.codes[at]) if isinstance(at, slice) else _PAGES[self.codes[at]]

    def __iter__(self) -> Iterator[MirrorPage]:
        return map(_PAGES.__getitem__, self.codes)

    def counts(self) -> dict[MirrorPage, int]:
        """How many pages there are of each kind that occurs, in the order in which they are met."""
        found, rest = {}, self.codes
        while rest:
            fewer = rest.translate(None, rest[:1])
            found[_PAGES[rest[0]]] = len(rest) - len(fewer)
            rest = fewer
        return found

    @property
    def is_one_entry(self) -> bool:
        """Whether all pages are mapped by PMD entries: 512 of them by one."""
        return all(page.code != Prot.ERROR and page.code & Prot.PMD for page in self.counts())

    @property
    def on_this_device(self) -> int:
        """How many pages lie in the memory of the device that was asked."""
        return sum(count for page, count in self.counts().items() if page.on_this_device)
