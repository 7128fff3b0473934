// SPDX-License-Identifier: MIT
/*
 * heap/block_place.h - what lies around an address, for reports.
 *
 * Layer: heap. May include: base, slab, heap.
 *
 * Thread rules: any thread, any address; takes no lock, reads nothing but the library's records.
 * What other threads do meanwhile may be seen or not.
 */
#ifndef HHI_HEAP_BLOCK_PLACE_H
#define HHI_HEAP_BLOCK_PLACE_H

#include "base/compiler.h"
#include "slab/slab.h"

struct hhi_block_neighbour {
    uintptr_t base; // 0: there is none
    size_t size_bytes;
    const char *state; // "allocated", "free", "freed by another thread"
};

struct hhi_block_place {
    struct hhi_slab *slab; // NULL: the address lies in no slot; nothing below but nearest is set
    bool large;            // a large block: no class, no neighbours
    size_t class_bytes;
    uint32_t slot, slots; // number of the slot, how many the slab has
    uintptr_t slab_base;
    struct hhi_block_neighbour before, behind;
    struct hhi_block_neighbour nearest; // live block, not the address's own; of any heap
};

void hhi_block_find_place(const void *address, struct hhi_block_place *place);

#endif
