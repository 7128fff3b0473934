// SPDX-License-Identifier: MIT
// tests/unit/test_kept_runs.c - runs of freed large blocks are held back, and given up in time.
#include "heap/kept_runs.h"

#include <pthread.h>
#include <string.h>

#include "heap/heap_fast.h"
#include "heap/sweep.h"
#include "options/options.h"
#include "support/own_heap.h"

enum { BYTES = 1 << 20, OTHER_BYTES = 3 << 20, MIB_64 = 64 << 20 };

static void
give(void *block)
{
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

static uint64_t
runs_made(void)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.slabs_carved;
}

static void
blocks_of_one_size_by_turns_make_one_run(void **state)
{
    (void)state;
    void *first = core_alloc(heap, BYTES);
    give(first);
    assert_int_equal(hhi_kept_run_bytes(), BYTES);
    for (int turn = 0; turn < 10; turn++) {
        void *block = core_alloc(heap, (size_t)BYTES - (size_t)turn);
        assert_ptr_equal(block, first);
        assert_int_equal(hhi_kept_run_bytes(), 0);
        core_fill(block, BYTES, (uint64_t)turn);
        assert_true(core_holds(block, BYTES, (uint64_t)turn));
        give(block);
    }
    assert_int_equal(runs_made(), 1);
}

static int
count_block(void *arg, void *block, size_t size_bytes)
{
    (void)block;
    (void)size_bytes;
    ++*(int *)arg;
    return 0;
}

static void
a_block_of_a_kept_run_is_not_live(void **state)
{
    (void)state;
    char *block = core_alloc(heap, BYTES);
    give(block);
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.large_bytes, 0);
    int walked = 0;
    hhi_heap_walk(heap, count_block, &walked);
    assert_int_equal(walked, 0);
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
    assert_int_equal(hhi_heap_free(heap, block + 4096), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(hhi_heap_default(), block), HH_BAD_NOT_LIVE);
    void *moved;
    assert_int_equal(hhi_heap_realloc(heap, block, 100, HHI_LEVEL_TASK, &moved), HH_BAD_NOT_LIVE);
    assert_int_equal(hhi_kept_run_bytes(), BYTES);
}

// What realloc asks first.
static void
a_large_block_is_told_by_where_it_begins(void **state)
{
    (void)state;
    char *block = core_alloc(heap, BYTES), *small = core_alloc(heap, 100);
    assert_int_equal(hhi_large_block_bytes(heap, block), BYTES);
    assert_int_equal(hhi_large_block_bytes(hhi_heap_default(), block), 0);
    assert_int_equal(hhi_large_block_bytes(heap, block + HHI_GRANULE_BYTES), 0);
    assert_int_equal(hhi_large_block_bytes(heap, block + 16), 0);
    assert_int_equal(hhi_large_block_bytes(heap, small), 0);
    assert_int_equal(hhi_large_block_bytes(heap, NULL), 0);
    assert_int_equal(hhi_large_block_bytes(heap, (void *)(UINTPTR_MAX - 0xffff)), 0);
    give(block);
    assert_int_equal(hhi_large_block_bytes(heap, block), 0);
    give(small);
}

static void
a_zeroed_block_in_a_kept_run_is_zero(void **state)
{
    (void)state;
    char *block = core_alloc(heap, BYTES);
    memset(block, 0xA5, BYTES);
    give(block);
    char *again = hhi_heap_alloc_zeroed(heap, BYTES, HHI_LEVEL_TASK);
    assert_ptr_equal(again, block);
    for (size_t at = 0; at < BYTES; at++)
        assert_int_equal(again[at], 0);
    give(again);
}

// Realloc could not move the last one to where it is small.
static void
a_block_in_a_kept_run_was_not_shrunk(void **state)
{
    (void)state;
    void *block = core_alloc(heap, BYTES), *shrunk;
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(hhi_heap_set_limits(heap, 0, stats.committed_bytes), HH_OK);
    assert_int_equal(hhi_heap_realloc(heap, block, 100, HHI_LEVEL_TASK, &shrunk), 0);
    assert_ptr_equal(shrunk, block);
    assert_int_equal(hhi_heap_free_sized(heap, block, 100), 0);
    assert_int_equal(hhi_heap_set_limits(heap, 0, 0), HH_OK);
    assert_ptr_equal(core_alloc(heap, BYTES), block);
    assert_int_equal(hhi_heap_free_sized(heap, block, 100), HH_BAD_SIZE_MISMATCH);
    assert_int_equal(hhi_heap_free_sized(heap, block, BYTES), 0);
}

static void
what_is_kept_goes_before_any_other_run_is_made(void **state)
{
    (void)state;
    give(core_alloc(heap, BYTES));
    void *large = core_alloc(heap, OTHER_BYTES);
    assert_int_equal(hhi_kept_run_bytes(), 0);
    give(large);
    assert_int_equal(hhi_kept_run_bytes(), OTHER_BYTES);
    void *small = core_alloc(heap, 100);
    assert_int_equal(hhi_kept_run_bytes(), 0);
    give(small);
}

static void
what_is_kept_goes_before_a_block_grows_in_place(void **state)
{
    (void)state;
    void *low = core_alloc(heap, BYTES), *block = core_alloc(heap, BYTES), *grown;
    give(low);
    assert_int_equal(hhi_heap_realloc(heap, block, OTHER_BYTES, HHI_LEVEL_TASK, &grown), 0);
    assert_ptr_equal(grown, block);
    assert_int_equal(hhi_kept_run_bytes(), 0);
    give(grown);
}

static void
no_more_is_kept_than_has_room(void **state)
{
    (void)state;
    void *blocks[HHI_KEPT_RUNS + 2];
    for (int i = 0; i < HHI_KEPT_RUNS + 2; i++)
        blocks[i] = core_alloc(heap, BYTES);
    for (int i = 0; i < HHI_KEPT_RUNS + 2; i++)
        give(blocks[i]);
    assert_int_equal(hhi_kept_run_bytes(), (size_t)HHI_KEPT_RUNS * BYTES);
    struct hh_heap *other = core_heap();
    void *much = core_alloc(other, MIB_64), *more = core_alloc(other, MIB_64 + 1);
    assert_int_equal(hhi_heap_free(other, much), 0); // it would be more than all heaps may keep
    assert_int_equal(hhi_heap_free(other, more), 0);
    assert_int_equal(hhi_kept_run_bytes(), (size_t)HHI_KEPT_RUNS * BYTES);
    hhi_heap_destroy(other);
}

static void
a_program_of_many_sizes_keeps_few(void **state)
{
    (void)state;
    int kept = 0;
    for (size_t turn = 0; turn < 160; turn++) {
        give(core_alloc(heap, BYTES + turn * HHI_GRANULE_BYTES));
        kept += hhi_kept_run_bytes() != 0;
    }
    assert_in_range(kept, 8, 16);
    // The first one of the same size again, once it is kept, changes that.
    for (int turn = 0; turn < 40; turn++)
        give(core_alloc(heap, BYTES));
    uint64_t made = runs_made();
    for (int turn = 0; turn < 10; turn++)
        give(core_alloc(heap, BYTES));
    assert_int_equal(runs_made(), made);
}

static void
a_heap_that_ends_keeps_nothing(void **state)
{
    (void)state;
    struct hh_heap *other = core_heap();
    assert_int_equal(hhi_heap_free(other, core_alloc(other, BYTES)), 0);
    assert_int_equal(hhi_kept_run_bytes(), BYTES);
    hhi_heap_destroy(other);
    assert_int_equal(hhi_kept_run_bytes(), 0);
}

static void
blocks_of_debug_alloc_are_not_kept(void **state)
{
    (void)state;
    give(hhi_heap_alloc_debug(heap, BYTES, HHI_LEVEL_TASK, "file.c", 7));
    assert_int_equal(hhi_kept_run_bytes(), 0);
}

static void
without_a_sweeper_nothing_is_kept(void **state)
{
    (void)state;
    hhi_opt.background = false;
    give(core_alloc(heap, BYTES));
    assert_int_equal(hhi_kept_run_bytes(), 0);
    hhi_opt.background = true;
    hhi_opt.decay_ms = 0;
    give(core_alloc(heap, BYTES / 2)); // too little for the sweeper to come
    assert_int_equal(hhi_kept_run_bytes(), 0);
}

static void
trimming_gives_up_what_is_kept(void **state)
{
    (void)state;
    give(core_alloc(heap, BYTES));
    hhi_trim();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.committed_bytes, 0);
    assert_int_equal(hhi_kept_run_bytes(), 0);
}

static void
who_is_at_a_limit_takes_back_what_is_kept(void **state)
{
    (void)state;
    struct hh_heap *other = core_heap();
    give(core_alloc(heap, BYTES));
    struct hhi_budget_reading reading;
    hhi_limit_read(&reading);
    assert_int_equal(hhi_set_memory_limits(0, reading.committed_bytes), HH_OK);
    void *block = hhi_heap_alloc(other, BYTES, HHI_LEVEL_TASK);
    assert_non_null(block);
    assert_int_equal(hhi_kept_run_bytes(), 0);
    assert_int_equal(hhi_set_memory_limits(0, 0), HH_OK);
    hhi_heap_destroy(other);
}

// Blocks of few sizes go from thread to thread, while what is kept is given up again and again.
static struct {
    _Atomic(uint64_t *) slots[6];
    _Atomic int trimming;
} mill;

// A block's size and a number stand at both of its ends.
static void
mill_mark(uint64_t *block, size_t size_bytes, uint64_t number)
{
    size_t usable_bytes, last = size_bytes / sizeof *block - 1;
    assert_int_equal(hhi_heap_usable_size(heap, block, &usable_bytes), 0);
    assert_int_equal(usable_bytes, size_bytes);
    block[0] = size_bytes;
    block[1] = block[last] = number;
}

static void
mill_free(uint64_t *block)
{
    size_t last = block[0] / sizeof *block - 1;
    assert_int_equal(block[1], block[last]);
    block[1] = ~block[1]; // who has it as well sees it
    give(block);
}

static void *
mill_run(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    for (int turn = 0; turn < 20000; turn++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t size_bytes = (size_t)(random >> 40 & 15 ? 5 : 6) << HHI_GRANULE_SHIFT;
        uint64_t *block = core_alloc(heap, size_bytes);
        mill_mark(block, size_bytes, random);
        // order: acq_rel: the block goes to who takes it out.
        block = hh_exchange_acq_rel(&mill.slots[(random >> 50) % 6], block);
        if (block != NULL)
            mill_free(block);
    }
    return NULL;
}

static void *
mill_trim(void *arg)
{
    // relaxed: only when to stop.
    while (hh_load_relaxed(&mill.trimming))
        hhi_sweep_retained(NULL);
    return arg;
}

static void
threads_hand_runs_over(void **state)
{
    (void)state;
    pthread_t threads[3], trimmer;
    // relaxed: before the thread starts.
    hh_store_relaxed(&mill.trimming, 1);
    assert_int_equal(pthread_create(&trimmer, NULL, mill_trim, NULL), 0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mill_run, (void *)(i + 1)), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    // relaxed: see above.
    hh_store_relaxed(&mill.trimming, 0);
    assert_int_equal(pthread_join(trimmer, NULL), 0);
    for (int i = 0; i < 6; i++)
        if (mill.slots[i] != NULL)
            mill_free(mill.slots[i]);
    hhi_trim();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.slab_count, 0);
    assert_int_equal(stats.committed_bytes, 0);
}

static int
child_run(void *arg)
{
    void *block = core_alloc(heap, BYTES);
    bool same = block == arg && hhi_kept_run_bytes() == 0;
    give(block);
    hhi_trim();
    return same && hhi_kept_run_bytes() == 0 ? 0 : 1;
}

static void
the_child_of_a_fork_has_what_was_kept(void **state)
{
    (void)state;
    void *block = core_alloc(heap, BYTES);
    give(block);
    assert_int_equal(core_in_child(child_run, block), 0);
    assert_int_equal(hhi_kept_run_bytes(), BYTES);
}

static bool
nothing_is_committed(void *arg)
{
    (void)arg;
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.committed_bytes == 0;
}

// The last test: from here on the sweeper may run.
static void
what_an_idle_heap_keeps_goes_back_by_itself(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 100;
    hhi_opt.background = true;
    give(core_alloc(heap, BYTES));
    assert_true(core_wait_for(nothing_is_committed, NULL));
}

#define KEPT_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KEPT_TEST(blocks_of_one_size_by_turns_make_one_run),
        KEPT_TEST(a_block_of_a_kept_run_is_not_live),
        KEPT_TEST(a_large_block_is_told_by_where_it_begins),
        KEPT_TEST(a_zeroed_block_in_a_kept_run_is_zero),
        KEPT_TEST(a_block_in_a_kept_run_was_not_shrunk),
        KEPT_TEST(what_is_kept_goes_before_any_other_run_is_made),
        KEPT_TEST(what_is_kept_goes_before_a_block_grows_in_place),
        KEPT_TEST(no_more_is_kept_than_has_room),
        KEPT_TEST(a_program_of_many_sizes_keeps_few),
        KEPT_TEST(a_heap_that_ends_keeps_nothing),
        KEPT_TEST(blocks_of_debug_alloc_are_not_kept),
        KEPT_TEST(without_a_sweeper_nothing_is_kept),
        KEPT_TEST(trimming_gives_up_what_is_kept),
        KEPT_TEST(who_is_at_a_limit_takes_back_what_is_kept),
        KEPT_TEST(threads_hand_runs_over),
        KEPT_TEST(the_child_of_a_fork_has_what_was_kept),
        KEPT_TEST(what_an_idle_heap_keeps_goes_back_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
