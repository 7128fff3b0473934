// SPDX-License-Identifier: MIT
/*
 * override/override_sized.c - frees whose caller names the size, the alignment, or both. What is
 * named is checked: a block that can not be what the caller believes is not freed.
 */
#include "heap/bad_block.h"
#include "heap/heap.h"
#include "override/override.h"
#include "override/trace.h"

void
hhi_override_free_sized(const char *function, void *block, size_t size_bytes)
{
    if (block == NULL)
        return;
    if (hhi_trace_on())
        hhi_trace_free(block);
    hhi_refusal why = hhi_heap_free_sized(hhi_heap_default(), block, size_bytes);
    if (hh_unlikely(why != 0))
        hhi_bad_block_raise(function, block, why, size_bytes);
}

// What to call when a block whose alignment is named is refused.
static void
sized_raise(const char *function, const void *block, hhi_refusal why, size_t alignment_bytes,
            size_t size_bytes)
{
    if (hh_unlikely(why != 0))
        hhi_bad_block_raise(function, block, why,
                            why == HH_BAD_ALIGNMENT_MISMATCH ? alignment_bytes : size_bytes);
}

void
hhi_override_free_aligned(const char *function, void *block, size_t alignment_bytes)
{
    if (block == NULL)
        return;
    if (hhi_trace_on())
        hhi_trace_free(block);
    hhi_refusal why = hhi_heap_free_aligned(hhi_heap_default(), block, alignment_bytes);
    sized_raise(function, block, why, alignment_bytes, 0);
}

void
hhi_override_free_aligned_sized(const char *function, void *block, size_t alignment_bytes,
                                size_t size_bytes)
{
    if (block == NULL)
        return;
    if (hhi_trace_on())
        hhi_trace_free(block);
    hhi_refusal why =
        hhi_heap_free_aligned_sized(hhi_heap_default(), block, alignment_bytes, size_bytes);
    sized_raise(function, block, why, alignment_bytes, size_bytes);
}

HH_OVERRIDE void
free_sized(void *block, size_t size_bytes)
{
    hhi_override_free_sized("free_sized", block, size_bytes);
}

HH_OVERRIDE void
free_aligned_sized(void *block, size_t alignment_bytes, size_t size_bytes)
{
    hhi_override_free_aligned_sized("free_aligned_sized", block, alignment_bytes, size_bytes);
}
