// SPDX-License-Identifier: MIT
/*
 * bench/counts.c - short single-thread paths, run under callgrind by scripts/bench counts.
 *
 * Each path runs once to warm up and once counted. Only instructions inside the library are
 * counted, so neither this program nor the C library's choice of memcpy has a part in it.
 */
#define _GNU_SOURCE
#include "allocators.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <valgrind/callgrind.h>

#define COUNT 1000u // operations in one path
#define COUNTS_STACK_ADDRESS 0x2000000000ul
#define COUNTS_STACK_BYTES ((size_t)1 << 20)

static const struct bench_allocator *counts_allocator;
static IHostMalloc *counts_object;
static IHostMemoryManager *counts_manager;
static hh_heap *counts_heap;
static void *counts_blocks[COUNT];
static bool counts_counting; // the path runs for the second time

static void
counts_pair(size_t size)
{
    for (unsigned i = 0; i < COUNT; i++) {
        void *block = counts_allocator->malloc(size);
        bench_touch(block, i);
        counts_allocator->free(block);
    }
}

// step: a number without a common factor with COUNT visits all blocks; 1 is the order they came in.
static void
counts_batch(size_t size, unsigned step)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_blocks[i] = counts_allocator->malloc(size ? size : 16 + (i * 37) % 1000);
        bench_touch(counts_blocks[i], i);
    }
    for (unsigned i = 0, at = 0; i < COUNT; i++, at = (at + step) % COUNT) {
        counts_allocator->free(counts_blocks[at]);
    }
}

static void *
counts_free_all(void *arg)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_blocks[i]);
    }
    return arg;
}

// On a thread of its own, for which callgrind has a switch of its own.
static void *
counts_free_apart(void *arg)
{
    if (counts_counting) {
        CALLGRIND_TOGGLE_COLLECT;
    }
    counts_free_all(NULL);
    if (counts_counting) {
        CALLGRIND_TOGGLE_COLLECT;
    }
    return arg;
}

// Another thread frees the blocks; then they are taken back.
static void
counts_remote(size_t size)
{
    pthread_t other;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            counts_blocks[i] = counts_allocator->malloc(size);
        }
        if (round == 0 && (pthread_create(&other, NULL, counts_free_apart, NULL) != 0 ||
                           pthread_join(other, NULL) != 0)) {
            bench_fail("cannot start a thread");
        }
    }
    counts_free_all(NULL);
}

static void
counts_replace(size_t limit)
{
    uint64_t random = 4711;
    for (unsigned i = 0; i < COUNT; i++) {
        counts_blocks[i] = counts_allocator->malloc(16 + i % limit);
    }
    for (unsigned i = 0; i < 4 * COUNT; i++) {
        uint64_t r = bench_random(&random) >> 8;
        unsigned at = (unsigned)(r % COUNT);
        counts_allocator->free(counts_blocks[at]);
        counts_blocks[at] = counts_allocator->malloc(16 + (r >> 16) % limit);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_blocks[i]);
    }
}

static void
counts_pair_16(void)
{
    counts_pair(16);
}

static void
counts_pair_64(void)
{
    counts_pair(64);
}

static void
counts_pair_1024(void)
{
    counts_pair(1024);
}

static void
counts_pair_4096(void)
{
    counts_pair(4096);
}

static void
counts_pair_32768(void)
{
    counts_pair(32768);
}

static void
counts_pair_256k(void)
{
    counts_pair((size_t)256 << 10);
}

static void
counts_pair_4m(void)
{
    counts_pair((size_t)4 << 20);
}

static void
counts_batch_64(void)
{
    counts_batch(64, 1);
}

static void
counts_batch_1024(void)
{
    counts_batch(1024, 1);
}

static void
counts_batch_8192(void)
{
    counts_batch(8192, 1);
}

static void
counts_random_64(void)
{
    counts_batch(64, 387);
}

static void
counts_random_mixed(void)
{
    counts_batch(0, 387);
}

static void
counts_remote_64(void)
{
    counts_remote(64);
}

static void
counts_remote_4096(void)
{
    counts_remote(4096);
}

static void
counts_replace_small(void)
{
    counts_replace(256);
}

static void
counts_replace_wide(void)
{
    counts_replace(4000);
}

static void
counts_calloc_64(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_allocator->calloc(1, 64));
    }
}

static void
counts_calloc_4096(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_allocator->calloc(4, 1024));
    }
}

static void
counts_aligned_64(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_allocator->aligned(64, 100));
    }
}

static void
counts_aligned_4096(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(counts_allocator->aligned(4096, 4096));
    }
}

static void
counts_realloc_in_place(void)
{
    void *block = counts_allocator->malloc(100);
    for (unsigned i = 0; i < COUNT; i++) {
        block = counts_allocator->realloc(block, 97 + i % 8);
    }
    counts_allocator->free(block);
}

// How lua and others get every block.
static void
counts_realloc_null(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        void *block = counts_allocator->realloc(NULL, 64);
        bench_touch(block, i);
        counts_allocator->free(block);
    }
}

static void
counts_realloc_grow(void)
{
    for (unsigned round = 0; round < COUNT / 50; round++) {
        void *block = counts_allocator->malloc(16);
        for (unsigned i = 1; i < 50; i++) {
            block = counts_allocator->realloc(block, 16 + i * 40);
        }
        counts_allocator->free(block);
    }
}

static void
counts_realloc_large(void)
{
    void *block = counts_allocator->malloc(100000);
    for (unsigned i = 0; i < 50; i++) {
        block = counts_allocator->realloc(block, 100000 + (size_t)i * 50000);
    }
    counts_allocator->free(block);
}

static void
counts_free_null(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        counts_allocator->free(NULL);
    }
}

static void
counts_usable_size(void)
{
    void *block = counts_allocator->malloc(100);
    for (unsigned i = 0; i < COUNT; i++) {
        malloc_usable_size(block);
    }
    counts_allocator->free(block);
}

static void
counts_owns(void)
{
    hh_block_info info;
    char *block = counts_allocator->malloc(100);
    for (unsigned i = 0; i < COUNT; i++) {
        bench_native.owns(block + i % 100, &info);
    }
    counts_allocator->free(block);
}

static void
counts_refuse_foreign(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        bench_native.heap_free(counts_heap, &counts_blocks[i % 100]);
    }
}

static void
counts_refuse_interior(void)
{
    char *block = counts_allocator->malloc(100);
    for (unsigned i = 0; i < COUNT; i++) {
        bench_native.heap_free(counts_heap, block + 16);
    }
    counts_allocator->free(block);
}

static void
counts_refuse_double(void)
{
    void *block = counts_allocator->malloc(100);
    void *other = counts_allocator->malloc(100);
    counts_allocator->free(block);
    for (unsigned i = 0; i < COUNT; i++) {
        bench_native.heap_free(counts_heap, block);
    }
    counts_allocator->free(other);
}

static void
counts_debug_alloc(void)
{
    char file[] = "program.c";
    for (unsigned i = 0; i < COUNT; i++) {
        void *block;
        counts_object->lpVtbl->DebugAlloc(counts_object, 64, eTaskCritical, file, 17, &block);
        counts_object->lpVtbl->Free(counts_object, block);
    }
}

static void
counts_create_heap(void)
{
    for (unsigned i = 0; i < 20; i++) {
        hh_heap *heap;
        bench_native.heap_create(NULL, &heap);
        bench_touch(bench_native.heap_alloc(heap, 64), i);
        bench_native.heap_destroy(heap);
    }
}

static void
counts_virtual_queries(void)
{
    hh_memory_basic_information information;
    size_t length;
    void *block = NULL;
    counts_manager->lpVtbl->VirtualAlloc(counts_manager, NULL, 65536, MEM_RESERVE | MEM_COMMIT,
                                         PAGE_READWRITE, eTaskCritical, &block);
    for (unsigned i = 0; i < COUNT; i++) {
        counts_manager->lpVtbl->VirtualQuery(counts_manager, block, &information,
                                             sizeof information, &length);
    }
    counts_manager->lpVtbl->VirtualFree(counts_manager, block, 0, MEM_RELEASE);
}

/*
 * A query picks its read record by the address of its stack, which the kernel places anew in each
 * run, and some records are a few instructions further away (seen: 1.4 %). So it runs on a stack that
 * is always at the same place.
 */
static void
counts_virtual_query(void)
{
    static ucontext_t here, there;
    char *stack = mmap((void *)COUNTS_STACK_ADDRESS, COUNTS_STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if ((uintptr_t)stack != COUNTS_STACK_ADDRESS || getcontext(&there) != 0) {
        bench_fail("no stack at %#lx", COUNTS_STACK_ADDRESS);
    }
    unsigned id = VALGRIND_STACK_REGISTER(stack, stack + COUNTS_STACK_BYTES);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = COUNTS_STACK_BYTES;
    there.uc_link = &here;
    makecontext(&there, counts_virtual_queries, 0);
    swapcontext(&here, &there);
    VALGRIND_STACK_DEREGISTER(id);
    munmap(stack, COUNTS_STACK_BYTES);
}

enum { COUNTS_MALLOC = 1, COUNTS_NATIVE = 2, COUNTS_VTABLE = 4, COUNTS_ALL = 7 };

static const struct {
    const char *name;
    void (*path)(void);
    unsigned doors;
} counts_paths[] = {
    {"pair-16", counts_pair_16, COUNTS_MALLOC},
    {"pair-64", counts_pair_64, COUNTS_ALL},
    {"pair-1024", counts_pair_1024, COUNTS_MALLOC},
    {"pair-4096", counts_pair_4096, COUNTS_MALLOC},
    {"pair-32768", counts_pair_32768, COUNTS_MALLOC},
    {"pair-256k", counts_pair_256k, COUNTS_MALLOC},
    {"pair-4m", counts_pair_4m, COUNTS_MALLOC},
    {"batch-64", counts_batch_64, COUNTS_ALL},
    {"batch-1024", counts_batch_1024, COUNTS_MALLOC},
    {"batch-8192", counts_batch_8192, COUNTS_MALLOC},
    {"random-64", counts_random_64, COUNTS_MALLOC},
    {"random-mixed", counts_random_mixed, COUNTS_MALLOC | COUNTS_VTABLE},
    {"remote-64", counts_remote_64, COUNTS_ALL},
    {"remote-4096", counts_remote_4096, COUNTS_MALLOC},
    {"replace-small", counts_replace_small, COUNTS_MALLOC},
    {"replace-wide", counts_replace_wide, COUNTS_MALLOC},
    {"calloc-64", counts_calloc_64, COUNTS_MALLOC},
    {"calloc-4096", counts_calloc_4096, COUNTS_MALLOC},
    {"aligned-64", counts_aligned_64, COUNTS_MALLOC},
    {"aligned-4096", counts_aligned_4096, COUNTS_MALLOC},
    {"realloc-in-place", counts_realloc_in_place, COUNTS_MALLOC | COUNTS_NATIVE},
    {"realloc-null", counts_realloc_null, COUNTS_MALLOC},
    {"realloc-grow", counts_realloc_grow, COUNTS_MALLOC},
    {"realloc-large", counts_realloc_large, COUNTS_MALLOC},
    {"free-null", counts_free_null, COUNTS_MALLOC},
    {"usable-size", counts_usable_size, COUNTS_MALLOC},
    {"owns", counts_owns, COUNTS_NATIVE},
    {"refuse-foreign", counts_refuse_foreign, COUNTS_NATIVE},
    {"refuse-interior", counts_refuse_interior, COUNTS_NATIVE},
    {"refuse-double", counts_refuse_double, COUNTS_NATIVE},
    {"create-heap", counts_create_heap, COUNTS_NATIVE},
    {"debug-alloc", counts_debug_alloc, COUNTS_VTABLE},
    {"virtual-query", counts_virtual_query, COUNTS_VTABLE},
};

int
main(int argc, char **argv)
{
    const char *door = argc > 1 ? argv[1] : "malloc";
    unsigned bit = strcmp(door, "malloc") == 0   ? COUNTS_MALLOC
                   : strcmp(door, "native") == 0 ? COUNTS_NATIVE
                                                 : COUNTS_VTABLE;
    counts_allocator = bench_allocator_open(door);
    if (!counts_allocator) {
        bench_fail("no allocator %s in this process", door);
    }
    if (bit != COUNTS_MALLOC) {
        counts_manager = bench_manager();
        counts_object = bench_host_malloc();
        counts_heap = bench_allocator_heap();
    }
    for (size_t i = 0; i < sizeof counts_paths / sizeof counts_paths[0]; i++) {
        if (!(counts_paths[i].doors & bit)) {
            continue;
        }
        counts_counting = false;
        counts_paths[i].path();
        counts_counting = true;
        CALLGRIND_TOGGLE_COLLECT;
        counts_paths[i].path();
        CALLGRIND_TOGGLE_COLLECT;
        CALLGRIND_DUMP_STATS_AT(counts_paths[i].name);
    }
    return 0;
}
