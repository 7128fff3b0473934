// SPDX-License-Identifier: MIT
/*
 * heap/heap_list.h - what the files of this layer share about heaps and large blocks.
 *
 * Layer: heap.
 */
#ifndef HHI_HEAP_HEAP_LIST_H
#define HHI_HEAP_HEAP_LIST_H

#include "heap/thread_cache.h"

// A large block, of whole granules: of a size above HHI_SLAB_MAX_BYTES, with an alignment above a
// granule's, or one that may not be of a slab. NULL: refused. *zeroed: the block reads as zero.
void *hhi_heap_alloc_large(struct hh_heap *heap, size_t size_bytes, size_t alignment_bytes,
                           unsigned level, bool *zeroed);
// The same by one try (HHI_TRY_ONCE or HHI_TRY_LAST, or as the level says), of a request that goes on with something
// else if it is refused; *level: the tries that are left for that. Both together make few calls (docs/adr/0033).
void *hhi_heap_try_large_first(struct hh_heap *heap, size_t size_bytes, unsigned tries_once,
                               unsigned *level);
// The same as part of a request that goes on if it is refused: what was reserved for it stays.
void *hhi_heap_try_large(struct hh_heap *heap, size_t size_bytes, size_t alignment_bytes,
                         unsigned level, struct hhi_tries *tries, bool *zeroed);
/*
 * Grow a large block of heap in place. As hhi_run_extend; tried again as the level allows. -ENOENT: it
 * is no live block of the heap any more, or another one by now. While its size changes it has no live
 * mark, so that nobody frees it half resized; that is under the heap's lock, so that no walk misses it.
 */
int hhi_heap_extend_large(struct hh_heap *heap, struct hhi_slab *slab, size_t size_bytes,
                          unsigned level);
// End a large block whose live mark the caller has taken.
void hhi_heap_free_large(struct hhi_slab *slab);
// The same without telling the sweeper.
void hhi_heap_free_large_unnoted(struct hhi_slab *slab);

// Whether the block of a run is smaller than the run: one that grows and got its run early. Of the block's
// owner or of who took its mark; else a hint.
static inline bool
hhi_large_is_early(const struct hhi_slab *slab)
{
    // relaxed (both): the caller has the block, or asks again.
    return hh_load_relaxed(&slab->block_bytes) != (size_t)hh_load_relaxed(&slab->granules)
                                                      << HHI_GRANULE_SHIFT;
}

// Such a block has all of its run, or none any more. By who took its mark.
static inline void
hhi_large_early_end(struct hh_heap *heap, struct hhi_slab *slab)
{
    // relaxed (both): fixed while the caller has the run; a count publishes nothing.
    hh_store_relaxed(&slab->block_bytes, (size_t)hh_load_relaxed(&slab->granules)
                                             << HHI_GRANULE_SHIFT);
    hh_fetch_sub_relaxed(&heap->early_runs, 1);
}

// All heaps, the default one first. Heaps stay in the list while the sweeper is kept out.
struct hh_heap *hhi_heap_first(void);
struct hh_heap *hhi_heap_next(struct hh_heap *heap);

// Up to 64 shared slabs of a class for which due holds, chained by next, out of the heap's list; the
// caller has their tokens. NULL: none.
struct hhi_slab *hhi_heap_take_shared_if(struct hh_heap *heap, unsigned class_index,
                                         bool (*due)(void *arg, struct hhi_slab *slab), void *arg);
// Put a slab back that was taken so.
void hhi_heap_return_shared(struct hhi_slab *slab);

// Before a slab comes into one of heap->tracked: make the lists. Under the lock that guards them. False:
// no memory.
bool hhi_heap_track_locked(struct hh_heap *heap);

// Around fork: the list's lock, and every heap's.
void hhi_heap_list_fork(enum hhi_fork_step step);
void hhi_heaps_fork(enum hhi_fork_step step);

#endif
