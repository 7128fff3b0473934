// SPDX-License-Identifier: MIT
/*
 * bench/allocators.c - the allocators a row can run on.
 *
 *   malloc   whatever serves malloc in this process: glibc, or the preloaded object
 *   native   a heap of libhostheap.so of its own, through hh_heap_*
 *   vtable   the same through IHostMalloc, with the function table read at every call
 *
 * The library is not linked but looked up among the objects of the process, so that one binary
 * measures any build of it (preload libhostheap.so for the last two).
 */
#define _GNU_SOURCE
#include "allocators.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

struct bench_native bench_native;

static hh_heap *native_heap;
static IHostMalloc *vtable_object;

static void *
native_malloc(size_t size_bytes)
{
    return bench_native.heap_alloc(native_heap, size_bytes);
}

static void *
native_calloc(size_t count, size_t size_bytes)
{
    return bench_native.heap_calloc(native_heap, count, size_bytes);
}

static void *
native_realloc(void *block, size_t size_bytes)
{
    void *result;
    bench_native.heap_realloc(native_heap, block, size_bytes, &result);
    return result;
}

static void *
native_aligned(size_t alignment_bytes, size_t size_bytes)
{
    return bench_native.heap_aligned_alloc(native_heap, alignment_bytes, size_bytes);
}

static void
native_free(void *block)
{
    if (bench_native.heap_free(native_heap, block) != HH_OK) {
        bench_fail("hh_heap_free refused %p", block);
    }
}

static void *
vtable_malloc(size_t size_bytes)
{
    void *block;
    vtable_object->lpVtbl->Alloc(vtable_object, size_bytes, eTaskCritical, &block);
    return block;
}

static void
vtable_free(void *block)
{
    if (vtable_object->lpVtbl->Free(vtable_object, block) != S_OK) {
        bench_fail("IHostMalloc::Free refused %p", block);
    }
}

static const struct bench_allocator allocator_malloc = {
    "malloc", malloc, calloc, realloc, memalign, free,
};
static const struct bench_allocator allocator_native = {
    "native", native_malloc, native_calloc, native_realloc, native_aligned, native_free,
};
// What the interface lacks goes through the heap of the same object.
static const struct bench_allocator allocator_vtable = {
    "vtable", vtable_malloc, native_calloc, native_realloc, native_aligned, vtable_free,
};

bool
bench_native_open(void)
{
    static const struct {
        const char *name;
        size_t offset;
    } names[] = {
        {"hh_heap_create", offsetof(struct bench_native, heap_create)},
        {"hh_heap_destroy", offsetof(struct bench_native, heap_destroy)},
        {"hh_heap_alloc", offsetof(struct bench_native, heap_alloc)},
        {"hh_heap_calloc", offsetof(struct bench_native, heap_calloc)},
        {"hh_heap_aligned_alloc", offsetof(struct bench_native, heap_aligned_alloc)},
        {"hh_heap_realloc", offsetof(struct bench_native, heap_realloc)},
        {"hh_heap_free", offsetof(struct bench_native, heap_free)},
        {"hh_get_stats", offsetof(struct bench_native, get_stats)},
        {"hh_owns", offsetof(struct bench_native, owns)},
        {"hh_get_memory_manager", offsetof(struct bench_native, get_memory_manager)},
        {"hh_heap_of", offsetof(struct bench_native, heap_of)},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *symbol = dlsym(RTLD_DEFAULT, names[i].name);
        if (!symbol) {
            return false;
        }
        memcpy((char *)&bench_native + names[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

IHostMemoryManager *
bench_manager(void)
{
    IHostMemoryManager *manager = NULL;
    if (bench_native.get_memory_manager(&manager) != S_OK) {
        bench_fail("hh_get_memory_manager failed");
    }
    return manager;
}

IHostMalloc *
bench_host_malloc(void)
{
    IHostMemoryManager *manager = bench_manager();
    IHostMalloc *object = NULL;
    if (manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &object) != S_OK) {
        bench_fail("CreateMalloc failed");
    }
    manager->lpVtbl->Release(manager);
    return object;
}

const struct bench_allocator *
bench_allocator_open(const char *name)
{
    if (strcmp(name, "malloc") == 0) {
        bench_native_open();
        return &allocator_malloc;
    }
    if (!bench_native_open()) {
        return NULL;
    }
    if (strcmp(name, "native") == 0) {
        return bench_native.heap_create(NULL, &native_heap) == HH_OK ? &allocator_native : NULL;
    }
    if (strcmp(name, "vtable") == 0) {
        vtable_object = bench_host_malloc();
        native_heap = bench_native.heap_of(vtable_object);
        return &allocator_vtable;
    }
    return NULL;
}

hh_heap *
bench_allocator_heap(void)
{
    return native_heap;
}

const char *
bench_allocator_object(const char *name)
{
    Dl_info info;
    const char *symbol = strcmp(name, "malloc") == 0 ? "malloc" : "hh_heap_alloc";
    void *address = dlsym(RTLD_DEFAULT, symbol);
    return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "?";
}
