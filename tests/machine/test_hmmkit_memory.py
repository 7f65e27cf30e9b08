# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit's ways to change a mapping and to get at memory, on pages that are on the device."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from hmmkit.accesses import by_mlock, by_proc_mem, by_write
from hmmkit.accounting import charged, join, memory_cgroup
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection
from hmmkit.child import Child
from hmmkit.device import Device
from hmmkit.errors import NotOnDevice
from hmmkit.frames import FrameNames
from hmmkit.holding import referenced
from hmmkit.pagemap import SwapTypes, describe, page_entries


def test_the_types_are_told_apart(device: Device) -> None:
    types = SwapTypes.calibrate(device)
    assert len({types.device_write, types.device_read, types.exclusive}) == 3
    with Buffer(touched=True) as buffer:
        device.exclusive(buffer)
        assert describe(page_entries(buffer)[0], types) == (
            "swap entry, type DEVICE_EXCLUSIVE, PFN in system RAM"
        )
        buffer.protect(Protection.READ)
        assert page_entries(buffer)[0].swap_type == types.exclusive_read


def test_a_buffer_moves_with_its_pages(device: Device) -> None:
    with Buffer(3, touched=True) as buffer:
        buffer.write(b"hello", PAGE_SIZE)
        device.migrate_to_device(buffer)
        entries, old = page_entries(buffer), PageRun(buffer.address, 3)
        buffer.move()
        assert page_entries(buffer) == entries
        assert buffer.address != old.address
        assert all(entry.swap_type is None and not entry.present for entry in page_entries(old))
        assert buffer.read(5, PAGE_SIZE) == b"hello"


def test_advice_is_taken_or_refused(device: Device) -> None:
    with Buffer(2, touched=True) as buffer:
        device.migrate_to_device(buffer)
        buffer.advise(mmap.MADV_DONTNEED)
        assert buffer.read(buffer.size) == bytes(buffer.size)
        with pytest.raises(OSError, match="madvise: Invalid"):
            buffer.advise(12345)


def test_the_page_table_of_another_process(device: Device) -> None:
    with Buffer(touched=True) as buffer:
        device.migrate_to_device(buffer)
        with Child(write=lambda: buffer.write(b"mine")) as child:
            frames = FrameNames()
            assert frames.name(page_entries(buffer, child.pid)[0]) == "device page A"
            assert frames.name(page_entries(buffer)[0]) == "device page A"
            child.do("write")
            assert frames.name(page_entries(buffer)[0]) == "RAM page A"
            assert frames.name(page_entries(buffer, child.pid)[0]) == "RAM page B"


def test_the_kernel_reads_what_is_on_the_device(device: Device) -> None:
    with Buffer() as buffer:
        buffer.write(b"hello")
        for read in (by_write, by_proc_mem):
            device.migrate_to_device(buffer)
            assert read(buffer, 5) == b"hello"
            assert page_entries(buffer)[0].present
        device.migrate_to_device(buffer)
        by_mlock(buffer)
        assert page_entries(buffer)[0].present
    with pytest.raises(OSError, match="mlock: "):
        by_mlock(PageRun(0, 1))
    with pytest.raises(OSError, match="vmsplice: "), referenced(PageRun(0, 1)):
        pass


def test_a_page_in_a_pipe_does_not_move(device: Device) -> None:
    with Buffer() as buffer:
        buffer.write(b"hello")
        with referenced(buffer) as reader:
            with pytest.raises(NotOnDevice):
                device.migrate_to_device(buffer)
            assert os.read(reader, 5) == b"hello"
        assert device.migrate_to_device(buffer).pages == 1


def test_a_child_is_charged_to_its_cgroup() -> None:
    zeros = bytes(2048 * PAGE_SIZE)  # the parent's
    with (
        memory_cgroup("hmm-book-test") as group,
        Buffer(2048) as buffer,
        Child(
            # a huge page would take neighbours along
            advise=lambda: buffer.advise(mmap.MADV_NOHUGEPAGE),
            join=lambda: join(group),
            touch=lambda: buffer.write(zeros),
        ) as child,
    ):
        child.do("advise")
        child.do("join")
        before = charged(group)
        child.do("touch")
        assert abs(charged(group) - before - 8192) < 1024
    assert not Path(group).exists()
