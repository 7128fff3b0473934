// SPDX-License-Identifier: MIT
/*
 * region/region_map.h - address -> region, for every range of address space the library owns.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * Owners describe a range in a record and insert it. A radix tree over granules of 64 KiB leads
 * from an address to the record; a record that covers all of an entry's range stands in the entry
 * itself, so that a large region costs few entries.
 *
 *    address bits   47..40       39..33       32..26       25..16       15..0
 *                  root[256] -> node[128] -> node[128] -> leaf[1024]    within the granule
 *    entry covers   1 TiB        8 GiB        64 MiB       64 KiB
 *    entry          0 = nothing | address of a record | address of a node + 1
 *
 * Nodes above the leaves are small, because a program of which nothing is known but its heap needs a
 * few entries, far apart: they all lie in the pages of other records.
 *
 * A record exists for readers while its state is not NULL: inserting prepares all entries and then
 * publishes the state, so a region appears and vanishes at one instant whatever its size.
 *
 * Thread rules: find, next, previous and version by any thread at any time, in signal handlers too;
 * the record found may be used inside a read section (rcu.h) begun before, or for ever if its owner
 * keeps records type-stable. insert, publish, unpublish and remove take the map's lock (rank: after
 * every lock of the caller but meta).
 *
 * Invariants
 *   I1  base is a multiple of the granule; no two inserted records share a granule.
 *   I2  nodes are never freed, an entry that leads to a node always does.
 *   I3  a record is not inserted anew before its last removal is one grace period old, or is
 *       described by the same fields.
 *   I4  used of a node = records that stand in entries below it.
 *
 * Memory ordering
 *   RM-1  entry: insert -> find: a node's zeroed entries, a record's fields.
 *   RM-2  state: publish -> readers: what the state points to; NULL: that the region is gone.
 *   RM-3  version: publish and unpublish -> readers that want an unchanged map around a question
 *         to the kernel.
 *   RM-4  committed_end: owner -> readers: that the pages below it are committed.
 *
 * Progress: find is wait-free, at most four loads; next and previous are wait-free, bounded by
 * the size of the nodes on the way.
 * Failure: insert gives -EEXIST or -ENOMEM and leaves nothing behind but empty nodes.
 * Source: contract VQ-5, VQ-7, GEN-8; ADR-0005.
 */
#ifndef HHI_REGION_REGION_MAP_H
#define HHI_REGION_REGION_MAP_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "os/lock.h"

#define HHI_REGION_GRANULE_BYTES ((uintptr_t)65536)

// First address above user space (DECISION 1).
#if defined(__x86_64__)
#define HHI_ADDRESS_LIMIT ((uintptr_t)0x00007FFFFFFFF000)
#else
#define HHI_ADDRESS_LIMIT ((uintptr_t)1 << 48)
#endif

enum hhi_region_kind {
    HHI_REGION_HOST,       // an allocation of VirtualAlloc
    HHI_REGION_SLAB,       // slabs and large blocks
    HHI_REGION_EXECUTABLE, // the same of executable heaps
    HHI_REGION_METADATA,   // page maps, slab records, the meta arena
};

// Pages alike from the one asked about on.
struct hhi_region_part {
    uintptr_t end;  // first address that is not alike, at most the region's end
    bool committed; // else reserved
    bool guard;     // committed, but no access
};

/*
 * The owner fills base, end, kind and, for all kinds but HOST, either part or committed_end before
 * insert; base and end do not change while the record is inserted.
 */
struct hhi_region_record {
    uintptr_t base; // multiple of HHI_REGION_GRANULE_BYTES
    uintptr_t end;  // multiple of the page size; the granule it ends in is the region's to its end
    enum hhi_region_kind kind;
    uint32_t allocation_protect; // PAGE_ value of the creating call (HOST)
    _Atomic(const void *) state; // written under the map's lock, read by all [RM-2]
    // Pages below it are committed, those above reserved; the owner stores with release [RM-4].
    _Atomic uintptr_t committed_end;
    /*
     * Instead of committed_end, if not NULL: the part that begins at page (which lies in the
     * region). Wait-free, async-signal-safe, takes no lock.
     */
    void (*part)(const struct hhi_region_record *record, uintptr_t page,
                 struct hhi_region_part *part);
};

// The pages of a region with committed_end below end are committed.
static inline void
hhi_region_record_set_committed(struct hhi_region_record *record, uintptr_t end)
{
    // order: release [RM-4] the pages were committed before.
    hh_store_release(&record->committed_end, end);
}

static inline uintptr_t
hhi_region_record_committed(const struct hhi_region_record *record)
{
    // order: acquire [RM-4] the pages below it are committed.
    return hh_load_acquire(&record->committed_end);
}

// Enter a region that readers can see at once. 0, -EEXIST (I1), -ENOMEM.
int hhi_region_map_insert(struct hhi_region_record *record);
// Take a region out. The caller unmaps it afterwards.
void hhi_region_map_remove(struct hhi_region_record *record);

// insert and remove in two steps: entries without effect, then the state. state is not NULL.
int hhi_region_map_prepare(struct hhi_region_record *record);
void hhi_region_map_publish(struct hhi_region_record *record, const void *state);
void hhi_region_map_unpublish(struct hhi_region_record *record);
void hhi_region_map_withdraw(struct hhi_region_record *record);

// The record whose granules hold address, published or not; NULL if none. Any value.
struct hhi_region_record *hhi_region_map_find(uintptr_t address);
// The published record nearest above address that does not hold it (base > address); NULL if none.
struct hhi_region_record *hhi_region_map_next(uintptr_t address);
// The published record nearest below address that does not hold it; NULL if none.
struct hhi_region_record *hhi_region_map_previous(uintptr_t address);
// Changes with every publish and unpublish.
uint64_t hhi_region_map_version(void);

// The published record that holds address, bounds checked to its end; NULL if none.
struct hhi_region_record *hhi_region_map_find_live(uintptr_t address);

// Around fork: hold the lock while the process is copied.
void hhi_region_map_fork(enum hhi_fork_step step);

#endif
