// SPDX-License-Identifier: MIT
/*
 * tests/contract/virtual.h - short names for the virtual memory methods, and query checks.
 *
 * A file cites the rules it holds as [XX-n], [Dn] or [8.x row n] beside the test that holds them.
 */
#ifndef HH_TESTS_CONTRACT_VIRTUAL_H
#define HH_TESTS_CONTRACT_VIRTUAL_H

#include <stdbool.h>

#include <hostheap/host_memory.h>
#include <string.h>
#include <sys/mman.h>

#include "support/test.h"

#define P ((size_t)0x1000)
#define G ((size_t)0x10000)
#define LIMIT ((uintptr_t)0x00007FFFFFFFF000)
#define W_ADDR HH_W_INVALID_ADDRESS
#define W_NOACCESS HH_W_NOACCESS
#define W_LEN HH_W_BAD_LENGTH
#define ANY_SIZE ((size_t)-1)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static IHostMemoryManager *manager;

static inline int
virtual_setup(void **state)
{
    (void)state;
    return hh_get_memory_manager(&manager) == S_OK && manager != NULL ? 0 : -1;
}

static inline hh_hresult
virtual_alloc(uintptr_t address, size_t size, uint32_t type, uint32_t protect, void **result)
{
    return manager->lpVtbl->VirtualAlloc(manager, (void *)address, size, type, protect,
                                         eTaskCritical, result);
}

// Succeeds, or the test fails.
static inline uintptr_t
must_alloc(uintptr_t address, size_t size, uint32_t type, uint32_t protect)
{
    void *result = NULL;
    assert_int_equal(virtual_alloc(address, size, type, protect, &result), S_OK);
    assert_non_null(result);
    return (uintptr_t)result;
}

static inline hh_hresult
virtual_free(uintptr_t address, size_t size, uint32_t type)
{
    return manager->lpVtbl->VirtualFree(manager, (void *)address, size, type);
}

static inline void
must_release(uintptr_t address)
{
    assert_int_equal(virtual_free(address, 0, MEM_RELEASE), S_OK);
}

static inline hh_hresult
virtual_protect(uintptr_t address, size_t size, uint32_t protect, uint32_t *old)
{
    return manager->lpVtbl->VirtualProtect(manager, (void *)address, size, protect, old);
}

static inline hh_memory_basic_information
query(uintptr_t address)
{
    hh_memory_basic_information info;
    size_t length = 0;
    memset(&info, 0xEE, sizeof info);
    assert_int_equal(
        manager->lpVtbl->VirtualQuery(manager, (void *)address, &info, sizeof info, &length), S_OK);
    assert_int_equal(length, sizeof info);
    assert_int_equal(info.PartitionId, 0);
    assert_int_equal(info.pad0, 0);
    assert_int_equal(info.pad1, 0);
    return info;
}

static inline void
expect_query(uintptr_t address, uintptr_t base, uintptr_t allocation_base,
             uint32_t allocation_protect, size_t size, uint32_t state, uint32_t protect,
             uint32_t type)
{
    hh_memory_basic_information info = query(address);
    assert_int_equal(info.BaseAddress, base);
    assert_int_equal(info.AllocationBase, allocation_base);
    assert_int_equal(info.AllocationProtect, allocation_protect);
    if (size != ANY_SIZE)
        assert_int_equal(info.RegionSize, size);
    assert_int_equal(info.State, state);
    assert_int_equal(info.Protect, protect);
    assert_int_equal(info.Type, type);
}

static inline void
expect_committed(uintptr_t at, uintptr_t base, uint32_t allocation_protect, size_t size,
                 uint32_t protect)
{
    expect_query(at, at & ~(P - 1), base, allocation_protect, size, MEM_COMMIT, protect,
                 MEM_PRIVATE);
}

static inline void
expect_reserved(uintptr_t at, uintptr_t base, uint32_t allocation_protect, size_t size)
{
    expect_query(at, at & ~(P - 1), base, allocation_protect, size, MEM_RESERVE, 0, MEM_PRIVATE);
}

static inline void
expect_free(uintptr_t at, size_t size)
{
    expect_query(at, at & ~(P - 1), 0, 0, size, MEM_FREE, PAGE_NOACCESS, 0);
}

/*
 * A range of whole granules that nobody uses, in a part of the address space where the kernel maps
 * nothing by itself (and the sanitizers allow mappings): a thread's stack can not come to stand in
 * it meanwhile.
 */
static inline uintptr_t
free_range(size_t size)
{
    static uintptr_t next = 0x7EA000000000;
    uintptr_t range = next;
    next += (size + 2 * G) & ~(G - 1);
    assert_int_equal(query(range).State, MEM_FREE);
    assert_true(query(range).RegionSize >= size);
    return range;
}

// Somebody else's pages, exactly there.
static inline void
foreign_map(uintptr_t address, size_t size, int protection)
{
    void *got = mmap((void *)address, size, protection,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_int_equal(got, address);
}

static inline void
foreign_unmap(uintptr_t address, size_t size)
{
    assert_int_equal(munmap((void *)address, size), 0);
}

#endif
