// SPDX-License-Identifier: MIT
/* options: HOSTHEAP_OPTIONS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "options/options.h"
#include "options/options_env.h"
#include "support/capture.h"

static struct hhi_options parsed;
static char reported[8192];

// Parses text on top of the defaults into parsed, the reports into reported.
static unsigned
parse(const char *text)
{
    struct capture capture = capture_begin();
    hhi_options_set_defaults(&parsed);
    unsigned refused = hhi_options_parse(&parsed, text);
    capture_end(&capture, reported, sizeof reported);
    return refused;
}

static void
assert_accepted(const char *text)
{
    assert_int_equal(parse(text), 0);
    assert_string_equal(reported, "");
}

static void
defaults_are_as_documented(void **state)
{
    (void)state;
    hhi_options_set_defaults(&parsed);
    assert_int_equal(parsed.decay_ms, 1000);
    assert_true(parsed.background);
    assert_false(parsed.stats_at_exit);
    assert_false(parsed.stats_json);
    assert_int_equal(parsed.soft_limit_bytes, 0);
    assert_int_equal(parsed.hard_limit_bytes, 0);
    assert_int_equal(parsed.region_bytes, 0);
    assert_int_equal(parsed.bad_free, HHI_BAD_FREE_ABORT);
    assert_int_equal(parsed.sample, 0);
    assert_false(parsed.huge_pages);
    assert_int_equal(parsed.trace_calls, 10000000);
    assert_string_equal(parsed.trace, "");
}

static void
every_key_sets_its_field(void **state)
{
    (void)state;
    assert_accepted("decay_ms:250,background:off,bad_free:report,stats:on,stats_json:on,"
                    "soft_limit:64m,hard_limit:2G,region:512K,sample:1000,trace:/tmp/a b:c=d,"
                    "trace_calls:5,huge_pages:on");
    assert_true(parsed.huge_pages);
    assert_string_equal(parsed.trace, "/tmp/a b:c=d");
    assert_int_equal(parsed.trace_calls, 5);
    assert_int_equal(parsed.decay_ms, 250);
    assert_false(parsed.background);
    assert_int_equal(parsed.bad_free, HHI_BAD_FREE_REPORT);
    assert_true(parsed.stats_at_exit);
    assert_true(parsed.stats_json);
    assert_int_equal(parsed.soft_limit_bytes, 64u << 20);
    assert_int_equal(parsed.hard_limit_bytes, (size_t)2 << 30);
    assert_int_equal(parsed.region_bytes, 512u << 10);
    assert_int_equal(parsed.sample, 1000);
}

static void
words_and_forms_that_mean_the_same_are_accepted(void **state)
{
    (void)state;
    assert_accepted("");
    assert_accepted(",, ,");
    assert_accepted(" decay_ms : off , background = 0 ");
    assert_int_equal(parsed.decay_ms, HHI_DECAY_OFF);
    assert_false(parsed.background);
    assert_accepted("decay_ms:0,stats");
    assert_int_equal(parsed.decay_ms, 0);
    assert_true(parsed.stats_at_exit);
    assert_accepted("stats_json:true");
    assert_true(parsed.stats_at_exit);
    assert_accepted("bad_free:ignore,bad_free:callback");
    assert_int_equal(parsed.bad_free, HHI_BAD_FREE_CALLBACK);
    assert_accepted("soft_limit:1234");
    assert_int_equal(parsed.soft_limit_bytes, 1234);
}

static void
unknown_key_is_reported_with_the_nearest_one(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"decay:5", "\"decay\"; nearest valid is \"decay_ms\""},
        {"decya_ms:5", "\"decya_ms\"; nearest valid is \"decay_ms\""},
        {"badfree:abort", "\"badfree\"; nearest valid is \"bad_free\""},
        {"statsjson", "\"statsjson\"; nearest valid is \"stats_json\""},
        {"hardlimit:1g", "\"hardlimit\"; nearest valid is \"hard_limit\""},
        {"regions:1", "\"regions\"; nearest valid is \"region\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i][0]), 1);
        assert_non_null(strstr(reported, "HOSTHEAP_OPTIONS: unknown key "));
        assert_non_null(strstr(reported, rows[i][1]));
    }
}

static void
bad_value_is_reported_with_the_nearest_one_and_the_default_stays(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"decay_ms:fast", "bad value \"fast\" for decay_ms; nearest valid is 1000 "},
        {"decay_ms", "bad value \"\" for decay_ms"},
        {"decay_ms:86400001", "for decay_ms; nearest valid is 86400000 "},
        {"decay_ms:-1", "bad value \"-1\" for decay_ms"},
        {"decay_ms:5k", "bad value \"5k\" for decay_ms"},
        {"decay_ms:99999999999999999999999", "nearest valid is 86400000 "},
        {"background:of", "bad value \"of\" for background; nearest valid is \"off\""},
        {"background:onn", "nearest valid is \"on\""},
        {"bad_free:abrt", "bad value \"abrt\" for bad_free; nearest valid is \"abort\""},
        {"bad_free:calback", "nearest valid is \"callback\""},
        {"soft_limit:12q", "bad value \"12q\" for soft_limit"},
        {"soft_limit:1kk", "bad value \"1kk\" for soft_limit"},
        {"hard_limit:99999999g", "nearest valid is 70368744177664 "},
        {"hard_limit:18446744073709551615g", "nearest valid is 70368744177664 "},
        {"region:", "bad value \"\" for region"},
        {"trace:", "bad value \"\" for trace; valid is a path of 1 to 255 bytes"},
        {"trace", "bad value \"\" for trace"},
        {"trace_calls:0", "for trace_calls; nearest valid is 1 "},
    };
    struct hhi_options defaults;
    hhi_options_set_defaults(&defaults);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i][0]), 1);
        if (strstr(reported, rows[i][1]) == NULL)
            fail_msg("%s gave: %s", rows[i][0], reported);
        assert_memory_equal(&parsed, &defaults, sizeof parsed);
    }
}

static void
a_bad_entry_does_not_hide_the_good_ones(void **state)
{
    (void)state;
    assert_int_equal(parse("decay_ms:1,nonsense:2,bad_free:never,:,stats:on"), 3);
    assert_int_equal(parsed.decay_ms, 1);
    assert_true(parsed.stats_at_exit);
    assert_int_equal(parsed.bad_free, HHI_BAD_FREE_ABORT);
}

static void
overlong_words_are_refused_without_overrun(void **state)
{
    (void)state;
    char text[600];
    memset(text, 'k', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(parse(text), 1);
    memcpy(text, "decay_ms:", 9);
    assert_int_equal(parse(text), 1);
    assert_int_equal(parsed.decay_ms, 1000);
    memcpy(text, "trace:kkk", 9);
    assert_int_equal(parse(text), 1);
    assert_string_equal(parsed.trace, "");
    text[strlen("trace:") + HHI_OPTION_PATH_BYTES - 1] = '\0';
    assert_int_equal(parse(text), 0);
    assert_int_equal(strlen(parsed.trace), HHI_OPTION_PATH_BYTES - 1);
}

static void
soft_limit_above_hard_limit_is_reported_and_lowered(void **state)
{
    (void)state;
    assert_int_equal(parse("soft_limit:2g,hard_limit:1g"), 1);
    assert_non_null(strstr(reported, "soft_limit is above hard_limit"));
    assert_int_equal(parsed.soft_limit_bytes, 1u << 30);
}

static void
help_lists_every_key(void **state)
{
    (void)state;
    static const char *const keys[] = {"decay_ms",   "background", "bad_free",   "stats",
                                       "stats_json", "soft_limit", "hard_limit", "region",
                                       "sample",     "trace",      "trace_calls"};
    assert_int_equal(parse("help"), 0);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "  %s: ", keys[i]);
        assert_non_null(strstr(reported, line));
    }
    assert_non_null(strstr(reported, "(default 1000 ms)"));
    assert_non_null(strstr(reported, "(default abort)"));
}

static void
init_reads_the_environment(void **state)
{
    (void)state;
    setenv("HOSTHEAP_OPTIONS", "decay_ms:77,stats:off", 1);
    hhi_options_init();
    assert_int_equal(hhi_opt.decay_ms, 77);
    unsetenv("HOSTHEAP_OPTIONS");
    hhi_options_init();
    assert_int_equal(hhi_opt.decay_ms, 1000);
}

static void
init_refuses_a_value_longer_than_its_buffer(void **state)
{
    (void)state;
    char text[3000];
    memset(text, ',', sizeof text - 1);
    memcpy(text, "decay_ms:5", 10);
    text[sizeof text - 1] = '\0';
    setenv("HOSTHEAP_OPTIONS", text, 1);
    struct capture capture = capture_begin();
    hhi_options_init();
    capture_end(&capture, reported, sizeof reported);
    unsetenv("HOSTHEAP_OPTIONS");
    assert_non_null(strstr(reported, "longer than"));
    assert_int_equal(hhi_opt.decay_ms, 1000);
}

static void
init_before_environ_is_set_reads_proc(void **state)
{
    (void)state;
    // What /proc shows is what the process was started with: start one.
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {(char *)"/proc/self/exe", (char *)"--without-environ", NULL};
        char *environment[] = {
            (char *)"HOSTHEAP_OPTION=decay_ms:1", (char *)"XHOSTHEAP_OPTIONS=decay_ms:2",
            (char *)"HOSTHEAP_OPTIONSX=decay_ms:3", (char *)"HOSTHEAP_OPTIONS=decay_ms:4", NULL};
        execve("/proc/self/exe", arguments, environment);
        _exit(100);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// Runs in the process that init_before_environ_is_set_reads_proc starts.
static int
check_without_environ(void)
{
    environ = NULL;
    errno = ERANGE;
    hhi_options_init();
    return hhi_opt.decay_ms == 4 && errno == ERANGE ? 0 : 1;
}

static void
environment_file_without_final_nul_or_variable_is_understood(void **state)
{
    (void)state;
    char path[64];
    char value[8];
    int file = memfd_create("environ", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    assert_int_equal(hhi_options_read_environment_file(path, "AB", value, sizeof value),
                     HHI_ENV_ABSENT);
    assert_int_equal(write(file, "A=1\0AB=1234567", 14), 14);
    assert_int_equal(hhi_options_read_environment_file(path, "AB", value, sizeof value),
                     HHI_ENV_FOUND);
    assert_string_equal(value, "1234567");
    assert_int_equal(write(file, "8", 1), 1);
    assert_int_equal(hhi_options_read_environment_file(path, "AB", value, sizeof value),
                     HHI_ENV_TOO_LONG);
    assert_int_equal(hhi_options_read_environment_file(path, "B", value, sizeof value),
                     HHI_ENV_ABSENT);
    close(file);
    assert_int_equal(hhi_options_read_environment_file("/nowhere", "AB", value, sizeof value),
                     HHI_ENV_ABSENT);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--without-environ") == 0)
        return check_without_environ();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(every_key_sets_its_field),
        cmocka_unit_test(words_and_forms_that_mean_the_same_are_accepted),
        cmocka_unit_test(unknown_key_is_reported_with_the_nearest_one),
        cmocka_unit_test(bad_value_is_reported_with_the_nearest_one_and_the_default_stays),
        cmocka_unit_test(a_bad_entry_does_not_hide_the_good_ones),
        cmocka_unit_test(overlong_words_are_refused_without_overrun),
        cmocka_unit_test(soft_limit_above_hard_limit_is_reported_and_lowered),
        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(init_reads_the_environment),
        cmocka_unit_test(init_refuses_a_value_longer_than_its_buffer),
        cmocka_unit_test(init_before_environ_is_set_reads_proc),
        cmocka_unit_test(environment_file_without_final_nul_or_variable_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
