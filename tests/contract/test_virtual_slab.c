// SPDX-License-Identifier: MIT
// tests/contract/test_virtual_slab.c - the library's own memory, seen through the virtual methods.
#include "virtual.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static IHostMalloc *
make_heap(uint32_t type)
{
    IHostMalloc *heap = NULL;
    assert_int_equal(manager->lpVtbl->CreateMalloc(manager, type, &heap), S_OK);
    return heap;
}

static uintptr_t
heap_alloc(IHostMalloc *heap, size_t size)
{
    void *block = NULL;
    assert_int_equal(heap->lpVtbl->Alloc(heap, size, eTaskCritical, &block), S_OK);
    return (uintptr_t)block;
}

static const size_t sizes[] = {0, 1, 100, 4096, 40000, 300000, 5u << 20, 40u << 20};

// Example 10. [VQ-5] [D34]
static void
a_block_lies_in_committed_private_memory(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint32_t protect;
    } heaps[] = {{MALLOC_THREADSAFE, PAGE_READWRITE},
                 {MALLOC_THREADSAFE | MALLOC_EXECUTABLE, PAGE_EXECUTE_READWRITE}};
    for (size_t h = 0; h < COUNT(heaps); h++) {
        IHostMalloc *heap = make_heap(heaps[h].type);
        for (size_t i = 0; i < COUNT(sizes); i++) {
            uintptr_t p = heap_alloc(heap, sizes[i]);
            hh_memory_basic_information info = query(p);
            assert_int_equal(info.BaseAddress, p & ~(P - 1));
            assert_int_equal(info.State, MEM_COMMIT);
            assert_int_equal(info.Protect, heaps[h].protect);
            assert_int_equal(info.AllocationProtect, heaps[h].protect);
            assert_int_equal(info.Type, MEM_PRIVATE);
            assert_true((uintptr_t)info.AllocationBase <= p);
            assert_true(p + sizes[i] <= (uintptr_t)info.BaseAddress + info.RegionSize);
            assert_int_equal(heap->lpVtbl->Free(heap, (void *)p), S_OK);
        }
        heap->lpVtbl->Release(heap);
    }
}

// [VQ-5] [VQ-6]: from a region's base by RegionSize to its end, one AllocationBase throughout.
static void
a_region_of_slabs_is_one_allocation(void **state)
{
    (void)state;
    IHostMalloc *heap = make_heap(MALLOC_THREADSAFE);
    uintptr_t p = heap_alloc(heap, 100);
    uintptr_t base = (uintptr_t)query(p).AllocationBase;
    assert_int_equal(base % G, 0);
    uintptr_t at = base;
    uint32_t before = 0;
    bool holds_block = false;
    for (;;) {
        hh_memory_basic_information info = query(at);
        if ((uintptr_t)info.AllocationBase != base)
            break;
        assert_true(info.State == MEM_COMMIT || info.State == MEM_RESERVE);
        assert_int_equal(info.Protect, info.State == MEM_COMMIT ? PAGE_READWRITE : 0);
        assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
        assert_int_not_equal(info.State, before);
        before = info.State;
        holds_block = holds_block || (p >= at && p < at + info.RegionSize);
        at += info.RegionSize;
    }
    assert_true(holds_block);
    assert_int_equal(heap->lpVtbl->Free(heap, (void *)p), S_OK);
    heap->lpVtbl->Release(heap);
}

// [VF-3] [AL-7] [D29] [8.3 row 3]
static void
slab_memory_is_not_for_virtual_free(void **state)
{
    (void)state;
    IHostMalloc *heap = make_heap(MALLOC_THREADSAFE);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        uintptr_t p = heap_alloc(heap, sizes[i]);
        uintptr_t base = (uintptr_t)query(p).AllocationBase;
        const uintptr_t addresses[] = {p, p & ~(P - 1), base, base + 1, base + P};
        for (size_t k = 0; k < COUNT(addresses); k++) {
            assert_int_equal(virtual_free(addresses[k], 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
            assert_int_equal(virtual_free(addresses[k], 0, MEM_DECOMMIT), HOST_E_INVALIDOPERATION);
            assert_int_equal(virtual_free(addresses[k], P, MEM_DECOMMIT), HOST_E_INVALIDOPERATION);
        }
        assert_int_equal(heap->lpVtbl->Free(heap, (void *)p), S_OK);
    }
    heap->lpVtbl->Release(heap);
}

// [8.2 row 8] [VA-2]
static void
slab_memory_is_not_for_virtual_alloc(void **state)
{
    (void)state;
    static const uint32_t types[] = {MEM_RESERVE, MEM_COMMIT, MEM_RESERVE | MEM_COMMIT, MEM_RESET};
    IHostMalloc *heap = make_heap(MALLOC_THREADSAFE);
    uintptr_t p = heap_alloc(heap, 100);
    memset((void *)p, 0x21, 100);
    for (size_t k = 0; k < COUNT(types); k++) {
        void *result = &result;
        assert_int_equal(virtual_alloc(p, P, types[k], PAGE_READWRITE, &result), W_ADDR);
        assert_null(result);
        assert_int_equal(
            virtual_alloc((uintptr_t)query(p).AllocationBase, G, types[k], PAGE_READWRITE, &result),
            W_ADDR);
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(((unsigned char *)p)[i], 0x21);
    assert_int_equal(heap->lpVtbl->Free(heap, (void *)p), S_OK);
    heap->lpVtbl->Release(heap);
}

// [8.4 row 7] [PR-7] [16.1] [D31] [16.2]: wherever the range touches it, whatever else is in it.
static void
slab_memory_is_not_for_virtual_protect(void **state)
{
    (void)state;
    IHostMalloc *heap = make_heap(MALLOC_THREADSAFE);
    uintptr_t p = heap_alloc(heap, 100);
    hh_memory_basic_information info = query(p);
    uintptr_t base = (uintptr_t)info.AllocationBase;
    uintptr_t end = base;
    while ((uintptr_t)query(end).AllocationBase == base)
        end += query(end).RegionSize;
    uintptr_t reserved = end - P; // the high end of a region is not committed, as a rule
    const struct {
        uintptr_t address;
        size_t size;
    } rows[] = {
        {p, 1},
        {p, 100},
        {base, P},
        {base, end - base},
        {base - P, 2 * P},
        {base - 1, 2},
        {end - 1, 2},
        {end - P, 2 * P},
        {reserved, P},
        {base - P, end - base + 2 * P},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t old = 0;
        assert_int_equal(virtual_protect(rows[i].address, rows[i].size, PAGE_NOACCESS, &old),
                         HOST_E_INVALIDOPERATION);
        assert_int_equal(old, PAGE_NOACCESS);
    }
    *(volatile char *)p = 1;
    assert_int_equal(hh_guard_fault((void *)p), 0);
    assert_int_equal(heap->lpVtbl->Free(heap, (void *)p), S_OK);
    heap->lpVtbl->Release(heap);
}

// [VQ-5]: a host allocation's records are ours as well, and nobody's to change.
static void
the_library_s_records_are_its_own(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static uintptr_t bases[MANY];
    for (size_t i = 0; i < MANY; i++)
        bases[i] = must_alloc(0, P, MEM_RESERVE, PAGE_READWRITE);
    size_t records = 0;
    for (uintptr_t at = 0; at < LIMIT;) {
        hh_memory_basic_information info = query(at);
        uint32_t old;
        // The protection the page has already: so nothing of anybody's changes.
        if (info.State == MEM_COMMIT && info.Protect == PAGE_READWRITE)
            records += virtual_protect(at, 1, PAGE_READWRITE, &old) == HOST_E_INVALIDOPERATION;
        at += info.RegionSize;
    }
    assert_true(records >= 2); // tables of the slabs, and a chunk of the arena
    for (size_t i = 0; i < MANY; i++)
        must_release(bases[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_lies_in_committed_private_memory),
        cmocka_unit_test(a_region_of_slabs_is_one_allocation),
        cmocka_unit_test(slab_memory_is_not_for_virtual_free),
        cmocka_unit_test(slab_memory_is_not_for_virtual_alloc),
        cmocka_unit_test(slab_memory_is_not_for_virtual_protect),
        cmocka_unit_test(the_library_s_records_are_its_own),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
