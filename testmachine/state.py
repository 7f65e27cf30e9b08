# SPDX-License-Identifier: GPL-2.0-only
"""Saved states: a machine booted once, its imports done, written to a file and restored per use."""

from __future__ import annotations

import asyncio
from pathlib import Path

from testmachine import qemu
from testmachine.cache import building, cache_dir, digest, file_digest, need_space, sweep
from testmachine.errors import BuildError, MachineDied
from testmachine.machine import BOOT_SECONDS, Machine, Setup, start
from testmachine.progress import Progress

STATE_GIB = 0.6
KEPT = 12  # states, the least recently used goes first


def _key(setup: Setup) -> str:
    """Everything a state depends on: a state that does not fit is under another name."""
    placeholders = {name: name for name in ("qmp", "console", "agent", "stdin", "stdout", "stderr")}
    argv = qemu.arguments(setup.kernel, setup.root, setup.hardware, setup.accelerator, placeholders)
    processor = ""
    if setup.accelerator == "kvm":  # the guest has seen the host's processor
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith("model name")), "")
    return digest(qemu.version(), file_digest(setup.kernel.image), setup.root.key, processor, *argv)


def name(setup: Setup) -> str:
    """What a person calls this machine: "6.12", "6.12, counting"."""
    return setup.kernel.name + (", counting" if setup.hardware.counting else "")


def path_for(setup: Setup) -> Path:
    """Where the state of this setup is, or would be."""
    return cache_dir() / "states" / _key(setup) / "state"


def get(setup: Setup) -> Path:
    """The saved state of this setup, made if there is none that fits.

    Raises HostError (disk space), BuildError, MachineDied.
    """
    path = path_for(setup)
    with building(path.parent) as partial:
        if partial is not None:
            need_space(STATE_GIB, "the machine's saved state")
            progress = Progress(f"machine {name(setup)}: booting once, to save its state", total=0)
            asyncio.run(_save(setup, partial / "state"))
            progress.finish()
            sweep(path.parent.parent, keep=KEPT)
    return path


async def _save(setup: Setup, path: Path) -> None:
    async with start(setup) as machine:
        await machine.event("ready", seconds=BOOT_SECONDS)
        await machine.execute("stop")
        await machine.execute("migrate-set-parameters", **{"max-bandwidth": 100 << 30})
        with path.open("wb") as file:
            machine.qmp.send_fd_scm(file.fileno())
            await machine.execute("getfd", fdname="state")
            await machine.execute("migrate", uri="fd:state")
            await _written(machine)
        size = path.stat().st_size
        if size < 1 << 20:
            raise BuildError(f"the saved state has {size} bytes only: QEMU wrote nothing")


async def _written(machine: Machine) -> None:
    while True:
        answer = await machine.execute("query-migrate")
        assert isinstance(answer, dict)
        status = answer.get("status")
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            raise MachineDied(f"QEMU could not save the machine: {answer.get('error-desc', status)}", [])
        await asyncio.sleep(0.02)
