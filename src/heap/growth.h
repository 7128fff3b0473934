// SPDX-License-Identifier: MIT
/*
 * heap/growth.h - a heap that grows gives back what is free inside its slabs first.
 *
 * Layer: heap. May include: base, options, slab, heap.
 *
 * A program that turns to other sizes leaves slabs of the old ones behind, each held by a few live
 * blocks. While it then takes clean memory from the system, as many free pages inside such slabs are
 * given back, at most twice what it takes: so what is resident does not grow while much of it is free.
 *
 * What counts is clean memory taken, and what was given back and is used again, but only as far as clean
 * memory was taken since the start, and a little more: a program that goes to and fro between sizes
 * soon pays for it no more. One that only uses its memory again never comes here, and one that grows
 * without leaving anything free finds so little in its lists that it looks at no slab.
 *
 * Thread rules: count on any thread; purge on the cache's owner's, without locks held.
 * Cost: counting is one locked addition for each run of clean memory. A purge looks at a bounded
 * number of slabs.
 */
#ifndef HHI_HEAP_GROWTH_H
#define HHI_HEAP_GROWTH_H

#include "heap/thread_cache.h"

// clean_bytes that used no memory before are being used now.
void hhi_growth_count(size_t clean_bytes);
// Pages inside a slab that were given back are going to be used again, or its run may be.
void hhi_growth_count_again(size_t size_bytes);
void hhi_growth_purge(struct hhi_cache *cache);

extern _Atomic size_t hhi_growth_bytes __attribute__((visibility("hidden")));
enum { HHI_GROWTH_STEP_BYTES = 1 << 20 };

// Whether enough was taken since the last time.
static inline bool
hhi_growth_is_due(void)
{
    // relaxed: a hint.
    return hh_unlikely(hh_load_relaxed(&hhi_growth_bytes) >= HHI_GROWTH_STEP_BYTES);
}

static inline void
hhi_growth_check(struct hhi_cache *cache)
{
    if (hhi_growth_is_due())
        hhi_growth_purge(cache);
}

#endif
