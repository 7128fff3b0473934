// SPDX-License-Identifier: MIT
// tests/unit/test_references.c - counts of references at both of their ends. [COM-4]
#include "host/host_unknown.h"
#include "support/host.h"

static void
the_last_of_two_references_is_the_last(void **state)
{
    (void)state;
    struct hhi_references references = {1};
    bool last = true;
    assert_int_equal(hhi_references_add(&references), 2);
    assert_int_equal(hhi_references_drop(&references, &last), 1);
    assert_false(last);
    assert_int_equal(hhi_references_drop(&references, &last), 0);
    assert_true(last);
    assert_int_equal(hhi_references_drop(&references, &last), 0);
    assert_false(last);
}

// Who added 2^32 references has never let go: the object stays.
static void
a_count_that_is_full_stays(void **state)
{
    (void)state;
    struct hhi_references references = {UINT32_MAX - 1};
    bool last = true;
    for (int turn = 0; turn < 3; turn++)
        assert_int_equal(hhi_references_add(&references), UINT32_MAX);
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(hhi_references_drop(&references, &last), UINT32_MAX);
        assert_false(last);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_of_two_references_is_the_last),
        cmocka_unit_test(a_count_that_is_full_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
