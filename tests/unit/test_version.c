// SPDX-License-Identifier: MIT
// unit/test_version.c - hh_version says what the public header says.

#include <stdio.h>

#include <hostheap/hostheap.h>

#include "support/test.h"

static void
version_text_is_the_headers_three_numbers(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof(expected), "%d.%d.%d", HOSTHEAP_VERSION_MAJOR, HOSTHEAP_VERSION_MINOR,
             HOSTHEAP_VERSION_PATCH);
    assert_string_equal(hh_version(), expected);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_text_is_the_headers_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
