# SPDX-License-Identifier: GPL-2.0-only
"""The map of the module's files, against the sources and against a small made-up module."""

from __future__ import annotations

from pathlib import Path

from hmmkit.sourcemap import MODULE, shared_names, source_files

HEADER = """
/* one.c */
int dmirror_one(struct thing *thing,
\t\tint n);
extern const struct ops *dmirror_groups[];

/* two.c */
void dmirror_two(void);
"""
ONE = (
    "/**\n * DOC: One: the first\n */\nint dmirror_one(struct thing *thing, int n)\n{\n\tdmirror_two();\n}\n"
)
TWO = (
    '/**\n * DOC: Two: the second\n */\n/* dmirror_one() */\nvoid dmirror_two(void) { say("dmirror_one"); }\n'
)


def test_a_name_belongs_to_the_file_it_is_listed_under() -> None:
    owners = {"dmirror_one": "one.c", "dmirror_groups": "one.c", "dmirror_two": "two.c"}
    assert shared_names(HEADER) == owners


def test_comments_and_strings_call_nobody(tmp_path: Path) -> None:
    (tmp_path / "dmirror.h").write_text(HEADER)
    (tmp_path / "one.c").write_text(ONE)
    (tmp_path / "two.c").write_text(TWO)
    (tmp_path / "three.c").write_text("/* has no DOC block */\n")
    one, two = source_files(tmp_path)
    assert (one.name, one.title, one.promise, one.lines) == ("one.c", "One", "the first", 7)
    assert one.calls == {"two.c": ("dmirror_two",)}
    assert two.calls == {}


def test_every_file_of_the_module_is_on_the_map() -> None:
    names = {path.name for path in MODULE.glob("*.c")} - {"trace.c"}
    assert {each.name for each in source_files()} == names


def test_every_shared_name_is_used_by_another_file() -> None:
    owners = shared_names((MODULE / "dmirror.h").read_text())
    called = {name for each in source_files() for names in each.calls.values() for name in names}
    # These two are called by compat.h, on behalf of the kernel.
    assert set(owners) - called <= {"dmirror_folio_free", "dmirror_backing_split"}
