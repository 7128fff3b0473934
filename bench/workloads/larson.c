// SPDX-License-Identifier: MIT
/*
 * workloads/larson.c - servers: threads replace blocks of a set and hand the set to a new thread.
 *
 * Reason: thread-per-connection servers. Every repetition starts fresh threads that take over the
 * sets of the threads before them, so most blocks are freed by a thread that did not make them,
 * after their maker has ended.
 */
#include "../bench.h"

struct larson_set {
    struct bench_run *run;
    void *blocks[1000];
    uint32_t sizes[1000];
    uint64_t random;
    unsigned long thread;
};

struct larson_state {
    struct larson_set sets[8];
};

static void *
larson_thread(void *arg)
{
    struct larson_set *set = arg;
    struct bench_run *run = set->run;
    uint64_t total = run->row->operations / run->row->threads;
    uint64_t random = set->random;
    for (uint64_t i = 0; i < total; i++) {
        uint64_t r = bench_random(&random) >> 7;
        unsigned at = (unsigned)(r % 1000);
        if (run->verify) {
            bench_check(run, set->blocks[at], set->sizes[at], at);
        }
        run->allocator->free(set->blocks[at]);
        set->sizes[at] = 8 + (uint32_t)((r >> 20) % 1000);
        set->blocks[at] = run->allocator->malloc(set->sizes[at]);
        bench_fill(set->blocks[at], set->sizes[at], at);
    }
    set->random = random;
    return NULL;
}

static void
larson_setup(struct bench_run *run)
{
    struct larson_state *state = bench_raw(sizeof *state);
    run->state = state;
    for (unsigned i = 0; i < run->row->threads; i++) {
        struct larson_set *set = &state->sets[i];
        set->run = run;
        set->random = 4711 + i;
        for (unsigned at = 0; at < 1000; at++) {
            set->sizes[at] = 8 + (uint32_t)(bench_random(&set->random) % 1000);
            set->blocks[at] = run->allocator->malloc(set->sizes[at]);
            bench_fill(set->blocks[at], set->sizes[at], at);
        }
    }
}

static void
larson_repeat(struct bench_run *run)
{
    struct larson_state *state = run->state;
    for (unsigned i = 0; i < run->row->threads; i++) {
        state->sets[i].thread = bench_thread_start(larson_thread, &state->sets[i], i);
    }
    for (unsigned i = 0; i < run->row->threads; i++) {
        bench_thread_join(state->sets[i].thread);
    }
}

static void
larson_teardown(struct bench_run *run)
{
    struct larson_state *state = run->state;
    for (unsigned i = 0; i < run->row->threads; i++) {
        for (unsigned at = 0; at < 1000; at++) {
            run->allocator->free(state->sets[i].blocks[at]);
        }
    }
    bench_raw_free(state, sizeof *state);
}

static const struct bench_row larson_rows[] = {
    {.name = "larson/2-threads",
     .flags = BENCH_QUICK,
     .threads = 2,
     .operations = 200000,
     .setup = larson_setup,
     .repeat = larson_repeat,
     .teardown = larson_teardown},
    {.name = "larson/8-threads",
     .flags = BENCH_QUICK,
     .threads = 8,
     .operations = 400000,
     .setup = larson_setup,
     .repeat = larson_repeat,
     .teardown = larson_teardown},
};

const struct bench_family bench_larson = {"larson", larson_rows,
                                          sizeof larson_rows / sizeof larson_rows[0]};
