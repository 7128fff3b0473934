// SPDX-License-Identifier: MIT
/*
 * The heap's tables are reserved as it grows. A limit of address space that is set when the process runs leaves
 * room for a thread and for some memory; a heap that outgrows its first tables gets more, and every free is
 * checked there, too; and it gets them without a gap, however small the steps are in which it grows.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/plain.h"

PLAIN_FUNCTION(hh_heap *, hh_heap_default, (void), ())
PLAIN_FUNCTION(hh_status, hh_heap_free, (hh_heap * heap, void *block), (heap, block))

enum { LIMIT_MIB = 256, PIECES = 48, HUGE_BLOCKS = 3, STEPS = 600 };
#define MIB ((size_t)1 << 20)
#define STEP_BYTES (64 * MIB)
#define STEPS_LIMIT_BYTES                                                                          \
    ((size_t)64 << 30) // of which a window of 64 GiB comes, whose first tables end at 30
#define HUGE_BYTES ((size_t)18 << 30) // the first tables are of 28 GiB or so

static void *
work(void *unused)
{
    char *pieces[PIECES];
    for (unsigned i = 0; i < PIECES; i++) {
        pieces[i] = malloc(MIB);
        check(pieces[i] != NULL);
        memset(pieces[i], (int)i, MIB);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        check(pieces[i][MIB - 1] == (char)i);
        free(pieces[i]);
    }
    return unused;
}

static int
limit_set_late(void)
{
    struct rlimit limit = {LIMIT_MIB * MIB, LIMIT_MIB * MIB};
    pthread_t thread;
    free(malloc(1));
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    work(NULL);
    check(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return 0;
}

// Addresses in the window that no region has reached are nobody's.
static void
nobody_owns_beyond(const char *block)
{
    hh_heap *heap = plain_hh_heap_default();
    for (size_t far = HUGE_BYTES; far <= 4 * HUGE_BYTES; far += HUGE_BYTES) {
        hh_block_info info;
        plain_owns(block + far, &info);
        check(info.heap == NULL);
        check(plain_hh_heap_free(heap, (void *)(block + far)) == HH_E_INVALID_BLOCK);
    }
}

static int
outgrows_first_tables(void)
{
    hh_heap *heap = plain_hh_heap_default();
    char *small = malloc(100), *blocks[HUGE_BLOCKS];
    check(small != NULL);
    nobody_owns_beyond(small);
    for (unsigned i = 0; i < HUGE_BLOCKS; i++) {
        blocks[i] = malloc(HUGE_BYTES);
        if (blocks[i] == NULL)
            return EXIT_SKIPPED; // a system that grants no more than it has
        blocks[i][0] = blocks[i][HUGE_BYTES - 1] = (char)i;
    }
    for (unsigned i = 0; i < HUGE_BLOCKS; i++) {
        check(plain_is_block(blocks[i]));
        check(plain_hh_heap_free(heap, blocks[i] + 65536) == HH_E_INVALID_BLOCK);
        check(blocks[i][0] == (char)i && blocks[i][HUGE_BYTES - 1] == (char)i);
        free(blocks[i]);
        check(!plain_is_block(blocks[i]));
        check(plain_hh_heap_free(heap, blocks[i]) == HH_E_INVALID_BLOCK);
    }
    // Small blocks beyond: what is kept of the large ones is used again, the rest comes behind.
    work(NULL);
    free(small);
    return 0;
}

static int
grows_in_steps(void)
{
    static char *steps[STEPS];
    for (unsigned i = 0; i < STEPS; i++) {
        steps[i] = malloc(STEP_BYTES);
        if (steps[i] == NULL)
            return EXIT_SKIPPED; // as above
        steps[i][0] = (char)i;
    }
    for (unsigned i = 0; i < STEPS; i++) {
        check(steps[i][0] == (char)i && plain_is_block(steps[i]));
        free(steps[i]);
        check(!plain_is_block(steps[i]));
    }
    return 0;
}

// The window is chosen when a process starts, so the limit has to be there before.
static const char *program;

static int
grows_in_steps_within_limit(void)
{
    struct rlimit limit = {STEPS_LIMIT_BYTES, STEPS_LIMIT_BYTES};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    execl(program, program, "steps", (char *)NULL);
    return EXIT_FAILURE;
}

static int
run(int (*part)(void))
{
    int status = 0;
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        _exit(part());
    check(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        return grows_in_steps();
    program = argv[0];
    int late = run(limit_set_late), grown = run(outgrows_first_tables);
    int steps = run(grows_in_steps_within_limit);
    check(late == 0 && (grown == 0 || grown == EXIT_SKIPPED));
    check(steps == 0 || steps == EXIT_SKIPPED);
    return steps == 0 ? grown : steps;
}
