# SPDX-License-Identifier: GPL-2.0-only
"""What the README says of a real test machine, in a machine with Debian's own kernel.

Its Jupyter kernel is the environment's, started by nbval, as it would be on a reader's machine.
"""

from __future__ import annotations

import re
import subprocess
import sys

from testmachine.machine import REPOSITORY
from tests.status import AS_IN_THE_BOOK

NOTEBOOK = "notebooks/05-device-private-migration.ipynb"
SECONDS = 900  # emulated, and nothing is imported yet


def test_a_notebook_shows_there_what_the_book_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testmachine", "run", "--kernel", "7.3", "--variant", "stock", "--",
         "sh", "-ec", AS_IN_THE_BOOK, "sh",
         "python", "-m", "pytest", "--nbval", "--nbval-current-env", NOTEBOOK],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed\b", done.stdout.splitlines()[-1]), done.stdout
