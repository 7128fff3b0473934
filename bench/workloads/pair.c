// SPDX-License-Identifier: MIT
// workloads/pair.c - one block at a time: allocate, touch, free.
#include "../bench.h"

/*
 * Reason: the shortest life a block can have. Temporary strings and nodes of interpreters look
 * like this, and it shows the bare length of the two fast paths: everything is in the first-level
 * cache and the block that was freed last is handed out next.
 */
static void
pair_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    size_t size = run->row->size;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        void *block = a->malloc(size);
        bench_touch(block, i);
        if (run->verify) {
            bench_fill(block, size, i);
            bench_check(run, block, size, i);
        }
        a->free(block);
    }
}

static void
pair_mixed_setup(struct bench_run *run)
{
    run->state = (void *)bench_sizes(BENCH_MIX_SMALL);
}

// The same with a size that changes every time: the class computation cannot be predicted.
static void
pair_mixed_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    const uint32_t *sizes = run->state;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        uint32_t size = sizes[i % BENCH_MIX_COUNT];
        void *block = a->malloc(size);
        bench_touch(block, i);
        if (run->verify) {
            bench_fill(block, size, i);
            bench_check(run, block, size, i);
        }
        a->free(block);
    }
}

static void
pair_mixed_teardown(struct bench_run *run)
{
    bench_raw_free(run->state, BENCH_MIX_COUNT * sizeof(uint32_t));
}

#define PAIR(bytes, quick)                                                                         \
    {                                                                                              \
        .name = "pair/" #bytes, .flags = quick, .threads = 1, .operations = 400000, .size = bytes, \
        .repeat = pair_repeat                                                                      \
    }

static const struct bench_row pair_rows[] = {
    PAIR(16, BENCH_QUICK),
    PAIR(64, BENCH_QUICK),
    PAIR(256, 0),
    PAIR(1024, BENCH_QUICK),
    PAIR(4096, BENCH_QUICK),
    PAIR(32768, BENCH_QUICK),
    {.name = "pair/mixed",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 400000,
     .setup = pair_mixed_setup,
     .repeat = pair_mixed_repeat,
     .teardown = pair_mixed_teardown},
};

const struct bench_family bench_pair = {"pair", pair_rows, sizeof pair_rows / sizeof pair_rows[0]};
