# SPDX-License-Identifier: GPL-2.0-only
"""The test machine's parts that need no machine: sources, options, keys, the cache."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from testmachine import (
    cache,
    doctor,
    jupyter,
    kernel,
    machine,
    module,
    qemu,
    root,
    series,
    source,
    state,
    stock,
)
from testmachine.errors import BadInput, BuildError, HostError
from testmachine.root import Root

DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://mirror.example/other
Suites: trixie
"""
ONE_LINE = """\
# a comment
deb [arch=amd64 signed-by=/key.gpg] https://packages.example/tools tools main
deb http://mirror.example/debian trixie main contrib
"""


def test_both_styles_of_sources_are_read() -> None:
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert source.parse_sources(DEB822) == [
        source.Archive("http://mirror.example/debian", ("bookworm", "bookworm-updates"), key),
        source.Archive("http://mirror.example/debian-security", ("bookworm-security",), None),
    ]
    assert source.parse_sources(ONE_LINE) == [
        source.Archive("https://packages.example/tools", ("tools",), "/key.gpg"),
        source.Archive("http://mirror.example/debian", ("trixie",), None),
    ]


def test_another_suite_comes_from_the_hosts_own_mirror() -> None:
    archives = source.parse_sources(DEB822 + "\n" + ONE_LINE)
    plain = source.archive_for("trixie-backports", archives)
    security = source.archive_for("trixie-security", archives)
    assert plain is not None and plain.uri == "http://mirror.example/debian"
    assert security is not None and security.uri == "http://mirror.example/debian-security"
    assert source.archive_for("trixie", source.parse_sources(ONE_LINE)[:1]) is None


def test_a_host_without_apt_is_told_of_kernel_src(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "APT_DIRECTORY", tmp_path)
    with pytest.raises(HostError, match="KERNEL_SRC=DIR"):
        source.host_archives()


def test_options_are_for_their_series() -> None:
    fragment = "# why\nCONFIG_A=y\nCONFIG_B=y if 6.1 6.12\n# CONFIG_C is not set\n"
    assert kernel.options_for("6.12", fragment) == ["CONFIG_A=y", "CONFIG_B=y", "# CONFIG_C is not set"]
    assert kernel.options_for("7.3", fragment) == ["CONFIG_A=y", "# CONFIG_C is not set"]
    with pytest.raises(BadInput, match="CONFIG A"):
        kernel.options_for("7.3", "CONFIG A=y\n")


def test_a_dropped_option_is_named() -> None:
    options = ["CONFIG_A=y", "CONFIG_B=m", "# CONFIG_C is not set", "# CONFIG_D is not set"]
    config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n"
    assert kernel.not_survived(options, config) == ["CONFIG_B=m", "# CONFIG_C is not set"]


def test_configure_fails_by_name(tmp_path: Path) -> None:
    """Kconfig is played by a make that drops CONFIG_DEVICE_PRIVATE."""
    options = ["CONFIG_ZONE_DEVICE=y", "CONFIG_DEVICE_PRIVATE=y"]
    (tmp_path / "Makefile").write_text(
        "tinyconfig:\n\ttouch $(O)/.config\nolddefconfig:\n\tsed -i /DEVICE_PRIVATE/d $(O)/.config\n"
    )
    build = tmp_path / "build"
    build.mkdir()
    with pytest.raises(BuildError, match=r"dropped CONFIG_DEVICE_PRIVATE=y: a dependency is missing"):
        kernel.configure(tmp_path, build, "6.12", options, tmp_path / "log")


def test_an_unknown_series_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "archive_series", lambda: ["6.12", "7.2"])
    with pytest.raises(BadInput) as caught:
        series.find("9.9")
    message = str(caught.value)
    assert "\n" not in message
    assert "unknown kernel series '9.9'" in message
    assert "the machine has 6.1, 6.12, 7.3" in message
    assert "the archive has 6.12, 7.2" in message


def test_debian_has_another_series_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = SimpleNamespace(update=lambda: None, candidate=lambda package: "7.4.1-1~bpo13+1")
    monkeypatch.setattr(stock, "PrivateApt", lambda suites: archive)
    with pytest.raises(BuildError, match=r"in trixie-backports is 7\.4\.1-1~bpo13\+1, and not a 7\.3"):
        stock._version(series.find("7.3"))


def test_a_second_archive_follows_the_initramfs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "initramfs").write_bytes(b"init")
    (tmp_path / "drivers").write_bytes(b"modules")
    packed = Root(tmp_path / "root.squashfs", tmp_path / "initramfs")
    both = root.followed_by(packed, tmp_path / "drivers")
    assert both.initramfs.read_bytes() == b"initmodules"
    assert (both.squashfs, both.key) == (packed.squashfs, packed.key)


def test_kernel_src_that_is_no_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERNEL_SRC", str(tmp_path))
    with pytest.raises(BadInput, match="is not a kernel source tree"):
        kernel.get("6.12")


def test_no_disk_space_says_how_much_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=1 << 40, used=0, free=1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(HostError, match=r"no disk space for a test: 2\.5 GiB wanted in .*, 1\.0 GiB free"):
        cache.need_space(2.5, "a test")


def test_a_cache_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HostError, match="set XDG_CACHE_HOME"):
        cache.cache_dir()


def test_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    with pytest.raises(HostError, match="apt-get install qemu-system-x86"):
        qemu.version()


def test_building_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "things" / "key"
    with pytest.raises(ZeroDivisionError), cache.building(target) as directory:
        assert directory == target
        (directory / "half").write_text("")
        _ = 1 / 0
    assert not cache.is_built(target)
    with cache.building(target) as directory:
        assert directory is not None
        assert list(directory.iterdir()) == [], "what the failed build left is gone"
        (directory / "whole").write_text("")
    assert cache.is_built(target)
    with cache.building(target) as directory:
        assert directory is None, "it is built once"


def test_sweep_keeps_the_last_used(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        with cache.building(tmp_path / name):
            pass
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "broken").mkdir()
    cache.sweep(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["middle", "new"]


@pytest.fixture
def setup(tmp_path: Path) -> machine.Setup:
    image = tmp_path / "build" / "arch" / "x86" / "boot" / "bzImage"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"a kernel")
    (tmp_path / "root").mkdir()
    root = Root(tmp_path / "root" / "root.squashfs", tmp_path / "root" / "initramfs")
    return machine.Setup(kernel.Kernel("6.12", tmp_path / "build", tmp_path), root, "tcg")


def test_a_state_that_does_not_fit_is_not_found(
    setup: machine.Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(qemu, "version", lambda: "QEMU 7.2")
    paths = [state.path_for(setup)]
    assert state.path_for(setup) == paths[0], "the key is stable"
    paths.append(state.path_for(dataclasses.replace(setup, hardware=qemu.Hardware(memory=1024))))
    monkeypatch.setattr(qemu, "version", lambda: "QEMU 10.0")
    paths.append(state.path_for(setup))
    setup.kernel.image.write_bytes(b"another kernel")
    paths.append(state.path_for(setup))
    assert len(set(paths)) == 4


def test_a_counting_machine_is_another_machine(
    setup: machine.Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(qemu, "version", lambda: "QEMU 7.2")
    counting = dataclasses.replace(setup, hardware=qemu.COUNTING)
    argv = qemu.arguments(setup.kernel, setup.root, qemu.COUNTING, "tcg", {})
    assert argv[argv.index("-icount") + 1] == "shift=0,sleep=off"
    assert "-icount" not in qemu.arguments(setup.kernel, setup.root, qemu.NOTEBOOK, "tcg", {})
    assert state.path_for(counting) != state.path_for(setup)
    assert qemu.COUNTING.saved and qemu.NOTEBOOK.saved
    assert not qemu.Hardware(memory=2048, cpus=1, counting=True).saved


def test_a_counting_machine_has_one_processor_and_no_kvm(setup: machine.Setup) -> None:
    with pytest.raises(BadInput, match="1 processor, not 2"):
        qemu.Hardware(counting=True)
    assert qemu.accelerator(setup.kernel, qemu.COUNTING).name == "tcg"


def test_kernelspecs_of_a_counting_machine(tmp_path: Path) -> None:
    assert jupyter.install("7.3", qemu.COUNTING, tmp_path) == ["hmm-7.3-counting"]
    names = jupyter.install(series.DEFAULT, qemu.COUNTING, tmp_path)
    assert names == [f"hmm-{series.DEFAULT}-counting", "hmm-counting"]
    assert jupyter.install("7.3", directory=tmp_path) == ["hmm-7.3"]
    spec = json.loads((tmp_path / "hmm-7.3-counting" / "kernel.json").read_text())
    assert "--counting" in spec["argv"]
    assert spec["display_name"] == "Linux with HMM (test machine, Linux 7.3, counting)"
    assert "--counting" not in (tmp_path / "hmm-7.3" / "kernel.json").read_text()


def test_why_a_guest_ended() -> None:
    hardware = qemu.Hardware(memory=768)
    oops = "BUG: kernel NULL pointer dereference\nKernel panic - not syncing: Fatal exception"
    assert (
        machine.explain_end(oops, hardware, 0) == "the guest's kernel panicked: Fatal exception "
        "after BUG: kernel NULL pointer dereference"
    )
    memory = "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"
    assert "ran out of memory (768 MiB)" in machine.explain_end(memory, hardware, 0)
    assert "ended by SIGKILL" in machine.explain_end("", hardware, -9)
    assert "status 1" in machine.explain_end("", hardware, 1)


def test_module_sources_leave_out_built_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Kbuild", "a.c", "a.mod.c", "a.o", "b.h"):
        (tmp_path / name).write_text("")
    assert [path.name for path in module.sources(tmp_path)] == ["Kbuild", "a.c", "b.h"]
    monkeypatch.setenv("HMM_MODULE", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="no module sources"):
        module.source_directory()


def test_packages_have_names_apt_knows() -> None:
    assert all(name == name.lower() and name.strip("+-.") == name for name in doctor.packages())
    assert "qemu-system-x86" in doctor.packages()
