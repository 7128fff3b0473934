// SPDX-License-Identifier: MIT
/*
 * host/host_unknown.h - what all our COM objects share: QueryInterface and reference counts.
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 *
 * Each of our objects has one interface besides IUnknown, and both are the same pointer, so
 * identity holds by construction (COM-3).
 *
 * Memory ordering
 *   HU-1  decrement -> the decrement that reaches 0: what every holder did with the object before
 *         it let go is visible to the thread that ends the object.
 */
#ifndef HHI_HOST_HOST_UNKNOWN_H
#define HHI_HOST_HOST_UNKNOWN_H

#include <hostheap/host_memory.h>

#include "base/atomic.h"
#include "base/compiler.h"

/*
 * How many references are held. The object ends when the count falls to 0; it never falls below. At
 * HHI_REFERENCES_MOST it stays, and the object with it: who counts on would begin at 0 again, and end it
 * while it is held.
 */
#define HHI_REFERENCES_MOST UINT32_MAX
struct hhi_references {
    _Atomic(uint32_t) count; // any thread [HU-1]
};

// The new count.
uint32_t hhi_references_add(struct hhi_references *references);
// The new count; *last: this call, and no other, took the count to 0.
uint32_t hhi_references_drop(struct hhi_references *references, bool *last);

/*
 * QueryInterface of an object that answers IUnknown and own (COM-1, COM-2): ppv is looked at
 * first, then riid (section 16.8).
 */
hh_hresult hhi_host_query(void *self, struct hhi_references *references, const hh_guid *own,
                          const hh_guid *riid, void **ppv);

bool hhi_guid_equal(const hh_guid *a, const hh_guid *b);

#endif
