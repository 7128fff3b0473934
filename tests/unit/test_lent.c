// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_lent.c - a limit is reached, and what counts against it was freed by others in slabs of
 * a thread that sleeps.
 *
 * The sleeper is a thread that does one thing at a time, when it is told to.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/atomic.h"
#include "heap/lent.h"
#include "heap/limit.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum {
    LIMIT_BYTES = 2 << 20,
    BYTES = 4096,
    SMALLER_BYTES = 3500,
    SLAB_BLOCKS = 16,
    OWN_BYTES = 5120,    // of a class of its own,
    OWN_BLOCKS = 12,     // a slab,
    BORROW_BYTES = 4608, // from which this one borrows
    MOST = LIMIT_BYTES / BYTES,
    STORM_THREADS = 3,
    STORM_STEPS = 30000,
    STORM_PLACES = 600, // more blocks than the limit allows
};

static struct hh_heap *heap;
static size_t most_bytes; // that it may have

struct blocks {
    unsigned count;
    void *block[MOST + 1];
};

static struct blocks theirs, mine;

static struct {
    pthread_t thread;
    sem_t told, done;
    void (*act)(void); // NULL: end
} sleeper;

static void *
sleeper_run(void *unused)
{
    while (sem_wait(&sleeper.told) == 0 && sleeper.act != NULL) {
        sleeper.act();
        sem_post(&sleeper.done);
    }
    return unused;
}

static void
sleeper_does(void (*act)(void))
{
    sleeper.act = act;
    sem_post(&sleeper.told);
    if (act == NULL)
        assert_int_equal(pthread_join(sleeper.thread, NULL), 0);
    else
        assert_int_equal(sem_wait(&sleeper.done), 0);
}

static size_t
committed(void)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.committed_bytes;
}

static size_t
process_committed(void)
{
    struct hhi_budget_reading reading;
    hhi_trim();
    hhi_limit_read(&reading);
    return reading.committed_bytes;
}

// Until it is refused.
static void
blocks_take(struct blocks *blocks, uint64_t tag)
{
    for (blocks->count = 0; blocks->count <= MOST; blocks->count++) {
        void *block = hhi_heap_alloc(heap, BYTES, HHI_LEVEL_TASK);
        blocks->block[blocks->count] = block;
        if (block == NULL)
            break;
        core_fill(block, BYTES, tag + blocks->count);
        HH_CHECK(committed() <= most_bytes);
    }
}

static void
blocks_give(struct blocks *blocks, uint64_t tag)
{
    for (unsigned at = 0; at < blocks->count; at++) {
        assert_true(core_holds(blocks->block[at], BYTES, tag + at));
        assert_int_equal(hhi_heap_free(heap, blocks->block[at]), 0);
    }
}

static void
they_take(void)
{
    blocks_take(&theirs, 1000);
}

static int
begin(void **state)
{
    (void)state;
    hhi_trim();
    assert_int_equal(hhi_heap_create(0, 0, LIMIT_BYTES, NULL, &heap), HH_OK);
    most_bytes = LIMIT_BYTES;
    sem_init(&sleeper.told, 0, 0);
    sem_init(&sleeper.done, 0, 0);
    assert_int_equal(pthread_create(&sleeper.thread, NULL, sleeper_run, NULL), 0);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    if (sleeper.act != NULL)
        sleeper_does(NULL);
    hhi_heap_destroy(heap);
    hhi_trim();
    hhi_run_check();
    return 0;
}

// The sleeper takes all there is, this thread frees all of it and takes it.
static void
lend(void)
{
    sleeper_does(they_take);
    assert_true(theirs.count >= MOST - SLAB_BLOCKS);
    blocks_give(&theirs, 1000);
    blocks_take(&mine, 5000);
    assert_true(mine.count >= theirs.count - SLAB_BLOCKS);
}

static void
what_others_have_freed_of_a_sleeper_is_there_for_all(void **state)
{
    (void)state;
    lend();
    assert_int_equal(core_census(heap), mine.count);
    blocks_give(&mine, 5000);
}

static void
a_lent_slab_is_counted_before_it_is_used_again(void **state)
{
    (void)state;
    lend();
    sleeper_does(they_take); // all is this thread's
    assert_true(theirs.count <= SLAB_BLOCKS);
    assert_int_equal(core_census(heap), theirs.count + mine.count);
    blocks_give(&mine, 5000);
    unsigned few = theirs.count;
    struct blocks held = theirs;
    sleeper_does(they_take);
    assert_true(few + theirs.count >= MOST / 2);
    assert_int_equal(core_census(heap), few + theirs.count);
    blocks_give(&theirs, 1000);
    blocks_give(&held, 1000);
}

static void
they_ask_for_smaller_ones(void)
{
    for (theirs.count = 0; theirs.count <= MOST; theirs.count++) {
        theirs.block[theirs.count] = hhi_heap_alloc(heap, SMALLER_BYTES, HHI_LEVEL_TASK);
        if (theirs.block[theirs.count] == NULL)
            break;
        core_fill(theirs.block[theirs.count], SMALLER_BYTES, 1);
        HH_CHECK(committed() <= most_bytes);
    }
}

// A smaller class borrows from the slab that blocks were taken from last.
static void
a_lent_slab_is_counted_before_a_block_of_it_is_borrowed(void **state)
{
    (void)state;
    lend();
    sleeper_does(they_ask_for_smaller_ones);
    assert_int_equal(core_census(heap), theirs.count + mine.count);
    assert_true((theirs.count + mine.count) * SMALLER_BYTES <= LIMIT_BYTES);
    blocks_give(&mine, 5000);
    struct blocks held = theirs;
    sleeper_does(they_ask_for_smaller_ones);
    for (unsigned at = 0; at < held.count; at++)
        assert_int_equal(hhi_heap_free(heap, held.block[at]), 0);
    for (unsigned at = 0; at < theirs.count; at++) {
        assert_true(core_holds(theirs.block[at], SMALLER_BYTES, 1));
        assert_int_equal(hhi_heap_free(heap, theirs.block[at]), 0);
    }
    assert_int_equal(core_census(heap), 0);
}

static void
a_lent_slab_refuses_second_frees(void **state)
{
    (void)state;
    lend();
    for (unsigned at = 0; at < theirs.count; at++) {
        uintptr_t inside = (uintptr_t)theirs.block[at] + 16;
        assert_int_not_equal(hhi_heap_free(heap, (void *)inside), 0);
    }
    assert_int_equal(core_census(heap), mine.count);
    blocks_give(&mine, 5000);
    for (unsigned at = 0; at < theirs.count; at++)
        assert_int_not_equal(hhi_heap_free(heap, theirs.block[at]), 0);
}

// Of a full slab one block is freed, which puts it into the list of partly used ones, and borrowed.
static void
they_borrow_the_last_block(void)
{
    for (theirs.count = 0; theirs.count < OWN_BLOCKS; theirs.count++)
        theirs.block[theirs.count] = hhi_heap_alloc(heap, OWN_BYTES, HHI_LEVEL_TASK);
    void *next = hhi_heap_alloc(heap, OWN_BYTES, HHI_LEVEL_TASK),
         *last = theirs.block[OWN_BLOCKS - 1];
    HH_CHECK(hhi_heap_free(heap, last) == 0);
    HH_CHECK(hhi_heap_alloc(heap, BORROW_BYTES, HHI_LEVEL_TASK) == last);
    HH_CHECK(hhi_heap_free(heap, next) == 0);
}

static void
they_look_at_what_arrived(void)
{
    hhi_cache_drain(hhi_cache_find(hhi_self, heap));
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
}

static void
they_take_of_their_own(void)
{
    void *blocks[4 * OWN_BLOCKS];
    for (unsigned at = 0; at < 4 * OWN_BLOCKS; at++)
        core_fill(blocks[at] = core_alloc(heap, OWN_BYTES), OWN_BYTES, at);
    for (unsigned at = 0; at < 4 * OWN_BLOCKS; at++) {
        HH_CHECK(core_holds(blocks[at], OWN_BYTES, at));
        HH_CHECK(hhi_heap_free(heap, blocks[at]) == 0);
    }
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
}

static void
a_slab_whose_last_free_block_was_borrowed_is_lent_and_ends(void **state)
{
    (void)state;
    sleeper_does(they_borrow_the_last_block);
    struct hhi_slab *slab = hhi_slab_at(hhi_run_head_of(theirs.block[0]));
    for (unsigned at = 0; at < OWN_BLOCKS; at++)
        assert_int_equal(hhi_heap_free(heap, theirs.block[at]), 0);
    assert_int_equal(slab->state, HHI_SLAB_PARTIAL);
    blocks_take(&mine, 5000);
    assert_true(hhi_lent_is(slab));
    sleeper_does(they_look_at_what_arrived);
    assert_int_equal(core_census(heap), mine.count);
    blocks_give(&mine, 5000);
    sleeper_does(they_take_of_their_own);
    assert_int_equal(core_census(heap), 0);
}

static int
advise_refused(void *address, size_t size_bytes, int advice)
{
    (void)address, (void)size_bytes, (void)advice;
    return -EINVAL;
}

// Locked memory: what stays in use stays counted, and is refused to others until it is given back.
static void
a_slab_whose_pages_the_kernel_keeps_is_not_lent(void **state)
{
    (void)state;
    struct hhi_os kernel = hhi_os;
    sleeper_does(they_take);
    size_t before = committed();
    blocks_give(&theirs, 1000);
    hhi_os.advise = advise_refused;
    blocks_take(&mine, 5000);
    hhi_os.advise = kernel.advise;
    assert_true(mine.count <= SLAB_BLOCKS);
    assert_true(committed() >= before);
    blocks_give(&mine, 5000);
    blocks_take(&mine, 5000);
    assert_true(mine.count >= theirs.count - SLAB_BLOCKS);
    assert_int_equal(core_census(heap), mine.count);
    blocks_give(&mine, 5000);
}

static void
nothing(void)
{
}

static void
the_accounts_are_right_when_its_owner_its_heap_or_the_limit_ends(void **state)
{
    (void)state;
    enum { OWNER, HEAP, LIMIT, WAYS };
    sleeper_does(nothing);
    size_t before = process_committed();
    for (int way = 0; way < WAYS; way++) {
        lend();
        blocks_give(&mine, 5000);
        if (way == OWNER) {
            sleeper_does(NULL);
            hhi_trim();
            assert_int_equal(committed(), 0);
            assert_int_equal(pthread_create(&sleeper.thread, NULL, sleeper_run, NULL), 0);
        } else if (way == LIMIT) {
            assert_int_equal(hhi_heap_set_limits(heap, 0, 0), HH_OK);
            most_bytes = SIZE_MAX;
            sleeper_does(they_take);
            assert_int_equal(theirs.count, MOST + 1);
            blocks_give(&theirs, 1000);
        }
        hhi_heap_destroy(heap);
        assert_int_equal(hhi_heap_create(0, 0, LIMIT_BYTES, NULL, &heap), HH_OK);
        assert_int_equal(process_committed(), before);
    }
}

static int
use_in_child(void *argument)
{
    (void)argument;
    blocks_give(&mine, 5000);
    hhi_trim();
    blocks_take(&mine, 7000);
    bool enough = mine.count >= MOST / 2;
    blocks_give(&mine, 7000);
    hhi_trim();
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
    hhi_run_check();
    return enough && core_census(heap) == 0 ? 0 : 1;
}

static void
the_child_of_a_fork_goes_on_with_lent_slabs(void **state)
{
    (void)state;
    lend();
    assert_int_equal(core_in_child(use_in_child, NULL), 0);
    blocks_give(&mine, 5000);
}

// ---- All at once --------------------------------------------------------------------------------

static _Atomic(void *) places[STORM_PLACES];
static _Atomic size_t over;

static void *
storm_run(void *argument)
{
    uint64_t seed = *(uint64_t *)argument;
    for (int step = 0; step < STORM_STEPS; step++) {
        size_t at = core_random(&seed) % STORM_PLACES;
        size_t size_bytes = core_random(&seed) % 3 == 0 ? 500 : BYTES;
        bool frees = core_random(&seed) % 16 < (uint64_t)(step / 2000 % 2 == 0 ? 4 : 12);
        void *block = frees ? NULL : hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_TASK);
        if (block != NULL)
            core_fill(block, size_bytes, size_bytes);
        // order: acq_rel [LENT-1] hands the block's contents over.
        block = hh_exchange_acq_rel(&places[at], block);
        if (block != NULL) {
            bool small = core_holds(block, 500, 500);
            HH_CHECK(small || core_holds(block, BYTES, BYTES));
            HH_CHECK(hhi_heap_free(heap, block) == 0);
        }
        // relaxed: a count.
        if (committed() > LIMIT_BYTES)
            hh_fetch_add_relaxed(&over, 1);
    }
    return argument;
}

static void
threads_that_free_each_others_blocks_stay_below_the_limit(void **state)
{
    (void)state;
    pthread_t threads[STORM_THREADS];
    uint64_t seeds[STORM_THREADS] = {3, 4, 5};
    for (int at = 0; at < STORM_THREADS; at++)
        assert_int_equal(pthread_create(&threads[at], NULL, storm_run, &seeds[at]), 0);
    for (int at = 0; at < STORM_THREADS; at++)
        assert_int_equal(pthread_join(threads[at], NULL), 0);
    // relaxed (all): no thread runs.
    assert_int_equal(hh_load_relaxed(&over), 0);
    for (size_t at = 0; at < STORM_PLACES; at++)
        if (hh_load_relaxed(&places[at]) != NULL)
            assert_int_equal(hhi_heap_free(heap, hh_load_relaxed(&places[at])), 0);
    assert_int_equal(core_census(heap), 0);
}

#define LENT_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LENT_TEST(what_others_have_freed_of_a_sleeper_is_there_for_all),
        LENT_TEST(a_lent_slab_is_counted_before_it_is_used_again),
        LENT_TEST(a_lent_slab_is_counted_before_a_block_of_it_is_borrowed),
        LENT_TEST(a_lent_slab_refuses_second_frees),
        LENT_TEST(a_slab_whose_last_free_block_was_borrowed_is_lent_and_ends),
        LENT_TEST(a_slab_whose_pages_the_kernel_keeps_is_not_lent),
        LENT_TEST(the_accounts_are_right_when_its_owner_its_heap_or_the_limit_ends),
        LENT_TEST(the_child_of_a_fork_goes_on_with_lent_slabs),
        LENT_TEST(threads_that_free_each_others_blocks_stay_below_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
