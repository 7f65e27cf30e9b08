# SPDX-License-Identifier: GPL-2.0-only
"""--variant stock is Debian's kernel with our module. (tests/machine runs there too: make test.)"""

from __future__ import annotations

from tests.host.processes import Launch
from tests.host.test_bad_input import complaint

SCRIPT = "uname -rv; cut -d' ' -f1 /proc/modules; ls /dev/hmm_dmirror*"


def test_it_is_debians_and_takes_the_module(testmachine: Launch) -> None:
    done = testmachine("run", "--kernel", "7.3", "--variant", "stock", "--", "sh", "-ec", SCRIPT)
    assert done.returncode == 0, done.stderr
    version, *rest = done.stdout.splitlines()
    assert "-amd64 " in version and " Debian 7.3." in version
    assert rest[0] == "hmm_dmirror"
    assert "9pnet_virtio" in rest, "this kernel has as modules what ours has built in"
    assert rest[-2:] == ["/dev/hmm_dmirror0", "/dev/hmm_dmirror1"]


def test_a_stock_kernel_without_device_memory_is_refused(testmachine: Launch) -> None:
    line = complaint(testmachine("run", "--kernel", "6.12", "--variant", "stock", "--", "true"))
    assert "Debian's own Linux 6.12 has no CONFIG_DEVICE_PRIVATE; from 6.18 on they have it" in line
