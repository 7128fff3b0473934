// SPDX-License-Identifier: MIT
/*
 * host/host_load.h - memory load, notifications and address-space notices of IHostMemoryManager,
 * slots 8..12.
 *
 * Layer: host. May include: base, os, diag, options, rcu, region, heap, process.
 *
 * Thread rules: any thread at any time. Each keeps errno as it was (GEN-9). self is not used: the
 * manager is one per process.
 * Source: contract section 9.
 */
#ifndef HHI_HOST_HOST_LOAD_H
#define HHI_HOST_HOST_LOAD_H

#include <hostheap/host_memory.h>

struct hhi_memload;

hh_hresult hhi_host_get_memory_load(IHostMemoryManager *self, uint32_t *load_percent,
                                    size_t *available_bytes);
hh_hresult hhi_host_register_callback(IHostMemoryManager *self,
                                      ICLRMemoryNotificationCallback *callback);
hh_hresult hhi_host_needs_address_space(IHostMemoryManager *self, void *start, size_t size_bytes);
hh_hresult hhi_host_acquired_address_space(IHostMemoryManager *self, void *start,
                                           size_t size_bytes);
hh_hresult hhi_host_released_address_space(IHostMemoryManager *self, void *start);

// The tightest of the machine, the groups (os_memload_linux.h) and the process's own limits.
void hhi_host_read_load(struct hhi_memload *load);

#endif
