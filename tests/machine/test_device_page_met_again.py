# SPDX-License-Identifier: GPL-2.0-only
"""The device meets a page of its own that its page table has forgotten.

A device page has no address in the kernel: whoever copies through its struct page instead of the
memory behind it brings the kernel down. The mirror's entry for a page on the device is dropped by
mprotect, by mremap, and another open file never had one; so the next access finds the page on the
device through the CPU's page table.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun, Protection
from hmmkit.device import Device

NPAGES = 40  # more than one batch
CONTENT = b"".join(bytes([page]) * PAGE_SIZE for page in range(NPAGES))
WRITTEN = CONTENT[::-1]

MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2


@contextmanager
def protected_and_back(device: Device, buffer: Buffer) -> Iterator[tuple[Device, PageRun]]:
    """The page's entry becomes readable, and stays so when the mapping is writable again."""
    buffer.protect(Protection.READ)
    buffer.protect(Protection.READ_WRITE)
    yield device, PageRun(buffer.address, NPAGES)


@contextmanager
def moved(device: Device, buffer: Buffer) -> Iterator[tuple[Device, PageRun]]:
    """The pages are mapped at another address."""
    libc = ctypes.CDLL(None)
    libc.mremap.restype = ctypes.c_void_p
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
    with Buffer(NPAGES) as elsewhere:
        where = libc.mremap(
            buffer.address, buffer.size, buffer.size, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere.address
        )
        assert where == elsewhere.address
        yield device, PageRun(where, NPAGES)


@contextmanager
def another_file(device: Device, buffer: Buffer) -> Iterator[tuple[Device, PageRun]]:
    """Another open file of the same device."""
    with Device() as other:
        yield other, PageRun(buffer.address, NPAGES)


@contextmanager
def another_device(device: Device, buffer: Buffer) -> Iterator[tuple[Device, PageRun]]:
    """Another device, which cannot see the page: it has to come back first."""
    with Device(1) as other:
        yield other, PageRun(buffer.address, NPAGES)


Way = Callable[[Device, Buffer], AbstractContextManager[tuple[Device, PageRun]]]
WAYS: list[Way] = [protected_and_back, moved, another_file, another_device]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_read(device: Device, way: Way) -> None:
    with Buffer(NPAGES) as buffer:
        buffer.write(CONTENT)
        device.migrate_to_device(buffer)
        with way(device, buffer) as (reader, run):
            done = reader.read(run)
            assert (done.data, done.pages) == (CONTENT, NPAGES)
            stayed = [page.on_this_device for page in device.snapshot(run)]
            assert all(stayed) == (way is not another_device)
            assert ctypes.string_at(run.address, buffer.size) == CONTENT


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_write(device: Device, way: Way) -> None:
    with Buffer(NPAGES) as buffer:
        buffer.write(CONTENT)
        device.migrate_to_device(buffer)
        with way(device, buffer) as (writer, run):
            done = writer.write(run, WRITTEN)
            assert done.pages == NPAGES
            assert device.read(run).data == WRITTEN
            assert ctypes.string_at(run.address, buffer.size) == WRITTEN


def test_a_child_reads_what_its_parent_moved(device: Device) -> None:
    """The child's own file mirrors a page table that was copied with device entries in it."""
    with Buffer(NPAGES) as buffer:
        buffer.write(CONTENT)
        device.migrate_to_device(buffer)
        child = os.fork()
        if child == 0:
            with Device() as own:
                seen = own.read(buffer).data
                own.write(buffer, WRITTEN)
                os._exit(0 if seen == CONTENT and buffer.read(buffer.size) == WRITTEN else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert device.read(buffer).data == CONTENT
        assert buffer.read(buffer.size) == CONTENT
