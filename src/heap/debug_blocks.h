// SPDX-License-Identifier: MIT
/*
 * heap/debug_blocks.h - blocks whose place of allocation is remembered (IHostMalloc::DebugAlloc).
 *
 * Layer: heap. May include: base, meta, slab, heap.
 *
 * Such blocks lie in tracked slabs, which no cache owns: all their allocations and frees go the
 * slow path, under the heap's lock, and so the fast paths need no test for them. A tracked slab that
 * becomes empty is retired if its class has another one with free blocks. A tracked slab has
 * an array of records beside its links; a large block has a single record.
 *
 * File names are copied (first 255 bytes) into a table of strings that is never given back.
 *
 * Source: contract DA-1, DA-2, 16.7.
 */
#ifndef HHI_HEAP_DEBUG_BLOCKS_H
#define HHI_HEAP_DEBUG_BLOCKS_H

#include "heap/heap.h"
#include "heap/thread_cache.h"
#include "os/lock.h"

struct hhi_debug_record {
    const char *file; // interned, or NULL
    int line;
    bool known;        // false: the record could not be stored
    size_t size_bytes; // asked for
};

// Free a block of a tracked slab. 0 or HH_BAD_NOT_LIVE.
hhi_refusal hhi_debug_free(struct hh_heap *heap, struct hhi_slab *slab, uint32_t index);
// A run of a heap ends: give its records back. Heap's lock held. False, at the end of a heap in the checked
// library only: others can not have the run's pages yet. It is the default heap's then, and the caller's no more.
bool hhi_debug_forget_locked(struct hhi_slab *slab);
void hhi_debug_fork(enum hhi_fork_step step);

#endif
