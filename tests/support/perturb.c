// SPDX-License-Identifier: MIT
/*
 * tests/support/perturb.c - see perturb.h. After the idea of PCT (Burckhardt and others, 2010): a bug
 * in a protocol needs few threads to be slow at few points, so each thread has a priority that
 * changes at random points, and one of low priority is held up at some of its operations.
 *
 * Called before most atomic operations, by threads that have just begun or are about to end too:
 * allocates nothing, takes no lock, leaves errno as it is. Not for the library's hidden thread, which
 * has no thread-local memory: run it with background off.
 */
#include "support/perturb.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum priority { RUNS, YIELDS, SPINS, SLEEPS, PRIORITIES };

static atomic_uint_fast64_t current_seed; // 0: nobody is held up
static atomic_uint_fast32_t current_turn; // counts perturb_begin
static atomic_uint_fast32_t comers;       // threads that came by in this turn

static __thread struct {
    uint64_t state;
    uint32_t turn, countdown;
    enum priority priority;
} self __attribute__((tls_model("initial-exec")));

void hhi_perturb(void);

static uint32_t
random_below(uint32_t limit)
{
    self.state ^= self.state << 13;
    self.state ^= self.state >> 7;
    self.state ^= self.state << 17;
    return (uint32_t)(self.state >> 32) % limit;
}

static void
thread_begin(uint64_t seed, uint32_t turn)
{
    uint64_t comer = atomic_fetch_add_explicit(&comers, 1, memory_order_relaxed) + 1;
    self.turn = turn;
    self.state = (seed + comer * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u | 1;
    self.priority = random_below(PRIORITIES);
    self.countdown = random_below(64);
}

static void
hold_up(void)
{
    if (random_below(8) == 0)
        self.priority = random_below(PRIORITIES);
    switch (self.priority) {
    case YIELDS:
        sched_yield();
        self.countdown = random_below(16);
        return;
    case SPINS:
        for (volatile uint32_t turns = random_below(4000); turns > 0; turns--)
            continue;
        self.countdown = random_below(32);
        return;
    case SLEEPS:
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, random_below(200000)}, NULL);
        self.countdown = random_below(256);
        return;
    default:
        self.countdown = random_below(1024);
    }
}

void
hhi_perturb(void)
{
    uint64_t seed = atomic_load_explicit(&current_seed, memory_order_relaxed);
    if (seed == 0)
        return;
    uint32_t turn = (uint32_t)atomic_load_explicit(&current_turn, memory_order_relaxed);
    if (self.turn != turn)
        thread_begin(seed, turn);
    if (self.countdown > 0) {
        self.countdown--;
        return;
    }
    int saved_errno = errno;
    hold_up();
    errno = saved_errno;
}

void
perturb_begin(uint64_t seed)
{
    atomic_store_explicit(&comers, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&current_turn, 1, memory_order_relaxed);
    atomic_store_explicit(&current_seed, seed == 0 ? 1 : seed, memory_order_relaxed);
}

void
perturb_end(void)
{
    atomic_store_explicit(&current_seed, 0, memory_order_relaxed);
}

uint64_t
perturb_seed(void)
{
    return atomic_load_explicit(&current_seed, memory_order_relaxed);
}
