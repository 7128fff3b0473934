// SPDX-License-Identifier: MIT
/*
 * HOSTHEAP_OPTIONS=sample:1 in a program that knows nothing of it: a use after free ends it as a
 * fault does without the heap, with a report before. With an argument the option is not set: the
 * program switches sampling on while it runs, and off again.
 */
#include <alloca.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>

#include "support/plain.h"

enum { BLOCKS = 5000, REPORT_BYTES = 8192 };

/*
 * malloc from the middle of a page of the stack: of the stack only what lies in the same page is noted,
 * so at a page's end the caller may be missing.
 */
__attribute__((noinline)) static void *
take_mid_page(size_t size)
{
    volatile char *room = alloca((uintptr_t)__builtin_frame_address(0) % 4096 + 2048);
    room[0] = 0;
    void *block = malloc(size);
    room[0] = 1;
    return block;
}

PLAIN_FUNCTION(hh_status, hh_set_sampling, (uint32_t every), (every))

// Reads blocks after their free until one faults. volatile: the compiler knows what free does.
static void
use_after_free(void)
{
    char *volatile blocks[BLOCKS];
    alarm(60);
    for (int at = 0; at < BLOCKS; at++)
        blocks[at] = take_mid_page(64);
    for (int at = 0; at < BLOCKS; at++) {
        char *block = blocks[at];
        free(blocks[at]);
        (void)*(volatile char *)block;
    }
    _exit(0);
}

static int
child_end(void (*run)(void))
{
    int status;
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        run();
    check(waitpid(child, &status, 0) == child);
    return status;
}

static void
use_after_switching_off(void)
{
    check(plain_hh_set_sampling(0) == HH_OK);
    use_after_free();
}

int
main(int count_of_arguments, char **arguments)
{
    static char report[REPORT_BYTES];
    (void)arguments;
    if (count_of_arguments > 1) {
        check(child_end(use_after_free) == 0); // never switched on: not seen
        check(plain_hh_set_sampling(1) == HH_OK);
        check(child_end(use_after_switching_off) == 0);
    }
    int ends[2], status;
    size_t length = 0;
    ssize_t count;
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        use_after_free();
    }
    close(ends[1]);
    while ((count = read(ends[0], report + length, sizeof report - 1 - length)) > 0)
        length += (size_t)count;
    check(waitpid(child, &status, 0) == child);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    char thread[64];
    snprintf(thread, sizeof thread, "\n  allocated by thread %d\n", (int)child);
    check(strstr(report, "hostheap: use after free: ") == report);
    check(strstr(report, thread) != NULL);
    check(strstr(report, "\n  freed by thread ") != NULL);
#ifndef HH_COVERAGE // counting makes the library's frames larger than what is kept of the stack
    check(strstr(report, "preload_preload_sample+0x") != NULL);
#endif
    return 0;
}
