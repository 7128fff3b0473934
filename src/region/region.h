// SPDX-License-Identifier: MIT
/*
 * region/region.h - host allocations: address space given out by VirtualAlloc, page by page.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 *   base                              end            granule end
 *   |-- pages of the allocation ------|-- tail -------|
 *   multiple of 64 KiB                multiple of the page size
 *
 * The tail of the last granule is taken from the kernel too, as far as it is free, so that no other
 * mapping comes to stand there; it is reported as free (DECISION 28).
 *
 * The states of all pages hang on one pointer, record.state, the root of a run tree (run_tree.h):
 * every change prepares a new tree, changes the kernel's mappings, then stores the new root. So
 * each query sees one instant, and a change that fails has changed nothing.
 *
 * Thread rules: functions that change take the regions' lock (rank: before the region map's, after
 * no other lock; nothing above is called under it). Queries take none (region_query.h).
 *
 * Invariants
 *   I1  a page is committed in the tree => it is mapped with its protection's access.
 *   I2  a page is reserved and not stale => it has no access and reads as zero when committed.
 *   I3  a stale page (reserved, HHI_RUN_STALE) may be accessible or hold old bytes: the kernel
 *       refused to hide it or to drop it (VF-5). It is emptied before it is committed again.
 *
 * Failure: an HHI_VM_ code; nothing has changed then, unless the kernel refuses to undo as well.
 * Source: contract section 8; ADR-0005.
 */
#ifndef HHI_REGION_REGION_H
#define HHI_REGION_REGION_H

#include "base/compiler.h"
#include "os/lock.h"
#include "rcu/rcu.h"
#include "region/region_map.h"
#include "region/run.h"

enum hhi_vm_status {
    HHI_VM_OK,
    HHI_VM_BAD_STATE,   // pages in a state that does not fit
    HHI_VM_BAD_RANGE,   // passes the end of the allocation
    HHI_VM_NOT_OURS,    // not in a host allocation
    HHI_VM_NOT_FIRST,   // in one, but not in its first page
    HHI_VM_SLAB,        // touches the library's own memory
    HHI_VM_NO_MEMORY,   // the kernel or the metadata arena refused
    HHI_VM_NOT_ALLOWED, // the kernel forbids that access
    HHI_VM_CHARGE_MORE, // more pages would be committed than were charged for
    HHI_VM_NO_LIST,     // the kernel's list of mappings can not be read
};

// One host allocation. A pool record: readers may hold it until a grace period after its release.
struct hhi_region {
    struct hhi_rcu_link link;
    struct hhi_region_record record; // kind HHI_REGION_HOST; state = root of the run tree
    uint32_t tail_pages; // bit k: page k after end is ours; fixed before it is published
    bool anywhere;       // the host named no address
};

struct hhi_region *hhi_region_of(struct hhi_region_record *record);

// The access a PAGE_ value stands for; 0 with PAGE_GUARD (PG-6, PG-7).
unsigned hhi_region_access(uint32_t protection);

/*
 * Reserve size_bytes (above 0), anywhere for address 0, else from address down to a granule
 * on; commit: with protection, else without access. *base: the allocation.
 * OK, BAD_STATE (not free), NO_MEMORY. tries: what was refused and the calls made, added up.
 */
enum hhi_vm_status hhi_region_reserve(uintptr_t address, size_t size_bytes, uint32_t protection,
                                      bool commit, uintptr_t *base, struct hhi_tries *tries);
// Whether a reserve at address, which is not 0, would find something there. False: it would, BAD_STATE.
bool hhi_region_place_is_free(uintptr_t address, size_t size_bytes);
// Unmap what was released in [first, end) and the kernel would not unmap then. False: it will not now.
bool hhi_region_bury_within(uintptr_t first, uintptr_t end);
/*
 * Commit the pages [first, end), giving those already committed the protection too. *new_bytes: in:
 * what was charged; out: what became committed, or has to be charged (CHARGE_MORE).
 * OK, BAD_STATE, NO_MEMORY, NOT_ALLOWED, CHARGE_MORE.
 */
enum hhi_vm_status hhi_region_commit(uintptr_t first, uintptr_t end, uint32_t protection,
                                     size_t *new_bytes, struct hhi_tries *tries);
// Let the kernel drop contents of the committed pages in [first, end); state of [reach_first,
// reach_end) is checked. OK, BAD_STATE.
enum hhi_vm_status hhi_region_reset(uintptr_t reach_first, uintptr_t reach_end, uintptr_t first,
                                    uintptr_t end);
/*
 * Decommit [address, address + size_bytes) in whole pages; size 0: all of the allocation whose
 * first page holds address. *freed_bytes: what was committed.
 * OK, NOT_OURS, NOT_FIRST, BAD_RANGE, NO_MEMORY.
 */
enum hhi_vm_status hhi_region_decommit(uintptr_t address, size_t size_bytes, size_t *freed_bytes);
// Release the allocation whose first page holds address. OK, NOT_OURS, NOT_FIRST.
enum hhi_vm_status hhi_region_release(uintptr_t address, size_t *freed_bytes);
/*
 * Set the protection of the committed or foreign pages [first, end). *old: the first page's.
 * OK, BAD_STATE, SLAB, NO_MEMORY, NOT_ALLOWED, NO_LIST.
 */
enum hhi_vm_status hhi_region_protect(uintptr_t first, uintptr_t end, uint32_t protection,
                                      uint32_t *old);
// Clear the guard of the page that holds address. Whether it was a guard page.
bool hhi_region_guard_fault(uintptr_t address);

// Pages of ours that the kernel shows but queries call free: the tail page of a live allocation.
// *end: first address after it that is not such a page. Inside a read section.
bool hhi_region_is_tail(uintptr_t page, uintptr_t *end);

// Around fork: hold the lock while the process is copied. The map's lock and rcu's gate are apart.
void hhi_region_fork(enum hhi_fork_step step);

#endif
