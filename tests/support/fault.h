// SPDX-License-Identifier: MIT
/*
 * tests/support/fault.h - the kernel refuses memory when a test says so, in process.
 *
 * A seccomp filter turns the memory calls made by the library's code into SIGSYS; the handler counts
 * them, and answers with an error or makes the call itself. The library is neither built nor linked
 * differently. Calls of libc, and of anybody else, are left alone: libc ends the process when some
 * of its own fail.
 *
 * A filter can not be taken off: install it in a child process. The library's sweeper blocks every
 * signal, so it must be off (HOSTHEAP_OPTIONS=background:off).
 */
#ifndef HH_TESTS_SUPPORT_FAULT_H
#define HH_TESTS_SUPPORT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum fault_kind {
    FAULT_MAP,
    FAULT_UNMAP,
    FAULT_PROTECT,
    FAULT_ADVISE,
    FAULT_REMAP,
    FAULT_BARRIER,
    FAULT_KINDS
};
extern const char *const fault_names[FAULT_KINDS];

// Which calls fail: the at-th of a kind (from 1; 0 = none), or all from it on; and how.
struct fault_plan {
    enum fault_kind kind;
    unsigned at;
    int error;
    bool for_ever;
};

// symbol: any function of the library. False where the system has no such filter.
bool fault_install(const void *symbol);
// Begin to count, and to fail what plan says.
void fault_arm(const struct fault_plan *plan);
void fault_disarm(void);
// Calls of a kind since the last fault_arm; calls failed since then.
unsigned fault_seen(enum fault_kind kind);
unsigned fault_failed(void);
// Calls that map, unmap, protect, advise or move memory, on this thread, ever.
unsigned fault_calls_here(void);
// Which they were since a number of calls, a letter each: (m)map, m(u)nmap, m(p)rotect, m(a)dvise,
// m(r)emap; capitals failed. The last FAULT_TRACE of them at most, size_bytes with the end.
enum { FAULT_TRACE = 63 };
void fault_trace(unsigned since, char *text, size_t size_bytes);

#endif
