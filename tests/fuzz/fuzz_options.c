// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz_options.c - the parser of HOSTHEAP_OPTIONS on any text.
 *
 * Checked: every value is in its documented range, the same text on top of its own result changes
 * nothing, entries one by one give what they give together (but for what one key does to another:
 * a limit is clipped to the other one, stats_json implies stats), and no entry is refused without a
 * report.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options/options.h"

enum { TEXT_BYTES = 4096 };

static int reports_file = -1, stderr_kept;

// Parses with standard error in a file; the number of refusals, which must have been reported.
static unsigned
parse_reported(struct hhi_options *options, const char *text)
{
    static char reports[1 << 16];
    if (reports_file < 0) {
        reports_file = memfd_create("reports", 0);
        stderr_kept = dup(STDERR_FILENO);
    }
    fuzz_check(ftruncate(reports_file, 0) == 0 && lseek(reports_file, 0, SEEK_SET) == 0);
    dup2(reports_file, STDERR_FILENO);
    unsigned refused = hhi_options_parse(options, text);
    dup2(stderr_kept, STDERR_FILENO);
    ssize_t length = pread(reports_file, reports, sizeof reports - 1, 0);
    unsigned lines = 0;
    reports[length > 0 ? length : 0] = '\0';
    for (const char *at = reports; (at = strstr(at, "hostheap: HOSTHEAP_OPTIONS: ")) != NULL; at++)
        lines++;
    fuzz_check(refused <= lines || length == sizeof reports - 1);
    return refused;
}

static void
ranges_check(const struct hhi_options *options)
{
    fuzz_check(options->decay_ms <= 86400000 || options->decay_ms == HHI_DECAY_OFF);
    fuzz_check(options->bad_free <= HHI_BAD_FREE_CALLBACK);
    fuzz_check(!options->stats_json || options->stats_at_exit);
    fuzz_check(options->soft_limit_bytes <= (size_t)1 << 46);
    fuzz_check(options->hard_limit_bytes <= (size_t)1 << 46);
    fuzz_check(options->hard_limit_bytes == 0 ||
               options->soft_limit_bytes <= options->hard_limit_bytes);
    fuzz_check(options->region_bytes <= (size_t)1 << 46);
    fuzz_check(options->sample <= 1000000000);
    fuzz_check(options->trace_calls >= 1 && options->trace_calls <= 1000000000);
    fuzz_check(memchr(options->trace, '\0', sizeof options->trace) != NULL);
}

// The entries of text, each parsed alone.
static void
parse_one_by_one(struct hhi_options *options, char *text)
{
    while (text != NULL) {
        char *comma = strchr(text, ',');
        if (comma != NULL)
            *comma = '\0';
        parse_reported(options, text);
        text = comma != NULL ? comma + 1 : NULL;
    }
}

// The text after the NUL of a path is nobody's.
static void
options_settle(struct hhi_options *options, bool together)
{
    size_t length = strlen(options->trace);
    memset(options->trace + length, 0, sizeof options->trace - length);
    if (together)
        return;
    options->soft_limit_bytes = options->hard_limit_bytes = 0;
    options->stats_at_exit = false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_BYTES];
    struct hhi_options once, twice, alone;
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    hhi_options_set_defaults(&once);
    hhi_options_set_defaults(&alone);
    parse_reported(&once, text);
    ranges_check(&once);
    twice = once;
    parse_reported(&twice, text);
    options_settle(&once, true);
    options_settle(&twice, true);
    fuzz_check(memcmp(&once, &twice, sizeof once) == 0);
    parse_one_by_one(&alone, text);
    ranges_check(&alone);
    options_settle(&once, false);
    options_settle(&alone, false);
    fuzz_check(memcmp(&once, &alone, sizeof once) == 0);
    return 0;
}
