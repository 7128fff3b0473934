// SPDX-License-Identifier: MIT
/*
 * heap/inbox.h - slabs in which other threads have freed blocks, on their way back to the owner.
 *
 * Layer: heap. May include: base, os, slab, heap/thread_cache.h.
 *
 *   freeing threads --push--> inbox --gather--> arrived[class] --take--> owner
 *                             a stack           oldest first   \--take cold--> sweeper --push--> inbox
 *
 * A slab is in here as long as its token is out: once, however many of its blocks are freed. The
 * owner takes one slab at a time, the one that has waited longest, and only when it needs one of
 * this class: by then most blocks of the slab have come back, and the thread that frees them is at
 * work elsewhere. So a slab is looked through once for many blocks, and its lines do not go to and
 * fro with every block. Slabs of classes that the owner does not ask for are settled, a few at a
 * time, when it is about to carve (hhi_inbox_take_any).
 *
 * Thread rules: push by any thread that has taken the slab's token, lock-free. All else under the
 * cache's arrival lock, which nobody waits for: the owner who can not have it does as if nothing had
 * arrived, the sweeper comes by again. No call to the kernel is made under it.
 *
 * Invariants
 *   IN-I1  a slab in the inbox or in arrived has its token taken, and is there once.
 *   IN-I2  who takes a slab out has its token: it gives it back, or puts the slab back.
 */
#ifndef HHI_HEAP_INBOX_H
#define HHI_HEAP_INBOX_H

#include "heap/thread_cache.h"

// Whether nothing seems to be there. A hint.
static inline bool
hhi_inbox_is_empty(struct hhi_cache *cache)
{
    // relaxed (both): a hint.
    return hh_load_relaxed(&cache->arrived_count) == 0 && hh_load_relaxed(&cache->inbox) == NULL;
}

// Put slabs, chained by inbox_next from first to last, into the inbox; their tokens are taken.
void hhi_inbox_push(struct hhi_cache *cache, struct hhi_slab *first, struct hhi_slab *last);
// The slab of a class that has waited longest. NULL: none, or somebody else is looking.
struct hhi_slab *hhi_inbox_take(struct hhi_cache *cache, unsigned class_index);
// This one, if it has arrived lately and nobody else is looking.
bool hhi_inbox_take_slab(struct hhi_cache *cache, struct hhi_slab *slab);
// One of any class, each in its turn; of what is in the inbox only if gather.
struct hhi_slab *hhi_inbox_take_any(struct hhi_cache *cache, bool gather);
/*
 * For the sweeper: out of all that has arrived the slabs in which no block was freed for some
 * passes, or with all every one in which a block was freed since it was purged; chained by
 * inbox_next. waiting: counts those that may be due at a later pass.
 */
struct hhi_slab *hhi_inbox_take_cold(struct hhi_cache *cache, bool all, size_t *waiting);
// For who is about to be refused: all slabs whose blocks are all freed by others, as far as can be seen,
// chained by inbox_next.
struct hhi_slab *hhi_inbox_take_freed(struct hhi_cache *cache);
// Put slabs back that were taken so. Those that were not purged are due at the next pass.
void hhi_inbox_put_cold(struct hhi_cache *cache, struct hhi_slab *first, bool purged);
// Forget what has arrived, and who was looking at it: nobody else does, a lost thread may have.
void hhi_inbox_forget_arrived(struct hhi_cache *cache);

#endif
