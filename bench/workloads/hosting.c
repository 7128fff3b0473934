// SPDX-License-Identifier: MIT
/*
 * workloads/hosting.c - what only the hosting interfaces have, beside what a program would use in
 * their place: address look-ups, DebugAlloc, refused frees.
 */
#include "../allocators.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HOSTING_BLOCKS 10000u

struct hosting_state {
    void *blocks[HOSTING_BLOCKS];
    uint32_t *order;
    IHostMemoryManager *manager;
    IHostMalloc *object;
    hh_heap *heap;
    int maps; // file descriptor
};

static void
hosting_setup(struct bench_run *run)
{
    struct hosting_state *state = bench_raw(sizeof *state);
    state->order = bench_permutation(HOSTING_BLOCKS, 99);
    for (unsigned i = 0; i < HOSTING_BLOCKS; i++) {
        state->blocks[i] = run->allocator->malloc(16 + (i * 37) % 1000);
        bench_touch(state->blocks[i], i);
    }
    if (run->row->flags & BENCH_HOSTHEAP) {
        state->manager = bench_manager();
        state->object = bench_host_malloc();
        state->heap = bench_allocator_heap();
    }
    state->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    run->state = state;
}

static void
hosting_teardown(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    for (unsigned i = 0; i < HOSTING_BLOCKS; i++) {
        run->allocator->free(state->blocks[i]);
    }
    close(state->maps);
    bench_raw_free(state->order, HOSTING_BLOCKS * sizeof(uint32_t));
    bench_raw_free(state, sizeof *state);
}

static void *
hosting_pick(const struct hosting_state *state, uint64_t index)
{
    return state->blocks[state->order[index % HOSTING_BLOCKS]];
}

/*
 * Reason: a collector asks of any word whether it is a block. The nearest thing other allocators
 * have is malloc_usable_size, which must be given a live block.
 */
static void
hosting_owns_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    hh_block_info info;
    uint64_t live = 0;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        bench_native.owns((char *)hosting_pick(state, i) + i % 16, &info);
        live += (uint64_t)info.live;
    }
    if (live != run->row->operations) {
        bench_fail("hh_owns missed a live block");
    }
}

static void
hosting_usable_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        bytes += malloc_usable_size(hosting_pick(state, i));
    }
    if (bytes < run->row->operations * 16) {
        bench_fail("malloc_usable_size is too small");
    }
}

// Reason: a runtime asks for the state of pages all the time; here of pages it got itself.
static void
hosting_query_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    IHostMemoryManager *manager = state->manager;
    hh_memory_basic_information answer;
    size_t length;
    void *base = NULL;
    if (manager->lpVtbl->VirtualAlloc(manager, NULL, (size_t)1 << 20, MEM_RESERVE | MEM_COMMIT,
                                      PAGE_READWRITE, eTaskCritical, &base) != S_OK) {
        bench_fail("VirtualAlloc failed");
    }
    for (uint64_t i = 0; i < run->row->operations; i++) {
        char *address = (char *)base + (i * 4096) % ((size_t)1 << 20);
        if (manager->lpVtbl->VirtualQuery(manager, address, &answer, sizeof answer, &length) !=
                S_OK ||
            answer.State != MEM_COMMIT) {
            bench_fail("VirtualQuery gave a wrong answer");
        }
    }
    manager->lpVtbl->VirtualFree(manager, base, 0, MEM_RELEASE);
}

// The same question to the kernel (PROCMAP_QUERY, Linux 6.11): layout from its documentation.
struct hosting_procmap_query {
    uint64_t size;
    uint64_t query_flags;
    uint64_t query_addr;
    uint64_t vma_start;
    uint64_t vma_end;
    uint64_t vma_flags;
    uint64_t vma_page_size;
    uint64_t vma_offset;
    uint64_t inode;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t vma_name_size;
    uint32_t build_id_size;
    uint64_t vma_name_addr;
    uint64_t build_id_addr;
};

static void
hosting_ioctl_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    const unsigned long request = _IOWR('f', 17, struct hosting_procmap_query);
    for (uint64_t i = 0; i < run->row->operations; i++) {
        struct hosting_procmap_query query = {.size = sizeof query};
        query.query_addr = (uint64_t)(uintptr_t)hosting_pick(state, i);
        if (ioctl(state->maps, request, &query) != 0) {
            bench_fail("PROCMAP_QUERY is not there: the kernel is older than 6.11");
        }
    }
}

// And by reading the maps file up to the line with the address.
static void
hosting_maps_repeat(struct bench_run *run)
{
    static char text[65536];
    struct hosting_state *state = run->state;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        uintptr_t address = (uintptr_t)hosting_pick(state, i);
        lseek(state->maps, 0, SEEK_SET);
        size_t length = 0;
        for (ssize_t got; (got = read(state->maps, text + length, sizeof text - 1 - length)) > 0;) {
            length += (size_t)got;
        }
        text[length] = '\0';
        bool found = false;
        for (const char *line = text; line && *line; line = strchr(line + 1, '\n')) {
            unsigned long begin;
            unsigned long end;
            if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && address >= begin && address < end) {
                found = true;
                break;
            }
        }
        if (!found) {
            bench_fail("an address is missing from /proc/self/maps");
        }
    }
}

// Reason: debug builds of a runtime allocate with file and line.
static void
hosting_debug_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    IHostMalloc *object = state->object;
    char file[] = "program.c";
    for (uint64_t i = 0; i < run->row->operations; i++) {
        void *block;
        if (object->lpVtbl->DebugAlloc(object, 64, eTaskCritical, file, (int)i, &block) != S_OK) {
            bench_fail("DebugAlloc failed");
        }
        bench_touch(block, i);
        object->lpVtbl->Free(object, block);
    }
}

/*
 * Reason: a refusal must cost no more than a free, or bad frees become a way to slow a host down.
 * By turns: an address of the stack, the inside of a block, a block that is free already.
 */
static void
hosting_refuse_repeat(struct bench_run *run)
{
    struct hosting_state *state = run->state;
    void *freed = bench_native.heap_alloc(state->heap, 100);
    void *kept = bench_native.heap_alloc(state->heap, 100);
    bench_native.heap_free(state->heap, freed);
    const void *bad[3] = {&freed, (char *)kept + 16, freed};
    for (uint64_t i = 0; i < run->row->operations; i++) {
        if (bench_native.heap_free(state->heap, (void *)bad[i % 3]) == HH_OK) {
            bench_fail("a bad free was accepted");
        }
    }
    bench_native.heap_free(state->heap, kept);
}

#define HOSTING(label, how, flag, total)                                                           \
    {                                                                                              \
        .name = label, .flags = flag, .threads = 1, .operations = total, .setup = hosting_setup,   \
        .repeat = hosting_##how##_repeat, .teardown = hosting_teardown                             \
    }

static const struct bench_row hosting_rows[] = {
    HOSTING("look-up/hh_owns", owns, BENCH_HOSTHEAP | BENCH_QUICK, 100000),
    HOSTING("look-up/malloc_usable_size", usable, BENCH_DROP_IN, 100000),
    HOSTING("look-up/VirtualQuery", query, BENCH_HOSTHEAP | BENCH_QUICK, 50000),
    HOSTING("look-up/PROCMAP_QUERY", ioctl, 0, 5000),
    HOSTING("look-up/maps-file", maps, 0, 100),
    HOSTING("debug-alloc/64", debug, BENCH_HOSTHEAP | BENCH_QUICK, 50000),
    HOSTING("refused-free", refuse, BENCH_HOSTHEAP | BENCH_QUICK, 100000),
};

const struct bench_family bench_hosting = {"hosting", hosting_rows,
                                           sizeof hosting_rows / sizeof hosting_rows[0]};
