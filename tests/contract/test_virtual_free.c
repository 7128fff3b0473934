// SPDX-License-Identifier: MIT
// tests/contract/test_virtual_free.c - VirtualFree: decommit, release, and what is refused.
#include "virtual.h"

#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NOT_OURS HOST_E_INVALIDOPERATION

static void
expect_zero(uintptr_t address, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)address;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], 0);
}

// [8.3 row 1]
static void
free_types_other_than_the_two_are_invalid_arguments(void **state)
{
    (void)state;
    static const uint32_t types[] = {0,
                                     MEM_DECOMMIT | MEM_RELEASE,
                                     MEM_FREE,
                                     MEM_COMMIT,
                                     MEM_RESERVE,
                                     MEM_RESET,
                                     1,
                                     2,
                                     MEM_RELEASE | 1,
                                     MEM_RELEASE | 2,
                                     MEM_DECOMMIT | 1,
                                     MEM_DECOMMIT | 0x80000000u,
                                     0xFFFFFFFFu};
    uintptr_t base = must_alloc(0, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    static const size_t sizes[] = {0, 1, P, G, SIZE_MAX};
    for (size_t i = 0; i < COUNT(types); i++) {
        for (size_t k = 0; k < COUNT(sizes); k++) {
            assert_int_equal(virtual_free(base, sizes[k], types[i]), E_INVALIDARG);
            assert_int_equal(virtual_free(0, sizes[k], types[i]), E_INVALIDARG);
        }
    }
    expect_committed(base, base, PAGE_READWRITE, G, PAGE_READWRITE);
    must_release(base);
}

// [8.3 row 2]
static void
a_release_with_a_size_is_an_invalid_argument(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, P, G, 2 * G, SIZE_MAX};
    uintptr_t base = must_alloc(0, G, MEM_RESERVE, PAGE_READWRITE);
    for (size_t k = 0; k < COUNT(sizes); k++) {
        assert_int_equal(virtual_free(base, sizes[k], MEM_RELEASE), E_INVALIDARG);
        assert_int_equal(virtual_free(0, sizes[k], MEM_RELEASE), E_INVALIDARG);
    }
    expect_reserved(base, base, PAGE_READWRITE, G);
    must_release(base);
}

static int static_data;

// [8.3 row 3] [VF-3]
static void
what_is_in_no_host_allocation_is_an_invalid_operation(void **state)
{
    (void)state;
    int local;
    uintptr_t range = free_range(4 * G);
    uintptr_t released = must_alloc(range, G, MEM_RESERVE, PAGE_READWRITE);
    must_release(released);
    uintptr_t tail = must_alloc(range + G, 0x3000, MEM_RESERVE, PAGE_READWRITE) + 0x3000;
    foreign_map(range + 3 * G, G, PROT_READ | PROT_WRITE);
    const uintptr_t addresses[] = {
        0,
        1,
        0xFFFF,
        0x10000,
        released,
        tail,
        tail + 0x8000,
        range + 3 * G,
        range + 3 * G + P,
        LIMIT - 1,
        LIMIT,
        (uintptr_t)1 << 47,
        (uintptr_t)1 << 63,
        UINTPTR_MAX,
        (uintptr_t)&local,
        (uintptr_t)&static_data,
        (uintptr_t)(void (*)(void **))what_is_in_no_host_allocation_is_an_invalid_operation,
    };
    for (size_t i = 0; i < COUNT(addresses); i++) {
        assert_int_equal(virtual_free(addresses[i], 0, MEM_RELEASE), NOT_OURS);
        assert_int_equal(virtual_free(addresses[i], 0, MEM_DECOMMIT), NOT_OURS);
        assert_int_equal(virtual_free(addresses[i], 1, MEM_DECOMMIT), NOT_OURS);
        assert_int_equal(virtual_free(addresses[i], P, MEM_DECOMMIT), NOT_OURS);
        assert_int_equal(virtual_free(addresses[i], SIZE_MAX, MEM_DECOMMIT), NOT_OURS);
    }
    *(int *)(range + 3 * G) = 5;
    must_release(range + G);
    foreign_unmap(range + 3 * G, G);
}

// [8.3 row 4] [D29] [VF-2]
static void
size_0_wants_an_address_in_the_first_page(void **state)
{
    (void)state;
    static const uintptr_t inner[] = {P, P + 1, 2 * P, G - 1, G, G + 5, 2 * G - 1};
    static const uintptr_t first[] = {0, 1, 8, 2048, P - 1};
    for (size_t k = 0; k < COUNT(first); k++) {
        uintptr_t base =
            must_alloc(free_range(2 * G), 2 * G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        for (size_t i = 0; i < COUNT(inner); i++) {
            assert_int_equal(virtual_free(base + inner[i], 0, MEM_RELEASE), W_ADDR);
            assert_int_equal(virtual_free(base + inner[i], 0, MEM_DECOMMIT), W_ADDR);
        }
        expect_committed(base, base, PAGE_READWRITE, 2 * G, PAGE_READWRITE);
        assert_int_equal(virtual_free(base + first[k], 0, MEM_DECOMMIT), S_OK);
        expect_reserved(base, base, PAGE_READWRITE, 2 * G);
        assert_int_equal(virtual_free(base + first[k], 0, MEM_RELEASE), S_OK);
        expect_free(base, ANY_SIZE);
        assert_int_equal(virtual_free(base + first[k], 0, MEM_RELEASE), NOT_OURS);
    }
}

// [8.3 row 5]
static void
a_decommit_past_the_end_is_an_invalid_argument_and_changes_nothing(void **state)
{
    (void)state;
    uintptr_t range = free_range(2 * G);
    must_alloc(range, 0x5000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    must_alloc(range + G, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    static const struct {
        uintptr_t offset;
        size_t size;
    } rows[] = {
        {0, 0x5001},   {0, 0x6000},
        {0, G},        {0x4000, 0x1001},
        {0x4FFF, 2},   {1, 0x5000},
        {0, 2 * G},    {0x1000, SIZE_MAX},
        {0, SIZE_MAX}, {0x4000, SIZE_MAX / 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(virtual_free(range + rows[i].offset, rows[i].size, MEM_DECOMMIT),
                         E_INVALIDARG);
    expect_committed(range, range, PAGE_READWRITE, 0x5000, PAGE_READWRITE);
    expect_committed(range + G, range + G, PAGE_READWRITE, G, PAGE_READWRITE);
    must_release(range);
    must_release(range + G);
}

// [VF-1]: rounding outwards; reserved pages are fine.
static void
a_decommit_takes_every_page_it_touches(void **state)
{
    (void)state;
    static const struct {
        uintptr_t offset;
        size_t size;
        size_t first, pages;
    } rows[] = {
        {0, 1, 0, 1},         {P - 1, 2, 0, 2},          {1, P, 0, 2},
        {3 * P, 5 * P, 3, 5}, {15 * P + 4095, 1, 15, 1}, {0, 16 * P, 0, 16},
        {2 * P + 1, 1, 2, 1}, {4 * P - 1, P + 2, 3, 3},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uintptr_t base = must_alloc(0, 16 * P, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        uintptr_t first = base + rows[i].first * P;
        memset((void *)base, 0x99, 16 * P);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(virtual_free(base + rows[i].offset, rows[i].size, MEM_DECOMMIT), S_OK);
            expect_reserved(first, base, PAGE_READWRITE, rows[i].pages * P);
        }
        if (rows[i].first > 0)
            expect_committed(base, base, PAGE_READWRITE, rows[i].first * P, PAGE_READWRITE);
        for (size_t page = 0; page < 16; page++) {
            if (page < rows[i].first || page >= rows[i].first + rows[i].pages)
                assert_int_equal(*(unsigned char *)(base + page * P), 0x99);
        }
        must_release(base);
    }
}

// [VF-1]: no access any more.
static void
decommitted_pages_cannot_be_accessed(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    uintptr_t base = must_alloc(0, 3 * P, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(virtual_free(base + P, P, MEM_DECOMMIT), S_OK);
    assert_int_equal(write(ends[1], (void *)base, 1), 1);
    assert_int_equal(write(ends[1], (void *)(base + P), 1), -1);
    assert_int_equal(write(ends[1], (void *)(base + 2 * P), 1), 1);
    must_release(base);
    close(ends[0]);
    close(ends[1]);
}

// [VF-4]: also when the pages were locked, which MADV_DONTNEED refuses.
static void
recommitted_pages_are_zero(void **state)
{
    (void)state;
    for (int locked = 0; locked < 2; locked++) {
        uintptr_t base = must_alloc(0, 8 * P, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        if (locked && mlock((void *)base, 8 * P) != 0)
            skip();
        memset((void *)base, 0x42, 8 * P);
        assert_int_equal(virtual_free(base + 2 * P, 3 * P, MEM_DECOMMIT), S_OK);
        expect_reserved(base + 2 * P, base, PAGE_READWRITE, 3 * P);
        must_alloc(base + P, 6 * P, MEM_COMMIT, PAGE_READWRITE);
        expect_zero(base + 2 * P, 3 * P);
        assert_int_equal(*(unsigned char *)(base + 2 * P - 1), 0x42);
        assert_int_equal(*(unsigned char *)(base + 5 * P), 0x42);
        assert_int_equal(virtual_free(base, 0, MEM_DECOMMIT), S_OK);
        must_alloc(base, 8 * P, MEM_COMMIT, PAGE_READWRITE);
        expect_zero(base, 8 * P);
        must_release(base);
    }
}

// [VF-2]: whatever the states of the pages.
static void
a_release_frees_the_whole_allocation(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, G + 3 * P, MEM_RESERVE, PAGE_NOACCESS);
    must_alloc(base + P, 2 * P, MEM_COMMIT, PAGE_READWRITE);
    must_alloc(base + 5 * P, P, MEM_COMMIT, PAGE_EXECUTE_READ | PAGE_GUARD);
    must_alloc(base + 9 * P, P, MEM_COMMIT, PAGE_NOACCESS);
    must_release(base);
    hh_memory_basic_information info = query(base);
    assert_int_equal(info.State, MEM_FREE);
    assert_true(info.RegionSize >= 2 * G);
    // The kernel agrees: all of it can be mapped by somebody else.
    foreign_map(base, 2 * G, PROT_NONE);
    foreign_unmap(base, 2 * G);
    static const uintptr_t inside[] = {0, P, 5 * P, G};
    for (size_t i = 0; i < COUNT(inside); i++) {
        assert_int_equal(virtual_free(base + inside[i], 0, MEM_RELEASE), NOT_OURS);
        assert_int_equal(virtual_free(base + inside[i], P, MEM_DECOMMIT), NOT_OURS);
    }
}

// A release ends what was there, so the next allocation at the address begins anew. [VF-2]
static void
addresses_are_used_again_without_memory_of_the_past(void **state)
{
    (void)state;
    uintptr_t range = free_range(2 * G);
    for (int round = 0; round < 200; round++) {
        size_t size = (1 + (size_t)round % 31) * P;
        uintptr_t base = must_alloc(range, size, MEM_RESERVE, PAGE_READONLY);
        assert_int_equal(base, range);
        expect_reserved(base, base, PAGE_READONLY, size);
        must_alloc(base, size, MEM_COMMIT, PAGE_READWRITE);
        expect_zero(base, size);
        memset((void *)base, round + 1, size);
        must_release(base);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_types_other_than_the_two_are_invalid_arguments),
        cmocka_unit_test(a_release_with_a_size_is_an_invalid_argument),
        cmocka_unit_test(what_is_in_no_host_allocation_is_an_invalid_operation),
        cmocka_unit_test(size_0_wants_an_address_in_the_first_page),
        cmocka_unit_test(a_decommit_past_the_end_is_an_invalid_argument_and_changes_nothing),
        cmocka_unit_test(a_decommit_takes_every_page_it_touches),
        cmocka_unit_test(decommitted_pages_cannot_be_accessed),
        cmocka_unit_test(recommitted_pages_are_zero),
        cmocka_unit_test(a_release_frees_the_whole_allocation),
        cmocka_unit_test(addresses_are_used_again_without_memory_of_the_past),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
