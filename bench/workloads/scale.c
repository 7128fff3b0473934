// SPDX-License-Identifier: MIT
/*
 * workloads/scale.c - one operation among many heaps, many regions, many threads.
 *
 * Reason: a host gives every application domain heaps and reservations of its own. What an
 * operation costs, and what the library keeps for itself, must not depend on how many there are.
 */
#include "../allocators.h"

#include <pthread.h>

struct scale_state {
    hh_heap **heaps;
    void **regions;
    uint32_t *order;
    IHostMemoryManager *manager;
    pthread_t *threads;
    pthread_barrier_t ready;
    pthread_barrier_t over;
    struct bench_run *run;
};

static double
scale_metadata_kib(void)
{
    hh_stats stats;
    if (bench_native.get_stats(&stats) != HH_OK) {
        bench_fail("hh_get_stats failed");
    }
    return (double)stats.metadata_bytes / 1024;
}

// What count things cost in metadata, in bytes each.
static void
scale_report(struct bench_run *run, double before_kib)
{
    double after_kib = scale_metadata_kib();
    bench_value_add(run, "metadata_kib", after_kib);
    bench_value_add(run, "metadata_bytes_each",
                    (after_kib - before_kib) * 1024 / (double)run->row->count);
}

static struct scale_state *
scale_setup(struct bench_run *run)
{
    struct scale_state *state = bench_raw(sizeof *state);
    state->order = bench_permutation((uint32_t)run->row->count, 3);
    state->run = run;
    run->state = state;
    return state;
}

static void
scale_teardown(struct bench_run *run)
{
    struct scale_state *state = run->state;
    bench_raw_free(state->order, run->row->count * sizeof(uint32_t));
    bench_raw_free(state, sizeof *state);
}

// Heaps: a block is allocated from one heap after the other, and freed again.
static void
scale_heaps_setup(struct bench_run *run)
{
    struct scale_state *state = scale_setup(run);
    double before_kib = scale_metadata_kib();
    state->heaps = bench_raw(run->row->count * sizeof *state->heaps);
    for (size_t i = 0; i < run->row->count; i++) {
        if (bench_native.heap_create(NULL, &state->heaps[i]) != HH_OK) {
            bench_fail("heap %zu could not be made", i);
        }
        bench_touch(bench_native.heap_alloc(state->heaps[i], 64), i);
    }
    scale_report(run, before_kib);
}

static void
scale_heaps_repeat(struct bench_run *run)
{
    struct scale_state *state = run->state;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        hh_heap *heap = state->heaps[state->order[i % run->row->count]];
        void *block = bench_native.heap_alloc(heap, 64);
        bench_touch(block, i);
        if (bench_native.heap_free(heap, block) != HH_OK) {
            bench_fail("a free was refused");
        }
    }
}

static void
scale_heaps_teardown(struct bench_run *run)
{
    struct scale_state *state = run->state;
    for (size_t i = 0; i < run->row->count; i++) {
        bench_native.heap_destroy(state->heaps[i]);
    }
    bench_raw_free(state->heaps, run->row->count * sizeof *state->heaps);
    scale_teardown(run);
}

// Regions: VirtualQuery of a random reservation of 64 KiB, every second one committed.
static void
scale_regions_setup(struct bench_run *run)
{
    struct scale_state *state = scale_setup(run);
    double before_kib = scale_metadata_kib();
    state->manager = bench_manager();
    state->regions = bench_raw(run->row->count * sizeof *state->regions);
    for (size_t i = 0; i < run->row->count; i++) {
        uint32_t type = i % 2 ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE;
        if (state->manager->lpVtbl->VirtualAlloc(state->manager, NULL, 65536, type, PAGE_READWRITE,
                                                 eTaskCritical, &state->regions[i]) != S_OK) {
            bench_fail("region %zu could not be reserved", i);
        }
    }
    scale_report(run, before_kib);
}

static void
scale_regions_repeat(struct bench_run *run)
{
    struct scale_state *state = run->state;
    hh_memory_basic_information answer;
    size_t length;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        void *region = state->regions[state->order[i % run->row->count]];
        state->manager->lpVtbl->VirtualQuery(state->manager, region, &answer, sizeof answer,
                                             &length);
        if (answer.AllocationBase != region) {
            bench_fail("VirtualQuery gave a wrong answer");
        }
    }
}

static void
scale_regions_teardown(struct bench_run *run)
{
    struct scale_state *state = run->state;
    for (size_t i = 0; i < run->row->count; i++) {
        state->manager->lpVtbl->VirtualFree(state->manager, state->regions[i], 0, MEM_RELEASE);
    }
    bench_raw_free(state->regions, run->row->count * sizeof *state->regions);
    scale_teardown(run);
}

// Threads: all have used the heap and sleep while one allocates and frees.
static void *
scale_thread(void *arg)
{
    struct scale_state *state = arg;
    void *kept = bench_native.heap_alloc(bench_allocator_heap(), 64);
    bench_touch(kept, 1);
    pthread_barrier_wait(&state->ready);
    pthread_barrier_wait(&state->over);
    bench_native.heap_free(bench_allocator_heap(), kept);
    return NULL;
}

static void
scale_threads_setup(struct bench_run *run)
{
    struct scale_state *state = scale_setup(run);
    unsigned count = (unsigned)run->row->count;
    double before_kib = scale_metadata_kib();
    state->threads = bench_raw(count * sizeof *state->threads);
    pthread_barrier_init(&state->ready, NULL, count + 1);
    pthread_barrier_init(&state->over, NULL, count + 1);
    for (unsigned i = 0; i < count; i++) {
        state->threads[i] = bench_thread_start(scale_thread, state, i);
    }
    pthread_barrier_wait(&state->ready);
    scale_report(run, before_kib);
}

static void
scale_threads_repeat(struct bench_run *run)
{
    for (uint64_t i = 0; i < run->row->operations; i++) {
        void *block = bench_native.heap_alloc(bench_allocator_heap(), 64);
        bench_touch(block, i);
        bench_native.heap_free(bench_allocator_heap(), block);
    }
}

static void
scale_threads_teardown(struct bench_run *run)
{
    struct scale_state *state = run->state;
    pthread_barrier_wait(&state->over);
    for (size_t i = 0; i < run->row->count; i++) {
        bench_thread_join(state->threads[i]);
    }
    bench_raw_free(state->threads, run->row->count * sizeof *state->threads);
    scale_teardown(run);
}

#define SCALE(label, what, many)                                                                   \
    {                                                                                              \
        .name = label, .flags = BENCH_HOSTHEAP, .threads = 1, .operations = 100000, .count = many, \
        .setup = scale_##what##_setup, .repeat = scale_##what##_repeat,                            \
        .teardown = scale_##what##_teardown                                                        \
    }

static const struct bench_row scale_rows[] = {
    SCALE("scale/heaps-10", heaps, 10),         SCALE("scale/heaps-1000", heaps, 1000),
    SCALE("scale/heaps-100000", heaps, 100000), SCALE("scale/regions-10", regions, 10),
    SCALE("scale/regions-1000", regions, 1000), SCALE("scale/regions-10000", regions, 10000),
    SCALE("scale/threads-1", threads, 1),       SCALE("scale/threads-100", threads, 100),
    SCALE("scale/threads-1000", threads, 1000),
};

const struct bench_family bench_scale = {"scale", scale_rows,
                                         sizeof scale_rows / sizeof scale_rows[0]};
