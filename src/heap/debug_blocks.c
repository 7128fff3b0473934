// SPDX-License-Identifier: MIT
// heap/debug_blocks.c - blocks whose place of allocation is remembered.
#include "heap/debug_blocks.h"

#include <string.h>

#include "base/check.h"
#include "heap/file_names.h"
#include "heap/heap_list.h"
#include "heap/limit.h"
#include "heap/sample.h"
#include "meta/meta_arena.h"

// Everything under lock (rank: limbo).
static struct {
    struct hhi_lock lock;
    struct hhi_file_name *buckets[HHI_FILE_BUCKETS];
    struct hhi_debug_record *spare[HHI_CLASSES + 1]; // arrays by class, chained by `file`
} debug;

// ---- Arrays of records; class HHI_CLASSES: the single record of a large block -------------------

static struct hhi_debug_record *
records_take(unsigned class_index, size_t count)
{
    hhi_lock_enter(&debug.lock);
    struct hhi_debug_record *records = debug.spare[class_index];
    if (records != NULL)
        debug.spare[class_index] = (struct hhi_debug_record *)(uintptr_t)records->file;
    hhi_lock_leave(&debug.lock);
    if (records == NULL)
        return hhi_meta_alloc(count * sizeof *records);
    memset(records, 0, count * sizeof *records);
    return records;
}

static void
records_give(unsigned class_index, struct hhi_debug_record *records)
{
    hhi_lock_enter(&debug.lock);
    records->file = (const char *)debug.spare[class_index];
    debug.spare[class_index] = records;
    hhi_lock_leave(&debug.lock);
}

bool
hhi_debug_forget_locked(struct hhi_slab *slab)
{
    if (slab->records == NULL)
        return true;
    // relaxed (both): fixed while carved.
    bool large = hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE;
    records_give(large ? HHI_CLASSES : hh_load_relaxed(&slab->class_index), slab->records);
    slab->records = NULL;
    return true;
}

// ---- Tracked slabs ------------------------------------------------------------------------------

static void
tracked_push_locked(struct hh_heap *heap, struct hhi_slab *slab, unsigned class_index)
{
    slab->state = HHI_SLAB_PARTIAL;
    slab->previous = NULL;
    slab->next = heap->tracked[class_index];
    if (slab->next != NULL)
        slab->next->previous = slab;
    heap->tracked[class_index] = slab;
}

static void
tracked_remove_locked(struct hh_heap *heap, struct hhi_slab *slab, unsigned class_index)
{
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        heap->tracked[class_index] = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
    slab->next = slab->previous = NULL;
    slab->state = HHI_SLAB_FULL;
}

// The heap's lists of tracked slabs. False: no memory.
static bool
tracked_ready(struct hh_heap *heap, unsigned level)
{
    for (unsigned attempt = 0;; attempt++) {
        hhi_lock_enter(&heap->lock);
        bool ready = hhi_heap_track_locked(heap);
        hhi_lock_leave(&heap->lock);
        if (ready || !hhi_limit_retry_record(level, attempt))
            return ready;
    }
}

// A slab with the array for its records; not in the list of tracked slabs yet.
static struct hhi_slab *
tracked_carve(struct hh_heap *heap, unsigned class_index, unsigned level)
{
    struct hhi_slab *slab =
        tracked_ready(heap, level) ? hhi_heap_carve(heap, class_index, true, level) : NULL;
    if (slab == NULL)
        return NULL;
    struct hhi_debug_record *records = records_take(class_index, hhi_class_blocks(class_index));
    hhi_lock_enter(&heap->lock);
    slab->records = records;
    slab->credit = 0; // counts live blocks here
    tracked_push_locked(heap, slab, class_index);
    hhi_lock_leave(&heap->lock);
    return slab;
}

// A block of a tracked slab that has one, with its record filled. NULL: no slab has one.
static void *
tracked_take(struct hh_heap *heap, unsigned class_index, const struct hhi_debug_record *record)
{
    void *block = NULL;
    hhi_lock_enter(&heap->lock);
    struct hhi_slab *slab = heap->tracked[class_index];
    if (slab != NULL) {
        if (slab->freed == HHI_LINK_END)
            slab->freed = hhi_slab_extend(slab, false);
        uint32_t index = slab->freed;
        // relaxed (all): changed under the heap's lock only.
        hhi_link *links = hh_load_relaxed(&slab->links);
        slab->freed = hh_load_relaxed(&links[index]);
        slab->credit++;
        hh_store_relaxed(&links[index], HHI_LINK_LIVE);
        if (slab->records != NULL)
            slab->records[index] = *record;
        if (slab->freed == HHI_LINK_END && slab->init == hh_load_relaxed(&slab->block_count))
            tracked_remove_locked(heap, slab, class_index);
        block = (void *)(hhi_slab_base(slab) + index * hh_load_relaxed(&slab->block_bytes));
    }
    hhi_lock_leave(&heap->lock);
    return block;
}

hhi_refusal
hhi_debug_free(struct hh_heap *heap, struct hhi_slab *slab, uint32_t index)
{
    // relaxed (all): fixed while carved, or changed under the heap's lock only.
    unsigned class_index = hh_load_relaxed(&slab->class_index);
    hhi_link *link = &hh_load_relaxed(&slab->links)[index];
    bool ended = false;
    hhi_lock_enter(&heap->lock);
    // With another free of it the slab may have ended meanwhile.
    bool live = hh_load_relaxed(&slab->kind) == HHI_KIND_SLAB &&
                hh_load_relaxed(&slab->heap) == heap &&
                (hh_load_relaxed(&slab->flags) & HHI_SLAB_TRACKED) != 0 &&
                hh_load_relaxed(link) == HHI_LINK_LIVE;
    if (live) {
        hh_store_relaxed(link, (uint16_t)slab->freed);
        slab->freed = index;
        if (slab->records != NULL)
            slab->records[index] = (struct hhi_debug_record){0};
        if (slab->state != HHI_SLAB_PARTIAL)
            tracked_push_locked(heap, slab, class_index);
        // One slab of each class is kept for the next block.
        ended = --slab->credit == 0 && (slab->next != NULL || slab->previous != NULL);
        if (ended) {
            tracked_remove_locked(heap, slab, class_index);
            (void)hhi_debug_forget_locked(slab);
        }
    }
    hhi_lock_leave(&heap->lock);
    if (ended)
        hhi_heap_retire_slab(slab); // it has no owner, its token was never given
    return live ? 0 : HH_BAD_NOT_LIVE;
}

static void *
debug_alloc_large(struct hh_heap *heap, size_t size_bytes, unsigned level,
                  const struct hhi_debug_record *record)
{
    bool zeroed;
    void *block = hhi_heap_alloc_large(heap, size_bytes, 1, level, &zeroed);
    if (block == NULL)
        return NULL;
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    HH_CHECK(slab != NULL); // the block is live
    struct hhi_debug_record *records = records_take(HHI_CLASSES, 1);
    hhi_lock_enter(&heap->lock);
    slab->records = records;
    if (records != NULL)
        *records = *record;
    hhi_lock_leave(&heap->lock);
    return block;
}

void *
hhi_heap_alloc_debug(struct hh_heap *heap, size_t size_bytes, unsigned level, const char *file,
                     int line)
{
    struct hhi_debug_record record = {hhi_file_name_intern(&debug.lock, debug.buckets, file), line,
                                      true, size_bytes};
    if (size_bytes > hhi_slab_limit_bytes)
        return debug_alloc_large(heap, size_bytes, level, &record);
    unsigned class_index = hhi_class_of(size_bytes == 0 ? 1 : size_bytes);
    void *block;
    while ((block = tracked_take(heap, class_index, &record)) == NULL)
        if (tracked_carve(heap, class_index, level) == NULL)
            return NULL;
    return block;
}

bool
hhi_heap_debug_lookup(const void *address, const char **file, int *line, size_t *size_bytes)
{
    hh_block_info info;
    hhi_heap_owns(address, &info);
    *file = NULL;
    *line = 0;
    *size_bytes = 0;
    if (info.heap == NULL || (info.heap->flags & HHI_HEAP_HOST) == 0 || !info.live ||
        info.base != address)
        return false;
    unsigned kind;
    uint32_t slot = 0;
    struct hhi_slab *slab = hhi_slab_find(address, &kind);
    if (slab == NULL && !hhi_sample_contains(address)) // freed meanwhile, and given back
        return false;
    *size_bytes = info.size_bytes;
    if (slab == NULL)
        return true; // sampled: never one of DebugAlloc
    hhi_lock_enter(&info.heap->lock);
    // relaxed: a caller that asks for a live block keeps its slab from changing.
    bool large = hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE;
    bool tracked = large || (hh_load_relaxed(&slab->flags) & HHI_SLAB_TRACKED) != 0;
    if (tracked && slab->records != NULL) {
        if (!large)
            hhi_slab_block_at(slab, address, &slot);
        const struct hhi_debug_record *record = &slab->records[slot];
        if (record->known) {
            *file = record->file;
            *line = record->line;
            *size_bytes = record->size_bytes;
        }
    }
    hhi_lock_leave(&info.heap->lock);
    return true;
}

void
hhi_debug_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&debug.lock, step);
}
