// SPDX-License-Identifier: MIT
// tests/unit/test_guests.c - classes with few live blocks stay in slabs of a coarser class.
#include "heap/guests.h"

#include <pthread.h>
#include <string.h>

#include "support/own_heap.h"

enum {
    HOST_BYTES = 1024,
    GUEST_BYTES = 528,
    SECOND_BYTES = 700,
    THIRD_BYTES = 900,
    HOST_BLOCKS = 64, // of one slab
    TURNS = 1000,
};

static struct hhi_cache *
own_cache(void)
{
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    assert_non_null(cache);
    return cache;
}

static void
give(void *block)
{
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

static size_t
usable(const void *block)
{
    size_t size_bytes;
    assert_int_equal(hhi_heap_usable_size(heap, block, &size_bytes), 0);
    return size_bytes;
}

static size_t
slab_count(void)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    return stats.slab_count;
}

static void
turn(size_t size_bytes, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        char *block = core_alloc(heap, size_bytes);
        core_fill(block, size_bytes, i);
        assert_true(core_holds(block, size_bytes, i));
        give(block);
    }
}

static bool
is_guest(size_t size_bytes)
{
    unsigned class_index = hhi_class_of(size_bytes);
    return hhi_bin_is_guest(&own_cache()->bins[class_index], class_index);
}

static void
a_class_with_one_live_block_needs_no_slab_of_its_own(void **state)
{
    (void)state;
    turn(GUEST_BYTES, TURNS);
    assert_true(is_guest(GUEST_BYTES));
    assert_int_equal(slab_count(), 1);
    hhi_cache_check(own_cache());
}

static void
a_slab_has_no_more_guests_than_agreed(void **state)
{
    (void)state;
    turn(GUEST_BYTES, TURNS);
    turn(SECOND_BYTES, TURNS);
    turn(THIRD_BYTES, TURNS);
    assert_true(is_guest(GUEST_BYTES) && is_guest(SECOND_BYTES) && !is_guest(THIRD_BYTES));
    assert_int_equal(slab_count(), 2);
    hhi_cache_check(own_cache());
}

// Whatever the guests have not handed out is there for the slab's own class when it needs it.
static void
a_slab_becomes_full_with_all_of_its_blocks(void **state)
{
    (void)state;
    void *blocks[HOST_BLOCKS];
    turn(GUEST_BYTES, TURNS);
    turn(SECOND_BYTES, TURNS);
    for (unsigned i = 0; i < HOST_BLOCKS; i++) {
        core_fill(blocks[i] = core_alloc(heap, HOST_BYTES), HOST_BYTES, i);
        hhi_cache_check(own_cache());
    }
    assert_int_equal(slab_count(), 1);
    assert_false(is_guest(GUEST_BYTES) || is_guest(SECOND_BYTES));
    // With nothing free there, what it has a right to comes from the next, then from a slab of its own.
    void *third = core_alloc(heap, GUEST_BYTES), *own = core_alloc(heap, GUEST_BYTES);
    assert_int_equal(usable(third), HOST_BYTES);
    assert_int_equal(usable(own), GUEST_BYTES);
    assert_int_equal(slab_count(), 3);
    for (unsigned i = 0; i < HOST_BLOCKS; i++) {
        assert_true(core_holds(blocks[i], HOST_BYTES, i));
        give(blocks[i]);
    }
    give(third);
    give(own);
    hhi_cache_check(own_cache());
}

static void
blocks_of_guests_are_freed_once_and_told_by_their_size(void **state)
{
    (void)state;
    turn(GUEST_BYTES, TURNS);
    char *block = core_alloc(heap, GUEST_BYTES);
    assert_int_equal(usable(block), HOST_BYTES);
    assert_int_equal(hhi_heap_free(heap, block + 512), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free_sized(heap, block, HOST_BYTES + 1), HH_BAD_SIZE_MISMATCH);
    assert_int_equal(hhi_heap_free_sized(heap, block, GUEST_BYTES), 0);
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
    hhi_cache_check(own_cache());
}

static void
aligned_blocks_of_guests_are_aligned(void **state)
{
    (void)state;
    turn(640, TURNS);
    assert_true(is_guest(640));
    for (unsigned i = 0; i < 8; i++) {
        void *block = hhi_heap_alloc_aligned(heap, 128, 640, HHI_LEVEL_TASK);
        assert_int_equal((uintptr_t)block % 128, 0);
        give(block);
    }
}

// The slab has both a list of blocks never used and a guest's of blocks that were.
static void
zeroed_blocks_of_guests_are_zero(void **state)
{
    (void)state;
    void *blocks[HOST_BLOCKS / 2];
    static const char zero[HOST_BYTES];
    turn(GUEST_BYTES, HHI_GUEST_FROM_BLOCKS); // the first zeroed one makes it a guest
    for (unsigned i = 0; i < HOST_BLOCKS / 2; i++) {
        char *block = hhi_heap_alloc_zeroed(heap, GUEST_BYTES, HHI_LEVEL_TASK);
        assert_memory_equal(block, zero, GUEST_BYTES);
        core_fill(block, usable(block), i);
        give(block);
        blocks[i] = hhi_heap_alloc_zeroed(heap, HOST_BYTES, HHI_LEVEL_TASK);
        assert_memory_equal(blocks[i], zero, HOST_BYTES);
    }
    for (unsigned i = 0; i < HOST_BLOCKS / 2; i++)
        give(blocks[i]);
}

static void *
turn_and_end(void *kept)
{
    void **blocks = kept;
    for (unsigned i = 0; i < 4; i++) {
        turn(GUEST_BYTES, TURNS);
        blocks[i] = core_alloc(heap, GUEST_BYTES);
    }
    hhi_cache_check(own_cache());
    return NULL;
}

static void
what_guests_leave_behind_is_found_by_the_next_thread(void **state)
{
    (void)state;
    void *kept[4];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, turn_and_end, kept), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        give(kept[i]);
    turn(HOST_BYTES, TURNS);
    turn(GUEST_BYTES, TURNS);
    assert_int_equal(slab_count(), 1);
    hhi_cache_check(own_cache());
    hhi_trim();
    turn(GUEST_BYTES, TURNS);
    hhi_cache_check(own_cache());
}

#define GUEST_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST_TEST(zeroed_blocks_of_guests_are_zero), // first, in memory never used
        GUEST_TEST(a_class_with_one_live_block_needs_no_slab_of_its_own),
        GUEST_TEST(a_slab_has_no_more_guests_than_agreed),
        GUEST_TEST(a_slab_becomes_full_with_all_of_its_blocks),
        GUEST_TEST(blocks_of_guests_are_freed_once_and_told_by_their_size),
        GUEST_TEST(aligned_blocks_of_guests_are_aligned),
        GUEST_TEST(what_guests_leave_behind_is_found_by_the_next_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
