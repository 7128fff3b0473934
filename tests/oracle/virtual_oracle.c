// SPDX-License-Identifier: MIT
/*
 * tests/oracle/virtual_oracle.c - one random sequence of virtual memory calls, told line by line.
 *
 * Compiled for Windows (mingw) it makes Win32 calls and runs on Wine; compiled for Linux it calls
 * IHostMemoryManager. run_oracle.sh compares the two texts. usage: virtual_oracle <seed> <calls>
 *
 * All addresses lie in 64 granules from 0x50000000, free in both at the start. Not played, since the
 * contract decides otherwise: NOCACHE, WRITECOMBINE, GUARD with NOACCESS, write watch, large pages,
 * RESET with COMMIT or with a bad protection. Where the codes of refusals differ knowingly, see common_code.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P ((size_t)0x1000)
#define G ((size_t)0x10000)
#define ARENA ((uintptr_t)0x50000000)
#define ARENA_END (ARENA + 64 * G)

struct answer {
    uint32_t code; // HRESULT
    uintptr_t value;
};

struct region {
    uintptr_t base, allocation_base;
    size_t size;
    uint32_t allocation_protect, state, protect, type;
};

#ifdef _WIN32

#include <windows.h>

static uint32_t
last_code(int succeeded)
{
    DWORD error = GetLastError();
    if (succeeded)
        return 0;
    return error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_COMMITMENT_LIMIT ? 0x8007000E
                                                                               : 0x80070000 | error;
}

static struct answer
call_alloc(uintptr_t address, size_t size, uint32_t type, uint32_t protect)
{
    void *result = VirtualAlloc((void *)address, size, type, protect);
    return (struct answer){last_code(result != NULL), (uintptr_t)result};
}

static struct answer
call_free(uintptr_t address, size_t size, uint32_t type)
{
    return (struct answer){last_code(VirtualFree((void *)address, size, type)), 0};
}

static struct answer
call_protect(uintptr_t address, size_t size, uint32_t protect)
{
    DWORD old = 1;
    int done = VirtualProtect((void *)address, size, protect, &old);
    return (struct answer){last_code(done), done ? old : 1};
}

static void
call_query(uintptr_t address, struct region *region)
{
    MEMORY_BASIC_INFORMATION info;
    memset(&info, 0, sizeof info);
    VirtualQuery((void *)address, &info, sizeof info);
    *region = (struct region){(uintptr_t)info.BaseAddress,
                              (uintptr_t)info.AllocationBase,
                              info.RegionSize,
                              info.AllocationProtect,
                              info.State,
                              info.Protect,
                              info.Type};
}

static int
can_read(uintptr_t page)
{
    return IsBadReadPtr((void *)page, 1) ? 0 : 1;
}

static void
start(void)
{
}

#else

#include <unistd.h>

#include <hostheap/host_memory.h>

static IHostMemoryManager *manager;
static int ends[2];

static struct answer
call_alloc(uintptr_t address, size_t size, uint32_t type, uint32_t protect)
{
    void *result;
    hh_hresult code = manager->lpVtbl->VirtualAlloc(manager, (void *)address, size, type, protect,
                                                    eTaskCritical, &result);
    return (struct answer){(uint32_t)code, (uintptr_t)result};
}

static struct answer
call_free(uintptr_t address, size_t size, uint32_t type)
{
    hh_hresult code = manager->lpVtbl->VirtualFree(manager, (void *)address, size, type);
    return (struct answer){(uint32_t)code, 0};
}

static struct answer
call_protect(uintptr_t address, size_t size, uint32_t protect)
{
    uint32_t old = 1;
    hh_hresult code =
        manager->lpVtbl->VirtualProtect(manager, (void *)address, size, protect, &old);
    return (struct answer){(uint32_t)code, old};
}

static void
call_query(uintptr_t address, struct region *region)
{
    hh_memory_basic_information info;
    size_t length;
    memset(&info, 0, sizeof info);
    manager->lpVtbl->VirtualQuery(manager, (void *)address, &info, sizeof info, &length);
    *region = (struct region){(uintptr_t)info.BaseAddress,
                              (uintptr_t)info.AllocationBase,
                              info.RegionSize,
                              info.AllocationProtect,
                              info.State,
                              info.Protect,
                              info.Type};
}

static int
can_read(uintptr_t page)
{
    char byte;
    if (write(ends[1], (void *)page, 1) != 1)
        return 0;
    return read(ends[0], &byte, 1) == 1;
}

static void
start(void)
{
    if (hh_get_memory_manager(&manager) != S_OK || pipe(ends) != 0)
        exit(2);
}

#endif

static uint64_t seed;

static uint32_t
pick(uint32_t count)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % count);
}

static const uint32_t alloc_types[] = {0x2000,  0x2000,   0x1000, 0x1000, 0x1000, 0x3000,  0x3000,
                                       0x80000, 0x102000, 0,      0x4000, 0x8000, 0x100000};
static const uint32_t protections[] = {0x04, 0x04, 0x04,  0x04,  0x02,  0x01, 0x20,
                                       0x40, 0x10, 0x104, 0x102, 0x00,  0x03, 0x06,
                                       0x08, 0x80, 0x0C,  0x60,  0x1000};
static const uint32_t free_types[] = {0x4000, 0x4000, 0x4000, 0x8000, 0x8000,
                                      0xC000, 0,      0x1000, 0x10000};

#define PICK(table) (table)[pick(sizeof(table) / sizeof *(table))]

static uintptr_t
pick_address(void)
{
    uintptr_t address = ARENA + pick(56) * G;
    switch (pick(4)) {
    case 0:
        return address;
    case 1:
        return address + pick(16) * P;
    default:
        return address + pick((uint32_t)G);
    }
}

static size_t
pick_size(void)
{
    switch (pick(8)) {
    case 0:
        return 0;
    case 1:
        return 1 + pick(16);
    case 2:
        return (1 + pick(4)) * G;
    case 3:
        return pick((uint32_t)(4 * G));
    case 4:
        return (1 + pick(16)) * P;
    default:
        return 1 + pick((uint32_t)(6 * P));
    }
}

// Returns where the run ends.
static uintptr_t
tell_region(uintptr_t address)
{
    struct region r;
    call_query(address, &r);
    // Wine ends a reserved run where the pages had another protection before they were decommitted.
    while (r.state == 0x2000) {
        struct region next;
        call_query(r.base + r.size, &next);
        if (next.state != r.state || next.allocation_base != r.allocation_base)
            break;
        r.size += next.size;
    }
    // What lies beyond the arena is not ours to compare.
    if (r.base + r.size > ARENA_END)
        r.size = ARENA_END - r.base;
    printf("  %08lx: base %08lx allocation %08lx %03x size %lx state %x protect %03x type %x\n",
           (unsigned long)address, (unsigned long)r.base, (unsigned long)r.allocation_base,
           (unsigned)r.allocation_protect, (unsigned long)r.size, (unsigned)r.state,
           (unsigned)r.protect, (unsigned)r.type);
    return r.base + r.size;
}

/*
 * Access and contents of a page. Guard pages are left alone, since a read would clear the guard, and
 * so are pages with EXECUTE alone, which only hostheap makes readable (DECISION 22).
 */
static void
tell_page(uintptr_t address)
{
    struct region r;
    uintptr_t page = address & ~(P - 1);
    call_query(page, &r);
    if (r.state != 0x1000 || (r.protect & 0x110))
        return;
    int readable = can_read(page);
    printf("  %08lx: readable %d", (unsigned long)page, readable);
    if (readable)
        printf(" contents %02x %02x", ((unsigned char *)page)[0], ((unsigned char *)page)[P - 1]);
    printf("\n");
}

static void
write_page(uintptr_t address)
{
    struct region r;
    uintptr_t page = address & ~(P - 1);
    call_query(page, &r);
    if (r.state == 0x1000 && (r.protect == 0x04 || r.protect == 0x40)) {
        unsigned char value = (unsigned char)(1 + pick(255));
        memset((void *)page, value, P);
        printf("write %08lx %02x\n", (unsigned long)page, value);
    }
}

// Whether the range lies in no allocation, or not in one alone.
static int
leaves_allocation(uintptr_t address, size_t size)
{
    struct region r;
    uintptr_t end = address + size, allocation = 0;
    for (uintptr_t at = address; at < end; at = r.base + r.size) {
        call_query(at, &r);
        if (r.state == 0x10000 || (allocation != 0 && r.allocation_base != allocation))
            return 1;
        allocation = r.allocation_base;
    }
    return 0;
}

/*
 * Answers told as one where the contract and Wine differ knowingly: a free of a free page, a protect
 * beyond one allocation, and calls with both a bad protection and a bad range.
 */
static uint32_t
common_code(uint32_t code, int differs)
{
    return differs && (code == 0x80131022 || code == 0x800701E7) ? 0x80070057 : code;
}

static int
protection_is_bad(uint32_t protect)
{
    uint32_t base = protect & ~0x100u;
    return !(base == 0x02 || base == 0x04 || base == 0x10 || base == 0x20 || base == 0x40 ||
             protect == 0x01);
}

// After a RESET contents are the old ones or zero: make them the same again.
static void
settle_contents(uintptr_t address, size_t size)
{
    for (uintptr_t page = address & ~(P - 1); page < address + size; page += P) {
        struct region r;
        call_query(page, &r);
        if (r.state != 0x1000)
            continue;
        call_protect(page, P, 0x04);
        memset((void *)page, 0x5A, P);
        call_protect(page, P, r.protect);
    }
}

static void
one_call(void)
{
    uintptr_t address = pick_address();
    size_t size = pick_size();
    uint32_t type, protect;
    struct answer answer;
    switch (pick(10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        type = PICK(alloc_types);
        protect = type & 0x80000 ? 0x04 : PICK(protections);
        answer = call_alloc(address, size, type, protect);
        printf("alloc %08lx %lx %x %x: %08x %08lx\n", (unsigned long)address, (unsigned long)size,
               (unsigned)type, (unsigned)protect,
               (unsigned)common_code(answer.code, protection_is_bad(protect)),
               (unsigned long)answer.value);
        if (type == 0x80000 && answer.code == 0)
            settle_contents(address, size);
        break;
    case 4:
    case 5:
        type = PICK(free_types);
        if (type == 0x8000 && pick(3) != 0)
            size = 0;
        if (size == 0 && pick(2) == 0)
            address &= ~(G - 1);
        answer = call_free(address, size, type);
        printf("free %08lx %lx %x: %08x\n", (unsigned long)address, (unsigned long)size,
               (unsigned)type, (unsigned)common_code(answer.code, leaves_allocation(address, 1)));
        break;
    case 6:
    case 7:
        protect = PICK(protections);
        size += size == 0; // Wine takes 0 for a page, the contract refuses it
        answer = call_protect(address, size, protect);
        printf("protect %08lx %lx %x: %08x %lx\n", (unsigned long)address, (unsigned long)size,
               (unsigned)protect,
               (unsigned)common_code(answer.code, leaves_allocation(address, size) ||
                                                      protection_is_bad(protect)),
               (unsigned long)answer.value);
        break;
    default:
        write_page(address);
        break;
    }
    tell_region(address);
    tell_region(pick_address());
    tell_page(address);
    tell_page(pick_address());
}

int
main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    seed = strtoull(argv[1], NULL, 0) * 0x9E3779B97F4A7C15u + 1;
    unsigned calls = (unsigned)strtoul(argv[2], NULL, 0);
    start();
    for (unsigned i = 0; i < calls; i++)
        one_call();
    for (uintptr_t at = ARENA; at < ARENA_END;)
        at = tell_region(at);
    return 0;
}
