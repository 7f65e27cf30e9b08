# SPDX-License-Identifier: GPL-2.0-only
"""A plugin for pytest: nbval starts a second sooner.

It imports jsonschema, and that a grammar of identifiers if there is one, which no notebook needs.
"""

from __future__ import annotations

import sys

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
