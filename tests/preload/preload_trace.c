// SPDX-License-Identifier: MIT
/*
 * HOSTHEAP_OPTIONS=trace:PATH. The program starts itself again in the parts below, recorded, and reads
 * the recordings (their form: bench/traces/README.md). Every part ends by itself within a minute.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "support/plain.h"

#define REFUSED                                                                                    \
    "PRELOAD_TRACE_FORKS_REFUSED" // in the environment: libc has no memory for handlers of fork

enum { MALLOC, FREE, CALLOC, REALLOC_END, ALIGNED, REALLOC_BEGIN };
enum {
    PART_SECONDS = 60,
    THREADS = 4,
    THREAD_BLOCKS = 9000,
    HANDED_OVER = 64,
    SIZE_OF_THREADS = 20000, // and the number of the thread
    SIZE_FIRST = 10001,
    SIZE_LAST = 10099,
    EVENTS_OF_A_BUFFER = 2048,
};

struct event {
    uint8_t kind, alignment_log2;
    uint16_t unused;
    uint32_t thread;
    uint64_t size, block;
};

// In the place of libc's, through which libraries register their handlers of fork.
typedef int (*register_function)(void (*)(void), void (*)(void), void (*)(void), void *);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);

__attribute__((visibility("default"))) int
__register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso)
{
    register_function real = (register_function)(uintptr_t)dlsym(RTLD_NEXT, "__register_atfork");
    check(real != NULL);
    return getenv(REFUSED) != NULL ? ENOMEM : real(prepare, parent, child, dso);
}

// ---- Parts, which are recorded ------------------------------------------------------------------

typedef void *(*new_function)(size_t);
typedef void *(*new_aligned_function)(size_t, size_t);
typedef void (*delete_sized_function)(void *, size_t);
typedef void (*delete_aligned_sized_function)(void *, size_t, size_t);

static void *
symbol(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    check(found != NULL);
    return found;
}

// Each kind of call once, between two marks. What is recorded is in expected_calls.
static void
part_calls(void)
{
    void *aligned;
    new_function new_one = (new_function)(uintptr_t)symbol("_Znwm");
    new_aligned_function new_aligned =
        (new_aligned_function)(uintptr_t)symbol("_ZnwmSt11align_val_t");
    delete_sized_function delete_sized = (delete_sized_function)(uintptr_t)symbol("_ZdlPvm");
    delete_sized_function delete_aligned =
        (delete_sized_function)(uintptr_t)symbol("_ZdlPvSt11align_val_t");
    delete_aligned_sized_function delete_aligned_sized =
        (delete_aligned_sized_function)(uintptr_t)symbol("_ZdlPvmSt11align_val_t");
    free(malloc(SIZE_FIRST));
    char *small = malloc(24);
    char *medium = calloc(3, 3000);
    char *large = malloc(3000001);
    small = realloc(small, 25);
    small = realloc(small, 500);
    medium = realloc(medium, 9001);
    large = realloc(large, 3000002);
    free(realloc(NULL, 40));
    check(realloc(large, SIZE_MAX / 4) == NULL);
    check(realloc(medium, 0) == NULL);
    check(posix_memalign(&aligned, 4096, 100) == 0);
    free(aligned);
    free(memalign(64, 100));
    free(aligned_alloc(1 << 20, 77));
    free(calloc(5, 7));
    free(NULL);
    delete_sized(new_one(33), 33);
    free(new_aligned(34, 128));
    free(reallocarray(small, 3, 300));
    free(large);
    free(malloc(0));
    check(malloc(SIZE_MAX / 4) == NULL);
    check(calloc(SIZE_MAX / 4, 1) == NULL);
    check(memalign(64, SIZE_MAX / 4) == NULL);
    delete_aligned(new_aligned(35, 64), 64);
    delete_aligned_sized(new_aligned(36, 64), 36, 64);
    free(malloc(SIZE_LAST));
}

struct expected {
    unsigned kind, alignment_log2;
    size_t size;
    int block; // -1: NULL; others are named by a number
};
static const struct expected expected_calls[] = {
    {MALLOC, 0, SIZE_FIRST, 0},
    {FREE, 0, 0, 0},
    {MALLOC, 0, 24, 1},
    {CALLOC, 0, 9000, 2},
    {MALLOC, 0, 3000001, 3},
    {REALLOC_BEGIN, 0, 0, 1},
    {REALLOC_END, 0, 25, 1},
    {REALLOC_BEGIN, 0, 0, 1},
    {REALLOC_END, 0, 500, 4},
    {REALLOC_BEGIN, 0, 0, 2},
    {REALLOC_END, 0, 9001, 2},
    {REALLOC_BEGIN, 0, 0, 3},
    {REALLOC_END, 0, 3000002, 3},
    {MALLOC, 0, 40, 5},
    {FREE, 0, 0, 5},
    {REALLOC_BEGIN, 0, 0, 3},
    {REALLOC_END, 0, SIZE_MAX / 4, -1},
    {REALLOC_BEGIN, 0, 0, 2},
    {REALLOC_END, 0, 0, -1},
    {ALIGNED, 12, 100, 6},
    {FREE, 0, 0, 6},
    {ALIGNED, 6, 100, 7},
    {FREE, 0, 0, 7},
    {ALIGNED, 20, 77, 8},
    {FREE, 0, 0, 8},
    {CALLOC, 0, 35, 9},
    {FREE, 0, 0, 9},
    {MALLOC, 0, 33, 10},
    {FREE, 0, 0, 10},
    {ALIGNED, 7, 34, 11},
    {FREE, 0, 0, 11},
    {REALLOC_BEGIN, 0, 0, 4},
    {REALLOC_END, 0, 900, 12},
    {FREE, 0, 0, 12},
    {FREE, 0, 0, 3},
    {MALLOC, 0, 0, 13},
    {FREE, 0, 0, 13},
    {ALIGNED, 6, 35, 14},
    {FREE, 0, 0, 14},
    {ALIGNED, 6, 36, 15},
    {FREE, 0, 0, 15},
    {MALLOC, 0, SIZE_LAST, 16},
    {FREE, 0, 0, 16},
};

static _Atomic(void *) handed_over[HANDED_OVER];

static void *
exchange_blocks(void *number)
{
    for (unsigned i = 0; i < THREAD_BLOCKS; i++) {
        void *block = malloc(SIZE_OF_THREADS + (size_t)(uintptr_t)number);
        check(block != NULL);
        if (i % 3 == 0)
            block = realloc(block, 2 * SIZE_OF_THREADS);
        free(atomic_exchange(&handed_over[i * 7 % HANDED_OVER], block));
    }
    return NULL;
}

static void
part_threads(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, exchange_blocks, (void *)i) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = 0; i < HANDED_OVER; i++)
        free(handed_over[i]);
}

static void
part_fork(char *program)
{
    int status;
    free(malloc(SIZE_FIRST));
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        for (unsigned i = 0; i < 2 * EVENTS_OF_A_BUFFER; i++)
            free(malloc(SIZE_FIRST + 1));
        execl(program, program, "exit", (char *)NULL);
        _exit(1);
    }
    check(waitpid(child, &status, 0) == child && status == 0);
    free(malloc(SIZE_LAST));
}

// Takes the place of every descriptor that is open, and allocates. The file must stay empty.
static void
part_descriptors(const char *folder)
{
    char path[512];
    struct stat status;
    snprintf(path, sizeof path, "%s/mine", folder);
    int mine = open(path, O_RDWR | O_CREAT, 0600);
    check(mine >= 0);
    for (int number = 3; number < 256; number++)
        check(number == mine || dup2(mine, number) == number);
    for (unsigned i = 0; i < 2 * EVENTS_OF_A_BUFFER; i++)
        free(malloc(100));
    check(fstat(mine, &status) == 0 && status.st_size == 0);
}

static int
part(char **arguments)
{
    const char *name = arguments[1];
    alarm(PART_SECONDS);
    if (strcmp(name, "calls") == 0)
        part_calls();
    else if (strcmp(name, "threads") == 0)
        part_threads();
    else if (strcmp(name, "fork") == 0)
        part_fork(arguments[0]);
    else if (strcmp(name, "descriptors") == 0)
        part_descriptors(arguments[2]);
    else if (strcmp(name, "exit") == 0)
        free(malloc(SIZE_FIRST + 2));
    else
        return 1;
    return 0;
}

// ---- What they must have left -------------------------------------------------------------------

static char folder[256];
static char complaints[8192];

struct recording {
    struct event *events;
    size_t count;
};

// The recording of a process, without its head.
static struct recording
recording_read(const char *name, pid_t process)
{
    char path[512];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s.%d", folder, name, (int)process);
    int file = open(path, O_RDONLY);
    check(file >= 0 && fstat(file, &status) == 0);
    size_t size = (size_t)status.st_size;
    struct event *events = malloc(size);
    check(size >= sizeof *events && size % sizeof *events == 0);
    check(read(file, events, size) == (ssize_t)size);
    close(file);
    unlink(path);
    check(memcmp(events, "hostheap recording 1\n\0\0", sizeof *events) == 0);
    return (struct recording){events, size / sizeof *events};
}

static size_t
recording_count(const struct recording *recording, size_t size)
{
    size_t count = 0;
    for (size_t i = 1; i < recording->count; i++)
        count += recording->events[i].size == size;
    return count;
}

// Runs a part with these options. It must end well; what it says on standard error is kept.
static pid_t
run_part(char *program, const char *name, const char *options, bool full_disk)
{
    int ends[2], status;
    size_t length = 0;
    ssize_t count;
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.%d", folder, name, (int)getpid());
        check(!full_disk || symlink("/dev/full", path) == 0);
        check(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv("HOSTHEAP_OPTIONS", options, 1);
        execl(program, program, name, folder, (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    while ((count = read(ends[0], complaints + length, sizeof complaints - 1 - length)) > 0)
        length += (size_t)count;
    complaints[length] = '\0';
    close(ends[0]);
    check(waitpid(child, &status, 0) == child);
    if (status != 0)
        fprintf(stderr, "part %s ended with status %x: %s\n", name, (unsigned)status, complaints);
    check(status == 0);
    return child;
}

static pid_t
run_recorded(char *program, const char *name, const char *more)
{
    char options[512];
    snprintf(options, sizeof options, "trace:%s/%s%s", folder, name, more);
    return run_part(program, name, options, false);
}

static void
every_call_is_recorded_as_it_was_made(char *program)
{
    struct recording recording = recording_read("calls", run_recorded(program, "calls", ""));
    uint64_t names[32] = {0};
    size_t at = 1;
    check(complaints[0] == '\0');
    while (at < recording.count && recording.events[at].size != SIZE_FIRST)
        at++;
    for (size_t i = 0; i < sizeof expected_calls / sizeof expected_calls[0]; i++, at++) {
        const struct expected *want = &expected_calls[i];
        check(at < recording.count);
        const struct event *have = &recording.events[at];
        if (have->kind != want->kind || have->size != want->size ||
            have->alignment_log2 != want->alignment_log2)
            fprintf(stderr, "call %zu: kind %u, size %zu, alignment 2^%u\n", i, have->kind,
                    (size_t)have->size, have->alignment_log2);
        check(have->kind == want->kind && have->size == want->size);
        check(have->alignment_log2 == want->alignment_log2 && have->unused == 0);
        check(have->thread == recording.events[1].thread);
        if (want->block < 0) {
            check(have->block == 0);
            continue;
        }
        uint64_t *name = &names[want->block];
        if (*name == 0)
            *name = have->block;
        check(have->block != 0 && have->block == *name);
    }
    free(recording.events);
}

static int
compare_events(const void *left, const void *right)
{
    const struct event *const *a = left, *const *b = right;
    return (*a)->block != (*b)->block ? ((*a)->block < (*b)->block ? -1 : 1)
                                      : (*a < *b ? -1 : *a > *b);
}

// Sorted by block, in their order within a block: taken and given up by turns.
static void
threads_are_recorded_in_the_order_of_their_calls(char *program)
{
    struct recording recording = recording_read("threads", run_recorded(program, "threads", ""));
    struct event **sorted = calloc(recording.count, sizeof *sorted);
    uint32_t seen[THREADS] = {0};
    for (size_t i = 1; i < recording.count; i++) {
        struct event *event = &recording.events[i];
        sorted[i - 1] = event;
        size_t number = event->size - SIZE_OF_THREADS;
        if (event->kind != MALLOC || number >= THREADS)
            continue;
        check(seen[number] == 0 || seen[number] == event->thread);
        seen[number] = event->thread;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        check(recording_count(&recording, SIZE_OF_THREADS + i) == THREAD_BLOCKS);
        check(seen[i] != recording.events[1].thread && seen[i] != seen[(i + 1) % THREADS]);
    }
    qsort(sorted, recording.count - 1, sizeof *sorted, compare_events);
    for (size_t i = 1; i + 1 < recording.count; i++) {
        bool ends = sorted[i - 1]->kind == FREE || sorted[i - 1]->kind == REALLOC_BEGIN;
        bool begins = sorted[i]->kind != FREE && sorted[i]->kind != REALLOC_BEGIN;
        check(sorted[i]->block != sorted[i - 1]->block || ends == begins);
    }
    free(sorted);
    free(recording.events);
}

static void
the_child_of_a_fork_is_not_recorded_and_what_it_starts_is(char *program)
{
    pid_t process = run_recorded(program, "fork", "");
    struct recording parent = recording_read("fork", process);
    check(recording_count(&parent, SIZE_FIRST) == 1);
    check(recording_count(&parent, SIZE_FIRST + 1) == 0);
    check(recording_count(&parent, SIZE_LAST) == 1);
    bool found = false;
    for (pid_t child = process + 1; !found && child < process + 1000; child++) {
        char path[512];
        snprintf(path, sizeof path, "%s/fork.%d", folder, (int)child);
        if (access(path, R_OK) != 0)
            continue;
        struct recording started = recording_read("fork", child);
        check(recording_count(&started, SIZE_FIRST + 1) == 0);
        check(recording_count(&started, SIZE_FIRST + 2) == 1);
        free(started.events);
        found = true;
    }
    check(found);
    free(parent.events);
}

static void
recording_ends_after_as_many_calls_as_it_may(char *program)
{
    struct recording recording =
        recording_read("threads", run_recorded(program, "threads", ",trace_calls:5000"));
    check(complaints[0] == '\0' && recording.count == 1 + 5000);
    free(recording.events);
}

static void
a_file_that_can_not_be_written_is_reported(char *program)
{
    char options[512];
    snprintf(options, sizeof options, "trace:%s/no/such/folder", folder);
    run_part(program, "calls", options, false);
    check(strstr(complaints, "trace: can not create") != NULL);
    check(strstr(complaints, "/no/such/folder.") != NULL);
    snprintf(options, sizeof options, "trace:%s/threads", folder);
    pid_t process = run_part(program, "threads", options, true);
    const char *report = strstr(complaints, "trace: the file can not be written");
    check(report != NULL && strstr(report + 1, "trace:") == NULL);
    snprintf(options, sizeof options, "%s/threads.%d", folder, (int)process);
    check(unlink(options) == 0);
}

// A child of a fork would write into the file.
static void
nothing_is_recorded_when_forks_can_not_be_watched(char *program)
{
    setenv(REFUSED, "1", 1);
    struct recording recording = recording_read("threads", run_recorded(program, "threads", ""));
    unsetenv(REFUSED);
    check(strstr(complaints, "hostheap: no memory to be told of forks") != NULL);
    check(strstr(complaints, "trace: no memory to be told of forks") != NULL);
    check(recording.count == 1);
    free(recording.events);
}

static void
a_descriptor_that_the_program_took_is_not_written_to(char *program)
{
    char path[512];
    run_recorded(program, "descriptors", "");
    check(strstr(complaints, "trace: the file can not be written") != NULL);
    snprintf(path, sizeof path, "rm -r %s", folder);
    check(system(path) == 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        return part(argv);
    alarm(5 * PART_SECONDS);
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hostheap-trace-XXXXXX", parent == NULL ? "/tmp" : parent);
    check(mkdtemp(folder) != NULL);
    every_call_is_recorded_as_it_was_made(argv[0]);
    threads_are_recorded_in_the_order_of_their_calls(argv[0]);
    the_child_of_a_fork_is_not_recorded_and_what_it_starts_is(argv[0]);
    recording_ends_after_as_many_calls_as_it_may(argv[0]);
    a_file_that_can_not_be_written_is_reported(argv[0]);
    nothing_is_recorded_when_forks_can_not_be_watched(argv[0]);
    a_descriptor_that_the_program_took_is_not_written_to(argv[0]);
    return 0;
}
