# SPDX-License-Identifier: GPL-2.0-only
"""How much of our module's text is also in the kernel's own driver, lib/test_hmm.c.

Two drivers of one interface share calls, field names and idioms, so the figure is never zero. The
limits stand between what independent code has and what copied code has, in percent of the runs of
tokens and in tokens:

    against lib/test_hmm.c of Linux 7.3               verbatim  renamed  longest
    lib/test_hmm.c of 6.12                                80.3     75.7      651
    lib/test_hmm.c of 6.1                                 79.0     74.1      651
    drivers/gpu/drm/nouveau/nouveau_dmem.c                 3.7      5.0       39
    drivers/gpu/drm/amd/amdkfd/kfd_migrate.c               0.7      1.9       27
    mm/migrate_device.c                                    0.3      1.3       18

The limits hold for every file of its own, so that one copied function is not diluted by the rest.
uapi/ is left out: it says the same as the kernel's header, being the same ABI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

VERBATIM_RUN = 12  # tokens, names included
RENAMED_RUN = 20  # tokens, each name, number and string counted as one of its kind
SHARE_LIMIT = 10.0  # percent
LONGEST_LIMIT = 50  # tokens, names included

KEYWORDS = re.compile(
    "break|case|char|const|continue|default|do|double|else|enum|extern|for|goto|if|inline|int|long|"
    "return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|while"
)
NOT_CODE = re.compile(r"/\*.*?\*/|//[^\n]*|^[ \t]*#[ \t]*include[^\n]*", re.DOTALL | re.MULTILINE)
TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_]\w*|\d\w*'
    r"|->|<<=|>>=|\+\+|--|<<|>>|[<>=!+\-*/&|^%]=|&&|\|\||\.\.\.|\S"
)


@dataclass(frozen=True)
class Likeness:
    """What one file has in common with the other side: two shares in percent, and tokens."""

    verbatim: float
    renamed: float
    longest: int

    def over_limit(self) -> bool:
        """Whether it is more than independent code has."""
        return max(self.verbatim, self.renamed) > SHARE_LIMIT or self.longest > LONGEST_LIMIT

    def __str__(self) -> str:
        return (
            f"{self.verbatim:.1f} % of the runs of {VERBATIM_RUN} tokens verbatim, "
            f"{self.renamed:.1f} % of {RENAMED_RUN} renamed, the longest {self.longest} tokens"
        )


def tokens(text: str) -> list[str]:
    """The tokens of C source, without comments and #include lines."""
    return TOKEN.findall(NOT_CODE.sub(" ", text))


def without_names(words: Iterable[str]) -> list[str]:
    """The same with every name, number and string replaced by a word for its kind."""

    def kind(word: str) -> str:
        if word[0] == '"':
            return "string"
        if word[0].isdigit():
            return "number"
        return "name" if word.isidentifier() and not KEYWORDS.fullmatch(word) else word

    return [kind(word) for word in words]


def runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    """Every run of ``length`` neighbouring tokens."""
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def share(ours: list[str], theirs: list[list[str]], length: int) -> float:
    """Percent of our runs that occur in one of theirs."""
    known = {run for words in theirs for run in runs(words, length)}
    mine = runs(ours, length)
    return 100 * sum(run in known for run in mine) / max(len(mine), 1)


def longest(ours: list[str], theirs: list[list[str]]) -> int:
    """The length of the longest common run."""
    low, beyond = 0, 1
    while share(ours, theirs, beyond) > 0:  # a run of n tokens holds one of n - 1
        low, beyond = beyond, 2 * beyond
    while beyond - low > 1:
        middle = (low + beyond) // 2
        if share(ours, theirs, middle) > 0:
            low = middle
        else:
            beyond = middle
    return low


def compare(ours: str, theirs: Iterable[str]) -> Likeness:
    """One of our files against all versions of theirs; arguments are C source."""
    mine = tokens(ours)
    other = [tokens(text) for text in theirs]
    return Likeness(
        share(mine, other, VERBATIM_RUN),
        share(without_names(mine), [without_names(words) for words in other], RENAMED_RUN),
        longest(mine, other),
    )


def reference_drivers(trees: Iterable[Path]) -> list[str]:
    """The kernel's own driver as it is in each tree."""
    return [(tree / "lib" / "test_hmm.c").read_text() for tree in trees]
