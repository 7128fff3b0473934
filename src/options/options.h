// SPDX-License-Identifier: MIT
/*
 * options/options.h - what the user may set, read once from the environment.
 *
 * Layer: options. May include: base, os, diag.
 *
 * HOSTHEAP_OPTIONS="key:value,key:value" is read by hhi_options_init at the first use of the
 * library, without allocating; afterwards the values never change. Keys are the field names, without
 * the unit where the value carries one ("64m"). An unknown key or a bad value is reported on standard
 * error by name, with the nearest valid one, and otherwise ignored. In a process that runs with
 * privileges its caller does not have (AT_SECURE) the environment is not read.
 */
#ifndef HHI_OPTIONS_OPTIONS_H
#define HHI_OPTIONS_OPTIONS_H

#include "base/compiler.h"

#define HHI_DECAY_OFF UINT32_MAX

enum { HHI_OPTION_PATH_BYTES = 256 };

enum hhi_bad_free_policy {
    HHI_BAD_FREE_ABORT,    // report, then abort()
    HHI_BAD_FREE_REPORT,   // report and go on
    HHI_BAD_FREE_IGNORE,   // go on
    HHI_BAD_FREE_CALLBACK, // call the host's handler
};

struct hhi_options {
    uint32_t decay_ms;       // free memory older than this goes back; 0 = at once; HHI_DECAY_OFF
    bool background;         // a helper thread may purge while the program is idle
    bool stats_at_exit;      // key stats: print statistics at exit
    bool stats_json;         // print them as JSON; implies stats
    size_t soft_limit_bytes; // key soft_limit: process-wide; 0 = none; never above the hard limit
    size_t hard_limit_bytes; // key hard_limit: process-wide; 0 = none
    size_t region_bytes;     // key region: address space reserved at a time; 0 = choose
    bool huge_pages;         // a large heap's new slab memory comes in huge pages
    uint32_t bad_free;       // enum hhi_bad_free_policy as the process started
    uint32_t sample;         // one of so many refills of a thread's list is sampled; 0 = off
    uint32_t trace_calls;    // so many calls are recorded at most
    char trace[HHI_OPTION_PATH_BYTES]; // the drop-in records calls to files of this name; "" = no
    size_t quarantine_bytes; // key quarantine: freed blocks kept at rest by the checked library
    uint32_t seed;           // of the checked library's placement; 0 = choose
};

extern struct hhi_options hhi_opt;

// Fill hhi_opt from the environment. Called once, before any other thread can be in the library.
void hhi_options_init(void);

void hhi_options_set_defaults(struct hhi_options *options);
// Apply "key:value,key:value" on top of what is in options. Returns how many entries were refused.
unsigned hhi_options_parse(struct hhi_options *options, const char *text);

#endif
