// SPDX-License-Identifier: MIT
/*
 * workloads/latency.c - how long single calls take, from p50 to the longest.
 *
 * Reason: averages hide the free that returns a gigabyte to the system. Two threads replace blocks
 * of mixed sizes at random and every call is timed by the processor's counter; what reading the
 * counter costs is in every figure alike.
 */
#include "../bench.h"

#include <time.h>

// A histogram with 16 steps per power of two: at most 6 % off.
#define LATENCY_STEPS 16u
#define LATENCY_BUCKETS (64u * LATENCY_STEPS)

struct latency_lane {
    uint64_t allocs[LATENCY_BUCKETS];
    uint64_t frees[LATENCY_BUCKETS];
    void *blocks[20000];
};

struct latency_state {
    struct latency_lane *lanes;
    const uint32_t *sizes;
    uint64_t measured;
    double ticks_per_ns;
};

static inline uint64_t
latency_ticks(void)
{
#if defined(__x86_64__)
    unsigned aux;
    return __builtin_ia32_rdtscp(&aux);
#else
    return (uint64_t)bench_now_ns();
#endif
}

static unsigned
latency_bucket(uint64_t ticks)
{
    if (ticks < LATENCY_STEPS) {
        return (unsigned)ticks;
    }
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ticks);
    unsigned step = (unsigned)(ticks >> (exponent - 4)) & (LATENCY_STEPS - 1);
    return (exponent - 3) * LATENCY_STEPS + step;
}

// The middle of a bucket, in ticks.
static double
latency_middle(unsigned bucket)
{
    if (bucket < LATENCY_STEPS) {
        return bucket;
    }
    unsigned exponent = bucket / LATENCY_STEPS + 3;
    double base = (double)((uint64_t)1 << exponent);
    return base * (1 + (bucket % LATENCY_STEPS + 0.5) / LATENCY_STEPS);
}

static void
latency_setup(struct bench_run *run)
{
    struct latency_state *state = bench_raw(sizeof *state);
    state->lanes = bench_raw(run->row->threads * sizeof *state->lanes);
    state->sizes = bench_sizes(BENCH_MIX_REAL);
    double begin_ns = bench_now_ns();
    uint64_t begin = latency_ticks();
    while (bench_now_ns() - begin_ns < 5e6) {
    }
    state->ticks_per_ns = (double)(latency_ticks() - begin) / (bench_now_ns() - begin_ns);
    run->state = state;
}

static void
latency_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    struct latency_state *state = run->state;
    struct latency_lane *lane = &state->lanes[worker];
    uint64_t random = 777 + worker + run->repetition * 2;
    uint64_t total = run->row->operations / run->row->threads;
    for (uint64_t i = 0; i < total; i++) {
        uint64_t r = bench_random(&random) >> 9;
        size_t at = r % (sizeof lane->blocks / sizeof lane->blocks[0]);
        size_t size = state->sizes[(r >> 20) % BENCH_MIX_COUNT];
        uint64_t t0 = latency_ticks();
        run->allocator->free(lane->blocks[at]);
        uint64_t t1 = latency_ticks();
        void *block = run->allocator->malloc(size);
        uint64_t t2 = latency_ticks();
        bench_touch(block, i);
        lane->blocks[at] = block;
        lane->frees[latency_bucket(t1 - t0)]++;
        lane->allocs[latency_bucket(t2 - t1)]++;
    }
}

static void
latency_repeat(struct bench_run *run)
{
    struct latency_state *state = run->state;
    bench_pool_run(run->pool, latency_work, run);
    if (run->verify) {
        // Warm-up: the first fill is not a steady state.
        for (unsigned i = 0; i < run->row->threads; i++) {
            for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
                state->lanes[i].allocs[b] = 0;
                state->lanes[i].frees[b] = 0;
            }
        }
        bench_check_sum(run, run->row->operations);
    } else {
        state->measured += run->row->operations;
    }
}

static double
latency_quantile(const uint64_t *buckets, uint64_t total, double share)
{
    double want = (double)total * share;
    uint64_t seen = 0;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        seen += buckets[b];
        if ((double)seen >= want && seen > 0) {
            return latency_middle(b);
        }
    }
    return 0;
}

static void
latency_report(struct bench_run *run, bool frees)
{
    static const char *const names[2][5] = {
        {"alloc_p50_ns", "alloc_p99_ns", "alloc_p99_9_ns", "alloc_p99_99_ns", "alloc_max_ns"},
        {"free_p50_ns", "free_p99_ns", "free_p99_9_ns", "free_p99_99_ns", "free_max_ns"},
    };
    static const double shares[5] = {0.5, 0.99, 0.999, 0.9999, 1};
    static uint64_t sum[LATENCY_BUCKETS];
    struct latency_state *state = run->state;
    for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
        sum[b] = 0;
        for (unsigned i = 0; i < run->row->threads; i++) {
            sum[b] += frees ? state->lanes[i].frees[b] : state->lanes[i].allocs[b];
        }
    }
    for (int i = 0; i < 5; i++) {
        double ticks = latency_quantile(sum, state->measured, shares[i]);
        bench_value_add(run, names[frees][i], ticks / state->ticks_per_ns);
    }
}

static void
latency_teardown(struct bench_run *run)
{
    struct latency_state *state = run->state;
    latency_report(run, false);
    latency_report(run, true);
    for (unsigned i = 0; i < run->row->threads; i++) {
        for (size_t at = 0; at < sizeof state->lanes->blocks / sizeof(void *); at++) {
            run->allocator->free(state->lanes[i].blocks[at]);
        }
    }
    bench_raw_free((void *)state->sizes, BENCH_MIX_COUNT * sizeof(uint32_t));
    bench_raw_free(state->lanes, run->row->threads * sizeof *state->lanes);
    bench_raw_free(state, sizeof *state);
}

static const struct bench_row latency_rows[] = {
    {.name = "latency/2-threads",
     .kind = BENCH_LATENCY,
     .flags = BENCH_QUICK,
     .threads = 2,
     .operations = 200000,
     .setup = latency_setup,
     .repeat = latency_repeat,
     .teardown = latency_teardown},
};

const struct bench_family bench_latency = {"latency", latency_rows,
                                           sizeof latency_rows / sizeof latency_rows[0]};
