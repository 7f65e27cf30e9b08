# SPDX-License-Identifier: GPL-2.0-only
"""One machine: started cold or from its saved state, given one job, watched until its end.

All channels to QEMU (QMP, console, the agent's port, the job's streams) are socket pairs that QEMU
inherits: nothing is on the file system, so nothing is left behind when the launcher is killed, and
QEMU itself is killed by the kernel when its parent dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError

from testmachine import qemu
from testmachine.cache import cache_dir
from testmachine.errors import BadInput, MachineDied, TestMachineError
from testmachine.kernel import Kernel
from testmachine.root import VENV_IN_GUEST, Root

REPOSITORY = Path(__file__).resolve().parent.parent
WRITABLE = Path("_build") / "machine"  # below the repository: the only place a guest can write
CHANNELS = ("qmp", "console", "agent", "stdin", "stdout", "stderr")
BOOT_SECONDS = 300.0
RESTORE_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
LAST_MESSAGES = 25

Result = TypeVar("Result")
Sink = Callable[[bytes], None]


@dataclass(frozen=True)
class Setup:
    """What a machine is made of. ``modules`` is a directory for /lib/modules/RELEASE, or None."""

    kernel: Kernel
    root: Root
    accelerator: str
    hardware: qemu.Hardware = qemu.NOTEBOOK
    modules: Path | None = None
    load_module: bool = True


def shares() -> dict[str, tuple[Path, bool]]:
    """Tag of each shared directory: its path, the same inside as outside, and if it is writable."""
    return {
        "repository": (REPOSITORY, False),
        "cache": (cache_dir(), False),
        "writable": (REPOSITORY / WRITABLE, True),
    }


def explain_end(console: str, hardware: qemu.Hardware, status: int) -> str:
    """Why a guest ended, in one line, from what its console said last."""
    panic = re.search(r"Kernel panic - not syncing: (.*)", console)
    if panic and "Out of memory" in panic.group(1):
        return (
            f"the guest ran out of memory ({hardware.memory} MiB): use less, or "
            "give it more with  python -m testmachine run --memory MIB"
        )
    if panic:
        oops = re.search(r"(BUG: .*|Oops: .*|kernel BUG at .*|general protection fault.*)", console)
        detail = f" after {oops.group(1)}" if oops else ""
        return f"the guest's kernel panicked: {panic.group(1).strip()}{detail}"
    if status < 0:
        return f"QEMU was ended by {signal.Signals(-status).name}"
    return f"QEMU ended with status {status} before the guest's job was done"


class Machine:
    """A running machine. Made by :func:`start`; does one job."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.qmp = QMPClient("testmachine")
        self.console: deque[str] = deque(maxlen=400)
        self.stderr_of_qemu = b""
        self._sockets: dict[str, socket.socket] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._counts = {"stdout": 0, "stderr": 0}
        self._sinks: dict[str, Sink] = {}
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process
        self._ended: asyncio.Task[int]
        self.console_sink: Callable[[str], None] | None = None

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    async def spawn(self, state: int | None) -> None:
        """Start QEMU; ``state`` is the descriptor of a saved state to load."""
        theirs: dict[str, socket.socket] = {}
        for name in CHANNELS:
            self._sockets[name], theirs[name] = socket.socketpair()
            self._sockets[name].setblocking(False)
        setup = self.setup
        argv = qemu.arguments(
            setup.kernel, setup.root, setup.hardware, setup.accelerator,
            {name: str(end.fileno()) for name, end in theirs.items()},
        )  # fmt: skip
        (REPOSITORY / WRITABLE).mkdir(parents=True, exist_ok=True)
        for tag, (path, writable) in shares().items():
            argv += qemu.share_arguments(tag, path, writable)
        fds = [end.fileno() for end in theirs.values()]
        if state is not None:
            argv += ["-incoming", f"fd:{state}"]
            fds.append(state)

        libc = ctypes.CDLL(None)
        parent = os.getpid()

        def die_with_parent() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

        self._process = await asyncio.create_subprocess_exec(
            *argv,
            pass_fds=fds,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a ^C at the terminal is the launcher's to handle
            preexec_fn=die_with_parent,
        )
        for end in theirs.values():
            end.close()
        self._ended = asyncio.create_task(self._process.wait())
        for reader in (self._read_console, self._read_agent, self._read_qemu_stderr):
            self._tasks.append(asyncio.create_task(reader()))
        for name in ("stdout", "stderr"):
            self._tasks.append(asyncio.create_task(self._read_stream(name)))
        await self.or_death(self.qmp.connect(self._sockets.pop("qmp")))

    async def or_death(self, work: Awaitable[Result], seconds: float | None = None) -> Result:
        """The result of ``work``; MachineDied as soon as QEMU has ended, or after ``seconds``."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait(
                {task, self._ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task in done:
                try:
                    return task.result()
                except (QMPError, EOFError, ConnectionError):
                    await asyncio.wait({self._ended}, timeout=2)
                    if not self._ended.done():
                        raise
            if self._ended.done():
                await asyncio.sleep(0.05)  # the readers take what is still in the sockets
                raise self._death(self._ended.result())
            raise MachineDied(
                f"the guest did not answer within {seconds:.0f} s", list(self.console)[-LAST_MESSAGES:]
            )
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, QMPError, EOFError, OSError):
                    await task

    def _death(self, status: int) -> MachineDied:
        console = list(self.console)
        if not console and self.stderr_of_qemu:
            return MachineDied(f"QEMU: {self.stderr_of_qemu.decode(errors='replace').strip()}", [])
        reason = explain_end("\n".join(console), self.setup.hardware, status)
        return MachineDied(reason, console[-LAST_MESSAGES:])

    async def execute(self, command: str, **arguments: object) -> object:
        """One QMP command; MachineDied if QEMU ends meanwhile."""
        return await self.or_death(self.qmp.execute(command, arguments or None))

    async def event(self, *names: str, seconds: float | None = None) -> dict[str, Any]:
        """The next of the agent's events that is one of ``names``, or an error it reports."""

        async def wait() -> dict[str, Any]:
            while True:
                event = await self._events.get()
                if event["event"] == "error":
                    raise TestMachineError(f"in the guest: {event['message']}")
                if event["event"] in names:
                    return event

        return await self.or_death(wait(), seconds)

    async def give(self, kind: str, **job: object) -> None:
        """Give the agent its job, once it has said that it is ready."""
        await self.event("ready", seconds=BOOT_SECONDS)
        setup = self.setup
        request = {
            "kind": kind,
            "time": time.time(),
            "entropy": secrets.token_hex(64),
            "shares": [
                {"tag": tag, "path": str(path), "writable": writable}
                for tag, (path, writable) in shares().items()
            ],
            "modules": str(setup.modules) if setup.modules else None,
            "load": setup.load_module,
            "environment": guest_environment(),
            **job,
        }
        loop = asyncio.get_running_loop()
        line = json.dumps(request).encode() + b"\n"
        await loop.sock_sendall(self._sockets["agent"], line)
        await self.event("accepted", seconds=RESTORE_SECONDS)

    def send_to(self, sinks: dict[str, Sink]) -> None:
        """Where the job's "stdout" and "stderr" go."""
        self._sinks = sinks

    def keys(self) -> socket.socket:
        """The socket of the job's standard input (a shell's keyboard)."""
        return self._sockets["stdin"]

    async def finish(self) -> int:
        """Wait for the job's end and all of its output; the exit status is the job's."""
        end = await self.event("exit")

        async def drain() -> None:
            while any(self._counts[name] < end[name] for name in self._counts):
                self._moved.clear()
                await self._moved.wait()

        await self.or_death(drain(), seconds=30)
        if "why" in end:
            raise BadInput(f"in the guest: {end['why']}")
        return int(end["status"])

    async def stop(self) -> None:
        """End QEMU, whatever the guest is doing."""
        if not self._ended.done():
            with suppress(QMPError, EOFError, OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self.qmp.execute("quit"), 2)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._ended), 2)
            if not self._ended.done():
                with suppress(ProcessLookupError):
                    self._process.kill()
        await self._ended
        with suppress(QMPError, EOFError, OSError):
            await self.qmp.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._sockets.values():
            end.close()

    async def _read_console(self) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        while data := await loop.sock_recv(self._sockets["console"], 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r")
                self.console.append(text)
                if self.console_sink:
                    self.console_sink(text)

    async def _read_agent(self) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        while data := await loop.sock_recv(self._sockets["agent"], 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._events.put_nowait(json.loads(line))

    async def _read_stream(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._sockets[name], 1 << 20):
            if name in self._sinks:
                self._sinks[name](data)
            self._counts[name] += len(data)
            self._moved.set()

    async def _read_qemu_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self.stderr_of_qemu = (self.stderr_of_qemu + data)[-4096:]


def guest_environment() -> dict[str, str]:
    """The environment of every job."""
    return {
        "PATH": f"{VENV_IN_GUEST}/bin:/usr/bin:/usr/sbin",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",  # the repository is read-only inside
        "PYTHONHASHSEED": "0",
        "HMM_WRITABLE": str(REPOSITORY / WRITABLE),
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


@asynccontextmanager
async def start(
    setup: Setup, state: Path | None = None, console: Callable[[str], None] | None = None
) -> AsyncIterator[Machine]:
    """A machine, cold or restored from ``state``; it ends with the block.

    ``console`` is called with each line of the guest's console. Raises MachineDied.
    """
    machine = Machine(setup)
    machine.console_sink = console
    fd = None if state is None else os.open(state, os.O_RDONLY)
    try:
        await machine.spawn(fd)
        if fd is not None:
            await machine.or_death(_run_restored(machine), seconds=RESTORE_SECONDS)
        yield machine
    finally:
        if fd is not None:
            os.close(fd)
        await machine.stop()


async def _run_restored(machine: Machine) -> None:
    """Set a restored machine going. A `cont` sent while the state still loads is lost."""

    async def status() -> str:
        answer = await machine.qmp.execute("query-status")
        assert isinstance(answer, dict)
        return str(answer["status"])

    while await status() in ("inmigrate", "prelaunch"):
        await asyncio.sleep(0.005)
    await machine.qmp.execute("cont")
    while await status() != "running":
        await asyncio.sleep(0.005)
