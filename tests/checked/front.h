// SPDX-License-Identifier: MIT
/*
 * checked/front.h - what the tests of the checked library allocate with.
 *
 * Under the checked drop-in that is malloc. In the sanitizers' trees, whose malloc is the sanitizer's,
 * HH_CHECKED_NATIVE is defined and the same names lead to the default heap through hostheap.h. A free
 * that is refused ends the test there: the native calls only answer, nothing is reported.
 */
#ifndef HH_TESTS_CHECKED_FRONT_H
#define HH_TESTS_CHECKED_FRONT_H

#include <malloc.h>

#include "support/plain.h"

#ifdef HH_CHECKED_NATIVE

static inline void *
front_given(void *block)
{
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

static inline void *
front_malloc(size_t size_bytes)
{
    return front_given(hh_heap_alloc(hh_heap_default(), size_bytes));
}

static inline void *
front_calloc(size_t count, size_t size_bytes)
{
    return front_given(hh_heap_calloc(hh_heap_default(), count, size_bytes));
}

static inline void *
front_aligned(size_t alignment_bytes, size_t size_bytes)
{
    return front_given(hh_heap_aligned_alloc(hh_heap_default(), alignment_bytes, size_bytes));
}

static inline int
front_posix_memalign(void **block, size_t alignment_bytes, size_t size_bytes)
{
    *block = front_aligned(alignment_bytes, size_bytes);
    return *block == NULL ? ENOMEM : 0;
}

static inline void *
front_realloc(void *block, size_t size_bytes)
{
    void *moved;
    check(hh_heap_realloc(hh_heap_default(), block, size_bytes, &moved) != HH_E_INVALID_BLOCK);
    return front_given(moved);
}

static inline void
front_free(void *block)
{
    check(hh_heap_free(hh_heap_default(), block) == HH_OK);
}

static inline size_t
front_usable(const void *block)
{
    return hh_heap_usable_size(hh_heap_default(), block);
}

#define malloc(size_bytes) front_malloc(size_bytes)
#define calloc(count, size_bytes) front_calloc(count, size_bytes)
#define aligned_alloc(alignment, size_bytes) front_aligned(alignment, size_bytes)
#define posix_memalign(block, alignment, size_bytes)                                               \
    front_posix_memalign(block, alignment, size_bytes)
#define realloc(block, size_bytes) front_realloc(block, size_bytes)
#define free(block) front_free(block)
#define malloc_usable_size(block) front_usable(block)

#endif

#endif
