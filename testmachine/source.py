# SPDX-License-Identifier: GPL-2.0-only
"""Kernel sources from Debian's archive, of any suite, without touching the host's apt.

apt is run with a state of its own: its own lists, cache, an empty status file (else it offers
only what the host has installed) and a sources list made from the host's own entries with the
suite replaced. So the host's mirror serves, and nothing on the host changes.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testmachine.cache import building, cache_dir, is_built, need_space
from testmachine.errors import BuildError, HostError
from testmachine.progress import Progress, run_logged
from testmachine.series import SERIES, Series

SOURCE_GIB = 1.5  # one unpacked tree, less what UNPACKED_WITHOUT leaves out

# Other architectures and drivers no machine of ours has. Kconfig and Makefiles stay, since the rest
# refers to them.
UNPACKED_WITHOUT = tuple(
    f"{directory}/*.{suffix}"
    for directory in (
        "*/drivers/gpu/drm",
        "*/drivers/net/ethernet",
        "*/drivers/net/wireless",
        "*/drivers/media",
        "*/drivers/staging",
        "*/drivers/infiniband",
        "*/sound",
    )
    for suffix in ("c", "h")
) + tuple(
    f"*/arch/{arch}/*.{suffix}"
    for arch in ("arm", "arm64", "powerpc", "mips", "s390", "sparc", "riscv", "m68k", "parisc")
    for suffix in ("c", "h", "S", "dts", "dtsi")
)

APT_DIRECTORY = Path("/etc/apt")


@dataclass(frozen=True)
class Archive:
    """One of the host's archives: ``uri`` and the key ring that signs it (or None)."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str | None


def parse_sources(text: str) -> list[Archive]:
    """The archives of an apt sources file, one-line or deb822 style."""
    archives = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            one_line = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)", line)
            if one_line:
                options, uri, suite = one_line.groups()
                signed = re.search(r"signed-by=(\S+)", options or "")
                archives.append(Archive(uri, (suite,), signed.group(1) if signed else None))
            elif ":" in line and not line[0].isspace():
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
            suites = tuple(fields.get("suites", "").split())
            for uri in fields.get("uris", "").split():
                archives.append(Archive(uri, suites, fields.get("signed-by")))
    return archives


def host_archives() -> list[Archive]:
    """The archives of this host's apt. HostError if there are none (not a Debian?)."""
    files = [APT_DIRECTORY / "sources.list"]
    for pattern in ("*.list", "*.sources"):
        files += sorted((APT_DIRECTORY / "sources.list.d").glob(pattern))
    found = [archive for f in files if f.is_file() for archive in parse_sources(f.read_text())]
    if not found:
        raise HostError(
            "this host's apt has no sources: on another distribution give KERNEL_SRC=DIR, "
            "an unpacked kernel tree"
        )
    return found


def archive_for(suite: str, archives: list[Archive]) -> Archive | None:
    """The host's archive that can serve ``suite``: security suites live on an archive of their own."""
    security = suite.endswith("-security")
    for archive in archives:
        debian = any(re.match(r"(bookworm|trixie|forky|sid|stable|testing)", s) for s in archive.suites)
        if debian and security == any(s.endswith("-security") for s in archive.suites):
            return archive
    return None


class PrivateApt:
    """apt with a state of its own under the cache; ``kind`` is "deb", or "deb-src" for sources."""

    def __init__(self, suites: tuple[str, ...], kind: str = "deb") -> None:
        self.suites = suites
        self.directory = cache_dir() / "apt" / "+".join(suites if kind == "deb" else (kind, *suites))
        self.log = self.directory / "log"
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.directory / sub).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").write_text("")
        archives = host_archives()
        stanzas = []
        for suite in suites:
            archive = archive_for(suite, archives)
            if archive is None:
                continue  # a host without the security archive has the suite itself
            stanzas.append(
                f"Types: {kind}\nURIs: {archive.uri}\nSuites: {suite}\nComponents: main\n"
                + (f"Signed-By: {archive.signed_by}\n" if archive.signed_by else "")
            )
        if not stanzas:
            raise HostError(
                f"none of this host's apt sources is Debian's ({', '.join(suites)} wanted): "
                "give KERNEL_SRC=DIR, an unpacked kernel tree"
            )
        (self.directory / "host.sources").write_text("\n".join(stanzas))

    def _argv(self, tool: str, *args: str) -> list[str]:
        here = self.directory
        options = {
            "Dir::State": here / "state",
            "Dir::State::status": here / "status",
            "Dir::Cache": here / "cache",
            "Dir::Etc::sourcelist": here / "host.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Sandbox::User": "",  # the cache may be out of reach of apt's own user
        }
        return [tool, *(f"-o{key}={value}" for key, value in options.items()), *args]

    def update(self) -> None:
        """Fetch the package lists."""
        try:
            run_logged(self._argv("apt-get", "-q", "update"), self.log)
        except BuildError as error:
            raise BuildError(f"cannot fetch the package lists of {' '.join(self.suites)}: {error}") from error

    def query(self, *args: str) -> str:
        """What ``apt-cache ARGS`` prints."""
        done = subprocess.run(self._argv("apt-cache", *args), capture_output=True, text=True)
        return done.stdout

    def download(self, package: str, into: Path) -> Path:
        """Download the newest version of ``package``; returns the .deb's path."""
        run_logged(self._argv("apt-get", "-q", "download", package), self.log, cwd=into)
        (deb,) = into.glob(f"{package}_*.deb")
        return deb

    def candidate(self, package: str) -> str | None:
        """The version that would be installed, or None."""
        found = re.search(r"Candidate: (\S+)", self.query("policy", package))
        return None if found is None or found.group(1) == "(none)" else found.group(1)

    def download_with_dependencies(self, *packages: str) -> list[Path]:
        """Download packages ("name" or "name/suite") and all they depend on; the paths of the .debs."""
        run_logged(self._argv("apt-get", "clean"), self.log)  # what an interrupted one left
        run_logged(
            self._argv("apt-get", "-qy", "--no-install-recommends", "--download-only", "install", *packages),
            self.log,
        )
        return sorted((self.directory / "cache" / "archives").glob("*.deb"))

    def download_source(self, package: str, into: Path) -> Path:
        """Download the upstream source of ``package``; returns the tar's path. Wants "deb-src"."""
        run_logged(self._argv("apt-get", "-q", "--download-only", "source", package), self.log, cwd=into)
        (tar,) = into.glob(f"{package}_*.orig.tar.*")
        return tar


def in_a_path(version: str) -> str:
    """A Debian version without the "~" and ":" that kbuild does not like in a path."""
    return re.sub(r"[^A-Za-z0-9.+-]", "-", version)


def archive_series() -> list[str]:
    """The series for which the archive has a ``linux-source-*``, in the table's suites."""
    suites = tuple(dict.fromkeys(suite for series in SERIES.values() for suite in series.suites))
    apt = PrivateApt(suites)
    try:
        apt.update()
    except BuildError:
        return ["(could not be asked)"]
    names = apt.query("pkgnames", "linux-source-").split()
    series = {name.removeprefix("linux-source-") for name in names}
    return sorted(
        (name for name in series if re.fullmatch(r"\d+\.\d+", name)),
        key=lambda name: tuple(map(int, name.split("."))),
    )


def fetched(name: str) -> Path | None:
    """The source tree of a series if it was fetched before, else None."""
    trees = sorted((cache_dir() / "sources").glob(f"linux-source-{name}_*/linux-source-{name}"))
    return next((tree for tree in reversed(trees) if is_built(tree.parent)), None)


def fetch(series: Series) -> Path:
    """The unpacked source tree of a series, downloaded once; its parent is named by the version."""
    sources = cache_dir() / "sources"
    have = fetched(series.name)
    if have:
        return have
    need_space(SOURCE_GIB + 0.5, f"the source of Linux {series.name}")
    package = f"linux-source-{series.name}"
    apt = PrivateApt(series.suites)
    progress = Progress(f"Linux {series.name}: fetching {package} with apt", log=apt.log)
    apt.update()
    candidate = apt.candidate(package)
    if candidate is None:
        raise BuildError(f"the archive has no {package} in {', '.join(series.suites)}")
    version = in_a_path(candidate)
    with building(sources / f"{package}_{version}") as directory:
        if directory is not None:
            deb = apt.download(package, directory)
            run_logged(["dpkg", "-x", deb, directory / "deb"], apt.log)
            deb.unlink()
            (tar,) = (directory / "deb" / "usr" / "src").glob("*.tar.xz")
            excludes = [f"--exclude={pattern}" for pattern in UNPACKED_WITHOUT]
            # with a glob in --exclude, tar's "*" matches "/" too
            run_logged(["tar", "-C", directory, *excludes, "-xf", tar], apt.log)
            run_logged(["rm", "-r", directory / "deb"], apt.log)
    progress.finish()
    return sources / f"{package}_{version}" / package
