// SPDX-License-Identifier: MIT
/*
 * heap/kept_runs.h - runs of freed large blocks that a heap holds back for a while.
 *
 * Layer: heap. May include: base, os, options, slab, heap.
 *
 * A program that allocates and frees large blocks of one size by turns would make and end a run each
 * time: two locks taken twice, the accounts of heap and process, the maps and stamps of every granule.
 * So the run of a freed block is put into one of its heap's slots as it is, and the next large block
 * of as many granules takes it from there, on any thread.
 *
 * A kept run is still the heap's: described in the window, in the heap's list, charged to its limits.
 * Its block is not live (large_of is NULL), so an address in it is refused like any freed block's. It is
 * in nobody's hands: who empties the slot by exchange has it.
 *
 * A program whose large blocks have many sizes gains nothing and pays for keeping and giving up: after
 * some runs that were given up unused only one freed run of several is kept, until one is used again.
 *
 * What is kept is bounded, for all heaps together, and never stands beside fresh memory: it is given up
 * before the heap takes any other run. The sweeper stamps what it sees first, and gives it up half a
 * decay time later; who is about to be refused memory gives it up at once.
 *
 * Invariants
 *   I1  a run is in one slot at most; then it is a large block's, its large_of is NULL, and it has no
 *       record of DebugAlloc.
 *   I2  only who has emptied the slot, or took the live mark of the block, changes the run.
 *
 * Memory ordering
 *   KR-1  slot: release when it is filled -> acquire exchange that empties it: the run's fields, and
 *         the last accesses to the block it held.
 *
 * Thread rules: all functions on any thread, while the heap can not end.
 * Progress: put and take wait-free; release takes the locks of ending a run.
 */
#ifndef HHI_HEAP_KEPT_RUNS_H
#define HHI_HEAP_KEPT_RUNS_H

#include "heap/thread_cache.h"

// Keep the run of a large block whose live mark the caller has taken. False: the caller must end it.
bool hhi_kept_run_put(struct hhi_slab *slab);
// A large block of the heap in a kept run of so many granules, live; it does not read as zero. NULL:
// none.
void *hhi_kept_run_take(struct hh_heap *heap, uint32_t granules);
/*
 * End the kept runs for which due holds; due NULL: all. due may look at stamp_ms and set it; the run
 * may be in use again by then. Returns their bytes, of which the caller tells the sweeper, unless it
 * is the sweeper.
 */
size_t hhi_kept_runs_release(struct hh_heap *heap, bool (*due)(void *arg, struct hhi_slab *slab),
                             void *arg);
// The same for all of them before the heap takes another run: at once when there is none.
void hhi_kept_runs_give_up(struct hh_heap *heap);
// The heap ends, and its runs with it: empty the slots.
void hhi_kept_runs_forget(struct hh_heap *heap);
// Bytes kept by all heaps; exact while no other thread puts or takes.
size_t hhi_kept_run_bytes(void);

#endif
