// SPDX-License-Identifier: MIT
/*
 * faults/start.h - what programs share whose start-up is swept by faults_start.c.
 *
 * A program does its work twice. In the first round anything the kernel is asked for may be refused,
 * and so may what the program asks for, but only if a call was refused. In the second round the kernel
 * gives again, and everything is served. Exit 0, or 1 with a line that says what was not so.
 */
#ifndef HH_TESTS_FAULTS_START_H
#define HH_TESTS_FAULTS_START_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Commands that membarrier does not know; the supervisor answers them.
enum {
    START_REFUSED = 0x7001, // how many calls were refused in this process and its children
    START_GRANT = 0x7002,   // from now on refuse nothing
};

// As plain.h has it, also for C++.
#define start_check(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not so: %s (errno %d)\n", __FILE__, __LINE__, __func__,    \
                    #condition, errno);                                                            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// 0 when nobody supervises.
static inline long
start_refused(void)
{
    int saved_errno = errno;
    long count = syscall(SYS_membarrier, START_REFUSED, 0, 0);
    errno = saved_errno;
    return count < 0 ? 0 : count;
}

static bool start_granted;

static inline void
start_grant(void)
{
    syscall(SYS_membarrier, START_GRANT, 0, 0);
    start_granted = true;
}

/*
 * What a request came to. If it was not served, a call of the kernel was refused before, and the
 * program was told so in the right way.
 */
#define start_served_or(served, told)                                                              \
    start_check((served) || ((told) && !start_granted && start_refused() > 0))

#endif
