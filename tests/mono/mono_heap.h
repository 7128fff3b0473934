// SPDX-License-Identifier: MIT
/*
 * tests/mono/mono_heap.h - Mono's malloc, calloc, realloc and free on one IHostMalloc.
 *
 * Debian's mono_set_allocator_vtable does nothing, so libmonosgen-2.0.a is linked unmodified with
 * --wrap=malloc and so on: each of its calls arrives at __wrap_malloc here.
 *
 * What Mono got from libc itself (realpath, strdup, strings returned by P/Invoke) it frees through
 * the same free. IHostMalloc::Free answers HOST_E_INVALIDOPERATION for such a block, and the host
 * hands it on to libc: the contract's exact answer is what makes this possible.
 */
#ifndef HH_TESTS_MONO_HEAP_H
#define HH_TESTS_MONO_HEAP_H

#include <hostheap/host_memory.h>

enum mono_call {
    MONO_MALLOC,
    MONO_CALLOC,
    MONO_REALLOC,
    MONO_FREE,
    MONO_FREE_NULL,
    MONO_FREE_LIBC,    // HOST_E_INVALIDOPERATION: handed on to libc
    MONO_REALLOC_LIBC, // likewise
    MONO_NO_MEMORY,    // answered with NULL
    MONO_FAULT,        // refused, but the address is in the heap: a bad free of Mono's, or of ours
    MONO_CALLS,
};

// Calls so far. Exact when no other thread is at work.
uint64_t mono_heap_count(enum mono_call call);
IHostMalloc *mono_heap(void);

// What libc has under the wrapped names.
void *__real_malloc(size_t size_bytes);
void *__real_calloc(size_t count, size_t size_bytes);
void *__real_realloc(void *block, size_t size_bytes);
void __real_free(void *block);

void *__wrap_malloc(size_t size_bytes);
void *__wrap_calloc(size_t count, size_t size_bytes);
void *__wrap_realloc(void *block, size_t size_bytes);
void __wrap_free(void *block);

#endif
