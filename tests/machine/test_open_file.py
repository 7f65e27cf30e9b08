# SPDX-License-Identifier: GPL-2.0-only
"""What belongs to an open file and what to the process, and commands that do not exist."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from hmmkit.buffer import Buffer
from hmmkit.counters import read_counters
from hmmkit.device import Device
from hmmkit.uapi import DEVICE_NODE, Command, Request


def test_closing_a_file_leaves_every_page_on_the_device() -> None:
    with Buffer(5) as buffer, Device() as stays:
        buffer.write(b"still there")
        before = read_counters()
        with Device() as closes:
            closes.migrate_to_device(buffer)
        assert all(page.on_this_device for page in stays.snapshot(buffer))
        assert (read_counters() - before).pages_evicted == 0
        assert buffer.read(11) == b"still there"


def test_the_end_of_a_process_leaves_nothing_on_the_device() -> None:
    before = read_counters().pages_in_use
    child = os.fork()
    if child == 0:
        with Device() as device, Buffer(30, touched=True) as buffer:
            device.migrate_to_device(buffer)
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert read_counters().pages_in_use == before


@pytest.mark.parametrize("number", [10, 11, 255])
def test_a_command_that_does_not_exist(number: int) -> None:
    unknown = Request.READ - (Request.READ & 0xFF) + number
    with Buffer(touched=True) as buffer:
        fd = os.open(DEVICE_NODE.format(index=0), os.O_RDWR)
        try:
            with pytest.raises(OSError, match="Invalid argument") as caught:
                fcntl.ioctl(fd, unknown, Command(addr=buffer.address, npages=1))
            assert caught.value.errno == errno.EINVAL
        finally:
            os.close(fd)
