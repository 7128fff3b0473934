// SPDX-License-Identifier: MIT
/*
 * workloads/giveback.c - memory rows: what stays resident when a program falls idle, and how much
 * more than its live bytes a program with changing sizes needs.
 *
 * Reason: services live for weeks. What an allocator keeps after a peak is what the machine has to
 * be bought for. These rows run once, are not timed, and report resident kibibytes; the program
 * calls nothing while it is idle, as an idle program does.
 */
#include "../bench.h"

#include <string.h>

#define GIVEBACK_IDLE_MS 3000
#define GIVEBACK_OWNERS 8u

struct giveback_state {
    void **blocks;
    size_t count;
};

// Anonymous memory: the blocks, and the allocator's records of them.
static double
giveback_anon(void)
{
    struct bench_memory memory;
    bench_memory_read(&memory);
    return (double)memory.anon_kib;
}

// The sizes of the yardstick of this row: 100..999, in an order that mixes the classes.
static size_t
giveback_size(size_t index)
{
    return 100 + (index * 37) % 900;
}

static void
giveback_setup(struct bench_run *run)
{
    struct giveback_state *state = bench_raw(sizeof *state);
    state->count = run->row->count;
    state->blocks = bench_raw(state->count * sizeof(void *));
    run->state = state;
}

static void
giveback_teardown(struct bench_run *run)
{
    struct giveback_state *state = run->state;
    for (size_t i = 0; i < state->count; i++) {
        run->allocator->free(state->blocks[i]);
    }
    bench_raw_free(state->blocks, state->count * sizeof(void *));
    bench_raw_free(state, sizeof *state);
}

static void
giveback_fill(struct bench_run *run, size_t begin, size_t end)
{
    struct giveback_state *state = run->state;
    for (size_t i = begin; i < end; i++) {
        if (!state->blocks[i]) {
            state->blocks[i] = run->allocator->malloc(giveback_size(i));
            memset(state->blocks[i], 1, giveback_size(i));
        }
    }
}

// Frees all but one of every keep blocks; keep 0 keeps none.
static void
giveback_drop(struct bench_run *run, size_t begin, size_t end, size_t keep)
{
    struct giveback_state *state = run->state;
    for (size_t i = begin; i < end; i++) {
        if (keep == 0 || i % keep != 0) {
            run->allocator->free(state->blocks[i]);
            state->blocks[i] = NULL;
        }
    }
}

static void
giveback_report(struct bench_run *run, double before, double peak)
{
    bench_value_add(run, "peak_kib", peak - before);
    bench_value_add(run, "freed_kib", giveback_anon() - before);
    bench_sleep_ms(GIVEBACK_IDLE_MS);
    double idle = giveback_anon() - before;
    bench_value_add(run, "idle_kib", idle);
    bench_value_add(run, "kept_percent", 100 * idle / (peak - before));
}

// One thread, everything or all but 1 in 64 freed in the order it was made.
static void
giveback_idle_with(struct bench_run *run, size_t keep)
{
    struct giveback_state *state = run->state;
    double before = giveback_anon();
    giveback_fill(run, 0, state->count);
    double peak = giveback_anon();
    giveback_drop(run, 0, state->count, keep);
    giveback_report(run, before, peak);
}

static void
giveback_all_repeat(struct bench_run *run)
{
    giveback_idle_with(run, 0);
}

static void
giveback_sparse_repeat(struct bench_run *run)
{
    giveback_idle_with(run, 64);
}

static void
giveback_fill_worker(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    size_t share = run->row->count / GIVEBACK_OWNERS;
    giveback_fill(run, worker * share, (worker + 1) * share);
}

// Eight threads allocate, the main thread frees everything, the owners sleep and never come back.
static void
giveback_remote_repeat(struct bench_run *run)
{
    struct giveback_state *state = run->state;
    double before = giveback_anon();
    bench_pool_run(run->pool, giveback_fill_worker, run);
    double peak = giveback_anon();
    giveback_drop(run, 0, state->count, 0);
    giveback_report(run, before, peak);
}

static void
giveback_own_worker(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    size_t share = run->row->count / GIVEBACK_OWNERS;
    giveback_drop(run, worker * share, (worker + 1) * share, 0);
}

// Eight threads allocate and free their own blocks, then sleep: what they keep for themselves.
static void
giveback_asleep_repeat(struct bench_run *run)
{
    double before = giveback_anon();
    bench_pool_run(run->pool, giveback_fill_worker, run);
    double peak = giveback_anon();
    bench_pool_run(run->pool, giveback_own_worker, run);
    giveback_report(run, before, peak);
}

/*
 * An aged heap of about 200 MB: blocks are replaced at random until no slab is in its first order,
 * then nine of ten, chosen at random, are freed.
 */
static void
giveback_aged_repeat(struct bench_run *run)
{
    struct giveback_state *state = run->state;
    uint64_t random = 57721;
    double before = giveback_anon();
    giveback_fill(run, 0, state->count);
    for (size_t i = 0; i < 2 * state->count; i++) {
        size_t at = (bench_random(&random) >> 8) % state->count;
        size_t size = giveback_size((size_t)(random >> 40));
        run->allocator->free(state->blocks[at]);
        state->blocks[at] = run->allocator->malloc(size);
        memset(state->blocks[at], 1, size);
    }
    double peak = giveback_anon();
    for (size_t i = 0; i < state->count; i++) {
        if ((bench_random(&random) >> 8) % 10 != 0) {
            run->allocator->free(state->blocks[i]);
            state->blocks[i] = NULL;
        }
    }
    giveback_report(run, before, peak);
}

/*
 * Phases: the program moves from one mix of sizes to another while a tenth of the old blocks
 * stays. An allocator that cannot turn memory of one class into memory of another grows with each
 * phase. Reported: the highest resident size against the highest sum of live bytes.
 */
static void
giveback_phases_repeat(struct bench_run *run)
{
    static const uint32_t low[] = {16, 200, 1000, 40, 4000, 24, 500, 90};
    struct giveback_state *state = run->state;
    uint64_t random = 141421;
    uint32_t *sizes = bench_raw(state->count * sizeof *sizes);
    double before = giveback_anon();
    double peak = 0;
    double live = 0;
    double live_peak = 0;
    for (size_t phase = 0; phase < sizeof low / sizeof low[0]; phase++) {
        double target = 24e6; // live bytes every phase grows to
        for (size_t i = 0; i < state->count && live < target; i++) {
            if (!state->blocks[i]) {
                sizes[i] = low[phase] + (uint32_t)((bench_random(&random) >> 9) % low[phase]);
                state->blocks[i] = run->allocator->malloc(sizes[i]);
                memset(state->blocks[i], 1, sizes[i]);
                live += sizes[i];
            }
        }
        live_peak = live > live_peak ? live : live_peak;
        double now = giveback_anon() - before;
        peak = now > peak ? now : peak;
        for (size_t i = 0; i < state->count; i++) {
            if (state->blocks[i] && (bench_random(&random) >> 9) % 10 != 0) {
                run->allocator->free(state->blocks[i]);
                state->blocks[i] = NULL;
                live -= sizes[i];
            }
        }
    }
    bench_raw_free(sizes, state->count * sizeof *sizes);
    bench_value_add(run, "peak_kib", peak);
    bench_value_add(run, "live_kib", live_peak / 1024);
    bench_value_add(run, "peak_to_live", peak * 1024 / live_peak);
}

#define GIVEBACK(label, how, workers, blocks, quick)                                               \
    {                                                                                              \
        .name = label, .kind = BENCH_MEMORY, .flags = quick, .threads = workers, .operations = 1,  \
        .count = blocks, .setup = giveback_setup, .repeat = giveback_##how##_repeat,               \
        .teardown = giveback_teardown                                                              \
    }

static const struct bench_row giveback_rows[] = {
    GIVEBACK("idle/all-freed", all, 1, 400000, BENCH_QUICK),
    GIVEBACK("idle/1-in-64-live", sparse, 1, 400000, BENCH_QUICK),
    GIVEBACK("idle/freed-by-another", remote, GIVEBACK_OWNERS, 400000, BENCH_QUICK),
    GIVEBACK("idle/owners-asleep", asleep, GIVEBACK_OWNERS, 400000, BENCH_QUICK),
    GIVEBACK("idle/aged-90-percent-freed", aged, 1, 360000, BENCH_QUICK),
    GIVEBACK("phases", phases, 1, 3000000, BENCH_QUICK),
};

const struct bench_family bench_giveback = {"giveback", giveback_rows,
                                            sizeof giveback_rows / sizeof giveback_rows[0]};
