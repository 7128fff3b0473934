// SPDX-License-Identifier: MIT
// heap/kept_runs.c - runs of freed large blocks that a heap holds back for a while.
#include "heap/kept_runs.h"

#include "heap/heap_list.h"
#include "heap/sweep.h"

// Kept by all heaps together. It is no more than their blocks had a moment before.
#define KEPT_MOST_BYTES ((size_t)64 << 20)
enum {
    MISSES_PATIENT = 4, // so many runs in turn may be given up unused,
    MISSES_TRY = 16,    // then one freed run of so many is kept
};

static _Atomic size_t kept_bytes;

static size_t
run_bytes(struct hhi_slab *slab)
{
    // relaxed: fixed while the run is in a slot; in the hands of the caller if it must be true.
    return (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
}

// Empty a slot. NULL: somebody else did.
static struct hhi_slab *
run_slot_empty(_Atomic(struct hhi_slab *) *slot)
{
    // order: acquire [KR-1] the run's fields, and what others did with the block it held.
    struct hhi_slab *slab = hh_exchange_acquire(slot, NULL);
    if (slab != NULL)
        // relaxed: a count publishes nothing.
        hh_fetch_sub_relaxed(&kept_bytes, run_bytes(slab));
    return slab;
}

// Count a run, and put it into a slot that is empty. False: changed nothing.
static bool
run_slot_fill(struct hh_heap *heap, struct hhi_slab *slab)
{
    size_t size_bytes = run_bytes(slab);
    // relaxed: a count publishes nothing; two threads may both be refused where one had room.
    if (hh_fetch_add_relaxed(&kept_bytes, size_bytes) <= KEPT_MOST_BYTES - size_bytes) {
        for (unsigned slot = 0; slot < HHI_KEPT_RUNS; slot++) {
            struct hhi_slab *empty = NULL;
            // relaxed: a first look without a locked instruction.
            if (hh_load_relaxed(&heap->kept_runs[slot]) == NULL &&
                // order: release [KR-1].
                hh_cas_strong_release(&heap->kept_runs[slot], &empty, slab))
                return true;
        }
    }
    // relaxed: as above.
    hh_fetch_sub_relaxed(&kept_bytes, size_bytes);
    return false;
}

// Whether it looks as if a run that is kept would be used.
static bool
keeping_pays(struct hh_heap *heap)
{
    // relaxed (both): a hint; counts lost between threads do no harm.
    uint32_t misses = hh_load_relaxed(&heap->kept_run_misses);
    if (misses < MISSES_PATIENT)
        return true;
    hh_store_relaxed(&heap->kept_run_misses, misses + 1);
    return misses % MISSES_TRY == 0;
}

bool
hhi_kept_run_put(struct hhi_slab *slab)
{
    size_t size_bytes = run_bytes(slab);
    // relaxed: fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    // Without a sweeper that comes by itself an idle heap's runs would stay for ever.
    if (size_bytes > KEPT_MOST_BYTES || slab->records != NULL || !keeping_pays(heap) ||
        !hhi_sweep_comes())
        return false;
    // relaxed (all): published by the slot. The next block was not shrunk.
    hh_store_relaxed(&slab->flags, (uint8_t)(hh_load_relaxed(&slab->flags) & ~HHI_SLAB_SHRUNK));
    // 0: the sweeper has not seen it yet.
    hh_store_relaxed(&slab->stamp_ms, 0);
    if (!run_slot_fill(heap, slab))
        return false;
    hhi_sweep_note(size_bytes);
    return true;
}

void *
hhi_kept_run_take(struct hh_heap *heap, uint32_t granules)
{
    for (unsigned slot = 0; slot < HHI_KEPT_RUNS; slot++) {
        // relaxed (both): a first look; records are never unmapped, and what is taken is looked at again.
        struct hhi_slab *slab = hh_load_relaxed(&heap->kept_runs[slot]);
        if (slab == NULL || hh_load_relaxed(&slab->granules) != granules)
            continue;
        slab = run_slot_empty(&heap->kept_runs[slot]);
        if (slab == NULL)
            continue;
        if (run_bytes(slab) != (size_t)granules << HHI_GRANULE_SHIFT) {
            // Another run came into the slot meanwhile.
            if (!run_slot_fill(heap, slab))
                hhi_heap_free_large(slab);
            continue;
        }
        // relaxed: a hint.
        hh_store_relaxed(&heap->kept_run_misses, 0);
        hhi_slab_large_begin(slab, heap);
        return (void *)hhi_slab_base(slab);
    }
    return NULL;
}

size_t
hhi_kept_runs_release(struct hh_heap *heap, bool (*due)(void *arg, struct hhi_slab *slab),
                      void *arg)
{
    size_t released_bytes = 0;
    for (unsigned slot = 0; slot < HHI_KEPT_RUNS; slot++) {
        // relaxed: a hint; a younger run that came into the slot meanwhile may go as well.
        struct hhi_slab *slab = hh_load_relaxed(&heap->kept_runs[slot]);
        if (slab == NULL || (due != NULL && !due(arg, slab)))
            continue;
        slab = run_slot_empty(&heap->kept_runs[slot]);
        if (slab == NULL)
            continue;
        released_bytes += run_bytes(slab);
        hhi_heap_free_large_unnoted(slab);
    }
    return released_bytes;
}

void
hhi_kept_runs_give_up(struct hh_heap *heap)
{
    uintptr_t kept = 0;
    // relaxed: a first look, since mostly nothing is kept.
    for (unsigned slot = 0; slot < HHI_KEPT_RUNS; slot++)
        kept |= (uintptr_t)hh_load_relaxed(&heap->kept_runs[slot]);
    if (hh_likely(kept == 0))
        return;
    // The sweeper was told when they were kept.
    if (hhi_kept_runs_release(heap, NULL, NULL) != 0)
        // relaxed (both): a hint.
        hh_store_relaxed(&heap->kept_run_misses, hh_load_relaxed(&heap->kept_run_misses) + 1);
}

void
hhi_kept_runs_forget(struct hh_heap *heap)
{
    for (unsigned slot = 0; slot < HHI_KEPT_RUNS; slot++)
        (void)run_slot_empty(&heap->kept_runs[slot]);
}

size_t
hhi_kept_run_bytes(void)
{
    // relaxed: a rough figure.
    return hh_load_relaxed(&kept_bytes);
}
