# SPDX-License-Identifier: GPL-2.0-only
"""A machine as a Jupyter kernel: the kernelspecs, and what they call.

Jupyter writes a connection file and starts our launcher as it would start any kernel. The launcher
restores a machine, hands the file to the agent, and forwards the file's five ports to the guest
once the guest listens there: user networking accepts a connection before the guest does, and
ZeroMQ would then wait 30 s for a greeting.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from testmachine import qemu, series, session, state
from testmachine.cache import cache_dir
from testmachine.errors import BadInput, HostError, MachineDied, TestMachineError
from testmachine.machine import REPOSITORY, Machine, Setup, start

PORTS = ("shell", "iopub", "stdin", "control", "hb")
GUEST_ADDRESS = "10.0.2.15"
KEPT_LOGS = 20


def read_connection_file(path: Path) -> dict[str, Any]:
    """A Jupyter connection file. BadInput says what is wrong with one that is none."""
    try:
        connection = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"cannot read the connection file {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a Jupyter connection file: it is not JSON ({error})") from error
    if not isinstance(connection, dict):
        raise BadInput(f"{path} is not a Jupyter connection file: it holds no object")
    names = [f"{port}_port" for port in PORTS]
    missing = [name for name in (*names, "key", "ip", "transport") if name not in connection]
    if missing:
        raise BadInput(f"{path} is not a Jupyter connection file: it lacks {', '.join(missing)}")
    for name in names:
        port = connection[name]
        if not isinstance(port, int) or not 0 < port < 65536:
            raise BadInput(f"{path}: {name} is {port!r}, not a port")
    if connection["transport"] != "tcp" or connection["ip"] not in ("127.0.0.1", "localhost"):
        raise BadInput(
            f"{path}: the machine's kernel talks tcp on 127.0.0.1 only, "
            f"not {connection['transport']} on {connection['ip']}"
        )
    return connection


def install(built: str, hardware: qemu.Hardware = qemu.NOTEBOOK, directory: Path | None = None) -> list[str]:
    """Install the kernelspec ``hmm-<built>``, and ``hmm`` for the default series; their names.

    Those of a machine that counts instructions end in ``-counting``. ``directory`` is where, the
    virtual environment's if it is None.
    """
    directory = directory or Path(sys.prefix) / "share" / "jupyter" / "kernels"
    end, options, what = ("-counting", ["--counting"], ", counting") if hardware.counting else ("", [], "")
    names = [f"hmm-{built}{end}"] + ([f"hmm{end}"] if built == series.DEFAULT else [])
    for name in names:
        release = "" if name == f"hmm{end}" else f", Linux {built}"
        spec = {
            "argv": [
                sys.executable, "-m", "testmachine", "kernel", "--kernel", built, *options,
                "-f", "{connection_file}",
            ],
            "display_name": f"Linux with HMM (test machine{release}{what})",
            "language": "python",
            "interrupt_mode": "message",  # a signal would reach QEMU and not the guest
            "env": {"PYTHONPATH": str(REPOSITORY)},
        }  # fmt: skip
        (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / name / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
    return names


def serve(name: str, hardware: qemu.Hardware, connection_file: Path) -> int:
    """Be the Jupyter kernel of ``connection_file`` until it is shut down; returns its status.

    What goes wrong is said on standard error and in a log of its own, since Jupyter shows a
    kernel's standard error to nobody when it runs under nbval.
    """
    connection = read_connection_file(connection_file)
    log_path = _new_log()
    with log_path.open("w", buffering=1) as log:
        print(f"{time.strftime('%F %T')} {connection_file}", file=log)
        try:
            setup = session.prepare(name, hardware, build_it=False)
            saved = state.get(setup)
            return asyncio.run(_serve(setup, saved, connection, log))
        except TestMachineError as error:
            print(error.report() if isinstance(error, MachineDied) else error, file=log)
            print(f"the machine's log: {log_path}", file=sys.stderr)
            raise


async def _serve(setup: Setup, saved: Path, connection: dict[str, Any], log: TextIO) -> int:
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the guest is interrupted by a message
    loop.add_signal_handler(signal.SIGTERM, this.cancel)

    def sink(data: bytes) -> None:
        log.write(data.decode(errors="replace"))

    def console(line: str) -> None:
        print(line, file=log)

    try:
        async with start(setup, saved, console) as machine:
            machine.send_to({"stdout": sink, "stderr": sink})
            await machine.give("kernel", connection=connection, cwd=str(_directory_in_guest()))
            if (await machine.event("listening", "exit"))["event"] == "exit":
                raise TestMachineError("the guest's Jupyter kernel ended before it listened")
            for port in PORTS:
                await _forward(machine, connection[f"{port}_port"])
            return await machine.finish()
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


async def _forward(machine: Machine, port: int) -> None:
    rule = f"hostfwd_add net tcp:127.0.0.1:{port}-{GUEST_ADDRESS}:{port}"
    said = await machine.execute("human-monitor-command", **{"command-line": rule})
    if said:
        raise HostError(f"port {port} of 127.0.0.1 is taken by another program: start again ({said!s})")


def _directory_in_guest() -> Path:
    here = Path.cwd()
    return here if here.is_relative_to(REPOSITORY) else REPOSITORY / "notebooks"


def _new_log() -> Path:
    directory = cache_dir() / "logs" / "notebooks"
    directory.mkdir(parents=True, exist_ok=True)
    for old in sorted(directory.glob("*.log"))[: -KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    return directory / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
