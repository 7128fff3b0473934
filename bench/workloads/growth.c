// SPDX-License-Identifier: MIT
/*
 * workloads/growth.c - blocks that grow by realloc.
 *
 * Reason: vectors and string buffers. An allocator that can grow in place, or moves pages instead
 * of bytes, saves the copy; one with few size classes calls itself in vain.
 */
#include "../bench.h"

// One vector, capacity times 1.5, from 16 bytes to row->size.
static void
growth_half_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    uint64_t rounds = run->row->operations / run->row->count;
    for (uint64_t round = 0; round < rounds; round++) {
        size_t size = 16;
        unsigned char *block = a->malloc(size);
        bench_fill(block, size, round);
        while (size < run->row->size) {
            size_t next = size + size / 2;
            block = a->realloc(block, next);
            if (run->verify) {
                bench_check(run, block, size, round);
            }
            bench_fill(block, next, round);
            size = next;
        }
        a->free(block);
    }
}

// Steps of 16 bytes up to row->size: a line buffer without a growth policy.
static void
growth_step_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    uint64_t rounds = run->row->operations / (run->row->size / 16);
    for (uint64_t round = 0; round < rounds; round++) {
        unsigned char *block = a->malloc(16);
        bench_fill(block, 16, round);
        for (size_t size = 32; size <= run->row->size; size += 16) {
            block = a->realloc(block, size);
            if (run->verify) {
                bench_check(run, block, size - 16, round);
            }
            bench_fill(block, size, round);
        }
        a->free(block);
    }
}

// Many vectors that grow by turns: what lies behind a block is rarely free.
static void
growth_many_repeat(struct bench_run *run)
{
    enum { VECTORS = 500 };
    static void *vectors[VECTORS];
    static size_t sizes[VECTORS];
    const struct bench_allocator *a = run->allocator;
    uint64_t random = 31337;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        size_t at = (bench_random(&random) >> 9) % VECTORS;
        size_t old = sizes[at];
        size_t next = old == 0 ? 24 : old > 4000 ? 0 : old + old / 2;
        if (run->verify && old) {
            bench_check(run, vectors[at], old, at);
        }
        if (next == 0) {
            a->free(vectors[at]);
            vectors[at] = NULL;
        } else {
            vectors[at] = a->realloc(vectors[at], next);
            bench_fill(vectors[at], next, at);
        }
        sizes[at] = next;
    }
    for (size_t at = 0; at < VECTORS; at++) {
        a->free(vectors[at]);
        vectors[at] = NULL;
        sizes[at] = 0;
    }
}

static const struct bench_row growth_rows[] = {
    {.name = "grow-1.5x/1MiB",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 28 * 400,
     .size = 1 << 20,
     .count = 28,
     .repeat = growth_half_repeat},
    {.name = "grow-1.5x/4KiB",
     .threads = 1,
     .operations = 14 * 10000,
     .size = 4096,
     .count = 14,
     .repeat = growth_half_repeat},
    {.name = "grow-16/4KiB",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 256 * 400,
     .size = 4096,
     .repeat = growth_step_repeat},
    {.name = "grow-16/1MiB",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 4 * 65536,
     .size = 1 << 20,
     .repeat = growth_step_repeat},
    {.name = "grow-many",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 60000,
     .repeat = growth_many_repeat},
};

const struct bench_family bench_growth = {"growth", growth_rows,
                                          sizeof growth_rows / sizeof growth_rows[0]};
