// SPDX-License-Identifier: MIT
// Needs-, Acquired- and ReleasedVirtualAddressSpace. Contract section 9.3, 16.5.

#include "support/host.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define LIMIT ((uintptr_t)0x00007FFFFFFFF000)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static hh_hresult
needs(uintptr_t start, size_t size)
{
    IHostMemoryManager *manager = test_manager();
    return manager->lpVtbl->NeedsVirtualAddressSpace(manager, (void *)start, size);
}

static uintptr_t
reserve(size_t size)
{
    IHostMemoryManager *manager = test_manager();
    void *memory = NULL;
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, size, MEM_RESERVE, PAGE_READWRITE,
                                                   eTaskCritical, &memory),
                     S_OK);
    return (uintptr_t)memory;
}

static void
release(uintptr_t start)
{
    IHostMemoryManager *manager = test_manager();
    assert_int_equal(manager->lpVtbl->VirtualFree(manager, (void *)start, 0, MEM_RELEASE), S_OK);
}

// AS-1: a result with the success sign makes the runtime try again; S_OK is the only one (GEN-1).
static void
needs_anywhere_succeeds(void **state)
{
    (void)state;
    errno = 4711;
    assert_int_equal(needs(0, 0), S_OK);
    assert_int_equal(needs(0, 1), S_OK);
    assert_int_equal(needs(0, 10 * MIB), S_OK);
    assert_int_equal(errno, 4711); // GEN-9
}

// AS-2: a range that wraps or leaves the user's part.
static void
needs_out_of_user_space_is_refused(void **state)
{
    (void)state;
    static const struct {
        uintptr_t start;
        size_t size;
        hh_hresult answer;
    } rows[] = {
        {LIMIT, 0, E_OUTOFMEMORY},
        {LIMIT, 1, E_OUTOFMEMORY},
        {LIMIT - 4096, 4097, E_OUTOFMEMORY},
        {LIMIT - 4096, 4096, S_OK},
        {0x10000, SIZE_MAX, E_OUTOFMEMORY},
        {0x10000, SIZE_MAX - 0x10000 + 1, E_OUTOFMEMORY},
        {0x8000000000000000, 4096, E_OUTOFMEMORY},
        {UINTPTR_MAX, 1, E_OUTOFMEMORY},
        {UINTPTR_MAX, 0, E_OUTOFMEMORY},
        {0, SIZE_MAX, E_OUTOFMEMORY},
        {0, LIMIT + 1, E_OUTOFMEMORY},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(needs(rows[i].start, rows[i].size), rows[i].answer);
}

// AS-2, 16.5: any overlap with a live host allocation, and with the tail of its last block.
static void
needs_over_a_live_allocation_is_refused_until_it_is_released(void **state)
{
    (void)state;
    uintptr_t outer = reserve(1024 * KIB); // its release leaves room around the inner one
    release(outer);
    IHostMemoryManager *manager = test_manager();
    void *memory = NULL;
    uintptr_t base = outer + 256 * KIB;
    hh_hresult answer = manager->lpVtbl->VirtualAlloc(manager, (void *)base, 5 * 4096, MEM_RESERVE,
                                                      PAGE_READWRITE, eTaskCritical, &memory);
    assert_int_equal(answer, S_OK);
    const struct {
        uintptr_t start;
        size_t size;
        hh_hresult answer;
    } rows[] = {
        {base, 5 * 4096, E_OUTOFMEMORY},
        {base, 1, E_OUTOFMEMORY},
        {base, 0, E_OUTOFMEMORY}, // size unknown
        {base + 5 * 4096 - 1, 1, E_OUTOFMEMORY},
        {base + 5 * 4096, 4096, E_OUTOFMEMORY}, // 16.5
        {base + 64 * KIB - 1, 1, E_OUTOFMEMORY},
        {base + 64 * KIB, 4096, S_OK},
        {base - 1, 1, S_OK},
        {base - 1, 2, E_OUTOFMEMORY},
        {outer, 256 * KIB, S_OK},
        {outer, 256 * KIB + 1, E_OUTOFMEMORY},
        {outer, 1024 * KIB, E_OUTOFMEMORY},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(needs(rows[i].start, rows[i].size), rows[i].answer);
    release(base);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(needs(rows[i].start, rows[i].size), S_OK);
}

// AS-2: a slab with live blocks stands in the way.
static void
needs_over_live_blocks_is_refused(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    static const size_t sizes[] = {16, 1000, 100000, 5000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = test_heap_alloc(heap, sizes[i]);
        memset(block, 0x5A, sizes[i]);
        assert_int_equal(needs((uintptr_t)block, sizes[i]), E_OUTOFMEMORY);
        assert_int_equal(needs((uintptr_t)block + sizes[i] - 1, 1), E_OUTOFMEMORY);
        assert_int_equal(((unsigned char *)block)[sizes[i] - 1], 0x5A); // nothing was touched
        assert_int_equal(test_heap_free(heap, block), S_OK);
    }
    test_heap_end(heap);
}

// AS-2, DECISION 43: unused address space that the library kept is given back.
static void
needs_gives_back_what_is_retained(void **state)
{
    (void)state;
    hh_stats before, after;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    size_t size = 200 * MIB;
    void *block = test_heap_alloc(heap, size);
    memset(block, 1, 8 * MIB);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    assert_int_equal(hh_get_stats(&before), HH_OK);
    assert_int_equal(needs((uintptr_t)block, size), S_OK);
    assert_int_equal(hh_get_stats(&after), HH_OK);
    assert_int_equal(after.retained_bytes, 0);
    assert_true(after.reserved_bytes <= before.reserved_bytes - size);
    // The file can be mapped there now.
    void *file = mmap(block, size, PROT_READ,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(file, block);
    munmap(file, size);
    test_heap_end(heap);
}

static hh_hresult
acquired(uintptr_t start, size_t size)
{
    IHostMemoryManager *manager = test_manager();
    return manager->lpVtbl->AcquiredVirtualAddressSpace(manager, (void *)start, size);
}

static hh_hresult
released(uintptr_t start)
{
    IHostMemoryManager *manager = test_manager();
    return manager->lpVtbl->ReleasedVirtualAddressSpace(manager, (void *)start);
}

// AS-3, AS-4, DECISION 44: a notice can not fail.
static void
notices_always_succeed(void **state)
{
    (void)state;
    errno = 4711;
    assert_int_equal(acquired(0, 0), S_OK);
    assert_int_equal(acquired(0, 4096), S_OK);
    assert_int_equal(acquired(0x10000, 0), S_OK);
    assert_int_equal(acquired(0x10000, 4096), S_OK);
    assert_int_equal(acquired(0x10000, 8192), S_OK);
    assert_int_equal(acquired(UINTPTR_MAX, SIZE_MAX), S_OK);
    assert_int_equal(released(0x10000), S_OK);
    assert_int_equal(released(0x10000), S_OK);
    assert_int_equal(released(UINTPTR_MAX), S_OK);
    assert_int_equal(released(0), S_OK);
    assert_int_equal(released(0x123456789), S_OK);
    assert_int_equal(errno, 4711); // GEN-9
    for (uintptr_t i = 1; i <= 3000; i++)
        assert_int_equal(acquired(i << 20, 65536), S_OK);
    for (uintptr_t i = 3000; i >= 1; i--)
        assert_int_equal(released(i << 20), S_OK);
}

// AS-3, AS-4: kept for statistics; a second notice of a start replaces the first.
static void
notices_appear_in_the_statistics(void **state)
{
    (void)state;
    hh_stats before, after;
    assert_int_equal(hh_get_stats(&before), HH_OK);
    assert_int_equal(acquired(0x510000000, 8192), S_OK);
    assert_int_equal(acquired(0x520000000, 4096), S_OK);
    assert_int_equal(acquired(0x520000000, 12288), S_OK);
    assert_int_equal(hh_get_stats(&after), HH_OK);
    assert_int_equal(after.acquired_ranges, before.acquired_ranges + 2);
    assert_int_equal(after.acquired_bytes, before.acquired_bytes + 20480);
    assert_int_equal(released(0x510000000), S_OK);
    assert_int_equal(released(0x520000000), S_OK);
    assert_int_equal(hh_get_stats(&after), HH_OK);
    assert_int_equal(after.acquired_ranges, before.acquired_ranges);
    assert_int_equal(after.acquired_bytes, before.acquired_bytes);
}

static hh_memory_basic_information
query(const void *address)
{
    hh_memory_basic_information information;
    size_t written = 0;
    IHostMemoryManager *manager = test_manager();
    memset(&information, 0, sizeof information);
    hh_hresult answer = manager->lpVtbl->VirtualQuery(manager, (void *)(uintptr_t)address,
                                                      &information, sizeof information, &written);
    assert_int_equal(answer, S_OK);
    return information;
}

// AS-5: neither notice changes a mapping, its protection, or what VirtualQuery says.
static void
notices_change_nothing_in_memory(void **state)
{
    (void)state;
    size_t size = 256 * KIB;
    unsigned char *file =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(file, MAP_FAILED);
    memset(file, 7, size);
    assert_int_equal(mprotect(file + 65536, 65536, PROT_READ), 0);
    const void *places[] = {file, file + 65536, file + 131072};
    hh_memory_basic_information before[3], after;
    for (size_t i = 0; i < 3; i++)
        before[i] = query(places[i]);
    for (unsigned step = 0; step < 2; step++) {
        assert_int_equal(step == 0 ? acquired((uintptr_t)file, size) : released((uintptr_t)file),
                         S_OK);
        for (size_t i = 0; i < 3; i++) {
            after = query(places[i]);
            assert_memory_equal(&after, &before[i], sizeof after);
        }
        for (size_t i = 0; i < size; i += 4096)
            assert_int_equal(file[i], 7);
        file[0] = 7; // still writable
    }
    munmap(file, size);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_anywhere_succeeds),
        cmocka_unit_test(needs_out_of_user_space_is_refused),
        cmocka_unit_test(needs_over_a_live_allocation_is_refused_until_it_is_released),
        cmocka_unit_test(needs_over_live_blocks_is_refused),
        cmocka_unit_test(needs_gives_back_what_is_retained),
        cmocka_unit_test(notices_always_succeed),
        cmocka_unit_test(notices_appear_in_the_statistics),
        cmocka_unit_test(notices_change_nothing_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
