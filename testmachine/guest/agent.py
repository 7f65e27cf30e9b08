# SPDX-License-Identifier: GPL-2.0-only
"""The guest's side: imports what notebooks import, then waits for its one job.

It runs as the guest's first process. The host saves the machine while the agent waits, and every
use restores that state: the imports below are paid for once.

It speaks lines of JSON over the virtio port "agent". Until it is given a job it says "ready"
several times a second: a restored machine drops what the host sends before the guest runs, so the
guest speaks first. A job's output goes over the ports "stdout" and "stderr"; the agent counts the
bytes, so that the host knows when it has them all.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULE = "hmm_dmirror"
READY_SECONDS = 0.05
LOOK_SECONDS = 0.04  # a look takes the emulated processor some time from the kernel it waits for
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # <linux/random.h>
MS_RDONLY = 1  # <linux/mount.h>


def open_port(name: str) -> int:
    """A file descriptor of the virtio-serial port called ``name``."""
    for entry in Path("/sys/class/virtio-ports").iterdir():
        if (entry / "name").read_text().strip() == name:
            return os.open(f"/dev/{entry.name}", os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError(f"no virtio port named {name}")


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    while data:
        data = data[os.write(fd, data) :]


class Host:
    """The host at the other end of the port "agent"."""

    def __init__(self) -> None:
        self._fd = open_port("agent")
        self._lock = threading.Lock()

    def say(self, event: str, **fields: Any) -> None:
        """Send one event."""
        with self._lock:
            write_all(self._fd, json.dumps({"event": event, **fields}).encode() + b"\n")

    def wait_for_job(self) -> dict[str, Any]:
        """Say "ready" until the host has sent a job."""
        received = b""
        while not received.endswith(b"\n"):
            if not received:
                self.say("ready")
            readable, _, _ = select.select([self._fd], [], [], READY_SECONDS)
            if readable:
                data = os.read(self._fd, 65536)
                received += data
                if not data:  # the host is not connected yet
                    time.sleep(READY_SECONDS)
        job: dict[str, Any] = json.loads(received)
        return job


class Pump(threading.Thread):
    """Copies a file descriptor to a port until its end, counting bytes."""

    def __init__(self, source: int, port: str) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._source = source
        self._port = open_port(port)
        self.start()

    def run(self) -> None:
        """Copy until the writers have closed their end."""
        while True:
            try:
                data = os.read(self._source, 65536)
            except OSError:  # a pseudo terminal ends with EIO
                return
            if not data:
                return
            write_all(self._port, data)
            self.count += len(data)


FIRST_CELL = """
import io, sys
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 3, 2], label="x")
figure.savefig(io.BytesIO(), format="svg")
plt.show()
print(*sys.modules)
"""


def rehearse() -> list[str]:
    """Run a first cell in a throw-away kernel; the names of the modules it needed."""
    from jupyter_client.manager import start_new_kernel

    # on a host with much else to do its imports alone take more than the usual minute
    manager, client = start_new_kernel(startup_timeout=240, kernel_name="python3")
    said: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        said.append(message["content"].get("text", ""))

    try:
        client.execute_interactive(FIRST_CELL, output_hook=collect)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    return "".join(said).split()


def warm_up() -> None:
    """Import what a notebook's first cell would otherwise wait for."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ["MPLCONFIGDIR"] = "/run/matplotlib"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads do not survive the fork
    # no first cell needs the last one, but a kernel is to seed it
    for name in (*rehearse(), "numpy.random"):
        with suppress(ImportError):  # sys.modules has names that are made and not imported
            importlib.import_module(name)
    # it ties itself to the running kernel when it is imported: the kernel is to do that
    sys.modules.pop("matplotlib_inline.backend_inline", None)
    figure = sys.modules["matplotlib.figure"].Figure()
    figure.subplots().plot([0, 1], label="x")
    for form in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=form)
    del figure
    gc.collect()
    gc.freeze()


def take_from_host(job: dict[str, Any]) -> None:
    """What a saved state cannot have: the time, fresh randomness, the host's directories."""
    time.clock_settime(time.CLOCK_REALTIME, job["time"])
    entropy = bytes.fromhex(job["entropy"])
    with Path("/dev/urandom").open("wb") as random:
        fcntl.ioctl(random, RNDADDENTROPY, struct.pack("ii", 8 * len(entropy), len(entropy)) + entropy)
        fcntl.ioctl(random, RNDRESEEDCRNG)

    libc = ctypes.CDLL(None, use_errno=True)
    for share in job["shares"]:
        Path(share["path"]).mkdir(parents=True, exist_ok=True)
        options = b"trans=virtio,version=9p2000.L,msize=512000,access=any"
        flags = 0 if share["writable"] else MS_RDONLY
        target = share["path"].encode()
        if libc.mount(share["tag"].encode(), target, b"9p", flags, options):
            raise OSError(ctypes.get_errno(), f"cannot mount {share['path']} in the machine")


def take_modules(job: dict[str, Any]) -> None:
    """Put the host's modules where modprobe looks, and load ours unless told not to."""
    if not job["modules"]:
        return
    modules = Path("/lib/modules")
    modules.mkdir(exist_ok=True)
    (modules / os.uname().release).symlink_to(job["modules"])
    if job["load"]:
        done = subprocess.run(["modprobe", MODULE], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"modprobe {MODULE}: {(done.stderr or done.stdout).strip()}")


def status_of(wait_status: int) -> int:
    """An exit status as a shell says it: 128 + N after signal N."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


def run_command(host: Host, job: dict[str, Any]) -> None:
    """Run a command without a terminal, its two streams apart."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    try:
        process = subprocess.Popen(
            job["argv"],
            cwd=job["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            start_new_session=True,
        )
    except FileNotFoundError:
        host.say("exit", status=127, stdout=0, stderr=0, why=f"{job['argv'][0]}: no such command")
        return
    except OSError as error:
        host.say("exit", status=126, stdout=0, stderr=0, why=f"{job['argv'][0]}: {error.strerror}")
        return
    os.close(out_write)
    os.close(err_write)
    pumps = [Pump(out_read, "stdout"), Pump(err_read, "stderr")]
    code = process.wait()
    for pump in pumps:
        # a background process of the command may hold the pipe: its output is not waited for
        pump.join(timeout=2)
    status = 128 - code if code < 0 else code
    host.say("exit", status=status, stdout=pumps[0].count, stderr=pumps[1].count)


def run_shell(host: Host, job: dict[str, Any]) -> None:
    """Run a command, or a shell, on a terminal."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(job["cwd"])
        os.execvp(job["argv"][0], job["argv"])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *job["size"], 0, 0))
    keys = open_port("stdin")

    def type_keys() -> None:
        while data := os.read(keys, 4096):
            write_all(master, data)

    threading.Thread(target=type_keys, daemon=True).start()
    screen = Pump(master, "stdout")
    _, wait_status = os.waitpid(pid, 0)
    screen.join(timeout=2)
    host.say("exit", status=status_of(wait_status), stdout=screen.count, stderr=0)


def listening(ports: set[int]) -> bool:
    """Whether all of ``ports`` have a listening TCP socket (/proc/net/tcp, state 0A)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return ports <= {int(f[1].split(":")[1], 16) for f in fields if f[3] == "0A"}


def run_kernel(host: Host, job: dict[str, Any]) -> None:
    """Become a Jupyter kernel: a fork of this warm interpreter, so nothing is imported again."""
    connection = job["connection"]
    ports = {connection[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")}
    file = Path("/run/connection.json")
    file.write_text(json.dumps({**connection, "ip": "0.0.0.0"}))

    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(out_write, 1)
            os.dup2(err_write, 2)
            os.chdir(job["cwd"])
            sys.argv = ["ipykernel_launcher"]
            sys.path[:0] = os.environ["PYTHONPATH"].split(":")
            import random

            import numpy
            from ipykernel.kernelapp import IPKernelApp

            random.seed()
            numpy.random.seed()
            IPKernelApp.launch_instance(["-f", str(file), "--log-level=ERROR"])
        except SystemExit as leaving:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(leaving.code if isinstance(leaving.code, int) else 0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(out_write)
    os.close(err_write)
    pumps = [Pump(out_read, "stdout"), Pump(err_read, "stderr")]
    told = False
    while True:
        done, wait_status = os.waitpid(pid, 0 if told else os.WNOHANG)
        if done:
            break
        if listening(ports):
            told = True
            host.say("listening")
        else:
            time.sleep(LOOK_SECONDS)
    for pump in pumps:
        pump.join(timeout=2)
    host.say("exit", status=status_of(wait_status), stdout=pumps[0].count, stderr=pumps[1].count)


def main() -> None:
    """Warm up if notebooks run here, wait, do the one job; then the host ends the machine."""
    if "testmachine.warm_up" in Path("/proc/cmdline").read_text().split():
        warm_up()
    host = Host()
    job = host.wait_for_job()
    host.say("accepted")
    try:
        os.environ.update(job["environment"])
        take_from_host(job)
        take_modules(job)
        runners = {"run": run_command, "shell": run_shell, "kernel": run_kernel}
        runners[job["kind"]](host, job)
    except Exception as error:  # whatever it is, the host is to hear of it
        host.say("error", message=str(error), trace=traceback.format_exc())
    while True:
        signal.pause()


main()
