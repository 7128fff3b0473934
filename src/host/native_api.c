// SPDX-License-Identifier: MIT
/*
 * host/native_api.c - the functions of hostheap.h over heap.h: argument checks and nothing else.
 *
 * Layer: host. hh_version is in process/version.c, hh_set_bad_free_handler in heap/bad_block.c,
 * hh_stats_print in process/stats_print.c.
 */
#include <hostheap/hostheap.h>

#include "base/bits.h"
#include "heap/block_history.h"
#include "heap/heap.h"
#include "heap/heap_fast.h"
#include "heap/sample.h"

#define NATIVE_ALIGNMENT_MAXIMUM ((size_t)1 << 30)

// ---- Heaps

static bool
native_limits_valid(size_t soft_bytes, size_t hard_bytes)
{
    return soft_bytes == 0 || hard_bytes == 0 || soft_bytes <= hard_bytes;
}

static bool
native_options_valid(const hh_heap_options *options)
{
    return options->struct_size == sizeof *options && (options->flags & ~HH_HEAP_EXECUTABLE) == 0 &&
           native_limits_valid(options->soft_limit_bytes, options->hard_limit_bytes);
}

hh_status
hh_heap_create(const hh_heap_options *options, hh_heap **heap)
{
    static const hh_heap_options defaults = {.struct_size = sizeof defaults};
    if (heap == NULL)
        return HH_E_INVALID_ARGUMENT;
    *heap = NULL;
    if (options == NULL)
        options = &defaults;
    if (!native_options_valid(options))
        return HH_E_INVALID_ARGUMENT;
    uint32_t flags = (options->flags & HH_HEAP_EXECUTABLE) != 0 ? HHI_HEAP_EXECUTABLE : 0;
    return hhi_heap_create(flags, options->soft_limit_bytes, options->hard_limit_bytes,
                           options->name, heap);
}

hh_status
hh_heap_destroy(hh_heap *heap)
{
    if (heap == NULL || heap == hhi_heap_default() || (hhi_heap_flags(heap) & HHI_HEAP_HOST) != 0)
        return HH_E_INVALID_ARGUMENT;
    hhi_heap_destroy(heap);
    return HH_OK;
}

hh_heap *
hh_heap_default(void)
{
    return hhi_heap_default();
}

// ---- Blocks

void *
hh_heap_alloc(hh_heap *heap, size_t size_bytes)
{
    return hhi_heap_alloc_fast(heap, size_bytes, HHI_LEVEL_TASK);
}

void *
hh_heap_calloc(hh_heap *heap, size_t count, size_t size_bytes)
{
    size_t total_bytes;
    if (__builtin_mul_overflow(count, size_bytes, &total_bytes))
        return NULL;
    return hhi_heap_alloc_zeroed(heap, total_bytes, HHI_LEVEL_TASK);
}

void *
hh_heap_aligned_alloc(hh_heap *heap, size_t alignment_bytes, size_t size_bytes)
{
    if (!hh_is_power_of_two(alignment_bytes) || alignment_bytes > NATIVE_ALIGNMENT_MAXIMUM)
        return NULL;
    return hhi_heap_alloc_aligned(heap, alignment_bytes, size_bytes, HHI_LEVEL_TASK);
}

static hh_status
native_status_of(hhi_refusal why)
{
    return why == 0 ? HH_OK : HH_E_INVALID_BLOCK;
}

hh_status
hh_heap_realloc(hh_heap *heap, void *block, size_t size_bytes, void **result)
{
    if (result == NULL)
        return HH_E_INVALID_ARGUMENT;
    *result = NULL;
    if (block == NULL)
        *result = hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_TASK);
    else if (hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, result) != 0)
        return HH_E_INVALID_BLOCK;
    return *result != NULL ? HH_OK : HH_E_NO_MEMORY;
}

static HH_SLOW hh_status
native_free_slow(hh_heap *heap, void *block)
{
    return block == NULL ? HH_OK : native_status_of(hhi_heap_free(heap, block));
}

hh_status
hh_heap_free(hh_heap *heap, void *block)
{
    if (hh_likely(hhi_heap_free_quick(&heap->key, block)))
        return HH_OK;
    return native_free_slow(heap, block);
}

hh_status
hh_heap_free_sized(hh_heap *heap, void *block, size_t size_bytes)
{
    return block == NULL ? HH_OK : native_status_of(hhi_heap_free_sized(heap, block, size_bytes));
}

size_t
hh_heap_usable_size(hh_heap *heap, const void *block)
{
    size_t size_bytes = 0;
    if (block != NULL)
        hhi_heap_usable_size(heap, block, &size_bytes);
    return size_bytes;
}

// ---- Ownership

hh_status
hh_owns(const void *address, hh_block_info *info)
{
    if (info == NULL)
        return HH_E_INVALID_ARGUMENT;
    hhi_heap_owns(address, info);
    return HH_OK;
}

// ---- Limits

hh_status
hh_heap_set_limits(hh_heap *heap, size_t soft_bytes, size_t hard_bytes)
{
    if (heap == NULL || !native_limits_valid(soft_bytes, hard_bytes))
        return HH_E_INVALID_ARGUMENT;
    return hhi_heap_set_limits(heap, soft_bytes, hard_bytes);
}

hh_status
hh_set_memory_limits(size_t soft_bytes, size_t hard_bytes)
{
    if (!native_limits_valid(soft_bytes, hard_bytes))
        return HH_E_INVALID_ARGUMENT;
    return hhi_set_memory_limits(soft_bytes, hard_bytes);
}

size_t
hh_trim(void)
{
    return hhi_trim();
}

// ---- Statistics

hh_status
hh_heap_get_stats(hh_heap *heap, hh_heap_stats *stats)
{
    if (heap == NULL || stats == NULL)
        return HH_E_INVALID_ARGUMENT;
    hhi_heap_get_stats(heap, stats);
    return HH_OK;
}

hh_status
hh_get_stats(hh_stats *stats)
{
    if (stats == NULL)
        return HH_E_INVALID_ARGUMENT;
    hhi_get_stats(stats);
    return HH_OK;
}

hh_status
hh_heap_walk(hh_heap *heap, int (*visit)(void *arg, void *block, size_t size_bytes), void *arg)
{
    if (heap == NULL || visit == NULL)
        return HH_E_INVALID_ARGUMENT;
    return hhi_heap_walk(heap, visit, arg);
}

// ---- Checked blocks

size_t
hh_check_blocks(void)
{
    return hhi_blocks_check("hh_check_blocks");
}

// ---- Sampled guard pages

hh_status
hh_set_sampling(uint32_t every)
{
    (void)hhi_process_up(); // reads the option first, which would win if it came later
    return hhi_sample_start(every) ? HH_OK : HH_E_NO_MEMORY;
}
