// SPDX-License-Identifier: MIT
/*
 * host/host_control.h - the ready IHostControl, the door to the memory manager (COM-7).
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 */
#ifndef HHI_HOST_HOST_CONTROL_H
#define HHI_HOST_HOST_CONTROL_H

#include <hostheap/host_memory.h>

hh_hresult hhi_host_control_query_interface(IHostControl *self, const hh_guid *riid, void **ppv);
uint32_t hhi_host_control_add_ref(IHostControl *self);
uint32_t hhi_host_control_release(IHostControl *self);

// Store the dead table (host_dead.h).
void hhi_host_control_bury(void);

#endif
