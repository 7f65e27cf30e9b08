# SPDX-License-Identifier: GPL-2.0-only
"""The driver as a kernel module: its parameters, and loading it again.

Loading is the one moment at which the devices add their first chunks, so a page that wants to
show it has to load the module again.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmmkit.errors import ModuleProblem, NeedRoot

NAME = "hmm_dmirror"

BUILT_HERE = Path(__file__).resolve().parent.parent / "module" / f"{NAME}.ko"
PARAMETERS = Path("/sys/module") / NAME / "parameters"


@contextmanager
def verified_copies() -> Iterator[None]:
    """Inside the block the driver compares source and destination of every page it copies.

    The parameter ``verify`` is set, and set back to what it was. The driver reports in the
    kernel log.

    Raises ``ModuleProblem`` where our module is not loaded (the kernel's own driver has no such
    parameter), ``NeedRoot`` where the parameter may not be written.
    """
    parameter = PARAMETERS / "verify"
    try:
        before = parameter.read_text()
        parameter.write_text("1")
    except FileNotFoundError as error:
        raise ModuleProblem(error.errno or 0, f"the module {NAME} is not loaded: modprobe {NAME}") from None
    except PermissionError as error:
        raise NeedRoot(error.errno or 0, "module parameters are for root only") from None
    try:
        yield
    finally:
        parameter.write_text(before)


def reload(*parameters: str) -> None:
    """Unload the module if it is loaded, and load it, so that the devices begin with fresh chunks.

    ``parameters`` are the module's, as in ``"devices=3"``. Raises ``ModuleProblem`` as
    :func:`unload` and :func:`load` do.
    """
    if PARAMETERS.exists():
        unload()
    load(*parameters)


def unload() -> None:
    """Unload the module; every page on a device comes back.

    Raises ``ModuleProblem`` with the tool's own words, for example while a device is open.
    """
    _run("rmmod", NAME)


def load(*parameters: str) -> None:
    """Load the module. Where modprobe does not know it, the one built in this clone is taken.

    Raises ``ModuleProblem`` with the tool's own words. If it refuses a parameter, the kernel log
    says why.
    """
    try:
        _run("modprobe", NAME, *parameters)
    except ModuleProblem:
        if not BUILT_HERE.exists():
            raise
        _run("insmod", str(BUILT_HERE), *parameters)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ModuleProblem(error.errno or 0, f"{command[0]}: no such program") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ModuleProblem(errno.EINVAL, f"{' '.join(command)}: {said}")
