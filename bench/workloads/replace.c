// SPDX-License-Identifier: MIT
/*
 * workloads/replace.c - a live set whose members are replaced one at a time, at random.
 *
 * Reason: caches, session tables and object graphs in their steady state. The live set decides
 * what is measured: with 1,000 slots everything is warm, with a million every free is a block, and
 * a slab record, that no cache holds; the mixes make the classes unpredictable.
 */
#include "../bench.h"

struct replace_slot {
    void *block;
    uint32_t size;
};

struct replace_lane {
    struct replace_slot *slots;
    uint32_t *picks;
};

struct replace_state {
    const uint32_t *sizes;
    struct replace_lane lanes[8];
    size_t picks_per_lane;
};

static size_t
replace_size(const struct bench_run *run, const struct replace_state *state, size_t index)
{
    return state->sizes ? state->sizes[index % BENCH_MIX_COUNT] : run->row->size;
}

static void
replace_fill(struct bench_run *run, struct replace_lane *lane, unsigned lane_number)
{
    struct replace_state *state = run->state;
    for (size_t i = 0; i < run->row->count; i++) {
        size_t size = replace_size(run, state, i + lane_number * 31);
        lane->slots[i].block = run->allocator->malloc(size);
        lane->slots[i].size = (uint32_t)size;
        bench_fill(lane->slots[i].block, size, i);
    }
}

static void
replace_fill_worker(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    replace_fill(run, &((struct replace_state *)run->state)->lanes[worker], worker);
}

static void
replace_setup_sizes(struct bench_run *run, const uint32_t *sizes)
{
    struct replace_state *state = bench_raw(sizeof *state);
    state->sizes = sizes;
    state->picks_per_lane = run->row->operations / run->row->threads;
    run->state = state;
    for (unsigned lane = 0; lane < run->row->threads; lane++) {
        uint64_t random = 12345 + lane;
        state->lanes[lane].slots = bench_raw(run->row->count * sizeof(struct replace_slot));
        state->lanes[lane].picks = bench_raw(state->picks_per_lane * sizeof(uint32_t));
        for (size_t i = 0; i < state->picks_per_lane; i++) {
            state->lanes[lane].picks[i] = (uint32_t)(bench_random(&random) % run->row->count);
        }
    }
    if (run->pool) {
        bench_pool_run(run->pool, replace_fill_worker, run);
    } else {
        replace_fill(run, &state->lanes[0], 0);
    }
}

static void
replace_fixed_setup(struct bench_run *run)
{
    replace_setup_sizes(run, NULL);
}

static void
replace_small_setup(struct bench_run *run)
{
    replace_setup_sizes(run, bench_sizes(BENCH_MIX_SMALL));
}

static void
replace_log_setup(struct bench_run *run)
{
    replace_setup_sizes(run, bench_sizes(BENCH_MIX_LOG));
}

static void
replace_real_setup(struct bench_run *run)
{
    replace_setup_sizes(run, bench_sizes(BENCH_MIX_REAL));
}

static void
replace_work(void *arg, unsigned worker)
{
    struct bench_run *run = arg;
    const struct bench_allocator *a = run->allocator;
    struct replace_state *state = run->state;
    struct replace_lane *lane = &state->lanes[worker];
    bool fixed = !state->sizes;
    size_t shift = run->repetition * 7919;
    for (size_t i = 0; i < state->picks_per_lane; i++) {
        uint32_t pick = lane->picks[i];
        struct replace_slot *slot = &lane->slots[pick];
        if (run->verify) {
            bench_check(run, slot->block, slot->size, pick);
        }
        a->free(slot->block);
        size_t size = fixed ? run->row->size : state->sizes[(i + shift) % BENCH_MIX_COUNT];
        slot->size = (uint32_t)size;
        slot->block = a->malloc(size);
        bench_touch(slot->block, pick);
        if (run->verify) {
            bench_fill(slot->block, size, pick);
        }
    }
}

static void
replace_repeat(struct bench_run *run)
{
    if (run->pool) {
        bench_pool_run(run->pool, replace_work, run);
    } else {
        replace_work(run, 0);
    }
}

static void
replace_teardown(struct bench_run *run)
{
    struct replace_state *state = run->state;
    for (unsigned lane = 0; lane < run->row->threads; lane++) {
        for (size_t i = 0; i < run->row->count; i++) {
            run->allocator->free(state->lanes[lane].slots[i].block);
        }
        bench_raw_free(state->lanes[lane].slots, run->row->count * sizeof(struct replace_slot));
        bench_raw_free(state->lanes[lane].picks, state->picks_per_lane * sizeof(uint32_t));
    }
    if (state->sizes) {
        bench_raw_free((void *)state->sizes, BENCH_MIX_COUNT * sizeof(uint32_t));
    }
    bench_raw_free(state, sizeof *state);
}

#define REPLACE(label, how, lanes, live, bytes, total, quick)                                      \
    {                                                                                              \
        .name = label, .flags = quick, .threads = lanes, .operations = total, .size = bytes,       \
        .count = live, .setup = replace_##how##_setup, .repeat = replace_repeat,                   \
        .teardown = replace_teardown                                                               \
    }

static const struct bench_row replace_rows[] = {
    REPLACE("replace/1k/64", fixed, 1, 1000, 64, 200000, 0),
    REPLACE("replace/1k/mixed", small, 1, 1000, 0, 200000, BENCH_QUICK),
    REPLACE("replace/100k/mixed", small, 1, 100000, 0, 200000, BENCH_QUICK),
    REPLACE("replace/1M/mixed", small, 1, 1000000, 0, 300000, BENCH_QUICK),
    // 8192 live blocks, 16..4095 bytes: the set is larger than the second-level cache.
    REPLACE("churn/8k/log", log, 1, 8192, 0, 200000, BENCH_QUICK),
    REPLACE("churn/100k/real", real, 1, 100000, 0, 200000, BENCH_QUICK),
    // The same by two threads, each on its own slots: nothing is shared but the allocator.
    REPLACE("churn/2-threads/8k/log", log, 2, 8192, 0, 400000, BENCH_QUICK),
    // More threads than processors: a preempted thread must not hold up the others.
    REPLACE("churn/8-threads/2k/log", log, 8, 2048, 0, 400000, BENCH_QUICK),
};

const struct bench_family bench_replace = {"replace", replace_rows,
                                           sizeof replace_rows / sizeof replace_rows[0]};
