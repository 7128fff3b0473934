// SPDX-License-Identifier: MIT
// heap/census.c - who owns an address; what a heap holds; figures.
#include <string.h>

#include "heap/block_history.h"
#include "heap/heap.h"
#include "heap/heap_fast.h"
#include "heap/heap_list.h"
#include "heap/kept_runs.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "meta/meta_arena.h"
#include "os/os.h"
#include "region/address_notice.h"
#include "region/run.h"

// ---- Ownership ----------------------------------------------------------------------------------

static void
slab_describe(struct hhi_slab *slab, const void *address, hh_block_info *info)
{
    // relaxed (all): an answer for an address that is nobody's live block may be out of date.
    hhi_link *links = hh_load_relaxed(&slab->links);
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    uint32_t slot;
    hhi_slab_block_at(slab, address, &slot);
    info->heap = hh_load_relaxed(&slab->heap);
    if (links == NULL || slot >= hh_load_relaxed(&slab->block_count))
        return;
    info->base = (void *)(hhi_slab_base(slab) + slot * block_bytes);
    info->size_bytes = block_bytes;
    info->live = hh_load_relaxed(&links[slot]) == HHI_LINK_LIVE;
}

void
hhi_heap_owns(const void *address, hh_block_info *info)
{
    memset(info, 0, sizeof *info);
    unsigned kind = HHI_KIND_NONE;
    struct hhi_slab *slab = hhi_slab_find(address, &kind);
    if (slab == NULL) {
        // relaxed: see where it is stored.
        if (hh_unlikely(hh_load_relaxed(&hhi_sample_pool_made) != 0))
            hhi_sample_describe(address, info);
        return;
    }
    if (kind == HHI_KIND_SLAB) {
        slab_describe(slab, address, info);
    } else if (kind == HHI_KIND_LARGE) {
        // relaxed (all): as above.
        info->heap = hh_load_relaxed(&slab->heap);
        size_t size_bytes = hh_load_relaxed(&slab->block_bytes);
        // The block may end before its run does.
        if ((uintptr_t)address - hhi_slab_base(slab) < size_bytes) {
            info->base = (void *)hhi_slab_base(slab);
            info->size_bytes = size_bytes;
            info->live = hh_load_relaxed(&slab->large_of) == info->heap;
        }
    }
    if (info->heap == NULL)
        memset(info, 0, sizeof *info);
}

hhi_refusal
hhi_heap_judge(struct hh_heap *heap, const void *address, hh_block_info *info)
{
    hhi_heap_owns(address, info);
    if (info->heap == NULL)
        return HH_BAD_FOREIGN;
    if (info->base != address)
        return HH_BAD_INTERIOR;
    if (!info->live)
        return HH_BAD_NOT_LIVE;
    return info->heap == heap ? 0 : HH_BAD_OTHER_HEAP;
}

// ---- Walks --------------------------------------------------------------------------------------

static int
visit_block(uintptr_t base, size_t block_bytes,
            int (*visit)(void *arg, void *block, size_t size_bytes), void *arg)
{
    return visit(arg, (void *)base, hhi_block_usable_bytes((const void *)base, block_bytes));
}

static int
slab_walk(struct hhi_slab *slab, int (*visit)(void *arg, void *block, size_t size_bytes), void *arg)
{
    // relaxed (all): blocks freed or taken meanwhile may be seen or not.
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    if (hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE)
        return hh_load_relaxed(&slab->large_of) != NULL
                   ? visit_block(hhi_slab_base(slab), block_bytes, visit, arg)
                   : 0;
    hhi_link *links = hh_load_relaxed(&slab->links);
    uint32_t count = hh_load_relaxed(&slab->block_count);
    int stop = 0;
    for (uint32_t index = 0; index < count && !stop; index++)
        if (hh_load_relaxed(&links[index]) == HHI_LINK_LIVE)
            stop = visit_block(hhi_slab_base(slab) + index * block_bytes, block_bytes, visit, arg);
    return stop;
}

hh_status
hhi_heap_walk(struct hh_heap *heap, int (*visit)(void *arg, void *block, size_t size_bytes),
              void *arg)
{
    int stop = 0;
    hhi_lock_enter(&heap->lock); // no run of the heap is retired meanwhile
    for (struct hhi_slab *slab = heap->runs; slab != NULL && !stop; slab = slab->heap_next)
        stop = slab_walk(slab, visit, arg);
    hhi_lock_leave(&heap->lock);
    if (!stop)
        hhi_sample_walk(heap, visit, arg);
    return HH_OK;
}

// ---- Figures ------------------------------------------------------------------------------------

static int
stats_add_sampled(void *arg, void *block, size_t size_bytes)
{
    hh_heap_stats *stats = arg;
    (void)block;
    stats->live_blocks++;
    stats->live_bytes += size_bytes;
    return 0;
}

void
hhi_heap_get_stats(struct hh_heap *heap, hh_heap_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    hhi_lock_enter(&heap->lock);
    for (struct hhi_slab *slab = heap->runs; slab != NULL; slab = slab->heap_next) {
        // relaxed (all): a census.
        size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
        bool large = hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE;
        size_t live = large ? hh_load_relaxed(&slab->large_of) != NULL : hhi_slab_count_live(slab);
        stats->live_blocks += live;
        size_t live_bytes = hhi_blocks_usable_bytes(slab, live * block_bytes);
        stats->live_bytes += live_bytes;
        stats->large_blocks += large ? live : 0;
        stats->large_bytes += large ? live_bytes : 0;
    }
    stats->slab_count = heap->slab_count;
    stats->slabs_carved = heap->slabs_carved;
    stats->slabs_retired = heap->slabs_retired;
    hhi_lock_leave(&heap->lock);
    hhi_sample_walk(heap, stats_add_sampled, stats);
    struct hhi_budget_reading reading;
    hhi_budget_read(&heap->budget, &reading);
    stats->committed_bytes = reading.committed_bytes;
    stats->soft_limit_bytes = reading.soft_bytes;
    stats->hard_limit_bytes = reading.hard_bytes;
    // relaxed: a statistic.
    stats->bad_frees = hh_load_relaxed(&heap->bad_frees);
}

static void
stats_add(void *arg, struct hh_heap *heap)
{
    hh_stats *sum = arg;
    hh_heap_stats one;
    hhi_heap_get_stats(heap, &one);
    sum->heaps++;
    sum->all.live_blocks += one.live_blocks;
    sum->all.live_bytes += one.live_bytes;
    sum->all.large_blocks += one.large_blocks;
    sum->all.large_bytes += one.large_bytes;
    sum->all.committed_bytes += one.committed_bytes;
    sum->all.slab_count += one.slab_count;
    sum->all.slabs_carved += one.slabs_carved;
    sum->all.slabs_retired += one.slabs_retired;
    sum->all.bad_frees += one.bad_frees;
}

void
hhi_get_stats(hh_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    hhi_heap_for_each(stats_add, stats);
    struct hhi_budget_reading reading;
    hhi_limit_read(&reading);
    stats->all.soft_limit_bytes = reading.soft_bytes;
    stats->all.hard_limit_bytes = reading.hard_bytes;
    struct hhi_run_stats runs;
    hhi_run_read_stats(&runs);
    stats->threads = hhi_thread_count_running();
    stats->regions = runs.regions;
    stats->reserved_bytes = runs.reserved_bytes;
    stats->committed_bytes = runs.committed_bytes;
    stats->retained_bytes =
        runs.retained_bytes + (hhi_limbo_granules() << HHI_GRANULE_SHIFT) + hhi_kept_run_bytes();
    stats->metadata_bytes = hhi_meta_bytes();
    stats->purged_bytes = runs.purged_bytes + hhi_sweep_purged_in_slabs();
    // relaxed: a statistic.
    stats->system_calls = hh_load_relaxed(&hhi_os_calls);
    struct hhi_notice_stats notices;
    hhi_notice_read_stats(&notices);
    stats->acquired_ranges = notices.ranges;
    stats->acquired_bytes = notices.bytes;
}

size_t
hhi_trim(void)
{
    return hhi_sweep_all();
}
