// SPDX-License-Identifier: MIT
// unit/test_address_notice.c - the table of what the runtime mapped (AS-3, AS-4).
#include "region/address_notice.h"

#include "support/test.h"

static void
expect_stats(size_t ranges, size_t bytes)
{
    struct hhi_notice_stats stats;
    hhi_notice_read_stats(&stats);
    assert_int_equal(stats.ranges, ranges);
    assert_int_equal(stats.bytes, bytes);
}

static void
notices_are_counted_and_taken_back(void **state)
{
    (void)state; // [AS-3, AS-4]
    expect_stats(0, 0);
    hhi_notice_add(0x10000, 5000);
    hhi_notice_add(0x7FFF00000000, 1);
    expect_stats(2, 5001);
    assert_true(hhi_notice_remove(0x10000));
    expect_stats(1, 1);
    assert_true(hhi_notice_remove(0x7FFF00000000));
    expect_stats(0, 0);
}

static void
a_second_notice_of_a_start_replaces_the_first(void **state)
{
    (void)state; // [AS-3]
    hhi_notice_add(0x10000, 5000);
    hhi_notice_add(0x10000, 300);
    expect_stats(1, 300);
    assert_true(hhi_notice_remove(0x10000));
    expect_stats(0, 0);
}

static void
unknown_starts_are_told(void **state)
{
    (void)state; // [AS-4]
    hhi_notice_add(0x10000, 5000);
    assert_false(hhi_notice_remove(0));
    assert_false(hhi_notice_remove(0x10001));
    assert_false(hhi_notice_remove(0x11000));
    assert_false(hhi_notice_remove(UINTPTR_MAX));
    expect_stats(1, 5000);
    assert_true(hhi_notice_remove(0x10000));
    assert_false(hhi_notice_remove(0x10000));
}

static void
thousands_of_notices_in_any_order_are_all_found(void **state)
{
    (void)state;                        // [AS-3, AS-4]
    enum { COUNT = 5000, STEP = 1237 }; // STEP and COUNT have no common divisor
    for (unsigned round = 0; round < 3; round++) {
        for (uintptr_t i = 0; i < COUNT; i++)
            hhi_notice_add(0x40000000 + i * 4096, i + 1);
        expect_stats(COUNT, COUNT * (COUNT + 1) / 2);
        for (uintptr_t i = 0; i < COUNT; i++)
            assert_true(hhi_notice_remove(0x40000000 + i * STEP % COUNT * 4096));
        expect_stats(0, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notices_are_counted_and_taken_back),
        cmocka_unit_test(a_second_notice_of_a_start_replaces_the_first),
        cmocka_unit_test(unknown_starts_are_told),
        cmocka_unit_test(thousands_of_notices_in_any_order_are_all_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
