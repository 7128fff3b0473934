// SPDX-License-Identifier: MIT
/*
 * workloads/virtual_query.c - what is at an address, with 10 to 100,000 regions live: VirtualQuery
 * beside the two ways of asking the kernel, in one run and on the same addresses.
 *
 * A runtime asks while it looks for free address space, scans stacks and unwinds; a collector asks
 * with every other thread stopped. Addresses are taken in random order. Of the regions the first
 * 4,000 have two kinds of pages; the kernel's limit of mappings allows no more.
 */
#include "../allocators.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REGION_BYTES = 65536, TWO_KINDS = 4000, MAPS_BYTES = 1 << 16 };

struct virtual_state {
    IHostMemoryManager *manager;
    void **regions;
    uint32_t *order;
    int maps; // descriptor
    atomic_bool queried;
};

static void
virtual_setup(struct bench_run *run)
{
    struct virtual_state *state = bench_raw(sizeof *state);
    uint32_t count = (uint32_t)run->row->count;
    state->manager = bench_manager();
    state->regions = bench_raw(count * sizeof(void *));
    state->order = bench_permutation(count, 7);
    state->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < count; i++) {
        void *page;
        if (state->manager->lpVtbl->VirtualAlloc(state->manager, NULL, REGION_BYTES, MEM_RESERVE,
                                                 PAGE_READWRITE, eTaskCritical,
                                                 &state->regions[i]) != S_OK) {
            bench_fail("reserve %u failed", i);
        }
        if (i < TWO_KINDS && state->manager->lpVtbl->VirtualAlloc(
                                 state->manager, (char *)state->regions[i] + 4096, 4096, MEM_COMMIT,
                                 PAGE_READWRITE, eTaskCritical, &page) != S_OK) {
            bench_fail("commit %u failed", i);
        }
    }
    run->state = state;
}

static void
virtual_teardown(struct bench_run *run)
{
    struct virtual_state *state = run->state;
    size_t count = run->row->count;
    for (size_t i = 0; i < count; i++) {
        state->manager->lpVtbl->VirtualFree(state->manager, state->regions[i], 0, MEM_RELEASE);
    }
    close(state->maps);
    bench_raw_free(state->order, count * sizeof(uint32_t));
    bench_raw_free(state->regions, count * sizeof(void *));
    bench_raw_free(state, sizeof *state);
}

static char *
virtual_pick(const struct bench_run *run, const struct virtual_state *state, uint64_t index)
{
    return (char *)state->regions[state->order[index % run->row->count]] + 0x1234;
}

static void
virtual_query_some(struct bench_run *run, uint64_t first, uint64_t count)
{
    struct virtual_state *state = run->state;
    IHostMemoryManager *manager = state->manager;
    for (uint64_t i = first; i < first + count; i++) {
        hh_memory_basic_information answer;
        size_t length;
        char *address = virtual_pick(run, state, i);
        if (manager->lpVtbl->VirtualQuery(manager, address, &answer, sizeof answer, &length) !=
                S_OK ||
            (char *)answer.AllocationBase + 0x1234 != address) {
            bench_fail("VirtualQuery gave a wrong answer");
        }
    }
}

static void
virtual_query_repeat(struct bench_run *run)
{
    virtual_query_some(run, 0, run->row->operations);
}

// Every worker asks; together they ask the row's number of times.
static void
virtual_readers_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    uint64_t share = run->row->operations / run->row->threads;
    virtual_query_some(run, worker * share, share);
}

static void
virtual_readers_repeat(struct bench_run *run)
{
    bench_pool_run(run->pool, virtual_readers_work, run);
}

// Worker 0 asks; worker 1 commits and decommits in the same regions until that is done.
static void
virtual_writer_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct virtual_state *state = run->state;
    IHostMemoryManager *manager = state->manager;
    if (worker == 0) {
        virtual_query_some(run, 0, run->row->operations);
        atomic_store(&state->queried, true);
        return;
    }
    for (uint64_t i = 0; !atomic_load(&state->queried); i++) {
        void *page;
        char *address = virtual_pick(run, state, i) + 0x2000;
        if (manager->lpVtbl->VirtualAlloc(manager, address, 1, MEM_COMMIT, PAGE_READWRITE,
                                          eTaskCritical, &page) != S_OK ||
            manager->lpVtbl->VirtualFree(manager, address, 1, MEM_DECOMMIT) != S_OK) {
            bench_fail("the writer was refused");
        }
    }
}

static void
virtual_writer_repeat(struct bench_run *run)
{
    struct virtual_state *state = run->state;
    atomic_store(&state->queried, false);
    bench_pool_run(run->pool, virtual_writer_work, run);
}

// PROCMAP_QUERY (Linux 6.11): layout from the kernel's documentation.
struct virtual_procmap_query {
    uint64_t size, query_flags, query_addr;
    uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
    uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
    uint64_t vma_name_addr, build_id_addr;
};

static void
virtual_procmap_repeat(struct bench_run *run)
{
    struct virtual_state *state = run->state;
    const unsigned long request = _IOWR('f', 17, struct virtual_procmap_query);
    for (uint64_t i = 0; i < run->row->operations; i++) {
        struct virtual_procmap_query query = {.size = sizeof query};
        query.query_addr = (uint64_t)(uintptr_t)virtual_pick(run, state, i);
        if (ioctl(state->maps, request, &query) != 0) {
            bench_fail("PROCMAP_QUERY is not there: the kernel is older than 6.11");
        }
    }
}

// The kindest reading of the file: all of it, without looking at a line.
static void
virtual_maps_repeat(struct bench_run *run)
{
    static char text[MAPS_BYTES];
    struct virtual_state *state = run->state;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        size_t length = 0;
        lseek(state->maps, 0, SEEK_SET);
        for (ssize_t got; (got = read(state->maps, text, sizeof text)) > 0;) {
            length += (size_t)got;
        }
        if (length == 0) {
            bench_fail("/proc/self/maps is empty");
        }
    }
}

#define VIRTUAL(label, how, regions, workers, total, flag)                                         \
    {                                                                                              \
        .name = label, .flags = BENCH_HOSTHEAP | (flag), .threads = workers, .operations = total,  \
        .count = regions, .setup = virtual_setup, .repeat = virtual_##how##_repeat,                \
        .teardown = virtual_teardown                                                               \
    }

static const struct bench_row virtual_rows[] = {
    VIRTUAL("VirtualQuery/10-regions", query, 10, 1, 50000, 0),
    VIRTUAL("VirtualQuery/4000-regions", query, 4000, 1, 50000, BENCH_QUICK),
    VIRTUAL("VirtualQuery/100000-regions", query, 100000, 1, 50000, 0),
    VIRTUAL("VirtualQuery/4000-regions-2-readers", readers, 4000, 2, 100000, 0),
    VIRTUAL("VirtualQuery/4000-regions-beside-a-writer", writer, 4000, 2, 50000, 0),
    VIRTUAL("PROCMAP_QUERY/4000-regions", procmap, 4000, 1, 5000, 0),
    VIRTUAL("maps-file/4000-regions", maps, 4000, 1, 4, 0),
};

const struct bench_family bench_virtual = {"virtual", virtual_rows,
                                           sizeof virtual_rows / sizeof virtual_rows[0]};
