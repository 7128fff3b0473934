// SPDX-License-Identifier: MIT
// tests/contract/test_virtual_alloc.c - VirtualAlloc: arguments, forms, rounding, contents.
#include "virtual.h"

#include <errno.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// ---- Arguments: 8.2 rows 1 to 7 ----

static const uint32_t refused_types[] = {
    0,
    MEM_TOP_DOWN,
    MEM_DECOMMIT,
    MEM_RELEASE,
    MEM_FREE,
    MEM_PRIVATE,
    MEM_MAPPED,
    MEM_RESERVE | MEM_WRITE_WATCH,
    MEM_COMMIT | MEM_RESERVE | MEM_WRITE_WATCH,
    MEM_WRITE_WATCH,
    MEM_RESERVE | MEM_PHYSICAL,
    MEM_COMMIT | MEM_RESERVE | MEM_LARGE_PAGES,
    MEM_RESERVE | 0x00040000u, // MEM_RESERVE_PLACEHOLDER
    MEM_COMMIT | MEM_RESERVE | 0x4000u,
    0x01000000u, // MEM_RESET_UNDO
    0x10000000u,
    MEM_RESERVE | 0x40000000u,
    MEM_COMMIT | 0x80000000u,
    MEM_RESERVE | 1u,
    MEM_COMMIT | MEM_DECOMMIT,
    MEM_RESET | MEM_COMMIT,
    MEM_RESET | MEM_RESERVE,
    MEM_RESET | MEM_TOP_DOWN,
    MEM_RESET | MEM_COMMIT | MEM_RESERVE,
    0xFFFFFFFFu,
};

// [8.2 row 2] [8.2 row 3] [8.2 row 4] [D25] [GEN-2]
static void
types_the_contract_refuses_are_invalid_arguments(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, G, MEM_RESERVE, PAGE_READWRITE);
    for (size_t i = 0; i < COUNT(refused_types); i++) {
        const uintptr_t addresses[] = {0, base, base + P};
        for (size_t k = 0; k < COUNT(addresses); k++) {
            void *result = &base;
            assert_int_equal(
                virtual_alloc(addresses[k], P, refused_types[i], PAGE_READWRITE, &result),
                E_INVALIDARG);
            assert_null(result);
        }
    }
    expect_reserved(base, base, PAGE_READWRITE, G);
    must_release(base);
}

static const uint32_t valid_protections[] = {0x01,  0x02,  0x04,  0x10,  0x20, 0x40,
                                             0x102, 0x104, 0x110, 0x120, 0x140};

static bool
is_valid(uint32_t protection)
{
    for (size_t i = 0; i < COUNT(valid_protections); i++) {
        if (valid_protections[i] == protection)
            return true;
    }
    return false;
}

// [PG-1] [PG-2] [PG-3] [PG-4] [D21]: every value of the low twelve bits, then the high ones.
static void
exactly_the_valid_protections_are_taken(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, G, MEM_RESERVE, PAGE_NOACCESS);
    for (uint32_t protection = 0; protection < 0x1000; protection++) {
        void *result;
        hh_hresult answer = virtual_alloc(base, P, MEM_COMMIT, protection, &result);
        assert_int_equal(answer, is_valid(protection) ? S_OK : E_INVALIDARG);
        uint32_t old;
        answer = virtual_protect(base, P, protection, &old);
        assert_int_equal(answer, is_valid(protection) ? S_OK : E_INVALIDARG);
    }
    for (unsigned bit = 12; bit < 32; bit++) {
        void *result;
        assert_int_equal(virtual_alloc(base, P, MEM_COMMIT, PAGE_READWRITE | 1u << bit, &result),
                         E_INVALIDARG);
    }
    must_release(base);
}

// [PG-5]: the rules hold for every form.
static void
a_bad_protection_is_refused_in_every_form(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0,     0x03,  0x06,  0x08,  0x80, 0x100,
                                   0x101, 0x204, 0x404, 0x800, 0x60, 0xFF};
    static const uint32_t types[] = {MEM_RESERVE,
                                     MEM_COMMIT,
                                     MEM_RESERVE | MEM_COMMIT,
                                     MEM_RESET,
                                     MEM_RESERVE | MEM_TOP_DOWN,
                                     MEM_COMMIT | MEM_TOP_DOWN};
    uintptr_t base = must_alloc(0, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            void *result = &base;
            assert_int_equal(virtual_alloc(0, P, types[k], bad[i], &result), E_INVALIDARG);
            assert_null(result);
            assert_int_equal(virtual_alloc(base, P, types[k], bad[i], &result), E_INVALIDARG);
            assert_null(result);
        }
    }
    must_release(base);
}

// [8.2 row 6] [8.2 row 7] [8.2 row 1] [D24] [GEN-3]
static void
bad_sizes_and_addresses_are_invalid_arguments(void **state)
{
    (void)state;
    static const struct {
        uintptr_t address;
        size_t size;
    } rows[] = {
        {0, 0},
        {0x50000000, 0},
        {0x1, P},
        {0xFFF, P},
        {0x1000, P},
        {0xF000, P},
        {0xFFFF, 1},
        {0, LIMIT + 1},
        {0, LIMIT + P},
        {0, SIZE_MAX},
        {0, SIZE_MAX - P + 1},
        {0, (size_t)1 << 63},
        {LIMIT, 1},
        {LIMIT, P},
        {LIMIT - P, P + 1},
        {LIMIT - 1, 2},
        {LIMIT - G, 2 * G},
        {(uintptr_t)1 << 47, P},
        {(uintptr_t)1 << 48, P},
        {(uintptr_t)1 << 63, P},
        {UINTPTR_MAX, 1},
        {UINTPTR_MAX, 2},
        {UINTPTR_MAX - P + 1, P},
        {0x50000000, SIZE_MAX},
        {0x50000000, SIZE_MAX - 0x50000000 + 1},
        {0x50000000, LIMIT},
    };
    static const uint32_t types[] = {MEM_RESERVE, MEM_COMMIT, MEM_RESERVE | MEM_COMMIT, MEM_RESET};
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            void *result = &result;
            assert_int_equal(
                virtual_alloc(rows[i].address, rows[i].size, types[k], PAGE_READWRITE, &result),
                E_INVALIDARG);
            assert_null(result);
            assert_int_equal(
                virtual_alloc(rows[i].address, rows[i].size, types[k], PAGE_READWRITE, NULL),
                E_POINTER);
        }
    }
    assert_int_equal(virtual_alloc(0, P, MEM_RESERVE, PAGE_READWRITE, NULL), E_POINTER);
    assert_int_equal(virtual_alloc(0, P, 0, 0, NULL), E_POINTER);
}

// [8.2 row 8] against [8.2 row 9]: what fits no address space is no memory, not a bad argument.
static void
more_than_the_address_space_has_is_out_of_memory(void **state)
{
    (void)state;
    static const size_t sizes[] = {LIMIT, LIMIT - P, LIMIT - G, (size_t)1 << 46 | (size_t)1 << 45};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *result = &result;
        assert_int_equal(virtual_alloc(0, sizes[i], MEM_RESERVE, PAGE_NOACCESS, &result),
                         E_OUTOFMEMORY);
        assert_null(result);
    }
}

// ---- Forms ----

// The thread sanitizer leaves programs little more than 1 TiB of addresses, in pieces.
#if defined(__SANITIZE_THREAD__)
#define BIG ((size_t)1 << 36)
#else
#define BIG ((size_t)1 << 40)
#endif

// [VA-5]: base aligned, size rounded up, nothing charged to the kernel.
static void
a_reserve_anywhere_is_aligned_and_rounded_to_pages(void **state)
{
    (void)state;
    static const struct {
        size_t asked, given;
    } rows[] = {
        {1, P},
        {P - 1, P},
        {P, P},
        {P + 1, 2 * P},
        {0xFFFC, G},
        {G - P, G - P},
        {G, G},
        {G + 1, G + P},
        {3 * G, 3 * G},
        {0x12345, 0x13000},
        {(size_t)1 << 30, (size_t)1 << 30},
        {BIG + 1, BIG + P},
    };
    static const uint32_t types[] = {MEM_RESERVE, MEM_RESERVE | MEM_TOP_DOWN};
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            uintptr_t base = must_alloc(0, rows[i].asked, types[k], PAGE_READWRITE);
            assert_int_equal(base % G, 0);
            expect_reserved(base, base, PAGE_READWRITE, rows[i].given);
            must_release(base);
        }
    }
}

static void
expect_zero(uintptr_t address, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)address;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], 0);
}

// [VA-5]: COMMIT alone with NULL reserves too.
static void
a_commit_anywhere_is_zero_and_usable(void **state)
{
    (void)state;
    static const uint32_t types[] = {MEM_COMMIT, MEM_COMMIT | MEM_RESERVE,
                                     MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN};
    for (size_t k = 0; k < COUNT(types); k++) {
        uintptr_t base = must_alloc(0, 3 * P - 1, types[k], PAGE_READWRITE);
        assert_int_equal(base % G, 0);
        expect_committed(base, base, PAGE_READWRITE, 3 * P, PAGE_READWRITE);
        expect_zero(base, 3 * P);
        memset((void *)base, 0xAB, 3 * P);
        must_release(base);
    }
}

// [D26] [8.2 row 8]
static void
a_reset_of_nothing_is_an_invalid_address(void **state)
{
    (void)state;
    void *result = &result;
    assert_int_equal(virtual_alloc(0, P, MEM_RESET, PAGE_READWRITE, &result), W_ADDR);
    assert_null(result);
}

// [VA-3]: 8.2's rounding table. Addresses are offsets from a free range.
static void
a_reserve_at_an_address_is_rounded_as_in_the_table(void **state)
{
    (void)state;
    static const struct {
        uintptr_t address;
        size_t size;
        uintptr_t base;
        size_t given;
    } rows[] = {
        {0x0, 1, 0x0, 0x1000},
        {0x8000, 1, 0x0, 0x9000},
        {0x10, 0x1000, 0x0, 0x2000},
        {0x10000, 0x2000, 0x10000, 0x2000},
        {0xFFFF, 0x3000, 0x0, 0x13000},
        {0x1010, 0x7000, 0x0, 0x9000},
        {0x1010, 0xC000, 0x0, 0xE000},
        {0xFFFF, 1, 0x0, 0x10000},
        {0xFFFF, 2, 0x0, 0x11000},
        {0x1FFFF, 1, 0x10000, 0x10000},
        {0x10001, 0xFFFF, 0x10000, 0x10000},
        {0x10001, 0x10000, 0x10000, 0x11000},
        {0x0, 0x20000, 0x0, 0x20000},
    };
    static const uint32_t types[] = {MEM_RESERVE, MEM_RESERVE | MEM_COMMIT};
    uintptr_t range = free_range(4 * G);
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            uintptr_t base = range + rows[i].base;
            assert_int_equal(
                must_alloc(range + rows[i].address, rows[i].size, types[k], PAGE_READWRITE), base);
            if (types[k] & MEM_COMMIT)
                expect_committed(base, base, PAGE_READWRITE, rows[i].given, PAGE_READWRITE);
            else
                expect_reserved(base, base, PAGE_READWRITE, rows[i].given);
            must_release(base);
        }
    }
}

// [VA-2] [VA-3] [8.2 row 8]
static void
a_reserve_over_anything_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    uintptr_t range = free_range(8 * G);
    must_alloc(range + 2 * G, 0x3000, MEM_RESERVE, PAGE_READONLY);
    must_alloc(range + 4 * G, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    foreign_map(range + 6 * G + 4 * P, P, PROT_READ | PROT_WRITE);
    *(int *)(range + 4 * G) = 77;
    *(int *)(range + 6 * G + 4 * P) = 78;
    static const struct {
        uintptr_t granule;
        uintptr_t offset;
        size_t size;
    } rows[] = {
        {2, 0, P},     {2, 0x1000, 1},      {2, 0x2FFF, 1}, {2, 0x8000, P}, {2, 0xF000, P},
        {1, 0, G + 1}, {1, 0xFFFF, 2},      {0, 0, 3 * G},  {2, 0, 3 * G},  {4, 0, P},
        {4, 0, G},     {3, 0x5000, 0xB001}, {6, 0x4000, P}, {6, 0, 5 * P},  {6, 0x3FFF, 2},
        {5, 0, 2 * G}, {0, 0, 8 * G},       {6, 0x4FFF, 1}, {6, 0x8000, P},
    };
    static const uint32_t types[] = {MEM_RESERVE, MEM_RESERVE | MEM_COMMIT};
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            void *result = &result;
            uintptr_t at = range + rows[i].granule * G + rows[i].offset;
            assert_int_equal(virtual_alloc(at, rows[i].size, types[k], PAGE_READWRITE, &result),
                             W_ADDR);
            assert_null(result);
        }
    }
    expect_free(range, 2 * G);
    expect_reserved(range + 2 * G, range + 2 * G, PAGE_READONLY, 0x3000);
    expect_free(range + 3 * G, G);
    expect_committed(range + 4 * G, range + 4 * G, PAGE_READWRITE, G, PAGE_READWRITE);
    expect_free(range + 5 * G, G + 4 * P);
    assert_int_equal(*(int *)(range + 4 * G), 77);
    assert_int_equal(*(int *)(range + 6 * G + 4 * P), 78);
    must_release(range + 2 * G);
    must_release(range + 4 * G);
    foreign_unmap(range + 6 * G + 4 * P, P);
    assert_int_equal(must_alloc(range, 8 * G, MEM_RESERVE, PAGE_READWRITE), range);
    must_release(range);
}

// [8.2 row 8]: a commit or reset lies inside one allocation.
static void
a_commit_or_reset_outside_of_one_allocation_is_refused(void **state)
{
    (void)state;
    uintptr_t range = free_range(6 * G);
    must_alloc(range + G, G, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(range + 2 * G, 0x3000, MEM_RESERVE, PAGE_READWRITE);
    foreign_map(range + 4 * G, P, PROT_READ | PROT_WRITE);
    static const struct {
        uintptr_t offset;
        size_t size;
    } rows[] = {
        {0, P},             // free
        {G - 1, 2},         // from free into an allocation
        {2 * G - P, 2 * P}, // two allocations side by side
        {2 * G - 1, 2},
        {G, 2 * G},
        {2 * G + 0x2000, 0x1001}, // over the end
        {2 * G + 0x3000, 1},      // the tail of the last granule
        {2 * G + 0x8000, P},
        {2 * G, G},
        {4 * G, P}, // somebody else's
        {4 * G - 1, 2},
        {5 * G, P},
    };
    static const uint32_t types[] = {MEM_COMMIT, MEM_RESET, MEM_COMMIT | MEM_TOP_DOWN};
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            void *result = &result;
            assert_int_equal(virtual_alloc(range + rows[i].offset, rows[i].size, types[k],
                                           PAGE_READWRITE, &result),
                             W_ADDR);
            assert_null(result);
        }
    }
    expect_reserved(range + G, range + G, PAGE_READWRITE, G);
    expect_reserved(range + 2 * G, range + 2 * G, PAGE_READWRITE, 0x3000);
    must_release(range + G);
    must_release(range + 2 * G);
    foreign_unmap(range + 4 * G, P);
}

// [VA-4]: the result of a commit is the first page, not the allocation; two bytes can name two pages.
static void
a_commit_answers_its_first_page_and_rounds_outwards(void **state)
{
    (void)state;
    static const struct {
        uintptr_t offset;
        size_t size;
        size_t first, pages;
    } rows[] = {
        {0, 1, 0, 1},         {1, 1, 0, 1},
        {P - 1, 1, 0, 1},     {P - 1, 2, 0, 2},
        {P, P, 1, 1},         {P + 1, P, 1, 2},
        {5 * P + 9, 1, 5, 1}, {3 * P - 1, 2 * P, 2, 3},
        {15 * P, P, 15, 1},   {15 * P + 4095, 1, 15, 1},
        {0, 16 * P, 0, 16},   {1, 16 * P - 1, 0, 16},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uintptr_t base = must_alloc(0, 16 * P, MEM_RESERVE, PAGE_NOACCESS);
        uintptr_t first = base + rows[i].first * P;
        assert_int_equal(
            must_alloc(base + rows[i].offset, rows[i].size, MEM_COMMIT, PAGE_READWRITE), first);
        expect_committed(first, base, PAGE_NOACCESS, rows[i].pages * P, PAGE_READWRITE);
        if (rows[i].first > 0)
            expect_reserved(base, base, PAGE_NOACCESS, rows[i].first * P);
        if (rows[i].first + rows[i].pages < 16)
            expect_reserved(first + rows[i].pages * P, base, PAGE_NOACCESS,
                            (16 - rows[i].first - rows[i].pages) * P);
        expect_zero(first, rows[i].pages * P);
        must_release(base);
    }
}

// Committed pages keep their contents and take the new protection; AllocationProtect stays. [VA-4]
static void
a_commit_over_committed_pages_keeps_contents_and_changes_protection(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, 8 * P, MEM_RESERVE, PAGE_READONLY);
    must_alloc(base + 2 * P, 2 * P, MEM_COMMIT, PAGE_READWRITE);
    memset((void *)(base + 2 * P), 0xCD, 2 * P);
    assert_int_equal(must_alloc(base + P, 4 * P, MEM_COMMIT, PAGE_READONLY), base + P);
    expect_committed(base + P, base, PAGE_READONLY, 4 * P, PAGE_READONLY);
    expect_zero(base + P, P);
    expect_zero(base + 4 * P, P);
    for (size_t i = 0; i < 2 * P; i++)
        assert_int_equal(((unsigned char *)base)[2 * P + i], 0xCD);
    uint32_t old;
    assert_int_equal(virtual_protect(base + 2 * P, P, PAGE_READWRITE, &old), S_OK);
    assert_int_equal(old, PAGE_READONLY);
    *(char *)(base + 2 * P) = 1;
    must_release(base);
}

// [D27] [8.2 row 8]: contents become the old bytes or zeros, whole pages only; states do not change.
static void
a_reset_changes_no_state_and_only_pages_wholly_inside(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, 16 * P, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(base + 2 * P, 4 * P, MEM_COMMIT, PAGE_READWRITE);
    memset((void *)(base + 2 * P), 0x77, 4 * P);
    assert_int_equal(must_alloc(base + 2 * P + 1, 3 * P, MEM_RESET, PAGE_NOACCESS), base + 2 * P);
    expect_committed(base + 2 * P, base, PAGE_READWRITE, 4 * P, PAGE_READWRITE);
    for (size_t i = 0; i < 4 * P; i++) {
        unsigned char byte = ((unsigned char *)base)[2 * P + i];
        bool inside = i >= P && i < 3 * P;
        assert_true(byte == 0x77 || (inside && byte == 0));
    }
    assert_int_equal(must_alloc(base, 16 * P, MEM_RESET, PAGE_READWRITE), base);
    expect_reserved(base, base, PAGE_READWRITE, 2 * P);
    expect_committed(base + 2 * P, base, PAGE_READWRITE, 4 * P, PAGE_READWRITE);
    assert_int_equal(must_alloc(base + 8 * P + 5, 10, MEM_RESET, PAGE_READWRITE), base + 8 * P);
    memset((void *)(base + 2 * P), 0x78, 4 * P);
    assert_int_equal(*(unsigned char *)(base + 3 * P), 0x78);
    must_release(base);
}

// [PG-6] [D22]: what the pages can be used for, as the kernel sees it.
static void
each_protection_gives_its_access(void **state)
{
    (void)state;
    static const struct {
        uint32_t protection;
        bool readable, writable;
    } rows[] = {
        {PAGE_NOACCESS, false, false},
        {PAGE_READONLY, true, false},
        {PAGE_READWRITE, true, true},
        {PAGE_EXECUTE, true, false},
        {PAGE_EXECUTE_READ, true, false},
        {PAGE_EXECUTE_READWRITE, true, true},
        {PAGE_READONLY | PAGE_GUARD, false, false},
        {PAGE_READWRITE | PAGE_GUARD, false, false},
        {PAGE_EXECUTE_READWRITE | PAGE_GUARD, false, false},
    };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        uintptr_t base = must_alloc(0, P, MEM_COMMIT, rows[i].protection);
        // The kernel answers EFAULT instead of a signal.
        assert_int_equal(write(ends[1], (void *)base, 1), rows[i].readable ? 1 : -1);
        if (!rows[i].readable)
            assert_int_equal(write(ends[1], "x", 1), 1);
        char byte;
        assert_int_equal(read(ends[0], (void *)base, 1), rows[i].writable ? 1 : -1);
        if (!rows[i].writable)
            assert_int_equal(read(ends[0], &byte, 1), 1);
        must_release(base);
    }
    close(ends[0]);
    close(ends[1]);
}

#if defined(__x86_64__)
// [PG-6]: code runs where EXECUTE says so.
static void
code_in_executable_pages_runs(void **state)
{
    (void)state;
    static const unsigned char code[] = {0xB8, 0x2A, 0x00, 0x00, 0x00, 0xC3}; // mov eax,42; ret
    static const uint32_t protections[] = {PAGE_EXECUTE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE};
    for (size_t i = 0; i < COUNT(protections); i++) {
        uint32_t old;
        uintptr_t base = must_alloc(0, P, MEM_COMMIT, PAGE_READWRITE);
        memcpy((void *)base, code, sizeof code);
        assert_int_equal(virtual_protect(base, P, protections[i], &old), S_OK);
        assert_int_equal(((int (*)(void))base)(), 42);
        must_release(base);
    }
}
#endif

// [GEN-9] [D9] [D10] [GEN-10]
static void
errno_stays_and_odd_levels_are_served(void **state)
{
    (void)state;
    static const uint32_t levels[] = {0, 1, 2, 3, 0xFFFFFFFFu};
    for (size_t i = 0; i < COUNT(levels); i++) {
        void *result;
        uint32_t old;
        hh_memory_basic_information info;
        size_t length;
        errno = 4711;
        assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, P, MEM_COMMIT, PAGE_READWRITE,
                                                       levels[i], &result),
                         S_OK);
        manager->lpVtbl->VirtualAlloc(manager, NULL, LIMIT, MEM_RESERVE, PAGE_READWRITE, 0,
                                      &(void *){NULL});
        manager->lpVtbl->VirtualProtect(manager, result, 1, PAGE_READONLY, &old);
        manager->lpVtbl->VirtualProtect(manager, (void *)0x10000, P, PAGE_READONLY, &old);
        manager->lpVtbl->VirtualQuery(manager, result, &info, sizeof info, &length);
        manager->lpVtbl->VirtualQuery(manager, &info, &info, sizeof info, &length);
        manager->lpVtbl->VirtualFree(manager, result, 0, MEM_RELEASE);
        manager->lpVtbl->VirtualFree(manager, result, 0, MEM_RELEASE);
        assert_int_equal(errno, 4711);
    }
}

// What the runtime sends: write watch refused, commits by 64 KiB, decommits, resets, releases with
// size 0, reserves that are no multiple of anything. [CM-5] [VF-1] [VF-2] [VA-5]
static void
the_calls_of_a_garbage_collector_work(void **state)
{
    (void)state;
    uintptr_t segment = must_alloc(0, 256 * G, MEM_RESERVE, PAGE_READWRITE);
    void *result;
    assert_int_equal(
        virtual_alloc(0, 256 * G, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE, &result),
        E_INVALIDARG);
    for (size_t at = 0; at < 256 * G; at += G) {
        assert_int_equal(must_alloc(segment + at, G, MEM_COMMIT, PAGE_READWRITE), segment + at);
        memset((void *)(segment + at), 0x11, G);
    }
    for (size_t at = 128 * G; at < 256 * G; at += 4 * G)
        assert_int_equal(virtual_free(segment + at, 4 * G, MEM_DECOMMIT), S_OK);
    expect_committed(segment, segment, PAGE_READWRITE, 128 * G, PAGE_READWRITE);
    expect_reserved(segment + 128 * G, segment, PAGE_READWRITE, 128 * G);
    must_alloc(segment + 128 * G, G, MEM_COMMIT, PAGE_READWRITE);
    expect_zero(segment + 128 * G, G);
    assert_int_equal(must_alloc(segment, 64 * G, MEM_RESET, PAGE_READWRITE), segment);
    must_release(segment);
    uintptr_t loader = must_alloc(0, 3 * G, MEM_RESERVE, PAGE_NOACCESS);
    must_alloc(loader, P, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    must_alloc(loader + P, 2 * P, MEM_COMMIT, PAGE_READWRITE);
    must_release(loader);
    uintptr_t hint = free_range(4 * G);
    hh_memory_basic_information info = query(hint);
    assert_int_equal(info.State, MEM_FREE);
    assert_true(info.RegionSize >= 4 * G);
    assert_int_equal(must_alloc(hint, 4 * G, MEM_RESERVE, PAGE_NOACCESS), hint);
    must_release(hint);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_the_contract_refuses_are_invalid_arguments),
        cmocka_unit_test(exactly_the_valid_protections_are_taken),
        cmocka_unit_test(a_bad_protection_is_refused_in_every_form),
        cmocka_unit_test(bad_sizes_and_addresses_are_invalid_arguments),
        cmocka_unit_test(more_than_the_address_space_has_is_out_of_memory),
        cmocka_unit_test(a_reserve_anywhere_is_aligned_and_rounded_to_pages),
        cmocka_unit_test(a_commit_anywhere_is_zero_and_usable),
        cmocka_unit_test(a_reset_of_nothing_is_an_invalid_address),
        cmocka_unit_test(a_reserve_at_an_address_is_rounded_as_in_the_table),
        cmocka_unit_test(a_reserve_over_anything_is_refused_and_changes_nothing),
        cmocka_unit_test(a_commit_or_reset_outside_of_one_allocation_is_refused),
        cmocka_unit_test(a_commit_answers_its_first_page_and_rounds_outwards),
        cmocka_unit_test(a_commit_over_committed_pages_keeps_contents_and_changes_protection),
        cmocka_unit_test(a_reset_changes_no_state_and_only_pages_wholly_inside),
        cmocka_unit_test(each_protection_gives_its_access),
#if defined(__x86_64__)
        cmocka_unit_test(code_in_executable_pages_runs),
#endif
        cmocka_unit_test(errno_stays_and_odd_levels_are_served),
        cmocka_unit_test(the_calls_of_a_garbage_collector_work),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
