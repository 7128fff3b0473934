// SPDX-License-Identifier: MIT
// tests/mono/mono_virtual.c - see mono_virtual.h.

#include "mono_virtual.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <hostheap/host_memory.h>

// Mono's flags, which it keeps to itself (mono-mmap.h).
enum {
    MONO_MMAP_READ = 1 << 0,
    MONO_MMAP_WRITE = 1 << 1,
    MONO_MMAP_EXEC = 1 << 2,
    MONO_MMAP_DISCARD = 1 << 3,
    MONO_MMAP_FIXED = 1 << 7,
    MONO_MMAP_32BIT = 1 << 8,
};

enum { PAGE_BYTES = 4096, UNIT_BYTES = 65536 };

#define LOW_START ((uintptr_t)0x10000000)
#define LOW_END ((uintptr_t)0x80000000)

static IHostMemoryManager *manager;
static atomic_uint_fast64_t counts[MONO_VIRTUAL_CALLS];

// Before Mono's own constructors.
__attribute__((constructor(101))) static void
manager_open(void)
{
    if (hh_get_memory_manager(&manager) != S_OK) {
        fputs("mono host: no memory manager\n", stderr);
        abort();
    }
}

static void
count(enum mono_virtual_call call)
{
    atomic_fetch_add_explicit(&counts[call], 1, memory_order_relaxed);
}

uint64_t
mono_virtual_count(enum mono_virtual_call call)
{
    return atomic_load_explicit(&counts[call], memory_order_relaxed);
}

static void
fault(const char *method, hh_hresult result, const void *address, size_t size_bytes)
{
    fprintf(stderr, "mono host: %s(%p, %#zx) = %#x\n", method, address, size_bytes,
            (unsigned)result);
    count(MONO_VIRTUAL_FAULT);
}

static uint32_t
protection_of(int flags)
{
    bool read = flags & MONO_MMAP_READ, write = flags & MONO_MMAP_WRITE;
    if (flags & MONO_MMAP_EXEC)
        return write ? PAGE_EXECUTE_READWRITE : read ? PAGE_EXECUTE_READ : PAGE_EXECUTE;
    return write ? PAGE_READWRITE : read ? PAGE_READONLY : PAGE_NOACCESS;
}

static uintptr_t
pages_up(uintptr_t value)
{
    return (value + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
}

/* ---- What Mono still has of each allocation --------------------------------------------------- */

/*
 * Mono frees parts of allocations, Win32 only whole ones. So for each allocation the bytes that
 * Mono has left are counted; who takes the count to 0 releases. An open table with the base as key;
 * an ended entry is used again for whatever hashes there.
 */
enum { ENTRIES = 1 << 16 };

static struct {
    atomic_uintptr_t base; // 0 = never used, 1 = ended
    atomic_size_t left_bytes;
} entries[ENTRIES];
static atomic_size_t live;

static size_t
entry_first(uintptr_t base)
{
    return (base / UNIT_BYTES * 0x9E3779B97F4A7C15u) >> 48;
}

static void
entry_add(uintptr_t base, size_t size_bytes)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        size_t at = (entry_first(base) + i) % ENTRIES;
        uintptr_t old = atomic_load(&entries[at].base);
        // Taken with a base nobody looks for, so that the count is there before the base is.
        if (old <= 1 && atomic_compare_exchange_strong(&entries[at].base, &old, UINTPTR_MAX)) {
            atomic_store(&entries[at].left_bytes, size_bytes);
            atomic_store(&entries[at].base, base);
            atomic_fetch_add(&live, 1);
            return;
        }
    }
    fault("entry_add", E_OUTOFMEMORY, (void *)base, size_bytes);
}

// The entry's place, or ENTRIES.
static size_t
entry_find(uintptr_t base)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        size_t at = (entry_first(base) + i) % ENTRIES;
        uintptr_t found = atomic_load(&entries[at].base);
        if (found == base && base > 1)
            return at;
        if (found == 0)
            break;
    }
    return ENTRIES;
}

// True: these were the last bytes, the entry has ended.
static bool
entry_take(uintptr_t base, size_t size_bytes)
{
    size_t at = entry_find(base);
    if (at < ENTRIES) {
        if (atomic_fetch_sub(&entries[at].left_bytes, size_bytes) != size_bytes)
            return false;
        atomic_store(&entries[at].base, 1);
        atomic_fetch_sub(&live, 1);
        return true;
    }
    fault("entry_take", HOST_E_INVALIDOPERATION, (void *)base, size_bytes);
    return false;
}

size_t
mono_virtual_live(void)
{
    return atomic_load(&live);
}

/* ---- The manager's methods, counted ----------------------------------------------------------- */

static bool
query(const void *address, hh_memory_basic_information *information)
{
    size_t result_bytes = 0;
    count(MONO_VIRTUAL_QUERY);
    hh_hresult result = manager->lpVtbl->VirtualQuery(
        manager, (void *)(uintptr_t)address, information, sizeof *information, &result_bytes);
    if (result == S_OK && result_bytes == sizeof *information)
        return true;
    fault("VirtualQuery", result, address, sizeof *information);
    return false;
}

// address NULL = anywhere. NULL: not there.
static void *
allocate(void *address, size_t size_bytes, int flags)
{
    void *result = NULL;
    count(MONO_VIRTUAL_ALLOC);
    hh_hresult answer =
        manager->lpVtbl->VirtualAlloc(manager, address, size_bytes, MEM_RESERVE | MEM_COMMIT,
                                      protection_of(flags), eTaskCritical, &result);
    if (answer == S_OK && (address == NULL || result == address)) {
        entry_add((uintptr_t)result, pages_up(size_bytes));
        return result;
    }
    if (answer != HH_W_INVALID_ADDRESS && answer != E_OUTOFMEMORY)
        fault("VirtualAlloc", answer, address, size_bytes);
    return NULL;
}

// Exactly there, at any page: the units around it are reserved, and the pages committed. Mono asks
// for this once, for the guard pages at the far end of the main thread's stack.
static void *
allocate_fixed(void *address, size_t size_bytes, int flags)
{
    void *base = NULL, *result = NULL;
    count(MONO_VIRTUAL_FIXED);
    hh_hresult answer = manager->lpVtbl->VirtualAlloc(manager, address, size_bytes, MEM_RESERVE,
                                                      PAGE_NOACCESS, eTaskCritical, &base);
    if (answer == S_OK) {
        entry_add((uintptr_t)base, pages_up(size_bytes));
        answer = manager->lpVtbl->VirtualAlloc(manager, address, size_bytes, MEM_COMMIT,
                                               protection_of(flags), eTaskCritical, &result);
    }
    if (answer != S_OK)
        fault("VirtualAlloc(fixed)", answer, address, size_bytes);
    return result;
}

// Code has to lie where a 32-bit address reaches it: walk the low addresses for a free range.
static void *
allocate_low(size_t size_bytes, int flags)
{
    static atomic_uintptr_t start = LOW_START; // a hint: where the last search ended
    count(MONO_VIRTUAL_LOW);
    for (int round = 0; round < 2; round++) {
        uintptr_t address = round == 0 ? atomic_load(&start) : LOW_START;
        hh_memory_basic_information around;
        while (address + size_bytes <= LOW_END && query((void *)address, &around)) {
            uintptr_t end = (uintptr_t)around.BaseAddress + around.RegionSize;
            if (around.State == MEM_FREE && end - address >= size_bytes) {
                void *result = allocate((void *)address, size_bytes, flags);
                if (result != NULL) {
                    atomic_store(&start, address + size_bytes / UNIT_BYTES * UNIT_BYTES);
                    return result;
                }
                end = address + UNIT_BYTES; // somebody was faster, or a tail stands there
            }
            address = (end + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
        }
    }
    return NULL;
}

static void
release(uintptr_t base)
{
    count(MONO_VIRTUAL_RELEASE);
    hh_hresult result = manager->lpVtbl->VirtualFree(manager, (void *)base, 0, MEM_RELEASE);
    if (result != S_OK)
        fault("VirtualFree(RELEASE)", result, (void *)base, 0);
}

static void
decommit(uintptr_t address, size_t size_bytes)
{
    count(MONO_VIRTUAL_DECOMMIT);
    hh_hresult result =
        manager->lpVtbl->VirtualFree(manager, (void *)address, size_bytes, MEM_DECOMMIT);
    if (result != S_OK)
        fault("VirtualFree(DECOMMIT)", result, (void *)address, size_bytes);
}

/* ---- What Mono calls -------------------------------------------------------------------------- */

void *
__wrap_mono_valloc(void *address, size_t size_bytes, int flags, int account)
{
    (void)account;
    void *result = NULL;
    if (flags & MONO_MMAP_FIXED)
        return allocate_fixed(address, size_bytes, flags);
    if (flags & MONO_MMAP_32BIT)
        result = allocate_low(size_bytes, flags);
    if (result == NULL)
        result = allocate(address, size_bytes, flags);
    // An address is a wish, as with mmap.
    if (result == NULL && address != NULL)
        result = allocate(NULL, size_bytes, flags);
    if (result == NULL)
        count(MONO_VIRTUAL_NO_MEMORY);
    return result;
}

void *
__wrap_mono_valloc_aligned(size_t size_bytes, size_t alignment_bytes, int flags, int account)
{
    (void)account;
    count(MONO_VIRTUAL_ALIGNED);
    for (int attempt = 0; attempt < 1000; attempt++) {
        void *wide = NULL;
        hh_hresult answer =
            manager->lpVtbl->VirtualAlloc(manager, NULL, size_bytes + alignment_bytes, MEM_RESERVE,
                                          PAGE_NOACCESS, eTaskCritical, &wide);
        if (answer != S_OK)
            break;
        release((uintptr_t)wide);
        uintptr_t aligned = ((uintptr_t)wide + alignment_bytes - 1) & ~(alignment_bytes - 1);
        // Another thread may have taken the place meanwhile: then once more.
        void *result = allocate((void *)aligned, size_bytes, flags);
        if (result != NULL)
            return result;
    }
    count(MONO_VIRTUAL_NO_MEMORY);
    return NULL;
}

int
__wrap_mono_vfree(void *address, size_t size_bytes, int account)
{
    (void)account;
    uintptr_t end = pages_up((uintptr_t)address + size_bytes);
    hh_memory_basic_information run;
    uintptr_t at = (uintptr_t)address;
    while (at < end) {
        if (!query((void *)at, &run))
            return -1;
        uintptr_t base = (uintptr_t)run.AllocationBase;
        uintptr_t stop = at;
        // All runs of this one allocation that lie in the range; each run has one protection.
        while (stop < end && (uintptr_t)run.AllocationBase == base && run.State == MEM_COMMIT) {
            stop = (uintptr_t)run.BaseAddress + run.RegionSize;
            if (stop >= end || !query((void *)stop, &run))
                break;
        }
        stop = stop < end ? stop : end;
        if (stop == at) {
            fault("mono_vfree", HOST_E_INVALIDOPERATION, (void *)at, end - at);
            return -1;
        }
        // Before the count: who takes the last bytes may release at once.
        decommit(at, stop - at);
        if (entry_take(base, stop - at))
            release(base);
        at = stop;
    }
    return 0;
}

static int
discard(void *address, size_t size_bytes, uint32_t protection)
{
    decommit((uintptr_t)address, size_bytes);
    void *result = NULL;
    hh_hresult answer = manager->lpVtbl->VirtualAlloc(manager, address, size_bytes, MEM_COMMIT,
                                                      protection, eTaskCritical, &result);
    if (answer == S_OK)
        return 0;
    fault("VirtualAlloc(COMMIT)", answer, address, size_bytes);
    return -1;
}

int
__wrap_mono_mprotect(void *address, size_t size_bytes, int flags)
{
    uint32_t protection = protection_of(flags);
    hh_memory_basic_information around;
    bool ours = query(address, &around) && entry_find((uintptr_t)around.AllocationBase) < ENTRIES;
    if (ours && (flags & MONO_MMAP_DISCARD))
        return discard(address, size_bytes, protection);
    uint32_t old = 0;
    count(ours ? MONO_VIRTUAL_PROTECT : MONO_VIRTUAL_PROTECT_FOREIGN);
    hh_hresult result =
        manager->lpVtbl->VirtualProtect(manager, address, size_bytes, protection, &old);
    if (result == S_OK)
        return 0;
    // The far end of the main thread's stack is not there yet; Mono maps it then.
    if (result == HH_W_INVALID_ADDRESS && around.State == MEM_FREE)
        return -1;
    fault("VirtualProtect", result, address, size_bytes);
    return -1;
}
