# SPDX-License-Identifier: GPL-2.0-only
"""Builds the project's module for a kernel, into a directory the guest uses as /lib/modules/RELEASE.

The kernel's own test driver goes beside it: it is loaded only by who asks for it by name.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from testmachine.cache import building, cache_dir, digest, sweep
from testmachine.errors import BadInput, BuildError, HostError
from testmachine.kernel import Kernel
from testmachine.machine import REPOSITORY
from testmachine.progress import Progress, run_logged

NAME = "hmm_dmirror"
KEPT = 40  # builds, the least recently used goes first; tests build many with a defect each


def source_directory() -> Path:
    """The module's sources: HMM_MODULE if that is set, else the project's ``module/``."""
    directory = Path(os.environ.get("HMM_MODULE", REPOSITORY / "module"))
    if not (directory / "Kbuild").is_file():
        raise BadInput(f"no module sources in {directory}: there is no Kbuild")
    return directory.resolve()


def sources(directory: Path) -> list[Path]:
    """What a build depends on, sorted: not what an earlier build in place left there."""
    # Kbuild takes the version from dkms.conf
    names = [
        directory / "Kbuild",
        *directory.glob("dkms.conf"),
        *directory.glob("*.[ch]"),
        *directory.glob("uapi/*.h"),
    ]
    return sorted(path for path in names if not path.name.endswith(".mod.c"))


def depmod() -> Path:
    """The program. HostError if there is none."""
    found = shutil.which("depmod", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise HostError("no depmod: apt-get install kmod (make installs it)")
    return Path(found)


def get(kernel: Kernel) -> Path:
    """The modules' directory for ``kernel``, built if the sources or the kernel are new.

    Raises BadInput (no sources), BuildError with the compiler's words.
    """
    source = source_directory()
    files = sources(source)
    content = [str(path.relative_to(source)) + "\0" + path.read_text() for path in files]
    key = digest(kernel.build.name, *content)
    directory = cache_dir() / "modules" / f"{kernel.name}-{key}"
    with building(directory) as partial:
        if partial is not None:
            log = cache_dir() / "logs" / f"module-{kernel.name}.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            progress = Progress(f"module for Linux {kernel.release}: building", log=log)
            build = partial / "build"
            for path in files:
                target = build / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
            run_logged(kernel.compile_command(build), log)
            library = partial / "lib" / "modules" / kernel.release
            library.mkdir(parents=True)
            shutil.move(build / f"{NAME}.ko", library)
            reference = kernel.build / "lib" / "test_hmm.ko"
            if reference.is_file():
                shutil.copy2(reference, library)
            if kernel.modules:
                for name in ("kernel", "modules.builtin", "modules.order"):
                    (library / name).symlink_to(kernel.modules / name)
            run_logged([depmod(), "-b", partial, kernel.release], log)
            shutil.rmtree(build)
            progress.finish()
            sweep(directory.parent, keep=KEPT)
    libraries = list((directory / "lib" / "modules").iterdir())
    if len(libraries) != 1:
        raise BuildError(f"{directory} should hold one kernel release: remove it and build again")
    return libraries[0]
