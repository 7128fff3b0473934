// SPDX-License-Identifier: MIT
// tests/unit/test_heaps.c - many heaps, one after the other and at once; identity; ended heaps.
#include <string.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { ONE_AFTER_THE_OTHER = HH_TSAN ? 10000 : 100000, AT_ONCE = 2000 };

static hh_stats
process_figures(void)
{
    hh_stats stats;
    hhi_get_stats(&stats);
    return stats;
}

static void
heaps_made_and_ended_cost_nothing_in_the_end(void **state)
{
    (void)state;
    hh_stats before = {0};
    uint64_t last_id = 0;
    for (int round = 0; round < ONE_AFTER_THE_OTHER; round++) {
        if (round == 1000)
            before = process_figures();
        struct hh_heap *heap = core_heap();
        assert_true(hhi_heap_id(heap) > last_id);
        last_id = hhi_heap_id(heap);
        core_fill(core_alloc(heap, 100), 100, 1);
        if (round % 16 == 0)
            core_fill(core_alloc(heap, 300000), 300000, 2);
        hhi_heap_destroy(heap);
    }
    hh_stats after = process_figures();
    assert_int_equal(after.heaps, before.heaps);
    assert_in_range(after.metadata_bytes, before.metadata_bytes, before.metadata_bytes + (1 << 20));
    assert_in_range(after.committed_bytes, 0, before.committed_bytes + (64 << 20));
    assert_int_equal(after.all.committed_bytes, before.all.committed_bytes);
    hhi_run_check();
}

static struct {
    struct hh_heap *heaps[AT_ONCE];
    void *blocks[AT_ONCE];
    unsigned failures;
} many;

static size_t
many_size(int heap)
{
    return 20 + (size_t)heap % 500;
}

// Each heap takes its own block and refuses the next one's.
static void
many_free_half(void *argument)
{
    int first = *(int *)argument;
    for (int heap = first; heap < AT_ONCE; heap += 2) {
        int other = (heap + 2) % AT_ONCE;
        many.failures += !core_holds(many.blocks[heap], many_size(heap), (uint64_t)heap);
        if (other > heap)
            many.failures +=
                hhi_heap_free(many.heaps[heap], many.blocks[other]) != HH_BAD_OTHER_HEAP;
        many.failures += hhi_heap_free(many.heaps[heap], many.blocks[heap]) != 0;
        many.failures += hhi_heap_free(many.heaps[heap], many.blocks[heap]) == 0;
    }
}

static void
heaps_that_live_at_once_know_their_blocks(void **state)
{
    (void)state;
    size_t heaps = process_figures().heaps;
    for (int heap = 0; heap < AT_ONCE; heap++) {
        many.heaps[heap] = core_heap();
        many.blocks[heap] = core_alloc(many.heaps[heap], many_size(heap));
        core_fill(many.blocks[heap], many_size(heap), (uint64_t)heap);
    }
    assert_int_equal(process_figures().heaps, heaps + AT_ONCE);
    for (int heap = 0; heap < AT_ONCE; heap++) {
        hh_block_info info;
        hhi_heap_owns(many.blocks[heap], &info);
        assert_ptr_equal(info.heap, many.heaps[heap]);
    }
    many_free_half(&(int){0});
    core_in_thread(many_free_half, &(int){1});
    assert_int_equal(many.failures, 0);
    for (int heap = 0; heap < AT_ONCE; heap++) {
        assert_int_equal(core_census(many.heaps[heap]), 0);
        hhi_heap_destroy(many.heaps[heap]);
    }
    assert_int_equal(process_figures().heaps, heaps);
}

// A host may have 100,000 heaps with a few blocks each.
static void
a_heap_s_records_are_as_large_as_what_it_holds(void **state)
{
    (void)state;
    static struct hh_heap *heaps[4 * AT_ONCE];
    size_t before = 0;
    for (int heap = 0; heap < 4 * AT_ONCE; heap++) {
        if (heap == 2 * AT_ONCE) // no records of ended heaps are left to be used again
            before = process_figures().metadata_bytes;
        heaps[heap] = core_heap();
        core_alloc(heaps[heap], 64);
    }
    // 3.2 KB each, and a chunk of 1 MiB that may just have been begun.
    assert_in_range(process_figures().metadata_bytes, before,
                    before + 2 * AT_ONCE * 3600 + (1 << 20));
    for (int heap = 0; heap < 4 * AT_ONCE; heap++)
        hhi_heap_destroy(heaps[heap]);
}

enum { GROWING_BLOCKS = 3000 };

struct growing {
    struct hh_heap *heap;
    unsigned char *blocks[GROWING_BLOCKS];
};

// Small classes first, so that the cache's lists are made larger with blocks in them.
static size_t
growing_size(int block)
{
    return 1 + (size_t)block * 3;
}

static void
growing_take(void *argument)
{
    struct growing *growing = argument;
    for (int block = 0; block < GROWING_BLOCKS; block++) {
        growing->blocks[block] = core_alloc(growing->heap, growing_size(block));
        core_fill(growing->blocks[block], growing_size(block), (uint64_t)block);
    }
}

static void
growing_free(void *argument)
{
    struct growing *growing = argument;
    for (int block = 0; block < GROWING_BLOCKS; block++) {
        assert_true(core_holds(growing->blocks[block], growing_size(block), (uint64_t)block));
        assert_int_equal(hhi_heap_free(growing->heap, growing->blocks[block]), 0);
        // FOREIGN if it was the last of its slab, and the sweeper has retired that since.
        int again = hhi_heap_free(growing->heap, growing->blocks[block]);
        assert_true(again == HH_BAD_NOT_LIVE || again == HH_BAD_FOREIGN);
    }
}

// By turns blocks of this thread are freed by another, and blocks of one that ended by this one: many
// slabs of many classes arrive in the cache, and in the heap's lists.
static void
lists_of_a_heap_grow_with_what_is_in_them(void **state)
{
    (void)state;
    static struct growing growing;
    hh_heap_stats stats;
    growing.heap = core_heap();
    for (int turn = 0; turn < 6; turn++) {
        growing_take(&growing);
        hhi_cache_check(hhi_cache_find(hhi_self, growing.heap));
        core_in_thread(growing_free, &growing);
        core_in_thread(growing_take, &growing);
        growing_free(&growing);
        assert_int_equal(core_census(growing.heap), 0);
        hhi_cache_check(hhi_cache_find(hhi_self, growing.heap));
        if (turn % 2 == 1)
            hhi_trim();
    }
    hhi_heap_get_stats(growing.heap, &stats);
    assert_int_equal(stats.slab_count, 0); // none was forgotten
    hhi_heap_destroy(growing.heap);
}

static void
blocks_of_an_ended_heap_are_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 1000, 5000, 100000, 500000, 3000000};
    struct hh_heap *ended = core_heap(), *other = core_heap();
    void *blocks[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        blocks[i] = core_alloc(ended, sizes[i]);
    hhi_heap_destroy(ended);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        hh_block_info info;
        assert_int_not_equal(hhi_heap_free(other, blocks[i]), 0);
        assert_int_not_equal(hhi_heap_free(hhi_heap_default(), blocks[i]), 0);
        hhi_heap_owns(blocks[i], &info);
        assert_int_equal(info.live, 0);
        void *moved;
        assert_int_not_equal(hhi_heap_realloc(other, blocks[i], 10, HHI_LEVEL_TASK, &moved), 0);
        assert_null(moved);
    }
    assert_int_equal(core_census(other), 0);
    hhi_heap_destroy(other);
}

static void
fill_some(void *argument)
{
    for (int i = 0; i < 3000; i++)
        core_alloc(argument, (size_t)i);
}

// The heap's blocks lie in caches of several threads, some gone; all memory comes back.
static void
ending_a_heap_frees_the_blocks_of_all_threads(void **state)
{
    (void)state;
    hhi_trim();
    size_t committed_bytes = process_figures().all.committed_bytes;
    for (int round = 0; round < 20; round++) {
        struct hh_heap *heap = core_heap();
        fill_some(heap);
        core_in_thread(fill_some, heap);
        core_in_thread(fill_some, heap);
        assert_int_equal(core_census(heap), 9000);
        hhi_heap_destroy(heap);
        assert_int_equal(process_figures().all.committed_bytes, committed_bytes);
    }
    hhi_trim();
    hhi_run_check();
    assert_int_equal(process_figures().retained_bytes, 0);
}

static void
an_orphaned_heap_s_blocks_stay_readable_and_are_never_freed(void **state)
{
    (void)state;
    struct hh_heap *heap;
    assert_int_equal(hhi_heap_create(HHI_HEAP_HOST, 0, 0, NULL, &heap), HH_OK);
    char *block = core_alloc(heap, 200);
    core_fill(block, 200, 4);
    hhi_heap_orphan(heap);
    struct hh_heap *other = core_heap();
    assert_int_equal(hhi_heap_free(other, block), HH_BAD_OTHER_HEAP);
    hhi_trim();
    assert_true(core_holds(block, 200, 4));
    hhi_heap_destroy(other);
}

static void
a_heap_has_the_name_it_was_given(void **state)
{
    (void)state;
    struct hh_heap *heap;
    assert_int_equal(hhi_heap_create(0, 0, 0, "a name that is longer than thirty-one bytes", &heap),
                     HH_OK);
    assert_string_equal(hhi_heap_name(heap), "a name that is longer than thir");
    hhi_heap_destroy(heap);
    assert_string_equal(hhi_heap_name(hhi_heap_default()), "default");
}

// A heap object that ended with no block left leaves nothing behind.
static void
orphaned_heaps_without_a_live_block_are_ended(void **state)
{
    (void)state;
    hh_stats before, after;
    for (int round = 0; round < 2000; round++) {
        struct hh_heap *heap;
        assert_int_equal(hhi_heap_create(HHI_HEAP_HOST, 0, 0, NULL, &heap), HH_OK);
        void *block = hhi_heap_alloc(heap, 100, HHI_LEVEL_TASK);
        assert_non_null(block);
        assert_int_equal(hhi_heap_free(heap, block), 0);
        hhi_heap_orphan(heap);
        if (round == 100)
            hhi_get_stats(&before);
    }
    hhi_get_stats(&after);
    assert_int_equal(after.heaps, before.heaps);
    assert_int_equal(after.metadata_bytes, before.metadata_bytes);
    assert_int_equal(after.all.slab_count, before.all.slab_count);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heaps_made_and_ended_cost_nothing_in_the_end),
        cmocka_unit_test(heaps_that_live_at_once_know_their_blocks),
        cmocka_unit_test(lists_of_a_heap_grow_with_what_is_in_them),
        cmocka_unit_test(blocks_of_an_ended_heap_are_refused),
        cmocka_unit_test(ending_a_heap_frees_the_blocks_of_all_threads),
        cmocka_unit_test(an_orphaned_heap_s_blocks_stay_readable_and_are_never_freed),
        cmocka_unit_test(orphaned_heaps_without_a_live_block_are_ended),
        cmocka_unit_test(a_heap_has_the_name_it_was_given),
        cmocka_unit_test(a_heap_s_records_are_as_large_as_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
