// SPDX-License-Identifier: MIT
// host/host_load.c - see host_load.h.
#include "host/host_load.h"

#include <errno.h>

#include "base/atomic.h"
#include "heap/heap.h"
#include "heap/limit.h"
#include "host/memory_monitor.h"
#include "os/os_memload_linux.h"
#include "process/process.h"
#include "rcu/rcu.h"
#include "region/address_notice.h"
#include "region/region.h"
#include "region/region_map.h"

void
hhi_host_read_load(struct hhi_memload *load)
{
    struct hhi_budget_reading limits;
    hhi_memload_now(load);
    hhi_limit_read(&limits);
    size_t limit_bytes = limits.soft_bytes != 0 ? limits.soft_bytes : limits.hard_bytes;
    if (limit_bytes != 0)
        hhi_memload_tighten(load, limit_bytes, limits.committed_bytes);
}

/*
 * IHostMemoryManager::GetMemoryLoad - slot 8
 *
 * load_percent     out; 0..100 of the memory of the tightest source in use
 * available_bytes  out; what the process may still use
 * returns          S_OK; E_POINTER if either is NULL (the other is set to 0)
 * threads          any; wait-free but for the kernel, also while all other threads are stopped
 * cost             a few loads; every 45 ms or so some readings of kernel files
 * source           ML-1..5
 */
hh_hresult
hhi_host_get_memory_load(IHostMemoryManager *self, uint32_t *load_percent, size_t *available_bytes)
{
    (void)self;
    if (load_percent != NULL)
        *load_percent = 0;
    if (available_bytes != NULL)
        *available_bytes = 0;
    if (load_percent == NULL || available_bytes == NULL)
        return E_POINTER;
    struct hhi_memload load;
    hhi_host_read_load(&load);
    *load_percent = hhi_memload_percent(load.total_bytes, load.available_bytes);
    *available_bytes = load.available_bytes;
    return S_OK;
}

static void
load_fork(enum hhi_fork_step step)
{
    bool forwards = step == HHI_FORK_LOOK || step == HHI_FORK_TAKE;
    if (forwards)
        hhi_monitor_fork(step);
    hhi_notice_fork(step);
    if (!forwards)
        hhi_monitor_fork(step);
}

// Only hosts get here, so the forks of a program that merely uses malloc have less to do. False: libc has no
// memory for handlers; then nothing may be done that a fork has to know of.
static bool
load_handle_fork(void)
{
    return hhi_process_watch_forks_first(load_fork);
}

/*
 * IHostMemoryManager::RegisterMemoryNotificationCallback - slot 9
 *
 * callback  in; takes a reference; NULL = none any more
 * returns   S_OK; E_OUTOFMEMORY if the monitor thread can not be started, or forks not be watched
 *           (nothing changed)
 * threads   any; also inside a call to a callback. Calls AddRef of the new one, and Release of the
 *           one before unless a call into that is running (then the monitor thread does)
 * source    NO-1, NO-4
 */
hh_hresult
hhi_host_register_callback(IHostMemoryManager *self, ICLRMemoryNotificationCallback *callback)
{
    (void)self;
    int saved_errno = errno;
    hhi_rcu_start(); // anew in the child of a fork
    bool ready = load_handle_fork() || callback == NULL;
    bool registered = ready && hhi_monitor_register(callback);
    errno = saved_errno;
    return registered ? S_OK : E_OUTOFMEMORY;
}

// Whether a region of ours has a granule in [start, end), or one that holds start.
static bool
needs_finds_region(uintptr_t start, uintptr_t end)
{
    hhi_rcu_section section = hhi_rcu_enter();
    const struct hhi_region_record *record = hhi_region_map_find(start);
    // relaxed: whether the region exists; nothing is read through it.
    bool found = record != NULL && hh_load_relaxed(&record->state) != NULL;
    if (!found) {
        record = hhi_region_map_next(start);
        found = record != NULL && record->base < end;
    }
    hhi_rcu_leave(section);
    return found;
}

/*
 * IHostMemoryManager::NeedsVirtualAddressSpace - slot 10
 *
 * start, size_bytes  in; where a file is to be mapped; start NULL = anywhere; size 0 = unknown
 * returns            S_OK           unused address space was given back; nothing of ours stands in
 *                                   the way (any more)
 *                    E_OUTOFMEMORY  a region of ours does, or the range leaves the user's part
 * threads            any; takes locks, calls the kernel
 * source             AS-1, AS-2 (DECISION 43), 16.5
 */
hh_hresult
hhi_host_needs_address_space(IHostMemoryManager *self, void *start, size_t size_bytes)
{
    (void)self;
    uintptr_t first = (uintptr_t)start;
    if (first >= HHI_ADDRESS_LIMIT || size_bytes > HHI_ADDRESS_LIMIT - first)
        return E_OUTOFMEMORY;
    int saved_errno = errno;
    (void)hhi_trim();
    uintptr_t end = first + (size_bytes != 0 ? size_bytes : 1);
    bool blocked =
        start != NULL && (!hhi_region_bury_within(first, end) || needs_finds_region(first, end));
    errno = saved_errno;
    return blocked ? E_OUTOFMEMORY : S_OK;
}

/*
 * IHostMemoryManager::AcquiredVirtualAddressSpace - slot 11
 *
 * start, size_bytes  in; what the runtime mapped; NULL or 0 = ignored
 * returns            S_OK, also when there is no memory to note it
 * threads            any; takes a lock
 * source             AS-3, AS-5
 */
hh_hresult
hhi_host_acquired_address_space(IHostMemoryManager *self, void *start, size_t size_bytes)
{
    (void)self;
    if (start == NULL || size_bytes == 0)
        return S_OK;
    int saved_errno = errno;
    if (load_handle_fork())
        hhi_notice_add((uintptr_t)start, size_bytes);
    errno = saved_errno;
    return S_OK;
}

/*
 * IHostMemoryManager::ReleasedVirtualAddressSpace - slot 12
 *
 * start    in; what the runtime has unmapped; an unknown one is ignored
 * returns  S_OK
 * threads  any; takes a lock
 * source   AS-4 (DECISION 44), AS-5
 */
hh_hresult
hhi_host_released_address_space(IHostMemoryManager *self, void *start)
{
    (void)self;
    (void)hhi_notice_remove((uintptr_t)start);
    return S_OK;
}
