// SPDX-License-Identifier: MIT
/*
 * heap/sample.h - sampled blocks: one block to a page, between pages without access.
 *
 * Layer: heap. May include: base, os, diag, options, region, slab, heap/thread_cache.h.
 *
 * While the option sample is on, a few allocations get a page of their own from a small pool outside
 * of the window. What reaches beyond the page faults at once; after the free the page itself has no
 * access until the slot comes to be used again, as late as the pool allows. A fault in the pool is
 * reported (sample_report.h).
 *
 *   pool.base                                                pool.base + (2 * slots + 1) pages
 *   | guard | slot 0 | guard | slot 1 | guard | ...                         | guard |
 *
 * A block lies at the end of its page or at its start, whichever chance says: the first shows
 * overflows, the second underflows. Its size is the size of its class, so that an overflow within
 * the class stays unseen.
 *
 * Off, it costs one load and a comparison a refill (thread_cache.c), and nothing is mapped. Sampled
 * blocks count as live blocks but not against limits: the pool is at most 1 MiB with pages of 4 KiB.
 *
 * Thread rules: hhi_sample_find, _describe, _report_fault's readers by any thread at any time, in
 * signal handlers too; the others by any thread outside of signal handlers, with no lock held.
 *
 * Memory ordering
 *   SG-1  slot state: the taker's store -> readers, the freer among them: the slot's fields.
 *   SG-2  pool base: start -> all others: slots and queue.
 *
 * A slot whose state is LIVE belongs to the block's owner; of two frees the one whose CAS from the
 * LIVE word succeeds ends it. The word has a turn number, so that a free that was held up can not
 * end the slot's next block.
 */
#ifndef HHI_HEAP_SAMPLE_H
#define HHI_HEAP_SAMPLE_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "heap/heap.h"
#include "os/lock.h"

enum {
    HHI_SAMPLE_SLOTS = 256,
    HHI_SAMPLE_STACK_WORDS = 64,
    // The word of a slot's state: turn * 4 + one of these.
    HHI_SAMPLE_UNUSED = 0,
    HHI_SAMPLE_LIVE = 1,
    HHI_SAMPLE_ENDED = 2,
    HHI_SAMPLE_STATE_MASK = 3,
};

// Who allocated or freed: the thread, and the top of its stack as it was.
struct hhi_sample_event {
    _Atomic uint32_t thread; // 0 = did not happen
    _Atomic uint32_t words;
    _Atomic uintptr_t stack[HHI_SAMPLE_STACK_WORDS];
};

struct hhi_sample_slot {
    _Atomic uint32_t state; // [SG-1]
    _Atomic uint32_t size_bytes;
    _Atomic uintptr_t base;
    _Atomic(struct hh_heap *) heap; // NULL: the heap has ended
    _Atomic uint64_t heap_id;
    bool clean; // reads as zero; of whoever holds the slot outside of the queue
    struct hhi_sample_event allocated, freed;
};

// Every how many refills one is sampled; 0 = off. Hidden, to be compared in place.
extern _Atomic uint32_t hhi_sample_every __attribute__((visibility("hidden")));

// Whether there is a pool: 1 from the first start on. Hidden as well.
extern _Atomic uint32_t hhi_sample_pool_made __attribute__((visibility("hidden")));

/*
 * Sample one of every so many refills from now on; 0 = none. The first call reserves the pool and
 * installs the handler of faults. False: no memory for it, nothing changed.
 */
bool hhi_sample_start(uint32_t every);

// A zeroed block of a class, if this refill is to be sampled and can be. NULL: allocate as usual.
void *hhi_sample_take(struct hh_heap *heap, unsigned class_index);
// The same for a size asked for; its end is within 16 bytes of its page's, or it begins with it.
void *hhi_sample_take_bytes(struct hh_heap *heap, size_t size_bytes);
// Free an address outside of the window. HH_BAD_FOREIGN: not of the pool.
hhi_refusal hhi_sample_free(struct hh_heap *heap, void *block);
// The same, and look is called with the block that is ended while its page is still to be read.
hhi_refusal hhi_sample_free_looked(struct hh_heap *heap, void *block,
                                   void (*look)(void *arg, uintptr_t base, size_t size_bytes),
                                   void *arg);
// The caller's live block, if it is of the pool, is from now on one of size_bytes, which is less.
void hhi_sample_shrink(const void *block, size_t size_bytes);
// Fills info, all zero before, if address lies in a page that has or had a block.
void hhi_sample_describe(const void *address, hh_block_info *info);
// The heap ends: so do its sampled blocks.
void hhi_sample_end_heap(struct hh_heap *heap);
// Visit the live sampled blocks of a heap until visit answers other than 0; that answer.
int hhi_sample_walk(struct hh_heap *heap, int (*visit)(void *arg, void *block, size_t size_bytes),
                    void *arg);

/*
 * For a report: the slot whose block an access to address was most likely meant for, NULL when
 * address is not of the pool or no block was near.
 */
struct hhi_sample_slot *hhi_sample_find(const void *address);
// Whether address lies in the pool, guards included.
bool hhi_sample_contains(const void *address);

void hhi_sample_fork(enum hhi_fork_step step);

#endif
