# SPDX-License-Identifier: GPL-2.0-only
"""At the end of a run that looks at the book: how many cells are compared."""

from __future__ import annotations

import pytest

from tests.book.compared import share
from tests.book.test_book import NOTEBOOKS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the share, whatever was selected."""
    terminalreporter.section("notebooks")
    for line in share(NOTEBOOKS).lines():
        terminalreporter.line(line)
