# SPDX-License-Identifier: GPL-2.0-only
"""The judge of kernel messages: what it must report, and what it must let pass."""

from __future__ import annotations

import pytest

from tests.kernel_messages import reports

BAD = (
    "[   12.3] BUG: KASAN: slab-use-after-free in dmirror_evict+0x12/0x340 [hmm_dmirror]",
    "[   12.3] BUG: sleeping function called from invalid context at mm/page_alloc.c:4",
    "[   12.3] BUG: Bad page state in process stress  pfn:fcf12",
    "[   12.3] BUG: unable to handle page fault for address: ffff888fcf123000",
    "[   12.3] WARNING: CPU: 1 PID: 77 at mm/memremap.c:431 free_zone_device_folio+0x1/0x2",
    "[   12.3] WARNING: possible circular locking dependency detected",
    "[   12.3] WARNING: suspicious RCU usage",
    "[   12.3] UBSAN: array-index-out-of-bounds in module/page.c:12:3",
    "[   12.3] Oops: general protection fault, probably for non-canonical address",
    "[   12.3] INFO: task stress:77 blocked for more than 122 seconds.",
    "[   12.3] INFO: rcu_preempt self-detected stall on CPU",
    "[   12.3] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[   12.3] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [stress:77]",
    "[   12.3] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "[   12.3] refcount_t: underflow; use-after-free.",
    "[   12.3] page dumped because: VM_BUG_ON_FOLIO(!folio_test_locked(folio))",
    "[   12.3] stress[77]: segfault at 8 ip 000000000040 sp 00007ffe error 4 in stress",
)

FINE = (
    "[    0.1] DEBUG: nothing of the kind",
    "[    0.1] hmm_dmirror: added new 256 MB chunk (total 1 chunks, 256 MB) PFNs [0xfcf0000 0xfd00000)",
    "[    0.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 15764)",
    "[    0.1] rcu: Hierarchical RCU implementation.",
    "[    0.1] debug: the lock is held for long",
)


@pytest.mark.parametrize("line", BAD)
def test_what_is_wrong_is_reported(line: str) -> None:
    assert reports(["[    0.1] something before", line]) == [line]


def test_what_is_fine_is_not() -> None:
    assert reports(FINE) == []
