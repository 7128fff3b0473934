// SPDX-License-Identifier: MIT
// heap/growth.c - see growth.h.
#include "heap/growth.h"

#include "base/atomic.h"
#include "heap/sweep.h"
#include "options/options.h"
#include "region/run.h"

enum {
    LOOKS_MOST = 1 << 19, // blocks whose state is looked at in one purge: some 0.2 ms
    SHARED_WORTH = 16,    // so few shared slabs are not worth a look
    RETURNS_FACTOR = 2,   // bytes given back for each that is taken
};
// So little in free runs, in partly used slabs, is not worth a look.
#define RUNS_WORTH_BYTES ((size_t)1 << 20)
#define PARTIAL_WORTH_BYTES ((size_t)1 << 20)

#define AGAIN_AT_START_BYTES ((size_t)16 << 20)

_Atomic size_t hhi_growth_bytes HH_START_STATE; // taken since the last purge
// How much of what is used again may still count.
static _Atomic size_t again_bytes = AGAIN_AT_START_BYTES;

void
hhi_growth_count(size_t clean_bytes)
{
    // relaxed (both): hints.
    hh_fetch_add_relaxed(&hhi_growth_bytes, clean_bytes);
    hh_fetch_add_relaxed(&again_bytes, clean_bytes / 2);
}

void
hhi_growth_count_again(size_t size_bytes)
{
    // relaxed (all): hints; two threads may take a little more than there is.
    size_t left = hh_load_relaxed(&again_bytes);
    if (size_bytes > left)
        size_bytes = left;
    hh_store_relaxed(&again_bytes, left - size_bytes);
    hh_fetch_add_relaxed(&hhi_growth_bytes, size_bytes);
}

void
hhi_growth_purge(struct hhi_cache *cache)
{
    // relaxed: a hint; who loses a race finds little.
    size_t grown = hh_exchange_relaxed(&hhi_growth_bytes, 0);
    if (grown < HHI_GROWTH_STEP_BYTES || hhi_opt.decay_ms == HHI_DECAY_OFF)
        return;
    struct hhi_purge_budget budget = {RETURNS_FACTOR * grown, LOOKS_MOST};
    if (hhi_run_retained_bytes() >= RUNS_WORTH_BYTES)
        hhi_sweep_runs(&budget);
    if (cache->partial_bytes >= PARTIAL_WORTH_BYTES)
        hhi_cache_purge_stale(cache, &budget);
    // relaxed: a hint.
    if (hh_load_relaxed(&cache->heap->shared_count) >= SHARED_WORTH)
        hhi_sweep_shared_stale(cache->heap, &budget);
}
