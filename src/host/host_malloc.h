// SPDX-License-Identifier: MIT
/*
 * host/host_malloc.h - IHostMalloc objects: one heap each, behind the COM face.
 *
 * Layer: host. May include: base, os, diag, options, meta, region, heap, process.
 *
 *    offset  field
 *    0       table       what the caller sees as IHostMalloc.lpVtbl
 *    8       key         of the heap: Alloc and Free start with it
 *    48      heap
 *    56      references  ends the object at 0
 *    60      taken       1 while the object is somebody's
 *    64      next        the object made before this one (host_dead.h)
 *
 * Objects come from the meta arena and never go back to it. An ended object is used again for the
 * next CreateMalloc, with a new heap: blocks carry their heap's identity, not the object's address,
 * so the old one's blocks stay refused (section 16.11). Between the two it has the table of the
 * dead, so that a call after the last Release is answered with HOST_E_CLRNOTAVAILABLE as long as
 * nobody uses the object anew.
 *
 * When an object ends its blocks stay readable until the process ends (DECISION 3).
 *
 * Memory ordering
 *   HM-1  taken: the thread that ended an object -> the thread that uses it again: that the old
 *         life is over in all fields.
 */
#ifndef HHI_HOST_HOST_MALLOC_H
#define HHI_HOST_HOST_MALLOC_H

#include <hostheap/host_memory.h>

#include "heap/heap.h"
#include "host/host_unknown.h"

struct hhi_host_malloc {
    _Atomic(const IHostMallocVtbl *)
        table;                        // maker and hhi_host_die [HD-2]; callers read it plainly
    struct hhi_heap_key key;          // as heap
    struct hh_heap *heap;             // written while nobody else has the object
    struct hhi_references references; // [HU-1]
    _Atomic(uint32_t) taken;          // [HM-1]
    struct hhi_host_malloc *next;     // written once, before it is registered [HD-1]
};

// A new object with one reference. S_OK, E_OUTOFMEMORY or E_ACCESSDENIED, *object NULL then.
hh_hresult hhi_host_malloc_create(bool executable, IHostMalloc **out);

hh_hresult hhi_host_malloc_query_interface(IHostMalloc *self, const hh_guid *riid, void **ppv);
uint32_t hhi_host_malloc_add_ref(IHostMalloc *self);
uint32_t hhi_host_malloc_release(IHostMalloc *self);

#endif
