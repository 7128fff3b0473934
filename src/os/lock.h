// SPDX-License-Identifier: MIT
/*
 * os/lock.h - a small lock for slow paths.
 *
 * Layer: os. May include: base, os/os.h.
 *
 * pthread_mutex_t would do but for the hidden thread, which libc does not know. Three states:
 *   0 free, 1 held, 2 held and somebody may sleep.
 *
 * Memory ordering
 *   LK-1  release in hhi_lock_leave -> acquire in hhi_lock_enter: everything written under the lock.
 *
 * Ranks, to be taken in this order only: regions, heap list < thread list < heap < limbo < run <
 * region map < meta < sample.
 * Progress: blocking. After fork the child re-makes locks with hhi_lock_reset.
 */
#ifndef HHI_OS_LOCK_H
#define HHI_OS_LOCK_H

#include "base/atomic.h"
#include "base/compiler.h"

struct hhi_lock {
    _Atomic uint32_t state;
};

void hhi_lock_enter_slow(struct hhi_lock *lock);
void hhi_lock_leave_slow(struct hhi_lock *lock);

static inline void
hhi_lock_enter(struct hhi_lock *lock)
{
    uint32_t free_state = 0;
    // order: acquire [LK-1] reads what the last holder wrote.
    if (hh_unlikely(!hh_cas_strong_acquire(&lock->state, &free_state, 1)))
        hhi_lock_enter_slow(lock);
}

static inline bool
hhi_lock_try_enter(struct hhi_lock *lock)
{
    uint32_t free_state = 0;
    // order: acquire [LK-1] reads what the last holder wrote.
    return hh_cas_strong_acquire(&lock->state, &free_state, 1);
}

static inline void
hhi_lock_leave(struct hhi_lock *lock)
{
    // order: release [LK-1] publishes what was written under the lock.
    if (hh_unlikely(hh_exchange_release(&lock->state, 0) == 2))
        hhi_lock_leave_slow(lock);
}

static inline void
hhi_lock_reset(struct hhi_lock *lock)
{
    // relaxed: only one thread exists in the child of a fork.
    hh_store_relaxed(&lock->state, 0);
}

#endif
