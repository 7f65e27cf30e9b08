# SPDX-License-Identifier: GPL-2.0-only
"""QEMU: which one, with which accelerator, and the command line of our machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testmachine.cache import cache_dir, digest
from testmachine.errors import BadInput, HostError
from testmachine.kernel import Kernel
from testmachine.root import Root

BINARY = "qemu-system-x86_64"
KVM = Path("/dev/kvm")
KVM_PROBE_SECONDS = 10.0

# 40 physical bits on every host, so that device pages get the same page frame numbers everywhere;
# 4 levels of page table for the same reason. ERMS and FSRM off: software emulation takes `rep
# movsb` byte by byte, and the kernel then copies a page by words.
CPU_BY_ACCELERATOR = {
    "tcg": "max,la57=off,-erms,-fsrm",
    "kvm": "host,phys-bits=40,host-phys-bits=off,la57=off",
}
# thread=single: with a thread per processor QEMU 7.2 loses the race between translated code and the
# kernel patching its own text, which the function tracer and dynamic debug do: "Oops: int3".
ACCELERATOR_OPTIONS = {"tcg": "tcg,thread=single,tb-size=256", "kvm": "kvm"}

# A clock that counts. shift=0: the guest's clock goes on by one nanosecond (2^0) with each
# instruction the guest executes, and by nothing else. So a time measured in the guest is a number
# of instructions, the same on every host and however busy that is. sleep=off: while the guest is
# idle the clock jumps to its next timer instead of waiting for it, so that waiting costs nothing.
# There is one clock, so there is one processor, and no KVM: instructions are counted by the emulator.
COUNTING_OPTIONS = ("-icount", "shift=0,sleep=off")

# reboot=t and panic=-1 with -no-reboot: a panic ends QEMU at once. oops=panic: an oops is one.
COMMAND_LINE = (
    "console=ttyS0 panic=-1 reboot=t oops=panic tsc=reliable no_timer_check "
    "random.trust_bootloader=on net.ifnames=0"
)
DEBUG_COMMAND_LINE = "page_owner=on"
# A word for the agent: notebooks run here, so have their imports ready. It takes long, and most
# of all under the kernel's checkers.
WARM_COMMAND_LINE = "testmachine.warm_up"

# RAM that the kernel leaves alone, for the two device-coherent devices. As low as it can be, so
# that a small machine has it, too.
RESERVED_AT = 512  # MiB from address 0
RESERVED = 512  # MiB
COHERENT = tuple((RESERVED_AT + part * RESERVED // 2) << 20 for part in range(2))  # addresses


@dataclass(frozen=True)
class Accelerator:
    """How the guest's instructions run; ``why`` is for the reader."""

    name: str
    why: str


@dataclass(frozen=True)
class Hardware:
    """What the guest sees; saved states are made for :data:`NOTEBOOK` and :data:`COUNTING`.

    ``memory`` is what the guest's kernel has, in MiB, at least :data:`RESERVED_AT`; the memory it
    leaves to the device-coherent devices comes on top. In a ``counting`` machine a nanosecond is an
    instruction, see :data:`COUNTING_OPTIONS`; it has one processor (BadInput).
    """

    memory: int = 768
    cpus: int = 2
    extra_command_line: str = ""
    counting: bool = False

    def __post_init__(self) -> None:
        if self.counting and self.cpus != 1:
            raise BadInput(f"a machine that counts instructions has 1 processor, not {self.cpus}")

    @property
    def saved(self) -> bool:
        """Whether notebooks run on it, so that it is booted once and then restored."""
        return self in (NOTEBOOK, COUNTING)


NOTEBOOK = Hardware()
COUNTING = Hardware(cpus=1, counting=True)


def version() -> str:
    """QEMU's version line. HostError if there is no QEMU."""
    if not shutil.which(BINARY):
        raise HostError(f"no {BINARY}: apt-get install qemu-system-x86 (make installs it)")
    done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def arguments(
    kernel: Kernel, root: Root, hardware: Hardware, accelerator: str, sockets: dict[str, str]
) -> list[str]:
    """The command line, less the shared directories and the state to load.

    ``sockets`` maps each of qmp, console, agent, stdin, stdout, stderr to an inherited
    descriptor's number.
    """
    command_line = [COMMAND_LINE, f"memmap={RESERVED}M${RESERVED_AT}M"]
    if kernel.variant == "debug":
        command_line.append(DEBUG_COMMAND_LINE)
    elif hardware.saved:
        command_line.append(WARM_COMMAND_LINE)
    command_line.append(hardware.extra_command_line)
    argv = [
        BINARY, "-name", "hmm-testmachine", "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        "-machine", "q35,usb=off,vmport=off,graphics=off,hpet=off",
        "-accel", ACCELERATOR_OPTIONS[accelerator],
        "-cpu", CPU_BY_ACCELERATOR[accelerator],
        "-smp", str(hardware.cpus), "-m", f"{hardware.memory + RESERVED}M",
        "-kernel", str(kernel.image), "-initrd", str(root.initramfs),
        "-append", " ".join(command_line).strip(),
        "-drive", f"if=none,id=root,format=raw,readonly=on,file={root.squashfs}",
        "-device", "virtio-blk-pci,drive=root",
        # restrict: the guest reaches nothing; only the forwards of a Jupyter kernel reach it
        "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-serial-pci",
    ]  # fmt: skip
    if hardware.counting:
        argv += COUNTING_OPTIONS
    for name, fd in sockets.items():
        argv += ["-chardev", f"socket,id={name},fd={fd}"]
    argv += ["-mon", "chardev=qmp,mode=control", "-serial", "chardev:console"]
    for name in ("agent", "stdin", "stdout", "stderr"):
        argv += ["-device", f"virtserialport,chardev={name},name={name}"]
    return argv


def share_arguments(tag: str, path: Path, writable: bool) -> list[str]:
    """A directory of the host, offered to the guest under ``tag`` (9p)."""
    comma_doubled = str(path).replace(",", ",,")
    access = "" if writable else ",readonly=on"
    return [
        "-fsdev", f"local,id={tag},path={comma_doubled},security_model=none,multidevs=remap{access}",
        "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]  # fmt: skip


def accelerator(kernel: Kernel, hardware: Hardware = NOTEBOOK) -> Accelerator:
    """KVM if it has run this kernel to its end within the time limit, else software emulation.

    ``/dev/kvm`` may open and still not run a guest (nested virtualisation), so only the probe
    counts. Its result is kept until the host boots again.
    """
    if hardware.counting:
        return Accelerator("tcg", "software emulation: it counts the guest's instructions")
    if not KVM.exists():
        return Accelerator("tcg", "software emulation: there is no /dev/kvm")
    if not os.access(KVM, os.R_OK | os.W_OK):
        return Accelerator("tcg", "software emulation: /dev/kvm may not be opened by this user")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept = cache_dir() / "kvm-probes" / digest(boot, version(), kernel.build.name)
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(_probe_kvm(kernel)))
    works = json.loads(kept.read_text())
    if works:
        return Accelerator("kvm", "KVM: it ran a guest")
    return Accelerator(
        "tcg",
        f"software emulation: /dev/kvm opens but ran no guest within {KVM_PROBE_SECONDS:.0f} s",
    )


def _probe_kvm(kernel: Kernel) -> bool:
    """Boot without a root: a guest that runs ends in a panic, and QEMU with it."""
    argv = [
        BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", "-accel", "kvm", "-cpu", CPU_BY_ACCELERATOR["kvm"], "-m", "256M",
        "-kernel", str(kernel.image), "-append", COMMAND_LINE, "-serial", "stdio",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=KVM_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return re.search(rb"Kernel panic", done.stdout) is not None
