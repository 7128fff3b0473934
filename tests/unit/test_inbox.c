// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_inbox.c - which slabs the owner looks at after frees by others, and when.
 *
 * Blocks of 4096 bytes lie 16 in a slab, of 512 bytes 128. Each test has a heap of its own, whose
 * slabs this thread owns; other threads run to their end one after the other, so that nothing depends
 * on time.
 */
#include "heap/heap_fast.h"
#include "heap/inbox.h"
#include "options/options.h"
#include "support/core.h"

enum {
    LOOK_BACK = 4 * 1024,
    TINY_BLOCK = 16,
    PAGE_BLOCK = 4096,
    PAGE_BLOCKS = 16,
    SMALL_BLOCK = 512,
    SMALL_BLOCKS = 128
};

static struct hh_heap *heap;

struct batch {
    void **blocks;
    unsigned count;
};

static void
batch_free(void *argument)
{
    struct batch *batch = argument;
    for (unsigned i = 0; i < batch->count; i++)
        assert_int_equal(hhi_heap_free(heap, batch->blocks[i]), 0);
}

// Another thread frees count blocks.
static void
other_frees(void **blocks, unsigned count)
{
    struct batch batch = {blocks, count};
    core_in_thread(batch_free, &batch);
}

static struct hhi_slab *
slab_of(const void *block)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    assert_non_null(slab);
    assert_int_equal(kind, HHI_KIND_SLAB);
    return slab;
}

static void
blocks_take(void **blocks, unsigned count, size_t size_bytes)
{
    for (unsigned i = 0; i < count; i++)
        blocks[i] = core_alloc(heap, size_bytes);
}

static struct hhi_cache *
cache_of_this_thread(void)
{
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    assert_non_null(cache);
    return cache;
}

static uint32_t
arrived(void)
{
    // relaxed: this thread changes it.
    return hh_load_relaxed(&cache_of_this_thread()->arrived_count);
}

static int
heap_begin(void **state)
{
    (void)state;
    hhi_opt.decay_ms = HHI_DECAY_OFF; // no sweeper but the one that is called here
    heap = core_heap();
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_cache_check(cache_of_this_thread());
    hhi_heap_destroy(heap);
    return 0;
}

static void
slabs_are_looked_at_one_by_one_in_the_order_of_their_first_free(void **state)
{
    (void)state;
    void *blocks[4 * PAGE_BLOCKS], *again[3 * PAGE_BLOCKS];
    blocks_take(blocks, 4 * PAGE_BLOCKS, PAGE_BLOCK);
    static const unsigned order[] = {2, 0, 1};
    for (unsigned i = 0; i < 3; i++)
        other_frees(&blocks[order[i] * PAGE_BLOCKS], PAGE_BLOCKS);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned block = 0; block < PAGE_BLOCKS; block++) {
            again[i * PAGE_BLOCKS + block] = core_alloc(heap, PAGE_BLOCK);
            assert_int_equal(arrived(), 2 - i);
            // In the order of addresses.
            assert_ptr_equal(again[i * PAGE_BLOCKS + block],
                             (char *)blocks[order[i] * PAGE_BLOCKS] + block * (size_t)PAGE_BLOCK);
        }
    }
}

static void
a_slab_of_which_little_has_come_back_waits_for_more(void **state)
{
    (void)state;
    void *blocks[2 * SMALL_BLOCKS];
    blocks_take(blocks, 2 * SMALL_BLOCKS, SMALL_BLOCK);
    struct hhi_slab *slab = slab_of(blocks[0]), *current = slab_of(blocks[SMALL_BLOCKS]);
    other_frees(blocks, 15); // less than an eighth
    void *block = core_alloc(heap, SMALL_BLOCK);
    assert_ptr_not_equal(slab_of(block), slab);
    assert_int_equal(slab->state, HHI_SLAB_FULL);
    assert_int_equal(hhi_slab_count_live(slab), SMALL_BLOCKS - 15);
    other_frees(&blocks[15], 1);
    do {
        block = core_alloc(heap, SMALL_BLOCK);
        assert_ptr_not_equal(slab_of(block), current);
    } while (slab_of(block) != slab);
    for (unsigned i = 1; i < 16; i++)
        assert_ptr_equal(slab_of(core_alloc(heap, SMALL_BLOCK)), slab);
    assert_int_equal(hhi_slab_count_live(slab), SMALL_BLOCKS);
}

static void
blocks_of_the_current_slab_that_come_back_go_before_ones_never_used(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, SMALL_BLOCK, PAGE_BLOCK, 32768};
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        void *blocks[LOOK_BACK / 64];
        blocks_take(blocks, 1, sizes[i]);
        struct hhi_slab *slab = slab_of(blocks[0]);
        uint32_t init = 1;
        for (; init < slab->init || init * sizes[i] < LOOK_BACK; init++)
            blocks_take(&blocks[init], 1, sizes[i]);
        assert_int_equal(slab->init, init);
        for (unsigned round = 0; round < 3; round++) {
            other_frees(blocks, init);
            blocks_take(blocks, init, sizes[i]);
            assert_int_equal(slab->init, init);
        }
        blocks_take(blocks, 1, sizes[i]);
        assert_true(slab->init > init);
    }
}

// How far the slab is in use after one block more than are made ready at first.
static void
extended(void *init)
{
    void *blocks[HHI_EXTEND_SHORT_BYTES / SMALL_BLOCK + 1];
    blocks_take(blocks, COUNT_OF(blocks), SMALL_BLOCK);
    *(uint32_t *)init = slab_of(blocks[COUNT_OF(blocks) - 1])->init;
}

static void
beside_other_threads_fewer_blocks_are_made_ready(void **state)
{
    (void)state;
    uint32_t alone, beside;
    extended(&alone);
    core_in_thread(extended, &beside);
    assert_int_equal(alone, (HHI_EXTEND_SHORT_BYTES + HHI_EXTEND_BYTES) / SMALL_BLOCK);
    assert_int_equal(beside, 2 * HHI_EXTEND_SHORT_BYTES / SMALL_BLOCK);
}

// The look costs more than a few small blocks are worth.
static void
a_slab_of_which_little_is_in_use_is_not_looked_through(void **state)
{
    (void)state;
    void *blocks[LOOK_BACK / TINY_BLOCK];
    blocks_take(blocks, HHI_COARSE_TINY_BLOCKS, TINY_BLOCK); // of slabs of a larger class
    blocks_take(blocks, 1, TINY_BLOCK);
    struct hhi_slab *slab = slab_of(blocks[0]);
    assert_int_equal(slab->init, HHI_EXTEND_BLOCKS);
    for (unsigned init = HHI_EXTEND_BLOCKS; init < COUNT_OF(blocks); init += HHI_EXTEND_BLOCKS) {
        assert_int_equal(slab->init, init);
        blocks_take(&blocks[init - HHI_EXTEND_BLOCKS + 1], HHI_EXTEND_BLOCKS - 1, TINY_BLOCK);
        other_frees(&blocks[init - HHI_EXTEND_BLOCKS], HHI_EXTEND_BLOCKS);
        blocks_take(&blocks[init], 1, TINY_BLOCK);
    }
    assert_int_equal(slab->init, COUNT_OF(blocks));
    blocks_take(blocks, HHI_EXTEND_BLOCKS - 1, TINY_BLOCK);
    blocks_take(blocks, 1, TINY_BLOCK);
    assert_int_equal(slab->init, COUNT_OF(blocks));
}

static void
what_others_have_emptied_serves_other_classes_before_more_is_carved(void **state)
{
    (void)state;
    void *blocks[8 * PAGE_BLOCKS], *other[SMALL_BLOCKS];
    blocks_take(blocks, 8 * PAGE_BLOCKS, PAGE_BLOCK);
    other_frees(blocks, 8 * PAGE_BLOCKS);
    assert_int_equal(heap->slab_count, 8);
    blocks_take(other, 1, SMALL_BLOCK);
    assert_int_equal(heap->slab_count, 8 - 4 + 1);
    blocks_take(other, 1, 2 * SMALL_BLOCK);
    // The last one is current still, and stays.
    assert_int_equal(heap->slab_count, 8 - 7 + 2);
}

static void
a_slab_is_cold_when_nothing_was_freed_in_it_for_some_passes(void **state)
{
    (void)state;
    size_t waiting = 0;
    void *blocks[2 * PAGE_BLOCKS];
    blocks_take(blocks, 2 * PAGE_BLOCKS, PAGE_BLOCK);
    struct hhi_cache *cache = cache_of_this_thread();
    other_frees(blocks, 8);
    for (unsigned pass = 0; pass < 2; pass++)
        assert_null(hhi_inbox_take_cold(cache, false, &waiting));
    other_frees(&blocks[8], 4); // from here on it counts anew
    for (unsigned pass = 0; pass < 3; pass++)
        assert_null(hhi_inbox_take_cold(cache, false, &waiting));
    assert_int_equal(waiting, 5);
    struct hhi_slab *cold = hhi_inbox_take_cold(cache, false, &waiting);
    assert_ptr_equal(cold, slab_of(blocks[0]));
    assert_null(hhi_slab_inbox_next(cold));
    hhi_inbox_put_cold(cache, cold, false); // it could not be purged: it is due at once
    assert_ptr_equal(hhi_inbox_take_cold(cache, false, &waiting), cold);
    hhi_inbox_put_cold(cache, cold, true);
    for (unsigned pass = 0; pass < 6; pass++)
        assert_null(hhi_inbox_take_cold(cache, pass % 2 != 0, &waiting));
    other_frees(&blocks[12], 1);
    assert_ptr_equal(hhi_inbox_take_cold(cache, true, &waiting), cold);
    hhi_inbox_put_cold(cache, cold, true);
    assert_int_equal(waiting, 5);
    // The owner still has all that came back.
    for (unsigned block = 0; block < 13; block++)
        assert_ptr_equal(slab_of(core_alloc(heap, PAGE_BLOCK)), cold);
}

static void
of_a_chain_of_slabs_only_cold_ones_are_taken_and_the_others_keep_their_order(void **state)
{
    (void)state;
    size_t waiting = 0;
    void *blocks[6 * PAGE_BLOCKS];
    blocks_take(blocks, 6 * PAGE_BLOCKS, PAGE_BLOCK);
    struct hhi_cache *cache = cache_of_this_thread();
    for (unsigned slab = 0; slab < 5; slab++)
        other_frees(&blocks[slab * PAGE_BLOCKS], 8);
    for (unsigned pass = 0; pass < 3; pass++)
        assert_null(hhi_inbox_take_cold(cache, false, &waiting));
    other_frees(&blocks[1 * PAGE_BLOCKS + 8], 1);
    other_frees(&blocks[3 * PAGE_BLOCKS + 8], 1);
    struct hhi_slab *cold = hhi_inbox_take_cold(cache, false, &waiting);
    unsigned count = 0;
    for (struct hhi_slab *slab = cold; slab != NULL; slab = hhi_slab_inbox_next(slab), count++)
        assert_true(slab == slab_of(blocks[0]) || slab == slab_of(blocks[2 * PAGE_BLOCKS]) ||
                    slab == slab_of(blocks[4 * PAGE_BLOCKS]));
    assert_int_equal(count, 3);
    assert_int_equal(arrived(), 2);
    assert_ptr_equal(slab_of(core_alloc(heap, PAGE_BLOCK)), slab_of(blocks[1 * PAGE_BLOCKS]));
    for (unsigned block = 1; block < 9; block++)
        core_alloc(heap, PAGE_BLOCK);
    assert_ptr_equal(slab_of(core_alloc(heap, PAGE_BLOCK)), slab_of(blocks[3 * PAGE_BLOCKS]));
    hhi_inbox_put_cold(cache, cold, true);
}

static void
whoever_looks_at_the_arrivals_keeps_others_from_it_but_nobody_waits(void **state)
{
    (void)state;
    size_t waiting = 0;
    void *blocks[2 * PAGE_BLOCKS];
    blocks_take(blocks, 2 * PAGE_BLOCKS, PAGE_BLOCK);
    struct hhi_cache *cache = cache_of_this_thread();
    other_frees(blocks, PAGE_BLOCKS);
    assert_true(hhi_lock_try_enter(&cache->arrival_lock));
    void *block = core_alloc(heap, PAGE_BLOCK); // as if nothing had come back
    assert_ptr_not_equal(slab_of(block), slab_of(blocks[0]));
    assert_null(hhi_inbox_take_cold(cache, true, &waiting));
    assert_int_equal(waiting, 1);
    other_frees(&blocks[PAGE_BLOCKS], 1); // a freeing thread is not kept out
    hhi_lock_leave(&cache->arrival_lock);
    for (unsigned i = 1; i < PAGE_BLOCKS; i++)
        core_alloc(heap, PAGE_BLOCK);
    assert_ptr_equal(slab_of(core_alloc(heap, PAGE_BLOCK)), slab_of(blocks[0]));
}

// What the short way of a free answers to the calling thread.
static bool
short_way(void *block, bool sized, size_t size_bytes)
{
    struct hhi_slab *slab = hhi_record_of(hhi_granule_of(block));
    struct hhi_cache *cache = hhi_cache_guess(heap);
    // sized is a constant where it is used.
    return sized ? hhi_free_elsewhere(hhi_self, heap, cache, block, slab, true, size_bytes)
                 : hhi_free_elsewhere(hhi_self, heap, cache, block, slab, false, 0);
}

static void
all_are_offered(void *argument)
{
    void **blocks = argument;
    assert_false(short_way(blocks[0], false, 0)); // without a record of its own
    assert_non_null(hhi_thread_get());
    for (; *blocks != NULL; blocks++) {
        char *block = *blocks;
        struct hhi_slab *slab = slab_of(block);
        size_t size_bytes = hh_load_relaxed(&slab->block_bytes); // of a coarser class at first
        bool sized = (uintptr_t)block % 3 != 0;
        assert_false(short_way(block + 8, sized, size_bytes));
        assert_false(short_way(block + size_bytes - 1, sized, size_bytes));
        assert_false(short_way(block, true, size_bytes + 1));
        assert_false(short_way(block, true, size_bytes / 2 - 1));
        assert_true(short_way(block, sized, size_bytes));
        assert_false(short_way(block, sized, size_bytes));
        assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
        // Behind the last block.
        char *end = (char *)hhi_slab_base(slab) + size_bytes * hh_load_relaxed(&slab->block_count);
        if ((uintptr_t)end % HHI_GRANULE_BYTES != 0)
            assert_false(short_way(end, false, 0));
    }
    // In a run that is no slab, and another heap's.
    void *large = core_alloc(&hhi_default_heap, 1 << 20);
    assert_false(short_way(large, false, 0));
    assert_false(short_way((char *)large + HHI_GRANULE_BYTES, false, 0));
    assert_int_equal(hhi_heap_free(&hhi_default_heap, large), 0);
    void *other = core_alloc(&hhi_default_heap, SMALL_BLOCK);
    assert_false(short_way(other, false, 0));
    assert_int_equal(hhi_heap_free(&hhi_default_heap, other), 0);
}

static void
the_short_way_of_a_free_ends_exactly_the_live_blocks_of_other_threads(void **state)
{
    (void)state;
    static const size_t sizes[] = {SMALL_BLOCK, 48, 3 * 1024, 12 * 1024, 80 * 1024};
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        void *blocks[3 * SMALL_BLOCKS + 1] = {NULL};
        // The first above 32 KiB is of no slab.
        assert_int_equal(hhi_heap_free(heap, core_alloc(heap, sizes[i])), 0);
        // More than one slab, and blocks in each granule of it.
        unsigned count = sizes[i] > HHI_SMALL_MAX_BYTES ? 64 : 3 * SMALL_BLOCKS;
        blocks_take(blocks, count, sizes[i]);
        core_in_thread(all_are_offered, blocks);
        assert_int_equal(core_census(heap), 0);
        hhi_cache_drain(cache_of_this_thread());
        hhi_cache_check(cache_of_this_thread());
    }
}

static void
a_block_of_the_own_slab_comes_back_also_if_the_cache_is_not_at_hand(void **state)
{
    (void)state;
    void *blocks[SMALL_BLOCKS];
    blocks_take(blocks, SMALL_BLOCKS, SMALL_BLOCK);
    // Not at home, and a heap whose entry among the recent ones is the same.
    hh_store_relaxed(&heap->key.home, HHI_HOME_CLAIMED);
    struct hh_heap *others[HHI_RECENT_CACHES];
    for (unsigned i = 0; i < HHI_RECENT_CACHES; i++)
        others[i] = core_heap();
    struct hh_heap *rival = others[HHI_RECENT_CACHES - 1];
    assert_int_equal(hhi_heap_id(rival) % HHI_RECENT_CACHES, hhi_heap_id(heap) % HHI_RECENT_CACHES);
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        void *block = core_alloc(rival, SMALL_BLOCK);
        assert_ptr_equal(hhi_cache_guess(heap), &hhi_thread_none.main);
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
        assert_int_equal(hhi_heap_free(rival, block), 0);
        assert_int_equal(hhi_heap_free(heap, blocks[i]), HH_BAD_NOT_LIVE);
    }
    assert_int_equal(core_census(heap), 0);
    hhi_cache_check(cache_of_this_thread());
    struct hhi_slab *slab = slab_of(blocks[0]);
    void *again[SMALL_BLOCKS];
    blocks_take(again, SMALL_BLOCKS, SMALL_BLOCK);
    unsigned same = 0;
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        same += slab_of(again[i]) == slab;
        assert_int_equal(hhi_heap_free(heap, again[i]), 0);
    }
    assert_true(same > 0);
    for (unsigned i = 0; i < HHI_RECENT_CACHES; i++)
        hhi_heap_destroy(others[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_short_way_of_a_free_ends_exactly_the_live_blocks_of_other_threads, heap_begin,
            heap_end),
        cmocka_unit_test_setup_teardown(
            a_block_of_the_own_slab_comes_back_also_if_the_cache_is_not_at_hand, heap_begin,
            heap_end),
        cmocka_unit_test_setup_teardown(
            slabs_are_looked_at_one_by_one_in_the_order_of_their_first_free, heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(a_slab_of_which_little_has_come_back_waits_for_more,
                                        heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(
            blocks_of_the_current_slab_that_come_back_go_before_ones_never_used, heap_begin,
            heap_end),
        cmocka_unit_test_setup_teardown(beside_other_threads_fewer_blocks_are_made_ready,
                                        heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(a_slab_of_which_little_is_in_use_is_not_looked_through,
                                        heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(
            what_others_have_emptied_serves_other_classes_before_more_is_carved, heap_begin,
            heap_end),
        cmocka_unit_test_setup_teardown(a_slab_is_cold_when_nothing_was_freed_in_it_for_some_passes,
                                        heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(
            of_a_chain_of_slabs_only_cold_ones_are_taken_and_the_others_keep_their_order,
            heap_begin, heap_end),
        cmocka_unit_test_setup_teardown(
            whoever_looks_at_the_arrivals_keeps_others_from_it_but_nobody_waits, heap_begin,
            heap_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
