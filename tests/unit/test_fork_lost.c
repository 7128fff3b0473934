// SPDX-License-Identifier: MIT
// tests/unit/test_fork_lost.c - what a thread lost in a fork had begun is finished in the child.
#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomic.h"
#include "heap/inbox.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { BLOCK_BYTES = 1024, BLOCKS = 64, SLABS = 32 };

static struct {
    struct hh_heap *heap;
    struct hhi_slab *slab; // full: all its blocks are in blocks
    void *blocks[BLOCKS];
    bool with_token;
    _Atomic uint32_t stage; // 1: the free is begun, 2: the thread may go on
} lost;

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
    stage_set(1);
    stage_await(2);
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

static void
slab_of_lost_frees(bool with_token)
{
    pthread_t thread;
    slab_fill();
    lost.with_token = with_token;
    stage_set(0);
    assert_int_equal(pthread_create(&thread, NULL, free_unfinished, NULL), 0);
    stage_await(1);
    assert_int_equal(core_in_child(slab_serves_again, NULL), 0);
    stage_set(2);
    assert_int_equal(pthread_join(thread, NULL), 0);
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

// The same for a slab of the lost thread itself: its record is taken over and mended.
static void *
own_full_slab(void *argument)
{
    slab_fill();
    stage_set(1);
    stage_await(2);
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
    pthread_t thread;
    stage_set(0);
    assert_int_equal(pthread_create(&thread, NULL, own_full_slab, NULL), 0);
    stage_await(1);
    assert_int_equal(core_in_child(blocks_of_a_lost_owner, NULL), 0);
    stage_set(2);
    assert_int_equal(pthread_join(thread, NULL), 0);
    hhi_heap_destroy(lost.heap);
}

// ---- Threads ------------------------------------------------------------------------------------

static struct {
    void *blocks[SLABS * BLOCKS];
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
        cmocka_unit_test(blocks_of_a_lost_thread_that_the_child_frees_serve_it),
        cmocka_unit_test(a_child_begins_with_one_thread),
    };
    alarm(100); // a hang ends here
    return cmocka_run_group_tests(tests, NULL, NULL);
}
