// SPDX-License-Identifier: MIT
/*
 * slab/slab.h - runs carved into blocks of one class, and the state of every block.
 *
 * Layer: slab. May include: base, os, meta, region.
 *
 * The record of a run lies in the window's table at the number of its first granule. It exists as
 * long as the process: what changes is what it describes. The state of the blocks lies apart from
 * the blocks, in an array of 16-bit links, one per block and one more:
 *
 *   blocks   | 0 | 1 | 2 | 3 | 4 | 5 |  . . .            | tail |     memory of the program
 *   links    | L | 3 | L |END| R | L |  0 0 0            |  0   |     2 bytes each
 *              |   |   |   |   |       \_ never used yet     \_ one more, never live: so that an
 *              |   |   |   |   +--- freed by another thread     address in the tail is refused
 *              |   |   |   +------- last of a list              without a test of its own
 *              |   +--------------- free: number of the next free block
 *              +------------------- live
 *
 * Two lists of free blocks run through the links: the one blocks are taken from (its head is in the
 * thread cache's bin while the slab is current, else in `head`), and the one blocks freed by the
 * owner go to (`freed`). Two lists, because a block freed and taken again at once would chain every
 * malloc to the free before it through memory.
 *
 * Owner and others
 *   A slab has at most one owner, a thread cache; only the thread that runs it may follow or change
 *   the lists. Any thread may turn LIVE into REMOTE by compare-and-swap: that is a free by a thread
 *   that does not own the slab. Whoever holds the slab's token may turn REMOTE into free.
 *
 * The token, a bit of notice
 *   Clear: nobody has it. Set: the slab is in its owner's inbox, or in the hands of whoever took it
 *   out of there (heap/inbox.h), or has no owner. Who sets it has it. After each REMOTE mark its maker
 *   takes the token if it is free and puts the slab into the inbox. The owner gives the token back
 *   before it looks for marks, so that none is missed, and collects in a guarded section (guard.h):
 *   who takes the slab out of the inbox meanwhile acts on marks only after that section has ended.
 *   The other bit says the same to the sweeper, who clears it while the token is out. Both are set
 *   in nearly all remote frees, which then only read the word.
 *
 * Record, 128 bytes
 *    0 owner        8  written by the holder of the token        56 inbox_next or large_of 8
 *    8 magic        8  \                                          64 freed .. line of the owner
 *   16 links        8   | fixed while the run is carved
 *   24 heap         8   |
 *   32 block_bytes  8  /
 *   40 notice 4, 44 kind 1, class 1, rests 1, flags 1
 *   48 block_count  4, 52 granules 4
 * The first line is read by all threads and seldom written; the second is the owner's.
 *
 * Invariants
 *   I1  links[i] == LIVE if and only if block i belongs to the program.
 *   I2  a block that is free is in exactly one of the two lists, or has never been taken (i >= init),
 *       or is REMOTE.
 *   I3  links at or above init are neither LIVE nor REMOTE.
 *   I4  only the owner's thread takes, frees locally and extends; only the token's holder, or the
 *       owner in a guarded section that began before it gave the token back, collects.
 *   I5  a run is carved for another class or another heap, or its links are used for another slab,
 *       only after every thread that might still look at it as the old slab has left its guarded
 *       section (guard.h).
 *
 * Memory ordering (label: writer -> reader: what is published)
 *   SL-1  REMOTE mark (release part) -> collect (acquire part): the freeing thread's last accesses
 *         to the block come before its next use.
 *   SL-2  REMOTE mark, then notice load; token given back or the sweeper's bit cleared, then links
 *         scan: all sequentially consistent, or with a full barrier between (heap/inbox.c). Either the
 *         marker sees its bit clear and tells, or the scan sees the mark.
 *   SL-3  owner store -> remote thread that must find the inbox: the owner's record. A slab's owner
 *         changes only in the hands of the token's holder.
 *   SL-4  inbox push (release) -> inbox take (acquire): inbox_next.
 *   SL-5  kind: release after the record is filled -> acquire before its other fields are used.
 *   SL-6  large_of: release when the block begins -> the compare-and-swap that ends it: the run's
 *         fields and its place in the heap's list. It names the heap, so that who frees a block of a
 *         run ends it only if it is, at that moment, a live one of the heap that was named. A slab
 *         has there a slab or NULL, which is no heap: so the word alone says what it is.
 *
 * Progress: local take and free wait-free; remote mark and push lock-free; collect wait-free.
 */
#ifndef HHI_SLAB_SLAB_H
#define HHI_SLAB_SLAB_H

#include <assert.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/compiler.h"
#include "meta/meta_arena.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/run.h"
#include "region/window.h"
#include "slab/size_class.h"

enum {
    HHI_LINK_LIVE = 0xFFFF,
    HHI_LINK_REMOTE = 0xFFFE,
    HHI_LINK_END = 0xFFFD, // numbers of blocks are below it
};

enum hhi_run_kind {
    HHI_KIND_NONE = 0,  // not carved
    HHI_KIND_SLAB = 1,  // blocks of a class
    HHI_KIND_LARGE = 2, // one block
    HHI_KIND_LIMBO = 3, // retired; may still be looked at as what it was
};

enum {                      // bits of notice
    HHI_NOTICE_TOKEN = 1,   // somebody has the token
    HHI_NOTICE_TOUCHED = 2, // another thread freed a block since the sweeper last looked
    HHI_NOTICE_GIVEN = HHI_NOTICE_TOKEN | HHI_NOTICE_TOUCHED, // what a free leaves behind
};

enum { HHI_RESTS_LOST = 255 }; // of rests, after a fork: its token may be a lost thread's

enum hhi_slab_state {
    HHI_SLAB_CURRENT = 1, // in a bin: blocks are taken from it
    HHI_SLAB_FULL = 2,    // on no list; comes back after some frees
    HHI_SLAB_PARTIAL = 3, // in its owner's list of slabs with free blocks
    HHI_SLAB_SHARED = 4,  // no owner; in its heap's list, under the heap's lock
    HHI_SLAB_KEPT = 5,    // no owner, empty; in a slot of a thread's cache
};

// Whether free pages were looked for in a slab that nobody takes blocks from.
enum hhi_slab_look {
    HHI_LOOK_NEVER = 0,
    HHI_LOOK_NEXT = 1, // it was there when others were looked at: it will be next time
    HHI_LOOK_DONE = 2,
};

enum {
    HHI_LOOK_BITS = 2,
    HHI_LOOK_MASK = 3,
    HHI_PURGED_MOST = 63,    // what else fits the byte
    HHI_SLAB_CLEAN = 1,      // flags: blocks never taken read as zero
    HHI_SLAB_TRACKED = 2,    // flags: blocks have DebugAlloc records; never owned by a cache
    HHI_SLAB_EXECUTABLE = 4, // flags: the run lies in an executable region
    HHI_SLAB_SHRUNK = 8,     // flags: a block was shrunk by much and could not be moved
    HHI_SLAB_LENT =
        16, // flags: not counted, its pages are given back (heap/lent.h); the token's holder's
    HHI_CREDIT_NEVER = 1 << 30,
    /*
     * Blocks made ready at a time. A program that frees each block before it takes the next walks
     * through all of them, so they are kept few: 64 links are two cache lines, and more than 8 KiB
     * of blocks at a time costs memory that is never needed (sqlite: 22 MiB resident against 14).
     */
    HHI_EXTEND_BLOCKS = 64,
    HHI_EXTEND_BYTES = 8 * 1024,
    HHI_EXTEND_SHORT_BYTES = 4 * 1024, // of small blocks the first time, as many slabs never need
                                       // more, or each time (sparing)
    /*
     * Memory is put behind blocks a step at a time once so much of a slab was used that the rest of the step
     * is likely to be used, too (hhi_slab_populate).
     */
    HHI_POPULATE_FROM_BYTES = 16 * 1024,
    HHI_POPULATE_STEP_BYTES = 8 * 1024,
    HHI_POPULATE_LOOK_BLOCKS =
        2, // blocks above 1 KiB, made ready singly, from one step to the next
};

struct hh_heap;
struct hhi_cache;
struct hhi_debug_record;
typedef _Atomic uint16_t hhi_link;

struct hhi_slab {
    // Line 0: read by every thread.
    _Atomic(struct hhi_cache *) owner; // [SL-3]; &hhi_cache_none = nobody
    _Atomic uint64_t magic;            // for exact division by block_bytes
    _Atomic(hhi_link *) links;
    _Atomic(struct hh_heap *) heap;
    _Atomic size_t block_bytes; // of a large block: its usable size
    _Atomic uint32_t notice;    // [SL-2] HHI_NOTICE_*
    _Atomic uint8_t kind;       // [SL-5]
    _Atomic uint8_t class_index;
    uint8_t rests;         // passes of the sweeper since a block was freed; 0: nothing to purge
    _Atomic uint8_t flags; // fixed while carved but for HHI_SLAB_SHRUNK and HHI_SLAB_LENT
    _Atomic uint32_t block_count;
    _Atomic uint32_t granules;
    union {
        _Atomic(struct hhi_slab *) inbox_next; // of a slab: [SL-4] written by the token's holder
        _Atomic(struct hh_heap *) large_of;    // of a large block: [SL-6] its heap; NULL = not live
    };
    // Line 1: the owner's, or the holder's when there is no owner.
    uint32_t freed;            // list of blocks freed by the owner
    int32_t credit;            // local frees until the next event
    uint32_t head;             // list to take from, while not current
    uint32_t init;             // links at or above it were never used
    uint8_t state;             // enum hhi_slab_state
    bool head_fresh;           // the list to take from, or a new large block, reads as zero
    uint8_t look;              // enum hhi_slab_look + 4 * pages given back since the last use
    _Atomic uint32_t stamp_ms; // when it was shared or kept (low 32 bits); of a partial one the
                               // credit when free pages were looked for
    struct hhi_slab *next;     // partial list, shared list or limbo
    union {
        struct hhi_slab *previous;    // partial list or shared list
        struct hh_heap *retired_from; // in limbo: the heap it belonged to
        struct hhi_cache *kept_by;    // kept: the cache in whose slot it lies
    };
    struct hhi_slab *heap_next; // all of a heap's runs, under the heap's lock
    union {
        struct hhi_slab *heap_previous; // as heap_next
        uint64_t retired_epoch;         // in limbo: the epoch of the retirement
    };
    struct hhi_debug_record *records; // tracked: one per block, under the heap's lock; else NULL
};
static_assert(sizeof(struct hhi_slab) == HHI_RECORD_BYTES, "a record per granule");
static_assert(offsetof(struct hhi_slab, freed) == 64, "what the owner writes has its own line");

static inline struct hhi_slab *
hhi_slab_at(uint32_t granule)
{
    return hhi_record_of(granule);
}

static inline uint32_t
hhi_slab_granule(const struct hhi_slab *slab)
{
    return (uint32_t)(((uintptr_t)slab - (uintptr_t)hhi_window.records) >> HHI_RECORD_SHIFT);
}

static inline uintptr_t
hhi_slab_base(const struct hhi_slab *slab)
{
    return hhi_granule_address(hhi_slab_granule(slab));
}

// Take the live mark of a large block of heap, whose run the caller then has. False: there is none, now.
static inline bool
hhi_slab_large_end(struct hhi_slab *slab, struct hh_heap *heap)
{
    struct hh_heap *live_of = heap;
    // order: acquire [SL-6] the winner alone has the run, and finds it as this block's. What was done
    // with the block is handed on where the run is: a kept run's slot, or the lock of free runs.
    return hh_cas_strong_acquire(&slab->large_of, &live_of, NULL);
}

// A block begins to live, with its run described and in the heap's list, where whoever frees it, rightly
// or wrongly, finds it.
static inline void
hhi_slab_large_begin(struct hhi_slab *slab, struct hh_heap *heap)
{
    // order: release [SL-6].
    hh_store_release(&slab->large_of, heap);
}

// The slab behind this one in the inbox, a ring of what has arrived, or a chain taken from there.
static inline struct hhi_slab *
hhi_slab_inbox_next(const struct hhi_slab *slab)
{
    // relaxed: the caller has the token, or found the slab where its holder published it [SL-4].
    return hh_load_relaxed(&slab->inbox_next);
}

static inline void
hhi_slab_inbox_set_next(struct hhi_slab *slab, struct hhi_slab *next)
{
    // relaxed: the caller has the token; the push publishes it [SL-4].
    hh_store_relaxed(&slab->inbox_next, next);
}

/*
 * The run that holds address: its record and kind, or NULL. The fields of the record may be used
 * until the run can be retired: by its owner, by who has a live block in it, or in a guarded section.
 */
static inline struct hhi_slab *
hhi_slab_find(const void *address, unsigned *kind)
{
    uint32_t head = hhi_run_head_of(address);
    if (head == UINT32_MAX)
        return NULL;
    struct hhi_slab *slab = hhi_slab_at(head);
    // order: acquire [SL-5] the fields that describe the run.
    *kind = hh_load_acquire(&slab->kind);
    return slab;
}

/*
 * Number of the block that starts at address, which lies in the slab's run; UINT32_MAX if none
 * starts there. *slot: number of the slot address lies in (may be block_count, in the tail).
 */
static inline uint32_t
hhi_slab_block_at(struct hhi_slab *slab, const void *address, uint32_t *slot)
{
    uint64_t mark;
    // relaxed (both): fixed while the slab can not be retired under the caller.
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t index = hh_divide((uintptr_t)address - hhi_slab_base(slab), magic, &mark);
    uint32_t block_count = hh_load_relaxed(&slab->block_count);
    *slot = index < block_count ? (uint32_t)index : block_count;
    return mark < magic && index < block_count ? (uint32_t)index : UINT32_MAX;
}

static inline unsigned
hhi_slab_class(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return hh_load_relaxed(&slab->class_index);
}

static inline enum hhi_slab_look
hhi_slab_look(const struct hhi_slab *slab)
{
    return (enum hhi_slab_look)(slab->look & HHI_LOOK_MASK);
}

static inline void
hhi_slab_set_look(struct hhi_slab *slab, enum hhi_slab_look look)
{
    slab->look = (uint8_t)((slab->look & ~HHI_LOOK_MASK) | (int)look);
}

// Bytes that were given back inside the slab since its last use.
static inline size_t
hhi_slab_purged_bytes(const struct hhi_slab *slab)
{
    return (slab->look >> HHI_LOOK_BITS) * hhi_os_page_bytes();
}

// Number of bytes of a class's array of links.
static inline size_t
hhi_slab_links_bytes(unsigned class_index)
{
    return hh_align_up((hhi_class_blocks(class_index) + 1) * sizeof(uint16_t), HH_CACHE_LINE_BYTES);
}

static_assert(((HHI_GRANULE_BYTES / HHI_ALIGNMENT_BYTES) + 1) * sizeof(uint16_t) <=
                  HHI_META_OVERREAD_BYTES,
              "who reads links while a slab is carved anew stays inside the arena");

// Called once, when the window is chosen.
void hhi_slab_init(void);

enum {                        // bits of how
    HHI_CARVE_EXECUTABLE = 1, // for code
    HHI_CARVE_SPARSE = 2,     // of a heap that may leave most of the slab untouched
    HHI_CARVE_TRACKED = 4,    // HHI_SLAB_TRACKED
};

/*
 * Take a run and make it a slab of class_index for heap, with the token held and no owner; or a
 * large block that is not live yet. clean_granules: how many of its granules used no memory before,
 * for the caller's accounts. NULL when there is no memory.
 */
struct hhi_slab *hhi_slab_carve(struct hh_heap *heap, unsigned class_index, unsigned how,
                                struct hhi_tries *tries, uint32_t *clean_granules);
struct hhi_slab *hhi_slab_carve_large(struct hh_heap *heap, size_t size_bytes,
                                      uint32_t alignment_granules, bool executable,
                                      struct hhi_tries *tries, uint32_t *clean_granules);
// Grow a live large block in place to hold size_bytes. As hhi_run_extend.
int hhi_slab_extend_large(struct hhi_slab *slab, size_t size_bytes, uint32_t *clean_granules);

/*
 * End a slab all of whose blocks are free. The caller is its owner (or there is none), holds its
 * token, and has taken it from all lists. The run goes to limbo, ready for its own class at once
 * and for others after a grace period.
 */
void hhi_slab_retire(struct hhi_slab *slab);
// End a large block: its live mark is taken already. The run is free at once.
void hhi_slab_retire_large(struct hhi_slab *slab);

// Turn REMOTE blocks into free ones on the list `freed` (I4). Returns how many.
uint32_t hhi_slab_collect(struct hhi_slab *slab);
// Whether no block is LIVE and none is REMOTE, for the owner: then no mark can come any more.
bool hhi_slab_is_idle(struct hhi_slab *slab);
// Count LIVE blocks; exact for the owner while no other thread frees.
uint32_t hhi_slab_count_live(struct hhi_slab *slab);
// Forget both lists and make them anew from the links: all blocks below init that are neither live
// nor REMOTE.
void hhi_slab_rebuild(struct hhi_slab *slab);
// Make some unused blocks the list to take from, fewer if sparing; returns its head.
uint32_t hhi_slab_extend(struct hhi_slab *slab, bool sparing);
// The same with at most so many.
uint32_t hhi_slab_extend_by(struct hhi_slab *slab, uint32_t most);
/*
 * Blocks of a clean slab were made ready, from first on: put memory behind them, up to the end of a step. A
 * page that is written first costs a fault, as long as hundreds of allocations, on a virtual machine
 * thousands; two pages in one call take two thirds of that. fills: the class has used up a clean slab before,
 * and is likely to use this one up. Nothing comes of it but time: the faults do the same.
 */
void hhi_slab_populate(struct hhi_slab *slab, uint32_t first, bool fills);

// What a search for free pages may still do.
struct hhi_purge_budget {
    size_t bytes;   // to be given back
    uint32_t looks; // blocks to be looked at
};
static inline bool
hhi_purge_budget_is_spent(const struct hhi_purge_budget *budget)
{
    return budget->bytes == 0 || budget->looks == 0;
}
// The same as hhi_slab_purge_owned.
void hhi_slab_purge_within(struct hhi_slab *slab, struct hhi_purge_budget *budget);

/*
 * Give free OS pages inside the slab back. Nobody may take blocks meanwhile (the caller owns the
 * slab, or it has no owner and is in no list). Returns the bytes that were not given back before.
 */
size_t hhi_slab_purge_owned(struct hhi_slab *slab);
// The same for pages all of whose blocks are REMOTE; the caller holds the token, and no section is
// open in which the owner collects. The owner may run.
size_t hhi_slab_purge_remote(struct hhi_slab *slab);
// Whether all blocks are REMOTE: no list holds one, and none can be freed. It stays so while the caller has
// the token and no section is open in which the owner collects.
bool hhi_slab_is_remote(struct hhi_slab *slab);
// Then: give all pages back. False: the kernel refuses.
bool hhi_slab_purge_all(struct hhi_slab *slab);

// Check I2 and I3 of an owned slab whose lists to take from start at heads; traps when broken.
void hhi_slab_check_lists(struct hhi_slab *slab, const uint32_t *heads, unsigned count);
static inline void
hhi_slab_check(struct hhi_slab *slab, uint32_t head)
{
    hhi_slab_check_lists(slab, &head, 1);
}

// Release what has been in limbo long enough; force = try now. Returns granules released.
uint32_t hhi_limbo_advance(bool force);
void hhi_limbo_fork(enum hhi_fork_step step);
size_t hhi_limbo_granules(void);

#endif
