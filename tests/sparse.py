# SPDX-License-Identifier: GPL-2.0-only
"""A sparse that every series of the machine accepts, built from Debian's source of a newer one.

Linux 7.3 refuses a sparse that does not know ``__typeof_unqual__`` (its scripts/checker-valid.sh
asks), and the one of Debian 12 and 13 does not. One sparse for all series: the same reports.
"""

from __future__ import annotations

from pathlib import Path

from testmachine.cache import building, cache_dir, digest
from testmachine.kernel import compiler
from testmachine.progress import Progress, run_logged
from testmachine.source import PrivateApt

SUITE = "forky"  # the first with 0.6.5


def directory() -> Path:
    """What to put before PATH; fetched and built once. HostError or BuildError if that fails."""
    # it remembers where this compiler has its headers
    target = cache_dir() / "sparse" / f"{SUITE}-{digest(compiler())}"
    with building(target) as partial:
        if partial is not None:
            apt = PrivateApt((SUITE,), kind="deb-src")
            progress = Progress("sparse: fetching and building", log=apt.log)
            apt.update()
            tar = apt.download_source("sparse", partial)
            run_logged(["tar", "-C", partial, "--strip-components=1", "-xf", tar], apt.log)
            run_logged(["make", "-C", partial, "sparse"], apt.log)
            progress.finish()
    return target
