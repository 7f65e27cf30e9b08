# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong, each in one line that says what to do."""

from __future__ import annotations


class TestMachineError(Exception):
    """Base of the errors of this package. ``str()`` is one line for the reader."""

    __test__ = False  # the name begins like a test's; pytest is not to collect it


class HostError(TestMachineError):
    """This host lacks something: QEMU, a package, disk space."""


class BuildError(TestMachineError):
    """A kernel, a module or a root image could not be built."""


class NotBuilt(TestMachineError):
    """Something is wanted in a hurry that takes minutes to build."""


class BadInput(TestMachineError):
    """The caller asked for something that does not exist or makes no sense."""


class MachineDied(TestMachineError):
    """The guest ended before its job did: a panic, an oops, no memory, or QEMU itself.

    ``kernel_messages`` holds the last lines of the guest's console.
    """

    def __init__(self, reason: str, kernel_messages: list[str]) -> None:
        super().__init__(reason)
        self.kernel_messages = kernel_messages

    def report(self) -> str:
        """The error line and, below it, the last kernel messages."""
        lines = [f"testmachine: {self}"]
        if self.kernel_messages:
            lines.append("last kernel messages of the guest:")
            lines += [f"  {line}" for line in self.kernel_messages]
        return "\n".join(lines)
