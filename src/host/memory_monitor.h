// SPDX-License-Identifier: MIT
/*
 * host/memory_monitor.h - the thread that tells the runtime how much memory there is.
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 *
 * The thread is started at the first registration and stays; without a callback it sleeps without
 * a timeout. With one it looks at the memory load (ML-4) once a second and whenever the kernel
 * reports pressure, lets memory_state.h decide, and calls the callback under no lock. A callback that
 * replaces another is told the state at the next look.
 *
 * References: a registered callback holds one reference. When it is replaced or dropped, whoever
 * did that releases it, except while a call into it runs: then the thread releases it after the
 * call. So a callback may register another one, or none, from inside the call, and nobody ever
 * waits for a call to end.
 *
 * A callback that answers anything but S_OK is dropped.
 *
 * fork: the child has the callback, but no thread and none of its descriptors. Registering again
 * starts a thread there.
 *
 * Source: contract NO-1..8, 16.9, COM-5, GEN-7.
 */
#ifndef HHI_HOST_MEMORY_MONITOR_H
#define HHI_HOST_MEMORY_MONITOR_H

#include <hostheap/host_memory.h>

#include "base/compiler.h"
#include "os/lock.h"

/*
 * Replace the callback; NULL = none. False: the thread could not be started, nothing changed.
 * Any thread, also from inside a call to a callback. May call Release of the old one.
 */
bool hhi_monitor_register(ICLRMemoryNotificationCallback *callback);

// How often the thread looks without being told; for tests, before the first registration.
void hhi_monitor_set_poll_ms(unsigned poll_ms);

// Around fork: hold the lock while the process is copied.
void hhi_monitor_fork(enum hhi_fork_step step);

#endif
