// SPDX-License-Identifier: MIT
/*
 * heap/sweep.h - giving unused memory back, also when the program does nothing any more.
 *
 * Layer: heap. May include: base, os, options, region, slab, heap.
 *
 * A pass of the sweeper
 *   1. ends grace periods that are over, so that retired slabs become free runs;
 *   2. retires empty slabs that threads, and ends runs that heaps have kept for half the decay time;
 *   3. looks through the inboxes of threads that do not take them: pages all of whose blocks other
 *      threads have freed are given back, the slabs stay in the inbox;
 *   4. takes the records of threads that ended, and shares or retires their slabs;
 *   5. retires shared slabs that have become empty, gives back the free pages inside the others;
 *   6. gives back free runs older than the decay time.
 *
 * Who runs it: a hidden thread (os/hidden_thread.c) started when enough memory has become free,
 * which ends when nothing is left to do; where there is none, threads on their slow paths, in
 * small portions. hh_trim runs one pass with a decay time of 0.
 *
 * Thread rules: one pass at a time (lock, rank: before all others). Never waits for a thread.
 *
 * Memory ordering
 *   SW-1  running: the last start and the sweeper's last accesses -> whoever starts the next one. Bytes
 *         noted, then running looked at; running cleared, then the bytes looked at: all sequentially
 *         consistent. Either the note finds no sweeper and starts one, or the sweeper goes on.
 */
#ifndef HHI_HEAP_SWEEP_H
#define HHI_HEAP_SWEEP_H

#include "base/compiler.h"
#include "os/lock.h"

struct hh_heap;
struct hhi_purge_budget;
struct hhi_tries;

// size_bytes may have become unused: see to it that a sweep comes. On a thread that is asking for memory nothing is
// given back here: who is refused makes few calls.
void hhi_sweep_note(size_t size_bytes);
// A thread that was asking was served (struct hhi_thread): what it noted meanwhile is seen to.
void hhi_sweep_asked(void);
// One full pass for hh_trim; also the calling thread's own slabs. Returns bytes given back.
size_t hhi_sweep_all(void);
// Whether a sweep comes by itself some time after memory has become unused.
bool hhi_sweep_comes(void);
/*
 * For who is about to be refused memory: retire all slabs that hold no block, the calling thread's own,
 * those it is about to learn of from its inboxes, those of threads that ended, and what other threads
 * keep; give back what is free then. Pages inside of slabs that are in use are left alone. Returns bytes.
 * tries: what the kernel has refused, of which only that goes back which it counts, NULL: a limit is reached.
 * Of its own slabs of small blocks a thread keeps the last empty one of each class where they can not make that
 * piece: else a thread that is refused something large would be refused everything from then on.
 */
size_t hhi_sweep_retained(struct hhi_tries *tries);
// Give back free runs.
void hhi_sweep_runs(struct hhi_purge_budget *budget);
// Give back free pages inside shared slabs of a heap, as hhi_cache_purge_stale does. Any thread,
// while the heap can not end.
void hhi_sweep_shared_stale(struct hh_heap *heap, struct hhi_purge_budget *budget);
// Bytes given back so far from inside of slabs (statistics).
uint64_t hhi_sweep_purged_in_slabs(void);
// Keep the sweeper out, and the ends of heaps; and let it in again.
void hhi_sweep_exclude(void);
// The same on a thread that may have done so already, or is the sweeper: then false, and nothing.
bool hhi_sweep_exclude_once(void);
void hhi_sweep_admit(void);
void hhi_sweep_fork(enum hhi_fork_step step);

#endif
