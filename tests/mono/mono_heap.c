// SPDX-License-Identifier: MIT
// tests/mono/mono_heap.c - see mono_heap.h.

#include "mono_heap.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static IHostMalloc *heap;
static hh_heap *native; // the same heap, for realloc and calloc

// Before Mono's own constructors, which may allocate.
__attribute__((constructor(101))) static void
heap_open(void)
{
    IHostMemoryManager *manager;
    if (hh_get_memory_manager(&manager) != S_OK ||
        manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap) != S_OK) {
        fputs("mono host: no heap\n", stderr);
        abort();
    }
    native = hh_heap_of(heap);
}

IHostMalloc *
mono_heap(void)
{
    return heap;
}

/* ---- Counters: one row per few threads, so that counting is no meeting point ------------------ */

enum { ROWS = 64 };

static struct {
    _Alignas(64) atomic_uint_fast64_t calls[MONO_CALLS];
} rows[ROWS];

static void
count(enum mono_call call)
{
    static atomic_uint next_row;
    static _Thread_local unsigned own_row; // 1 + row; 0 = none yet
    if (own_row == 0)
        own_row = 1 + atomic_fetch_add(&next_row, 1) % ROWS;
    atomic_fetch_add_explicit(&rows[own_row - 1].calls[call], 1, memory_order_relaxed);
}

uint64_t
mono_heap_count(enum mono_call call)
{
    uint64_t sum = 0;
    for (int row = 0; row < ROWS; row++)
        sum += atomic_load_explicit(&rows[row].calls[call], memory_order_relaxed);
    return sum;
}

// A refused address must not be ours at all; a bad free inside the heap is nobody's to hand on.
static int
is_libc_block(const void *block)
{
    hh_block_info info;
    if (hh_owns(block, &info) == HH_OK && info.heap == NULL)
        return 1;
    fprintf(stderr, "mono host: bad block %p, base %p, live %d\n", block, info.base, info.live);
    count(MONO_FAULT);
    return 0;
}

static void *
answer(void *block)
{
    if (block == NULL) {
        count(MONO_NO_MEMORY);
        errno = ENOMEM;
    }
    return block;
}

/* ---- What Mono calls -------------------------------------------------------------------------- */

void *
__wrap_malloc(size_t size_bytes)
{
    void *block;
    count(MONO_MALLOC);
    heap->lpVtbl->Alloc(heap, size_bytes, eTaskCritical, &block);
    return answer(block);
}

void *
__wrap_calloc(size_t number, size_t size_bytes)
{
    count(MONO_CALLOC);
    return answer(hh_heap_calloc(native, number, size_bytes));
}

void *
__wrap_realloc(void *block, size_t size_bytes)
{
    void *result = NULL;
    hh_status status = hh_heap_realloc(native, block, size_bytes, &result);
    if (status == HH_E_INVALID_BLOCK && is_libc_block(block)) {
        count(MONO_REALLOC_LIBC);
        return __real_realloc(block, size_bytes);
    }
    count(MONO_REALLOC);
    return answer(result);
}

void
__wrap_free(void *block)
{
    if (block == NULL) {
        count(MONO_FREE_NULL);
        return;
    }
    hh_hresult result = heap->lpVtbl->Free(heap, block);
    if (result == HOST_E_INVALIDOPERATION && is_libc_block(block)) {
        count(MONO_FREE_LIBC);
        __real_free(block);
        return;
    }
    count(MONO_FREE);
}
