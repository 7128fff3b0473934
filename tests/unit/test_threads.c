// SPDX-License-Identifier: MIT
// tests/unit/test_threads.c - blocks of one thread freed by another; threads that come and go.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { BLOCKS = 5000 };

// Blocks handed from thread to thread; each use fits one test.
static struct {
    struct hh_heap *heap;
    void *blocks[BLOCKS];
    size_t size_bytes;
    unsigned failures;
} shared;

static int
heap_make(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    shared.heap = core_heap();
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_heap_destroy(shared.heap);
    hhi_run_check();
    return 0;
}

static void
blocks_make(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++) {
        shared.blocks[i] = core_alloc(shared.heap, shared.size_bytes);
        core_fill(shared.blocks[i], shared.size_bytes, (uint64_t)i);
    }
}

static void
blocks_free(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++) {
        if (!core_holds(shared.blocks[i], shared.size_bytes, (uint64_t)i))
            shared.failures++;
        if (hhi_heap_free(shared.heap, shared.blocks[i]) != 0)
            shared.failures++;
        if (hhi_heap_free(shared.heap, shared.blocks[i]) == 0)
            shared.failures++; // twice
    }
}

static size_t
slabs_of(struct hh_heap *heap)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.slab_count;
}

static void
blocks_freed_by_another_thread_come_back_to_their_owner(void **state)
{
    (void)state;
    shared.size_bytes = 64;
    blocks_make(NULL);
    size_t slabs = slabs_of(shared.heap);
    for (int round = 0; round < 10; round++) {
        core_in_thread(blocks_free, NULL);
        assert_int_equal(shared.failures, 0);
        assert_int_equal(core_census(shared.heap), 0);
        blocks_make(NULL);
        hhi_cache_check(hhi_cache_find(hhi_self, shared.heap));
    }
    assert_in_range(slabs_of(shared.heap), slabs, slabs + 1);
    assert_int_equal(core_census(shared.heap), BLOCKS);
}

// Who is at it, with nothing but relaxed accesses: whatever orders the two threads' uses of a block is the
// library's. Under the thread sanitizer, a use that does not come after the last one is a race.
static _Atomic unsigned hand_over_step;

static void
step_await(unsigned step)
{
    while (hh_load_relaxed(&hand_over_step) != step)
        sched_yield();
}

static void *
writer_run(void *arg)
{
    // A record of its own first: to make one takes locks.
    hhi_heap_free(shared.heap, core_alloc(shared.heap, 64));
    hh_store_relaxed(&hand_over_step, 1);
    step_await(2);
    for (int i = BLOCKS / 5; i < BLOCKS; i++) {
        core_fill(shared.blocks[i], 64, 1);
        if (hhi_heap_free(shared.heap, shared.blocks[i]) != 0)
            shared.failures++;
    }
    hh_store_relaxed(&hand_over_step, 3);
    step_await(4); // to end takes locks, too
    return arg;
}

static void
slabs_tell(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS / 5; i++)
        if (hhi_heap_free(shared.heap, shared.blocks[i]) != 0)
            shared.failures++;
}

// A third thread has put every slab on its way back, so that the writer leaves nothing but its marks. To
// reach all slabs that thread frees every fifth block.
static void
a_block_s_last_use_comes_before_its_next_one(void **state)
{
    (void)state;
    shared.size_bytes = 64;
    blocks_make(NULL);
    static void *sorted[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        sorted[i % 5 * (BLOCKS / 5) + i / 5] = shared.blocks[i];
    memcpy(shared.blocks, sorted, sizeof sorted);
    hh_store_relaxed(&hand_over_step, 0);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, writer_run, NULL), 0);
    step_await(1);
    core_in_thread(slabs_tell, NULL);
    hh_store_relaxed(&hand_over_step, 2);
    step_await(3);
    size_t slabs = slabs_of(shared.heap);
    blocks_make(NULL);
    hh_store_relaxed(&hand_over_step, 4);
    pthread_join(writer, NULL);
    assert_int_equal(shared.failures, 0);
    assert_in_range(slabs_of(shared.heap), slabs, slabs + 1);
}

static void
memory_of_a_thread_that_ended_is_adopted(void **state)
{
    (void)state;
    shared.size_bytes = 1000;
    core_in_thread(blocks_make, NULL);
    size_t slabs = slabs_of(shared.heap);
    blocks_free(NULL);
    assert_int_equal(shared.failures, 0);
    // Another thread allocates as much: from the slabs of the dead one.
    core_in_thread(blocks_make, NULL);
    assert_in_range(slabs_of(shared.heap), 1, slabs + 2);
    core_in_thread(blocks_free, NULL);
    assert_int_equal(shared.failures, 0);
    assert_int_equal(core_census(shared.heap), 0);
}

static void
partly_used_slabs_of_the_dead_are_filled_up(void **state)
{
    (void)state;
    shared.size_bytes = 500;
    core_in_thread(blocks_make, NULL);
    size_t slabs = slabs_of(shared.heap);
    for (int i = 0; i < BLOCKS; i += 2)
        assert_int_equal(hhi_heap_free(shared.heap, shared.blocks[i]), 0);
    for (int i = 0; i < BLOCKS; i += 2)
        shared.blocks[i] = core_alloc(shared.heap, 500);
    assert_in_range(slabs_of(shared.heap), slabs - 1, slabs + 2);
    for (int i = 1; i < BLOCKS; i += 2)
        assert_true(core_holds(shared.blocks[i], 500, (uint64_t)i));
    assert_int_equal(core_census(shared.heap), BLOCKS);
}

// ---- Churn --------------------------------------------------------------------------------------

static void *
short_life(void *argument)
{
    struct hh_heap *heap = argument;
    void *blocks[40];
    for (int i = 0; i < 40; i++)
        blocks[i] = hhi_heap_alloc(heap, (size_t)i * 50, HHI_LEVEL_TASK);
    for (int i = 0; i < 40; i++)
        if (blocks[i] == NULL || hhi_heap_free(heap, blocks[i]) != 0)
            return NULL;
    return argument;
}

static void
lives_run(unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        pthread_t threads[4];
        void *result;
        for (int thread = 0; thread < 4; thread++)
            assert_int_equal(pthread_create(&threads[thread], NULL, short_life, shared.heap), 0);
        for (int thread = 0; thread < 4; thread++) {
            assert_int_equal(pthread_join(threads[thread], &result), 0);
            assert_ptr_equal(result, shared.heap);
        }
    }
}

static void
threads_that_come_and_go_need_no_more_metadata(void **state)
{
    (void)state;
    hh_stats before, after;
    lives_run(50);
    hhi_get_stats(&before);
    lives_run(core_setting("HOSTHEAP_CHURN_ROUNDS", HH_TSAN ? 100 : 500));
    hhi_get_stats(&after);
    // Four at once: at most four records more than the first rounds happened to need.
    assert_in_range(after.metadata_bytes, before.metadata_bytes, before.metadata_bytes + (2 << 20));
    assert_in_range(after.committed_bytes, 0, before.committed_bytes + (8 << 20));
    assert_int_equal(after.threads, before.threads);
    assert_int_equal(core_census(shared.heap), 0);
}

// ---- The end of a thread ------------------------------------------------------------------------

static pthread_key_t keys[3];
static _Atomic uint32_t late_calls;

// Runs before or after the library's own key is ended, and again in later rounds.
static void
allocate_late(void *value)
{
    static __thread int rounds;
    void *block = hhi_heap_alloc(shared.heap, 100, HHI_LEVEL_TASK);
    void *again = hhi_heap_alloc(hhi_heap_default(), 5000, HHI_LEVEL_TASK);
    bool done = block != NULL && again != NULL;
    core_fill(block, 100, 1);
    done = done && core_holds(block, 100, 1);
    done = hhi_heap_free(shared.heap, block) == 0 && done;
    done = hhi_heap_free(hhi_heap_default(), again) == 0 && done;
    done = hhi_heap_free(shared.heap, value) == 0 && done; // allocated while the thread lived
    // relaxed: a count.
    hh_fetch_add_relaxed(&late_calls, done ? 1 : 1000000);
    if (++rounds < 7) {
        void *next = hhi_heap_alloc(shared.heap, 64, HHI_LEVEL_TASK);
        if (next == NULL || pthread_setspecific(keys[rounds % 3], next) != 0)
            // relaxed: a count.
            hh_fetch_add_relaxed(&late_calls, 1000000);
    }
}

static void
thread_with_destructors(void *argument)
{
    (void)argument;
    for (int key = 0; key < 3; key++)
        pthread_setspecific(keys[key], core_alloc(shared.heap, 64));
}

static void
blocks_are_served_in_destructors_of_a_thread(void **state)
{
    (void)state;
    for (int key = 0; key < 3; key++)
        assert_int_equal(pthread_key_create(&keys[key], allocate_late), 0);
    for (int thread = 0; thread < 20; thread++)
        core_in_thread(thread_with_destructors, NULL);
    // relaxed: the threads were joined.
    assert_in_range(hh_load_relaxed(&late_calls), 20 * 7, 20 * 9);
    // Values of keys that libc gave up on after its last round stay live.
    assert_in_range(core_census(shared.heap), 0, 20 * 3);
    for (int key = 0; key < 3; key++)
        pthread_key_delete(keys[key]);
}

// ---- A sleeping owner ---------------------------------------------------------------------------

static size_t
resident_bytes(void)
{
    // Not stdio: nothing here may allocate from another heap meanwhile, and it need not be exact.
    char text[128] = "";
    int descriptor = hhi_os_open("/proc/self/statm");
    hhi_os_read(descriptor, text, sizeof text - 1);
    hhi_os_close(descriptor);
    char *second = strchr(text, ' ');
    return second == NULL ? 0 : strtoul(second, NULL, 10) * hhi_os_page_bytes();
}

static struct {
    hh_stats before;
    size_t bytes;
    size_t resident_before;
} sleep_watch;

static bool
pages_came_back(void *argument)
{
    (void)argument;
    hh_stats now;
    hhi_get_stats(&now);
    return now.purged_bytes - sleep_watch.before.purged_bytes >= sleep_watch.bytes;
}

static void
a_sleeping_owner_s_memory_goes_back(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 100;
    shared.size_bytes = 8192;
    blocks_make(NULL); // this thread owns them, and does nothing from here on
    hhi_get_stats(&sleep_watch.before);
    sleep_watch.resident_before = resident_bytes();
    sleep_watch.bytes = (size_t)BLOCKS * 8192 * 9 / 10;
    core_in_thread(blocks_free, NULL);
    assert_int_equal(shared.failures, 0);
    assert_true(core_wait_for(pages_came_back, NULL));
    assert_true(resident_bytes() + sleep_watch.bytes / 2 < sleep_watch.resident_before);
    blocks_make(NULL);
    assert_int_equal(core_census(shared.heap), BLOCKS);
}

static void
every_other_block_freed(void *first)
{
    for (size_t index = (size_t)first; index < BLOCKS; index += 2)
        if (hhi_heap_free(shared.heap, shared.blocks[index]) != 0)
            shared.failures++;
}

// A slab that a sweep has looked through already is looked at again when more of it is freed. The
// test before has set the decay time; a sweeper may be at work, so it stays.
static void
what_is_freed_after_a_sweep_goes_back_too(void **state)
{
    (void)state;
    shared.size_bytes = 8192;
    blocks_make(NULL);
    hhi_get_stats(&sleep_watch.before);
    for (size_t first = 0; first < 2; first++) {
        core_in_thread(every_other_block_freed, (void *)first);
        assert_int_equal(shared.failures, 0);
        sleep_watch.bytes = (first + 1) * (size_t)BLOCKS * 8192 * 9 / 20;
        assert_true(core_wait_for(pages_came_back, NULL));
    }
}

#define THREADS_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    hhi_opt.decay_ms = HHI_DECAY_OFF; // no sweeper takes slabs away, until the last test
    const struct CMUnitTest tests[] = {
        THREADS_TEST(blocks_freed_by_another_thread_come_back_to_their_owner),
        THREADS_TEST(a_block_s_last_use_comes_before_its_next_one),
        THREADS_TEST(memory_of_a_thread_that_ended_is_adopted),
        THREADS_TEST(partly_used_slabs_of_the_dead_are_filled_up),
        THREADS_TEST(threads_that_come_and_go_need_no_more_metadata),
        THREADS_TEST(blocks_are_served_in_destructors_of_a_thread),
        THREADS_TEST(a_sleeping_owner_s_memory_goes_back),
        THREADS_TEST(what_is_freed_after_a_sweep_goes_back_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
