// SPDX-License-Identifier: MIT
// tests/unit/test_kept_slabs.c - slabs that are emptied are held back, and given up in time.
#include "heap/kept_slabs.h"

#include <pthread.h>

#include "options/options.h"
#include "support/own_heap.h"

enum { BATCH = 40, BYTES = 8192, SLAB_BLOCKS = 8, OTHER_BYTES = 2048 };

static void
batch_turn(void *argument)
{
    (void)argument;
    void *blocks[BATCH];
    for (int i = 0; i < BATCH; i++)
        core_fill(blocks[i] = core_alloc(heap, BYTES), BYTES, (uint64_t)i);
    for (int i = 0; i < BATCH; i++) {
        assert_true(core_holds(blocks[i], BYTES, (uint64_t)i));
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    }
}

static struct hhi_cache *
own_cache(void)
{
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    assert_non_null(cache);
    return cache;
}

static void
batches_by_turns_carve_no_slab_after_the_first_turn(void **state)
{
    (void)state;
    hh_heap_stats first, last;
    batch_turn(NULL);
    hhi_heap_get_stats(heap, &first);
    for (int turn = 0; turn < 10; turn++)
        batch_turn(NULL);
    hhi_heap_get_stats(heap, &last);
    assert_int_equal(last.slabs_carved, first.slabs_carved);
    assert_int_equal(last.slabs_retired, first.slabs_retired);
    hhi_cache_check(own_cache());
}

static void
what_is_kept_goes_before_a_slab_of_another_class_is_carved(void **state)
{
    (void)state;
    batch_turn(NULL);
    assert_true(hhi_kept_count(own_cache()) > 0);
    void *block = core_alloc(heap, OTHER_BYTES);
    assert_int_equal(hhi_kept_count(own_cache()), 0);
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

static void
no_more_is_kept_than_has_room(void **state)
{
    (void)state;
    enum { MANY = 64 * SLAB_BLOCKS };
    static void *blocks[MANY];
    for (int i = 0; i < MANY; i++)
        blocks[i] = core_alloc(heap, BYTES);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    assert_int_equal(hhi_kept_count(own_cache()), HHI_KEPT_SLABS);
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_true(stats.slab_count <= HHI_KEPT_SLABS + 1); // and the current one
}

static void
a_block_of_a_kept_slab_is_not_freed_twice(void **state)
{
    (void)state;
    void *blocks[2 * SLAB_BLOCKS];
    for (int i = 0; i < 2 * SLAB_BLOCKS; i++)
        blocks[i] = core_alloc(heap, BYTES);
    for (int i = 0; i < 2 * SLAB_BLOCKS; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    assert_true(hhi_kept_count(own_cache()) > 0);
    for (int i = 0; i < 2 * SLAB_BLOCKS; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), HH_BAD_NOT_LIVE);
    batch_turn(NULL);
}

static void
trimming_gives_up_what_is_kept(void **state)
{
    (void)state;
    batch_turn(NULL);
    hhi_trim();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.committed_bytes, 0);
}

// A thread that fills its slots, waits, and works on.
static struct {
    pthread_barrier_t kept, done;
} sleeper;

static void *
sleeper_run(void *argument)
{
    (void)argument;
    batch_turn(NULL);
    pthread_barrier_wait(&sleeper.kept);
    pthread_barrier_wait(&sleeper.done);
    batch_turn(NULL);
    hhi_cache_check(own_cache());
    return NULL;
}

static pthread_t
sleeper_start(void)
{
    pthread_t thread;
    pthread_barrier_init(&sleeper.kept, NULL, 2);
    pthread_barrier_init(&sleeper.done, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, sleeper_run, NULL), 0);
    pthread_barrier_wait(&sleeper.kept);
    return thread;
}

static void
sleeper_end(pthread_t thread)
{
    pthread_barrier_wait(&sleeper.done);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void
a_heap_at_its_limit_takes_back_what_other_threads_keep(void **state)
{
    (void)state;
    pthread_t thread = sleeper_start();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_true(stats.committed_bytes >= BATCH / SLAB_BLOCKS * HHI_GRANULE_BYTES);
    assert_int_equal(hhi_heap_set_limits(heap, 0, stats.committed_bytes), HH_OK);
    void *block = core_alloc(heap, OTHER_BYTES);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    assert_int_equal(hhi_heap_set_limits(heap, 0, 0), HH_OK);
    sleeper_end(thread);
}

static int
child_run(void *argument)
{
    (void)argument;
    hhi_trim();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    batch_turn(NULL);
    return stats.committed_bytes == 0 ? 0 : 1;
}

static void
the_child_of_a_fork_takes_back_what_lost_threads_kept(void **state)
{
    (void)state;
    pthread_t thread = sleeper_start();
    assert_int_equal(core_in_child(child_run, NULL), 0);
    sleeper_end(thread);
}

static bool
one_slab_is_left(void *argument)
{
    (void)argument;
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.committed_bytes <= HHI_GRANULE_BYTES; // the sleeper's current one
}

// The last test: from here on the sweeper may run.
static void
what_a_sleeping_thread_keeps_goes_back_by_itself(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 100;
    hhi_opt.background = true;
    pthread_t thread = sleeper_start();
    void *block = hhi_heap_alloc(heap, 4 << 20, HHI_LEVEL_TASK);
    assert_int_equal(hhi_heap_free(heap, block), 0); // enough for the sweeper to come
    assert_true(core_wait_for(one_slab_is_left, NULL));
    sleeper_end(thread);
}

#define KEPT_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KEPT_TEST(batches_by_turns_carve_no_slab_after_the_first_turn),
        KEPT_TEST(what_is_kept_goes_before_a_slab_of_another_class_is_carved),
        KEPT_TEST(no_more_is_kept_than_has_room),
        KEPT_TEST(a_block_of_a_kept_slab_is_not_freed_twice),
        KEPT_TEST(trimming_gives_up_what_is_kept),
        KEPT_TEST(a_heap_at_its_limit_takes_back_what_other_threads_keep),
        KEPT_TEST(the_child_of_a_fork_takes_back_what_lost_threads_kept),
        KEPT_TEST(what_a_sleeping_thread_keeps_goes_back_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
