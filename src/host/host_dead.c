// SPDX-License-Identifier: MIT
// host/host_dead.c - see host_dead.h.

#include "host/host_dead.h"

#include "base/atomic.h"
#include "host/host_control.h"
#include "host/host_malloc.h"
#include "host/host_memory_manager.h"

#define DEAD_BIT ((uintptr_t)1)

static struct {
    _Atomic(uintptr_t) word; // newest object | DEAD_BIT; any thread [HD-1]
} registry;

bool
hhi_host_is_dead(void)
{
    // relaxed: a thread that has exchanged a table after the dying thread sees the bit [HD-2]; to
    // others it is news whenever they look.
    return (hh_load_relaxed(&registry.word) & DEAD_BIT) != 0;
}

struct hhi_host_malloc *
hhi_host_newest(void)
{
    // order: acquire [HD-1] makes the objects' fields and links readable.
    return (struct hhi_host_malloc *)(hh_load_acquire(&registry.word) & ~DEAD_BIT);
}

void
hhi_host_register(struct hhi_host_malloc *object)
{
    // relaxed: a guess that the exchange below validates.
    uintptr_t word = hh_load_relaxed(&registry.word);
    do {
        object->next = (struct hhi_host_malloc *)(word & ~DEAD_BIT);
        // order: release [HD-1] publishes the object's fields and link.
    } while (!hh_cas_strong_release(&registry.word, &word, (uintptr_t)object | (word & DEAD_BIT)));
}

hh_hresult
hhi_host_die(void)
{
    // relaxed: a guess that the exchange below validates.
    uintptr_t word = hh_load_relaxed(&registry.word);
    // order: acquire [HD-1] makes the objects readable.
    while (!hh_cas_strong_acquire(&registry.word, &word, word | DEAD_BIT))
        continue;

    struct hhi_host_malloc *object = (struct hhi_host_malloc *)(word & ~DEAD_BIT);
    for (; object != NULL; object = object->next) {
        // order: release [HD-2] a maker that exchanges after us sees the dead bit.
        (void)hh_exchange_release(&object->table, &hhi_host_malloc_dead);
    }
    hhi_host_memory_manager_bury();
    hhi_host_control_bury();
    return E_FAIL;
}

/* ---- IHostMalloc ---------------------------------------------------------------------------- */

static hh_hresult
dead_malloc_alloc(IHostMalloc *self, size_t size_bytes, uint32_t level, void **block)
{
    (void)self, (void)size_bytes, (void)level;
    if (block != NULL)
        *block = NULL;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_malloc_debug_alloc(IHostMalloc *self, size_t size_bytes, uint32_t level, char *file, int line,
                        void **block)
{
    (void)file, (void)line;
    return dead_malloc_alloc(self, size_bytes, level, block);
}

static hh_hresult
dead_malloc_free(IHostMalloc *self, void *block)
{
    (void)self, (void)block;
    return HOST_E_CLRNOTAVAILABLE;
}

const IHostMallocVtbl hhi_host_malloc_dead = {
    .QueryInterface = hhi_host_malloc_query_interface,
    .AddRef = hhi_host_malloc_add_ref,
    .Release = hhi_host_malloc_release,
    .Alloc = dead_malloc_alloc,
    .DebugAlloc = dead_malloc_debug_alloc,
    .Free = dead_malloc_free,
};

/* ---- IHostMemoryManager --------------------------------------------------------------------- */

static hh_hresult
dead_manager_create_malloc(IHostMemoryManager *self, uint32_t type, IHostMalloc **object)
{
    (void)self, (void)type;
    if (object != NULL)
        *object = NULL;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_virtual_alloc(IHostMemoryManager *self, void *address, size_t size_bytes,
                           uint32_t allocation_type, uint32_t protection, uint32_t level,
                           void **result)
{
    (void)self, (void)address, (void)size_bytes, (void)allocation_type, (void)protection;
    (void)level;
    if (result != NULL)
        *result = NULL;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_virtual_free(IHostMemoryManager *self, void *address, size_t size_bytes,
                          uint32_t free_type)
{
    (void)self, (void)address, (void)size_bytes, (void)free_type;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_virtual_query(IHostMemoryManager *self, void *address, void *buffer,
                           size_t length_bytes, size_t *result_bytes)
{
    (void)self, (void)address, (void)buffer, (void)length_bytes;
    if (result_bytes != NULL)
        *result_bytes = 0;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_virtual_protect(IHostMemoryManager *self, void *address, size_t size_bytes,
                             uint32_t protection, uint32_t *old_protection)
{
    (void)self, (void)address, (void)size_bytes, (void)protection;
    if (old_protection != NULL)
        *old_protection = PAGE_NOACCESS; // section 16.2
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_get_memory_load(IHostMemoryManager *self, uint32_t *load_percent,
                             size_t *available_bytes)
{
    (void)self;
    if (load_percent != NULL)
        *load_percent = 0;
    if (available_bytes != NULL)
        *available_bytes = 0;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_register_callback(IHostMemoryManager *self, ICLRMemoryNotificationCallback *callback)
{
    (void)self, (void)callback;
    return HOST_E_CLRNOTAVAILABLE;
}

// NeedsVirtualAddressSpace and AcquiredVirtualAddressSpace.
static hh_hresult
dead_manager_address_space(IHostMemoryManager *self, void *start, size_t size_bytes)
{
    (void)self, (void)start, (void)size_bytes;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_manager_released(IHostMemoryManager *self, void *start)
{
    (void)self, (void)start;
    return HOST_E_CLRNOTAVAILABLE;
}

const IHostMemoryManagerVtbl hhi_host_memory_manager_dead = {
    .QueryInterface = hhi_host_memory_manager_query_interface,
    .AddRef = hhi_host_memory_manager_add_ref,
    .Release = hhi_host_memory_manager_release,
    .CreateMalloc = dead_manager_create_malloc,
    .VirtualAlloc = dead_manager_virtual_alloc,
    .VirtualFree = dead_manager_virtual_free,
    .VirtualQuery = dead_manager_virtual_query,
    .VirtualProtect = dead_manager_virtual_protect,
    .GetMemoryLoad = dead_manager_get_memory_load,
    .RegisterMemoryNotificationCallback = dead_manager_register_callback,
    .NeedsVirtualAddressSpace = dead_manager_address_space,
    .AcquiredVirtualAddressSpace = dead_manager_address_space,
    .ReleasedVirtualAddressSpace = dead_manager_released,
};

/* ---- IHostControl --------------------------------------------------------------------------- */

static hh_hresult
dead_control_get_host_manager(IHostControl *self, const hh_guid *riid, void **object)
{
    (void)self, (void)riid;
    if (object != NULL)
        *object = NULL;
    return HOST_E_CLRNOTAVAILABLE;
}

static hh_hresult
dead_control_set_app_domain_manager(IHostControl *self, uint32_t domain_id, void *unknown)
{
    (void)self, (void)domain_id, (void)unknown;
    return HOST_E_CLRNOTAVAILABLE;
}

const IHostControlVtbl hhi_host_control_dead = {
    .QueryInterface = hhi_host_control_query_interface,
    .AddRef = hhi_host_control_add_ref,
    .Release = hhi_host_control_release,
    .GetHostManager = dead_control_get_host_manager,
    .SetAppDomainManager = dead_control_set_app_domain_manager,
};
