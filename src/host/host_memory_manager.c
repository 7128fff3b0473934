// SPDX-License-Identifier: MIT
// host/host_memory_manager.c - see host_memory_manager.h. Source: contract sections 3, 4 and 7.

#include "host/host_memory_manager.h"

#include "base/atomic.h"
#include "heap/limit.h"
#include "host/host_dead.h"
#include "host/host_load.h"
#include "host/host_malloc.h"
#include "host/host_unknown.h"
#include "host/host_virtual.h"
#include "rcu/rcu.h"

#define MALLOC_TYPE_ALL (MALLOC_THREADSAFE | MALLOC_EXECUTABLE)

/*
 * IHostMemoryManager::CreateMalloc - slot 3
 *
 * type     MALLOC_TYPE bits. Every heap is safe for threads, asked for or not (DECISION 19).
 * object   out; a new object with one reference; NULL on failure
 * returns  S_OK
 *          E_POINTER       object NULL
 *          E_INVALIDARG    a bit that is no MALLOC_TYPE (DECISION 18)
 *          E_OUTOFMEMORY   no memory
 *          E_ACCESSDENIED  MALLOC_EXECUTABLE, and the system refuses such pages (DECISION 20)
 * threads  any
 * source   CM-1..CM-4
 */
static hh_hresult
manager_create_malloc(IHostMemoryManager *self, uint32_t type, IHostMalloc **object)
{
    (void)self;
    if (object == NULL)
        return E_POINTER;
    *object = NULL;
    if ((type & ~MALLOC_TYPE_ALL) != 0)
        return E_INVALIDARG;
    hhi_limit_prepare_reserve(); // for process-critical requests (DECISION 45); once
    return hhi_host_malloc_create((type & MALLOC_EXECUTABLE) != 0, object);
}

static const IHostMemoryManagerVtbl manager_live = {
    .QueryInterface = hhi_host_memory_manager_query_interface,
    .AddRef = hhi_host_memory_manager_add_ref,
    .Release = hhi_host_memory_manager_release,
    .CreateMalloc = manager_create_malloc,
    .VirtualAlloc = hhi_host_virtual_alloc,
    .VirtualFree = hhi_host_virtual_free,
    .VirtualQuery = hhi_host_virtual_query,
    .VirtualProtect = hhi_host_virtual_protect,
    .GetMemoryLoad = hhi_host_get_memory_load,
    .RegisterMemoryNotificationCallback = hhi_host_register_callback,
    .NeedsVirtualAddressSpace = hhi_host_needs_address_space,
    .AcquiredVirtualAddressSpace = hhi_host_acquired_address_space,
    .ReleasedVirtualAddressSpace = hhi_host_released_address_space,
};

static struct {
    _Atomic(const IHostMemoryManagerVtbl *) table; // what callers see as IHostMemoryManager.lpVtbl
    struct hhi_references references;
} manager HH_START_STATE = {.table = &manager_live};

_Static_assert(sizeof manager.table == sizeof(IHostMemoryManager), "the table is the interface");

IHostMemoryManager *
hhi_host_memory_manager(void)
{
    return (IHostMemoryManager *)&manager;
}

hh_hresult
hhi_host_memory_manager_query_interface(IHostMemoryManager *self, const hh_guid *riid, void **ppv)
{
    return hhi_host_query(self, &manager.references, &IID_IHostMemoryManager, riid, ppv);
}

uint32_t
hhi_host_memory_manager_add_ref(IHostMemoryManager *self)
{
    (void)self;
    return hhi_references_add(&manager.references);
}

uint32_t
hhi_host_memory_manager_release(IHostMemoryManager *self)
{
    (void)self;
    bool last; // ends nothing
    return hhi_references_drop(&manager.references, &last);
}

void
hhi_host_memory_manager_bury(void)
{
    // relaxed: the object is static, nothing but the table's address changes.
    hh_store_relaxed(&manager.table, &hhi_host_memory_manager_dead);
}

hh_hresult
hh_get_memory_manager(IHostMemoryManager **out)
{
    if (out == NULL)
        return E_POINTER;
    hhi_rcu_start(); // here, where no collector has stopped threads
    *out = hhi_host_memory_manager();
    hhi_host_memory_manager_add_ref(*out);
    return S_OK;
}
