// SPDX-License-Identifier: MIT
// host/memory_monitor.c - see memory_monitor.h.
#include "host/memory_monitor.h"

#include <pthread.h>
#include <signal.h>

#include "base/atomic.h"
#include "host/host_dead.h"
#include "host/host_load.h"
#include "host/memory_state.h"
#include "os/lock.h"
#include "os/os.h"
#include "os/os_memload_linux.h"
#include "os/os_pressure_linux.h"

enum { POLL_MS = 1000 };

static struct {
    struct hhi_lock lock;
    // Under the lock.
    bool running;
    uint64_t thread;  // which runs; its number as locks have it
    unsigned poll_ms; // read by the thread; written before it starts
    ICLRMemoryNotificationCallback *callback;
    uint64_t registration;                   // number of the registration that brought the callback
    ICLRMemoryNotificationCallback *calling; // the thread is inside a call to it
    unsigned calling_releases;               // references to drop after that call
    _Atomic(uint32_t) wake;                  // grows with every registration
    // The thread's own; in the child of a fork the forking thread's.
    struct hhi_pressure pressure;
    struct hhi_memory_state state;
    uint64_t greeted; // registration that the state machine knows
} monitor = {.poll_ms = POLL_MS};

// Takes the callback to be called, NULL if there is none.
static ICLRMemoryNotificationCallback *
monitor_begin_call(uint64_t registration)
{
    hhi_lock_enter(&monitor.lock);
    ICLRMemoryNotificationCallback *callback =
        monitor.registration == registration ? monitor.callback : NULL;
    monitor.calling = callback;
    hhi_lock_leave(&monitor.lock);
    return callback;
}

// In the child of a fork in the call it is forgotten already.
static void
monitor_end_call(ICLRMemoryNotificationCallback *callback, uint64_t registration, hh_hresult result)
{
    hhi_lock_enter(&monitor.lock);
    unsigned releases = monitor.calling_releases;
    monitor.calling = NULL;
    monitor.calling_releases = 0;
    if (result != S_OK && monitor.registration == registration && monitor.callback != NULL) {
        monitor.callback = NULL;
        releases++;
    }
    hhi_lock_leave(&monitor.lock);
    while (releases-- != 0)
        callback->lpVtbl->Release(callback);
}

static void
monitor_send(uint64_t registration, uint32_t available)
{
    ICLRMemoryNotificationCallback *callback = monitor_begin_call(registration);
    if (callback != NULL)
        monitor_end_call(callback, registration,
                         callback->lpVtbl->OnMemoryNotification(callback, available));
}

// The registration in force, 0 if there is no callback to call.
static uint64_t
monitor_registration(void)
{
    hhi_lock_enter(&monitor.lock);
    uint64_t registration = monitor.callback != NULL ? monitor.registration : 0;
    hhi_lock_leave(&monitor.lock);
    return hhi_host_is_dead() ? 0 : registration;
}

static void
monitor_step(uint64_t registration, bool pressure)
{
    struct hhi_memload load;
    if (monitor.greeted != registration)
        hhi_memory_state_greet(&monitor.state);
    monitor.greeted = registration;
    hhi_host_read_load(&load);
    uint32_t send = hhi_memory_state_step(
        &monitor.state, &(struct hhi_memory_reading){.now_ms = hhi_os_clock_ms(),
                                                     .total_bytes = load.total_bytes,
                                                     .available_bytes = load.available_bytes,
                                                     .pressure = pressure});
    if (send != 0)
        monitor_send(registration, send);
}

static void *
monitor_run(void *arg)
{
    (void)arg;
    bool pressure = false;
    hhi_lock_enter(&monitor.lock);
    monitor.thread = hhi_thread_self();
    hhi_lock_leave(&monitor.lock);
    pthread_setname_np(pthread_self(), "hostheap-notify");
    for (;;) {
        // relaxed: a registration that the lock below does not show is added after this load, and
        // ends the sleep.
        uint32_t wake = hh_load_relaxed(&monitor.wake);
        uint64_t registration = monitor_registration();
        if (registration != 0) {
            hhi_pressure_open(&monitor.pressure); // before the host is told that all is well
            monitor_step(registration, pressure);
            pressure = hhi_pressure_wait(&monitor.pressure, monitor.poll_ms);
            continue;
        }
        // What happens meanwhile is not seen: start anew afterwards.
        hhi_pressure_close(&monitor.pressure);
        hhi_memory_state_init(&monitor.state);
        pressure = false;
        hhi_os_wait(&monitor.wake, wake, 0);
    }
    return NULL;
}

// Detached, and with all signals blocked: no handler of the program runs on it.
static bool
monitor_start_locked(void)
{
    pthread_t thread;
    sigset_t all, before;
    hhi_pressure_init(&monitor.pressure, hhi_memload_root());
    hhi_memory_state_init(&monitor.state);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, monitor_run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

bool
hhi_monitor_register(ICLRMemoryNotificationCallback *callback)
{
    if (callback != NULL)
        callback->lpVtbl->AddRef(callback);
    hhi_lock_enter(&monitor.lock);
    if (callback != NULL && !monitor.running)
        monitor.running = monitor_start_locked();
    bool taken = callback == NULL || monitor.running;
    ICLRMemoryNotificationCallback *release = callback;
    if (taken) {
        release = monitor.callback;
        monitor.callback = callback;
        monitor.registration++;
        if (release != NULL && release == monitor.calling) {
            monitor.calling_releases++;
            release = NULL;
        }
    }
    hhi_lock_leave(&monitor.lock);
    // relaxed: what there is to look at is read under the lock, which was held before.
    (void)hh_fetch_add_relaxed(&monitor.wake, 1u);
    hhi_os_wake(&monitor.wake, true);
    if (release != NULL)
        release->lpVtbl->Release(release);
    return taken;
}

void
hhi_monitor_set_poll_ms(unsigned poll_ms)
{
    monitor.poll_ms = poll_ms;
}

void
hhi_monitor_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&monitor.lock, step);
    if (step != HHI_FORK_CHILD)
        return;
    // The call that may have been running in the parent never ends here: its references stay.
    monitor.calling = NULL;
    monitor.calling_releases = 0;
    if (monitor.running)
        hhi_pressure_close(&monitor.pressure);
    // A callback may fork: then this is the thread, and goes on when it returns.
    monitor.running = monitor.running && monitor.thread == hhi_thread_self();
}
