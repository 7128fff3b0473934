// SPDX-License-Identifier: MIT
/* diag: messages without stdio. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "diag/diag.h"
#include "support/capture.h"

#define assert_formats_like_libc(...)                                                              \
    do {                                                                                           \
        char ours[256];                                                                            \
        char libc[256];                                                                            \
        size_t length = hhi_diag_format(ours, sizeof ours, __VA_ARGS__);                           \
        assert_int_equal(length, snprintf(libc, sizeof libc, __VA_ARGS__));                        \
        assert_string_equal(ours, libc);                                                           \
    } while (0)

static void
format_of_every_directive_equals_libc(void **state)
{
    (void)state;
    assert_formats_like_libc("plain");
    assert_formats_like_libc("%s|%s|", "", "word");
    assert_formats_like_libc("%c%c", 'a', '%');
    assert_formats_like_libc("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    assert_formats_like_libc("%ld %ld", LONG_MAX, LONG_MIN);
    assert_formats_like_libc("%lld %lld", LLONG_MAX, LLONG_MIN);
    assert_formats_like_libc("%u %u %x %x", 0u, UINT_MAX, 0u, UINT_MAX);
    assert_formats_like_libc("%lu %llu %lx %llx", ULONG_MAX, ULLONG_MAX, ULONG_MAX, ULLONG_MAX);
    assert_formats_like_libc("%zu %zx %zd", SIZE_MAX, SIZE_MAX, PTRDIFF_MIN);
    assert_formats_like_libc("%p %p", (void *)0x1234abcd, (void *)UINTPTR_MAX);
    assert_formats_like_libc("100%% of %s", "it");
    // More arguments than registers hold.
    assert_formats_like_libc("%d %d %d %d %d %d %d %s", 1, 2, 3, 4, 5, 6, 7, "eight");
}

static void
format_of_null_text_and_null_pointer_is_readable(void **state)
{
    (void)state;
    char text[32];
    const char *volatile none = NULL;
    hhi_diag_format(text, sizeof text, "%s %p", none, (void *)NULL);
    assert_string_equal(text, "(null) 0x0");
}

static void
format_into_too_small_buffer_cuts_and_terminates(void **state)
{
    (void)state;
    char text[8];
    memset(text, 'x', sizeof text);
    assert_int_equal(hhi_diag_format(text, 4, "%d", 123456), 3);
    assert_memory_equal(text, "123\0xxxx", 8);
    assert_int_equal(hhi_diag_format(text, 1, "abc"), 0);
    assert_string_equal(text, "");
    assert_int_equal(hhi_diag_format(text, 0, "abc"), 0);
}

static void
report_writes_one_prefixed_line_and_keeps_errno(void **state)
{
    (void)state;
    char text[128];
    struct capture capture = capture_begin();
    errno = ERANGE;
    hhi_diag_report("%s has %zu", "this", (size_t)7);
    int seen_errno = errno;
    capture_end(&capture, text, sizeof text);
    assert_string_equal(text, "hostheap: this has 7\n");
    assert_int_equal(seen_errno, ERANGE);
}

static void
report_longer_than_its_buffer_is_marked_as_cut(void **state)
{
    (void)state;
    char wide[6000];
    char text[8192];
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    struct capture capture = capture_begin();
    hhi_diag_report("%s", wide);
    size_t length = capture_end(&capture, text, sizeof text);
    assert_true(length > 1000 && length < sizeof wide);
    assert_string_equal(text + length - 6, "ww...\n");
}

static void
report_to_a_closed_standard_error_keeps_errno_and_returns(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = ERANGE;
    hhi_diag_report("nobody hears this");
    int seen_errno = errno;
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_int_equal(seen_errno, ERANGE);
}

static void
fatal_reports_and_ends_with_sigabrt(void **state)
{
    (void)state;
    char text[128];
    int status;
    struct capture capture = capture_begin();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        hhi_diag_fatal("no %s", "way on");
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    capture_end(&capture, text, sizeof text);
    assert_string_equal(text, "hostheap: no way on\n");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_of_every_directive_equals_libc),
        cmocka_unit_test(format_of_null_text_and_null_pointer_is_readable),
        cmocka_unit_test(format_into_too_small_buffer_cuts_and_terminates),
        cmocka_unit_test(report_writes_one_prefixed_line_and_keeps_errno),
        cmocka_unit_test(report_longer_than_its_buffer_is_marked_as_cut),
        cmocka_unit_test(report_to_a_closed_standard_error_keeps_errno_and_returns),
        cmocka_unit_test(fatal_reports_and_ends_with_sigabrt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
