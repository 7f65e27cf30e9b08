# SPDX-License-Identifier: GPL-2.0-only
"""Let a notebook import hmmkit where its Jupyter kernel is an ordinary one.

The test machine's kernels know the repository. ``pytest --nbval --nbval-current-env`` on a real
test machine starts the current environment's kernel, in this directory, and it inherits this.
"""

import os
from pathlib import Path

_REPOSITORY = str(Path(__file__).resolve().parent.parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_REPOSITORY, os.environ.get("PYTHONPATH")]))
