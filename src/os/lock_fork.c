// SPDX-License-Identifier: MIT
// os/lock_fork.c - what becomes of locks in a fork (os/lock.h).
#include "os/lock.h"

#include <assert.h>

#include "os/os.h"

enum {
    /*
     * So long a fork waits for other threads while its own thread holds locks of ours. They are held
     * for microseconds; longer only where the machine is overloaded, or where the other waits for us.
     */
    FORK_PATIENCE_MS = 2000,
    // So long with the list of streams locked, for which the other may wait; then so long without, each time twice.
    FORK_TRY_MS = 10,
    FORK_NAP_MS = 1,
    FORK_NAP_MOST_MS = 16,
};

// The lock of libc's list of streams, recursive. glibc exports it without a header; NULL elsewhere.
static void streams_lock(void) __attribute__((weakref("_IO_list_lock")));
static void streams_unlock(void) __attribute__((weakref("_IO_list_unlock")));
static void streams_reset(void) __attribute__((weakref("_IO_list_resetlock")));
static char libc_single_threaded __attribute__((weakref("__libc_single_threaded")));

// The forks this thread is in: of an outer one and of handlers that interrupted it. Only threads
// that fork get here, so it may be thread-local, which the hidden thread's data must not be.
static HH_TLS_INITIAL_EXEC struct {
    unsigned depth;
    unsigned streams;     // how many of them, inner ones, locked the list
    uint64_t signals;     // blocked before the outermost fork
    uint64_t deadline_ms; // 0: not yet begun to wait
    uint16_t nap_ms;      // after the next try
    uint8_t interrupted;  // bits by depth: the thread holds locks of its own
    bool missed;          // in this try a lock was not to be had
} forks;

static_assert(HHI_LOCK_DEPTH_MOST < 8, "a bit each");

static bool
fork_is_interrupted(unsigned depth)
{
    return (forks.interrupted >> depth & 1) != 0;
}

// Of the fork at hand.
static void
fork_set_interrupted(bool interrupted)
{
    unsigned others = forks.interrupted & ~(1u << forks.depth);
    forks.interrupted = (uint8_t)(others | (unsigned)interrupted << forks.depth);
}

/*
 * libc locks the list only in a process with threads, so do we: in others a handler that interrupts
 * libc while it takes that lock may fork. No patience here, since libc has none when it locks the list.
 */
static void
streams_take(void)
{
    if (streams_lock == NULL || streams_unlock == NULL || streams_reset == NULL)
        return;
    bool alone = &libc_single_threaded != NULL && libc_single_threaded != 0;
    if (alone && forks.streams == 0)
        return;
    streams_lock();
    forks.streams++;
}

static void
streams_leave(enum hhi_fork_step step)
{
    if (forks.streams == 0)
        return;
    if (step == HHI_FORK_CHILD) {
        streams_reset(); // also for the outer forks
        forks.streams = 0;
    } else {
        forks.streams--;
        streams_unlock();
    }
}

void
hhi_fork_begin(void)
{
    // Where handlers fork at every tick of a timer, a fork that they interrupt would come no further.
    uint64_t signals = hhi_os_block_signals();
    unsigned depth = ++forks.depth;
    if (depth == 1)
        forks.signals = signals;
    if (depth <= HHI_LOCK_DEPTH_MOST)
        fork_set_interrupted(depth > 1 && fork_is_interrupted(depth - 1));
    forks.deadline_ms = 0;
    forks.missed = false;
    forks.nap_ms = FORK_NAP_MS;
    streams_take();
}

bool
hhi_fork_missed(void)
{
    return forks.missed;
}

// An outer fork has locks of ours, so an inner one misses none: there is one level to give up.
void
hhi_fork_try_again(void)
{
    forks.streams--;
    streams_unlock();
    hhi_os_sleep_ms(forks.nap_ms);
    if (forks.nap_ms < FORK_NAP_MOST_MS)
        forks.nap_ms = (uint16_t)(forks.nap_ms * 2);
    forks.deadline_ms = 0;
    forks.missed = false;
    streams_take();
}

void
hhi_fork_end(enum hhi_fork_step step)
{
    streams_leave(step);
    // An inner one ends in the outer one, or in a handler, which restores them on its return.
    if (--forks.depth == 0)
        hhi_os_restore_signals(forks.signals);
}

unsigned
hhi_fork_depth(void)
{
    return forks.depth;
}

// How long this fork waits for locks. 0: for as long as it takes.
static uint64_t
fork_deadline_ms(void)
{
    bool interrupted = fork_is_interrupted(forks.depth);
    if (!interrupted && forks.streams == 0)
        return 0;
    if (forks.deadline_ms == 0)
        forks.deadline_ms = hhi_os_clock_ms() + (interrupted ? FORK_PATIENCE_MS : FORK_TRY_MS);
    return forks.deadline_ms;
}

static void
lock_take(struct hhi_lock *lock)
{
    uint64_t word = hhi_thread_self() | (uint64_t)forks.depth << HHI_LOCK_DEPTH_SHIFT;
    if (hhi_lock_is_mine(lock) || hhi_lock_try_as(lock, word))
        return;
    if (!hhi_lock_wait(lock, word, fork_deadline_ms()) && !fork_is_interrupted(forks.depth))
        forks.missed = true;
}

// Taken by the fork that is ending now, not by an outer one or by interrupted code.
static bool
lock_is_of_this_fork(uint64_t state)
{
    return hhi_lock_owner(state) == hhi_thread_self() &&
           (state >> HHI_LOCK_DEPTH_SHIFT & HHI_LOCK_DEPTH_MOST) == forks.depth;
}

static void
lock_in_child(struct hhi_lock *lock)
{
    // relaxed (all): only one thread exists in the child of a fork.
    uint64_t state = hh_load_relaxed(&lock->state);
    if (lock_is_of_this_fork(state))
        hh_store_relaxed(&lock->state, 0);
    else if (hhi_lock_owner(state) == hhi_thread_self())
        hh_store_relaxed(&lock->state, state & ~HHI_LOCK_SLEEPERS);
    else if (state != 0)
        hh_store_relaxed(&lock->state, HHI_LOCK_BROKEN);
}

void
hhi_lock_fork(struct hhi_lock *lock, enum hhi_fork_step step)
{
    // Handlers within handlers deeper than can be told apart: nothing more is taken.
    if (forks.depth > HHI_LOCK_DEPTH_MOST && step != HHI_FORK_CHILD)
        return;
    if (step == HHI_FORK_LOOK && hhi_lock_is_mine(lock))
        fork_set_interrupted(true);
    if (step == HHI_FORK_TAKE && !forks.missed)
        lock_take(lock);
    // relaxed: only this thread stores its own number.
    if (step == HHI_FORK_PARENT && lock_is_of_this_fork(hh_load_relaxed(&lock->state)))
        hhi_lock_leave(lock);
    if (step == HHI_FORK_CHILD)
        lock_in_child(lock);
}
