// SPDX-License-Identifier: MIT
/*
 * lock.c - the lock excludes, publishes (LK-1), and wakes who sleeps (os/lock.h).
 *
 * Faults: RELAXED_LEAVE, RELAXED_ENTER, NO_WAKE, SLEEP_UNMARKED (a sleeper leaves state 1).
 */
#include "proof.h"

#if defined(RELAXED_LEAVE)
#undef hh_exchange_release
#define hh_exchange_release hh_exchange_relaxed
#endif
#if defined(RELAXED_ENTER)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#include "os/lock.h"
#if defined(SLEEP_UNMARKED)
#define hhi_lock_enter_slow lock_enter_slow_product
#endif
#define HHI_LOCK_SPINS 1
#include "os/lock.c"

static struct hhi_lock lock;
static unsigned count;         // under lock
static _Atomic uint32_t wakes; // posted so far
static _Atomic uint32_t sleepers, slept_at;

/*
 * The kernel's side: it sleeps only if the word is still as expected, and until a wake after that.
 * For the checker a thread that sleeps has ended: when all others have too, its wake must be there.
 */
void
hhi_os_wait(_Atomic uint32_t *word, uint32_t expected, unsigned timeout_ms)
{
    (void)timeout_ms;
    uint32_t before = hh_load_acquire(&wakes);
    if (hh_load_seq_cst(word) != expected)
        return;
#if defined(HH_GENMC)
    hh_fetch_add_relaxed(&sleepers, 1);
    hh_exchange_relaxed(&slept_at, before);
    pthread_exit(NULL);
#else
    while (hh_load_acquire(&wakes) == before)
        continue;
#endif
}

void
hhi_os_wake(_Atomic uint32_t *word, bool all)
{
    (void)word, (void)all;
#if !defined(NO_WAKE)
    hh_fetch_add_acq_rel(&wakes, 1);
#endif
}

#if defined(SLEEP_UNMARKED)
#undef hhi_lock_enter_slow
void
hhi_lock_enter_slow(struct hhi_lock *contended)
{
    while (hh_exchange_acquire(&contended->state, 1) != 0)
        hhi_os_wait(&contended->state, 1, 0);
}
#endif

static void *
user(void *arg)
{
    // The first thread tries first.
    if (arg != NULL || !hhi_lock_try_enter(&lock))
        hhi_lock_enter(&lock);
    count++;
    hhi_lock_leave(&lock);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        count = 0;
        hh_store_relaxed(&sleepers, 0);
        PROOF_RUN(user, user, user);
        uint32_t asleep = hh_load_relaxed(&sleepers);
        assert(count + asleep == 3);
        assert(asleep == 0 || hh_load_relaxed(&wakes) != hh_load_relaxed(&slept_at));
    }
    return 0;
}
