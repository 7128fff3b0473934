// SPDX-License-Identifier: MIT
// slab/guard.c - epochs of guarded sections.
#include "slab/guard.h"

#include "os/lock.h"
#include "os/os.h"

_Atomic uint64_t hhi_guard_epoch HH_START_STATE = 1;
bool hhi_guard_asymmetric HH_START_STATE;
static struct hhi_guard common_guard HH_START_STATE;
static struct hhi_lock common_lock HH_START_STATE; // who holds it uses common_guard
// List of all threads' guards; only grows.
static _Atomic(struct hhi_guard *) guards HH_START_STATE = &common_guard;

void
hhi_guard_init(void)
{
    // Under the thread sanitizer the symmetric way is used: it can not see membarrier.
    hhi_guard_asymmetric = !HH_TSAN && hhi_os_barrier_init();
}

void
hhi_guard_register(struct hhi_guard *guard)
{
    guard->registered = true;
    // relaxed: only a guess for the exchange below.
    struct hhi_guard *head = hh_load_relaxed(&guards);
    do {
        guard->next = head;
        // order: release [GD-3] publishes guard->next.
    } while (!hh_cas_weak_release(&guards, &head, guard));
}

struct hhi_guard *
hhi_guard_common_take(void)
{
    hhi_lock_enter(&common_lock);
    return &common_guard;
}

void
hhi_guard_common_return(void)
{
    hhi_lock_leave(&common_lock);
}

uint64_t
hhi_guard_advance(void)
{
    // relaxed: an addition hands on what retirements have released in it [GD-4]. The fence [GD-2]
    // puts those that the caller knows of before the reads below.
    hh_fetch_add_relaxed(&hhi_guard_epoch, 1);
    hh_fence_after_rmw();
    // Without the barrier an open section may not be seen yet.
    if (hhi_guard_asymmetric && !hhi_os_barrier_all_threads())
        return 0;
    uint64_t oldest = UINT64_MAX;
    // order: acquire [GD-3] the list's links.
    for (struct hhi_guard *guard = hh_load_acquire(&guards); guard != NULL; guard = guard->next) {
        // order: acquire [GD-1] closed means its accesses are over.
        uint64_t epoch = hh_load_acquire(&guard->epoch);
        if (epoch != 0 && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

void
hhi_guard_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&common_lock, step);
}

bool
hhi_guard_fork_child(struct hhi_guard *own)
{
    bool any = false;
    // relaxed (all): only one thread exists.
    for (struct hhi_guard *guard = hh_load_relaxed(&guards); guard != NULL; guard = guard->next) {
        // Taken in the fork: nobody's, or this thread's, interrupted by the handler that forks.
        if (guard == own || (guard == &common_guard && hhi_lock_is_mine(&common_lock)))
            continue;
        any = any || hh_load_relaxed(&guard->epoch) != 0;
        hh_store_relaxed(&guard->epoch, 0);
    }
    return any;
}
