// SPDX-License-Identifier: MIT
/* override/override_malloc.c - malloc, calloc, realloc, free and their other names. */
#include "override/override.h"

#include <errno.h>

#include <string.h>

#include "heap/bad_block.h"
#include "heap/heap.h"
#include "heap/heap_fast.h"
#include "override/front.h"
#include "override/trace.h"

void *
hhi_override_no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *
hhi_override_invalid(void)
{
    errno = EINVAL;
    return NULL;
}

void *
hhi_override_malloc_traced(size_t size_bytes)
{
    if (!hhi_trace_on())
        return NULL;
    void *block = hhi_heap_alloc(hhi_heap_default(), size_bytes, HHI_LEVEL_TASK);
    hhi_trace_malloc(block, size_bytes);
    return block;
}

// There is no memory, or the call is to be recorded.
HH_SLOW static void *
override_malloc_refused(size_t size_bytes)
{
    void *block = hhi_override_malloc_traced(size_bytes);
    return block != NULL ? block : hhi_override_no_memory();
}

void *
hhi_override_malloc_slow(size_t size_bytes)
{
    void *block = hhi_malloc_slow(size_bytes);
    return hh_likely(block != NULL) ? block : override_malloc_refused(size_bytes);
}

// Both between malloc's shortest path and the slow one: an empty bin, mostly of a slab with blocks
// that were freed meanwhile.
HH_NOINLINE void *
hhi_override_malloc_refill(size_t size_bytes)
{
    return hhi_malloc_refill(size_bytes, hhi_override_malloc_slow);
}

// And a size above the small ones; as short as can be: larger blocks are common.
HH_NOINLINE void *
hhi_override_malloc_medium(size_t size_bytes)
{
    return hhi_malloc_medium(size_bytes, hhi_override_malloc_slow);
}

HH_OVERRIDE void *
malloc(size_t size_bytes)
{
    return hhi_malloc_fast(size_bytes, hhi_override_malloc_medium, hhi_override_malloc_refill);
}

HH_SLOW static void *
override_calloc_slow(size_t total_bytes)
{
    void *block = hhi_heap_alloc_zeroed(hhi_heap_default(), total_bytes, HHI_LEVEL_TASK);
    if (hhi_trace_on())
        hhi_trace_calloc(block, total_bytes);
    return hh_likely(block != NULL) ? block : hhi_override_no_memory();
}

// A block that is not to be had at once. What reads as zero already is larger than the small ones.
HH_NOINLINE static void *
override_calloc_refill(size_t total_bytes)
{
    bool small = total_bytes <= HHI_SMALL_MAX_BYTES;
    void *block = small ? hhi_malloc_slow(total_bytes) : NULL;
    if (hh_likely(block != NULL))
        return memset(block, 0, total_bytes);
    return small && hhi_front_is_refused() ? hhi_override_no_memory()
                                           : override_calloc_slow(total_bytes);
}

// A size above the small ones, or an empty bin. A leaf.
HH_NOINLINE static void *
override_calloc_medium(size_t total_bytes)
{
    bool fresh;
    void *block;
    if (hh_unlikely(!hhi_bins_take_any(hhi_self->bins, HHI_CLASSES, total_bytes, &fresh, &block)))
        return override_calloc_refill(total_bytes);
    return fresh ? block : memset(block, 0, total_bytes);
}

HH_OVERRIDE void *
calloc(size_t count, size_t size_bytes)
{
    size_t total_bytes;
    if (hh_unlikely(__builtin_mul_overflow(count, size_bytes, &total_bytes)))
        return hhi_override_no_memory();
    void *block;
    // A larger block may be known to read as zero already.
    if (hh_unlikely(!hhi_malloc_quick(total_bytes, &block)))
        return override_calloc_medium(total_bytes);
    return memset(block, 0, total_bytes);
}

HH_SLOW static void
override_free_slow(void *block)
{
    if (hhi_trace_on())
        hhi_trace_free(block);
    hhi_refusal why = hhi_heap_free_slow(&hhi_default_heap, block);
    if (hh_unlikely(why != 0))
        hhi_bad_block_raise("free", block, why, 0);
}

// NULL, and what lies outside of the window.
HH_NOINLINE static void
override_free_outside(void *block)
{
    if (block != NULL)
        override_free_slow(block);
}

HH_NOINLINE static void
override_free_elsewhere(void *block, struct hhi_slab *slab)
{
    if (hh_unlikely(!hhi_front_free_elsewhere(block, slab, false, 0)))
        override_free_slow(block);
}

HH_OVERRIDE void
free(void *block)
{
    size_t granule = hhi_granule_of(block);
    if (hh_unlikely(!hhi_granule_is_inside(granule))) {
        override_free_outside(block);
        return;
    }
    struct hhi_slab *slab = hhi_record_of(granule);
    if (hh_unlikely(!hhi_cache_free_in_window(&hhi_self->main, block, slab, false, 0)))
        override_free_elsewhere(block, slab);
}

// realloc of a block that can not stay as it is, or whose realloc is recorded.
HH_FAST void *
override_resize_block(const char *function, void *block, size_t size_bytes)
{
    void *result = NULL;
    hhi_refusal why;
    if (size_bytes == 0)
        why = hhi_heap_free(&hhi_default_heap, block);
    else
        why = hhi_heap_realloc(&hhi_default_heap, block, size_bytes, HHI_LEVEL_TASK, &result);
    if (hh_unlikely(why != 0)) {
        hhi_bad_block_raise(function, block, why, 0);
        return hhi_override_invalid();
    }
    if (hh_unlikely(result == NULL && size_bytes != 0))
        return hhi_override_no_memory();
    return result;
}

HH_SLOW static void *
override_resize_traced(const char *function, void *block, size_t size_bytes)
{
    hhi_trace_realloc_begin(block);
    void *result = override_resize_block(function, block, size_bytes);
    hhi_trace_realloc_end(result, size_bytes);
    return result;
}

HH_NOINLINE static void *
override_resize_slow(const char *function, void *block, size_t size_bytes)
{
    return override_resize_block(function, block, size_bytes);
}

/*
 * realloc of a block to a size; function names the caller in reports. Size 0 frees, as glibc does.
 * block_bytes: of a live block in a slab of one granule that the calling thread owns, else 0. block is
 * not NULL.
 */
HH_NOINLINE static void *
override_resize_any(const char *function, void *block, size_t size_bytes, size_t block_bytes)
{
    if (block_bytes == 0) {
        if (hhi_trace_on())
            return override_resize_traced(function, block, size_bytes);
        block_bytes = hhi_front_block_bytes_medium(block);
        if (size_bytes - 1 < block_bytes && size_bytes >= block_bytes / 2)
            return block;
        if (hhi_front_large_bytes(block) != 0) // it may grow where it is
            return override_resize_slow(function, block, size_bytes);
    }
    if (hh_likely(size_bytes > block_bytes && block_bytes != 0)) {
        void *moved = hhi_malloc_grow(block, block_bytes, size_bytes);
        if (hh_likely(moved != NULL))
            return moved;
    }
    return override_resize_slow(function, block, size_bytes);
}

// The same. A leaf: a large block that grows by small steps stays where it is in nearly all of them.
HH_NOINLINE static void *
override_resize(const char *function, void *block, size_t size_bytes, size_t block_bytes)
{
    if (block_bytes == 0) {
        size_t large_bytes = hhi_front_large_bytes(block);
        if (size_bytes - 1 < large_bytes && size_bytes >= large_bytes / 2 && !hhi_trace_on())
            return block;
    }
    return override_resize_any(function, block, size_bytes, block_bytes);
}

// NULL, and what lies outside of the window. Some programs get every block by realloc of NULL: a leaf.
HH_NOINLINE static void *
override_resize_outside(void *block, size_t size_bytes)
{
    if (hh_unlikely(block != NULL))
        return override_resize("realloc", block, size_bytes, 0);
    return hhi_malloc_fast(size_bytes, hhi_override_malloc_medium, hhi_override_malloc_refill);
}

/*
 * realloc of a live block of block_bytes, in a slab of one granule that the calling thread owns, to
 * more than it has.
 */
HH_NOINLINE static void *
override_grow(void *block, size_t size_bytes, size_t block_bytes)
{
    void *moved = hhi_malloc_grow(block, block_bytes, size_bytes);
    return hh_likely(moved != NULL) ? moved : override_resize_slow("realloc", block, size_bytes);
}

HH_OVERRIDE HH_NOINLINE void *
realloc(void *block, size_t size_bytes)
{
    if (hh_unlikely(!hhi_granule_is_inside(hhi_granule_of(block))))
        return override_resize_outside(block, size_bytes);
    // In its place if it fits there and is not far too large: most steps of a growing buffer.
    size_t block_bytes = hhi_front_block_bytes_in_window(block);
    if (hh_likely(size_bytes - 1 < block_bytes && size_bytes >= block_bytes / 2))
        return block;
    if (hh_likely(block_bytes != 0 && size_bytes > block_bytes))
        return override_grow(block, size_bytes, block_bytes);
    return override_resize("realloc", block, size_bytes, block_bytes);
}

HH_OVERRIDE void *
reallocarray(void *block, size_t count, size_t size_bytes)
{
    size_t total_bytes;
    if (hh_unlikely(__builtin_mul_overflow(count, size_bytes, &total_bytes)))
        return hhi_override_no_memory();
    if (block == NULL)
        return realloc(NULL, total_bytes); // by its name, which valgrind replaces; not this one
    return override_resize("reallocarray", block, total_bytes, 0);
}

HH_NOINLINE static size_t
override_usable_size_slow(void *block)
{
    size_t size_bytes = hhi_front_block_bytes_medium(block);
    if (block == NULL || size_bytes != 0)
        return size_bytes;
    hhi_refusal why = hhi_heap_usable_size(hhi_heap_default(), block, &size_bytes);
    if (hh_unlikely(why != 0))
        hhi_bad_block_raise("malloc_usable_size", block, why, 0);
    return size_bytes;
}

HH_OVERRIDE size_t
malloc_usable_size(void *block)
{
    size_t size_bytes = hhi_front_block_bytes(block);
    return hh_likely(size_bytes != 0) ? size_bytes : override_usable_size_slow(block);
}

void hhi_override_free(void *block) __attribute__((visibility("hidden"), alias("free")));

// Names that glibc exports besides, and that programs and older libraries call.
void cfree(void *block) HH_OVERRIDE_ALIAS(free);
void *__libc_malloc(size_t size_bytes) HH_OVERRIDE_ALIAS(malloc);
void *__libc_calloc(size_t count, size_t size_bytes) HH_OVERRIDE_ALIAS(calloc);
void *__libc_realloc(void *block, size_t size_bytes) HH_OVERRIDE_ALIAS(realloc);
void *__libc_reallocarray(void *block, size_t count, size_t size_bytes)
    HH_OVERRIDE_ALIAS(reallocarray);
void __libc_free(void *block) HH_OVERRIDE_ALIAS(free);

// operator delete and delete[], plain and nothrow. A report calls them free.
void _ZdlPv(void *block) HH_OVERRIDE_ALIAS(free);
void _ZdaPv(void *block) HH_OVERRIDE_ALIAS(free);
void _ZdlPvRKSt9nothrow_t(void *block) HH_OVERRIDE_ALIAS(free);
void _ZdaPvRKSt9nothrow_t(void *block) HH_OVERRIDE_ALIAS(free);
