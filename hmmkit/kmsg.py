# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel said since a mark: /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from hmmkit.errors import HmmError, NeedRoot

KMSG = "/dev/kmsg"

# One record per read; the kernel answers EINVAL if it does not fit.
RECORD_SIZE = 8192


class KernelLog:
    """Messages from the moment of opening on, without time stamps.

    Raises ``NeedRoot`` where /dev/kmsg may not be opened.
    """

    def __init__(self) -> None:
        try:
            self._fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise NeedRoot(error.errno or 0, f"{KMSG} is for root only: run as root") from None
        os.lseek(self._fd, 0, os.SEEK_END)

    def __enter__(self) -> KernelLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def messages(self, *containing: str) -> list[str]:
        """The messages since the mark, or since the last call, oldest first.

        With arguments, only the messages that contain one of them.

        Raises ``HmmError`` (EPIPE) if the kernel has overwritten messages not yet read: a
        list with a gap would be worse than none.
        """
        found: list[str] = []
        while True:
            try:
                record = os.read(self._fd, RECORD_SIZE)
            except BlockingIOError:
                return found
            except BrokenPipeError:
                raise HmmError(
                    errno.EPIPE, "kernel messages were overwritten before they were read"
                ) from None
            text = parse_record(record)
            if not containing or any(word in text for word in containing):
                found.append(text)


def parse_record(record: bytes) -> str:
    """The text of one record: ``prio,seq,usec,flags;text`` and key=value lines after it."""
    _, _, rest = record.decode(errors="replace").partition(";")
    return rest.partition("\n")[0]
