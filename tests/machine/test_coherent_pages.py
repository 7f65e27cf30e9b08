# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit finds the memory for coherent devices, says where frames are, and pins for long."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import PAGE_SIZE, Buffer, Protection, protect
from hmmkit.counters import read_chunks
from hmmkit.device import Device
from hmmkit.holding import referenced
from hmmkit.longterm import pin_for_long
from hmmkit.pagemap import page_entries
from hmmkit.place import ELSEWHERE, RAM, device_indexes, place_of, says
from hmmkit.reserved import coherent_parameters

MIB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def coherent_devices() -> Iterator[None]:
    """The module with all four devices, and after the tests as it was."""
    module.reload(*coherent_parameters())
    yield
    module.reload()


def direct_map() -> int:
    """KiB that the kernel has an address for."""
    return sum(
        int(size)
        for size in re.findall(r"^DirectMap\w+: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    )


def test_the_chunks_are_where_the_parameters_say() -> None:
    starts = [int(parameter.split("=")[1], 16) for parameter in coherent_parameters()]
    assert [read_chunks(index)[0].first * 4096 for index in (2, 3)] == starts
    assert device_indexes() == [0, 1, 2, 3]


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_frame_is_found_on_its_device(index: int) -> None:
    with Device(index) as device, Buffer(touched=True) as buffer:
        assert place_of(page_entries(buffer)[0].pfn) == RAM
        device.migrate_to_device(buffer)
        assert place_of(page_entries(buffer)[0].pfn) == f"device {index}"
        there = "present" if index >= 2 else "not present"
        assert says(page_entries(buffer)[0]) == f"{there}, frame of device {index}"


def test_places_without_memory() -> None:
    last = read_chunks(0)[0].end
    assert place_of(last) == ELSEWHERE
    with Buffer() as buffer:
        assert says(page_entries(buffer)[0]) == "empty"


@pytest.mark.parametrize("index", [0, 2])
def test_a_long_term_pin_leaves_the_page_in_ram(index: int) -> None:
    with Device(index) as device, Buffer(4, touched=True) as buffer:
        buffer.write(b"pinned", 4096)
        device.migrate_to_device(buffer)
        pin_for_long(buffer)
        assert {place_of(entry.pfn) for entry in page_entries(buffer)} == {RAM}
        assert buffer.read(6, 4096) == b"pinned"
        # the pin is gone again
        assert device.migrate_to_device(buffer).pages == 4


def test_an_eviction_waits_for_a_page_that_is_held_and_that_nobody_maps() -> None:
    """Its reverse mapping is gone with the mapping, so nothing but its holder can lead to it."""
    with Device(2) as device, Buffer(3, Protection.NONE) as room:
        # apart from all other memory, with which it would share its struct anon_vma
        page = room.part(1, 1)
        protect(page, Protection.READ_WRITE)
        ctypes.memset(page.address, 1, PAGE_SIZE)
        device.migrate_to_device(page)
        with referenced(page):
            room.unmap()
            child = os.fork()
            if not child:
                device.release()
                os._exit(0)
            time.sleep(1)
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
        device.release()


def test_a_long_term_pin_of_nothing_is_an_error() -> None:
    with Buffer() as buffer:
        pages = buffer
    with pytest.raises(OSError):
        pin_for_long(pages)


def test_coherent_memory_is_in_the_direct_map() -> None:
    module.unload()
    without = direct_map()
    module.load()
    private = direct_map()
    module.unload()
    module.load(*coherent_parameters())
    assert (private - without, direct_map() - private) == (0, 512 * 1024)
