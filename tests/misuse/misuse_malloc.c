// SPDX-License-Identifier: MIT
/*
 * Every shape of misuse under the drop-in. Without arguments: each under the
 * policies abort, report and ignore, in a process of its own whose end and whose report are
 * asserted; then each by every call of the malloc family that it can be done with, in four places,
 * the reason of the refusal asserted. "<shape> <verb>" is such a process. The exactness that FR-1 asks of IHostMalloc.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempt.h"

enum { SECONDS = 240, DEED_SECONDS = 60, REPORT_BYTES = 1600 };

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
    default:
        return "the alignment passed can not be this block's";
    }
}

// ---- The process that does the deed

static int
deed_main(size_t shape, size_t verb)
{
    alarm(DEED_SECONDS);
    struct misuse_attempt attempt = {
        .shape = &misuse_shapes[shape],
        .door = &misuse_malloc_door,
        .verb = &misuse_malloc_door.verbs[verb],
        .place = MISUSE_SAME_THREAD,
        .repeats = 1,
    };
    return misuse_attempt_run(&attempt);
}

// ---- The process that judges it

static void
deed_exec(size_t shape, size_t verb, const char *policy, int output)
{
    static const struct rlimit no_core = {0, 0};
    char arguments[2][16];
    char options[256];
    const char *given = getenv("HOSTHEAP_OPTIONS");
    snprintf(arguments[0], sizeof arguments[0], "%zu", shape);
    snprintf(arguments[1], sizeof arguments[1], "%zu", verb);
    snprintf(options, sizeof options, "%s%sbad_free:%s", given != NULL ? given : "",
             given != NULL && given[0] != '\0' ? "," : "", policy);
    setenv("HOSTHEAP_OPTIONS", options, 1);
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(output, STDERR_FILENO);
    execl("/proc/self/exe", "misuse_malloc", arguments[0], arguments[1], (char *)NULL);
    _exit(100);
}

// What the process wrote to standard error goes to output; its wait status is returned.
static int
deed_run(size_t shape, size_t verb, const char *policy, char *output, size_t capacity_bytes)
{
    int ends[2], status = -1;
    size_t length = 0;
    ssize_t count;
    if (pipe(ends) != 0)
        return status;
    pid_t child = fork();
    if (child == 0)
        deed_exec(shape, verb, policy, ends[1]);
    close(ends[1]);
    while ((count = read(ends[0], output + length, capacity_bytes - 1 - length)) > 0)
        length += (size_t)count;
    close(ends[0]);
    output[length] = '\0';
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

// One report, which names the call, the address and an allowed reason.
static bool
report_is_right(const struct misuse_shape *shape, const struct misuse_verb *verb,
                const char *output)
{
    char start[64];
    bool reason_named = false;
    snprintf(start, sizeof start, "hostheap: %s(0x", verb->report_name);
    for (int why = HH_BAD_FOREIGN; why <= HH_BAD_ALIGNMENT_MISMATCH; why++)
        reason_named = reason_named ||
                       ((shape->why & 1u << why) != 0 && strstr(output, reason_text(why)) != NULL);
    return reason_named && strncmp(output, start, strlen(start)) == 0 &&
           (shape->why != 1u << HH_BAD_SIZE_MISMATCH || strstr(output, ", size ") != NULL) &&
           (shape->why != 1u << HH_BAD_ALIGNMENT_MISMATCH ||
            strstr(output, ", alignment ") != NULL) &&
           strlen(output) < REPORT_BYTES && strstr(output + 1, "hostheap: ") == NULL;
}

static bool
deed_is_right(const struct misuse_shape *shape, const struct misuse_verb *verb, const char *policy,
              int status, const char *output)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == MISUSE_NOT_HERE)
        return true;
    bool aborts = strcmp(policy, "abort") == 0;
    if (aborts ? !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) : status != 0)
        return false;
    if (aborts || strcmp(policy, "report") == 0)
        return report_is_right(shape, verb, output);
    return output[0] == '\0';
}

static unsigned
deed_try(size_t shape, size_t verb, const char *policy)
{
    static char output[8192];
    int status = deed_run(shape, verb, policy, output, sizeof output);
    const struct misuse_verb *call = &misuse_malloc_door.verbs[verb];
    if (deed_is_right(&misuse_shapes[shape], call, policy, status, output))
        return 0;
    printf("%s of %s under %s: status 0x%x, output:\n%s\n", call->name, misuse_shapes[shape].name,
           policy, (unsigned)status, output);
    return 1;
}

// Each shape by the first call it can be done with, and one shape by all calls.
static unsigned
run_policies(void)
{
    static const char *const policies[] = {"abort", "report", "ignore"};
    unsigned processes = 0, failures = 0;
    bool all_calls = true;
    for (size_t shape = 0; shape < misuse_shape_count; shape++) {
        for (size_t verb = 0; verb < misuse_malloc_door.verb_count; verb++) {
            if ((misuse_shapes[shape].kinds & misuse_malloc_door.verbs[verb].kind) == 0)
                continue;
            for (size_t i = 0; i < COUNT_OF(policies); i++, processes++)
                failures += deed_try(shape, verb, policies[i]);
            if (!all_calls)
                break;
        }
        all_calls = false;
    }
    printf("policies: %zu shapes, %u processes, %u failures\n", misuse_shape_count, processes,
           failures);
    return failures;
}

int
main(int argc, char **argv)
{
    if (argc == 3)
        return deed_main((size_t)atoi(argv[1]), (size_t)atoi(argv[2]));
    alarm(SECONDS);
    unsigned failures = run_policies();
    misuse_malloc_listen();
    for (int place = 0; place < MISUSE_PLACES; place++) {
        struct misuse_counts counts = {0, 0, 0, 0};
        misuse_run_all(&misuse_malloc_door, place, &counts);
        printf("malloc %s: %u shapes, %u attempts, %u refusals, %u failures\n",
               misuse_place_name(place), counts.shapes, counts.attempts, counts.refusals,
               counts.failures);
        failures += counts.failures + (counts.shapes < 40);
    }
    return failures != 0;
}
