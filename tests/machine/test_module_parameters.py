# SPDX-License-Identifier: GPL-2.0-only
"""What the module can be told when it is loaded, what it refuses, and what it says of itself."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmmkit import module
from hmmkit.buffer import Buffer, PageRun
from hmmkit.device import Device
from hmmkit.errors import InvalidRequest, ModuleProblem, NoSuchRequest
from hmmkit.kmsg import KernelLog

NODES = Path("/dev")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """After each test, the module without parameters."""
    yield
    module.reload()


def nodes() -> list[str]:
    """The device nodes there are."""
    return sorted(node.name for node in NODES.glob("hmm_dmirror*"))


def refusal(*parameters: str) -> str:
    """Why the module does not load with these."""
    with KernelLog() as log:
        with pytest.raises(ModuleProblem, match="nvalid"):
            module.reload(*parameters)
        # some programs try twice
        return "\n".join(dict.fromkeys(log.messages("hmm_dmirror: ")))


@pytest.mark.parametrize("number", [1, 2, 8])
def test_number_of_devices(number: int) -> None:
    module.reload(f"devices={number}")
    assert nodes() == [f"hmm_dmirror{n}" for n in range(number)]
    with Device(number - 1) as last, Buffer(touched=True) as buffer:
        assert last.migrate_to_device(buffer).pages == 1
        assert last.snapshot(buffer)[0].on_this_device


@pytest.mark.parametrize("number", ["0", "9", "4294967295"])
def test_a_number_of_devices_that_cannot_be(number: str) -> None:
    assert refusal(f"devices={number}") == f"hmm_dmirror: devices={number}: must be from 1 to 8"
    assert nodes() == []


FIELDS = re.compile(rb"\0(parm|parmtype|author|description|license|version)=([^\0]*)")


def modinfo() -> dict[str, list[str]]:
    """The .modinfo section of the module: words by field."""
    file = Path("/lib/modules") / platform.release() / "hmm_dmirror.ko"
    found: dict[str, list[str]] = {}
    # of 5 MB where the kernel was built with debug information
    for field, words in FIELDS.findall(file.read_bytes()):
        found.setdefault(field.decode(), []).append(words.decode())
    return found


def test_the_module_says_what_it_is() -> None:
    said = modinfo()
    assert said["license"] == ["GPL"]
    assert len(said["author"]) == len(said["description"]) == 1
    version = next(
        line.split('"')[1]
        for line in (Path(module.__file__).parents[1] / "module" / "dkms.conf").read_text().splitlines()
        if line.startswith("PACKAGE_VERSION=")
    )
    assert said["version"] == [version]


def test_every_parameter_is_described() -> None:
    said = modinfo()
    described = {parm.partition(":")[0] for parm in said["parm"]}
    assert described == {parm.partition(":")[0] for parm in said["parmtype"]}
    assert described == {path.name for path in module.PARAMETERS.iterdir()}


def test_reading_unlocked_where_the_kernel_can() -> None:
    can = " hmm_range_fault_unlocked_timeout\n" in Path("/proc/kallsyms").read_text()
    with Device() as device, Buffer(3) as buffer:
        buffer.write(b"read me")
        # a wrong range is a wrong range everywhere
        with pytest.raises(InvalidRequest):
            device.read_unlocked(PageRun(buffer.address + 1, 1))
        if can:
            done = device.read_unlocked(buffer)
            assert (done.data[:7], done.pages) == (b"read me", 3)
        else:
            device.read(buffer)
            with pytest.raises(NoSuchRequest, match="READ_UNLOCKED"):
                device.read_unlocked(buffer)
