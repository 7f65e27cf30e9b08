# SPDX-License-Identifier: GPL-2.0-only
"""Configures and builds the machine's kernel: tinyconfig, machine.config and the variant's options."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testmachine import series as series_table
from testmachine.cache import building, cache_dir, digest, is_built, need_space, sweep
from testmachine.errors import BadInput, BuildError, HostError, NotBuilt
from testmachine.progress import Progress, run_logged
from testmachine.source import fetch, fetched

FRAGMENT = Path(__file__).with_name("machine.config")
DEBUG_FRAGMENT = Path(__file__).with_name("debug.config")  # on top of it, for the debug variant
BUILD_GIB = 1.5
KEPT = 8  # builds, the least recently used goes first


@dataclass(frozen=True)
class Kernel:
    """A built kernel: ``build`` is its output directory, usable as KDIR for modules."""

    series: str
    build: Path
    source: Path
    variant: str = "default"

    @property
    def name(self) -> str:
        """The series, and the variant if it is not the default: "6.12", "6.12-debug"."""
        return _name(self.series, self.variant)

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.build / "arch" / "x86" / "boot" / "bzImage"

    @property
    def release(self) -> str:
        """What ``uname -r`` says in the machine."""
        return (self.build / "include" / "config" / "kernel.release").read_text().strip()

    @property
    def modules(self) -> Path | None:
        """Its /lib/modules/RELEASE; None if all that the machine needs is built in."""
        return None

    @property
    def boot_modules(self) -> Path | None:
        """An archive of modules that the initramfs is to be followed by, or None."""
        return None

    def compile_command(self, directory: Path) -> list[str | Path]:
        """Compile the module whose sources are in ``directory``, there."""
        return ["make", "-C", self.build, f"M={directory}", "W=1", "modules"]


def _name(series: str, variant: str) -> str:
    return series if variant == "default" else f"{series}-{variant}"


def fragment(variant: str) -> str:
    """The options asked for, as text."""
    text = FRAGMENT.read_text()
    return text + DEBUG_FRAGMENT.read_text() if variant == "debug" else text


def options_for(series: str, fragment: str) -> list[str]:
    """The lines of a fragment that are meant for ``series``, as they stand in .config.

    BadInput names a line that is neither an option nor a comment.
    """
    options = []
    for line in fragment.splitlines():
        wanted = re.fullmatch(r"(CONFIG_\w+=\S+)(?: if ([\d. ]+))?", line)
        if wanted:
            if wanted.group(2) is None or series in wanted.group(2).split():
                options.append(wanted.group(1))
        elif re.fullmatch(r"# CONFIG_\w+ is not set", line):
            options.append(line)
        elif line and not line.startswith("#"):
            raise BadInput(f"not an option of a kernel: {line!r}")
    return options


def not_survived(options: list[str], config: str) -> list[str]:
    """Those of ``options`` that a .config does not have as asked (Kconfig drops them silently)."""
    lines = set(config.splitlines())
    enabled = {line.split("=")[0] for line in lines if line.startswith("CONFIG_")}
    lost = []
    for option in options:
        if option.startswith("#"):
            if option.split()[1] in enabled:
                lost.append(option)
        elif option not in lines:
            lost.append(option)
    return lost


def configure(source: Path, build: Path, series: str, options: list[str], log: Path) -> None:
    """Write ``build/.config``. BuildError names the options that did not survive."""
    run_logged(["make", "-C", source, f"O={build}", "tinyconfig"], log)
    with (build / ".config").open("a") as config:
        config.write("\n".join(options) + "\n")  # the last word counts
    run_logged(["make", "-C", source, f"O={build}", "olddefconfig"], log)
    lost = not_survived(options, (build / ".config").read_text())
    if lost:
        raise BuildError(
            f"Linux {series}: Kconfig dropped {', '.join(lost)}: a dependency is missing in "
            f"testmachine/*.config, or one has another name in this series (log: {log})"
        )


def compiler() -> str:
    """The compiler's version line. HostError if there is none."""
    if not shutil.which("gcc"):
        raise HostError("no gcc: apt-get install build-essential (make installs it)")
    done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def _compile(source: Path, build: Path, name: str, steps: int, log: Path) -> None:
    progress = Progress(f"Linux {name}: building", total=steps, log=log)
    jobs = len(os.sched_getaffinity(0))
    run_logged(
        ["make", "-C", source, f"O={build}", f"-j{jobs}", "bzImage", "modules"],
        log,
        step=progress.advance,
    )
    progress.finish()


def _prune(build: Path) -> None:
    """Drop the object files: modules are built without them."""
    kept = (build / "scripts", build / "tools")
    for suffix in ("*.o", "*.a", ".*.cmd"):
        for path in build.rglob(suffix):
            if not any(path.is_relative_to(directory) for directory in kept):
                path.unlink()
    for name in ("vmlinux", "vmlinux.unstripped"):
        (build / name).unlink(missing_ok=True)
    (build / "arch/x86/boot/compressed/vmlinux").unlink(missing_ok=True)


def from_tree(tree: Path, variant: str = "default", *, compile_it: bool = True) -> Kernel:
    """The kernel of any unpacked tree (KERNEL_SRC). make decides what has to be rebuilt."""
    if not (tree / "Kconfig").is_file():
        raise BadInput(f"KERNEL_SRC={tree} is not a kernel source tree: no Kconfig in it")
    version = subprocess.run(
        ["make", "-s", "-C", tree, "kernelversion"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = re.match(r"\d+\.\d+", version)
    if found is None:
        raise BadInput(f"KERNEL_SRC={tree} does not say its version, but {version!r}")
    series = found.group()
    build = cache_dir() / "kernels" / f"{_name('tree', variant)}-{digest(str(tree.resolve()))}"
    if compile_it:
        need_space(BUILD_GIB, f"building Linux {version}")
        build.mkdir(parents=True, exist_ok=True)
        log = build / "build.log"
        configure(tree.resolve(), build, series, options_for(series, fragment(variant)), log)
        _compile(tree.resolve(), build, version, 0, log)
    elif not (build / "arch/x86/boot/bzImage").is_file():
        raise NotBuilt(f"{tree} is not built yet: run  KERNEL_SRC={tree} make machine")
    return Kernel(series, build, tree.resolve(), variant)


def get(name: str, variant: str = "default", *, build_it: bool = True) -> Kernel:
    """The kernel of a series, or of KERNEL_SRC if that is set; built unless ``build_it`` is False.

    Raises BadInput for an unknown series, NotBuilt, HostError, BuildError.
    """
    tree = os.environ.get("KERNEL_SRC")
    if tree:
        return from_tree(Path(tree), variant, compile_it=build_it)
    series = series_table.find(name)
    options = options_for(series.name, fragment(variant))
    full_name = _name(series.name, variant)
    if not build_it:
        have = fetched(series.name)
        if have is None:
            raise NotBuilt(_how_to_build(series.name, variant))
        source = have
    else:
        source = fetch(series)
    key = digest(source.parent.name, "\n".join(options), compiler())
    directory = cache_dir() / "kernels" / f"{full_name}-{key}"
    if not build_it and not is_built(directory):
        raise NotBuilt(_how_to_build(series.name, variant))
    with building(directory) as partial:
        if partial is not None:
            need_space(BUILD_GIB, f"building Linux {full_name}")
            log = cache_dir() / "logs" / f"kernel-{full_name}.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            configure(source, partial, full_name, options, log)
            _compile(source, partial, full_name, series.build_steps, log)
            _prune(partial)
            sweep(directory.parent, keep=KEPT)
    return Kernel(series.name, directory, source, variant)


def _how_to_build(series: str, variant: str) -> str:
    choice = f"KERNEL={series}" if variant == "default" else f"KERNEL={series} VARIANT={variant}"
    return (
        f"Linux {_name(series, variant)} is not built yet: run  make machine {choice}  (some minutes, once)"
    )
