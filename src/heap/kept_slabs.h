// SPDX-License-Identifier: MIT
/*
 * heap/kept_slabs.h - empty slabs a thread's cache holds back for a while.
 *
 * Layer: heap. May include: base, os, options, slab, heap.
 *
 * A batch that is allocated and freed by turns empties its slabs every time. Retiring each and
 * carving it again costs a dozen locked instructions, so an emptied slab is put into one of the
 * cache's slots first and taken from there by the next refill of its class.
 *
 * A kept slab is in nobody's hands: it has no owner, its token is held by whoever takes it out of the
 * slot (slab.h), and all of its blocks are free, none of them REMOTE: it is taken without a look.
 * Only the cache's owner puts; the owner, the sweeper and who is about to be refused memory take. So
 * what is kept comes back also from a thread that sleeps: the sweeper stamps it when it sees it
 * first, and retires it half a decay time later.
 *
 * What is kept is bounded (4 MiB of slabs), and given up before its owner carves a slab of
 * another class: it never stands beside fresh memory.
 *
 * Invariants
 *   I1  a slab is in one slot at most, and in no list; its state is HHI_SLAB_KEPT.
 *   I2  a slot is filled by the cache's owner alone, and emptied by exchange.
 *
 * Memory ordering
 *   KS-1  slot: release when it is filled -> acquire exchange that empties it: the slab's fields.
 *
 * Thread rules: put and take on the owner's thread; release on any, while the heap can not end.
 * Progress: all wait-free but for the locks of retiring.
 */
#ifndef HHI_HEAP_KEPT_SLABS_H
#define HHI_HEAP_KEPT_SLABS_H

#include "heap/thread_cache.h"

// Keep an idle slab that its owner has just disowned. False: there is no room, it must be retired. What is
// kept already stays: a program that empties more than has room gains by neither.
bool hhi_kept_put(struct hhi_cache *cache, struct hhi_slab *slab);
// A kept slab of the class; the caller has its token. NULL: none.
struct hhi_slab *hhi_kept_take(struct hhi_cache *cache, unsigned class_index);
/*
 * Retire the kept slabs for which due holds; due NULL: all. due may look at stamp_ms and set it; the
 * slab may be in use again by then. Returns their bytes, of which the caller tells the sweeper, unless
 * it is the sweeper.
 */
size_t hhi_kept_release(struct hhi_cache *cache, bool (*due)(void *arg, struct hhi_slab *slab),
                        void *arg);
// The same for all of them, on the owner's thread: at once when there is none.
size_t hhi_kept_release_own(struct hhi_cache *cache);
// Before the cache is used for another heap, or made anew: empty the slots that are noted as filled,
// whose slabs are otherwise accounted for.
void hhi_kept_forget(struct hhi_cache *cache);
// Number of slabs kept; exact for the owner's thread while nobody else takes.
unsigned hhi_kept_count(struct hhi_cache *cache);

#endif
