// SPDX-License-Identifier: MIT
// process/process.c - how the library comes up, and what happens to it at fork and thread exit.
#include "process/process.h"

#include <errno.h>
#include <pthread.h>

#include "diag/diag.h"
#include "heap/debug_blocks.h"
#include "heap/heap_list.h"
#include "heap/limit.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/lock.h"
#include "process/stats_print.h"
#include "rcu/rcu.h"
#include "region/region.h"
#include "region/run.h"
#include "slab/guard.h"

enum { FORKS_UNWATCHED, FORKS_ASKING, FORKS_WATCHED };
enum { FORK_FIRST_MOST = 2 }; // the trace, the host's callbacks

typedef void (*fork_step)(enum hhi_fork_step);

static void process_retry_forks(void);

static struct {
    struct hhi_lock lock;
    struct hhi_lock
        first_lock;      // under it a place of first is filled; a fork takes it before all others
    _Atomic uint32_t up; // 1: everything below is ready       [PR-1]
    _Atomic uint32_t forks; // FORKS_*
    _Atomic(bool) constructed;
    bool prepared; // under the lock: all but the window
    pthread_key_t thread_key;
    bool thread_key_made;
    _Atomic(fork_step) first[FORK_FIRST_MOST]; // filled from the beginning
} process HH_START_STATE;

bool (*const hhi_process_up)(void) = hhi_process_start;

static void
thread_key_ended(void *thread)
{
    hhi_thread_exit(thread);
}

// libc may allocate for a key's value: the thread's record is in place by now. False: it can not, or
// there is no key.
static bool
process_watch_thread(struct hhi_thread *thread)
{
    process_retry_forks();
    if (!process.thread_key_made)
        return false;
    int saved_errno = errno; // of a slow path, this and the above alone may change it
    bool done = pthread_setspecific(process.thread_key, thread) == 0;
    errno = saved_errno;
    return done;
}

bool (*const hhi_process_watch_thread)(struct hhi_thread *thread) = process_watch_thread;

__attribute__((weak)) void
hhi_process_options_read(void)
{
}

// So no module comes in the middle of a fork: in the child its lock might be a lost thread's.
static void
process_first_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&process.first_lock, step);
}

static void
process_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&process.lock, step);
}

// Once: what the program has set since is not set anew when a start without a window is tried again.
static void
process_prepare(void)
{
    process.prepared = true;
    hhi_options_init();
    hhi_process_options_read();
    hhi_guard_init();
    hhi_limit_set_purge(hhi_sweep_retained);
    if (hhi_opt.soft_limit_bytes != 0 || hhi_opt.hard_limit_bytes != 0)
        hhi_set_memory_limits(hhi_opt.soft_limit_bytes, hhi_opt.hard_limit_bytes);
    process.thread_key_made = pthread_key_create(&process.thread_key, thread_key_ended) == 0;
}

bool
hhi_process_start(void)
{
    // order: acquire [PR-1] what the start has set up.
    if (hh_likely(hh_load_acquire(&process.up) != 0))
        return true;
    hhi_lock_enter(&process.lock);
    // relaxed: written under the lock.
    bool up = hh_load_relaxed(&process.up) != 0;
    if (!up) {
        if (!process.prepared)
            process_prepare();
        // Without a window every allocation is refused; the next one tries again.
        up = hhi_window_init();
        if (up) {
            hhi_slab_init();
            if (hhi_opt.sample != 0)
                hhi_sample_start(hhi_opt.sample); // without memory for it: not sampled
            // order: release [PR-1] publishes all of the above.
            hh_store_release(&process.up, 1);
        }
    }
    hhi_lock_leave(&process.lock);
    return up;
}

/*
 * The modules with something to do around a fork, in the order of their locks' ranks. The thread may
 * have been interrupted anywhere in this library by a handler that forks: then it goes on in parent and
 * child where it was, with the locks it has, so the child's steps change nothing that it may be at.
 */
static const fork_step fork_steps[] = {
    process_fork,        hhi_region_fork, hhi_guard_fork, hhi_sweep_fork,  hhi_heap_list_fork,
    hhi_threads_fork,    hhi_heaps_fork,  hhi_debug_fork, hhi_limbo_fork,  hhi_run_fork,
    hhi_region_map_fork, hhi_rcu_fork,    hhi_meta_fork,  hhi_sample_fork,
};
enum { FORK_STEPS = 1 + FORK_FIRST_MOST + sizeof fork_steps / sizeof fork_steps[0] };

static void
fork_step_at(unsigned at, enum hhi_fork_step step)
{
    fork_step module = process_first_fork;
    if (at > FORK_FIRST_MOST)
        module = fork_steps[at - FORK_FIRST_MOST - 1];
    else if (at > 0)
        // relaxed: code is always there.
        module = hh_load_relaxed(&process.first[at - 1]);
    if (module != NULL)
        module(step);
}

// The first count modules, in the opposite order.
static void
fork_steps_back(unsigned count, enum hhi_fork_step step)
{
    while (count > 0)
        fork_step_at(--count, step);
}

// One try to take all locks. False: none is taken.
static bool
fork_take(void)
{
    for (unsigned at = 0; at < FORK_STEPS; at++) {
        fork_step_at(at, HHI_FORK_TAKE);
        if (hhi_fork_missed()) {
            fork_steps_back(at + 1, HHI_FORK_PARENT);
            return false;
        }
    }
    return true;
}

static void
fork_prepare(void)
{
    hhi_fork_begin();
    for (unsigned at = 0; at < FORK_STEPS; at++)
        fork_step_at(at, HHI_FORK_LOOK);
    while (!fork_take())
        hhi_fork_try_again();
}

static void
fork_parent(void)
{
    fork_steps_back(FORK_STEPS, HHI_FORK_PARENT);
    hhi_fork_end(HHI_FORK_PARENT);
}

static void
fork_child(void)
{
    hhi_guard_init(); // the barrier is registered per process
    bool section_lost =
        hhi_guard_fork_child(hhi_thread_is_real(hhi_self) ? &hhi_self->guard : NULL);
    hhi_threads_fork_child(section_lost);
    fork_steps_back(FORK_STEPS, HHI_FORK_CHILD);
    hhi_fork_end(HHI_FORK_CHILD);
}

bool
hhi_process_watch_forks(void)
{
    uint32_t state = FORKS_UNWATCHED;
    // relaxed (all): who asks excludes others; libc hands on what it was given.
    if (!hh_cas_strong_relaxed(&process.forks, &state, FORKS_ASKING))
        return state == FORKS_WATCHED;
    bool watched = pthread_atfork(fork_prepare, fork_parent, fork_child) == 0;
    hh_store_relaxed(&process.forks, watched ? FORKS_WATCHED : FORKS_UNWATCHED);
    return watched;
}

// The place of first that holds step, NULL for an empty one; or FORK_FIRST_MOST.
static unsigned
first_find(fork_step step)
{
    unsigned at = 0;
    // relaxed: code is always there.
    while (at < FORK_FIRST_MOST && hh_load_relaxed(&process.first[at]) != step)
        at++;
    return at;
}

bool
hhi_process_watch_forks_first(fork_step step)
{
    if (!hhi_process_watch_forks())
        return false;
    if (first_find(step) < FORK_FIRST_MOST)
        return true;
    hhi_lock_enter(&process.first_lock);
    unsigned at = first_find(step);
    if (at == FORK_FIRST_MOST && (at = first_find(NULL)) < FORK_FIRST_MOST)
        // relaxed: as above; the lock keeps forks and other modules out.
        hh_store_relaxed(&process.first[at], step);
    hhi_lock_leave(&process.first_lock);
    return at < FORK_FIRST_MOST;
}

static bool
process_watches_forks(void)
{
    // relaxed: as above.
    return hh_load_relaxed(&process.forks) == FORKS_WATCHED;
}

bool (*const hhi_process_watches_forks)(void) = process_watches_forks;

/*
 * The constructor was refused: with each thread that begins to use the library it is tried again, since
 * a fork can not hurt before there is a second one. Not before the constructor: libc may not be up.
 */
static void
process_retry_forks(void)
{
    // relaxed: written by the constructor, before other threads exist.
    if (hh_likely(process_watches_forks() || !hh_load_relaxed(&process.constructed)))
        return;
    int saved_errno = errno;
    (void)hhi_process_watch_forks();
    errno = saved_errno;
}

// Before the constructors of programs and of libraries that are not ours.
__attribute__((constructor(101))) static void
process_construct(void)
{
    (void)hhi_process_start();
    // Allocates: not in hhi_process_start.
    if (!hhi_process_watch_forks())
        hhi_diag_report(
            "no memory to be told of forks: until there is, the child of a process with "
            "threads may wait for a lock for ever");
    // relaxed: other threads see it late at most.
    hh_store_relaxed(&process.constructed, true);
}

// After the destructors of programs and of libraries that are not ours.
__attribute__((destructor(101))) static void
process_destruct(void)
{
    hhi_stats_print_at_exit();
}
