// SPDX-License-Identifier: MIT
/*
 * checked/checked_alloc.c - the functions of heap.h that allocate, free and resize, over the checked
 * blocks. In the checked library this file stands for heap/alloc.c and heap/debug_blocks.c.
 */
#include <string.h>

#include "checked/checked.h"
#include "heap/debug_blocks.h"
#include "heap/file_names.h"
#include "heap/heap_fast.h"
#include "heap/sample.h"

// Under hhi_checked_lock.
static struct hhi_file_name *checked_file_names[HHI_FILE_BUCKETS];

// ---- Allocation ---------------------------------------------------------------------------------

void *
hhi_heap_alloc_slow(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    struct hhi_checked_request request = {.heap = heap, .size_bytes = size_bytes, .level = level};
    return hhi_checked_take(&request);
}

void *
hhi_malloc_slow(size_t size_bytes)
{
    return hhi_heap_alloc_slow(&hhi_default_heap, size_bytes, HHI_LEVEL_TASK);
}

void *
hhi_heap_alloc(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    return hhi_heap_alloc_slow(heap, size_bytes, level);
}

void *
hhi_heap_alloc_zeroed(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    struct hhi_checked_request request = {
        .heap = heap, .size_bytes = size_bytes, .level = level, .zeroed = true};
    return hhi_checked_take(&request);
}

void *
hhi_heap_alloc_aligned(struct hh_heap *heap, size_t alignment_bytes, size_t size_bytes,
                       unsigned level)
{
    struct hhi_checked_request request = {
        .heap = heap, .size_bytes = size_bytes, .alignment_bytes = alignment_bytes, .level = level};
    return hhi_checked_take(&request);
}

void *
hhi_heap_alloc_debug(struct hh_heap *heap, size_t size_bytes, unsigned level, const char *file,
                     int line)
{
    struct hhi_checked_request request = {
        .heap = heap,
        .size_bytes = size_bytes,
        .level = level,
        .known = true,
        .file = hhi_file_name_intern(&hhi_checked_lock, checked_file_names, file),
        .line = line};
    return hhi_checked_take(&request);
}

// ---- Free ---------------------------------------------------------------------------------------

hhi_refusal
hhi_heap_free_slow(struct hh_heap *heap, void *block)
{
    return block == NULL ? 0 : hhi_checked_end(heap, block, NULL, "free");
}

hhi_refusal
hhi_heap_free_elsewhere(struct hh_heap *heap, void *block)
{
    return hhi_heap_free_slow(heap, block);
}

hhi_refusal
hhi_heap_free(struct hh_heap *heap, void *block)
{
    return hhi_heap_free_slow(heap, block);
}

// Any alignment_bytes, as the caller names it.
hhi_refusal
hhi_heap_free_aligned(struct hh_heap *heap, void *block, size_t alignment_bytes)
{
    struct hhi_checked_claim claim = {alignment_bytes, 0, true, false};
    return hhi_checked_end(heap, block, &claim, "free");
}

hhi_refusal
hhi_heap_free_aligned_sized(struct hh_heap *heap, void *block, size_t alignment_bytes,
                            size_t size_bytes)
{
    struct hhi_checked_claim claim = {alignment_bytes, size_bytes, true, true};
    return hhi_checked_end(heap, block, &claim, "free");
}

hhi_refusal
hhi_heap_free_sized(struct hh_heap *heap, void *block, size_t size_bytes)
{
    struct hhi_checked_claim claim = {0, size_bytes, false, true};
    return hhi_checked_end(heap, block, &claim, "free");
}

// ---- Sizes --------------------------------------------------------------------------------------

hhi_refusal
hhi_heap_usable_size(struct hh_heap *heap, const void *block, size_t *size_bytes)
{
    hh_block_info info;
    hhi_refusal refusal = hhi_heap_judge(heap, block, &info);
    *size_bytes = 0;
    if (refusal == 0 && !hhi_checked_size(block, size_bytes))
        *size_bytes = info.size_bytes; // sampled
    return refusal;
}

// A new block for the contents of one that has to move; a large one with room to grow into.
static void *
resize_take(struct hh_heap *heap, size_t old_bytes, size_t size_bytes, unsigned level)
{
    void *moved = NULL;
    if (size_bytes > hhi_slab_limit_bytes && size_bytes > old_bytes &&
        size_bytes < PTRDIFF_MAX / 2) {
        moved = hhi_heap_alloc(heap, size_bytes + size_bytes / 4, level);
        if (moved != NULL && !hhi_checked_resize(heap, moved, size_bytes, "realloc")) {
            hhi_heap_free(heap, moved);
            moved = NULL;
        }
    }
    return moved != NULL ? moved : hhi_heap_alloc(heap, size_bytes, level);
}

// A block moves whenever it is resized, so that pointers to where it was are found; but a large one.
hhi_refusal
hhi_heap_realloc(struct hh_heap *heap, void *block, size_t size_bytes, unsigned level,
                 void **result)
{
    size_t old_bytes;
    *result = NULL;
    hhi_refusal refusal = hhi_heap_usable_size(heap, block, &old_bytes);
    if (refusal != 0)
        return hhi_checked_refuse(heap, refusal);
    if (hhi_checked_resize(heap, block, size_bytes, "realloc")) {
        *result = block;
        return 0;
    }
    void *moved = resize_take(heap, old_bytes, size_bytes, level);
    if (moved == NULL)
        return 0;
    memcpy(moved, block, size_bytes < old_bytes ? size_bytes : old_bytes);
    refusal = hhi_checked_end(heap, block, NULL, "realloc");
    if (refusal != 0) {
        // Another thread freed it meanwhile: what we allocated is nobody's.
        hhi_heap_free(heap, moved);
        return refusal;
    }
    *result = moved;
    return 0;
}

bool
hhi_heap_debug_lookup(const void *address, const char **file, int *line, size_t *size_bytes)
{
    hh_block_info info;
    struct hhi_checked_place place;
    hhi_heap_owns(address, &info);
    *file = NULL;
    *line = 0;
    *size_bytes = 0;
    if (info.heap == NULL || (info.heap->flags & HHI_HEAP_HOST) == 0 || !info.live ||
        info.base != address)
        return false;
    *size_bytes = info.size_bytes;
    hhi_lock_enter(&hhi_checked_lock);
    if (hhi_checked_find_locked(address, &place) && place.record->state == HHI_CHECKED_LIVE) {
        *size_bytes = place.record->size_bytes;
        *file = place.record->file;
        *line = place.record->line;
    }
    hhi_lock_leave(&hhi_checked_lock);
    return true;
}
