# SPDX-License-Identifier: GPL-2.0-only
"""The kernelspec, used as JupyterLab and nbval use it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

from testmachine.cache import cache_dir
from testmachine.machine import REPOSITORY
from tests.host.processes import Launch, children, files_left, gone_within

Answer = tuple[str, list[dict[str, Any]]]


def execute(client: Any, code: str, timeout: float = 60) -> Answer:
    """Run one cell; the reply's status and what came back (streams, data)."""
    outputs: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, timeout=timeout, output_hook=outputs.append)
    return reply["content"]["status"], [m["content"] for m in outputs if "content" in m]


def text_of(outputs: list[dict[str, Any]]) -> str:
    """The streams' text."""
    return "".join(content.get("text", "") for content in outputs)


@contextmanager
def running(name: str = "hmm") -> Iterator[tuple[KernelManager, Any]]:
    """A started kernel and its client."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel(cwd=str(REPOSITORY / "notebooks"), stderr=-3)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=90)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def machine_of(manager: KernelManager) -> tuple[int, int]:
    """The process ids of a kernel's launcher and of its QEMU."""
    launcher = getattr(manager.provisioner, "pid", None)
    assert isinstance(launcher, int)
    (qemu,) = children(launcher)
    return launcher, qemu


def test_a_cell_draws_a_figure() -> None:
    with running() as (manager, client):
        _, qemu = machine_of(manager)
        status, outputs = execute(client, "import matplotlib.pyplot as p; p.plot([1, 3, 2]); p.show()")
        assert status == "ok"
        assert any("image/png" in content.get("data", {}) for content in outputs)
        status, outputs = execute(client, "import os; print(os.uname().nodename, os.getcwd())")
        assert text_of(outputs) == f"testmachine {REPOSITORY}/notebooks\n"
    assert gone_within(qemu, 3)


def test_interrupt_restart_shutdown() -> None:
    with running() as (manager, client):
        waiting = client.execute("import time\nfor _ in range(600): time.sleep(0.1)")
        time.sleep(1)
        manager.interrupt_kernel()
        while True:
            reply = client.get_shell_msg(timeout=20)
            if reply["parent_header"].get("msg_id") == waiting:
                break
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] == "KeyboardInterrupt"

        execute(client, "x = 1; open('/var/tmp/mark', 'w').close()")
        manager.restart_kernel()
        client.wait_for_ready(timeout=90)
        _, outputs = execute(client, "import os; print('x' in globals(), os.path.exists('/var/tmp/mark'))")
        assert text_of(outputs) == "False False\n", "a restart is a fresh machine"


def test_two_at_a_time_do_not_know_each_other() -> None:
    with running() as (_, one), running() as (_, two):
        execute(one, "open('/var/tmp/mark', 'w').close()")
        _, outputs = execute(two, "import os; print(os.path.exists('/var/tmp/mark'))")
        assert text_of(outputs) == "False\n"


def test_a_killed_launcher_leaves_nothing(tmp_path: Path) -> None:
    manager = KernelManager(kernel_name="hmm")
    manager.start_kernel(cwd=str(REPOSITORY), env={**os.environ, "TMPDIR": str(tmp_path)})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=90)
    launcher, qemu = machine_of(manager)
    os.kill(launcher, signal.SIGKILL)
    assert gone_within(qemu, 3)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert files_left(tmp_path) == set()


def test_wrong_key_is_not_answered() -> None:
    with running() as (manager, client):
        stranger = manager.client()
        stranger.session = Session(key=b"another key")
        stranger.start_channels()
        try:
            with pytest.raises(RuntimeError):
                stranger.wait_for_ready(timeout=5)
        finally:
            stranger.stop_channels()
        assert execute(client, "1")[0] == "ok"


def test_a_panic_ends_the_kernel_with_a_log() -> None:
    with running() as (manager, client):
        launcher, _ = machine_of(manager)
        client.execute("open('/proc/sysrq-trigger', 'w').write('c')")
        limit = time.monotonic() + 10
        while manager.is_alive() and time.monotonic() < limit:
            time.sleep(0.05)
        assert not manager.is_alive(), "the launcher is to end with its guest"
        (log,) = (cache_dir() / "logs" / "notebooks").glob(f"*-{launcher}.log")
        assert "the guest's kernel panicked" in log.read_text()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("not json", "it is not JSON"),
        ("[1]", "it holds no object"),
        ('{"key": ""}', "it lacks shell_port"),
    ],
)
def test_a_file_that_is_no_connection_file(
    testmachine: Launch, tmp_path: Any, content: str, complaint: str
) -> None:
    file = tmp_path / "connection.json"
    file.write_text(content)
    done = testmachine("kernel", "-f", str(file))
    assert done.returncode == 125
    (line,) = done.stderr.splitlines()
    assert line.startswith("testmachine: ") and complaint in line


def test_a_connection_file_that_is_missing(testmachine: Launch) -> None:
    done = testmachine("kernel", "-f", "/nowhere/connection.json")
    assert done.stderr.splitlines() == [
        "testmachine: cannot read the connection file /nowhere/connection.json: No such file or directory"
    ]
