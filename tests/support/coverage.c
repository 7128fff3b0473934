// SPDX-License-Identifier: MIT
/*
 * support/coverage.c - keeps the counts of processes that end without exit(): linked into the programs
 * and libraries of a tree with HOSTHEAP_COVERAGE, in the place of the functions that --wrap names
 * there.
 *
 * Each of them has counters of its own and a hidden function that writes them. The program's copy
 * of this file has the list of these functions; the libraries' copies enter theirs.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

// Else a program that exports its functions lends its wrappers to a preloaded library.
#define HIDDEN __attribute__((visibility("hidden")))

enum { COVERAGE_PARTS = 16 };

void __gcov_dump(void);
void hh_coverage_part(void (*write_counts)(void));
void __real__exit(int status) __attribute__((noreturn));
HIDDEN void __wrap__exit(int status) __attribute__((noreturn));
void __real_hhi_os_abort(void) __attribute__((weak, noreturn));
HIDDEN void __wrap_hhi_os_abort(void) __attribute__((noreturn));
int __real_sigaction(int number, const struct sigaction *action, struct sigaction *previous);
HIDDEN int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *previous);

// Enter a part of the process; NULL: all of them write their counts.
__attribute__((visibility("default"))) void
hh_coverage_part(void (*write_counts)(void))
{
    static void (*parts[COVERAGE_PARTS])(void);
    static int count;
    if (write_counts != NULL && count < COVERAGE_PARTS)
        parts[count++] = write_counts;
    for (int part = 0; write_counts == NULL && part < count; part++)
        parts[part]();
}

static void
coverage_part(void (*write_counts)(void))
{
    void *symbol = dlsym(RTLD_DEFAULT, "hh_coverage_part"); // the program's, if it has one
    void (*part)(void (*)(void));
    memcpy(&part, &symbol, sizeof part);
    if (part != NULL)
        part(write_counts);
}

static sigjmp_buf counts_lost;

static void
counts_give_up(int number)
{
    (void)number;
    siglongjmp(counts_lost, 1);
}

// libgcov allocates and does not look whether it got anything: while the kernel refuses, its counts are lost.
static void
counts_write(void)
{
    struct sigaction give_up = {.sa_handler = counts_give_up, .sa_flags = SA_NODEFER}, before;
    __real_sigaction(SIGSEGV, &give_up, &before);
    if (sigsetjmp(counts_lost, 1) == 0)
        __gcov_dump();
    __real_sigaction(SIGSEGV, &before, NULL);
}

__attribute__((constructor)) static void
coverage_start(void)
{
    coverage_part(counts_write);
}

void
__wrap__exit(int status)
{
    coverage_part(NULL);
    __real__exit(status);
}

// Only the library ends this way, and only its own counts are wanted.
void
__wrap_hhi_os_abort(void)
{
    counts_write();
    __real_hhi_os_abort();
}

// The library's handler of faults lets the fault happen again, which ends the process. It may not: to
// write the counts allocates, and may give the pages their access back. So it ends here, when the
// handler returns and the signal is no longer blocked.
int
__wrap_sigaction(int number, const struct sigaction *action, struct sigaction *previous)
{
    int result = __real_sigaction(number, action, previous);
    if (number == SIGSEGV && action != NULL && action->sa_handler == SIG_DFL) {
        counts_write();
        raise(SIGSEGV);
    }
    return result;
}
