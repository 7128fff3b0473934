// SPDX-License-Identifier: MIT
/*
 * options/options.h - what the user may set, read once from the environment.
 *
 * Layer: options. May include: base, os, diag.
 *
 * HOSTHEAP_OPTIONS="key:value,key:value" is read by hhi_options_init at the first use of the
 * library, without allocating; afterwards the values never change, except bad_free through
 * hh_set_bad_free_handler. An unknown key or a bad value is reported on standard error by name,
 * with the nearest valid key, and otherwise ignored.
 */
#ifndef HHI_OPTIONS_OPTIONS_H
#define HHI_OPTIONS_OPTIONS_H

#include "base/compiler.h"

#define HHI_DECAY_OFF UINT32_MAX

enum hhi_bad_free_policy {
    HHI_BAD_FREE_ABORT,    // report, then abort()
    HHI_BAD_FREE_REPORT,   // report and go on
    HHI_BAD_FREE_IGNORE,   // go on
    HHI_BAD_FREE_CALLBACK, // call the host's handler
};

struct hhi_options {
    uint32_t decay_ms;       // decay: free memory older than this goes back; 0 = at once; "off"
    bool background;         // background: a helper thread may purge while the program is idle
    bool stats_at_exit;      // stats: print at exit
    bool stats_json;         // stats_json: print them as JSON
    size_t soft_limit_bytes; // soft_limit: process-wide; 0 = none
    size_t hard_limit_bytes; // hard_limit: process-wide; 0 = none
    size_t region_bytes;     // region: how much address space is reserved at a time; 0 = choose
    uint32_t bad_free;       // bad_free: enum hhi_bad_free_policy
};

extern struct hhi_options hhi_opt;

// Fill hhi_opt from the environment. Called once, before any other thread can be in the library.
void hhi_options_init(void);

#endif
