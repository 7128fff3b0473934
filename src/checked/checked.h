// SPDX-License-Identifier: MIT
/*
 * checked/checked.h - the checked library's records of all blocks.
 *
 * Layer: checked. May include: base, os, diag, options, meta, slab, heap.
 *
 * The checked library is the drop-in with these files in the place of heap/alloc.c,
 * heap/debug_blocks.c and heap/block_history.c: it defines the functions of heap.h that allocate and
 * free, so every front door (malloc, hostheap.h, IHostMalloc) is checked, and nothing above or below
 * knows. Thread caches stay empty here, so the fast paths always leave for the slow functions.
 *
 *   slab     | block  canary | block  canary | junk   canary | ...     memory of the program
 *   links    |     LIVE      |     LIVE      |  not live     |         who is live: as everywhere
 *   records  | size, stacks  | size, stacks  | size, stacks  |         out of line, one per block
 *
 *   large    | block  canary to the page's end | no access ...         at rest: no access at all
 *
 * Life of a block: FREE -> LIVE (allocated) -> RESTING (freed, in quarantine) -> FREE. A resting
 * block is filled with junk and its link is not LIVE: every question about it is answered as about
 * a free block. What is found damaged rests for ever: it stays as it was found.
 *
 * Invariants
 *   C1  the last CHECKED_CANARY_BYTES of a slot hold the canary while it or the slot behind it is
 *       LIVE or RESTING; a LIVE block's bytes behind its size do.
 *   C2  a RESTING block of a slab is junk up to its slot's last canary; a large one has no access.
 *   C3  slab->records is set under the lock, and cleared under it before the run is retired: who
 *       holds the lock and sees records may use the slab.
 *   C4  a run is retired only by a thread inside a call on its heap, or on any heap if it is the
 *       default one's, or while the sweeper is kept out: the end of a heap excludes all of these.
 *
 * Thread rules: one lock (rank: limbo) around everything; never held while a run is carved or retired,
 * nor while a finding is raised.
 *
 * Memory ordering
 *   CK-1  started: the start's stores -> all others: the canaries' secret, for sampled blocks, around which
 *         it is written and looked for under no lock. All else is used under the lock that the start holds.
 */
#ifndef HHI_CHECKED_CHECKED_H
#define HHI_CHECKED_CHECKED_H

#include "checked/stack_note.h"
#include "heap/heap.h"
#include "heap/thread_cache.h"
#include "os/lock.h"

enum {
    HHI_CHECKED_CANARY_BYTES = 16, // behind every block, at least
    HHI_CHECKED_FINDINGS = 16,     // most that one call raises
    HHI_CHECKED_LARGE = HHI_CLASSES,
};

enum hhi_checked_state { HHI_CHECKED_FREE, HHI_CHECKED_LIVE, HHI_CHECKED_RESTING };

struct hhi_checked_record {
    uint64_t serial;   // number of the allocation; 0: never used
    size_t size_bytes; // asked for
    const char *file;  // DebugAlloc's, interned
    const struct hhi_stack_note *allocated, *freed;
    uint32_t allocated_thread, freed_thread;
    int line;
    uint8_t state;          // enum hhi_checked_state
    uint8_t alignment_log2; // asked for; 0: none
    bool known;             // file and line were given
    bool damaged;           // found, and told
    bool guarded;           // a large block: some of its run may have no access
};

enum hhi_checked_list { HHI_CHECKED_NOWHERE, HHI_CHECKED_TRACKED, HHI_CHECKED_ENDED };

// What slab->records points to here.
struct hhi_checked_slab {
    struct hhi_checked_slab *next_spare;
    size_t size_bytes;     // of all of this
    unsigned home;         // class it was made for: there it waits for the next use
    uint32_t count, ready; // blocks; of these made ready so far
    uint32_t used;         // LIVE or RESTING
    uint32_t free_count;   // numbers in free[], in no order
    uint16_t *free;
    enum hhi_checked_list list;
    struct hhi_checked_record records[];
};

// Misuse found by looking at memory, to be raised when no lock is held.
struct hhi_checked_finding {
    hhi_refusal why;
    uintptr_t base; // of the block
    size_t claim;   // offset of the first byte written; before the block: distance
};

struct hhi_checked_findings {
    const char *function;
    unsigned count;
    struct hhi_checked_finding items[HHI_CHECKED_FINDINGS];
};

extern struct hhi_lock hhi_checked_lock;
extern uint32_t hhi_checked_seed;

// Before anything else here is used. False: there is no block yet, and none to be had; the next call tries again.
bool hhi_checked_start(void);
// Under the lock: a number from 0 to limit - 1, where the next block is placed.
uint32_t hhi_checked_random_below_locked(uint32_t limit);

// A block as it is found under the lock. large: slab->records has the one record.
struct hhi_checked_place {
    struct hhi_slab *slab;
    struct hhi_checked_slab *owner;
    struct hhi_checked_record *record;
    uint32_t index;
    bool large;
    uintptr_t base;
    size_t slot_bytes;
};

// Under the lock: the slot that holds address. False: no slot with a record.
bool hhi_checked_find_locked(const void *address, struct hhi_checked_place *place);

struct hhi_checked_request {
    struct hh_heap *heap;
    size_t size_bytes, alignment_bytes; // alignment: a power of two, 0 = none
    unsigned level;
    bool zeroed, known;
    const char *file; // interned
    int line;
    const void *frame; // of hhi_checked_take, which sets it
};

// NULL: refused; the quarantine was emptied before.
void *hhi_checked_take(struct hhi_checked_request *request);

// What a free says about the block it frees.
struct hhi_checked_claim {
    size_t alignment_bytes, size_bytes;
    bool aligned, sized; // which of them it names
};

// End a block and let it rest. Raises what it finds, as found by function.
hhi_refusal hhi_checked_end(struct hh_heap *heap, void *block,
                            const struct hhi_checked_claim *claim, const char *function);

// Count a refused free of the heap. Returns refusal.
hhi_refusal hhi_checked_refuse(struct hh_heap *heap, hhi_refusal refusal);

// Change the size of the heap's live block where it lies, if it is a large one that has the room. False:
// not done.
bool hhi_checked_resize(const struct hh_heap *heap, const void *block, size_t size_bytes,
                        const char *function);
// Size asked for. address: of a live block. False: no record of it.
bool hhi_checked_size(const void *block, size_t *size_bytes);

// Under the lock. Lets a block rest that has just been taken from the program.
void hhi_quarantine_put_locked(const struct hhi_checked_place *place,
                               struct hhi_checked_findings *findings);
// Under the lock: end the rest of the oldest until what rests is within budget_bytes.
void hhi_quarantine_shrink_locked(size_t budget_bytes, struct hhi_checked_findings *findings);
// Under the lock: end the rest of all. Large blocks whose pages the system refuses rest on; it is asked until
// it refuses one. False: there were too many findings, call it again.
bool hhi_quarantine_empty_locked(struct hhi_checked_findings *findings);
// Under the lock, at the start.
void hhi_quarantine_start_locked(size_t budget_bytes);
size_t hhi_quarantine_budget(void);

// Under the lock: a block's rest is over. False: the system refuses access to its pages, it rests on.
bool hhi_checked_release_locked(const struct hhi_checked_place *place);

// Under the lock: look at one record's memory; what is wrong is added once.
void hhi_checked_verify_locked(const struct hhi_checked_place *place,
                               struct hhi_checked_findings *findings);

void hhi_checked_raise(const struct hhi_checked_findings *findings);
void hhi_checked_add(struct hhi_checked_findings *findings, hhi_refusal why, uintptr_t base,
                     size_t claim);

#endif
