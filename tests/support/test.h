// SPDX-License-Identifier: MIT
// tests/support/test.h - cmocka with the headers it wants before itself.
#ifndef HH_TESTS_SUPPORT_TEST_H
#define HH_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
