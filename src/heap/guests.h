// SPDX-License-Identifier: MIT
/*
 * heap/guests.h - classes of which few blocks are live at a time live in slabs of a coarser class.
 *
 * Layer: heap. May include: base, slab, heap.
 *
 * The first blocks of a class come from the next power of two (hhi_class_coarse), one at a time. Most
 * programs then go on as they began: of most classes a block or two are live at a time. A slab of its own
 * costs such a class a page or two of blocks and part of a page of links, and a small program has a dozen
 * such classes. So its bin becomes a guest in the coarser class's current slab, the host:
 *
 *   bins[coarse]   head --> 5 -> 6 -> 7        never used yet, or freed before
 *   bins[guest]    head --> 2 -> 0             the same links, base and block size, a list of its own
 *   slab           freed --> 3                 what any of them frees; the next to be empty takes it
 *
 * A guest takes blocks as every bin does, and refills from what was freed in the host, with no step
 * more. When nothing is free there, or the slab has grown out of its first pages, the class gets a slab
 * of its own for good. So what guests can waste is bounded: half of two pages per coarse class.
 *
 * Blocks of the host are powers of two, so a guest's have the alignment that its class promises.
 *
 * Invariants
 *   I1  a bin's slab is of the bin's class, or the bin is a guest and its slab is the current one of
 *       bins[hhi_class_coarse(class)].
 *   I2  before a slab leaves its own bin, or takes memory never used, its guests have left. So none has
 *       blocks that were used while head_fresh, one word for all lists of the slab, says they were not.
 *   I3  a slab has at most HHI_GUESTS_MOST guests: with more, lists become so short that each second
 *       allocation finds its bin empty.
 *
 * Thread rules: on the thread that runs the cache.
 */
#ifndef HHI_HEAP_GUESTS_H
#define HHI_HEAP_GUESTS_H

#include "heap/thread_cache.h"

enum {
    HHI_GUESTS_MOST = 2,
    HHI_GUEST_MIN_CLASS = 2,        // blocks of 16 bytes in blocks of 64 are too dear
    HHI_GUEST_FROM_BLOCKS = 2,      // so many blocks a class is given before it becomes a guest
    HHI_GUEST_BYTES = 1024,         // blocks that a guest is given at a time
    HHI_GUEST_HOST_BYTES = 8 * 1024 // of a slab, up to which it takes guests in
};

// relaxed, in all: the owner's own.
static inline bool
hhi_bin_is_guest(const struct hhi_bin *bin, unsigned class_index)
{
    return bin->slab != NULL && hhi_slab_class(bin->slab) != class_index;
}

/*
 * Make the bin of a class, which has no slab, a guest with a list of blocks. False: it can be none now,
 * and whether it has a slab of its own is for the caller to decide.
 */
bool hhi_guest_enter(struct hhi_cache *cache, unsigned class_index);
// A guest's bin gives back what it has not handed out, and is empty.
void hhi_guest_leave(struct hhi_bin *bin);
// The same for all guests in the current slab of a class, of which there may be none.
void hhi_guests_leave(struct hhi_cache *cache, unsigned class_index);
// The lists of the guests in the current slab of a class; how many.
unsigned hhi_guests_lists(struct hhi_cache *cache, unsigned class_index,
                          uint32_t heads[HHI_GUESTS_MOST]);

#endif
