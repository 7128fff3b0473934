// SPDX-License-Identifier: MIT
/*
 * workloads/exchange.c - blocks that are freed by another thread than the one that made them.
 *
 * Reason: pipelines, message queues, worker pools. It is where allocators differ most: whether the
 * owner gets its blocks back in batches, whether a remote free is one atomic operation or a lock,
 * and whether memory that wanders is used again at all.
 */
#include "../bench.h"

#include <stdatomic.h>

#define EXCHANGE_PUBLISH 32 // blocks made visible at a time, as queues with batching do

struct exchange_ring {
    _Alignas(64) _Atomic uint64_t head; // written by the producer
    _Alignas(64) _Atomic uint64_t tail; // written by the consumer
    _Alignas(64) void **blocks;
    size_t slots; // a power of two
};

struct exchange_state {
    struct exchange_ring rings[2];
    _Atomic(void *) shared[1024]; // exchange/swap only
    const uint32_t *sizes;
    size_t slots;
};

static void
exchange_setup(struct bench_run *run)
{
    struct exchange_state *state = bench_raw(sizeof *state);
    state->slots = run->row->count;
    for (int i = 0; i < 2; i++) {
        state->rings[i].slots = state->slots;
        state->rings[i].blocks = bench_raw(state->slots * sizeof(void *));
    }
    state->sizes = run->row->size == 0 ? bench_sizes(BENCH_MIX_LOG) : NULL;
    run->state = state;
}

static void
exchange_teardown(struct bench_run *run)
{
    struct exchange_state *state = run->state;
    for (int i = 0; i < 2; i++) {
        bench_raw_free(state->rings[i].blocks, state->slots * sizeof(void *));
    }
    for (size_t i = 0; i < sizeof state->shared / sizeof state->shared[0]; i++) {
        run->allocator->free(atomic_load(&state->shared[i]));
    }
    if (state->sizes) {
        bench_raw_free((void *)state->sizes, BENCH_MIX_COUNT * sizeof(uint32_t));
    }
    bench_raw_free(state, sizeof *state);
}

// The size travels in no header: both sides know the sequence.
static size_t
exchange_size(const struct bench_run *run, uint64_t index)
{
    const struct exchange_state *state = run->state;
    return state->sizes ? state->sizes[index % BENCH_MIX_COUNT] : run->row->size;
}

static void
exchange_produce(struct bench_run *run, struct exchange_ring *ring, uint64_t total)
{
    uint64_t tail = 0;
    unsigned steps = 0;
    for (uint64_t i = 0; i < total; i++) {
        size_t size = exchange_size(run, i);
        void *block = run->allocator->malloc(size);
        bench_touch(block, i);
        if (run->verify) {
            bench_fill(block, size, i);
        }
        while (i - tail >= ring->slots) {
            tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
            bench_wait_step(&steps);
        }
        ring->blocks[i & (ring->slots - 1)] = block;
        if (i % EXCHANGE_PUBLISH == EXCHANGE_PUBLISH - 1 || i + 1 == total ||
            ring->slots < EXCHANGE_PUBLISH) {
            atomic_store_explicit(&ring->head, i + 1, memory_order_release);
        }
    }
}

static void
exchange_consume(struct bench_run *run, struct exchange_ring *ring, uint64_t total)
{
    uint64_t done = 0;
    unsigned steps = 0;
    while (done < total) {
        uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (head == done) {
            bench_wait_step(&steps);
            continue;
        }
        for (; done < head; done++) {
            void *block = ring->blocks[done & (ring->slots - 1)];
            if (run->verify) {
                bench_check(run, block, exchange_size(run, done), done);
            }
            // The consumer has read the message: its first line is in this processor's cache.
            (void)*(volatile unsigned char *)block;
            run->allocator->free(block);
        }
        atomic_store_explicit(&ring->tail, done, memory_order_release);
    }
}

// One thread allocates, the other frees.
static void
exchange_ring_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct exchange_state *state = run->state;
    if (worker == 0) {
        exchange_produce(run, &state->rings[0], run->row->operations);
    } else {
        exchange_consume(run, &state->rings[0], run->row->operations);
    }
}

static void
exchange_reset(struct exchange_state *state)
{
    for (int i = 0; i < 2; i++) {
        atomic_store(&state->rings[i].head, 0);
        atomic_store(&state->rings[i].tail, 0);
    }
}

static void
exchange_ring_repeat(struct bench_run *run)
{
    exchange_reset(run->state);
    bench_pool_run(run->pool, exchange_ring_work, run);
}

/*
 * Both threads allocate and both free what the other made, a batch at a time: the symmetric case,
 * where each thread could live on what it receives.
 */
static void
exchange_both_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct exchange_state *state = run->state;
    struct exchange_ring *out = &state->rings[worker];
    struct exchange_ring *in = &state->rings[1 - worker];
    uint64_t total = run->row->operations / 2;
    uint64_t sent = 0;
    uint64_t received = 0;
    unsigned steps = 0;
    while (received < total || sent < total) {
        uint64_t room =
            out->slots - (sent - atomic_load_explicit(&out->tail, memory_order_acquire));
        for (unsigned n = 0; n < EXCHANGE_PUBLISH && sent < total && n < room; n++, sent++) {
            size_t size = exchange_size(run, sent);
            void *block = run->allocator->malloc(size);
            bench_touch(block, sent);
            if (run->verify) {
                bench_fill(block, size, sent);
            }
            out->blocks[sent & (out->slots - 1)] = block;
        }
        atomic_store_explicit(&out->head, sent, memory_order_release);
        uint64_t head = atomic_load_explicit(&in->head, memory_order_acquire);
        if (head == received) {
            bench_wait_step(&steps);
        }
        for (; received < head; received++) {
            void *block = in->blocks[received & (in->slots - 1)];
            if (run->verify) {
                bench_check(run, block, exchange_size(run, received), received);
            }
            run->allocator->free(block);
        }
        atomic_store_explicit(&in->tail, received, memory_order_release);
    }
}

static void
exchange_both_repeat(struct bench_run *run)
{
    exchange_reset(run->state);
    bench_pool_run(run->pool, exchange_both_work, run);
}

/*
 * Asymmetric: the first thread frees every second block itself, the rest goes across. Slabs are
 * then freed into from two sides at once.
 */
static void
exchange_half_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct exchange_state *state = run->state;
    struct exchange_ring *ring = &state->rings[0];
    uint64_t total = run->row->operations / 2;
    if (worker == 1) {
        exchange_consume(run, ring, total);
        return;
    }
    void *kept[64] = {0};
    uint64_t tail = 0;
    unsigned steps = 0;
    for (uint64_t i = 0; i < total; i++) {
        size_t size = exchange_size(run, i);
        void *given = run->allocator->malloc(size);
        void *mine = run->allocator->malloc(size);
        bench_fill(given, size, i);
        bench_touch(mine, i);
        run->allocator->free(kept[i % 64]);
        kept[i % 64] = mine;
        while (i - tail >= ring->slots) {
            tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
            bench_wait_step(&steps);
        }
        ring->blocks[i & (ring->slots - 1)] = given;
        if (i % EXCHANGE_PUBLISH == EXCHANGE_PUBLISH - 1 || i + 1 == total) {
            atomic_store_explicit(&ring->head, i + 1, memory_order_release);
        }
    }
    for (int i = 0; i < 64; i++) {
        run->allocator->free(kept[i]);
    }
}

static void
exchange_half_repeat(struct bench_run *run)
{
    exchange_reset(run->state);
    bench_pool_run(run->pool, exchange_half_work, run);
}

/*
 * Every thread puts a new block into a random shared slot and frees the one it finds there: who
 * frees a block has nothing to do with who made it.
 */
struct exchange_header { // verifying repetition only; every size is at least 16
    uint32_t size;
    uint32_t inverse;
};

static void
exchange_swap_check(struct bench_run *run, const struct exchange_header *block)
{
    if (block && (block->size != ~block->inverse ||
                  ((const unsigned char *)block)[block->size - 1] != (unsigned char)block->size)) {
        bench_fail("%s: block %p lost its contents", run->row->name, (const void *)block);
    }
}

static void
exchange_swap_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct exchange_state *state = run->state;
    uint64_t random = 999 + worker * 7 + run->repetition;
    uint64_t total = run->row->operations / run->row->threads;
    for (uint64_t i = 0; i < total; i++) {
        uint64_t r = bench_random(&random) >> 5;
        size_t size = exchange_size(run, r >> 10);
        void *block = run->allocator->malloc(size);
        bench_touch(block, i);
        if (run->verify) {
            bench_fill(block, size, size);
            *(struct exchange_header *)block =
                (struct exchange_header){(uint32_t)size, ~(uint32_t)size};
            bench_check_sum(run, size);
        }
        void *old = atomic_exchange(&state->shared[r % 1024], block);
        if (run->verify) {
            exchange_swap_check(run, old);
        }
        run->allocator->free(old);
    }
}

static void
exchange_swap_repeat(struct bench_run *run)
{
    bench_pool_run(run->pool, exchange_swap_work, run);
}

#define EXCHANGE(label, how, workers, slots, bytes, total, quick)                                  \
    {                                                                                              \
        .name = label, .flags = quick, .threads = workers, .operations = total, .size = bytes,     \
        .count = slots, .setup = exchange_setup, .repeat = exchange_##how##_repeat,                \
        .teardown = exchange_teardown                                                              \
    }

static const struct bench_row exchange_rows[] = {
    EXCHANGE("ring/16", ring, 2, 4096, 16, 200000, 0),
    EXCHANGE("ring/64", ring, 2, 4096, 64, 100000, BENCH_QUICK),
    EXCHANGE("ring/256", ring, 2, 4096, 256, 200000, 0),
    EXCHANGE("ring/1024", ring, 2, 4096, 1024, 100000, 0),
    EXCHANGE("ring/4096", ring, 2, 4096, 4096, 100000, 0),
    EXCHANGE("ring/32768", ring, 2, 1024, 32768, 40000, 0),
    EXCHANGE("ring/mixed", ring, 2, 4096, 0, 100000, BENCH_QUICK),
    // Short and long queues: how many blocks are on their way decides what a batch can hold.
    EXCHANGE("ring-8/64", ring, 2, 8, 64, 20000, 0),
    EXCHANGE("ring-64k/64", ring, 2, 65536, 64, 200000, 0),
    EXCHANGE("exchange/both/64", both, 2, 4096, 64, 200000, BENCH_QUICK),
    EXCHANGE("exchange/both/mixed", both, 2, 4096, 0, 200000, 0),
    EXCHANGE("exchange/half/64", half, 2, 4096, 64, 200000, BENCH_QUICK),
    EXCHANGE("exchange/swap/2-threads", swap, 2, 8, 0, 200000, BENCH_QUICK),
    EXCHANGE("exchange/swap/8-threads", swap, 8, 8, 0, 200000, 0),
};

const struct bench_family bench_exchange = {"exchange", exchange_rows,
                                            sizeof exchange_rows / sizeof exchange_rows[0]};
