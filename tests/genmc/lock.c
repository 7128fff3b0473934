// SPDX-License-Identifier: MIT
/*
 * lock.c - the lock excludes, publishes (LK-1), and wakes who sleeps (os/lock.h).
 *
 * Faults: RELAXED_LEAVE, RELAXED_ENTER, NO_WAKE, SLEEP_UNMARKED (a sleeper leaves no mark).
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
static _Thread_local uint64_t proof_self;
#define HHI_THREAD_SELF proof_self
#include "os/lock.h"
#if defined(SLEEP_UNMARKED)
#define hhi_lock_wait lock_wait_product
#endif
// On the whole state: the checker knows no half of a word.
static void lock_sleep(struct hhi_lock *lock, uint64_t expected);
#define HHI_LOCK_SPINS 1
#define HHI_LOCK_SLEEP(lock, state, timeout_ms) lock_sleep((lock), (state))
#include "os/lock.c"

static struct hhi_lock lock;
static _Atomic uint64_t names; // given to threads so far
static unsigned count;         // under lock
static _Atomic uint32_t wakes; // posted so far
static _Atomic uint32_t sleepers, slept_at;

/*
 * The kernel's side: it sleeps only if the word is still as expected, and until a wake after that.
 * For the checker a thread that sleeps has ended: when all others have too, its wake must be there.
 */
static void
lock_sleep(struct hhi_lock *contended, uint64_t expected)
{
    uint32_t before = hh_load_acquire(&wakes);
    if (hh_load_seq_cst(&contended->state) != expected)
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

uint64_t
hhi_os_clock_ms(void)
{
    return 0; // nobody waits for a limited time
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
#undef hhi_lock_wait
bool
hhi_lock_wait(struct hhi_lock *contended, uint64_t word, uint64_t deadline_ms)
{
    (void)deadline_ms;
    for (;;) {
        uint64_t state = 0;
        if (hh_cas_strong_acquire(&contended->state, &state, word))
            return true;
        lock_sleep(contended, state);
    }
}
#endif

static void *
user(void *arg)
{
    proof_self = 16 * (hh_fetch_add_relaxed(&names, 1) + 1);
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
