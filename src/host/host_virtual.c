// SPDX-License-Identifier: MIT
// host/host_virtual.c - see host_virtual.h. Not offered yet: E_NOTIMPL, outputs as on failure.

#include "host/host_virtual.h"

hh_hresult
hhi_host_virtual_alloc(IHostMemoryManager *self, void *address, size_t size_bytes,
                       uint32_t allocation_type, uint32_t protection, uint32_t level, void **result)
{
    (void)self, (void)address, (void)size_bytes, (void)allocation_type, (void)protection;
    (void)level;
    if (result == NULL)
        return E_POINTER;
    *result = NULL;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_virtual_free(IHostMemoryManager *self, void *address, size_t size_bytes,
                      uint32_t free_type)
{
    (void)self, (void)address, (void)size_bytes, (void)free_type;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_virtual_query(IHostMemoryManager *self, void *address, void *buffer, size_t length_bytes,
                       size_t *result_bytes)
{
    (void)self, (void)address, (void)buffer, (void)length_bytes;
    if (result_bytes == NULL)
        return E_POINTER;
    *result_bytes = 0;
    return E_NOTIMPL;
}

hh_hresult
hhi_host_virtual_protect(IHostMemoryManager *self, void *address, size_t size_bytes,
                         uint32_t protection, uint32_t *old_protection)
{
    (void)self, (void)address, (void)size_bytes, (void)protection;
    if (old_protection == NULL)
        return HH_W_NOACCESS;
    *old_protection = PAGE_NOACCESS;
    return E_NOTIMPL;
}
