# SPDX-License-Identifier: GPL-2.0-only
"""The function tracer's text, read."""

from __future__ import annotations

from hmmkit.callers import parse_calls

TEXT = """# tracer: function
#
         python3-77      [000] .....    12.345678: do_wp_page.isra.0 <-__handle_mm_fault
 my-own thread-9      [001] d..1.    12.345679: migrate_vma_setup <-other_driver
         python3-77      [001] .....    12.345680: migrate_vma_setup <-dmirror_send.constprop.0
"""


def test_the_calls_of_one_thread_in_order() -> None:
    assert parse_calls(TEXT, 77) == [
        ("do_wp_page", "__handle_mm_fault"),
        ("migrate_vma_setup", "dmirror_send"),
    ]


def test_a_command_may_have_spaces_and_dashes() -> None:
    assert parse_calls(TEXT, 9) == [("migrate_vma_setup", "other_driver")]
