// SPDX-License-Identifier: MIT
// tests/unit/test_early_runs.c - blocks that grow beyond 8 KiB get a run of their own, a few at a time.
#include "heap/thread_cache.h"
#include "support/own_heap.h"

enum { OLD_BYTES = 8000, NEW_BYTES = 12000, EARLY_MOST = 16 };

static void *
grow(void *block, size_t size_bytes)
{
    void *grown;
    assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &grown), 0);
    assert_non_null(grown);
    return grown;
}

static size_t
usable(const void *block)
{
    size_t size_bytes = 0;
    assert_int_equal(hhi_heap_usable_size(heap, block, &size_bytes), 0);
    return size_bytes;
}

// relaxed: one thread.
static uint32_t
early_count(void)
{
    return hh_load_relaxed(&heap->early_runs);
}

static bool
is_early(const void *block)
{
    unsigned kind;
    return hhi_slab_find(block, &kind) != NULL && kind == HHI_KIND_LARGE &&
           usable(block) < HHI_GRANULE_BYTES;
}

static void
a_block_that_grows_stays_where_it_is_beyond_8_kib(void **state)
{
    (void)state;
    void *block = core_alloc(heap, OLD_BYTES);
    core_fill(block, OLD_BYTES, 1);
    block = grow(block, NEW_BYTES);
    assert_true(is_early(block));
    assert_int_equal(early_count(), 1);
    assert_true(core_holds(block, OLD_BYTES, 1));
    for (size_t size_bytes = NEW_BYTES; size_bytes < 900000; size_bytes += size_bytes / 3) {
        core_fill(block, size_bytes, size_bytes);
        assert_ptr_equal(grow(block, size_bytes + size_bytes / 3), block);
        assert_true(core_holds(block, size_bytes, size_bytes));
    }
    assert_int_equal(early_count(), 0);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    hhi_trim();
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.committed_bytes, 0);
}

// The size that free_sized is told may be any from the last one asked for on.
static void
its_size_can_be_told_at_each_step(void **state)
{
    (void)state;
    for (size_t size_bytes = OLD_BYTES + 1000; size_bytes < 200000; size_bytes += 1111) {
        void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
        if (size_bytes > NEW_BYTES)
            block = grow(block, size_bytes);
        else
            block = grow(block, NEW_BYTES + 1);
        size_t told_bytes = size_bytes > NEW_BYTES ? size_bytes : NEW_BYTES + 1;
        assert_true(usable(block) >= told_bytes);
        assert_int_equal(hhi_heap_free_sized(heap, block, told_bytes), 0);
        assert_int_equal(early_count(), 0);
    }
}

static void
a_few_blocks_at_a_time_get_a_run_early(void **state)
{
    (void)state;
    void *blocks[EARLY_MOST + 4];
    int early = 0;
    for (int i = 0; i < EARLY_MOST + 4; i++) {
        blocks[i] = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
        early += is_early(blocks[i]);
    }
    assert_int_equal(early, EARLY_MOST);
    assert_int_equal(early_count(), EARLY_MOST);
    assert_int_equal(hhi_heap_free(heap, blocks[0]), 0);
    blocks[0] = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    assert_true(is_early(blocks[0]));
    for (int i = 0; i < EARLY_MOST + 4; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    assert_int_equal(early_count(), 0);
}

static void
a_run_that_was_had_early_serves_whole_afterwards(void **state)
{
    (void)state;
    void *medium = core_alloc(heap, 30000);
    void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    // Kept, and taken for one that has all of it.
    void *whole = grow(medium, 40000);
    assert_ptr_equal(whole, block);
    assert_int_equal(usable(whole), HHI_GRANULE_BYTES);
    assert_int_equal(early_count(), 0);
    assert_int_equal(hhi_heap_free(heap, whole), 0);
}

static void
a_heap_or_process_with_limits_gives_none(void **state)
{
    (void)state;
    assert_int_equal(hhi_heap_set_limits(heap, 0, 64 << 20), HH_OK);
    void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    assert_false(is_early(block));
    assert_int_equal(hhi_heap_set_limits(heap, 0, 0), HH_OK);
    assert_int_equal(hhi_set_memory_limits((size_t)1 << 40, 0), HH_OK);
    void *other = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    assert_false(is_early(other));
    assert_int_equal(hhi_set_memory_limits(0, 0), HH_OK);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    assert_int_equal(hhi_heap_free(heap, other), 0);
    assert_int_equal(early_count(), 0);
}

static void
shrinking_keeps_or_moves_it(void **state)
{
    (void)state;
    void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    core_fill(block, OLD_BYTES, 5);
    assert_ptr_equal(grow(block, NEW_BYTES), block);
    void *small = grow(block, 1000);
    assert_ptr_not_equal(small, block);
    assert_int_equal(early_count(), 0);
    assert_int_equal(hhi_heap_free(heap, small), 0);
}

static void
free_in_thread(void *block)
{
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

static void
another_thread_frees_it(void **state)
{
    (void)state;
    void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    core_in_thread(free_in_thread, block);
    assert_int_equal(early_count(), 0);
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
}

static void
one_that_has_all_of_its_run_does_not_count(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= EARLY_MOST; i++) {
        void *block = grow(core_alloc(heap, 16384), 32768);
        assert_int_equal(usable(block), HHI_GRANULE_BYTES);
        assert_int_equal(early_count(), 0);
        assert_int_equal(hhi_heap_free(heap, block), 0);
    }
    void *block = grow(core_alloc(heap, OLD_BYTES), NEW_BYTES);
    assert_true(is_early(block));
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

// Where none is had early, and the class is new: each time in another heap.
static void
its_size_can_be_told_where_limits_are_set(void **state)
{
    (void)state;
    for (size_t old_bytes = 9000; old_bytes < 70000; old_bytes += 500) {
        for (size_t more_bytes = 8; more_bytes < old_bytes / 4; more_bytes += 1999) {
            struct hh_heap *own = heap;
            heap = core_heap();
            assert_int_equal(hhi_heap_set_limits(heap, 0, (size_t)1 << 30), HH_OK);
            void *block = grow(core_alloc(heap, old_bytes), old_bytes + more_bytes);
            assert_int_equal(hhi_heap_free_sized(heap, block, old_bytes + more_bytes), 0);
            hhi_heap_destroy(heap);
            heap = own;
        }
    }
}

#define EARLY_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        EARLY_TEST(a_block_that_grows_stays_where_it_is_beyond_8_kib),
        EARLY_TEST(its_size_can_be_told_at_each_step),
        EARLY_TEST(a_few_blocks_at_a_time_get_a_run_early),
        EARLY_TEST(a_run_that_was_had_early_serves_whole_afterwards),
        EARLY_TEST(a_heap_or_process_with_limits_gives_none),
        EARLY_TEST(shrinking_keeps_or_moves_it),
        EARLY_TEST(another_thread_frees_it),
        EARLY_TEST(one_that_has_all_of_its_run_does_not_count),
        EARLY_TEST(its_size_can_be_told_where_limits_are_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
