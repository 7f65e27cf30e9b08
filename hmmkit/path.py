# SPDX-License-Identifier: GPL-2.0-only
"""The functions worth naming on a page's way back, and the part of the kernel each belongs to.

A trace has more; these are the steps that the book tells, under the names that they have in 6.1,
6.12 and 7.3. ``CallTree.pruned`` takes the names, ``figures.call_graph`` the parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from hmmkit.trace import Call, CallTree

ENTRY = "entry and page fault"
DRIVER = "the driver"
MIGRATION = "migration helpers"
END = "the device page's end"
SWAPPING = "swapping"

WAY_BACK = {
    "__x64_sys_ioctl": ENTRY,
    "lock_vma_under_rcu": ENTRY,
    "lock_mm_and_find_vma": ENTRY,
    "handle_mm_fault": ENTRY,
    "do_swap_page": ENTRY,
    "dmirror_ioctl": DRIVER,
    "dmirror_migrate_to_system": DRIVER,
    "dmirror_migrate_to_ram": DRIVER,
    "dmirror_bring_back": DRIVER,
    "migrate_vma_setup": MIGRATION,
    "migrate_vma_collect_pmd": MIGRATION,
    "migrate_device_unmap": MIGRATION,
    "migrate_vma_pages": MIGRATION,
    "folio_migrate_mapping": MIGRATION,
    "migrate_vma_finalize": MIGRATION,
    "remove_migration_ptes": MIGRATION,
    "free_zone_device_folio": END,
    "free_zone_device_page": END,
    "dmirror_folio_free": END,
}

# The same for a huge device page, which one PMD entry maps (7.3).
HUGE_WAY_BACK = {
    **WAY_BACK,
    "do_huge_pmd_device_private": ENTRY,
    "dmirror_fetch_huge": DRIVER,
    "set_pmd_migration_entry": MIGRATION,
    "remove_migration_pmd": MIGRATION,
}

# A page that was really swapped out, on its way in.
SWAP_IN = {
    "handle_mm_fault": ENTRY,
    "do_swap_page": ENTRY,
    "swap_cache_get_folio": SWAPPING,
    "vma_alloc_folio": SWAPPING,
    "zram_submit_bio": SWAPPING,
}

# The roots of a trace that are more than preparation.
_WORK = ("__x64_sys_ioctl", "handle_mm_fault")

# The same step, in other releases than 6.12 or under a name that the compiler made.
SAME_STEP = {
    "free_zone_device_page": "free_zone_device_folio",
    "zram_rw_page": "zram_submit_bio",
    "vma_alloc_folio_noprof": "vma_alloc_folio",
}


def told(tree: CallTree, steps: Mapping[str, str]) -> CallTree:
    """The steps of a trace that are the same in every release, under their names in 6.12.

    A fault may be handled more than once: newer kernels try first with the lock of the one
    mapping. Of all attempts only the last is kept, and the taking of locks before it is not.
    A step that is taken twice at once is told once.
    """
    work = [root for root in _renamed(tree.roots) if root.function in _WORK]
    return CallTree(_once(CallTree(tuple(work[-1:])).pruned(steps).roots))


def _once(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    kept: list[Call] = []
    for call in calls:
        if not kept or kept[-1] != call:
            kept.append(call)
    return tuple(Call(call.function, _once(call.calls)) for call in kept)


def _renamed(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    return tuple(Call(SAME_STEP.get(call.function, call.function), _renamed(call.calls)) for call in calls)
