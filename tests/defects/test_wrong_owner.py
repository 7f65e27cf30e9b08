# SPDX-License-Identifier: GPL-2.0-only
"""The defect that no notebook can show: migrate_to_ram with a wrong owner is called for ever.

A program that touches such a page never comes back from the touch, so here a child touches it, in
a machine of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testmachine.machine import REPOSITORY
from tests.defects.test_defects import Defect

WRONG_OWNER = Defect(
    notebook="",
    what="pages are asked back of an owner who has none",
    file="migrate.c",
    find="batch->args.pgmap_owner = device;",
    replace="batch->args.pgmap_owner = &batch->args;",
)

# The child touches a page on the device; after two seconds it is killed.
TOUCH = """
import os, signal, time
from hmmkit.buffer import Buffer
from hmmkit.counters import read_counters
from hmmkit.device import Device

with Device() as device, Buffer(touched=True) as buffer:
    device.migrate_to_device(buffer)
    asked = device.migrate_to_system(buffer)
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


def test_a_wrong_owner_faults_for_ever_and_can_be_killed(tmp_path: Path) -> None:
    module = tmp_path / "module"
    WRONG_OWNER.build_into(module)
    done = subprocess.run(
        [sys.executable, "-m", "testmachine", "run", "--", "python", "-c", TOUCH],
        cwd=REPOSITORY, env={**os.environ, "HMM_MODULE": str(module)}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.stdout == SEEN, done.stderr
