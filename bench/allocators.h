// SPDX-License-Identifier: MIT
/*
 * bench/allocators.h - the native interface, looked up at run time, for the rows that need it.
 */
#ifndef BENCH_ALLOCATORS_H
#define BENCH_ALLOCATORS_H

#include "bench.h"

#include <hostheap/host_memory.h>

// All of them, or none at all: bench_native_open answers which.
struct bench_native {
    hh_status (*heap_create)(const hh_heap_options *options, hh_heap **heap);
    hh_status (*heap_destroy)(hh_heap *heap);
    void *(*heap_alloc)(hh_heap *heap, size_t size_bytes);
    void *(*heap_calloc)(hh_heap *heap, size_t count, size_t size_bytes);
    void *(*heap_aligned_alloc)(hh_heap *heap, size_t alignment_bytes, size_t size_bytes);
    hh_status (*heap_realloc)(hh_heap *heap, void *block, size_t size_bytes, void **result);
    hh_status (*heap_free)(hh_heap *heap, void *block);
    hh_status (*get_stats)(hh_stats *stats);
    hh_status (*owns)(const void *address, hh_block_info *info);
    hh_hresult (*get_memory_manager)(IHostMemoryManager **manager);
    hh_heap *(*heap_of)(IHostMalloc *malloc_object);
};

extern struct bench_native bench_native;
bool bench_native_open(void);
// The manager, and one IHostMalloc made by it; end the process when there are none.
IHostMemoryManager *bench_manager(void);
IHostMalloc *bench_host_malloc(void);
// The heap behind "native" or "vtable", NULL if neither was opened.
hh_heap *bench_allocator_heap(void);

#endif
