// SPDX-License-Identifier: MIT
// unit/test_bits.c - base/bits.h against the operators of the language.

#include "base/bits.h"

#include "support/test.h"

static void
align_rounds_to_the_nearest_multiple_on_its_side(void **state)
{
    (void)state;
    for (uintptr_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (uintptr_t value = 0; value < 3 * alignment + 2; value++) {
            assert_int_equal(hh_align_down(value, alignment), value / alignment * alignment);
            assert_int_equal(hh_align_up(value, alignment),
                             (value + alignment - 1) / alignment * alignment);
        }
    }
}

static void
log2_brackets_every_value(void **state)
{
    (void)state;
    for (size_t value = 1; value < 100000; value++) {
        assert_true(((size_t)1 << hh_log2_floor(value)) <= value);
        assert_true(((size_t)2 << hh_log2_floor(value)) > value);
        assert_true(((size_t)1 << hh_log2_ceil(value)) >= value);
        assert_true(value == 1 || ((size_t)1 << (hh_log2_ceil(value) - 1)) < value);
    }
}

static void
power_of_two_has_one_bit(void **state)
{
    (void)state;
    assert_false(hh_is_power_of_two(0));
    for (size_t value = 1; value < 5000; value++)
        assert_int_equal(hh_is_power_of_two(value), __builtin_popcountl(value) == 1);
}

static void
division_is_exact_at_multiples_and_their_neighbours(void **state)
{
    (void)state;
    static const uint64_t limit = UINT64_C(1) << 32;
    for (uint64_t size = 2; size <= 1 << 20; size += size < 4096 ? 1 : 997) {
        uint64_t magic = hh_divide_magic(size);
        uint64_t last = limit / size;
        for (uint64_t step = 0; step < 40; step++) {
            // 20 quotients from the bottom of the range, 20 from its top
            uint64_t quotient = step < 20 ? step : last - (39 - step);
            if (last < 40 && step >= 20)
                break;
            for (uint64_t rest = 0; rest<size; rest += size> 3 && rest == 1 ? size - 2 : 1) {
                uint64_t offset = quotient * size + rest;
                if (offset >= limit)
                    continue;
                uint64_t mark;
                assert_int_equal(hh_divide(offset, magic, &mark), quotient);
                assert_int_equal(mark < magic, rest == 0);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(align_rounds_to_the_nearest_multiple_on_its_side),
        cmocka_unit_test(log2_brackets_every_value),
        cmocka_unit_test(power_of_two_has_one_bit),
        cmocka_unit_test(division_is_exact_at_multiples_and_their_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
