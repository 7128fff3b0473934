// SPDX-License-Identifier: MIT
/*
 * heap/lent.h - slabs that others have emptied and whose owner does not ask for them, at a limit.
 *
 * Layer: heap. May include: base, slab, heap.
 *
 * Blocks that other threads free come back when the owner asks for some of their class. An owner that
 * sleeps does not, and what it holds counts against the limits of its heap and of the process. Who is about
 * to be refused for a limit can not retire such a slab: the owner's own free, right or wrong, looks at
 * its record outside of any section, and takes it for one of its own. But while all blocks are REMOTE no list
 * holds one, and none can be taken before somebody with the slab's token has collected them. So the
 * slab's pages are given back, and it is counted no more: it is lent. It stays where it was, in the
 * owner's inbox.
 *
 * Its owner counts it again before it uses it; if the limits do not allow that, it stays lent. Where its
 * blocks are not wanted it is retired.
 *
 * Invariants
 *   I1  all blocks of a lent slab are REMOTE, and its token is out.
 *   I2  HHI_SLAB_LENT is read and changed by the token's holder alone; the token's ways hand it on
 *       (slab.h, SL-4; the arrival lock).
 *   I3  a slab is lent only when no section is open that began before it was taken out of the inbox:
 *       in one the owner may still be collecting.
 *
 * Thread rules: make on any thread that keeps ends of heaps out; the rest by the token's holder.
 */
#ifndef HHI_HEAP_LENT_H
#define HHI_HEAP_LENT_H

#include "heap/thread_cache.h"

static inline bool
hhi_lent_is(const struct hhi_slab *slab)
{
    // relaxed: see I2.
    return (hh_load_relaxed(&slab->flags) & HHI_SLAB_LENT) != 0;
}

// Lend what can be of a cache's inbox.
void hhi_lent_make(struct hhi_cache *cache);
bool hhi_lent_take_back_slow(struct hhi_slab *slab, unsigned level);
size_t hhi_lent_end_slow(struct hhi_slab *slab);

// Before a slab is used: count it again, if the limits allow that at once. True of one that is not lent.
static inline bool
hhi_lent_take_back(struct hhi_slab *slab, unsigned level)
{
    return hh_likely(!hhi_lent_is(slab)) || hhi_lent_take_back_slow(slab, level);
}

// A slab ends. Returns how much of it its heap does not count: of a lent one all. The process counts it
// again, whatever its limits: for the accounts its run uses memory until it is purged.
static inline size_t
hhi_lent_end(struct hhi_slab *slab)
{
    return hh_likely(!hhi_lent_is(slab)) ? 0 : hhi_lent_end_slow(slab);
}

#endif
