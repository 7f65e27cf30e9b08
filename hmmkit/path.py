# SPDX-License-Identifier: GPL-2.0-only
"""The functions worth naming on a page's way back, and the part of the kernel each belongs to.

A trace has more; these are the steps that the book tells, under the names that they have in 6.1,
6.12 and 7.3. ``CallTree.pruned`` takes the names, ``figures.call_graph`` the parts.
"""

from __future__ import annotations

ENTRY = "entry and page fault"
DRIVER = "the driver"
MIGRATION = "migration helpers"
END = "the device page's end"

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
