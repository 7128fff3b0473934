// SPDX-License-Identifier: MIT
/*
 * region/foreign_guard.h - guard pages in memory that is not ours.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * A runtime makes guard pages on thread stacks, which are foreign. The kernel keeps no guard bit, so
 * they are noted here: one word per page, address and PAGE_ value together. A note counts only while
 * the kernel shows the page without access, so notes of memory that is gone or was changed by
 * somebody else are without effect.
 *
 * Thread rules: find and run_end by any thread at any time, wait-free; set and has_room under the
 * regions' lock.
 * Source: contract PG-7, PR-5.
 */
#ifndef HHI_REGION_FOREIGN_GUARD_H
#define HHI_REGION_FOREIGN_GUARD_H

#include "base/compiler.h"

enum { HHI_FOREIGN_GUARDS_MAX = 256 };

// The PAGE_ value, GUARD included, noted for the page; 0 if none is.
uint32_t hhi_foreign_guard_find(uintptr_t page);
// The first page above page, at most to, for which find answers otherwise.
uintptr_t hhi_foreign_guard_run_end(uintptr_t page, uintptr_t to);
// Whether the pages [first, end) can be noted.
bool hhi_foreign_guard_has_room(uintptr_t first, uintptr_t end);
// Note the pages if protection has GUARD, else forget them.
void hhi_foreign_guard_set(uintptr_t first, uintptr_t end, uint32_t protection);

#endif
