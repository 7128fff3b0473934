// SPDX-License-Identifier: MIT
// tests/unit/test_fork_lost.c - what a thread lost in a fork had begun is finished in the child.
#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomic.h"
#include "heap/inbox.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { BLOCK_BYTES = 1024, BLOCKS = 64, SLABS = 128, CHILDREN = 5 };

static struct {
    struct hh_heap *heap;
    struct hhi_slab *slab; // full: all its blocks are in blocks
    void *blocks[BLOCKS];
    bool with_token;
    _Atomic uint32_t stage;
    pthread_t thread;
} lost;

// The freeing thread has a record, there is something to be freed, the free is begun, it may go on.
enum { STAGE_RECORD = 1, STAGE_FULL, STAGE_BEGUN, STAGE_GO_ON };

static void
stage_await(uint32_t stage)
{
    // order: acquire [FL-1] what the other thread did before.
    while (hh_load_acquire(&lost.stage) < stage)
        hhi_os_sleep_ms(1);
}

static void
stage_set(uint32_t stage)
{
    // order: release [FL-1] what this thread did before.
    hh_store_release(&lost.stage, stage);
}

// Frees all blocks of the slab as hhi_heap_free_slow does, and is stopped before it tells the owner.
static void *
free_unfinished(void *argument)
{
    struct hhi_thread *thread = hhi_thread_get();
    stage_set(STAGE_RECORD);
    stage_await(STAGE_FULL);
    hhi_guard_open(&thread->guard);
    for (uint32_t block = 0; block < BLOCKS; block++) {
        uint16_t live = HHI_LINK_LIVE;
        // order: acquire [SL-2] as in alloc.c.
        bool marked = hh_cas_strong_seq_cst(&hh_load_relaxed(&lost.slab->links)[block], &live,
                                            HHI_LINK_REMOTE);
        assert_true(marked);
    }
    if (lost.with_token)
        // order: acquire [SL-2] as in alloc.c.
        hh_fetch_or_acquire(&lost.slab->notice, HHI_NOTICE_GIVEN);
    stage_set(STAGE_BEGUN);
    stage_await(STAGE_GO_ON);
    if (!lost.with_token)
        // order: acquire [SL-2] as in alloc.c.
        hh_fetch_or_acquire(&lost.slab->notice, HHI_NOTICE_GIVEN);
    hhi_inbox_push(hh_load_relaxed(&lost.slab->owner), lost.slab, lost.slab);
    hhi_guard_close(&thread->guard);
    return argument;
}

// Whether the slab serves again before so many others were carved.
static int
slab_serves_again(void *argument)
{
    (void)argument;
    unsigned kind;
    for (int block = 0; block < 4 * BLOCKS; block++) {
        void *taken = hhi_heap_alloc(lost.heap, BLOCK_BYTES, HHI_LEVEL_TASK);
        if (taken != NULL && hhi_slab_find(taken, &kind) == lost.slab) {
            hhi_cache_check(hhi_cache_find(hhi_self, lost.heap));
            hhi_run_check();
            return 0;
        }
    }
    return 1;
}

static void
slab_fill(void)
{
    unsigned kind;
    lost.heap = core_heap();
    for (int block = 0; block < BLOCKS; block++)
        lost.blocks[block] = core_alloc(lost.heap, BLOCK_BYTES);
    core_alloc(lost.heap, BLOCK_BYTES); // another slab is the current one
    lost.slab = hhi_slab_find(lost.blocks[0], &kind);
    for (int block = 1; block < BLOCKS; block++)
        assert_ptr_equal(hhi_slab_find(lost.blocks[block], &kind), lost.slab);
}

// Fill a slab on fill's thread, and stop another thread in the free of it.
static void
lost_begin(void (*fill)(void), bool with_token)
{
    lost.with_token = with_token;
    // relaxed: no other thread of the test exists.
    hh_store_relaxed(&lost.stage, 0);
    assert_int_equal(pthread_create(&lost.thread, NULL, free_unfinished, NULL), 0);
    stage_await(STAGE_RECORD); // not that of a thread that fills and ends
    fill();
    stage_set(STAGE_FULL);
    stage_await(STAGE_BEGUN);
}

static void
lost_end(void)
{
    stage_set(STAGE_GO_ON);
    assert_int_equal(pthread_join(lost.thread, NULL), 0);
}

static void
slab_of_lost_frees(bool with_token)
{
    lost_begin(slab_fill, with_token);
    assert_int_equal(core_in_child(slab_serves_again, NULL), 0);
    lost_end();
    // In the parent nothing was lost: the owner finds the slab in its inbox.
    assert_int_equal(slab_serves_again(NULL), 0);
    hhi_heap_destroy(lost.heap);
}

static void
a_slab_that_was_not_put_into_the_inbox_serves_the_child(void **state)
{
    (void)state;
    slab_of_lost_frees(true);
}

static void
a_slab_whose_token_was_not_taken_serves_the_child(void **state)
{
    (void)state;
    slab_of_lost_frees(false);
}

static int
forks_again(void *argument)
{
    return core_in_child(slab_serves_again, argument);
}

// As daemons do: the first child has no need of a slab. Nothing more is lost in the second fork.
static void
what_was_lost_in_a_fork_is_finished_in_the_child_of_another(void **state)
{
    (void)state;
    lost_begin(slab_fill, true);
    assert_int_equal(core_in_child(forks_again, NULL), 0);
    lost_end();
    hhi_heap_destroy(lost.heap);
}

static void
fill_and_end(void *argument)
{
    (void)argument;
    slab_fill();
}

static void
fill_in_thread(void)
{
    core_in_thread(fill_and_end, NULL);
}

static void
the_same_in_slabs_of_a_thread_that_ended(void **state)
{
    (void)state;
    lost_begin(fill_in_thread, true);
    assert_int_equal(core_in_child(slab_serves_again, NULL), 0);
    assert_int_equal(core_in_child(forks_again, NULL), 0);
    lost_end();
    hhi_heap_destroy(lost.heap);
}

// Records can not be mended while this thread has a section open.
static int
sweep_in_a_section(void *argument)
{
    alarm(10);
    hhi_guard_open(&hhi_self->guard);
    hhi_sweep_all();
    hhi_guard_close(&hhi_self->guard);
    return slab_serves_again(argument);
}

static void
a_pass_does_not_wait_for_records_that_can_not_be_mended(void **state)
{
    (void)state;
    lost_begin(fill_in_thread, true);
    assert_int_equal(core_in_child(sweep_in_a_section, NULL), 0);
    lost_end();
    hhi_heap_destroy(lost.heap);
}

// The same for a slab of the lost thread itself: its record is taken over and mended.
static void *
own_full_slab(void *argument)
{
    slab_fill();
    stage_set(STAGE_BEGUN);
    stage_await(STAGE_GO_ON);
    return argument;
}

static int
blocks_of_a_lost_owner(void *argument)
{
    (void)argument;
    for (int block = 0; block < BLOCKS; block++)
        if (hhi_heap_free(lost.heap, lost.blocks[block]) != 0)
            return 2;
    return slab_serves_again(NULL);
}

static void
blocks_of_a_lost_thread_that_the_child_frees_serve_it(void **state)
{
    (void)state;
    // relaxed: no other thread of the test exists.
    hh_store_relaxed(&lost.stage, 0);
    assert_int_equal(pthread_create(&lost.thread, NULL, own_full_slab, NULL), 0);
    stage_await(STAGE_BEGUN);
    assert_int_equal(core_in_child(blocks_of_a_lost_owner, NULL), 0);
    lost_end();
    hhi_heap_destroy(lost.heap);
}

// ---- Threads ------------------------------------------------------------------------------------

static struct {
    void *blocks[SLABS * BLOCKS];
    struct hh_heap *heap;
    _Atomic uint32_t held;
} full;

static void
blocks_free(void *argument)
{
    for (int block = 0; block < SLABS * BLOCKS; block++)
        assert_int_equal(hhi_heap_free(argument, full.blocks[block]), 0);
}

static int
count_threads(void *argument)
{
    (void)argument;
    int threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks != NULL) {
        const struct dirent *task = readdir(tasks);
        if (task == NULL)
            break;
        threads += task->d_name[0] != '.';
    }
    return threads;
}

// Holds the lock of the heap until somebody waits for it, and gives the others time to do so.
static void *
heap_hold(void *argument)
{
    hhi_lock_enter(&full.heap->lock);
    // relaxed (both): nothing is published; the mark says that somebody sleeps.
    hh_store_relaxed(&full.held, 1);
    while ((hh_load_relaxed(&full.heap->lock.state) & HHI_LOCK_SLEEPERS) == 0)
        hhi_os_sleep_ms(1);
    hhi_os_sleep_ms(20);
    hhi_lock_leave(&full.heap->lock);
    return argument;
}

static void *
heap_end(void *argument)
{
    hhi_heap_destroy(full.heap);
    return argument;
}

static int
end_one_heap_and_mend(void *argument)
{
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, heap_hold, NULL) != 0)
        return 2;
    // relaxed: see heap_hold.
    while (hh_load_relaxed(&full.held) == 0)
        hhi_os_sleep_ms(1);
    if (pthread_create(&threads[1], NULL, heap_end, NULL) != 0)
        return 2;
    int result = slab_serves_again(argument);
    for (int thread = 0; thread < 2; thread++)
        pthread_join(threads[thread], NULL);
    hhi_trim();
    hhi_run_check();
    return result;
}

/*
 * The record that is mended has a cache of a heap which this thread does not use at that time, and which
 * another thread may end.
 */
static void
a_heap_may_end_while_a_record_is_mended(void **state)
{
    (void)state;
    if (HH_TSAN)
        skip(); // its runtime can not start threads in a child whose parent had several
    lost_begin(slab_fill, true);
    full.heap = core_heap();
    for (int block = 0; block < SLABS * BLOCKS; block++)
        full.blocks[block] = core_alloc(full.heap, BLOCK_BYTES);
    core_in_thread(blocks_free, full.heap); // all slabs are in the inbox now
    for (int child = 0; child < CHILDREN; child++)
        assert_int_equal(core_in_child(end_one_heap_and_mend, NULL), 0);
    lost_end();
    hhi_heap_destroy(full.heap);
    hhi_heap_destroy(lost.heap);
}

/*
 * The handler of fork must start no thread: it would run while the handler still mends what lost
 * threads left, and a child that only goes on to exec has no use for it.
 */
static void
a_child_begins_with_one_thread(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (int block = 0; block < SLABS * BLOCKS; block++)
        full.blocks[block] = core_alloc(heap, BLOCK_BYTES);
    core_in_thread(blocks_free, heap); // all slabs are in the inbox now
    assert_int_equal(core_in_child(count_threads, NULL), 1);
    hhi_heap_destroy(heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slab_that_was_not_put_into_the_inbox_serves_the_child),
        cmocka_unit_test(a_slab_whose_token_was_not_taken_serves_the_child),
        cmocka_unit_test(what_was_lost_in_a_fork_is_finished_in_the_child_of_another),
        cmocka_unit_test(the_same_in_slabs_of_a_thread_that_ended),
        cmocka_unit_test(a_pass_does_not_wait_for_records_that_can_not_be_mended),
        cmocka_unit_test(blocks_of_a_lost_thread_that_the_child_frees_serve_it),
        cmocka_unit_test(a_heap_may_end_while_a_record_is_mended),
        cmocka_unit_test(a_child_begins_with_one_thread),
    };
    alarm(100); // a hang ends here
    return cmocka_run_group_tests(tests, NULL, NULL);
}
