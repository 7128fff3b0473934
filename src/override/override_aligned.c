// SPDX-License-Identifier: MIT
/* override/override_aligned.c - the functions that take an alignment. */
#include "override/override.h"

#include <errno.h>
#include <unistd.h>

#include "base/bits.h"
#include "heap/heap.h"
#include "heap/heap_fast.h"
#include "override/front.h"
#include "override/trace.h"

#define ALIGNED_ALIGNMENT_MAXIMUM ((size_t)1 << 30)

// alignment_bytes is a power of two. NULL for want of memory; errno is left alone.
HH_NOINLINE static void *
aligned_block(size_t alignment_bytes, size_t size_bytes)
{
    if (hh_unlikely(alignment_bytes > ALIGNED_ALIGNMENT_MAXIMUM))
        return NULL;
    void *block =
        hhi_heap_alloc_aligned(hhi_heap_default(), alignment_bytes, size_bytes, HHI_LEVEL_TASK);
    if (hhi_trace_on())
        hhi_trace_aligned(block, alignment_bytes, size_bytes);
    return block;
}

// A block whose bin is empty, or of a size above the small ones, if it is to be had at once.
HH_FAST bool
aligned_take(size_t rounded_bytes, void **block)
{
    return hh_likely(rounded_bytes > HHI_SMALL_MAX_BYTES)
               ? hhi_malloc_quick_medium(rounded_bytes, block)
               : hhi_bins_take_freed(hhi_self->bins, rounded_bytes, block);
}

// rounded_bytes serves the alignment, and is not 0.
HH_NOINLINE static void *
aligned_refill(size_t alignment_bytes, size_t size_bytes, size_t rounded_bytes)
{
    void *block = hhi_malloc_slow(rounded_bytes);
    return hh_likely(block != NULL) || hhi_front_is_refused()
               ? block
               : aligned_block(alignment_bytes, size_bytes);
}

// What malloc's fast path has no block for. Most alignments are had by asking for a size that is a
// multiple of them. alignment_bytes is a power of two in all functions from here on.
HH_FAST void *
aligned_medium(size_t alignment_bytes, size_t size_bytes)
{
    void *block;
    size_t rounded_bytes;
    if (hh_unlikely(!hhi_front_aligned_class(alignment_bytes, size_bytes, &rounded_bytes)))
        return aligned_block(alignment_bytes, size_bytes);
    if (hh_likely(aligned_take(rounded_bytes, &block)))
        return block;
    return aligned_refill(alignment_bytes, size_bytes, rounded_bytes);
}

HH_SLOW static void *
aligned_block_slow(size_t alignment_bytes, size_t size_bytes)
{
    void *block = aligned_block(alignment_bytes, size_bytes);
    return hh_likely(block != NULL) ? block : hhi_override_no_memory();
}

HH_NOINLINE static void *
aligned_refill_or_errno(size_t alignment_bytes, size_t size_bytes, size_t rounded_bytes)
{
    void *block = hhi_malloc_slow(rounded_bytes);
    if (hh_likely(block != NULL))
        return block;
    return hhi_front_is_refused() ? hhi_override_no_memory()
                                  : aligned_block_slow(alignment_bytes, size_bytes);
}

HH_NOINLINE static void *
aligned_medium_or_errno(size_t alignment_bytes, size_t size_bytes)
{
    void *block;
    size_t rounded_bytes;
    if (hh_unlikely(!hhi_front_aligned_class(alignment_bytes, size_bytes, &rounded_bytes)))
        return aligned_block_slow(alignment_bytes, size_bytes);
    if (hh_likely(aligned_take(rounded_bytes, &block)))
        return block;
    return aligned_refill_or_errno(alignment_bytes, size_bytes, rounded_bytes);
}

// Whether value is a power of two or 0.
HH_FAST bool
aligned_is_power_or_zero(size_t value)
{
    return (value & (value - 1)) == 0;
}

HH_NOINLINE static int
aligned_posix_medium(void **result, size_t alignment_bytes, size_t size_bytes)
{
    if (hh_unlikely(alignment_bytes == 0))
        return EINVAL;
    void *block = aligned_medium(alignment_bytes, size_bytes);
    if (hh_unlikely(block == NULL))
        return ENOMEM;
    *result = block;
    return 0;
}

// errno is not part of its answer and stays as it was.
HH_OVERRIDE int
posix_memalign(void **result, size_t alignment_bytes, size_t size_bytes)
{
    if (hh_unlikely(!aligned_is_power_or_zero(alignment_bytes) ||
                    alignment_bytes % sizeof(void *) != 0))
        return EINVAL;
    void *block;
    if (hh_unlikely(!hhi_front_aligned_quick(alignment_bytes, size_bytes, &block)))
        return aligned_posix_medium(result, alignment_bytes, size_bytes);
    *result = block;
    return 0;
}

// The size need not be a multiple of the alignment (C17).
HH_OVERRIDE void *
aligned_alloc(size_t alignment_bytes, size_t size_bytes)
{
    void *block;
    if (hh_unlikely(!aligned_is_power_or_zero(alignment_bytes)))
        return hhi_override_invalid();
    if (hh_likely(hhi_front_aligned_quick(alignment_bytes, size_bytes, &block)))
        return block;
    return hh_likely(alignment_bytes != 0) ? aligned_medium_or_errno(alignment_bytes, size_bytes)
                                           : hhi_override_invalid();
}

HH_SLOW static void *
aligned_odd(size_t alignment_bytes, size_t size_bytes)
{
    if (alignment_bytes > SIZE_MAX / 2 + 1)
        return hhi_override_invalid();
    unsigned log2 = alignment_bytes == 0 ? 0 : hh_log2_ceil(alignment_bytes);
    return aligned_block_slow((size_t)1 << log2, size_bytes);
}

// Other alignments than powers of two are rounded up to the next, as in glibc.
HH_OVERRIDE void *
memalign(size_t alignment_bytes, size_t size_bytes)
{
    void *block;
    if (hh_unlikely(!aligned_is_power_or_zero(alignment_bytes)))
        return aligned_odd(alignment_bytes, size_bytes);
    if (hh_likely(hhi_front_aligned_quick(alignment_bytes, size_bytes, &block)))
        return block;
    return hh_likely(alignment_bytes != 0) ? aligned_medium_or_errno(alignment_bytes, size_bytes)
                                           : aligned_odd(alignment_bytes, size_bytes);
}

static size_t
aligned_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

HH_OVERRIDE void *
valloc(size_t size_bytes)
{
    return aligned_medium_or_errno(aligned_page_bytes(), size_bytes);
}

// Whole pages, at least one.
HH_OVERRIDE void *
pvalloc(size_t size_bytes)
{
    size_t page_bytes = aligned_page_bytes();
    if (size_bytes > SIZE_MAX - page_bytes)
        return hhi_override_no_memory();
    size_t rounded_bytes = hh_align_up(size_bytes, page_bytes);
    return aligned_medium_or_errno(page_bytes, rounded_bytes == 0 ? page_bytes : rounded_bytes);
}

void *__libc_memalign(size_t alignment_bytes, size_t size_bytes) HH_OVERRIDE_ALIAS(memalign);
void *__libc_valloc(size_t size_bytes) HH_OVERRIDE_ALIAS(valloc);
void *__libc_pvalloc(size_t size_bytes) HH_OVERRIDE_ALIAS(pvalloc);
int __posix_memalign(void **result, size_t alignment_bytes, size_t size_bytes)
    HH_OVERRIDE_ALIAS(posix_memalign);
