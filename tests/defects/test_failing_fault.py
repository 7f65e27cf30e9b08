# SPDX-License-Identifier: GPL-2.0-only
"""Defects of migrate_to_ram that no notebook can show, since a program does not survive the touch.

So a child touches the page, in a machine of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testmachine.machine import REPOSITORY
from tests.defects.test_defects import Defect

WRONG_OWNER = Defect("", "a wrong owner", "migrate.c", "pgmap_owner = device;", "pgmap_owner = NULL;")
WRONG_FLAGS = Defect("", "no flags", "migrate.c", "flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;", "flags = 0;")
NO_FAULT_PAGE = Defect("", "no fault_page", "fault.c", "fault_page = vmf->page;", "fault_page = NULL;")
SIGBUS = Defect("", "no memory is SIGBUS", "fault.c", "ret = VM_FAULT_OOM;", "ret = VM_FAULT_SIGBUS;")

# The child touches a page on the device; after two seconds it is killed.
TOUCH = """
import os, signal, time
from hmmkit.buffer import PAGE_SIZE, Buffer, PageRun
from hmmkit.counters import read_counters
from hmmkit.device import Device

with Device() as device, Buffer(2, touched=True) as buffer:
    device.migrate_to_device(buffer)
    asked = device.migrate_to_system(PageRun(buffer.address + PAGE_SIZE, 1))
    before = read_counters()
    child = os.fork()
    if child == 0:
        buffer.touch()
        os._exit(0)
    time.sleep(2)
    ended = os.waitpid(child, os.WNOHANG)[0] == child
    os.kill(child, signal.SIGKILL)
    status = 0 if ended else os.waitpid(child, 0)[1]
    done = read_counters() - before
    print("asked back by ioctl:", asked.pages, "of", asked.asked)
    print("the touch returned:", ended)
    print("faults, more than 100:", done.faults > 100)
    print("pages back:", done.pages_back_by_fault)
    print("killed by signal", os.WTERMSIG(status))
"""

SEEN = """\
asked back by ioctl: 0 of 1
the touch returned: False
faults, more than 100: True
pages back: 0
killed by signal 9
"""

# The child touches a page on the device, and there is no memory to bring it back to.
FAIL = """
import os
from hmmkit.buffer import Buffer
from hmmkit.device import Device

with Device() as device, Buffer(touched=True) as buffer:
    device.migrate_to_device(buffer)
    device.fail_next_allocation()
    child = os.fork()
    if child == 0:
        buffer.touch()
        os._exit(0)
    print("ended by signal", os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def printed(defect: Defect, program: str, module: Path) -> str:
    """What a program prints in a machine whose driver has the defect."""
    defect.build_into(module)
    done = subprocess.run(
        [sys.executable, "-m", "testmachine", "run", "--", "python", "-c", program],
        cwd=REPOSITORY, env={**os.environ, "HMM_MODULE": str(module)}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("defect", "seen"),
    [
        (WRONG_OWNER, SEEN),
        (WRONG_FLAGS, SEEN),
        # The ioctl has no fault page: it works as ever.
        (NO_FAULT_PAGE, SEEN.replace("0 of 1", "1 of 1")),
    ],
    ids=lambda value: value.what if isinstance(value, Defect) else "",
)
def test_it_faults_for_ever_and_can_be_killed(defect: Defect, seen: str, tmp_path: Path) -> None:
    assert printed(defect, TOUCH, tmp_path / "module") == seen


def test_sigbus_ends_the_program_that_touches_the_page(tmp_path: Path) -> None:
    assert printed(SIGBUS, FAIL, tmp_path / "module") == "ended by signal 7\n"
