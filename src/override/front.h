// SPDX-License-Identifier: MIT
/*
 * override/front.h - what the malloc family asks of a thread's own slabs before it asks the heap.
 *
 * Layer: override. May include: base, heap.
 *
 * These files are compiled twice. In the checked library sizes are what was asked for, and blocks have
 * canaries behind them: neither can be told from a class, so there every answer is "ask the heap".
 */
#ifndef HHI_OVERRIDE_FRONT_H
#define HHI_OVERRIDE_FRONT_H

#include "heap/heap.h"
#include "heap/heap_fast.h"

#ifdef HHI_FRONT_CHECKED
#define FRONT_CHECKED 1
#else
#define FRONT_CHECKED 0
#endif

// Whether NULL of hhi_malloc_slow is a refusal, and not for want of a record.
HH_FAST bool
hhi_front_is_refused(void)
{
    return !FRONT_CHECKED && hhi_thread_is_real(hhi_self);
}

// Usable size of a live block of this thread's; 0: ask the heap.
HH_FAST size_t
hhi_front_block_bytes(const void *block)
{
    return FRONT_CHECKED ? 0 : hhi_cache_block_bytes(&hhi_self->main, block);
}

// The same of an address inside of the window.
HH_FAST size_t
hhi_front_block_bytes_in_window(const void *block)
{
    return FRONT_CHECKED ? 0 : hhi_cache_block_bytes_in_window(&hhi_self->main, block);
}

// The same of a live large block.
HH_FAST size_t
hhi_front_large_bytes(const void *block)
{
    return FRONT_CHECKED ? 0 : hhi_large_block_bytes(&hhi_default_heap, block);
}

HH_FAST size_t
hhi_front_block_bytes_medium(const void *block)
{
    return FRONT_CHECKED ? 0
                         : hhi_cache_block_bytes_medium(&hhi_self->main, &hhi_default_heap, block);
}

// Size whose class has the alignment; false: ask the heap.
HH_FAST bool
hhi_front_aligned_class(size_t alignment_bytes, size_t size_bytes, size_t *rounded_bytes)
{
    return !FRONT_CHECKED && hhi_aligned_class(alignment_bytes, size_bytes, rounded_bytes);
}

/*
 * The same from a bin that has a block. Without the tests for what is rare: an alignment of 0 and a
 * sum that overflows give 0 here, whose bin is empty, and a large alignment gives no small size.
 */
HH_FAST bool
hhi_front_aligned_quick(size_t alignment_bytes, size_t size_bytes, void **block)
{
    if (FRONT_CHECKED)
        return false;
    size_t rounded_bytes = (size_bytes + (alignment_bytes - 1)) & -alignment_bytes;
    return hh_likely(hhi_malloc_quick(rounded_bytes, block));
}

// Free a block that lies elsewhere than in this thread's small slabs; false: ask the heap.
HH_FAST bool
hhi_front_free_elsewhere(void *block, struct hhi_slab *slab, bool sized, size_t size_bytes)
{
    return !FRONT_CHECKED && hhi_free_elsewhere(hhi_self, &hhi_default_heap, &hhi_self->main, block,
                                                slab, sized, size_bytes);
}

#endif
