# SPDX-License-Identifier: GPL-2.0-only
"""Puts the parts together: from "this series, this command" to a machine that runs it."""

from __future__ import annotations

import asyncio
import compileall
import os
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from testmachine import kernel, module, qemu, root, state, stock
from testmachine.machine import REPOSITORY, Machine, Setup, Sink, start

Started = AbstractAsyncContextManager[Machine]


def prepare(
    series: str,
    hardware: qemu.Hardware = qemu.NOTEBOOK,
    *,
    variant: str = "default",
    load_module: bool = True,
    build_it: bool = True,
) -> Setup:
    """Build what is missing (or raise NotBuilt for what takes minutes) and choose the accelerator."""
    _compile_shared()
    built: kernel.Kernel
    if variant == "stock":
        built = stock.get(series, build_it=build_it)
    else:
        built = kernel.get(series, variant, build_it=build_it)
    packed = root.get(build_it=build_it)
    if built.boot_modules:
        packed = root.followed_by(packed, built.boot_modules)
    accelerator = qemu.accelerator(built, hardware)
    return Setup(built, packed, accelerator.name, hardware, module.get(built), load_module)


def _compile_shared() -> None:
    """Compile the repository's packages, where they have changed.

    The guest imports them and cannot write there; in emulation compiling takes every machine a second.
    """
    for package in REPOSITORY.glob("*/__init__.py"):
        compileall.compile_dir(package.parent, quiet=2)


def launch(setup: Setup, console: Callable[[str], None] | None = None) -> Started:
    """A machine from its saved state, which is made first if need be.

    Only the hardware of notebooks is saved: another amount of memory is booted cold.
    """
    if setup.hardware.saved:
        return start(setup, state.get(setup), console)
    return start(setup, None, console)


def run(
    setup: Setup,
    argv: Sequence[str],
    cwd: Path,
    stdout: Sink | None = None,
    console: Callable[[str], None] | None = None,
) -> int:
    """Run one command in a fresh machine, its streams to ours; returns its exit status.

    ``stdout``, if given, gets the output instead. ``console`` gets each kernel message.
    """
    machine_start = launch(setup, console)

    async def job() -> int:
        async with machine_start as machine:
            machine.send_to({"stdout": stdout or _write_to(1), "stderr": _write_to(2)})
            await machine.give("run", argv=list(argv), cwd=str(cwd))
            return await machine.finish()

    return asyncio.run(job())


def capture(
    setup: Setup, argv: Sequence[str], cwd: Path, console: Callable[[str], None] | None = None
) -> tuple[int, str, str]:
    """As :func:`run`, but returns the exit status and both streams as text."""
    machine_start = launch(setup, console)
    streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    async def job() -> int:
        async with machine_start as machine:
            machine.send_to({name: parts.append for name, parts in streams.items()})
            await machine.give("run", argv=list(argv), cwd=str(cwd))
            return await machine.finish()

    status = asyncio.run(job())
    out, err = (b"".join(parts).decode(errors="replace") for parts in streams.values())
    return status, out, err


def shell(setup: Setup, cwd: Path) -> int:
    """A shell in a fresh machine, on this terminal."""
    machine_start = launch(setup)
    columns, lines = shutil.get_terminal_size()

    async def job() -> int:
        async with machine_start as machine:
            machine.send_to({"stdout": _write_to(1)})
            loop = asyncio.get_running_loop()
            keys = machine.keys()
            loop.add_reader(0, lambda: keys.send(os.read(0, 4096)))
            await machine.give("shell", argv=["sh", "-i"], cwd=str(cwd), size=[lines, columns])
            try:
                return await machine.finish()
            finally:
                loop.remove_reader(0)

    if not sys.stdin.isatty():
        return asyncio.run(job())
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        return asyncio.run(job())
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _write_to(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write
