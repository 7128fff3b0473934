// SPDX-License-Identifier: MIT
/*
 * region/region_query.h - what is at an address: ours, somebody else's, or free.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * Ours is answered from the region map and one root pointer, without the kernel. For all else the
 * kernel is asked, and its answer clipped at what is ours. Two things the kernel shows as mapped are
 * free: the tail of an allocation's last granule, and a range without access that lies in a region
 * whose VirtualAlloc or VirtualFree is still at work (its record is in the map, unpublished).
 *
 * Thread rules: any thread, in signal handlers too, while any other thread is stopped anywhere.
 * Progress: wait-free for our own memory. For other memory the question is asked again while
 * regions come and go meanwhile, eight times at most.
 * Failure: -errno when the kernel's list can not be read; never for our own memory.
 * Source: contract 8.5, 8.6, GEN-8.
 */
#ifndef HHI_REGION_REGION_QUERY_H
#define HHI_REGION_REGION_QUERY_H

#include "base/compiler.h"

// The fields of MEMORY_BASIC_INFORMATION.
struct hhi_region_answer {
    uintptr_t base;
    uintptr_t allocation_base;
    size_t size_bytes;
    uint32_t allocation_protect;
    uint32_t state;
    uint32_t protect;
    uint32_t type;
};

// address is below HHI_ADDRESS_LIMIT.
int hhi_region_query(uintptr_t address, struct hhi_region_answer *answer);

#endif
