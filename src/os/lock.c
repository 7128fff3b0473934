// SPDX-License-Identifier: MIT
// os/lock.c - the contended half of os/lock.h.
#include "os/lock.h"

#include <assert.h>

#include "base/check.h"
#include "os/os.h"

// Overridden where a checker has to look at every turn (tests/genmc).
#ifndef HHI_LOCK_SPINS
#define HHI_LOCK_SPINS 60
#endif
#ifndef HHI_LOCK_SLEEP
#define HHI_LOCK_SLEEP(lock, state, timeout_ms)                                                    \
    hhi_os_wait(lock_futex(lock), (uint32_t)(state), (timeout_ms))
#endif

enum {
    NAP_MS = 20, // of who waits for a limited time
    /*
     * Of who waits for as long as it takes. Its wake may have gone to a thread that does not use it: one that gives
     * up, or one that a signal handler interrupted in its own wait, and that waits for us in that handler's fork.
     */
    LOOK_AGAIN_MS = 100,
};

// What the futex compares: the half of the state that has bit 0.
static _Atomic uint32_t *
lock_futex(struct hhi_lock *lock)
{
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half comes first");
    return (_Atomic uint32_t *)(void *)&lock->state;
}

// 0: it is past.
static unsigned
nap_until(uint64_t deadline_ms)
{
    uint64_t now_ms = hhi_os_clock_ms();
    if (now_ms >= deadline_ms)
        return 0;
    return deadline_ms - now_ms < NAP_MS ? (unsigned)(deadline_ms - now_ms) : NAP_MS;
}

bool
hhi_lock_wait(struct hhi_lock *lock, uint64_t word, uint64_t deadline_ms)
{
    for (int spin = 0; spin < HHI_LOCK_SPINS; spin++) {
        hh_cpu_relax();
        if (hhi_lock_try_as(lock, word))
            return true;
    }
    // Who has slept can not know whether others still do: it leaves the mark for them.
    while (!hhi_lock_try_as(lock, word | HHI_LOCK_SLEEPERS)) {
        // relaxed: a guess for the swap, and what to sleep on.
        uint64_t state = hh_load_relaxed(&lock->state);
        if (state == 0)
            continue;
        // A lost thread's, or this thread's own: waiting would never end.
        HH_CHECK(state != HHI_LOCK_BROKEN && hhi_lock_owner(state) != hhi_lock_owner(word));
        unsigned nap_ms = deadline_ms == 0 ? LOOK_AGAIN_MS : nap_until(deadline_ms);
        if (nap_ms == 0)
            return false;
        uint64_t asleep = state | HHI_LOCK_SLEEPERS;
        // relaxed: the mark makes the holder wake us; the lock itself is taken above.
        if (state == asleep || hh_cas_strong_relaxed(&lock->state, &state, asleep))
            HHI_LOCK_SLEEP(lock, asleep, nap_ms);
    }
    return true;
}

void
hhi_lock_leave_slow(struct hhi_lock *lock)
{
    hhi_os_wake(lock_futex(lock), false);
}

bool
hhi_lock_is_mine(struct hhi_lock *lock)
{
    // relaxed: only this thread stores its own number.
    return hhi_lock_owner(hh_load_relaxed(&lock->state)) == hhi_thread_self();
}
