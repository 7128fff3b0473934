// SPDX-License-Identifier: MIT
// tests/support/core.c - patterns, threads, child processes and censuses for tests of the core.
#include "support/core.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATTERN_STEP_BYTES = 64, CHILD_SECONDS = 60, WAIT_MS = 20000 };

uint64_t
core_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

void
core_fill(void *block, size_t size_bytes, uint64_t tag)
{
    char *bytes = block;
    for (size_t at = 0; at + sizeof tag <= size_bytes; at += PATTERN_STEP_BYTES) {
        uint64_t mark = tag ^ at;
        memcpy(bytes + at, &mark, sizeof mark);
    }
    if (size_bytes >= sizeof tag)
        memcpy(bytes + size_bytes - sizeof tag, &tag, sizeof tag);
    else
        memset(bytes, (int)(tag & 0xFF), size_bytes);
}

bool
core_holds(const void *block, size_t size_bytes, uint64_t tag)
{
    const char *bytes = block;
    uint64_t mark;
    if (size_bytes < sizeof tag) {
        for (size_t at = 0; at < size_bytes; at++)
            if ((unsigned char)bytes[at] != (tag & 0xFF))
                return false;
        return true;
    }
    size_t last = size_bytes - sizeof tag;
    memcpy(&mark, bytes + last, sizeof mark);
    if (mark != tag)
        return false;
    // The mark at the end may lie over the last regular one.
    for (size_t at = 0; at + sizeof tag <= last; at += PATTERN_STEP_BYTES) {
        memcpy(&mark, bytes + at, sizeof mark);
        if (mark != (tag ^ at))
            return false;
    }
    return true;
}

bool
core_is_zero(const void *block, size_t size_bytes)
{
    const unsigned char *bytes = block;
    for (size_t at = 0; at < size_bytes; at++)
        if (bytes[at] != 0)
            return false;
    return true;
}

unsigned
core_setting(const char *name, unsigned fallback)
{
    const char *text = getenv(name);
    unsigned long value = text == NULL ? 0 : strtoul(text, NULL, 10);
    return value == 0 ? fallback : (unsigned)value;
}

uint64_t
core_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct thread_call {
    void (*run)(void *);
    void *argument;
};

static void *
thread_call_run(void *argument)
{
    struct thread_call *call = argument;
    call->run(call->argument);
    return NULL;
}

void
core_in_thread(void (*run)(void *), void *argument)
{
    struct thread_call call = {run, argument};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_call_run, &call), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int
core_in_child(int (*run)(void *), void *argument)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        // After a fault cmocka would go on with the next test, here.
        static const int faults[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE};
        for (size_t at = 0; at < COUNT_OF(faults); at++)
            signal(faults[at], SIG_DFL);
        signal(SIGALRM, SIG_DFL);
        alarm(CHILD_SECONDS);
        _exit(run(argument));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 64 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct census {
    size_t blocks, bytes;
};

static int
census_visit(void *arg, void *block, size_t size_bytes)
{
    struct census *census = arg;
    (void)block;
    census->blocks++;
    census->bytes += size_bytes;
    return 0;
}

size_t
core_census(struct hh_heap *heap)
{
    struct census census = {0, 0};
    hh_heap_stats stats;
    assert_int_equal(hhi_heap_walk(heap, census_visit, &census), HH_OK);
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.live_blocks, census.blocks);
    assert_int_equal(stats.live_bytes, census.bytes);
    return census.blocks;
}

bool
core_wait_for(bool (*condition)(void *), void *argument)
{
    uint64_t deadline_ms = core_now_ms() + WAIT_MS;
    do {
        if (condition(argument))
            return true;
        usleep(10000);
    } while (core_now_ms() < deadline_ms);
    return condition(argument);
}

void *
core_alloc(struct hh_heap *heap, size_t size_bytes)
{
    void *block = hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_TASK);
    assert_non_null(block);
    return block;
}

struct hh_heap *
core_heap(void)
{
    struct hh_heap *heap;
    assert_int_equal(hhi_heap_create(0, 0, 0, NULL, &heap), HH_OK);
    return heap;
}
