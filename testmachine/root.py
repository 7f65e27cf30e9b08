# SPDX-License-Identifier: GPL-2.0-only
"""The machine's root: the project's own virtual environment, packed as squashfs.

Taken from the host are the virtual environment, the interpreter it was made from with its
standard library, the shared objects both need, and busybox. So what `pip install` puts into
`.venv` is in the machine after the next build, but for the few that only the host can use.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from testmachine.cache import building, cache_dir, digest, file_digest, is_built, need_space, sweep
from testmachine.errors import BuildError, HostError, NotBuilt
from testmachine.progress import Progress, run_logged

GUEST = Path(__file__).with_name("guest")
VENV_IN_GUEST = Path("/opt/venv")
AGENT_IN_GUEST = Path("/usr/lib/testmachine/agent.py")
ROOT_GIB = 1.5

# Parts of the standard library no notebook imports, by far its largest.
STDLIB_WITHOUT = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages", "dist-packages")

# Of no use in the machine. The first drive the host's browser, to look at the built book; xdist runs
# notebooks in several machines. The last two check the grammar of identifiers for jsonschema, which
# does without: to import them, as nbval does, takes 25 s in emulation.
HOST_ONLY = ("playwright", "pyee", "greenlet", "pytest-xdist", "execnet", "rfc3987-syntax", "lark")

# What the guest's kernel mounts or the agent writes: there must be a directory.
MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "run", "root", "mnt", "var/tmp")


@dataclass(frozen=True)
class Root:
    """A packed root: the squashfs image and the initramfs that finds it."""

    squashfs: Path
    initramfs: Path

    @property
    def key(self) -> str:
        """What the image was made from."""
        return self.squashfs.parent.name


def followed_by(root: Root, archive: Path) -> Root:
    """The same root, its initramfs followed by another archive: the kernel unpacks both."""
    directory = cache_dir() / "initramfs" / digest(file_digest(root.initramfs), file_digest(archive))
    with building(directory) as partial:
        if partial is not None:
            (partial / "initramfs").write_bytes(root.initramfs.read_bytes() + archive.read_bytes())
            sweep(directory.parent, keep=3)
    return Root(root.squashfs, directory / "initramfs")


def _key() -> str:
    found = ((d.metadata["Name"], d.version) for d in distributions())
    packages = sorted(f"{name}=={version}" for name, version in found if name not in HOST_ONLY)
    guest = [file_digest(path) for path in sorted(GUEST.iterdir()) if path.is_file()]
    return digest(sys.version, sys.base_prefix, *packages, *guest, *STDLIB_WITHOUT)


def host_only_files() -> list[str]:
    """What HOST_ONLY installed: paths from the environment's prefix, each directory once."""
    prefix = Path(sys.prefix).resolve()
    found: set[Path] = set()
    for distribution in distributions():
        if distribution.metadata["Name"] in HOST_ONLY:
            library = Path(str(distribution.locate_file(""))).resolve()
            if not library.is_relative_to(prefix):
                continue
            for file in distribution.files or []:
                outside = file.parts[0] == ".."  # a program in bin, a header in include
                path = (library / (file if outside else file.parts[0])).resolve()
                if path.is_relative_to(prefix):
                    found.add(path.relative_to(prefix))
    return sorted(str(path) for path in found)


def busybox() -> Path:
    """The static busybox. HostError if the host has none."""
    for name in ("/usr/bin/busybox", "/bin/busybox"):
        path = Path(name)
        if path.is_file() and b"statically linked" in _file_kind(path):
            return path
    raise HostError("no static busybox: apt-get install busybox-static (make installs it)")


def _file_kind(path: Path) -> bytes:
    done = subprocess.run(["ldd", path], capture_output=True)
    return b"statically linked" if b"not a dynamic" in done.stdout + done.stderr else b"dynamic"


def shared_objects(files: Iterable[Path]) -> set[Path]:
    """Every shared object outside the environment that ``files`` need, found by ldd.

    A library that ldd does not find is not an error: wheels bring their own by RPATH tricks.
    """
    needed: set[Path] = set()
    for path in files:
        done = subprocess.run(["ldd", path], capture_output=True, text=True)
        needed |= {Path(name) for name in re.findall(r"(/\S+) \(0x", done.stdout)}
    return needed


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _copy_into(tree: Path, path: Path) -> None:
    """Copy a host file to the same path under ``tree``, its symbolic links resolved."""
    target = tree / path.relative_to("/")
    if not target.exists():
        # /lib may be a link to usr/lib on the host: the guest has the same links
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path.resolve(), target)


def _fill(tree: Path, log: Path, step: Progress) -> None:
    for directory in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", *MOUNT_POINTS):
        (tree / directory).mkdir(parents=True, exist_ok=True)
    for link in ("bin", "sbin", "lib", "lib64"):
        (tree / link).symlink_to(f"usr/{link}")

    box = tree / "usr/bin/busybox"
    shutil.copy2(busybox(), box)
    applets = subprocess.run([busybox(), "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (tree / "usr/bin" / applet).symlink_to("busybox")
    step.advance()

    stdlib = Path(sysconfig.get_path("stdlib"))
    excluded = [f"--exclude=/{name}" for name in STDLIB_WITHOUT]
    (tree / stdlib.relative_to("/")).mkdir(parents=True)
    run_logged(
        ["rsync", "-a", *excluded, "--exclude=/config-*", f"{stdlib}/", tree / stdlib.relative_to("/")],
        log,
    )
    interpreter = Path(sys.executable).resolve()
    _copy_into(tree, interpreter)
    step.advance()

    venv = tree / VENV_IN_GUEST.relative_to("/")
    venv.mkdir(parents=True)
    run_logged(
        # kernelspecs name the host's launcher: of no use inside
        ["rsync", "-a", "--exclude=/share/jupyter/lab", "--exclude=/share/jupyter/kernels",
         *(f"--exclude=/{name}" for name in host_only_files()), f"{sys.prefix}/", f"{venv}/"],
        log,
    )  # fmt: skip
    for name in ("python", "python3", interpreter.name):
        (venv / "bin" / name).unlink(missing_ok=True)
        (venv / "bin" / name).symlink_to(interpreter)
    step.advance()

    objects = [
        path
        for base in (stdlib, Path(sys.prefix))
        for path in base.rglob("*.so*")
        if path.is_file() and not path.is_symlink() and _is_elf(path)
    ]
    inside = (str(stdlib) + "/", sys.prefix + "/")
    for library in shared_objects([interpreter, *objects]):
        if not str(library).startswith(inside):
            _copy_into(tree, library)
    step.advance()

    (tree / "etc/hosts").write_text("127.0.0.1 localhost testmachine\n")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    agent = tree / AGENT_IN_GUEST.relative_to("/")
    agent.parent.mkdir(parents=True)
    shutil.copy2(GUEST / "agent.py", agent)
    shutil.copy2(GUEST / "init", tree / "usr/sbin/init")
    (tree / "usr/sbin/init").chmod(0o755)


def _initramfs(target: Path, work: Path) -> None:
    """busybox and the script that mounts the root; /dev/console comes with the kernel."""
    (work / "bin").mkdir(parents=True)
    shutil.copy2(busybox(), work / "bin/busybox")
    shutil.copy2(GUEST / "initramfs-init", work / "init")
    (work / "init").chmod(0o755)
    pack_initramfs(target, work)


def pack_initramfs(target: Path, work: Path) -> None:
    """Pack the directory ``work`` as the kernel wants it, and remove it."""
    names = "\n".join(str(p.relative_to(work)) for p in sorted(work.rglob("*")))
    with target.open("wb") as out:
        done = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            cwd=work, input=names.encode(), stdout=out, stderr=subprocess.PIPE,
        )  # fmt: skip
    if done.returncode:
        raise BuildError(f"cpio failed: {done.stderr.decode().strip()}")
    shutil.rmtree(work)


def get(*, build_it: bool = True) -> Root:
    """The root image of this virtual environment, packed if it is not yet.

    Raises HostError (no virtual environment, no disk space, no packer), BuildError; with
    ``build_it`` False, NotBuilt.
    """
    if sys.prefix == sys.base_prefix:
        raise HostError("not in the project's virtual environment: use .venv/bin/python (make makes it)")
    directory = cache_dir() / "roots" / _key()
    if not build_it and not is_built(directory):
        raise NotBuilt("the machine's root is not packed, or .venv has changed since: run  make machine")
    with building(directory) as partial:
        if partial is not None:
            if not shutil.which("mksquashfs"):
                raise HostError("no mksquashfs: apt-get install squashfs-tools (make installs it)")
            need_space(ROOT_GIB, "packing the machine's root")
            log = cache_dir() / "logs" / "root.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("")
            progress = Progress("root: packing the virtual environment", total=5, log=log)
            tree = partial / "tree"
            tree.mkdir()
            _fill(tree, log, progress)
            run_logged(
                ["mksquashfs", tree, partial / "root.squashfs", "-comp", "lz4", "-noappend",
                 "-all-root", "-no-progress", "-no-xattrs"],
                log,
            )  # fmt: skip
            _initramfs(partial / "initramfs", partial / "initramfs-tree")
            shutil.rmtree(tree)
            progress.finish()
            sweep(directory.parent, keep=3)
    return Root(directory / "root.squashfs", directory / "initramfs")
