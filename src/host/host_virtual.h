// SPDX-License-Identifier: MIT
/*
 * host/host_virtual.h - the virtual memory methods of IHostMemoryManager, slots 4..7.
 *
 * Layer: host. May include: base, os, diag, options, meta, rcu, region, heap, process.
 *
 * Thread rules: any thread at any time. Each keeps errno as it was (GEN-9). self is not used: the
 * manager is one per process.
 * Source: contract section 8.
 */
#ifndef HHI_HOST_HOST_VIRTUAL_H
#define HHI_HOST_HOST_VIRTUAL_H

#include <hostheap/host_memory.h>

hh_hresult hhi_host_virtual_alloc(IHostMemoryManager *self, void *address, size_t size_bytes,
                                  uint32_t allocation_type, uint32_t protection, uint32_t level,
                                  void **result);
hh_hresult hhi_host_virtual_free(IHostMemoryManager *self, void *address, size_t size_bytes,
                                 uint32_t free_type);
hh_hresult hhi_host_virtual_query(IHostMemoryManager *self, void *address, void *buffer,
                                  size_t length_bytes, size_t *result_bytes);
hh_hresult hhi_host_virtual_protect(IHostMemoryManager *self, void *address, size_t size_bytes,
                                    uint32_t protection, uint32_t *old_protection);

#endif
