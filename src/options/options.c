// SPDX-License-Identifier: MIT
/*
 * options/options.c - see options.h. One table says everything about a key; the README's table
 * and the output of the key "help" are its two readers' views.
 */
#include "options/options.h"

#include <string.h>

#include "diag/diag.h"
#include "options/options_env.h"

enum option_kind {
    OPTION_SWITCH, // on, off
    OPTION_NUMBER, // decimal; the word "off" stands for UINT32_MAX where the row allows it
    OPTION_SIZE,   // decimal with k, m or g
    OPTION_CHOICE, // one of choices, stored as its index
    OPTION_TEXT,   // a path; without one it is off
};

enum { OPTION_TEXT_BYTES = 1024, OPTION_WORD_BYTES = 48, OPTION_VALUE_BYTES = 512 };

struct option_row {
    const char *name;
    const char *unit; // "" = none
    enum option_kind kind;
    bool off_allowed;
    size_t offset_bytes; // of the field in struct hhi_options
    uint64_t initial;
    uint64_t minimum;
    uint64_t maximum;
    const char *const *choices; // OPTION_CHOICE: NULL-terminated
    const char *help;
};

static const char *const option_bad_free_choices[] = {
    [HHI_BAD_FREE_ABORT] = "abort",     [HHI_BAD_FREE_REPORT] = "report",
    [HHI_BAD_FREE_IGNORE] = "ignore",   [HHI_BAD_FREE_CALLBACK] = "callback",
    [HHI_BAD_FREE_CALLBACK + 1] = NULL,
};
static const char *const option_switch_words[] = {"off", "on", NULL};

#define OPTION_SIZE_MAXIMUM ((uint64_t)1 << 46)
#define OPTION_FIELD(field) offsetof(struct hhi_options, field)

static const struct option_row option_rows[] = {
    {"decay_ms", "ms", OPTION_NUMBER, true, OPTION_FIELD(decay_ms), 1000, 0, 86400000, NULL,
     "free memory older than this goes back to the system; 0 = at once, off = never"},
    {"background", "", OPTION_SWITCH, false, OPTION_FIELD(background), 1, 0, 1, NULL,
     "a helper thread gives memory back while the program is idle"},
    {"bad_free", "", OPTION_CHOICE, false, OPTION_FIELD(bad_free), HHI_BAD_FREE_ABORT, 0, 0,
     option_bad_free_choices, "what happens when free gets an address that is no live block"},
    {"stats", "", OPTION_SWITCH, false, OPTION_FIELD(stats_at_exit), 0, 0, 1, NULL,
     "print statistics to standard error at exit"},
    {"stats_json", "", OPTION_SWITCH, false, OPTION_FIELD(stats_json), 0, 0, 1, NULL,
     "print them as JSON; implies stats"},
    {"soft_limit", "bytes", OPTION_SIZE, false, OPTION_FIELD(soft_limit_bytes), 0, 0,
     OPTION_SIZE_MAXIMUM, NULL, "above it only critical requests are served; 0 = none"},
    {"hard_limit", "bytes", OPTION_SIZE, false, OPTION_FIELD(hard_limit_bytes), 0, 0,
     OPTION_SIZE_MAXIMUM, NULL, "above it no request is served; 0 = none"},
    {"region", "bytes", OPTION_SIZE, false, OPTION_FIELD(region_bytes), 0, 0, OPTION_SIZE_MAXIMUM,
     NULL, "address space reserved at a time; 0 = choose"},
    {"huge_pages", "", OPTION_SWITCH, false, OPTION_FIELD(huge_pages), 0, 0, 1, NULL,
     "above 64 MiB, new memory for slabs comes in huge pages where the system has them"},
    {"sample", "", OPTION_NUMBER, false, OPTION_FIELD(sample), 0, 0, 1000000000, NULL,
     "one block of so many refills gets guard pages, to report its misuse; 0 = off"},
    {"trace", "", OPTION_TEXT, false, OPTION_FIELD(trace), 0, 1, HHI_OPTION_PATH_BYTES - 1, NULL,
     "the drop-in records the program's calls in a file of this name and the process's number"},
    {"trace_calls", "", OPTION_NUMBER, false, OPTION_FIELD(trace_calls), 10000000, 1, 1000000000,
     NULL, "so many calls are recorded, the first ones"},
    {"quarantine", "bytes", OPTION_SIZE, false, OPTION_FIELD(quarantine_bytes), 16777216, 0,
     OPTION_SIZE_MAXIMUM, NULL,
     "checked library: so much freed memory rests before it is used again"},
    {"seed", "", OPTION_NUMBER, false, OPTION_FIELD(seed), 0, 0, UINT32_MAX, NULL,
     "checked library: places blocks the same way again; 0 = another way each time"},
};
enum { OPTION_COUNT = sizeof option_rows / sizeof option_rows[0] };

struct hhi_options hhi_opt HH_START_STATE;

static void
option_store(struct hhi_options *options, const struct option_row *row, uint64_t value)
{
    char *field = (char *)options + row->offset_bytes;
    if (row->kind == OPTION_TEXT) {
        *field = '\0'; // what the text is, option_take_text knows
    } else if (row->kind == OPTION_SWITCH) {
        bool on = value != 0;
        memcpy(field, &on, sizeof on);
    } else if (row->kind == OPTION_SIZE) {
        size_t size_bytes = (size_t)value;
        memcpy(field, &size_bytes, sizeof size_bytes);
    } else {
        uint32_t number = (uint32_t)value;
        memcpy(field, &number, sizeof number);
    }
}

void
hhi_options_set_defaults(struct hhi_options *options)
{
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        option_store(options, &option_rows[i], option_rows[i].initial);
}

// Edit distance; both words are shorter than OPTION_WORD_BYTES.
static unsigned
option_word_distance(const char *left, const char *right)
{
    unsigned char row[OPTION_WORD_BYTES] = {0};
    size_t right_length = strlen(right);
    for (size_t j = 0; j <= right_length; j++)
        row[j] = (unsigned char)j;
    for (size_t i = 0; left[i] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned char)(i + 1);
        for (size_t j = 1; j <= right_length; j++) {
            unsigned best = diagonal + (left[i] != right[j - 1]);
            diagonal = row[j];
            if (best > diagonal + 1)
                best = diagonal + 1;
            if (best > row[j - 1] + 1u)
                best = row[j - 1] + 1u;
            row[j] = (unsigned char)best;
        }
    }
    return row[right_length];
}

static const char *
option_nearest_word(const char *const *words, const char *word)
{
    const char *nearest = words[0];
    for (size_t i = 1; words[i] != NULL; i++) {
        if (option_word_distance(word, words[i]) < option_word_distance(word, nearest))
            nearest = words[i];
    }
    return nearest;
}

static const struct option_row *
option_nearest_row(const char *name)
{
    const struct option_row *nearest = &option_rows[0];
    for (size_t i = 1; i < OPTION_COUNT; i++) {
        if (option_word_distance(name, option_rows[i].name) <
            option_word_distance(name, nearest->name))
            nearest = &option_rows[i];
    }
    return nearest;
}

static const struct option_row *
option_find_row(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    }
    return NULL;
}

static bool
option_parse_word(const char *const *words, const char *text, uint64_t *value)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *value = i;
            return true;
        }
    }
    return false;
}

// The shift that a suffix stands for, or -1.
static int
option_suffix_shift(const char *suffix)
{
    static const char letters[] = "kmg";
    if (*suffix == '\0')
        return 0;
    for (int i = 0; i < 3; i++) {
        if ((*suffix | 0x20) == letters[i] && suffix[1] == '\0')
            return 10 * (i + 1);
    }
    return -1;
}

// False if text is no number. A number that is too large comes back as UINT64_MAX.
static bool
option_parse_number(const char *text, bool suffix_allowed, uint64_t *value)
{
    uint64_t number = 0;
    bool overflow = false;
    const char *cursor = text;
    for (; *cursor >= '0' && *cursor <= '9'; cursor++) {
        overflow |= __builtin_mul_overflow(number, 10u, &number);
        overflow |= __builtin_add_overflow(number, (uint64_t)(*cursor - '0'), &number);
    }
    int shift = suffix_allowed ? option_suffix_shift(cursor) : (*cursor == '\0' ? 0 : -1);
    if (cursor == text || shift < 0)
        return false;
    overflow |= __builtin_mul_overflow(number, (uint64_t)1 << shift, &number);
    *value = overflow ? UINT64_MAX : number;
    return true;
}

static bool
option_refuse_word(const struct option_row *row, const char *const *words, const char *text)
{
    hhi_diag_report("HOSTHEAP_OPTIONS: bad value \"%s\" for %s; nearest valid is \"%s\"", text,
                    row->name, option_nearest_word(words, text));
    return false;
}

static bool
option_refuse_number(const struct option_row *row, const char *text, uint64_t nearest)
{
    hhi_diag_report("HOSTHEAP_OPTIONS: bad value \"%s\" for %s; nearest valid is %llu "
                    "(%llu to %llu %s%s%s)",
                    text, row->name, (unsigned long long)nearest, (unsigned long long)row->minimum,
                    (unsigned long long)row->maximum, row->unit,
                    row->kind == OPTION_SIZE ? ", suffixes k m g" : "",
                    row->off_allowed ? ", or off" : "");
    return false;
}

static bool
option_parse_value(const struct option_row *row, const char *text, uint64_t *value)
{
    if (row->kind == OPTION_SWITCH) {
        if (option_parse_word(option_switch_words, text, value) ||
            option_parse_word((const char *const[]){"0", "1", NULL}, text, value) ||
            option_parse_word((const char *const[]){"false", "true", NULL}, text, value))
            return true;
        return option_refuse_word(row, option_switch_words, text);
    }
    if (row->kind == OPTION_CHOICE) {
        if (option_parse_word(row->choices, text, value))
            return true;
        return option_refuse_word(row, row->choices, text);
    }
    if (row->off_allowed && strcmp(text, "off") == 0) {
        *value = UINT32_MAX;
        return true;
    }
    if (!option_parse_number(text, row->kind == OPTION_SIZE, value))
        return option_refuse_number(row, text, row->initial);
    if (*value < row->minimum)
        return option_refuse_number(row, text, row->minimum);
    if (*value > row->maximum)
        return option_refuse_number(row, text, row->maximum);
    return true;
}

static void
option_print_value(char *buffer, size_t capacity_bytes, const struct option_row *row)
{
    if (row->kind == OPTION_SWITCH)
        hhi_diag_format(buffer, capacity_bytes, "%s", option_switch_words[row->initial]);
    else if (row->kind == OPTION_CHOICE)
        hhi_diag_format(buffer, capacity_bytes, "%s", row->choices[row->initial]);
    else if (row->kind == OPTION_TEXT)
        hhi_diag_format(buffer, capacity_bytes, "off");
    else
        hhi_diag_format(buffer, capacity_bytes, "%llu%s%s", (unsigned long long)row->initial,
                        row->unit[0] != '\0' ? " " : "", row->unit);
}

static void
option_print_help(void)
{
    hhi_diag_report("HOSTHEAP_OPTIONS=\"key:value,...\" knows these keys:");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char initial[OPTION_WORD_BYTES];
        option_print_value(initial, sizeof initial, &option_rows[i]);
        hhi_diag_report("  %s: %s (default %s)", option_rows[i].name, option_rows[i].help, initial);
    }
}

static bool
option_take_text(struct hhi_options *options, const struct option_row *row, const char *text)
{
    size_t length = strlen(text);
    if (length < row->minimum || length > row->maximum) {
        hhi_diag_report(
            "HOSTHEAP_OPTIONS: bad value \"%s\" for %s; valid is a path of %llu to %llu "
            "bytes",
            text, row->name, (unsigned long long)row->minimum, (unsigned long long)row->maximum);
        return false;
    }
    memcpy((char *)options + row->offset_bytes, text, length + 1);
    return true;
}

static bool
option_apply(struct hhi_options *options, const char *name, char *value_text)
{
    if (strcmp(name, "help") == 0) {
        option_print_help();
        return true;
    }
    const struct option_row *row = option_find_row(name);
    if (row == NULL) {
        hhi_diag_report("HOSTHEAP_OPTIONS: unknown key \"%s\"; nearest valid is \"%s\"", name,
                        option_nearest_row(name)->name);
        return false;
    }
    const char *text = value_text == NULL ? "" : value_text;
    if (row->kind == OPTION_TEXT)
        return option_take_text(options, row, text);
    // A key alone switches it on.
    if (value_text == NULL && row->kind == OPTION_SWITCH)
        text = "on";
    if (strlen(text) >= OPTION_WORD_BYTES)
        value_text[OPTION_WORD_BYTES - 1] = '\0'; // longer than any valid word: refused, cut
    uint64_t value = 0;
    if (!option_parse_value(row, text, &value))
        return false;
    option_store(options, row, value);
    return true;
}

// Copies text up to one of the stops, without blanks around it; returns the stop's place. What does
// not fit is cut, and longer than anything valid.
static const char *
option_copy_word(const char *text, const char *stops, char *word, size_t capacity_bytes)
{
    size_t span = strcspn(text, stops);
    const char *end = text + span;
    while (text < end && *text == ' ')
        text++;
    size_t length = (size_t)(end - text);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    if (length >= capacity_bytes)
        length = capacity_bytes - 1;
    memcpy(word, text, length);
    word[length] = '\0';
    return end;
}

unsigned
hhi_options_parse(struct hhi_options *options, const char *text)
{
    unsigned refused = 0;
    while (*text != '\0') {
        char name[OPTION_WORD_BYTES];
        char value[OPTION_VALUE_BYTES];
        text = option_copy_word(text, ":=,", name, sizeof name);
        bool has_value = *text == ':' || *text == '=';
        if (has_value)
            text = option_copy_word(text + 1, ",", value, sizeof value);
        if (*text == ',')
            text++;
        if (name[0] == '\0' && !has_value)
            continue; // an empty entry
        refused += !option_apply(options, name, has_value ? value : NULL);
    }
    if (options->stats_json)
        options->stats_at_exit = true;
    if (options->hard_limit_bytes != 0 && options->soft_limit_bytes > options->hard_limit_bytes) {
        hhi_diag_report("HOSTHEAP_OPTIONS: soft_limit is above hard_limit; nearest valid is %zu",
                        options->hard_limit_bytes);
        options->soft_limit_bytes = options->hard_limit_bytes;
        refused++;
    }
    return refused;
}

void
hhi_options_init(void)
{
    char text[OPTION_TEXT_BYTES];
    hhi_options_set_defaults(&hhi_opt);
    switch (hhi_options_read_environment("HOSTHEAP_OPTIONS", text, sizeof text)) {
    case HHI_ENV_FOUND:
        hhi_options_parse(&hhi_opt, text);
        break;
    case HHI_ENV_TOO_LONG:
        hhi_diag_report("HOSTHEAP_OPTIONS: longer than %zu bytes, not used", sizeof text - 1);
        break;
    case HHI_ENV_ABSENT:
        break;
    }
}
