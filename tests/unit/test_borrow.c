// SPDX-License-Identifier: MIT
// tests/unit/test_borrow.c - blocks freed in slabs of a larger class come before memory never used.
#include <string.h>

#include "heap/thread_cache.h"
#include "support/own_heap.h"

enum {
    BYTES = 608,
    LARGER_BYTES = 704,     // less than a quarter larger
    TOO_LARGE_BYTES = 1008, // and this is more
    ODD_BYTES = 656,        // of a class that is aligned to 16 bytes
    EVEN_BYTES = 640,       // and this to 128
    SOME = 12,
    MOST = 32, // borrowed before the class gets one more of its own
};

static size_t
usable(const void *block)
{
    size_t size_bytes;
    assert_int_equal(hhi_heap_usable_size(heap, block, &size_bytes), 0);
    return size_bytes;
}

static void
take_some(void **blocks, size_t size_bytes)
{
    for (unsigned i = 0; i < SOME; i++)
        core_fill(blocks[i] = core_alloc(heap, size_bytes), size_bytes, i);
}

static void
give_some(void **blocks, size_t size_bytes)
{
    for (unsigned i = 0; i < SOME; i++) {
        assert_true(core_holds(blocks[i], size_bytes, i));
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    }
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
}

static void
free_some(void *blocks)
{
    for (unsigned i = 0; i < SOME; i++)
        assert_int_equal(hhi_heap_free(heap, ((void **)blocks)[i]), 0);
}

// Blocks of the class's own, so many that its first list is at an end, and others of the other's.
static void
own_and_others(void **own, void **others, size_t size_bytes)
{
    unsigned class_index = hhi_class_of(BYTES);
    take_some(others, size_bytes);
    take_some(own, BYTES);
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    while (cache->bins[class_index].head != HHI_LINK_END)
        (void)core_alloc(heap, BYTES);
}

// The same, and the others are freed.
static void
others_free(void **own, size_t size_bytes)
{
    void *others[SOME];
    own_and_others(own, others, size_bytes);
    give_some(others, size_bytes);
}

static void
a_block_freed_in_a_larger_class_comes_before_memory_never_used(void **state)
{
    (void)state;
    void *own[SOME];
    others_free(own, LARGER_BYTES);
    char *borrowed = core_alloc(heap, BYTES);
    assert_int_equal(usable(borrowed), LARGER_BYTES);
    assert_int_equal(hhi_heap_free(heap, borrowed + 16), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free_sized(heap, borrowed, BYTES), 0);
    assert_int_equal(hhi_heap_free(heap, borrowed), HH_BAD_NOT_LIVE);
    give_some(own, BYTES);
}

static void
a_block_that_another_thread_freed_there_comes_first_too(void **state)
{
    (void)state;
    void *own[SOME], *others[SOME];
    own_and_others(own, others, LARGER_BYTES);
    core_in_thread(free_some, others);
    assert_int_equal(usable(core_alloc(heap, BYTES)), LARGER_BYTES);
    give_some(own, BYTES);
}

static void
what_is_freed_in_a_much_larger_class_is_not_taken(void **state)
{
    (void)state;
    void *own[SOME];
    others_free(own, TOO_LARGE_BYTES);
    assert_int_equal(usable(core_alloc(heap, BYTES)), BYTES);
    give_some(own, BYTES);
}

static void
a_class_with_free_blocks_borrows_none(void **state)
{
    (void)state;
    void *own[SOME];
    others_free(own, LARGER_BYTES);
    void **last = &own[SOME - 1]; // the first ones may be of a coarser class
    assert_int_equal(hhi_heap_free(heap, *last), 0);
    core_fill(*last = core_alloc(heap, BYTES), BYTES, SOME - 1);
    assert_int_equal(usable(*last), BYTES);
    give_some(own, BYTES);
}

static void
who_borrows_often_gets_a_block_of_its_own(void **state)
{
    (void)state;
    void *own[SOME];
    others_free(own, LARGER_BYTES);
    for (unsigned i = 0; i < MOST; i++) {
        void *borrowed = core_alloc(heap, BYTES);
        assert_int_equal(usable(borrowed), LARGER_BYTES);
        assert_int_equal(hhi_heap_free(heap, borrowed), 0);
    }
    void *more = core_alloc(heap, BYTES), *next = core_alloc(heap, BYTES);
    assert_int_equal(usable(more), BYTES);
    assert_int_equal(usable(next), LARGER_BYTES); // one more, not a list of them
    assert_int_equal(hhi_heap_free(heap, more), 0);
    assert_ptr_equal(core_alloc(heap, BYTES), more);
    give_some(own, BYTES);
}

static void
a_borrowed_zeroed_block_is_zero(void **state)
{
    (void)state;
    static const char zero[BYTES];
    void *own[SOME];
    others_free(own, LARGER_BYTES);
    void *block = hhi_heap_alloc_zeroed(heap, BYTES, HHI_LEVEL_TASK);
    assert_int_equal(usable(block), LARGER_BYTES);
    assert_memory_equal(block, zero, BYTES);
    give_some(own, BYTES);
}

static void
aligned_blocks_are_aligned_whatever_was_freed(void **state)
{
    (void)state;
    void *others[SOME], *own[4 * SOME];
    take_some(others, ODD_BYTES);
    give_some(others, ODD_BYTES);
    for (unsigned i = 0; i < 4 * SOME; i++) {
        own[i] = hhi_heap_alloc_aligned(heap, 128, EVEN_BYTES, HHI_LEVEL_TASK);
        assert_int_equal((uintptr_t)own[i] % 128, 0);
    }
    for (unsigned i = 0; i < 4 * SOME; i++)
        assert_int_equal(hhi_heap_free_aligned_sized(heap, own[i], 128, EVEN_BYTES), 0);
}

#define BORROW_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BORROW_TEST(a_borrowed_zeroed_block_is_zero), // first, in memory never used
        BORROW_TEST(a_block_freed_in_a_larger_class_comes_before_memory_never_used),
        BORROW_TEST(a_block_that_another_thread_freed_there_comes_first_too),
        BORROW_TEST(what_is_freed_in_a_much_larger_class_is_not_taken),
        BORROW_TEST(a_class_with_free_blocks_borrows_none),
        BORROW_TEST(who_borrows_often_gets_a_block_of_its_own),
        BORROW_TEST(aligned_blocks_are_aligned_whatever_was_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
