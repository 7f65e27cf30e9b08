# SPDX-License-Identifier: GPL-2.0-only
"""``python -m testmachine``: run, kernel, build, shell, doctor."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from testmachine import doctor, jupyter, qemu, session, state
from testmachine.errors import BadInput, MachineDied, TestMachineError
from testmachine.machine import REPOSITORY
from testmachine.series import DEFAULT, VARIANTS

FAILED = 125  # our own failure, as against the command's: the status env(1) and docker use


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m testmachine",
        description="A Linux with HMM in QEMU: a command, a shell or a notebook, each in a fresh machine.",
    )
    commands = top.add_subparsers(dest="command", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.add_argument(
            "--kernel", default=DEFAULT, metavar="SERIES",
            help=f"kernel series (default {DEFAULT}; KERNEL_SRC=DIR takes any tree)",
        )  # fmt: skip
        if name != "doctor":
            command.add_argument(
                "--counting", action="store_true",
                help="the machine whose clock counts: a nanosecond is an instruction, one processor",
            )  # fmt: skip
        if name in ("run", "shell", "build"):
            command.add_argument(
                "--variant", choices=VARIANTS, default="default",
                help="debug: a kernel with KASAN, lockdep and the other checkers; stock: Debian's own",
            )  # fmt: skip
        return command

    run = add("run", "run one command; its output streams and exit status are ours")
    run.add_argument(
        "--memory", type=int, default=qemu.NOTEBOOK.memory, metavar="MIB",
        help="the guest's memory; other than the default means a cold boot",
    )  # fmt: skip
    run.add_argument("--no-module", action="store_true", help="do not load our module")
    run.add_argument("argv", nargs="+", metavar="CMD", help="the command, after --")

    add("shell", "a shell on this terminal")
    add("build", "build kernel, root, module and saved state, and install the kernelspecs")
    add("doctor", "what this host has and lacks")
    kernel = add("kernel", "be a Jupyter kernel (what the kernelspec calls)")
    kernel.add_argument("-f", dest="connection_file", required=True, type=Path)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "doctor":
            return doctor.main()
        hardware = qemu.COUNTING if options.counting else qemu.NOTEBOOK
        if options.command == "kernel":
            return jupyter.serve(options.kernel, hardware, options.connection_file)
        if options.command == "build":
            setup = session.prepare(options.kernel, hardware, variant=options.variant)
            state.get(setup)
            if options.variant != "default":
                return 0  # notebooks run in the default one
            for name in jupyter.install(setup.kernel.series, hardware):
                print(f"kernelspec {name} is installed", file=sys.stderr)
            return 0
        cwd = Path.cwd()
        if not cwd.is_relative_to(REPOSITORY):
            raise BadInput(f"{cwd} is not in the machine: only {REPOSITORY} is mounted there")
        if options.command == "shell":
            return session.shell(session.prepare(options.kernel, hardware, variant=options.variant), cwd)
        if options.memory < qemu.RESERVED_AT:
            raise BadInput(f"--memory {options.memory}: the guest needs {qemu.RESERVED_AT} MiB at least")
        hardware = dataclasses.replace(hardware, memory=options.memory)
        setup = session.prepare(
            options.kernel, hardware, variant=options.variant, load_module=not options.no_module
        )
        if setup.accelerator == "tcg":
            print(f"testmachine: {qemu.accelerator(setup.kernel, hardware).why}", file=sys.stderr)
        return session.run(setup, options.argv, cwd)
    except MachineDied as death:
        print(death.report(), file=sys.stderr)
    except TestMachineError as error:
        print(f"testmachine: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
