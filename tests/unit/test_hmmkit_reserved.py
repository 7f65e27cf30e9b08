# SPDX-License-Identifier: GPL-2.0-only
"""RAM set aside on the kernel's command line, from its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmkit import reserved
from hmmkit.errors import ModuleProblem
from hmmkit.iomem import PfnRange
from hmmkit.reserved import coherent_parameters, parse_memmap

IOMEM = """\
00100000-1fffffff : System RAM
20000000-3fffffff : Reserved
40000000-4ffdcfff : System RAM
"""


@pytest.mark.parametrize(
    ("command_line", "ranges"),
    [
        ("quiet", []),
        ("memmap=512M$512M quiet", [PfnRange(0x20000, 0x40000)]),
        ("memmap=512M$0x40000000", [PfnRange(0x40000, 0x60000)]),
        ("memmap=0x1000$0x2000,4k$1g", [PfnRange(2, 3), PfnRange(0x40000, 0x40001)]),
        ("memmap=512M@512M memmap=1G#4G memmap=1G!4G memmap=exactmap", []),
    ],
)
def test_ranges_taken_out_of_use(command_line: str, ranges: list[PfnRange]) -> None:
    assert parse_memmap(command_line) == ranges


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command_line: str, iomem: str) -> None:
    """A machine with this command line and memory."""

    def of(name: str) -> Path:
        file = tmp_path / Path(name).name
        file.write_text({"/proc/iomem": iomem, "/proc/cmdline": command_line}[name])
        return file

    monkeypatch.setattr(reserved, "Path", of)


def test_two_devices_share_what_is_set_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, "quiet memmap=512M$512M", IOMEM)
    assert coherent_parameters() == ("spm_addr_dev0=0x20000000", "spm_addr_dev1=0x30000000")


def test_devices_begin_at_a_multiple_of_2_mib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    iomem = "20100000-405fffff : Reserved\n"
    machine(monkeypatch, tmp_path, "memmap=517M$513M", iomem)
    assert coherent_parameters() == ("spm_addr_dev0=0x20200000", "spm_addr_dev1=0x30200000")


@pytest.mark.parametrize(
    ("command_line", "iomem"),
    [
        ("quiet", IOMEM),
        ("memmap=256M$512M", IOMEM),
        ("memmap=512M$1G", IOMEM),
        ("memmap=512M$512M", IOMEM.replace("Reserved", "Persistent Memory (legacy)")),
    ],
)
def test_without_it_the_error_says_what_to_boot_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command_line: str, iomem: str
) -> None:
    machine(monkeypatch, tmp_path, command_line, iomem)
    with pytest.raises(ModuleProblem, match=r"boot with memmap=512M\$ADDRESS"):
        coherent_parameters()
