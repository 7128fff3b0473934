// SPDX-License-Identifier: MIT
/*
 * os/lock.h - a small lock for slow paths, and what becomes of locks in a fork.
 *
 * Layer: os. May include: base, os/os.h.
 *
 * pthread_mutex_t would do but for the hidden thread, which libc does not know, and for fork. The
 * state names the owner in the same instruction that takes the lock, so that a signal handler on
 * the owner's thread can tell that it is held (docs/adr/0015-fork-in-a-handler.md):
 *
 *   0                        free
 *   thread | depth | bit 0   held by that thread; depth of the fork that took it, 0 for none;
 *                            bit 0: somebody may sleep
 *   HHI_LOCK_BROKEN          left behind by a lost thread: who enters it ends the process
 *
 * Memory ordering
 *   LK-1  release in hhi_lock_leave -> acquire in hhi_lock_enter: everything written under the lock.
 *
 * Ranks, to be taken in this order only: coming modules, start, regions, common guard < sweep < heap
 * list < thread list < heap < limbo < run < region map < meta < sample.
 * Progress: blocking. Entering a lock that the calling thread holds ends the process.
 */
#ifndef HHI_OS_LOCK_H
#define HHI_OS_LOCK_H

#include "base/atomic.h"
#include "base/compiler.h"

struct hhi_lock {
    _Atomic uint64_t state;
};

#define HHI_LOCK_SLEEPERS ((uint64_t)1)
#define HHI_LOCK_DEPTH_SHIFT 1
#define HHI_LOCK_DEPTH_MOST 7u
#define HHI_LOCK_OWNER_MASK (~(uint64_t)0xF) // thread pointers are multiples of 16
#define HHI_LOCK_BROKEN HHI_LOCK_OWNER_MASK  // the address of nothing

/*
 * A number that no other living thread has, and that the forking thread keeps in the child. Known
 * without libc, for the hidden thread. Never 0.
 */
static inline uint64_t
hhi_thread_self(void)
{
#if defined(HHI_THREAD_SELF) // a checker's (tests/genmc)
    return HHI_THREAD_SELF;
#elif defined(__x86_64__)
    uint64_t self; // the thread pointer points to itself
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
#else
    return (uint64_t)__builtin_thread_pointer();
#endif
}

// Take the lock by storing word, at the latest at deadline_ms (0: wait for ever). False: not taken.
bool hhi_lock_wait(struct hhi_lock *lock, uint64_t word, uint64_t deadline_ms);
void hhi_lock_leave_slow(struct hhi_lock *lock);

// The thread that a state names, 0 for none.
static inline uint64_t
hhi_lock_owner(uint64_t state)
{
    return state & HHI_LOCK_OWNER_MASK;
}

static inline bool
hhi_lock_try_as(struct hhi_lock *lock, uint64_t word)
{
    uint64_t free_state = 0;
    // order: acquire [LK-1] reads what the last holder wrote.
    return hh_cas_strong_acquire(&lock->state, &free_state, word);
}

static inline bool
hhi_lock_try_enter(struct hhi_lock *lock)
{
    return hhi_lock_try_as(lock, hhi_thread_self());
}

static inline void
hhi_lock_enter(struct hhi_lock *lock)
{
    if (hh_unlikely(!hhi_lock_try_enter(lock)))
        (void)hhi_lock_wait(lock, hhi_thread_self(), 0);
}

static inline void
hhi_lock_leave(struct hhi_lock *lock)
{
    // order: release [LK-1] publishes what was written under the lock.
    if (hh_unlikely((hh_exchange_release(&lock->state, 0) & HHI_LOCK_SLEEPERS) != 0))
        hhi_lock_leave_slow(lock);
}

// Make a lock free that no living thread uses.
static inline void
hhi_lock_reset(struct hhi_lock *lock)
{
    // relaxed: only the caller uses the lock.
    hh_store_relaxed(&lock->state, 0);
}

// Whether the calling thread holds the lock.
bool hhi_lock_is_mine(struct hhi_lock *lock);

/*
 * A fork goes through all locks four times, each time in an order of its own. A module that has one
 * offers a function with the step as its argument.
 */
enum hhi_fork_step {
    HHI_FORK_LOOK,   // does the calling thread hold locks: was it interrupted by a handler?
    HHI_FORK_TAKE,   // in the order of ranks
    HHI_FORK_PARENT, // in the opposite order
    HHI_FORK_CHILD,  // as PARENT, and mend what lost threads left
};

/*
 * Before LOOK and after PARENT or CHILD, which step tells; signals are blocked between them. Forks nest
 * all the same: handlers of fork that are not ours may let signals in.
 *
 * With threads libc's list of streams is locked between them too, before any lock of ours: libc locks
 * it after our handlers, and who has it may wait for a stream whose user waits for one of our locks. Who
 * has one of our locks may wait for the list, too: in a handler's fork, or in a visitor that flushes all
 * streams. So a lock is waited for a short time only. If one was missed, the caller leaves what it took
 * (PARENT), lets others get on (hhi_fork_try_again), and takes all anew.
 */
void hhi_fork_begin(void);
bool hhi_fork_missed(void);
void hhi_fork_try_again(void);
void hhi_fork_end(enum hhi_fork_step step);
// Depth of the fork the calling thread is in, 0 for none.
unsigned hhi_fork_depth(void);
/*
 * What step means for a lock. One that the thread held before stays held, in parent and child: the
 * interrupted code goes on there and leaves it. Who holds locks already does not wait for others
 * without end, since one of them may wait for him: what is not to be had is left, and is broken in
 * the child if somebody else holds it.
 */
void hhi_lock_fork(struct hhi_lock *lock, enum hhi_fork_step step);

#endif
