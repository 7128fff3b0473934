// SPDX-License-Identifier: MIT
/*
 * os/os_pressure_linux.h - waiting for the kernel to say that memory is short.
 *
 * Layer: os. May include: base.
 *
 * Three sources, as far as they exist and may be opened:
 *   psi     memory.pressure of the own v2 group, else /proc/pressure/memory, with the trigger
 *           "some 150000 2000000": tasks stalled for 150 ms of 2 s. Two seconds is the one window
 *           that needs no privilege.
 *   events  memory.events of the own v2 group: "high", "max" or "oom" has risen
 *   level   memory.pressure_level of the own v1 group, level "medium", through an eventfd
 *
 * A source that goes away is dropped and looked for again every 10 s, as is the group if the
 * process was moved. Descriptors are checked before use, since the program may close and reuse
 * them; an eventfd, whose inode all eventfds share, is known by its id in /proc/self/fdinfo.
 *
 * One thread at a time. Nothing here allocates, takes a lock or touches errno.
 * Source: contract NO-6, NO-7, NO-8, 16.10.
 */
#ifndef HHI_OS_OS_PRESSURE_LINUX_H
#define HHI_OS_OS_PRESSURE_LINUX_H

#include "base/compiler.h"
#include "os/os_kept_file.h"

enum {
    HHI_PRESSURE_REOPEN_MS = 10000,
    HHI_PRESSURE_PAUSE_MS = 100, // between two reports, however busy the kernel is
};

struct hhi_pressure {
    const char *root;     // put before every path; "" = the real files
    uint64_t opened_ms;   // when the sources were last looked for; 0 = never
    uint64_t fingerprint; // of the group they belong to
    bool complete;        // nothing was lost since
    bool pausing;         // the kernel ended the last wait
    bool missed;          // there was pressure before the sources were opened anew
    struct hhi_kept_file psi;
    struct hhi_kept_file events;
    uint64_t events_seen; // sum of the counts that matter
    struct hhi_kept_file level;
    uint64_t level_id; // of the eventfd
};

// root must live as long as pressure. Opens nothing yet.
void hhi_pressure_init(struct hhi_pressure *pressure, const char *root);
// Looks for the sources, unless they were found a while ago. From the first time on nothing is missed;
// what happened before is not news.
void hhi_pressure_open(struct hhi_pressure *pressure);
// Opens, then waits until there is pressure or the time is over. True: there was some since the last call.
bool hhi_pressure_wait(struct hhi_pressure *pressure, unsigned timeout_ms);
// Closes what is still ours.
void hhi_pressure_close(struct hhi_pressure *pressure);

#endif
