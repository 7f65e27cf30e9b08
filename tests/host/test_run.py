# SPDX-License-Identifier: GPL-2.0-only
"""``run``: one command in a fresh machine."""

from __future__ import annotations

from importlib.util import cache_from_source
from pathlib import Path

from testmachine.machine import REPOSITORY
from tests.host.processes import Launch


def test_streams_and_status_are_the_commands(testmachine: Launch) -> None:
    done = testmachine("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done.returncode == 7
    assert done.stdout == "out\n"
    assert done.stderr.splitlines()[-1] == "err"


def test_all_output_arrives(testmachine: Launch) -> None:
    done = testmachine("run", "--", "seq", "300000")
    assert done.stdout.split() == [str(n) for n in range(1, 300001)]


def test_killed_command_has_the_shells_status(testmachine: Launch) -> None:
    done = testmachine("run", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == 128 + 9


def test_unknown_command_is_said_in_one_line(testmachine: Launch) -> None:
    done = testmachine("run", "--", "no-such-command")
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1] == "testmachine: in the guest: no-such-command: no such command"


def test_repository_is_there_and_read_only(testmachine: Launch, writable: Path) -> None:
    name = f"{writable}/written-by-the-guest"
    script = f"pwd; touch {REPOSITORY}/intruder 2>&1; echo from inside > {name}"
    done = testmachine("run", "--", "sh", "-c", script)
    assert done.returncode == 0
    where, refusal = done.stdout.splitlines()
    assert where == str(REPOSITORY)
    assert "Read-only file system" in refusal
    assert Path(name).read_text() == "from inside\n"


def test_the_guest_finds_our_packages_compiled(testmachine: Launch) -> None:
    compiled = Path(cache_from_source(str(REPOSITORY / "hmmkit" / "errors.py")))
    compiled.unlink(missing_ok=True)
    assert testmachine("run", "--", "true").returncode == 0
    assert compiled.is_file()


def test_every_machine_is_fresh(testmachine: Launch) -> None:
    script = "cat /var/tmp/mark 2>/dev/null; echo old > /var/tmp/mark; cat /proc/sys/kernel/random/uuid"
    first, second = (testmachine("run", "--", "sh", "-c", script).stdout for _ in range(2))
    assert "old" not in first + second
    assert first != second, "two machines from one state have the same random numbers"


def test_the_clock_is_the_hosts(testmachine: Launch) -> None:
    import time

    before = time.time()
    done = testmachine("run", "--", "date", "+%s")
    assert before - 1 <= int(done.stdout) <= time.time() + 1


def test_the_guest_reaches_no_network(testmachine: Launch) -> None:
    program = "import socket; socket.create_connection(('10.0.2.2', 22), timeout=3)"
    done = testmachine("run", "--", "python", "-c", program)
    assert done.returncode == 1
    assert "Error" in done.stderr.splitlines()[-1]


def test_outside_the_repository_there_is_nothing_to_run_in() -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "testmachine", "run", "--", "true"],
        cwd="/", env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 125
    assert "only" in done.stderr and "is mounted there" in done.stderr


CALIBRATE = (
    "from hmmkit.cost import Counter; counter = Counter.calibrate()\n"
    "print(counter.count(lambda: counter.instructions.spin(10**6)))"
)


def test_a_nanosecond_of_the_counting_machine_is_an_instruction(testmachine: Launch) -> None:
    done = testmachine("run", "--counting", "--", "python", "-c", CALIBRATE)
    assert done.returncode == 0, done.stderr
    assert abs(int(done.stdout) / 2_000_000 - 1) < 0.01


def test_another_machine_gives_no_figures(testmachine: Launch) -> None:
    done = testmachine("run", "--", "python", "-c", CALIBRATE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("hmmkit.cost.NotCounting")
    assert done.stdout == ""
