# SPDX-License-Identifier: GPL-2.0-only
"""hmmkit.uapi says what the C header says: the compiler is asked, not a reader."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hmmkit import uapi

HEADER = Path(__file__).resolve().parents[2] / "module" / "uapi" / "hmm_dmirror.h"

PROGRAM = """
#include <stdio.h>
#include <stddef.h>
#include "hmm_dmirror.h"
#define FIELD(f) printf("\\"" #f "\\": [%zu, %zu],", offsetof(struct hmm_dmirror_cmd, f), \\
                        sizeof(((struct hmm_dmirror_cmd *)0)->f))
#define NUMBER(n) printf("\\"" #n "\\": %lu,", (unsigned long)n)
int main(void)
{
    printf("{");
    FIELD(addr); FIELD(ptr); FIELD(npages); FIELD(cpages); FIELD(faults);
    %s
    printf("\\"size\\": %%zu}\\n", sizeof(struct hmm_dmirror_cmd));
    return 0;
}
"""


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Sizes, offsets and numbers as gcc sees them."""
    compiler = shutil.which("gcc")
    assert compiler, "this test compiles the header: install gcc"
    names = [f"HMM_DMIRROR_{request.name}" for request in uapi.Request]
    names += [f"HMM_DMIRROR_PROT_{prot.name}" for prot in uapi.Prot]
    names += [f"HMM_DMIRROR_FLAG_{flag.name}" for flag in uapi.Flag]
    names += ["HMM_DMIRROR_PROT_KIND"]
    directory = tmp_path_factory.mktemp("uapi")
    source = directory / "numbers.c"
    numbers = " ".join(f"NUMBER({name});" for name in names)
    source.write_text(PROGRAM.replace("%s", numbers).replace("%%", "%"))
    program = directory / "numbers"
    subprocess.run([compiler, "-Wall", "-Werror", "-I", HEADER.parent, "-o", program, source], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    numbers_in_c: dict[str, object] = json.loads(done.stdout)
    return numbers_in_c


def test_the_struct_has_the_same_layout(header: dict[str, object]) -> None:
    assert ctypes.sizeof(uapi.Command) == header["size"]
    for name, _ in uapi.Command._fields_:
        field = getattr(uapi.Command, name)
        assert [field.offset, field.size] == header[name], name


def test_no_field_of_the_header_is_missing(header: dict[str, object]) -> None:
    declared = sum(getattr(uapi.Command, name).size for name, _ in uapi.Command._fields_)
    assert declared == header["size"]


@pytest.mark.parametrize("request_", uapi.Request, ids=lambda request: request.name)
def test_the_ioctl_numbers_are_the_same(header: dict[str, object], request_: uapi.Request) -> None:
    assert request_ == header[f"HMM_DMIRROR_{request_.name}"]


@pytest.mark.parametrize("flag", uapi.Flag, ids=lambda flag: flag.name)
def test_the_flags_are_the_same(header: dict[str, object], flag: uapi.Flag) -> None:
    assert flag == header[f"HMM_DMIRROR_FLAG_{flag.name}"]


@pytest.mark.parametrize("prot", uapi.Prot, ids=lambda prot: prot.name)
def test_the_snapshot_codes_are_the_same(header: dict[str, object], prot: uapi.Prot) -> None:
    assert prot == header[f"HMM_DMIRROR_PROT_{prot.name}"]


def test_the_mask_is_the_same(header: dict[str, object]) -> None:
    assert header["HMM_DMIRROR_PROT_KIND"] == uapi.PROT_KIND
