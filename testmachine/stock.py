# SPDX-License-Identifier: GPL-2.0-only
"""Debian's own build of a series: nothing about it is ours but the module that it loads.

Its packages, and those that a reader would install to build a module for it (headers, compiler,
make, with all they depend on), are unpacked into a directory. The module is compiled in there, by
Debian's compiler against Debian's headers, whatever Debian the host is. What the machine needs to
boot, and its own kernels have built in, is here a module that the initramfs loads.
"""

from __future__ import annotations

import lzma
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testmachine import series as series_table
from testmachine.cache import building, cache_dir, is_built, need_space
from testmachine.errors import BadInput, BuildError, HostError, NotBuilt
from testmachine.kernel import Kernel
from testmachine.module import depmod
from testmachine.progress import Progress, run_logged
from testmachine.root import pack_initramfs
from testmachine.series import Series
from testmachine.source import PrivateApt, fetch, in_a_path

STOCK_GIB = 1.0
PACKAGES = ("linux-image-amd64", "linux-headers-amd64")
# What a Debian on which one compiles has anyway.
TOOLS = ("make", "binutils", "dash", "bash", "coreutils", "sed", "grep", "mawk", "findutils")

# The machine's own disk, files, root and network; and zram, for the book.
BOOT_MODULES = ("virtio_blk", "squashfs", "overlay", "9p", "9pnet_virtio", "virtio_net", "zram")

# A build in another root: a mount namespace of its own, as root of a user namespace of its own.
COMPILE = """
PATH=$PATH:/usr/sbin
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
mount --bind "$2" "$1/mnt"
exec chroot "$1" make -C "/lib/modules/$3/build" M=/mnt AWK=mawk W=1 modules
"""


@dataclass(frozen=True)
class StockKernel(Kernel):
    """Debian's own. ``build`` holds ``root``, an unpacked Debian, and ``boot-modules``, a cpio."""

    @property
    def root(self) -> Path:
        """The Debian in which its modules are compiled."""
        return self.build / "root"

    @property
    def modules(self) -> Path:
        """What it has as modules: its /lib/modules/RELEASE."""
        (directory,) = (self.root / "usr/lib/modules").iterdir()
        return directory

    @property
    def release(self) -> str:
        """What ``uname -r`` says in the machine."""
        return self.modules.name

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.modules / "vmlinuz"

    @property
    def boot_modules(self) -> Path:
        """An archive that the initramfs is to be followed by."""
        return self.build / "boot-modules"

    def compile_command(self, directory: Path) -> list[str | Path]:
        """Compile the module whose sources are in ``directory``, there. HostError if that cannot be."""
        alone = ["unshare", "--map-root-user", "--mount"]
        trial = subprocess.run([*alone, "true"], capture_output=True, text=True)
        if trial.returncode:
            raise HostError(
                "Debian's compiler works in a user namespace of its own, and here there can be none "
                f"({trial.stderr.strip()}): allow them (sysctl kernel.unprivileged_userns_clone=1; "
                "a container has to be started with --privileged), and do not run in a chroot"
            )
        return [*alone, "sh", "-ec", COMPILE, "sh", self.root, directory, self.release]


def get(name: str, *, build_it: bool = True) -> StockKernel:
    """Debian's own kernel of a series, downloaded and unpacked once.

    Raises BadInput (unknown series, or Debian builds it without device-private memory), NotBuilt,
    HostError, BuildError.
    """
    series = series_table.find(name)
    if not series.stock:
        raise BadInput(f"Debian's own Linux {name} has no CONFIG_DEVICE_PRIVATE; from 6.18 on they have it")
    kernels = cache_dir() / "kernels"
    have = sorted(path for path in kernels.glob(f"{name}-stock-*") if is_built(path))
    if not have and not build_it:
        raise NotBuilt(f"Debian's Linux {name} is not here: run  make machine KERNEL={name} VARIANT=stock")
    directory = have[-1] if have else kernels / f"{name}-stock-{_version(series)}"
    with building(directory) as partial:
        if partial is not None:
            need_space(STOCK_GIB, f"Debian's Linux {name}")
            _unpack(series, partial)
    return StockKernel(name, directory, fetch(series), "stock")


def _apt(series: Series) -> PrivateApt:
    """With the suite that a backport's dependencies are in."""
    suites = (suite.removesuffix("-backports") for suite in series.suites)
    return PrivateApt(tuple(dict.fromkeys((*suites, *series.suites))))


def _version(series: Series) -> str:
    apt = PrivateApt(series.suites)
    apt.update()
    version = apt.candidate(PACKAGES[0])
    if version is None or not version.startswith(f"{series.name}."):
        raise BuildError(
            f"Debian's own kernel in {', '.join(series.suites)} is {version or 'not there'}, "
            f"and not a {series.name}"
        )
    return in_a_path(version)


def _unpack(series: Series, directory: Path) -> None:
    log = cache_dir() / "logs" / f"kernel-{series.name}-stock.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("")
    progress = Progress(f"Debian's Linux {series.name}: fetching and unpacking", log=log)
    apt = _apt(series)
    apt.update()
    root = directory / "root"
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "mnt"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for deb in apt.download_with_dependencies(*(f"{p}/{series.suites[0]}" for p in PACKAGES), *TOOLS):
        run_logged(["dpkg", "-x", deb, root], log)
        deb.unlink()
        progress.advance()
    kernel = StockKernel(series.name, directory, directory, "stock")
    run_logged([depmod(), "-b", root, kernel.release], log)
    _pack_boot_modules(kernel, directory / "initramfs-tree")
    progress.finish()


def _pack_boot_modules(kernel: StockKernel, work: Path) -> None:
    """An archive of the modules in the order in which they are to be loaded."""
    done = subprocess.run(
        [depmod().with_name("modprobe"), "--dirname", kernel.root, "--set-version", kernel.release,
         "--show-depends", "--all", *BOOT_MODULES],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"{kernel.release} lacks what the machine boots with: {done.stderr.strip()}")
    files = dict.fromkeys(line.split()[1] for line in done.stdout.splitlines() if "insmod" in line)
    (work / "modules").mkdir(parents=True)
    for number, file in enumerate(files):
        name = Path(file).name.removesuffix(".xz")
        (work / "modules" / f"{number:02}-{name}").write_bytes(lzma.decompress(Path(file).read_bytes()))
    pack_initramfs(kernel.boot_modules, work)
