// SPDX-License-Identifier: MIT
/*
 * genmc/proof.h - what every program here begins with.
 *
 * A program includes the product's own source files, so that the orders it is run with are the
 * product's, and puts in the place of everything around them as little as will do. GenMC (HH_GENMC)
 * searches all executions that RC11 allows; as an ordinary program the same threads run some
 * hundred times.
 *
 * GenMC interprets: it knows no assembler, and of a trap only assert.
 *
 * membarrier is a full fence in the caller, and one in the other thread at some point of its
 * program after the call began and before it ends. Which point, the run chooses: proof_choose
 * runs beside, and the other thread calls proof_point wherever the fence may fall.
 */
#ifndef HH_GENMC_PROOF_H
#define HH_GENMC_PROOF_H

#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/check.h"

#undef HH_CHECK
#define HH_CHECK(condition) assert(condition)
#undef hh_compiler_barrier
#define hh_compiler_barrier() proof_point()
#undef hh_fence_after_rmw
#if HH_TSAN
#define hh_fence_after_rmw() ((void)0)
#else
#define hh_fence_after_rmw() PROOF_FENCE()
#endif

#if defined(HH_GENMC)
enum { PROOF_ROUNDS = 1 };
#undef static_assert
#define static_assert _Static_assert
typedef int pid_t;
typedef unsigned long dev_t, ino_t;
#undef HH_OPAQUE
#define HH_OPAQUE(variable) ((void)0)
#undef hh_equals_relaxed
#define hh_equals_relaxed(p, value) (hh_load_relaxed(p) == (value))
#undef hh_is_below_relaxed
#define hh_is_below_relaxed(p, value) ((value) < hh_load_relaxed(p))
#define hh_cpu_relax() ((void)0)
void __VERIFIER_assume(_Bool);
#define PROOF_WAIT(condition) __VERIFIER_assume(condition)
// The checker knows memset of fixed sizes only. Put in its place by who needs it.
static inline void *
proof_words_zero(void *words, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes / sizeof(uintptr_t); i++)
        ((uintptr_t *)words)[i] = 0;
    return words;
}
#define PROOF_MEMSET(words, zero, size_bytes) proof_words_zero((words), (size_bytes))
#else
#include <sched.h>
enum { PROOF_ROUNDS = 200 };
#define PROOF_WAIT(condition)                                                                      \
    while (!(condition))                                                                           \
    sched_yield()
#endif

// The thread sanitizer knows no fences: the programs that need them are not run under it.
#if HH_TSAN
#define PROOF_FENCE() abort()
#else
#define PROOF_FENCE() atomic_thread_fence(memory_order_seq_cst)
#endif

enum { PROOF_POINTS_MOST = 9 };
static _Atomic int proof_chosen, proof_asked, proof_passed;
// Of the thread that is stopped: the point where it will be, -1 nowhere; the next point's number.
static _Thread_local int proof_point_wanted = -1, proof_point_next;

static inline void *
proof_choose(void *arg)
{
    for (int point = 1; point < PROOF_POINTS_MOST; point++)
        hh_store_relaxed(&proof_chosen, point);
    return arg;
}

static inline void
proof_membarrier(void)
{
    PROOF_FENCE();
    hh_store_relaxed(&proof_asked, 1);
    PROOF_WAIT(hh_load_relaxed(&proof_passed) == 1);
    PROOF_FENCE();
}

static inline void
proof_points_begin(void)
{
    proof_point_wanted = hh_load_relaxed(&proof_chosen);
    proof_point_next = 0;
}

static inline void
proof_point(void)
{
    if (proof_point_next++ != proof_point_wanted)
        return;
    PROOF_WAIT(hh_load_relaxed(&proof_asked) == 1);
    PROOF_FENCE();
    hh_store_relaxed(&proof_passed, 1);
    PROOF_FENCE();
}

// Before each round, while no other thread runs.
static inline void
proof_points_reset(void)
{
    hh_store_relaxed(&proof_chosen, 0);
    hh_store_relaxed(&proof_asked, 0);
    hh_store_relaxed(&proof_passed, 0);
}

enum { PROOF_THREADS_MOST = 4 };

// Run each function on a thread of its own, and wait for all.
static inline void
proof_run(unsigned count, void *(*const functions[])(void *))
{
    pthread_t threads[PROOF_THREADS_MOST];
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, functions[i], (void *)(uintptr_t)i) != 0)
            abort();
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

#define PROOF_RUN(...)                                                                             \
    do {                                                                                           \
        static void *(*const functions_[])(void *) = {__VA_ARGS__};                                \
        proof_run(sizeof functions_ / sizeof functions_[0], functions_);                           \
    } while (0)

#endif
