// SPDX-License-Identifier: MIT
// process/process.c - how the library comes up, and what happens to it at fork and thread exit.
#include "process/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

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

static struct {
    struct hhi_lock lock;
    _Atomic uint32_t up; // 1: everything below is ready       [PR-1]
    pthread_key_t thread_key;
    bool thread_key_made;
    sigset_t fork_signals; // blocked before the fork; of the thread that holds all locks for it
} process HH_START_STATE;

void (*const hhi_process_up)(void) = hhi_process_start;

static void
thread_key_ended(void *thread)
{
    hhi_thread_exit(thread);
}

static void
process_watch_thread(struct hhi_thread *thread)
{
    // libc may allocate for a key's value: the thread's record is in place by now. If it can not,
    // the record is lost when the thread ends, and found again by nobody: memory, not safety.
    if (!process.thread_key_made)
        return;
    int saved_errno = errno; // the one call of a slow path that may change it
    pthread_setspecific(process.thread_key, thread);
    errno = saved_errno;
}

void (*const hhi_process_watch_thread)(struct hhi_thread *thread) = process_watch_thread;

__attribute__((weak)) void
hhi_process_options_read(void)
{
}

void
hhi_process_start(void)
{
    // order: acquire [PR-1] what the start has set up.
    if (hh_likely(hh_load_acquire(&process.up) != 0))
        return;
    hhi_lock_enter(&process.lock);
    // relaxed: written under the lock.
    if (hh_load_relaxed(&process.up) == 0) {
        hhi_options_init();
        hhi_process_options_read();
        hhi_guard_init();
        hhi_limit_set_purge(hhi_sweep_retained);
        if (hhi_opt.soft_limit_bytes != 0 || hhi_opt.hard_limit_bytes != 0)
            hhi_set_memory_limits(hhi_opt.soft_limit_bytes, hhi_opt.hard_limit_bytes);
        // Once, though a start without a window is tried again: keys are few.
        if (!process.thread_key_made)
            process.thread_key_made =
                pthread_key_create(&process.thread_key, thread_key_ended) == 0;
        // Without a window every allocation is refused; the next one tries again.
        if (hhi_window_init()) {
            hhi_slab_init();
            if (hhi_opt.sample != 0)
                hhi_sample_start(hhi_opt.sample); // without memory for it: not sampled
            // order: release [PR-1] publishes all of the above.
            hh_store_release(&process.up, 1);
        }
    }
    hhi_lock_leave(&process.lock);
}

// Locks are taken in the order of their ranks. With signals blocked, for a handler that forks would
// wait for the locks of the fork that it has interrupted.
static void
fork_prepare(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    hhi_region_fork_prepare();
    hhi_sweep_fork_prepare();
    hhi_heaps_fork_prepare();
    hhi_threads_fork_prepare();
    hhi_heaps_lock_all();
    hhi_debug_fork_prepare();
    hhi_limbo_fork_prepare();
    hhi_run_fork_prepare();
    hhi_region_map_fork_prepare();
    hhi_rcu_fork_prepare();
    hhi_meta_fork_prepare();
    hhi_sample_fork_prepare();
    process.fork_signals = before;
}

static void
fork_parent(void)
{
    sigset_t before = process.fork_signals;
    hhi_sample_fork_done(false);
    hhi_meta_fork_done(false);
    hhi_rcu_fork_done(false);
    hhi_region_map_fork_done(false);
    hhi_run_fork_done(false);
    hhi_limbo_fork_done(false);
    hhi_debug_fork_done(false);
    hhi_heaps_fork_done(false);
    hhi_threads_fork_parent();
    hhi_sweep_fork_done(false);
    hhi_region_fork_done(false);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
fork_child(void)
{
    hhi_sample_fork_done(true);
    hhi_meta_fork_done(true);
    hhi_rcu_fork_done(true);
    hhi_region_map_fork_done(true);
    hhi_run_fork_done(true);
    hhi_limbo_fork_done(true);
    hhi_debug_fork_done(true);
    hhi_heaps_fork_done(true);
    hhi_guard_init();          // the barrier is registered per process
    hhi_sweep_fork_done(true); // before the repairs below, which may start a sweeper
    hhi_threads_fork_child(hhi_self);
    hhi_region_fork_done(true);
    pthread_sigmask(SIG_SETMASK, &process.fork_signals, NULL);
}

// Before the constructors of programs and of libraries that are not ours.
__attribute__((constructor(101))) static void
process_construct(void)
{
    hhi_process_start();
    pthread_atfork(fork_prepare, fork_parent, fork_child); // allocates: not in hhi_process_start
}

// After the destructors of programs and of libraries that are not ours.
__attribute__((destructor(101))) static void
process_destruct(void)
{
    hhi_stats_print_at_exit();
}
