// SPDX-License-Identifier: MIT
// tests/contract/test_virtual_protect.c - VirtualProtect, guard pages, other owners' memory.
#include "virtual.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint32_t protections[] = {0x01,  0x02,  0x04,  0x10,  0x20, 0x40,
                                       0x102, 0x104, 0x110, 0x120, 0x140};

// ---- Arguments: 8.4 rows 1 to 4 ----

// [8.4 row 1] [8.4 row 2] [8.4 row 3] [8.4 row 4] [PR-9] [GEN-3]
static void
bad_arguments_are_refused_in_order(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, G, MEM_COMMIT, PAGE_READWRITE);
    const struct {
        uintptr_t address;
        size_t size;
        uint32_t protection;
        bool old;
        hh_hresult answer;
    } rows[] = {
        {base, P, 0, true, E_INVALIDARG},
        {base, P, 0, false, E_INVALIDARG},
        {base, 0, 0x101, false, E_INVALIDARG},
        {base, P, PAGE_WRITECOPY, true, E_INVALIDARG},
        {base, P, PAGE_EXECUTE_WRITECOPY, false, E_INVALIDARG},
        {base, P, PAGE_READWRITE | PAGE_NOCACHE, true, E_INVALIDARG},
        {base, P, PAGE_READWRITE | PAGE_WRITECOMBINE, true, E_INVALIDARG},
        {base, P, PAGE_READWRITE | PAGE_READONLY, true, E_INVALIDARG},
        {LIMIT, P, 0, true, E_INVALIDARG},
        {base, P, PAGE_READWRITE, false, W_NOACCESS},
        {base, 0, PAGE_READWRITE, false, W_NOACCESS},
        {LIMIT, P, PAGE_READWRITE, false, W_NOACCESS},
        {0, P, PAGE_READWRITE, false, W_NOACCESS},
        {base, 0, PAGE_READWRITE, true, E_INVALIDARG},
        {0, 0, PAGE_READWRITE, true, E_INVALIDARG},
        {LIMIT, 1, PAGE_READWRITE, true, E_INVALIDARG},
        {LIMIT - P, P + 1, PAGE_READWRITE, true, E_INVALIDARG},
        {base, SIZE_MAX, PAGE_READWRITE, true, E_INVALIDARG},
        {base, LIMIT, PAGE_READWRITE, true, E_INVALIDARG},
        {UINTPTR_MAX, 1, PAGE_READWRITE, true, E_INVALIDARG},
        {UINTPTR_MAX, SIZE_MAX, PAGE_READWRITE, true, E_INVALIDARG},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t old = 0xDEAD;
        assert_int_equal(virtual_protect(rows[i].address, rows[i].size, rows[i].protection,
                                         rows[i].old ? &old : NULL),
                         rows[i].answer);
        assert_int_equal(old, rows[i].old ? PAGE_NOACCESS : 0xDEAD);
    }
    expect_committed(base, base, PAGE_READWRITE, G, PAGE_READWRITE);
    must_release(base);
}

// [8.4 row 5] [8.4 row 6] [PR-3] [PR-9]
static void
ranges_that_do_not_fit_are_invalid_addresses_and_nothing_changes(void **state)
{
    (void)state;
    uintptr_t range = free_range(8 * G);
    must_alloc(range + G, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    must_alloc(range + 2 * G, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    must_alloc(range + 4 * G, 0x8000, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(range + 4 * G + P, 2 * P, MEM_COMMIT, PAGE_READWRITE);
    foreign_map(range + 6 * G, 2 * P, PROT_READ | PROT_WRITE);
    static const struct {
        uintptr_t offset;
        size_t size;
    } rows[] = {
        {0, P},             // free
        {0, G + 1},         // free, then committed
        {2 * G - P, 2 * P}, // two allocations
        {2 * G - 1, 2},
        {G, 2 * G},
        {3 * G - 1, 2},         // committed, then free
        {4 * G, P},             // reserved
        {4 * G, 2 * P},         // reserved, then committed
        {4 * G + 2 * P, 2 * P}, // committed, then reserved
        {4 * G + 3 * P - 1, 2},
        {4 * G + 0x8000, P}, // the tail of a granule
        {4 * G + 0xF000, P},
        {6 * G, 3 * P}, // somebody else's, then a gap
        {6 * G - P, 2 * P},
        {6 * G + 2 * P - 1, 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t old = 0;
        assert_int_equal(virtual_protect(range + rows[i].offset, rows[i].size, PAGE_READONLY, &old),
                         W_ADDR);
        assert_int_equal(old, PAGE_NOACCESS);
    }
    expect_committed(range + G, range + G, PAGE_READWRITE, G, PAGE_READWRITE);
    expect_committed(range + 2 * G, range + 2 * G, PAGE_READWRITE, G, PAGE_READWRITE);
    expect_committed(range + 4 * G + P, range + 4 * G, PAGE_READWRITE, 2 * P, PAGE_READWRITE);
    *(volatile int *)(range + G) = 1;
    *(volatile int *)(range + 4 * G + P) = 1;
    *(volatile int *)(range + 6 * G) = 1;
    must_release(range + G);
    must_release(range + 2 * G);
    must_release(range + 4 * G);
    foreign_unmap(range + 6 * G, 2 * P);
}

// ---- What changes ----

// [PR-1] [PR-2] [PR-8]: from every protection to every other.
static void
every_change_answers_the_old_value_and_keeps_contents(void **state)
{
    (void)state;
    for (size_t from = 0; from < COUNT(protections); from++) {
        for (size_t to = 0; to < COUNT(protections); to++) {
            uint32_t old;
            uintptr_t base = must_alloc(0, 3 * P, MEM_COMMIT, PAGE_READWRITE);
            memset((void *)base, 0x33, 3 * P);
            assert_int_equal(virtual_protect(base, 3 * P, protections[from], &old), S_OK);
            assert_int_equal(old, PAGE_READWRITE);
            assert_int_equal(virtual_protect(base + P, P, protections[to], &old), S_OK);
            assert_int_equal(old, protections[from]);
            size_t run = from == to ? 2 * P : P;
            expect_committed(base + P, base, PAGE_READWRITE, run, protections[to]);
            assert_int_equal(virtual_protect(base, 3 * P, PAGE_READWRITE, &old), S_OK);
            assert_int_equal(old, protections[from]);
            for (size_t i = 0; i < 3 * P; i += 64)
                assert_int_equal(((unsigned char *)base)[i], 0x33);
            must_release(base);
        }
    }
}

// [PR-1] [PR-4] [PR-6]: one byte names its page, bytes over a border name both; the old value is
// the first page's.
static void
a_range_names_each_page_it_touches(void **state)
{
    (void)state;
    static const struct {
        uintptr_t offset;
        size_t size;
        size_t first, pages;
    } rows[] = {
        {0, 1, 0, 1},     {P - 1, 1, 0, 1},     {P - 1, 2, 0, 2},         {P - 2, 5, 0, 2},
        {P, 5, 1, 1},     {P + 8, 8, 1, 1},     {2 * P - 4, P + 8, 1, 3}, {5 * P, 3 * P, 5, 3},
        {0, 8 * P, 0, 8}, {1, 8 * P - 1, 0, 8},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t old;
        uintptr_t base = must_alloc(0, 8 * P, MEM_COMMIT, PAGE_READWRITE);
        for (size_t page = 0; page < 8; page += 2)
            assert_int_equal(virtual_protect(base + page * P, 1, PAGE_READONLY, &old), S_OK);
        assert_int_equal(
            virtual_protect(base + rows[i].offset, rows[i].size, PAGE_EXECUTE_READ, &old), S_OK);
        assert_int_equal(old, rows[i].first % 2 == 0 ? PAGE_READONLY : PAGE_READWRITE);
        for (size_t page = 0; page < 8; page++) {
            bool changed = page >= rows[i].first && page < rows[i].first + rows[i].pages;
            uint32_t now = changed         ? PAGE_EXECUTE_READ
                           : page % 2 == 0 ? PAGE_READONLY
                                           : PAGE_READWRITE;
            assert_int_equal(query(base + page * P).Protect, now);
            assert_int_equal(query(base + page * P).AllocationProtect, PAGE_READWRITE);
        }
        must_release(base);
    }
}

// ---- Somebody else's memory ----

// [PR-5] [D32] [FM-3]
static void
foreign_pages_change_and_answer_the_translated_old_value(void **state)
{
    (void)state;
    static const struct {
        int protection;
        uint32_t old;
    } rows[] = {
        {PROT_NONE, 0x01},
        {PROT_READ, 0x02},
        {PROT_READ | PROT_WRITE, 0x04},
        {PROT_READ | PROT_EXEC, 0x20},
        {PROT_READ | PROT_WRITE | PROT_EXEC, 0x40},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t old;
        uintptr_t at = free_range(2 * G) + G;
        foreign_map(at, 4 * P, rows[i].protection);
        assert_int_equal(virtual_protect(at + P + 1, 5, PAGE_READWRITE, &old), S_OK);
        assert_int_equal(old, rows[i].old);
        *(volatile char *)(at + P) = 1;
        assert_int_equal(query(at + P).Protect, PAGE_READWRITE);
        assert_int_equal(query(at).Protect, rows[i].old);
        assert_int_equal(virtual_protect(at + P + 1, 5, old, &old), S_OK);
        assert_int_equal(old, PAGE_READWRITE);
        foreign_unmap(at, 4 * P);
    }
}

// [PR-5] [PR-3]
static void
a_change_over_several_foreign_mappings_is_one(void **state)
{
    (void)state;
    uint32_t old;
    uintptr_t at = free_range(2 * G) + G;
    for (size_t i = 0; i < 8; i++)
        foreign_map(at + i * P, P, i % 2 == 0 ? PROT_READ : PROT_READ | PROT_WRITE);
    assert_int_equal(virtual_protect(at, 8 * P, PAGE_READWRITE, &old), S_OK);
    assert_int_equal(old, PAGE_READONLY);
    memset((void *)at, 1, 8 * P);
    foreign_unmap(at, 8 * P);
}

static char image_data[3 * 4096] = {1};

// [PG-2]: copy-on-write pages of a file can be given back their old value, ours can not have it.
static void
a_page_of_the_program_can_be_changed_and_put_back(void **state)
{
    (void)state;
    uint32_t old, now;
    uintptr_t page = ((uintptr_t)image_data + P) & ~(P - 1);
    assert_int_equal(virtual_protect(page, 8, PAGE_READONLY, &old), S_OK);
    assert_int_equal(old, PAGE_WRITECOPY);
    assert_int_equal(query(page).Protect, PAGE_READONLY);
    assert_int_equal(virtual_protect(page, 8, old, &now), S_OK);
    assert_int_equal(now, PAGE_READONLY);
    assert_int_equal(query(page).Protect, PAGE_WRITECOPY);
    *(volatile char *)page = 2;
    uintptr_t at = free_range(2 * G) + G;
    foreign_map(at, P, PROT_READ);
    assert_int_equal(virtual_protect(at, P, PAGE_WRITECOPY, &now), E_INVALIDARG);
    foreign_unmap(at, P);
}

// [8.4 row 8]: a shared read-only view of a file that was opened for reading.
static void
an_access_the_kernel_forbids_is_an_invalid_argument(void **state)
{
    (void)state;
    char name[] = "/tmp/hostheap-test-XXXXXX";
    int file = mkstemp(name);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)P), 0);
    int reading = open(name, O_RDONLY);
    assert_true(reading >= 0);
    uintptr_t at = free_range(2 * G) + G;
    void *got = mmap((void *)at, P, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, reading, 0);
    assert_int_equal(got, at);
    uint32_t old = 0;
    assert_int_equal(virtual_protect(at, P, PAGE_READWRITE, &old), E_INVALIDARG);
    assert_int_equal(old, PAGE_NOACCESS);
    assert_int_equal(query(at).Protect, PAGE_READONLY);
    foreign_unmap(at, P);
    close(reading);
    close(file);
    unlink(name);
}

// ---- Guard pages ----

static sigjmp_buf fault_return;
static volatile int guard_faults;
static volatile int other_faults;

static void
on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number, (void)context;
    if (hh_guard_fault(info->si_addr)) {
        guard_faults++;
        return;
    }
    other_faults++;
    siglongjmp(fault_return, 1);
}

// [PG-7] [D23]
static void
the_first_touch_of_a_guard_page_clears_it(void **state)
{
    (void)state;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    uintptr_t base = must_alloc(0, 4 * P, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    guard_faults = other_faults = 0;
    *(volatile char *)(base + P) = 7;
    assert_int_equal(guard_faults, 1);
    expect_committed(base, base, 0x104, P, 0x104);
    expect_committed(base + P, base, 0x104, P, 0x04);
    expect_committed(base + 2 * P, base, 0x104, 2 * P, 0x104);
    *(volatile char *)(base + P + 1) = 7;
    assert_int_equal(guard_faults, 1);
    // A guard over a protection that forbids the access: the guard goes, the fault comes again.
    uint32_t old;
    assert_int_equal(virtual_protect(base, P, PAGE_READONLY | PAGE_GUARD, &old), S_OK);
    assert_int_equal(old, 0x104);
    if (sigsetjmp(fault_return, 1) == 0)
        *(volatile char *)base = 1;
    assert_int_equal(guard_faults, 2);
    assert_int_equal(other_faults, 1);
    assert_int_equal(*(volatile char *)base, 0);
    must_release(base);
    sigaction(SIGSEGV, &before, NULL);
}

// [PG-7] [PR-5]: on memory of others too, as a runtime does with thread stacks.
static void
foreign_pages_can_be_guard_pages(void **state)
{
    (void)state;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    uint32_t old;
    uintptr_t at = free_range(2 * G) + G;
    foreign_map(at, 8 * P, PROT_READ | PROT_WRITE);
    memset((void *)at, 0x61, 8 * P);
    guard_faults = other_faults = 0;
    assert_int_equal(virtual_protect(at + 2 * P, 2 * P, PAGE_READWRITE | PAGE_GUARD, &old), S_OK);
    assert_int_equal(old, PAGE_READWRITE);
    assert_int_equal(virtual_protect(at + 4 * P, P, PAGE_NOACCESS, &old), S_OK);
    assert_int_equal(query(at).Protect, PAGE_READWRITE);
    assert_int_equal(query(at + 2 * P).Protect, 0x104);
    assert_int_equal(query(at + 2 * P).RegionSize, 2 * P);
    assert_int_equal(query(at + 3 * P).RegionSize, P);
    assert_int_equal(query(at + 4 * P).Protect, PAGE_NOACCESS);
    assert_int_equal(query(at + 4 * P).RegionSize, P);
    assert_int_equal(*(volatile char *)(at + 3 * P), 0x61);
    assert_int_equal(guard_faults, 1);
    assert_int_equal(query(at + 2 * P).RegionSize, P);
    assert_int_equal(query(at + 3 * P).Protect, PAGE_READWRITE);
    assert_int_equal(virtual_protect(at + 2 * P, P, PAGE_READONLY, &old), S_OK);
    assert_int_equal(old, 0x104);
    assert_int_equal(virtual_protect(at + 2 * P, P, PAGE_NOACCESS, &old), S_OK);
    assert_int_equal(query(at + 2 * P).Protect, PAGE_NOACCESS);
    assert_int_equal(hh_guard_fault((void *)(at + 2 * P)), 0);
    // A note outlives neither the mapping nor a change by its owner.
    assert_int_equal(virtual_protect(at, P, PAGE_READWRITE | PAGE_GUARD, &old), S_OK);
    assert_int_equal(mprotect((void *)at, P, PROT_READ), 0);
    assert_int_equal(query(at).Protect, PAGE_READONLY);
    assert_int_equal(hh_guard_fault((void *)at), 0);
    assert_int_equal(virtual_protect(at, 1024 * P, PAGE_READWRITE | PAGE_GUARD, &old), W_ADDR);
    foreign_unmap(at, 8 * P);
    assert_int_equal(hh_guard_fault((void *)at), 0);
    sigaction(SIGSEGV, &before, NULL);
}

// [8.4 row 8]: there are 256 notes; more pages at once are refused whole.
static void
too_many_foreign_guard_pages_are_out_of_memory(void **state)
{
    (void)state;
    uint32_t old;
    uintptr_t at = free_range(64 * G) + G;
    foreign_map(at, 300 * P, PROT_READ | PROT_WRITE);
    assert_int_equal(virtual_protect(at, 300 * P, PAGE_READONLY | PAGE_GUARD, &old), E_OUTOFMEMORY);
    *(volatile char *)(at + 299 * P) = 1;
    for (int round = 0; round < 4; round++) {
        assert_int_equal(virtual_protect(at, 200 * P, PAGE_READONLY | PAGE_GUARD, &old), S_OK);
        assert_int_equal(query(at).RegionSize, 200 * P);
        assert_int_equal(virtual_protect(at, 300 * P, PAGE_READWRITE, &old), S_OK);
        assert_int_equal(old, PAGE_READONLY | PAGE_GUARD);
    }
    foreign_unmap(at, 300 * P);
}

// [8.4 row 5] [PR-5]: of a range with a hole nothing is changed, and a large one is refused as fast.
static void
a_hole_of_nearly_all_addresses_is_an_invalid_address(void **state)
{
    (void)state;
    uint32_t old = 0;
    uintptr_t first = (uintptr_t)1 << 32, end = (uintptr_t)80 << 40;
    assert_int_equal(virtual_protect(first, end - first, PAGE_READONLY, &old), W_ADDR);
    assert_int_equal(old, PAGE_NOACCESS);
}

// [PG-7]
static void
what_is_no_guard_page_is_not_touched_by_hh_guard_fault(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, 2 * P, MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD);
    must_alloc(base, P, MEM_COMMIT, PAGE_NOACCESS);
    const uintptr_t addresses[] = {
        0, 1, base, base + P, base + 2 * P, LIMIT, UINTPTR_MAX, (uintptr_t)&state};
    for (size_t i = 0; i < COUNT(addresses); i++)
        assert_int_equal(hh_guard_fault((void *)addresses[i]), 0);
    expect_committed(base, base, 0x104, P, PAGE_NOACCESS);
    expect_reserved(base + P, base, 0x104, P);
    must_release(base);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_arguments_are_refused_in_order),
        cmocka_unit_test(ranges_that_do_not_fit_are_invalid_addresses_and_nothing_changes),
        cmocka_unit_test(every_change_answers_the_old_value_and_keeps_contents),
        cmocka_unit_test(a_range_names_each_page_it_touches),
        cmocka_unit_test(foreign_pages_change_and_answer_the_translated_old_value),
        cmocka_unit_test(a_change_over_several_foreign_mappings_is_one),
        cmocka_unit_test(a_page_of_the_program_can_be_changed_and_put_back),
        cmocka_unit_test(an_access_the_kernel_forbids_is_an_invalid_argument),
        cmocka_unit_test(the_first_touch_of_a_guard_page_clears_it),
        cmocka_unit_test(foreign_pages_can_be_guard_pages),
        cmocka_unit_test(too_many_foreign_guard_pages_are_out_of_memory),
        cmocka_unit_test(a_hole_of_nearly_all_addresses_is_an_invalid_address),
        cmocka_unit_test(what_is_no_guard_page_is_not_touched_by_hh_guard_fault),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
