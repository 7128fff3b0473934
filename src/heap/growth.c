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

// What a process may pay once in pages faulted in again, some 30 ms: phases of sizes pass within it.
#define AGAIN_AT_START_BYTES ((size_t)96 << 20)

_Atomic size_t hhi_growth_bytes HH_START_STATE; // taken since the last purge
// How much of what is used again may still count.
static _Atomic size_t again_bytes HH_START_STATE = AGAIN_AT_START_BYTES;
// Of free runs, given back here and not yet counted as used again.
static _Atomic size_t returned_run_bytes HH_START_STATE;

// How much of clean_bytes is clean only because a purge has given it back.
static size_t
returned_take(size_t clean_bytes)
{
    // relaxed (both): hints; two threads may take the same.
    size_t left = hh_load_relaxed(&returned_run_bytes);
    if (left == 0)
        return 0;
    size_t taken = left < clean_bytes ? left : clean_bytes;
    hh_store_relaxed(&returned_run_bytes, left - taken);
    return taken;
}

void
hhi_growth_count(size_t clean_bytes)
{
    size_t returned = returned_take(clean_bytes);
    if (returned != 0)
        hhi_growth_count_again(returned);
    clean_bytes -= returned;
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
    if (hhi_run_retained_bytes() >= RUNS_WORTH_BYTES) {
        size_t before = budget.bytes;
        hhi_sweep_runs(&budget);
        // relaxed: a hint.
        hh_fetch_add_relaxed(&returned_run_bytes, before - budget.bytes);
    }
    if (cache->partial_bytes >= PARTIAL_WORTH_BYTES)
        hhi_cache_purge_stale(cache, &budget);
    // relaxed: a hint.
    if (hh_load_relaxed(&cache->heap->shared_count) >= SHARED_WORTH)
        hhi_sweep_shared_stale(cache->heap, &budget);
}
