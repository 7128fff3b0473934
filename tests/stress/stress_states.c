// SPDX-License-Identifier: MIT
/*
 * tests/stress/stress_states.c - slabs are driven through their states, in bursts, one thread at a time.
 *
 * Three threads do in turn what the seed says: take many blocks of a size, free a part of such a group, made by
 * whichever thread, take until a limit refuses, trim, look at what arrived, end. Sizes are few in each
 * run, and some are neighbours, so that slabs become full, partly used, empty, borrowed from, shared, kept, lent and
 * orphaned, in any order. After each step the thread's lists are checked, after some the heaps are
 * counted, and at the end nothing may be left.
 *
 * HOSTHEAP_STATES_SEEDS (runs, default 60; the second half with a sweeper), HOSTHEAP_STRESS_SEED (the first one)
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap/debug_blocks.h"
#include "heap/limit.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "region/run.h"
#include "support/core.h"

enum {
    WORKERS = 3,
    HEAPS = 2,
    GROUPS = 32,
    GROUP_BLOCKS = 96,
    SIZES = 6,
    STEPS = 400,
    LIVE_BYTES_MOST = 48 << 20,
    CENSUS_EVERY = 16,
};

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const size_t all_sizes[] = {
    1,     16,    48,    64,    100,   272,   288,   320,    608,    656,    704,    1008,
    1024,  1100,  1500,  2048,  3000,  3500,  4096,  4608,   5120,   6000,   8192,   10000,
    20000, 30000, 32276, 33000, 40000, 65536, 70000, 200000, 262144, 300000, 1500000};

struct group {
    struct hh_heap *heap; // NULL: no group
    size_t size_bytes;
    unsigned count;
    uint64_t tag;
    bool unnamed; // their size must not be named: aligned, or shrunk in place for want of memory
    void *blocks[GROUP_BLOCKS];
};

static struct {
    uint64_t seed;
    struct hh_heap *heaps[HEAPS];
    size_t limit_bytes[HEAPS];
    size_t sizes[SIZES];
    struct group groups[GROUPS];
    size_t live_bytes;
    uint64_t tags;
} run;

static unsigned
pick(unsigned limit)
{
    return (unsigned)(core_random(&run.seed) % limit);
}

// ---- Groups -------------------------------------------------------------------------------------

static struct group *
group_find(bool used)
{
    unsigned from = pick(GROUPS);
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *group = &run.groups[(from + i) % GROUPS];
        if ((group->heap != NULL) == used)
            return group;
    }
    return NULL;
}

static size_t
group_live(const struct group *group)
{
    size_t live = 0;
    for (unsigned at = 0; at < group->count; at++)
        live += group->blocks[at] != NULL;
    return live;
}

static void
group_forget_empty(struct group *group)
{
    if (group_live(group) == 0)
        group->heap = NULL;
}

static void *
block_take(struct hh_heap *heap, size_t size_bytes, unsigned how)
{
    void *block;
    switch (how) {
    case 0:
        block = hhi_heap_alloc_zeroed(heap, size_bytes, HHI_LEVEL_TASK);
        must(block == NULL || core_is_zero(block, size_bytes));
        return block;
    case 1:
        return hhi_heap_alloc_aligned(heap, 256, size_bytes, HHI_LEVEL_TASK);
    case 2:
        return hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_DOMAIN);
    case 3:
        return hhi_heap_alloc_debug(heap, size_bytes, HHI_LEVEL_TASK, __FILE__, __LINE__);
    default:
        return hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_TASK);
    }
}

static void
group_take(unsigned most)
{
    struct group *group = group_find(false);
    size_t size_bytes = run.sizes[pick(SIZES)];
    unsigned how = pick(12), heap = pick(HEAPS);
    if (group == NULL)
        return;
    group->size_bytes = size_bytes;
    group->tag = ++run.tags;
    group->unnamed = how == 1;
    for (group->count = 0; group->count < most && run.live_bytes < LIVE_BYTES_MOST;
         group->count++) {
        void *block = block_take(run.heaps[heap], size_bytes, how);
        must(block != NULL || run.limit_bytes[heap] != 0);
        if (block == NULL)
            break;
        core_fill(block, size_bytes, group->tag + group->count);
        group->blocks[group->count] = block;
        run.live_bytes += size_bytes;
    }
    group->heap = group->count != 0 ? run.heaps[heap] : NULL;
}

static void
block_give(struct group *group, unsigned at)
{
    void *block = group->blocks[at];
    must(core_holds(block, group->size_bytes, group->tag + at));
    hhi_refusal refusal = !group->unnamed && pick(4) == 0
                              ? hhi_heap_free_sized(group->heap, block, group->size_bytes)
                              : hhi_heap_free(group->heap, block);
    must(refusal == 0);
    must(hhi_heap_free(group->heap, (char *)block + 8) != 0);
    group->blocks[at] = NULL;
    run.live_bytes -= group->size_bytes;
}

// Free all blocks, every second one, or all but a few.
static void
group_give(void)
{
    struct group *group = group_find(true);
    unsigned how = pick(6);
    if (group == NULL)
        return;
    for (unsigned i = 0; i < group->count; i++) {
        unsigned at = how % 2 == 0 ? i : group->count - 1 - i;
        bool stays = (how == 3 && i % 2 == 0) || (how == 4 && pick(12) == 0) ||
                     (how == 5 && i < group->count / 2);
        if (group->blocks[at] != NULL && !stays)
            block_give(group, at);
    }
    group_forget_empty(group);
}

static bool
limits_are_set(void)
{
    return run.limit_bytes[0] != 0 || run.limit_bytes[1] != 0;
}

// Every block to another size, as far as a limit lets it.
static void
group_resize(void)
{
    struct group *group = group_find(true);
    size_t size_bytes = run.sizes[pick(SIZES)];
    if (group == NULL || run.live_bytes + group->count * size_bytes > LIVE_BYTES_MOST)
        return;
    size_t kept_bytes = size_bytes < group->size_bytes ? size_bytes : group->size_bytes;
    bool unnamed = false;
    for (unsigned at = 0; at < group->count; at++) {
        if (group->blocks[at] == NULL)
            continue;
        void *moved = NULL;
        must(core_holds(group->blocks[at], group->size_bytes, group->tag + at));
        core_fill(group->blocks[at], kept_bytes, group->tag + at);
        hhi_refusal refusal =
            hhi_heap_realloc(group->heap, group->blocks[at], size_bytes, HHI_LEVEL_TASK, &moved);
        must(refusal == 0);
        if (moved == NULL) { // what could not move has the old size
            core_fill(group->blocks[at], group->size_bytes, group->tag + at);
            hhi_heap_free(group->heap, group->blocks[at]);
            run.live_bytes -= group->size_bytes;
            group->blocks[at] = NULL;
            continue;
        }
        must(core_holds(moved, kept_bytes, group->tag + at));
        core_fill(moved, size_bytes, group->tag + at);
        unnamed = unnamed || (moved == group->blocks[at] && (group->unnamed || limits_are_set()));
        run.live_bytes = run.live_bytes - group->size_bytes + size_bytes;
        group->blocks[at] = moved;
    }
    group->size_bytes = size_bytes;
    group->unnamed = unnamed;
    group_forget_empty(group);
}

// ---- Heaps --------------------------------------------------------------------------------------

static size_t
committed(unsigned heap)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(run.heaps[heap], &stats);
    return stats.committed_bytes;
}

// None, or a little more than is used, so that the next requests reach it.
static void
heap_limit(void)
{
    unsigned heap = pick(HEAPS);
    run.limit_bytes[heap] = pick(3) == 0 ? 0 : committed(heap) + ((size_t)pick(8) << 16) + 1;
    assert_int_equal(hhi_heap_set_limits(run.heaps[heap], 0, run.limit_bytes[heap]), HH_OK);
}

static void
heap_renew(void)
{
    unsigned heap = pick(HEAPS);
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *group = &run.groups[i];
        if (group->heap != run.heaps[heap])
            continue;
        run.live_bytes -= group_live(group) * group->size_bytes;
        group->heap = NULL;
    }
    hhi_heap_destroy(run.heaps[heap]);
    run.heaps[heap] = core_heap();
    run.limit_bytes[heap] = 0;
}

static void
heaps_count(void)
{
    for (unsigned heap = 0; heap < HEAPS; heap++) {
        size_t live = 0;
        for (unsigned i = 0; i < GROUPS; i++)
            live += run.groups[i].heap == run.heaps[heap] ? group_live(&run.groups[i]) : 0;
        assert_int_equal(core_census(run.heaps[heap]), live);
    }
}

// ---- Threads ------------------------------------------------------------------------------------

static void
caches_check(void)
{
    for (unsigned heap = 0; heap < HEAPS; heap++) {
        struct hhi_cache *cache =
            hhi_thread_is_real(hhi_self) ? hhi_cache_find(hhi_self, run.heaps[heap]) : NULL;
        if (cache != NULL)
            hhi_cache_check(cache);
    }
}

static void
caches_drain(void)
{
    for (unsigned heap = 0; heap < HEAPS; heap++) {
        struct hhi_cache *cache =
            hhi_thread_is_real(hhi_self) ? hhi_cache_find(hhi_self, run.heaps[heap]) : NULL;
        if (cache != NULL)
            hhi_cache_drain(cache);
    }
}

static void
step(void)
{
    unsigned what = pick(100);
    if (what < 34)
        group_take(1 + pick(GROUP_BLOCKS));
    else if (what < 40)
        group_take(1);
    else if (what < 74)
        group_give();
    else if (what < 80)
        group_resize();
    else if (what < 87)
        heap_limit();
    else if (what < 91)
        caches_drain();
    else if (what < 93)
        hhi_trim();
    else if (what < 96)
        (void)hhi_sweep_all();
    else if (what < 97)
        heap_renew();
    caches_check();
}

static struct worker {
    pthread_t thread;
    sem_t turn;
    bool started, ends;
    unsigned steps;
} workers[WORKERS];
static sem_t turn_back;

static void *
worker_run(void *argument)
{
    struct worker *worker = argument;
    for (bool ends = false; !ends;) {
        sem_wait(&worker->turn);
        ends = worker->ends;
        for (unsigned i = 0; i < worker->steps; i++)
            step();
        sem_post(&turn_back);
    }
    return argument;
}

static void
worker_turn(struct worker *worker, unsigned steps, bool ends)
{
    if (!worker->started) {
        worker->started = true;
        sem_init(&worker->turn, 0, 0);
        assert_int_equal(pthread_create(&worker->thread, NULL, worker_run, worker), 0);
    }
    worker->steps = steps;
    worker->ends = ends;
    sem_post(&worker->turn);
    sem_wait(&turn_back);
    if (ends) {
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

static void
run_once(uint64_t seed)
{
    memset(&run, 0, sizeof run);
    run.seed = seed * 2654435761u + 1;
    for (unsigned i = 0; i < SIZES; i++) // neighbours are likely
        run.sizes[i] = i % 2 == 1 && all_sizes[COUNT_OF(all_sizes) - 1] != run.sizes[i - 1]
                           ? run.sizes[i - 1] - run.sizes[i - 1] / (5 + pick(8))
                           : all_sizes[pick(COUNT_OF(all_sizes))];
    for (unsigned heap = 0; heap < HEAPS; heap++)
        run.heaps[heap] = core_heap();
    for (unsigned done = 0, turn = 0; done < STEPS; turn++) {
        unsigned steps = 1 + pick(8);
        worker_turn(&workers[pick(WORKERS)], steps, pick(40) == 0);
        done += steps;
        if (turn % CENSUS_EVERY == 0)
            heaps_count();
    }
    for (unsigned i = 0; i < WORKERS; i++)
        if (workers[i].started)
            worker_turn(&workers[i], 0, true);
    heaps_count();
    for (unsigned heap = 0; heap < HEAPS; heap++)
        hhi_heap_destroy(run.heaps[heap]);
    hhi_run_check();
}

static void
slabs_go_through_their_states_in_any_order(void **state)
{
    (void)state;
    unsigned seeds = core_setting("HOSTHEAP_STATES_SEEDS", 60);
    unsigned first = core_setting("HOSTHEAP_STRESS_SEED", 1);
    struct hhi_budget_reading before, after;
    sem_init(&turn_back, 0, 0);
    for (unsigned i = 0; i <= seeds; i++) {
        // With a sweeper, which comes by too seldom to matter, empty slabs and runs are kept.
        if (i == seeds / 2)
            hhi_opt.background = true; // from now on; so far nobody else has read it
        print_message("seed %u\n", first + i);
        run_once(first + i);
        hhi_trim();
        hhi_limit_read(&after);
        if (i > 0) // the default heap's first blocks are libc's
            assert_int_equal(after.committed_bytes, before.committed_bytes);
        before = after;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slabs_go_through_their_states_in_any_order),
    };
    hhi_opt.background = false;
    hhi_opt.decay_ms = 3600 * 1000;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
