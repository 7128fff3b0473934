// SPDX-License-Identifier: MIT
/*
 * workloads/cold.c - frees of blocks that have left the caches.
 *
 * Reason: a program that ends a phase frees blocks it has not looked at for a long time. The
 * caches are emptied between the two halves and only the frees are timed: an allocator that keeps
 * its free state inside the blocks misses at every one of them.
 */
#include "../bench.h"

#include <string.h>

#define COLD_FLUSH_BYTES ((size_t)48 << 20)

struct cold_state {
    void **blocks;
    uint32_t *order;
    unsigned char *flush;
};

static void
cold_setup_shuffled(struct bench_run *run, bool shuffled)
{
    struct cold_state *cold = bench_raw(sizeof *cold);
    uint32_t count = (uint32_t)run->row->operations;
    cold->blocks = bench_raw(count * sizeof(void *));
    cold->order = bench_permutation(count, 5);
    for (uint32_t i = 0; i < count && !shuffled; i++) {
        cold->order[i] = i;
    }
    cold->flush = bench_raw(COLD_FLUSH_BYTES);
    run->state = cold;
}

static void
cold_forward_setup(struct bench_run *run)
{
    cold_setup_shuffled(run, false);
}

static void
cold_shuffled_setup(struct bench_run *run)
{
    cold_setup_shuffled(run, true);
}

static void
cold_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    struct cold_state *cold = run->state;
    size_t size = run->row->size;
    size_t count = run->row->operations;
    for (size_t i = 0; i < count; i++) {
        cold->blocks[i] = a->malloc(size);
        bench_fill(cold->blocks[i], size, i);
    }
    memset(cold->flush, (int)run->repetition, COLD_FLUSH_BYTES);
    for (size_t i = 0; i < count && run->verify; i++) {
        bench_check(run, cold->blocks[i], size, i);
    }
    double begin = bench_cpu_ns();
    for (size_t i = 0; i < count; i++) {
        a->free(cold->blocks[cold->order[i]]);
    }
    run->own_ns = bench_cpu_ns() - begin;
}

static void
cold_teardown(struct bench_run *run)
{
    struct cold_state *cold = run->state;
    bench_raw_free(cold->blocks, run->row->operations * sizeof(void *));
    bench_raw_free(cold->order, run->row->operations * sizeof(uint32_t));
    bench_raw_free(cold->flush, COLD_FLUSH_BYTES);
    bench_raw_free(cold, sizeof *cold);
}

static const struct bench_row cold_rows[] = {
    {.name = "cold-free/64",
     .threads = 1,
     .operations = 200000,
     .size = 64,
     .setup = cold_forward_setup,
     .repeat = cold_repeat,
     .teardown = cold_teardown},
    {.name = "cold-free-random/64",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 200000,
     .size = 64,
     .setup = cold_shuffled_setup,
     .repeat = cold_repeat,
     .teardown = cold_teardown},
};

const struct bench_family bench_cold = {"cold", cold_rows, sizeof cold_rows / sizeof cold_rows[0]};
