// SPDX-License-Identifier: MIT
// workloads/threads.c - what a thread, a process and a shared cache line cost.
#define _GNU_SOURCE
#include "../bench.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

struct threads_round {
    struct bench_run *run;
    void *kept[32];
};

// A short thread: some blocks die with it, some outlive it and are freed by the starter.
static void *
threads_short(void *arg)
{
    struct threads_round *round = arg;
    const struct bench_allocator *a = round->run->allocator;
    size_t count = round->run->row->count;
    for (size_t i = 0; i < count; i++) {
        size_t size = 32 + (i * 20) % 4000;
        void *block = a->malloc(size);
        bench_fill(block, size, i);
        if (i % 10 == 9 && i / 10 < 32) {
            round->kept[i / 10] = block;
        } else {
            a->free(block);
        }
    }
    return NULL;
}

/*
 * Reason: thread pools that grow and shrink, tests, thread-per-request. A thread's first
 * allocation sets up its cache and its end gives it back; what it leaves must be used again.
 */
static void
threads_start_repeat(struct bench_run *run)
{
    struct threads_round round = {.run = run};
    for (uint64_t i = 0; i < run->row->operations; i++) {
        bench_thread_join(bench_thread_start(threads_short, &round, (unsigned)i));
        for (size_t k = 0; k < run->row->count / 10 && k < 32; k++) {
            size_t at = k * 10 + 9;
            if (run->verify) {
                bench_check(run, round.kept[k], 32 + (at * 20) % 4000, at);
            }
            run->allocator->free(round.kept[k]);
            round.kept[k] = NULL;
        }
    }
}

// Reason: short programs, scripts, build systems. A small C program that allocates a little.
static void
threads_process_repeat(struct bench_run *run)
{
    const char *program = getenv("BENCH_START_CHILD");
    if (!program) {
        bench_fail("BENCH_START_CHILD does not name the child program");
    }
    char *const arguments[] = {(char *)program, NULL};
    for (uint64_t i = 0; i < run->row->operations; i++) {
        pid_t child;
        int status;
        if (posix_spawn(&child, program, NULL, NULL, arguments, environ) != 0) {
            bench_fail("cannot start %s", program);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (status != 0) {
            bench_fail("%s ended with status %d", program, status);
        }
    }
}

/*
 * False sharing. Reason: each thread writes to small blocks it allocated itself; if two threads
 * are given halves of one cache line, every write is a fight for the line.
 */
static void
threads_scratch(struct bench_run *run, unsigned worker)
{
    uint64_t rounds = run->row->operations / run->row->threads / 200;
    for (uint64_t i = 0; i < rounds; i++) {
        volatile unsigned char *block = run->allocator->malloc(8);
        for (int write = 0; write < 200; write++) {
            block[0] = (unsigned char)(block[0] + 1 + worker);
        }
        run->allocator->free((void *)block);
    }
}

static void
threads_scratch_work(void *arg, unsigned worker)
{
    threads_scratch(arg, worker);
}

static void
threads_scratch_repeat(struct bench_run *run)
{
    bench_pool_run(run->pool, threads_scratch_work, run);
}

/*
 * The passive form: the starter hands each thread one small block, neighbours of each other; they
 * free it, and what they allocate from then on must not be that half line.
 */
struct threads_passive {
    struct bench_run *run;
    void *given[8];
};

static void
threads_passive_work(void *arg, unsigned worker)
{
    struct threads_passive *passive = arg;
    passive->run->allocator->free(passive->given[worker]);
    threads_scratch(passive->run, worker);
}

static void
threads_passive_repeat(struct bench_run *run)
{
    struct threads_passive passive = {.run = run};
    for (unsigned i = 0; i < run->row->threads; i++) {
        passive.given[i] = run->allocator->malloc(8);
    }
    bench_pool_run(run->pool, threads_passive_work, &passive);
}

static const struct bench_row threads_rows[] = {
    {.name = "thread-start/1",
     .flags = BENCH_WALL,
     .threads = 1,
     .operations = 100,
     .count = 1,
     .repeat = threads_start_repeat},
    {.name = "thread-start/200",
     .flags = BENCH_QUICK | BENCH_WALL,
     .threads = 1,
     .operations = 60,
     .count = 200,
     .repeat = threads_start_repeat},
    {.name = "process-start",
     .flags = BENCH_QUICK | BENCH_WALL,
     .threads = 1,
     .operations = 8,
     .repeat = threads_process_repeat},
    {.name = "false-sharing/2-threads",
     .threads = 2,
     .operations = 2000000,
     .repeat = threads_scratch_repeat},
    {.name = "false-sharing-passive/2-threads",
     .threads = 2,
     .operations = 2000000,
     .repeat = threads_passive_repeat},
};

const struct bench_family bench_threads = {"threads", threads_rows,
                                           sizeof threads_rows / sizeof threads_rows[0]};
