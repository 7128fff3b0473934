// SPDX-License-Identifier: MIT
/*
 * Every shape of misuse under every policy: one process each, its exact outcome asserted.
 *
 * Without arguments the program runs itself for each shape and policy; "shape-number policy" does
 * the deed, then checks that the heap is as good as before and ends with 0.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "misuse_shapes.h"
#include "support/plain.h"

PLAIN_FUNCTION(void, hh_set_bad_free_handler, (hh_bad_free_handler handler, void *arg),
               (handler, arg))

static const char *
reason_text(int why)
{
    switch (why) {
    case HH_BAD_FOREIGN:
        return "not memory of this heap";
    case HH_BAD_INTERIOR:
        return "inside a block, not at its start";
    case HH_BAD_NOT_LIVE:
        return "not allocated: freed already, or never handed out";
    case HH_BAD_OTHER_HEAP:
        return "a block of another heap";
    case HH_BAD_SIZE_MISMATCH:
        return "the size passed can not be this block's";
    case HH_BAD_ALIGNMENT_MISMATCH:
        return "the alignment passed can not be this block's";
    default:
        return "";
    }
}

// ---- The process that does the deed

static int handler_calls;
static int handler_why;
static char handler_function[64];
static char handler_arg;

static void
handler_note(void *arg, const char *function, const void *address, hh_bad_block why,
             const hh_block_info *info)
{
    check(arg == &handler_arg);
    check(address != NULL && info != NULL);
    handler_calls++;
    handler_why = (int)why;
    snprintf(handler_function, sizeof handler_function, "%s", function);
}

static void
handler_install(void)
{
    plain_hh_set_bad_free_handler(handler_note, &handler_arg);
}

static int
block_order(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t) * (void *const *)left;
    uintptr_t b = (uintptr_t) * (void *const *)right;
    return (a > b) - (a < b);
}

// No block is handed out twice, none overlaps another, all can be freed.
static void
check_heap_is_intact(void)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(48);
        check(blocks[i] != NULL);
        memset(blocks[i], i, 48);
    }
    for (int i = 0; i < BLOCKS; i++)
        check(((unsigned char *)blocks[i])[47] == (unsigned char)i);
    qsort(blocks, BLOCKS, sizeof blocks[0], block_order);
    for (int i = 1; i < BLOCKS; i++)
        check((char *)blocks[i] - (char *)blocks[i - 1] >= 48);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static int
deed_main(const struct misuse_shape *shape, const char *policy)
{
    bool callback = strcmp(policy, "callback") == 0;
    if (callback)
        handler_install();
    shape->act();
    if (callback && !shape->in_child) {
        check(handler_calls == 1);
        check(shape->why == 0 || handler_why == shape->why);
        check(strcmp(handler_function, shape->function) == 0);
    }
    check_heap_is_intact();
    return 0;
}

// ---- The process that judges it

static void
deed_exec(int shape, const char *policy, int output)
{
    char number[16];
    char options[64];
    snprintf(number, sizeof number, "%d", shape);
    snprintf(options, sizeof options, "bad_free:%s", policy);
    setenv("HOSTHEAP_OPTIONS", options, 1);
    dup2(output, STDERR_FILENO);
    execl("/proc/self/exe", "preload_misuse", number, policy, (char *)NULL);
    _exit(100);
}

static int
deed_run(int shape, const char *policy, char *output, size_t capacity_bytes)
{
    int ends[2];
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        deed_exec(shape, policy, ends[1]);
    close(ends[1]);
    size_t length = 0;
    ssize_t count;
    while ((count = read(ends[0], output + length, capacity_bytes - 1 - length)) > 0)
        length += (size_t)count;
    close(ends[0]);
    output[length] = '\0';
    int status;
    check(waitpid(child, &status, 0) == child);
    return status;
}

static bool
report_is_right(const struct misuse_shape *shape, const char *output)
{
    char start[64];
    snprintf(start, sizeof start, "hostheap: %s(0x", shape->function);
    return strncmp(output, start, strlen(start)) == 0 &&
           strstr(output, reason_text(shape->why)) != NULL &&
           (shape->why != HH_BAD_SIZE_MISMATCH || strstr(output, ", size ") != NULL) &&
           strlen(output) < 1600 && strstr(output + 1, "hostheap: ") == NULL; // one report
}

static bool
outcome_is_right(const struct misuse_shape *shape, const char *policy, int status,
                 const char *output)
{
    bool aborts = strcmp(policy, "abort") == 0;
    if (aborts ? !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) : status != 0)
        return false;
    if (aborts || strcmp(policy, "report") == 0)
        return report_is_right(shape, output);
    return output[0] == '\0';
}

int
main(int argc, char **argv)
{
    static const char *const policies[] = {"abort", "report", "ignore", "callback"};
    static char output[8192];
    if (argc == 3)
        return deed_main(&misuse_shapes[atoi(argv[1])], argv[2]);
    int failures = 0;
    for (int i = 0; i < misuse_shape_count; i++) {
        for (int p = 0; p < 4; p++) {
            int status = deed_run(i, policies[p], output, sizeof output);
            if (outcome_is_right(&misuse_shapes[i], policies[p], status, output))
                continue;
            printf("%s under %s: status 0x%x, output:\n%s", misuse_shapes[i].name, policies[p],
                   (unsigned)status, output);
            failures++;
        }
    }
    printf("%d shapes x 4 policies, %d failures\n", misuse_shape_count, failures);
    return failures != 0;
}
