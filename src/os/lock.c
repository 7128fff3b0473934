// SPDX-License-Identifier: MIT
// os/lock.c - the contended half of os/lock.h.
#include "os/lock.h"

#include "os/os.h"

// Overridden where a checker has to look at every turn (tests/genmc).
#ifndef HHI_LOCK_SPINS
#define HHI_LOCK_SPINS 60
#endif

void
hhi_lock_enter_slow(struct hhi_lock *lock)
{
    for (int spin = 0; spin < HHI_LOCK_SPINS; spin++) {
        hh_cpu_relax();
        uint32_t free_state = 0;
        // order: acquire [LK-1] reads what the last holder wrote.
        if (hh_cas_strong_acquire(&lock->state, &free_state, 1))
            return;
    }
    // order: acquire [LK-1] when it was free; 2 makes the holder wake us.
    while (hh_exchange_acquire(&lock->state, 2) != 0)
        hhi_os_wait(&lock->state, 2, 0);
}

void
hhi_lock_leave_slow(struct hhi_lock *lock)
{
    hhi_os_wake(&lock->state, false);
}
