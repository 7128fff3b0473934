// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_core_edges.c - sizes, accounts and orders of events at the edge of what the core
 * can represent.
 */
#include <pthread.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

static void
a_block_is_not_resized_to_more_granules_than_a_number_holds(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    void *block = core_alloc(heap, (size_t)512 << 10);
    void *result = block;
    size_t size_bytes = ((size_t)1 << 48) + ((size_t)1 << 20); // 2^32 + 16 granules

    assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &result), 0);
    assert_null(result);
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.committed_bytes, (size_t)512 << 10);
}

static void
making_an_executable_heap_leaves_the_account_of_the_process_as_it_was(void **state)
{
    (void)state;
    struct hhi_budget_reading before, after;
    hhi_trim();
    hhi_limit_read(&before);
    for (int round = 0; round < 3; round++) {
        struct hh_heap *heap;
        assert_int_equal(hhi_heap_create(HHI_HEAP_EXECUTABLE, 0, 0, NULL, &heap), HH_OK);
        hhi_heap_destroy(heap);
        hhi_trim();
    }
    hhi_limit_read(&after);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
}

enum { ENDED_HEAPS = 500 };

static struct {
    _Atomic(struct hh_heap *) heap; // NULL: the next one may be made
} handover;

// Takes blocks of a heap, hands the heap over to be ended, and trims meanwhile.
static void *
trimmer_run(void *argument)
{
    for (int round = 0; round < ENDED_HEAPS; round++) {
        struct hh_heap *heap = core_heap();
        for (int block = 0; block < 12; block++)
            core_alloc(heap, 16 + (size_t)block * 900);
        // order: release [TT-2] all that was done to the heap.
        hh_store_release(&handover.heap, heap);
        // order: acquire [TT-3] the heap's end.
        while (hh_load_acquire(&handover.heap) != NULL)
            hhi_trim();
    }
    return argument;
}

static void
a_heap_may_be_ended_while_another_thread_trims(void **state)
{
    (void)state;
    pthread_t trimmer;
    assert_int_equal(pthread_create(&trimmer, NULL, trimmer_run, NULL), 0);
    for (int round = 0; round < ENDED_HEAPS; round++) {
        struct hh_heap *heap;
        // order: acquire [TT-2] all that was done to the heap.
        while ((heap = hh_load_acquire(&handover.heap)) == NULL)
            hh_cpu_relax();
        hhi_heap_destroy(heap);
        // order: release [TT-3] the heap's end.
        hh_store_release(&handover.heap, NULL);
    }
    assert_int_equal(pthread_join(trimmer, NULL), 0);
    hhi_run_check();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_not_resized_to_more_granules_than_a_number_holds),
        cmocka_unit_test(making_an_executable_heap_leaves_the_account_of_the_process_as_it_was),
        cmocka_unit_test(a_heap_may_be_ended_while_another_thread_trims),
    };
    hhi_opt.decay_ms = HHI_DECAY_OFF; // nobody purges but the tests
    return cmocka_run_group_tests(tests, NULL, NULL);
}
