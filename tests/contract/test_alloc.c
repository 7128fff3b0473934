// SPDX-License-Identifier: MIT
// IHostMalloc::Alloc. Contract section 6.1 and the rules for every method.

#include "support/host.h"

#include <stdio.h>
#include <stdlib.h>
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

struct request {
    const char *rule;
    size_t size_bytes;
    uint32_t level;
    hh_hresult expected;
};

static const struct request requests[] = {
    {"AL-2", 0, eTaskCritical, S_OK},
    {"AL-1", 1, eTaskCritical, S_OK},
    {"AL-1", 16, eAppDomainCritical, S_OK},
    {"AL-1", 4096, eProcessCritical, S_OK},
    {"AL-1", 1 << 20, eTaskCritical, S_OK},
    {"AL-1", 20 << 20, eProcessCritical, S_OK},
    {"GEN-10", 64, 3, S_OK},
    {"GEN-10", 64, 0xFFFFFFFF, S_OK},
    {"GEN-10", 64, 0x80000000, S_OK},
    {"AL-5", SIZE_MAX, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX - 15, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX - 4095, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", (size_t)PTRDIFF_MAX + 1, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", (size_t)PTRDIFF_MAX, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX, eAppDomainCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX, eProcessCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX, 0xFFFFFFFF, E_OUTOFMEMORY},
    {"AL-1", (size_t)1 << 47, eTaskCritical, E_OUTOFMEMORY},
};

static void
alloc_answers_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        const struct request *row = &requests[i];
        void *block = &block;
        hh_hresult answer = heap->lpVtbl->Alloc(heap, row->size_bytes, row->level, &block);
        if (answer != row->expected)
            fail_msg("row %zu (%s): %#x", i, row->rule, (unsigned)answer);
        if (answer == S_OK) {
            memset(block, 0xA5, row->size_bytes);
            assert_int_equal(test_heap_free(heap, block), S_OK);
        } else {
            assert_null(block); // AL-1, GEN-2
        }
    }
}

// GEN-3: E_POINTER, and nothing is allocated.
static void
alloc_without_out_pointer_allocates_nothing(void **state)
{
    (void)state;
    hh_heap_stats before, after;
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &before), HH_OK);
    assert_int_equal(heap->lpVtbl->Alloc(heap, 64, eTaskCritical, NULL), E_POINTER);
    assert_int_equal(heap->lpVtbl->Alloc(heap, SIZE_MAX, 99, NULL), E_POINTER);
    assert_int_equal(heap->lpVtbl->Alloc(heap, 0, eProcessCritical, NULL), E_POINTER);
    assert_int_equal(hh_heap_get_stats(hh_heap_of(heap), &after), HH_OK);
    assert_int_equal(before.live_blocks, after.live_blocks);
}

// AL-2: every empty block is a block of its own.
static void
blocks_of_size_zero_are_unique_and_freeable(void **state)
{
    (void)state;
    enum { BLOCKS = 500 };
    void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = test_heap_alloc(heap, 0);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(blocks[i], blocks[k]);
    }
    for (int i = 0; i < BLOCKS; i++)
        assert_int_equal(test_heap_free(heap, blocks[i]), S_OK);
}

// The sizes around every power of two, and all small ones.
static size_t
size_at(int step)
{
    if (step < 300)
        return (size_t)step;
    step -= 300;
    return ((size_t)1 << (8 + step / 5)) + (size_t)(step % 5) - 2;
}

enum { SIZES = 300 + 5 * 17 };

// AL-1, AL-3, AL-4: at least the size, at a multiple of 16, and no two live blocks overlap.
static void
blocks_of_every_size_are_aligned_and_apart(void **state)
{
    (void)state;
    static uint8_t *blocks[SIZES];
    for (int i = 0; i < SIZES; i++) {
        blocks[i] = test_heap_alloc(heap, size_at(i));
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(hh_heap_usable_size(hh_heap_of(heap), blocks[i]) >= size_at(i));
        memset(blocks[i], i & 0xFF, size_at(i));
    }
    for (int i = 0; i < SIZES; i++) {
        assert_true(test_bytes_are(blocks[i], i & 0xFF, size_at(i)));
        assert_int_equal(test_heap_free(heap, blocks[i]), S_OK);
    }
}

// AL-6: whether the mapping around address has the x bit; -1 if there is no mapping.
static int
is_executable(const void *address)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    int found = -1;
    char line[512];
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t start, end;
        char bits[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, bits) != 3)
            continue;
        if (start <= (uintptr_t)address && (uintptr_t)address < end)
            found = bits[0] == 'r' && bits[1] == 'w' ? bits[2] == 'x' : -2;
    }
    fclose(maps);
    return found;
}

// AL-6, CM-4
static void
only_blocks_of_executable_heaps_are_executable(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 500, 10000, 200000, 4000000};
    IHostMalloc *code = test_heap(MALLOC_THREADSAFE | MALLOC_EXECUTABLE);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *plain = test_heap_alloc(heap, sizes[i]);
        void *executable = test_heap_alloc(code, sizes[i]);
        assert_int_equal(is_executable(plain), 0);
        assert_int_equal(is_executable(executable), 1);
        assert_int_equal(is_executable((char *)executable + sizes[i] - 1), 1);
        assert_int_equal(test_heap_free(heap, plain), S_OK);
        assert_int_equal(test_heap_free(code, executable), S_OK);
        // What one kind gave back is not handed to the other with the wrong bits.
        plain = test_heap_alloc(heap, sizes[i]);
        assert_int_equal(is_executable(plain), 0);
        assert_int_equal(test_heap_free(heap, plain), S_OK);
    }
    test_heap_end(code);
}

#if defined(__x86_64__)
static const uint8_t return_42[] = {0xB8, 42, 0, 0, 0, 0xC3}; // mov eax, 42; ret
#elif defined(__aarch64__)
static const uint8_t return_42[] = {0x40, 0x05, 0x80, 0x52, 0xC0, 0x03, 0x5F, 0xD6};
#endif

static void
code_in_a_block_of_an_executable_heap_runs(void **state)
{
    (void)state;
    IHostMalloc *code = test_heap(MALLOC_EXECUTABLE);
    char *block = test_heap_alloc(code, sizeof return_42);
    memcpy(block, return_42, sizeof return_42);
    __builtin___clear_cache(block, block + sizeof return_42);
    int (*function)(void);
    memcpy(&function, &block, sizeof function);
    assert_int_equal(function(), 42); // AL-6
    assert_int_equal(test_heap_free(code, block), S_OK);
    test_heap_end(code);
}

// AL-7: a heap's blocks are no host allocations: VirtualFree does not take them.
static void
virtual_free_of_a_block_is_refused(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    static const size_t sizes[] = {64, 200000, 4000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *block = test_heap_alloc(heap, sizes[i]);
        block[0] = 7;
        assert_true(manager->lpVtbl->VirtualFree(manager, block, 0, MEM_RELEASE) < 0);
        assert_true(manager->lpVtbl->VirtualFree(manager, block, 4096, MEM_DECOMMIT) < 0);
        assert_int_equal(block[0], 7);
        assert_int_equal(test_heap_free(heap, block), S_OK);
    }
}

// Section 10 and table 6.1: over the soft limit only levels above task are served.
static void
over_the_soft_limit_task_level_fails_and_others_are_served(void **state)
{
    (void)state;
    IHostMalloc *limited = test_heap(MALLOC_THREADSAFE);
    assert_int_equal(hh_heap_set_limits(hh_heap_of(limited), 8 << 20, 64 << 20), HH_OK);
    void *blocks[3] = {NULL, NULL, NULL};
    void *big = test_heap_alloc(limited, 6 << 20);
    static const uint32_t task_levels[] = {eTaskCritical, 3, 0xFFFFFFFF};
    for (size_t i = 0; i < COUNT_OF(task_levels); i++) {
        void *block = &block;
        hh_hresult answer = limited->lpVtbl->Alloc(limited, 6 << 20, task_levels[i], &block);
        assert_int_equal(answer, E_OUTOFMEMORY); // GEN-10: odd levels are task level
        assert_null(block);
    }
    for (uint32_t level = eAppDomainCritical; level <= eProcessCritical; level++) {
        hh_hresult answer = limited->lpVtbl->Alloc(limited, 6 << 20, level, &blocks[level]);
        assert_int_equal(answer, S_OK);
    }
    void *block = &block;
    assert_int_equal(limited->lpVtbl->Alloc(limited, 100 << 20, eProcessCritical, &block),
                     E_OUTOFMEMORY);
    assert_null(block);
    assert_int_equal(test_heap_free(limited, big), S_OK);
    assert_int_equal(test_heap_free(limited, blocks[1]), S_OK);
    assert_int_equal(test_heap_free(limited, blocks[2]), S_OK);
    test_heap_end(limited);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc_answers_the_table),
        cmocka_unit_test(alloc_without_out_pointer_allocates_nothing),
        cmocka_unit_test(blocks_of_size_zero_are_unique_and_freeable),
        cmocka_unit_test(blocks_of_every_size_are_aligned_and_apart),
        cmocka_unit_test(only_blocks_of_executable_heaps_are_executable),
        cmocka_unit_test(code_in_a_block_of_an_executable_heap_runs),
        cmocka_unit_test(virtual_free_of_a_block_is_refused),
        cmocka_unit_test(over_the_soft_limit_task_level_fails_and_others_are_served),
    };
    return cmocka_run_group_tests(tests, heap_make, heap_end);
}
