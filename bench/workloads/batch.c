// SPDX-License-Identifier: MIT
// workloads/batch.c - many blocks allocated, then all freed: in order, in reverse, in random order.
#include "../bench.h"

enum batch_order { BATCH_FORWARD, BATCH_REVERSE, BATCH_RANDOM };

struct batch_state {
    void **blocks;
    uint32_t *order;
    const uint32_t *sizes; // NULL: all of row->size
    size_t count;
};

static size_t
batch_size(const struct bench_run *run, const struct batch_state *batch, size_t index)
{
    return batch->sizes ? batch->sizes[index % BENCH_MIX_COUNT] : run->row->size;
}

static void
batch_setup_order(struct bench_run *run, enum batch_order order)
{
    struct batch_state *batch = bench_raw(sizeof *batch);
    uint32_t count = (uint32_t)run->row->count;
    batch->count = count;
    batch->blocks = bench_raw(count * sizeof(void *));
    batch->order = bench_permutation(count, 77);
    batch->sizes = run->row->size == 0 ? bench_sizes(BENCH_MIX_SMALL) : NULL;
    for (uint32_t i = 0; i < count && order != BATCH_RANDOM; i++) {
        batch->order[i] = order == BATCH_FORWARD ? i : count - 1 - i;
    }
    run->state = batch;
}

/*
 * Reason: first in, first out is how queues and request buffers behave; the free list is refilled
 * and spilled at every turn as soon as the batch is larger than the thread's cache.
 */
static void
batch_forward_setup(struct bench_run *run)
{
    batch_setup_order(run, BATCH_FORWARD);
}

// Reason: the order of a stack, and of destructors.
static void
batch_reverse_setup(struct bench_run *run)
{
    batch_setup_order(run, BATCH_REVERSE);
}

/*
 * Reason: containers free in an order that has nothing to do with addresses. An allocator that
 * writes into the blocks it takes back misses the cache at every free here.
 */
static void
batch_random_setup(struct bench_run *run)
{
    batch_setup_order(run, BATCH_RANDOM);
}

static void
batch_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    struct batch_state *batch = run->state;
    size_t rounds = run->row->operations / batch->count;
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < batch->count; i++) {
            size_t size = batch_size(run, batch, i);
            batch->blocks[i] = a->malloc(size);
            bench_touch(batch->blocks[i], i);
            if (run->verify) {
                bench_fill(batch->blocks[i], size, i);
            }
        }
        for (size_t i = 0; i < batch->count; i++) {
            uint32_t at = batch->order[i];
            if (run->verify) {
                bench_check(run, batch->blocks[at], batch_size(run, batch, at), at);
            }
            a->free(batch->blocks[at]);
        }
    }
}

static void
batch_teardown(struct bench_run *run)
{
    struct batch_state *batch = run->state;
    bench_raw_free(batch->blocks, batch->count * sizeof(void *));
    bench_raw_free(batch->order, batch->count * sizeof(uint32_t));
    if (batch->sizes) {
        bench_raw_free((void *)batch->sizes, BENCH_MIX_COUNT * sizeof(uint32_t));
    }
    bench_raw_free(batch, sizeof *batch);
}

#define BATCH(label, how, many, bytes, total, quick)                                               \
    {                                                                                              \
        .name = label, .flags = quick, .threads = 1, .operations = total, .size = bytes,           \
        .count = many, .setup = batch_##how##_setup, .repeat = batch_repeat,                       \
        .teardown = batch_teardown                                                                 \
    }

static const struct bench_row batch_rows[] = {
    BATCH("batch100/16", forward, 100, 16, 200000, 0),
    BATCH("batch100/64", forward, 100, 64, 200000, BENCH_QUICK),
    BATCH("batch100/256", forward, 100, 256, 200000, 0),
    BATCH("batch100/1024", forward, 100, 1024, 200000, BENCH_QUICK),
    BATCH("batch100/4096", forward, 100, 4096, 100000, BENCH_QUICK),
    BATCH("batch100/32768", forward, 100, 32768, 50000, BENCH_QUICK),
    BATCH("batch1000-reverse/64", reverse, 1000, 64, 200000, 0),
    BATCH("batch1000-random/64", random, 1000, 64, 200000, 0),
    BATCH("batch1000-random/mixed", random, 1000, 0, 200000, BENCH_QUICK),
    BATCH("random10k/16", random, 10000, 16, 200000, 0),
    BATCH("random10k/64", random, 10000, 64, 200000, BENCH_QUICK),
    BATCH("random10k/256", random, 10000, 256, 200000, 0),
    BATCH("random10k/1000", random, 10000, 1000, 100000, BENCH_QUICK),
    BATCH("random10k/4096", random, 10000, 4096, 60000, 0),
    BATCH("random2k/32768", random, 2000, 32768, 20000, 0),
};

const struct bench_family bench_batch = {"batch", batch_rows,
                                         sizeof batch_rows / sizeof batch_rows[0]};
