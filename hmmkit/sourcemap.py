# SPDX-License-Identifier: GPL-2.0-only
"""The files of the module, and which of them calls which: read from the sources themselves.

``module/dmirror.h`` lists what the files share, file by file, each list under the file's name in a
comment. A name in such a list belongs to that file; whoever else uses the name calls into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent / "module"

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SECTION = re.compile(r"^/\* (?P<file>\w+\.c) \*/\n(?P<body>(?:.+\n)+)", re.MULTILINE)
_NAME = re.compile(r"\b(dmirror_\w+)(?:\(|\[)|\b(dmirror_notifier_ops);")
_DOC = re.compile(r"^ \* DOC: (?P<title>\w[^:\n]*): (?P<promise>[^\n]+)$", re.MULTILINE)


@dataclass(frozen=True)
class SourceFile:
    """One C file: its name, what its DOC block is headed with, its lines, and whom it calls.

    ``calls`` maps the name of another file to the names of that file's which are used here, sorted.
    """

    name: str
    title: str
    promise: str
    lines: int
    calls: dict[str, tuple[str, ...]]


def shared_names(header: str) -> dict[str, str]:
    """From the text of dmirror.h: each name that files share, and the file that it belongs to."""
    owners: dict[str, str] = {}
    for section in _SECTION.finditer(header):
        for match in _NAME.finditer(section["body"]):
            owners[match[1] or match[2]] = section["file"]
    return owners


def source_files(directory: Path | None = None) -> list[SourceFile]:
    """The files with a DOC block in ``module/``, or in ``directory``, ordered by their names.

    Raises ``OSError`` where the sources are not.
    """
    directory = directory or MODULE
    owners = shared_names((directory / "dmirror.h").read_text())
    files = []
    for path in sorted(directory.glob("*.c")):
        text = path.read_text()
        doc = _DOC.search(text)
        if doc is None:
            continue
        used = set(re.findall(r"\bdmirror_\w+", _STRING.sub("", _COMMENT.sub("", text))))
        calls: dict[str, tuple[str, ...]] = {}
        for owner in sorted({owners[name] for name in used & owners.keys()} - {path.name}):
            calls[owner] = tuple(sorted(name for name in used if owners.get(name) == owner))
        files.append(SourceFile(path.name, doc["title"], doc["promise"], len(text.splitlines()), calls))
    return files
