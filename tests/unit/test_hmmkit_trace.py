# SPDX-License-Identifier: GPL-2.0-only
"""The text of a function_graph trace becomes the tree that it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmkit import trace
from hmmkit.buffer import PageRun
from hmmkit.errors import NoTracing
from hmmkit.path import SWAP_IN, WAY_BACK, told
from hmmkit.trace import Call, CallTree, parse_function_graph

THREAD = 91

# Taken in the test machine, 6.12, and shortened.
FAULT = """\
# tracer: function_graph
#
# CPU  TASK/PID                      FUNCTION CALLS
# |     |    |                       |   |   |   |
 0)    <...>-91    | lock_vma_under_rcu() {
 0)    <...>-91    |   down_read_trylock();
 0)    <...>-91    | }
 0)    <...>-91    | handle_mm_fault() {
 0)    <...>-91    |   __handle_mm_fault() {
 0)    <...>-91    |     do_swap_page() {
 0)    <...>-91    |       up_read();
 0)    <...>-91    |     }
 0)    <...>-91    |   }
 0)    <...>-91    | }
 0)    <...>-91    | lock_mm_and_find_vma() {
 0)    <...>-91    |   down_read_trylock();
 0)    <...>-91    | }
 0)    <...>-91    | handle_mm_fault() {
 0)    <...>-91    |   __handle_mm_fault() {
 0)    <...>-91    |     do_swap_page() {
 0)    <...>-91    |       dmirror_migrate_to_ram [hmm_dmirror]() {
 0)    <...>-91    |         dmirror_bring_back [hmm_dmirror]() {
 0)    <...>-91    |           migrate_vma_setup() {
 0)    <...>-91    |             walk_page_range() {
 0)    <...>-91    |               migrate_vma_collect_pmd();
 0)    <...>-91    |             }
 0)    <...>-91    |           }
 0)    <...>-91    |           migrate_vma_pages();
 0)    <...>-91    |           migrate_vma_finalize();
 0)    <...>-91    |         }
 0)    <...>-91    |       }
 0)    <...>-91    |       __folio_put() {
 0)    <...>-91    |         free_zone_device_folio();
 0)    <...>-91    |       }
 0)    <...>-91    |     }
 0)    <...>-91    |   }
 0)    <...>-91    | }
"""

PRUNED = """\
lock_vma_under_rcu
handle_mm_fault
└── do_swap_page
lock_mm_and_find_vma
handle_mm_fault
└── do_swap_page
    ├── dmirror_migrate_to_ram
    │   └── dmirror_bring_back
    │       ├── migrate_vma_setup
    │       │   └── migrate_vma_collect_pmd
    │       ├── migrate_vma_pages
    │       └── migrate_vma_finalize
    └── free_zone_device_folio"""


def tree(*lines: str) -> str:
    """Parse lines of our thread and draw them."""
    return str(parse_function_graph("\n".join(lines), THREAD))


def test_a_real_trace_is_read_whole() -> None:
    seen = parse_function_graph(FAULT, THREAD)
    assert [root.function for root in seen.roots] == [
        "lock_vma_under_rcu",
        "handle_mm_fault",
        "lock_mm_and_find_vma",
        "handle_mm_fault",
    ]
    assert len(seen.functions()) == sum("()" in line for line in FAULT.splitlines())


def test_pruning_keeps_what_is_kept_below_what_called_it() -> None:
    assert str(parse_function_graph(FAULT, THREAD).pruned(WAY_BACK)) == PRUNED


def test_pruning_a_root_moves_its_calls_up() -> None:
    seen = CallTree((Call("a", (Call("b", (Call("c"),)), Call("d"))),))
    assert seen.pruned({"c", "d"}) == CallTree((Call("c"), Call("d")))
    assert seen.pruned(set()) == CallTree(())


def test_callers_come_in_order_and_once() -> None:
    seen = parse_function_graph(FAULT, THREAD)
    assert seen.callers_of("down_read") == ["lock_vma_under_rcu", "lock_mm_and_find_vma"]
    assert seen.callers_of("dmirror_") == ["do_swap_page", "dmirror_migrate_to_ram"]
    assert seen.callers_of("lock_vma") == []
    assert "free_zone_device_folio" in seen and "never_called" not in seen


def test_other_threads_between_the_lines_change_nothing() -> None:
    other = [
        " 1)  python3-92    | handle_mm_fault() {",
        " 1)  <idle>-0      | }",
        " 0)  a-b | c-17    |   foo();",
    ]
    mixed = []
    for number, line in enumerate(FAULT.splitlines()):
        mixed += [line, other[number % 3]]
    assert parse_function_graph("\n".join(mixed), THREAD) == parse_function_graph(FAULT, THREAD)


def test_a_change_of_processor_and_a_context_switch_change_nothing() -> None:
    lines = FAULT.replace(" 0)", " 1)", 30).splitlines()
    lines[20:20] = [
        " ------------------------------------------",
        " 0)    <...>-91    =>  kworker-7    ",
        " ------------------------------------------",
        "",
    ]
    assert parse_function_graph("\n".join(lines), THREAD) == parse_function_graph(FAULT, THREAD)


@pytest.mark.parametrize(
    "line",
    [
        " 0)  python-91     |  foo();",
        " 0)  my prog-91    |  foo();",
        " 10)  a-b-91       |  foo();",
        " 0)  python-91     | + 12.345 us   |  foo();",
        " 0)  python-91     |   0.123 us    |  foo.isra.0();",
        " 0)  python-91     |               |  foo [module]();",
        " 0)  python-91     |  foo() [module];",
        " 0)  python-91     |  foo(a=0x1, b=2);",
    ],
)
def test_the_forms_that_a_line_has(line: str) -> None:
    assert tree(line) == "foo"


@pytest.mark.parametrize("end", [" }", " } /* foo */"])
def test_both_forms_of_an_end(end: str) -> None:
    lines = [" 0)  a-91  | foo() {", " 0)  a-91  |   bar();", f" 0)  a-91  |{end}", " 0)  a-91  | last();"]
    assert tree(*lines) == "foo\n└── bar\nlast"


@pytest.mark.parametrize(
    "frame",
    ["sysvec_apic_timer_interrupt", "irq_enter_rcu", "__irq_exit_rcu", "handle_softirqs", "__do_softirq"],
)
def test_an_interrupt_in_the_middle_is_left_out(frame: str) -> None:
    assert (
        tree(
            " 0)  a-91  | foo() {",
            f" 0)  a-91  |   {frame}() {{",
            " 0)  a-91  |     update_rq_clock();",
            " 0)  a-91  |   }",
            " 0)  a-91  |   bar();",
            " 0)  a-91  | }",
        )
        == "foo\n└── bar"
    )


def test_comments_and_ends_without_a_beginning_are_skipped() -> None:
    lines = [
        " 0)  a-91  |   }",
        " 0)  a-91  | /* a marker { */",
        "CPU:1 [LOST 12 EVENTS]",
        " 0)  a-91  | foo();",
    ]
    assert tree(*lines) == "foo"


def test_faults_elsewhere_are_left_out() -> None:
    """A fault in the page at 0x7000, its kernel side tried twice, and others around it."""
    page = PageRun(0x7000, 1)
    lines = [" 0)  a-91  | __x64_sys_ioctl();"]
    for mode, address, inner in [
        ("user", 0x6FFF, "before"),
        ("user", 0x7000, "first"),
        ("kernel", 0x8000, "behind"),
        ("kernel", 0x7FFF, "last"),
    ]:
        lines += [f" 0)  a-91  | /* page_fault_{mode}: address=0x{address:x} ip=0x1 error_code=0x4 */"]
        lines += [" 0)  a-91  | handle_mm_fault() {", f" 0)  a-91  |   {inner}();", " 0)  a-91  | }"] * 2
    lines += [
        " 0)  a-91  | /* page_fault_user: address=0x9000 ip=0x1 error_code=0x4 */",
        " 0)  a-91  | __x64_sys_ioctl();",
    ]
    text = "\n".join(lines)
    kept = parse_function_graph(text, THREAD, page)
    assert [call.calls for call in kept.roots] == [
        (),
        *[(Call("first"),)] * 2,
        *[(Call("last"),)] * 2,
        (),
    ]
    assert len(parse_function_graph(text, THREAD).roots) == 10


def test_a_fault_in_the_middle_of_a_system_call_is_left_out() -> None:
    """The driver copies to memory that is not there yet; what it asked the kernel for is kept."""
    page = PageRun(0x7000, 1)
    text = """\
 0)  a-91  | __x64_sys_ioctl() {
 0)  a-91  |   dmirror_read() {
 0)  a-91  |     hmm_range_fault() {
 0)  a-91  |       handle_mm_fault();
 0)  a-91  |     }
 0)  a-91  |     /* page_fault_kernel: address=0x9000 ip=copy_to_user error_code=0x2 */
 0)  a-91  |     lock_vma_under_rcu();
 0)  a-91  |     handle_mm_fault() {
 0)  a-91  |       do_swap_page();
 0)  a-91  |     }
 0)  a-91  |   }
 0)  a-91  |   handle_mm_fault();
 0)  a-91  | }
"""
    own = Call("dmirror_read", (Call("hmm_range_fault", (Call("handle_mm_fault"),)),))
    kept = parse_function_graph(text, THREAD, page)
    assert kept.roots == (Call("__x64_sys_ioctl", (own, Call("handle_mm_fault"))),)


def test_a_call_that_never_ended_is_not_shown_as_one_that_did() -> None:
    assert tree(" 0)  a-91  | foo() {", " 0)  a-91  |   bar();") == ""


def test_without_tracefs_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for nowhere, words in ((tmp_path / "none", "no tracefs"), (tmp_path, "mount -t tracefs")):
        monkeypatch.setattr(trace, "TRACEFS", nowhere)
        with pytest.raises(NoTracing, match=words):
            trace.trace_calls(lambda: None, trace.PAGE_FAULT)


def test_without_the_tracer_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "current_tracer").write_text("nop")
    (tmp_path / "available_tracers").write_text("function nop\n")
    monkeypatch.setattr(trace, "TRACEFS", tmp_path)
    with pytest.raises(NoTracing, match="CONFIG_FUNCTION_GRAPH_TRACER"):
        trace.trace_calls(lambda: None, trace.PAGE_FAULT)


def test_of_several_attempts_the_last_is_told() -> None:
    tree = parse_function_graph(FAULT, THREAD)
    assert told(tree, WAY_BACK).roots == tree.pruned(WAY_BACK).roots[-1:]


def test_a_step_is_told_once_and_by_its_name_in_6_12() -> None:
    read = Call("swap_readpage", (Call("zram_rw_page"),))
    twice = (Call("swap_cache_get_folio"), Call("swap_cache_get_folio"), Call("vma_alloc_folio_noprof"), read)
    tree = CallTree((Call("lock_vma_under_rcu"), Call("handle_mm_fault", (Call("do_swap_page", twice),))))
    assert told(tree, SWAP_IN).functions() == [
        "handle_mm_fault",
        "do_swap_page",
        "swap_cache_get_folio",
        "vma_alloc_folio",
        "zram_submit_bio",
    ]


def test_patterns_become_numbers_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["schedule", "do_swap_page", "migrate_vma_setup", "try_to_migrate_one", "up_read", "up_read_more"]
    text = "".join(f"{name}\n" for name in names) + "dmirror_fault [hmm_dmirror]\n"
    (tmp_path / "available_filter_functions").write_text(text)
    monkeypatch.setattr(trace, "TRACEFS", tmp_path)
    assert trace.function_numbers(["up_read", "*migrate_*", "dmirror_*", "not_here", "swap_*"]) == "3 4 5 7"
