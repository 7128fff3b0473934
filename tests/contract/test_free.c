// SPDX-License-Identifier: MIT
// IHostMalloc::Free of blocks, NULL and plain numbers. Contract section 6.3. The shapes of wrong
// addresses that need a story of their own are in tests/misuse/test_bad_free.c.

#include "support/host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static IHostMalloc *heap;

static int
heap_make(void **state)
{
    (void)state;
    heap = test_heap(MALLOC_THREADSAFE);
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    test_heap_end(heap);
    return 0;
}

// Empty, small, at class borders, several pages, large, with a mapping of its own.
static const size_t sizes[] = {0,      1,      16,     17,      48,      100,     128,
                               129,    1024,   1025,   4096,    8192,    32768,   65536,
                               131072, 262144, 500000, 1 << 20, 1500000, 4 << 20, 33 << 20};

static void
block_freed_by_this_thread(void *argument)
{
    void **block = argument;
    assert_int_equal(test_heap_free(heap, *block), S_OK); // FR-1
    assert_false(test_is_live(*block));
    assert_int_equal(test_heap_free(heap, *block), HOST_E_INVALIDOPERATION); // FR-4
}

// FR-1, FR-4, GEN-6: the allocating thread frees, another one frees; a second free is refused.
static void
a_live_block_is_freed_once_by_any_thread(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = test_heap_alloc(heap, sizes[i]);
        assert_true(test_is_live(block));
        block_freed_by_this_thread(&block);
        block = test_heap_alloc(heap, sizes[i]);
        test_in_thread(block_freed_by_this_thread, &block);
        assert_int_equal(test_heap_free(heap, block), HOST_E_INVALIDOPERATION);
    }
}

static void
block_made(void *argument)
{
    void **block = argument;
    *block = test_heap_alloc(heap, *(size_t *)argument);
    memset(*block, 0x77, 1);
}

// GEN-6: a block outlives the thread that allocated it.
static void
blocks_of_an_ended_thread_are_freed_once(void **state)
{
    (void)state;
    for (size_t i = 1; i < COUNT_OF(sizes); i++) {
        union {
            size_t size_bytes;
            void *block;
        } errand = {.size_bytes = sizes[i]};
        test_in_thread(block_made, &errand);
        assert_int_equal(*(uint8_t *)errand.block, 0x77);
        block_freed_by_this_thread(&errand.block);
    }
}

static int
block_freed_in_child(void *block)
{
    if (test_heap_free(heap, block) != S_OK)
        return 1;
    if (test_heap_free(heap, block) != HOST_E_INVALIDOPERATION)
        return 2;
    void *own;
    if (heap->lpVtbl->Alloc(heap, 100, eTaskCritical, &own) != S_OK)
        return 3;
    return test_heap_free(heap, own) == S_OK ? 0 : 4;
}

static void
a_child_process_frees_its_copy_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i += 4) {
        void *block = test_heap_alloc(heap, sizes[i]);
        assert_int_equal(test_in_child(block_freed_in_child, block), 0);
        assert_true(test_is_live(block)); // the parent's is untouched
        assert_int_equal(test_heap_free(heap, block), S_OK);
    }
}

// FR-2
static void
free_of_null_succeeds_and_changes_nothing(void **state)
{
    (void)state;
    hh_heap_stats before, after;
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &before), HH_OK);
    assert_int_equal(test_heap_free(heap, NULL), S_OK);
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &after), HH_OK);
    assert_int_equal(before.live_blocks, after.live_blocks);
    assert_int_equal(before.bad_frees, after.bad_frees);
}

// FR-3: every single bit, and the edges of every range.
static void
free_of_any_number_is_refused(void **state)
{
    (void)state;
    static const uintptr_t numbers[] = {
        0x1,
        0x2,
        0x8,
        0x10,
        0xFFF,
        0x1000,
        0xFFFF,
        0x10000,
        0x7FFFFFFFEFFF,
        0x7FFFFFFFF000,
        0x7FFFFFFFFFFF,
        0x800000000000,
        0xFFFF7FFFFFFFFFFF,
        0xFFFF800000000000,
        0x8000000000000000,
        0xDEADBEEFDEADBEEF,
        0xABABABABABABABAB,
        0xFFFFFFFFFFFFF000,
        UINTPTR_MAX - 15,
        UINTPTR_MAX,
    };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (test_heap_free(heap, (void *)numbers[i]) != HOST_E_INVALIDOPERATION)
            fail_msg("%#lx was not refused", numbers[i]);
    }
    for (int bit = 0; bit < 64; bit++) {
        assert_int_equal(test_heap_free(heap, (void *)((uintptr_t)1 << bit)),
                         HOST_E_INVALIDOPERATION);
        assert_int_equal(test_heap_free(heap, (void *)~((uintptr_t)1 << bit)),
                         HOST_E_INVALIDOPERATION);
    }
}

// FR-1, FR-3: a block's address with any one bit turned over names no block of the heap, unless
// that address is a live block itself.
static void
free_of_a_block_s_address_with_a_bit_turned_over_is_refused(void **state)
{
    (void)state;
    void *block = test_heap_alloc(heap, 24);
    memset(block, 0x3C, 24);
    for (int bit = 0; bit < 64; bit++) {
        void *other = (void *)((uintptr_t)block ^ (uintptr_t)1 << bit);
        if (!test_is_live(other))
            assert_int_equal(test_heap_free(heap, other), HOST_E_INVALIDOPERATION);
        assert_true(test_is_live(block));
    }
    for (int i = 0; i < 24; i++)
        assert_int_equal(((uint8_t *)block)[i], 0x3C);
    assert_int_equal(test_heap_free(heap, block), S_OK);
}

// FR-4: after the address is given out anew it is a live block again.
static void
a_reused_address_is_freed_again(void **state)
{
    (void)state;
    void *block = test_heap_alloc(heap, 64);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    void *blocks[10000];
    size_t count = 0;
    while (count < COUNT_OF(blocks) && (count == 0 || blocks[count - 1] != block))
        blocks[count++] = test_heap_alloc(heap, 64);
    assert_ptr_equal(blocks[count - 1], block);
    while (count-- > 0)
        assert_int_equal(test_heap_free(heap, blocks[count]), S_OK);
    assert_int_equal(test_heap_free(heap, block), HOST_E_INVALIDOPERATION);
}

// FR-5, FR-1: a refused free is counted, a good one is not.
static void
refused_frees_are_counted(void **state)
{
    (void)state;
    hh_heap_stats before, after;
    char *block = test_heap_alloc(heap, 64);
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &before), HH_OK);
    for (int i = 1; i <= 10; i++)
        assert_int_equal(test_heap_free(heap, block + i), HOST_E_INVALIDOPERATION);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    assert_int_equal(test_heap_free(heap, block), HOST_E_INVALIDOPERATION);
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &after), HH_OK);
    assert_int_equal(after.bad_frees - before.bad_frees, 11);
}

enum { RACERS = 2, RACE_BLOCKS = 3000, RACE_SIZE_BYTES = 56 };

static struct race {
    void *blocks[RACE_BLOCKS];
    atomic_uint freed[RACE_BLOCKS];
    atomic_uint arrived[RACE_BLOCKS];
} race;

static void *
racer_run(void *argument)
{
    (void)argument;
    for (int i = 0; i < RACE_BLOCKS; i++) {
        // Both at the same block at nearly the same time, but neither waits long for the other.
        atomic_fetch_add(&race.arrived[i], 1);
        for (int spin = 0; spin < 200 && atomic_load(&race.arrived[i]) < RACERS; spin++)
            continue;
        if (test_heap_free(heap, race.blocks[i]) == S_OK)
            atomic_fetch_add(&race.freed[i], 1);
    }
    return NULL;
}

// FR-5: no corruption follows a racing double free: no block is handed out twice afterwards.
static void
racing_double_frees_corrupt_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        memset(&race, 0, sizeof race);
        for (int i = 0; i < RACE_BLOCKS; i++)
            race.blocks[i] = test_heap_alloc(heap, RACE_SIZE_BYTES);
        pthread_t threads[RACERS];
        for (int t = 0; t < RACERS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, racer_run, NULL), 0);
        for (int t = 0; t < RACERS; t++)
            pthread_join(threads[t], NULL);
        for (int i = 0; i < RACE_BLOCKS; i++)
            assert_true(atomic_load(&race.freed[i]) >= 1);
        static uint64_t *fresh[2 * RACE_BLOCKS];
        for (size_t i = 0; i < COUNT_OF(fresh); i++) {
            fresh[i] = test_heap_alloc(heap, RACE_SIZE_BYTES);
            *fresh[i] = i;
        }
        for (size_t i = 0; i < COUNT_OF(fresh); i++) {
            assert_int_equal(*fresh[i], i);
            assert_int_equal(test_heap_free(heap, fresh[i]), S_OK);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_block_is_freed_once_by_any_thread),
        cmocka_unit_test(blocks_of_an_ended_thread_are_freed_once),
        cmocka_unit_test(a_child_process_frees_its_copy_once),
        cmocka_unit_test(free_of_null_succeeds_and_changes_nothing),
        cmocka_unit_test(free_of_any_number_is_refused),
        cmocka_unit_test(free_of_a_block_s_address_with_a_bit_turned_over_is_refused),
        cmocka_unit_test(a_reused_address_is_freed_again),
        cmocka_unit_test(refused_frees_are_counted),
        cmocka_unit_test(racing_double_frees_corrupt_nothing),
    };
    return cmocka_run_group_tests(tests, heap_make, heap_end);
}
