# SPDX-License-Identifier: GPL-2.0-only
"""Kernel messages, debug messages, parameters and traces of the live machine, and no mess left behind."""

from __future__ import annotations

import ctypes
import errno
import mmap
import re
import threading
from fcntl import ioctl
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Pages, Protection, advise
from hmmkit.callers import watching
from hmmkit.device import Device
from hmmkit.dyndbg import CONTROL, debug_messages, printing_sites
from hmmkit.errors import HmmError, ModuleProblem, NoTracing
from hmmkit.kmsg import KernelLog
from hmmkit.outcome import attempt
from hmmkit.path import WAY_BACK
from hmmkit.trace import IOCTL, PAGE_FAULT, TRACEFS, trace_calls
from hmmkit.uapi import Command, Request
from tests.machine.memory import on_device

CHUNK = re.compile(
    r"^hmm_dmirror[01]: added new 256 MB chunk \(total 1 chunks, 256 MB\) PFNs \[0x[0-9a-f]+ 0x[0-9a-f]+\)$"
)
MEMMAP = re.compile(r"^memmap_init_zone_device initialised 65536 pages in \d+ms$")

SETTINGS = (
    "tracing_on",
    "current_tracer",
    "set_ftrace_filter",
    "set_ftrace_pid",
    "set_graph_function",
    "max_graph_depth",
    "options/funcgraph-irqs",
    "options/funcgraph-proc",
    "options/funcgraph-duration",
    "options/funcgraph-overhead",
    "events/exceptions/page_fault_user/enable",
    "events/exceptions/page_fault_kernel/enable",
)


def settings() -> dict[str, str]:
    """What the tracer is set to."""
    return {name: (TRACEFS / name).read_text() for name in SETTINGS}


def test_loading_shows_both_lines_for_both_devices() -> None:
    with KernelLog() as log, debug_messages("func memmap_init_zone_device"):
        module.reload()
        lines = log.messages("memmap_init_zone_device", "added new")
    assert [bool(MEMMAP.match(line)) for line in lines] == [True, False, True, False], lines
    assert [bool(CHUNK.match(line)) for line in lines] == [False, True, False, True], lines


def test_a_module_in_use_is_not_unloaded(device: Device) -> None:
    with pytest.raises(ModuleProblem, match="rmmod hmm_dmirror: "):
        module.reload()
    with Buffer(touched=True) as buffer:
        assert device.migrate_to_device(buffer).pages == 1


def test_the_drivers_messages_are_the_ones_the_book_shows(device: Device) -> None:
    with Buffer() as buffer, Buffer(protection=Protection.NONE) as closed:
        buffer.write(b"hello world")
        with KernelLog() as log, debug_messages("module hmm_dmirror"), module.verified_copies():
            attempt(device.migrate_to_device, closed)
            device.migrate_to_device(buffer)
            buffer.touch()
            device.migrate_to_device(buffer)
            device.migrate_to_system(buffer)
            said = buffer.name_addresses("\n".join(log.messages("hmm_dmirror")))
    there = 'verify buffer+0x0: source page and device page are equal, first bytes "hello world"'
    back = 'verify buffer+0x0: device page and system page are equal, first bytes "hello world"'
    assert said.splitlines() == [
        f"hmm_dmirror0: {line}"
        for line in (
            "migrate to device: 0 of 1 pages, returns -22",
            there,
            "migrate to device: 1 of 1 pages, returns 0",
            back,
            "CPU fault at buffer+0x0: 1 page back, returns 0",
            there,
            "migrate to device: 1 of 1 pages, returns 0",
            back,
            "migrate to system: 1 of 1 pages, returns 0",
        )
    ]


def test_nothing_is_said_before_the_mark_or_without_asking(device: Device) -> None:
    with Buffer(touched=True) as buffer, debug_messages("module hmm_dmirror"):
        device.migrate_to_device(buffer)
    with Buffer(touched=True) as buffer, KernelLog() as log:
        device.migrate_to_device(buffer)
        assert log.messages("hmm_dmirror") == []


def test_debug_messages_are_put_back_as_they_were() -> None:
    before = CONTROL.read_text()
    with debug_messages("func dmirror_migrate_to_ram"):
        outer = CONTROL.read_text()
        assert len(printing_sites(outer) - printing_sites(before)) == 1
        with debug_messages("module hmm_dmirror"):
            assert len(printing_sites(CONTROL.read_text()) - printing_sites(before)) >= 3
        assert CONTROL.read_text() == outer
    assert CONTROL.read_text() == before


def test_the_parameter_is_put_back_as_it_was() -> None:
    parameter = module.PARAMETERS / "verify"
    before = parameter.read_text()
    with pytest.raises(KeyError), module.verified_copies():
        assert parameter.read_text().strip() == "Y"
        raise KeyError
    assert parameter.read_text() == before


def test_a_touch_goes_through_the_swap_path(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        seen = trace_calls(buffer.touch, PAGE_FAULT, faults_in=buffer)
    names = seen.pruned(WAY_BACK).functions()
    path = ["do_swap_page", "dmirror_migrate_to_ram", "migrate_vma_setup", "migrate_vma_pages"]
    places = [len(names) - 1 - names[::-1].index(name) for name in [*path, "migrate_vma_finalize"]]
    assert places == sorted(places), names
    assert "do_swap_page" in seen.callers_of("dmirror_migrate_to_ram")


def test_the_ioctl_goes_another_way(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        seen = trace_calls(lambda: device.migrate_to_system(buffer), IOCTL)
    assert "migrate_vma_finalize" in seen and "dmirror_bring_back" in seen
    assert "do_swap_page" not in seen and "dmirror_migrate_to_ram" not in seen


def test_the_same_touch_gives_the_same_tree(device: Device) -> None:
    trees = set()
    with Buffer(touched=True) as buffer:
        for _ in range(4):
            device.migrate_to_device(buffer)
            seen = trace_calls(buffer.touch, PAGE_FAULT, faults_in=buffer)
            trees.add(str(seen.pruned(WAY_BACK)))
    assert len(trees) == 1, "\n\n".join(trees)


def test_faults_elsewhere_are_left_out(device: Device) -> None:
    """As the interpreter's own: here a first touch, a read, and a system call that has to fault."""
    with Buffer(touched=True) as buffer, Buffer(3) as heap, Path("/dev/zero").open("rb", 0) as zeros:

        def touch() -> None:
            heap.write(b"x")
            buffer.touch()
            heap.touch(1)
            zeros.readinto((ctypes.c_char * 1).from_address(heap.address + 2 * PAGE_SIZE))

        device.migrate_to_device(buffer)
        seen = trace_calls(touch, PAGE_FAULT, faults_in=buffer).functions()
        assert seen[-1] != "handle_mm_fault" and "dmirror_migrate_to_ram" in seen
        device.migrate_to_device(buffer)
        alone = trace_calls(buffer.touch, PAGE_FAULT, faults_in=buffer).functions()
        assert seen.count("handle_mm_fault") == alone.count("handle_mm_fault")
        advise(heap, mmap.MADV_DONTNEED)
        device.migrate_to_device(buffer)
        everything = trace_calls(touch, PAGE_FAULT).functions()
        assert everything.count("handle_mm_fault") >= alone.count("handle_mm_fault") + 3


def test_only_this_thread_is_seen(device: Device) -> None:
    """While the action waits, another thread touches 64 device pages."""
    with Buffer(touched=True) as mine, Buffer(64, touched=True) as theirs:
        device.migrate_to_device(mine)
        device.migrate_to_device(theirs)

        def touch_theirs() -> None:
            for page in reversed(range(64)):  # in order, a touch brings the pages behind it along
                theirs.touch(page)

        def touch_both() -> None:
            other = threading.Thread(target=touch_theirs)
            other.start()
            other.join()
            mine.touch()

        seen = trace_calls(touch_both, PAGE_FAULT, faults_in=mine)
        assert not any(on_device(device, theirs)), "nothing was there to be seen"
    assert seen.functions().count("dmirror_migrate_to_ram") == 1


def test_a_fault_elsewhere_within_an_ioctl_is_left_out(device: Device) -> None:
    """The driver hands the data over into a page that is not there yet, and the kernel has to fault."""

    def calls_of_a_read(faults_in: Pages | None) -> list[str]:
        with Buffer() as buffer, Buffer() as answer:
            command = Command(addr=buffer.address, ptr=answer.address, npages=1)
            seen = trace_calls(
                lambda: ioctl(device.fileno(), Request.READ, command), IOCTL, faults_in=faults_in or buffer
            )
        return seen.functions()

    with Buffer() as buffer:
        alone = trace_calls(lambda: device.read(buffer), IOCTL, faults_in=buffer).functions()
    # The device's own fault has handle_mm_fault called, below hmm_range_fault.
    assert alone.count("handle_mm_fault") == 1
    assert calls_of_a_read(None).count("handle_mm_fault") == 1
    assert calls_of_a_read(PageRun(0, 1 << 35)).count("handle_mm_fault") == 2


def test_functions_that_nobody_has_are_not_watched() -> None:
    with pytest.raises(NoTracing, match="none of no_such_function"), watching(["no_such_function"]):
        pass


def test_the_tracer_is_put_back_as_it_was(device: Device) -> None:
    before = settings()
    with Buffer(touched=True) as buffer:
        trace_calls(buffer.touch, PAGE_FAULT, faults_in=buffer)
    assert settings() == before

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        trace_calls(fail, PAGE_FAULT)
    assert settings() == before


def test_what_the_tracer_does_not_see_is_not_nothing() -> None:
    before = settings()

    def hide() -> None:
        (TRACEFS / "set_ftrace_pid").write_text("1")

    with pytest.raises(HmmError) as caught:
        trace_calls(hide, PAGE_FAULT)
    assert caught.value.errno == errno.EAGAIN
    assert settings() == before
    assert trace_calls(lambda: None, IOCTL).roots == ()


def test_settings_of_another_user_survive(device: Device) -> None:
    (TRACEFS / "set_graph_function").write_text("do_swap_page")
    try:
        before = settings()
        with Buffer(touched=True) as buffer:
            trace_calls(buffer.touch, PAGE_FAULT, faults_in=buffer)
        assert settings() == before
    finally:
        (TRACEFS / "set_graph_function").write_text("")


def test_the_machine_is_healthy() -> None:
    """No warning and no oops was printed: taint bits 7 (oops) and 9 (warning) are clear."""
    tainted = int(Path("/proc/sys/kernel/tainted").read_text())
    assert not tainted & (1 << 7 | 1 << 9)
