// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz_virtual.c - VirtualAlloc, VirtualFree, VirtualProtect and VirtualQuery against a model
 * of docs/contract.md in 64 granules from 0x50000000: every answer, every field, and what the pages
 * hold. Contract sections 8.1 to 8.5.
 */
#include "fuzz.h"

#include <string.h>

#include <hostheap/host_memory.h>

#define P ((size_t)4096)
#define G ((size_t)65536)
#define ARENA ((uintptr_t)0x50000000)
#define LIMIT ((uintptr_t)0x00007FFFFFFFF000)
#define W_ADDR ((hh_hresult)0x800701E7)
#define W_NOACCESS ((hh_hresult)0x800703E6)
#define W_LEN ((hh_hresult)0x80070018)

enum { GRANULES = 64, PAGES = 1024, PAGES_OF_GRANULE = 16, CALLS_MAX = 400 };

struct page {
    uint16_t allocation; // 1 + first page of its allocation, 0 = free
    bool committed;
    bool reset; // holds what it held, or zero
    uint8_t contents;
    uint32_t protect;
    // Of an allocation, in its first page.
    uint16_t pages;
    uint32_t allocation_protect;
};

static struct page pages[PAGES + 1]; // and one that stays free
static IHostMemoryManager *manager;
static struct fuzz_input input;

static const uint32_t alloc_types[] = {
    MEM_RESERVE,
    MEM_COMMIT,
    MEM_RESERVE | MEM_COMMIT,
    MEM_RESET,
    MEM_COMMIT,
    MEM_RESERVE | MEM_TOP_DOWN,
    0,
    MEM_TOP_DOWN,
    MEM_DECOMMIT,
    MEM_RELEASE,
    0x200000,
    MEM_RESET | MEM_COMMIT,
    0x40000000,
    MEM_COMMIT | 0x10000,
    MEM_RESERVE,
    MEM_RESERVE | MEM_COMMIT,
};
static const uint32_t free_types[] = {
    MEM_DECOMMIT, MEM_RELEASE, MEM_DECOMMIT, MEM_RELEASE, MEM_DECOMMIT | MEM_RELEASE, 0,
    MEM_COMMIT,   0x10000};
static const uint32_t protections[] = {
    PAGE_READWRITE,
    PAGE_READONLY,
    PAGE_NOACCESS,
    PAGE_EXECUTE,
    PAGE_EXECUTE_READ,
    0x40,
    0x104,
    0x102,
    0x140,
    0x101,
    0,
    0x06,
    0x08,
    0x80,
    0x204,
    PAGE_READWRITE,
};

static uintptr_t
address_of(size_t page)
{
    return ARENA + page * P;
}

static bool
protection_is_valid(uint32_t protect)
{
    uint32_t base = protect & ~0x100u;
    return protect == PAGE_NOACCESS ||
           (base != PAGE_NOACCESS &&
            (base == 0x02 || base == 0x04 || base == 0x10 || base == 0x20 || base == 0x40));
}

static bool
page_is_readable(const struct page *page)
{
    return page->committed && page->protect != PAGE_NOACCESS && (page->protect & 0x100) == 0;
}

// Pages of [first, end) all in one allocation; its first page, or PAGES.
static size_t
allocation_of(size_t first, size_t end)
{
    uint16_t allocation = pages[first].allocation;
    for (size_t page = first; page < end; page++)
        if (pages[page].allocation == 0 || pages[page].allocation != allocation)
            return PAGES;
    return allocation - 1u;
}

struct range {
    uintptr_t address;
    size_t size, first, end; // pages
};

static struct range
pick_range(void)
{
    uint32_t where = fuzz_byte(&input), offset = fuzz_short(&input);
    uint32_t kind = fuzz_byte(&input), amount = fuzz_short(&input);
    struct range range;
    range.address = ARENA + (where % 56) * G;
    if (where >= 56 * 2)
        range.address += where >= 56 * 3 ? offset : offset % PAGES_OF_GRANULE * P;
    range.size = kind % 4 == 0 ? amount % 8 * P : kind % 4 == 1 ? amount : amount % 8 * G / 2;
    if (kind >= 240)
        range.size = 0;
    range.first = (range.address - ARENA) / P;
    range.end = (range.address - ARENA + range.size + P - 1) / P;
    return range;
}

/* ---- The calls and the model ---------------------------------------------------------------- */

static void
pages_take(size_t base, size_t end, uint32_t type, uint32_t protect)
{
    for (size_t page = base; page < end; page++)
        pages[page] = (struct page){.allocation = (uint16_t)(base + 1),
                                    .committed = (type & MEM_COMMIT) != 0,
                                    .protect = protect};
    pages[base].pages = (uint16_t)(end - base);
    pages[base].allocation_protect = protect;
}

static void
page_commit(struct page *page, uint32_t protect)
{
    if (!page->committed)
        page->contents = page->reset = 0;
    page->committed = true;
    page->protect = protect;
}

static hh_hresult
model_reserve(const struct range *range, uint32_t type, uint32_t protect, uintptr_t *result)
{
    size_t base = range->first / PAGES_OF_GRANULE * PAGES_OF_GRANULE;
    // No two allocations share a granule, and each begins at one: the first pages tell.
    for (size_t page = base; page < range->end; page += PAGES_OF_GRANULE)
        if (pages[page].allocation != 0)
            return W_ADDR;
    pages_take(base, range->end, type, protect);
    *result = address_of(base);
    return S_OK;
}

static hh_hresult
model_alloc(const struct range *range, uint32_t type, uint32_t protect, uintptr_t *result)
{
    const uint32_t known = MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_TOP_DOWN;
    *result = 0;
    if ((type & ~known) != 0 || (type & (MEM_COMMIT | MEM_RESERVE | MEM_RESET)) == 0 ||
        ((type & MEM_RESET) != 0 && type != MEM_RESET) || !protection_is_valid(protect) ||
        range->size == 0)
        return E_INVALIDARG;
    if ((type & MEM_RESERVE) != 0)
        return model_reserve(range, type, protect, result);
    if (allocation_of(range->first, range->end) == PAGES)
        return W_ADDR;
    *result = range->address & ~(P - 1);
    for (size_t page = range->first; page < range->end; page++) {
        if (type != MEM_RESET)
            page_commit(&pages[page], protect);
        else if (address_of(page) >= range->address &&
                 address_of(page + 1) <= range->address + range->size)
            pages[page].reset = pages[page].committed;
    }
    return S_OK;
}

static void
call_alloc(void)
{
    struct range range = pick_range();
    uint32_t type = alloc_types[fuzz_byte(&input) % 16];
    uint32_t protect = protections[fuzz_byte(&input) % 16];
    uintptr_t expected;
    void *result = &range;
    hh_hresult answer = manager->lpVtbl->VirtualAlloc(manager, (void *)range.address, range.size,
                                                      type, protect, eTaskCritical, &result);
    fuzz_check(answer == model_alloc(&range, type, protect, &expected));
    fuzz_check((uintptr_t)result == expected);
}

static hh_hresult
model_free(const struct range *range, size_t size, uint32_t type)
{
    size_t end = (range->address - ARENA + size + P - 1) / P;
    if ((type != MEM_DECOMMIT && type != MEM_RELEASE) || (type == MEM_RELEASE && size != 0))
        return E_INVALIDARG;
    if (pages[range->first].allocation == 0)
        return HOST_E_INVALIDOPERATION;
    size_t base = pages[range->first].allocation - 1u, base_end = base + pages[base].pages;
    if (size == 0 && range->first != base)
        return W_ADDR;
    if (size != 0 && end > base_end)
        return E_INVALIDARG;
    if (type == MEM_RELEASE) {
        memset(&pages[base], 0, (base_end - base) * sizeof pages[0]);
        return S_OK;
    }
    for (size_t page = range->first; page < (size == 0 ? base_end : end); page++) {
        pages[page].committed = pages[page].reset = false;
        pages[page].contents = 0;
    }
    return S_OK;
}

static void
call_free(void)
{
    struct range range = pick_range();
    uint32_t type = free_types[fuzz_byte(&input) % 8];
    size_t size = type == MEM_RELEASE && fuzz_byte(&input) % 8 != 0 ? 0 : range.size;
    hh_hresult answer = manager->lpVtbl->VirtualFree(manager, (void *)range.address, size, type);
    fuzz_check(answer == model_free(&range, size, type));
}

static hh_hresult
model_protect(const struct range *range, uint32_t protect, uint32_t *old)
{
    *old = PAGE_NOACCESS;
    if (!protection_is_valid(protect) || range->size == 0)
        return E_INVALIDARG;
    if (allocation_of(range->first, range->end) == PAGES)
        return W_ADDR;
    for (size_t page = range->first; page < range->end; page++)
        if (!pages[page].committed)
            return W_ADDR;
    *old = pages[range->first].protect;
    for (size_t page = range->first; page < range->end; page++)
        pages[page].protect = protect;
    return S_OK;
}

static void
call_protect(void)
{
    struct range range = pick_range();
    uint32_t protect = protections[fuzz_byte(&input) % 16];
    uint32_t old = 0x5A, expected;
    hh_hresult answer =
        manager->lpVtbl->VirtualProtect(manager, (void *)range.address, range.size, protect, &old);
    fuzz_check(answer == model_protect(&range, protect, &expected));
    fuzz_check(old == expected);
}

// Calls that are refused for their addresses or pointers, whatever the arena holds.
static void
call_odd(void)
{
    hh_memory_basic_information info;
    size_t length = fuzz_short(&input), got = 7;
    uintptr_t high = LIMIT + (fuzz_long(&input) >> 17);
    void *result = &info;
    uint32_t old;
    fuzz_check(manager->lpVtbl->VirtualAlloc(manager, (void *)high, length + 1, MEM_RESERVE,
                                             PAGE_READWRITE, eTaskCritical,
                                             &result) == E_INVALIDARG &&
               result == NULL);
    fuzz_check(manager->lpVtbl->VirtualFree(manager, (void *)high, 0, MEM_RELEASE) ==
               HOST_E_INVALIDOPERATION);
    fuzz_check(manager->lpVtbl->VirtualProtect(manager, (void *)ARENA, SIZE_MAX - length,
                                               PAGE_READONLY, &old) == E_INVALIDARG);
    fuzz_check(manager->lpVtbl->VirtualProtect(manager, (void *)ARENA, P, PAGE_READONLY, NULL) ==
               W_NOACCESS);
    fuzz_check(manager->lpVtbl->VirtualQuery(manager, (void *)high, &info, sizeof info, &got) ==
               E_INVALIDARG);
    fuzz_check(manager->lpVtbl->VirtualQuery(manager, (void *)ARENA, &info, length % sizeof info,
                                             &got) == W_LEN &&
               got == 0);
}

// An allocation that the library places: it must lie outside of what the model has taken.
static void
call_anywhere(void)
{
    size_t size = 1 + fuzz_short(&input);
    void *result = NULL;
    fuzz_check(manager->lpVtbl->VirtualAlloc(manager, NULL, size, MEM_RESERVE | MEM_COMMIT,
                                             PAGE_READWRITE, eTaskCritical, &result) == S_OK);
    uintptr_t base = (uintptr_t)result;
    fuzz_check(base % G == 0 && (base >= ARENA + GRANULES * G || base + size <= ARENA ||
                                 pages[(base - ARENA) / P].allocation == 0));
    fuzz_check(*(volatile uint8_t *)(base + size - 1) == 0);
    *(volatile uint8_t *)(base + size - 1) = 1;
    fuzz_check(manager->lpVtbl->VirtualFree(manager, result, 0, MEM_RELEASE) == S_OK);
}

/* ---- What is asked and looked at ------------------------------------------------------------ */

static bool
pages_alike(const struct page *left, const struct page *right)
{
    if (left->allocation != right->allocation || left->committed != right->committed)
        return false;
    return !left->committed || left->protect == right->protect;
}

static void
query_check(size_t page)
{
    hh_memory_basic_information info;
    size_t got = 0, end = page;
    const struct page *it = &pages[page];
    fuzz_check(manager->lpVtbl->VirtualQuery(manager, (void *)(address_of(page) + page % P), &info,
                                             sizeof info, &got) == S_OK);
    fuzz_check(got == sizeof info && (uintptr_t)info.BaseAddress == address_of(page));
    while (end < PAGES && pages_alike(it, &pages[end]))
        end++;
    if (it->allocation == 0) {
        fuzz_check(info.State == 0x10000 && info.Protect == PAGE_NOACCESS && info.Type == 0);
        fuzz_check(info.AllocationBase == NULL && info.AllocationProtect == 0);
        // What lies behind the arena is not the model's.
        fuzz_check(end == PAGES ? info.RegionSize >= (end - page) * P
                                : info.RegionSize == (end - page) * P);
        return;
    }
    const struct page *first = &pages[it->allocation - 1u];
    fuzz_check(info.State == (it->committed ? MEM_COMMIT : MEM_RESERVE) && info.Type == 0x20000);
    fuzz_check(info.Protect == (it->committed ? it->protect : 0));
    fuzz_check((uintptr_t)info.AllocationBase == address_of(it->allocation - 1u));
    fuzz_check(info.AllocationProtect == first->allocation_protect);
    fuzz_check(info.RegionSize == (end - page) * P);
}

static void
contents_check(size_t number)
{
    struct page *page = &pages[number];
    if (!page_is_readable(page))
        return;
    volatile uint8_t *bytes = (volatile uint8_t *)address_of(number);
    uint8_t first = bytes[0];
    fuzz_check(first == page->contents || (page->reset && first == 0));
    if (page->reset && first == 0 && bytes[P - 1] == 0)
        page->contents = 0;
    fuzz_check(bytes[P - 1] == page->contents || (page->reset && bytes[P - 1] == 0));
    if (page->protect == PAGE_READWRITE || page->protect == 0x40) {
        page->contents = (uint8_t)fuzz_byte(&input);
        page->reset = false;
        bytes[0] = bytes[P - 1] = page->contents;
    }
}

static void
arena_release(void)
{
    for (size_t page = 0; page < PAGES; page += PAGES_OF_GRANULE) {
        if (pages[page].allocation != page + 1)
            continue;
        size_t count = pages[page].pages;
        fuzz_check(manager->lpVtbl->VirtualFree(manager, (void *)address_of(page), 0,
                                                MEM_RELEASE) == S_OK);
        memset(&pages[page], 0, count * sizeof pages[0]);
    }
    query_check(0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const calls[])(void) = {call_alloc,   call_alloc, call_alloc, call_free,
                                          call_protect, call_free,  call_odd,   call_anywhere};
    if (manager == NULL)
        fuzz_check(hh_get_memory_manager(&manager) == S_OK);
    input = (struct fuzz_input){data, data + size};
    for (int i = 0; i < CALLS_MAX && fuzz_more(&input); i++) {
        uint32_t call = fuzz_byte(&input);
        calls[call % 8]();
        query_check(fuzz_short(&input) % PAGES);
        contents_check(fuzz_short(&input) % PAGES);
    }
    // Of what is free the kernel is asked, which takes long.
    for (size_t page = 0; page < PAGES; page += pages[page].allocation != 0 ? 7 : 16)
        if (pages[page].allocation != 0 || page % 256 == 0)
            query_check(page);
    arena_release();
    return 0;
}
