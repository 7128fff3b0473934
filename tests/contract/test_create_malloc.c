// SPDX-License-Identifier: MIT
// IHostMemoryManager::CreateMalloc and the life of heap objects. Contract section 7, DECISION 3.

#include "support/host.h"

#include <string.h>

struct creation {
    const char *rule;
    uint32_t type;
    hh_hresult expected;
};

static const struct creation creations[] = {
    {"CM-1", 0, S_OK},
    {"CM-1", MALLOC_THREADSAFE, S_OK},
    {"CM-2", MALLOC_EXECUTABLE, S_OK},
    {"CM-2", MALLOC_THREADSAFE | MALLOC_EXECUTABLE, S_OK},
    {"CM-2", 4, E_INVALIDARG},
    {"CM-2", 5, E_INVALIDARG},
    {"CM-2", 7, E_INVALIDARG},
    {"CM-2", 8, E_INVALIDARG},
    {"CM-2", 0x10000, E_INVALIDARG},
    {"CM-2", 0x80000000, E_INVALIDARG},
    {"CM-2", 0x80000001, E_INVALIDARG},
    {"CM-2", UINT32_MAX, E_INVALIDARG},
};

static void
create_malloc_answers_the_table(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    for (size_t i = 0; i < COUNT_OF(creations); i++) {
        IHostMalloc *heap = (IHostMalloc *)&heap;
        hh_hresult answer = manager->lpVtbl->CreateMalloc(manager, creations[i].type, &heap);
        if (answer != creations[i].expected)
            fail_msg("row %zu (%s): %#x", i, creations[i].rule, (unsigned)answer);
        if (answer == S_OK) {
            assert_non_null(heap);
            test_heap_end(heap); // CM-1: it carried one reference
        } else {
            assert_null(heap); // GEN-2
        }
        // GEN-3: the null out-pointer before anything else
        assert_int_equal(manager->lpVtbl->CreateMalloc(manager, creations[i].type, NULL),
                         E_POINTER);
    }
}

// DECISION 17: each call makes a new object with an identity of its own.
static void
each_call_makes_a_heap_of_its_own(void **state)
{
    (void)state;
    enum { HEAPS = 20 };
    IHostMalloc *heaps[HEAPS];
    void *blocks[HEAPS];
    for (int i = 0; i < HEAPS; i++) {
        heaps[i] = test_heap(MALLOC_THREADSAFE);
        for (int k = 0; k < i; k++) {
            assert_ptr_not_equal(heaps[i], heaps[k]);
            assert_ptr_not_equal(hh_heap_of(heaps[i]), hh_heap_of(heaps[k]));
        }
        blocks[i] = test_heap_alloc(heaps[i], 48);
    }
    for (int i = 0; i < HEAPS; i++) {
        for (int k = 0; k < HEAPS; k++) {
            if (k != i)
                assert_int_equal(test_heap_free(heaps[k], blocks[i]),
                                 HOST_E_INVALIDOPERATION); // FR-6
        }
        assert_true(test_is_live(blocks[i]));
    }
    for (int i = 0; i < HEAPS; i++) {
        assert_int_equal(test_heap_free(heaps[i], blocks[i]), S_OK);
        test_heap_end(heaps[i]);
    }
}

// CM-5: what the CLR does at start: the door, the manager, one heap of type 1, the callback.
static void
the_clr_s_start_sequence_succeeds(void **state)
{
    (void)state;
    IHostControl *control;
    assert_int_equal(hh_get_host_control(&control), S_OK);
    IHostMemoryManager *manager;
    assert_int_equal(
        control->lpVtbl->GetHostManager(control, &IID_IHostMemoryManager, (void **)&manager), S_OK);
    IHostMalloc *heap;
    assert_int_equal(manager->lpVtbl->CreateMalloc(manager, 1, &heap), S_OK);
    // The result is ignored by the CLR; only that it may be called is asked for.
    (void)manager->lpVtbl->RegisterMemoryNotificationCallback(manager, NULL);
    void *block = test_heap_alloc(heap, 0);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    test_heap_end(heap);
    manager->lpVtbl->Release(manager);
    control->lpVtbl->Release(control);
}

// CM-3, DECISION 19: without MALLOC_THREADSAFE a heap serves threads all the same.
static void
block_freed_elsewhere(void *argument)
{
    void **pair = argument;
    IHostMalloc *heap = pair[0];
    assert_int_equal(test_heap_free(heap, pair[1]), S_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(test_heap_free(heap, test_heap_alloc(heap, 32)), S_OK);
}

static void
a_heap_without_the_threadsafe_flag_is_safe_for_threads(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(0);
    void *pair[2] = {heap, test_heap_alloc(heap, 32)};
    test_in_thread(block_freed_elsewhere, pair);
    test_heap_end(heap);
}

// COM-4, DECISION 3: blocks outlive their object, readable, and are nobody's to free.
static void
blocks_stay_readable_after_the_heap_object_ended(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 1000, 5000, 100000, 3000000};
    uint8_t *blocks[COUNT_OF(sizes)];
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        blocks[i] = test_heap_alloc(heap, sizes[i]);
        memset(blocks[i], (int)i + 1, sizes[i]);
    }
    test_heap_end(heap);
    IHostMalloc *next = test_heap(MALLOC_THREADSAFE);
    void *fresh[200];
    for (size_t i = 0; i < COUNT_OF(fresh); i++)
        memset(fresh[i] = test_heap_alloc(next, sizes[i % COUNT_OF(sizes)]), 0xFF, 1);
    hh_trim();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_true(test_bytes_are(blocks[i], (int)i + 1, sizes[i]));
        assert_int_equal(test_heap_free(next, blocks[i]), HOST_E_INVALIDOPERATION);
    }
    for (size_t i = 0; i < COUNT_OF(fresh); i++)
        assert_int_equal(test_heap_free(next, fresh[i]), S_OK);
    test_heap_end(next);
}

// Section 16.11: however often the object's address comes back, old blocks are refused.
static void
a_heap_s_identity_is_never_used_again(void **state)
{
    (void)state;
    IHostMalloc *first = test_heap(MALLOC_THREADSAFE);
    void *small = test_heap_alloc(first, 40);
    void *large = test_heap_alloc(first, 2000000);
    test_heap_end(first);
    int same_address = 0;
    for (int i = 0; i < 300; i++) {
        IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
        same_address += heap == first;
        assert_int_equal(test_heap_free(heap, small), HOST_E_INVALIDOPERATION);
        assert_int_equal(test_heap_free(heap, large), HOST_E_INVALIDOPERATION);
        void *block = test_heap_alloc(heap, 40);
        assert_ptr_not_equal(block, small);
        assert_int_equal(test_heap_free(heap, block), S_OK);
        test_heap_end(heap);
    }
    // The test would show nothing if object addresses did not come back.
    assert_true(same_address > 0);
}

// COM-1: an object knows whether it is ours.
static void
heap_of_answers_for_our_objects_only(void **state)
{
    (void)state;
    static const IHostMallocVtbl other_table;
    IHostMalloc other = {&other_table};
    assert_null(hh_heap_of(NULL));
    assert_null(hh_heap_of(&other));
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    hh_heap *native = hh_heap_of(heap);
    assert_non_null(native);
    // Blocks of both doors are the same blocks.
    void *block = test_heap_alloc(heap, 100);
    assert_true(hh_heap_usable_size(native, block) >= 100);
    assert_int_equal(hh_heap_realloc(native, block, 5000, &block), HH_OK);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    uint8_t *zeroed = hh_heap_calloc(native, 10, 10);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    assert_int_equal(test_heap_free(heap, zeroed), S_OK);
    assert_int_equal(hh_heap_free(native, test_heap_alloc(heap, 1)), HH_OK);
    // The object keeps its heap.
    assert_int_equal(hh_heap_destroy(native), HH_E_INVALID_ARGUMENT);
    test_heap_end(heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_malloc_answers_the_table),
        cmocka_unit_test(each_call_makes_a_heap_of_its_own),
        cmocka_unit_test(the_clr_s_start_sequence_succeeds),
        cmocka_unit_test(a_heap_without_the_threadsafe_flag_is_safe_for_threads),
        cmocka_unit_test(blocks_stay_readable_after_the_heap_object_ended),
        cmocka_unit_test(a_heap_s_identity_is_never_used_again),
        cmocka_unit_test(heap_of_answers_for_our_objects_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
