// SPDX-License-Identifier: MIT
// host/host_load.c - see host_load.h. Not offered yet: E_NOTIMPL, outputs as on failure.

#include "host/host_load.h"

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
    return E_NOTIMPL;
}

hh_hresult
hhi_host_register_callback(IHostMemoryManager *self, ICLRMemoryNotificationCallback *callback)
{
    (void)self, (void)callback;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_needs_address_space(IHostMemoryManager *self, void *start, size_t size_bytes)
{
    (void)self, (void)start, (void)size_bytes;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_acquired_address_space(IHostMemoryManager *self, void *start, size_t size_bytes)
{
    (void)self, (void)start, (void)size_bytes;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_released_address_space(IHostMemoryManager *self, void *start)
{
    (void)self, (void)start;
    return E_NOTIMPL;
}
