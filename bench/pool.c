// SPDX-License-Identifier: MIT
// bench/pool.c - threads that sleep between repetitions; started before anything is timed.
#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

struct pool_worker {
    struct bench_pool *pool;
    pthread_t thread;
    unsigned number;
};

struct bench_pool {
    unsigned threads;
    bool over;
    void (*work)(void *arg, unsigned worker);
    void *arg;
    pthread_barrier_t begin;
    pthread_barrier_t end;
    struct pool_worker workers[64];
};

// Worker i stays on processor i: two threads that exchange blocks shall not share one.
static void
pool_place(unsigned number)
{
    cpu_set_t allowed;
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return;
    }
    unsigned want = number % (unsigned)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && want-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

static void *
pool_worker_main(void *arg)
{
    struct pool_worker *worker = arg;
    struct bench_pool *pool = worker->pool;
    pool_place(worker->number);
    for (;;) {
        pthread_barrier_wait(&pool->begin);
        if (pool->over) {
            return NULL;
        }
        pool->work(pool->arg, worker->number);
        pthread_barrier_wait(&pool->end);
    }
}

struct bench_pool *
bench_pool_start(unsigned threads)
{
    struct bench_pool *pool = bench_raw(sizeof *pool);
    if (threads > sizeof pool->workers / sizeof pool->workers[0]) {
        bench_fail("too many workers: %u", threads);
    }
    pool->threads = threads;
    pthread_barrier_init(&pool->begin, NULL, threads + 1);
    pthread_barrier_init(&pool->end, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].number = i;
        if (pthread_create(&pool->workers[i].thread, NULL, pool_worker_main, &pool->workers[i])) {
            bench_fail("cannot start worker %u", i);
        }
    }
    return pool;
}

void
bench_pool_run(struct bench_pool *pool, void (*work)(void *arg, unsigned worker), void *arg)
{
    pool->work = work;
    pool->arg = arg;
    pthread_barrier_wait(&pool->begin);
    pthread_barrier_wait(&pool->end);
}

void
bench_pool_end(struct bench_pool *pool)
{
    pool->over = true;
    pthread_barrier_wait(&pool->begin);
    for (unsigned i = 0; i < pool->threads; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    bench_raw_free(pool, sizeof *pool);
}

unsigned long
bench_thread_start(bench_thread_function *function, void *arg, unsigned number)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    cpu_set_t allowed;
    cpu_set_t one;
    // Placed before it runs, so that the move is not part of what is timed.
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        unsigned want = number % (unsigned)CPU_COUNT(&allowed);
        CPU_ZERO(&one);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &allowed) && want-- == 0) {
                CPU_SET(cpu, &one);
                break;
            }
        }
        pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
    }
    if (pthread_create(&thread, &attributes, function, arg) != 0) {
        bench_fail("cannot start a thread");
    }
    pthread_attr_destroy(&attributes);
    return thread;
}

void
bench_thread_join(unsigned long thread)
{
    if (pthread_join(thread, NULL) != 0) {
        bench_fail("cannot join a thread");
    }
}

void
bench_wait_step(unsigned *steps)
{
    if (++*steps < 256) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    } else {
        *steps = 0;
        sched_yield();
    }
}
