// SPDX-License-Identifier: MIT
/*
 * host/host_memory_manager.h - the process's one IHostMemoryManager.
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 *
 * The manager is static and has a real reference count that ends nothing at 0: the CLR never
 * releases its host managers, and calls them until the process ends (COM-6, DECISION 3).
 *
 * This file holds IUnknown, CreateMalloc and the table; VirtualAlloc and its kin are in
 * host_virtual.h, memory load, notification and address-space notices in host_load.h.
 */
#ifndef HHI_HOST_HOST_MEMORY_MANAGER_H
#define HHI_HOST_HOST_MEMORY_MANAGER_H

#include <hostheap/host_memory.h>

// Never NULL; adds no reference.
IHostMemoryManager *hhi_host_memory_manager(void);

hh_hresult hhi_host_memory_manager_query_interface(IHostMemoryManager *self, const hh_guid *riid,
                                                   void **ppv);
uint32_t hhi_host_memory_manager_add_ref(IHostMemoryManager *self);
uint32_t hhi_host_memory_manager_release(IHostMemoryManager *self);

// Store the dead table (host_dead.h).
void hhi_host_memory_manager_bury(void);

#endif
