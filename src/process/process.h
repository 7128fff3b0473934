// SPDX-License-Identifier: MIT
/*
 * process/process.h - how the library comes up, and what happens to it at fork and thread exit.
 *
 * Layer: process. May include: everything below. The one place that knows every module.
 *
 * Memory ordering
 *   PR-1  up: release when the start is done -> acquire by every first use: what it has set up.
 */
#ifndef HHI_PROCESS_PROCESS_H
#define HHI_PROCESS_PROCESS_H

#include <stdbool.h>

#include "base/compiler.h"
#include "os/lock.h"

/*
 * Bring the library up. Idempotent; called by the first use and by a constructor. May run before
 * libc is initialised (the dynamic loader's first malloc), so it uses nothing of libc that
 * allocates or locks. False: the system has not the memory; the next call tries again.
 */
bool hhi_process_start(void);

/*
 * Have libc tell the library of forks: true if it does so already, or now. False: it had no memory; another
 * call tries again. May allocate, and takes a lock of libc's.
 */
bool hhi_process_watch_forks(void);

/*
 * The same for a module with locks that come before the library's: step is called at each fork from now on, at
 * LOOK and TAKE before the library's own, at PARENT and CHILD after. Asked again for the same, it does nothing.
 */
bool hhi_process_watch_forks_first(void (*step)(enum hhi_fork_step));

/*
 * Called by the start, once, when the options are known and no thread has a record yet. The library's
 * does nothing; the drop-in's begins a trace.
 */
void hhi_process_options_read(void);

#endif
