// SPDX-License-Identifier: MIT
/*
 * heap/thread_cache.h - a thread's share of each heap it uses.
 *
 * Layer: heap. May include: base, os, options, meta, slab, heap/limit.h.
 *
 *   hhi_self --> hhi_thread
 *                 main      the cache of the default heap
 *                 recent[]  caches of heaps, by heap number modulo 32: a guess, always checked
 *                 table     all caches of other heaps, by heap id: open addressing
 *                 guard     for guarded sections
 *
 *   hhi_cache
 *     bins[class]      the current slab's list to take from, and what turns a number into an address;
 *                      of a class with few live blocks a list in a coarser one's (heap/guests.h)
 *     partial[class]   slabs with free blocks
 *     kept             empty slabs held back for a while (kept_slabs.h)
 *     inbox, arrived   slabs in which other threads have freed blocks (heap/inbox.h)
 *
 * What is per class lies apart: for the default heap in the thread's record, of all classes; for another
 * heap it is made for the classes up to the largest one used, and moved when it grows
 * (hhi_cache_reserve), since a host may have 100,000 heaps with a few blocks each.
 *
 * A thread without a record has hhi_self == &hhi_thread_none, whose bins are empty: the first
 * malloc takes the ordinary slow path and makes one. When a thread ends, its record goes whole, with
 * all slabs, to the list of orphans; the next thread to start takes it whole. Slabs name their
 * owner by the cache's address, so that neither step touches a slab.
 *
 * Thread rules: a cache is used by the thread that runs it, or by whoever has taken its record from
 * the orphans; inbox is pushed to by any thread; it and arrived are looked at by the owner and by the
 * sweeper.
 *
 * Invariants
 *   I1  bins[c] without a slab implies bins[c].head == HHI_LINK_END.
 *   I2  a slab owned by a cache is: in a bin (CURRENT), in partial (PARTIAL), or in neither (FULL).
 *       A kept slab has no owner.
 *   I3  records of threads and caches are never unmapped; a cache serves one thread record for ever.
 *   I4  a slab owned by a cache is of a class below class_limit, and bins, partial and shared_use
 *       have room for that many, also in what a lost thread leaves: class_limit is stored last.
 *
 * Memory ordering
 *   TC-1  heap_id of a cache: release when its heap has ended and the cache is empty -> acquire
 *         before the cache is used for another heap.
 *   TC-2  list of all threads: release push -> acquire walk: the record's fields.
 *   TC-4  class_limit: release when there is room for as many classes -> acquire before the lists
 *         are made anew, which a lost thread may have been making larger.
 *   TC-5  list of all records of heaps: release push -> acquire walk by a fork: the record's link.
 */
#ifndef HHI_HEAP_THREAD_CACHE_H
#define HHI_HEAP_THREAD_CACHE_H

#include <hostheap/hostheap.h>

#include "base/check.h"
#include "heap/heap.h"
#include "heap/limit.h"
#include "os/lock.h"
#include "slab/guard.h"
#include "slab/slab.h"

// 32 bytes, two in a cache line.
struct hhi_bin {
    uint32_t head;        // number of the next block, HHI_LINK_END if none
    uint32_t block_bytes; // as wide as the product it goes into, which then reads it in place
    hhi_link *links;
    uintptr_t base;        // address of block 0
    struct hhi_slab *slab; // the current one, or NULL
};
static_assert(sizeof(struct hhi_bin) == 32, "two bins in a cache line");

// Whether the blocks a bin hands out read as zero. The bin has a slab, as one has whose list is not
// empty.
static inline bool
hhi_bin_fresh(const struct hhi_bin *bin)
{
    HH_ASSERT(bin->slab != NULL);
    return bin->slab->head_fresh;
}

enum { HHI_KEPT_SLABS = 16 };

enum {
    HHI_ARRIVED_ALL = 128, // rings of slabs that arrived, one a class but for class 0
    HHI_ARRIVED_FEW = 2,   // of a cache with few slabs, each for several classes
};

struct hhi_cache {
    // Of classes below class_limit [I4].
    struct hhi_bin *bins;
    struct hhi_slab **partial;
    // Blocks that a coarser class served for this one; or HHI_CLASS_OWN, those borrowed since the class last
    // got memory, and HHI_CLASS_FILLS.
    uint8_t *shared_use;
    _Atomic uint32_t class_limit;
    bool shared_all;              // nothing was taken from a slab since all were shared
    uint8_t stale_class;          // where the search for stale slabs goes on
    uint8_t guests;               // bits of classes whose slab may have guests (guests.h)
    size_t partial_bytes;         // size of the slabs in partial
    struct hhi_lock arrival_lock; // tried, never waited for (heap/inbox.h)
    // Under arrival_lock: the last of each ring, of the classes that are equal under the mask.
    struct hhi_slab **arrived;
    uint32_t arrived_mask;
    unsigned arrived_turn; // ring last asked by hhi_inbox_take_any
    struct hhi_slab *arrived_few[HHI_ARRIVED_FEW];
    _Atomic uint32_t arrived_count;      // slabs in arrived
    struct hh_heap *heap;                // fixed while heap_id is
    _Atomic(struct hhi_thread *) thread; // fixed once made
    _Atomic uint64_t heap_id;       // 0 = the heap has ended, the cache may be used again [TC-1]
    struct hhi_cache *next_of_heap; // all caches of a heap, under its lock
    // Empty slabs held back (kept_slabs.h): slots, and what the owner remembers of them.
    _Atomic(struct hhi_slab *) kept[HHI_KEPT_SLABS];
    uint8_t kept_class[HHI_KEPT_SLABS];
    uint32_t kept_filled;        // bits of slots that may be filled; the others are not
    uint32_t kept_granules;      // of the slabs the owner believes there
    bool kept_full;              // no slot was empty when the owner looked last
    uint32_t kept_unnoted_bytes; // kept since the sweeper was told last
    // Pushed to by other threads: a line of its own.
    _Atomic(struct hhi_slab *) inbox __attribute__((aligned(HH_CACHE_LINE_BYTES)));
};

enum { HHI_RECENT_CACHES = 32 };

// A heap's id is never used again, so an entry of a heap that has ended matches no other.
struct hhi_recent {
    uint64_t heap_id;        // 0: none, the id of no heap
    struct hhi_cache *cache; // of that heap
    struct hhi_bin *bins;    // the cache's
    size_t small_bytes;      // the largest small size that they have room for
};

// Lists for classes below a limit that are not in use now, by the limit's place among the limits.
enum { HHI_CLASS_LIMITS = 5 };

enum hhi_thread_state {
    HHI_THREAD_RUNNING = 1, // some thread's hhi_self
    HHI_THREAD_ORPHAN = 2,  // in the list of orphans
};

enum hhi_asking {
    HHI_ASKING_NO,
    HHI_ASKING,
    HHI_ASKING_NOTED, // and something was noted meanwhile: see sweep.h
    HHI_ASKING_OWED,  // no longer; what was noted is seen to when memory is asked for and had
};

struct hhi_thread {
    struct hhi_cache main;            // first: its address, which a free compares, is the record's
    struct hhi_bin bins[HHI_CLASSES]; // the main cache's
    uint8_t shared_use[HHI_CLASSES];
    struct hhi_recent recent[HHI_RECENT_CACHES];
    struct hhi_cache **table; // capacity is a power of two, or NULL
    uint32_t table_capacity, table_used;
    struct hhi_cache **old_table; // of the same capacity, for the next time, or NULL
    struct hhi_guard guard;
    struct hhi_thread *next_all;    // list of all threads; fixed [TC-2]
    struct hhi_thread *next_orphan; // under the lock of the thread list
    _Atomic uint8_t state;          // enum hhi_thread_state
    bool torn;                      // its thread was lost in a fork: lists must be rebuilt
    uint64_t holder;             // the thread that has it (hhi_thread_self), 0 in the orphans' list
    _Atomic uint32_t mended;     // the generation in which it was mended last
    uint32_t asking;             // enum hhi_asking: for memory, and may be refused
    uint32_t borrowed;           // calls in progress of a thread that has none of its own
    struct hhi_thread *stand_in; // while borrowed: what hhi_self was, and will be
    struct hhi_cache *spare;     // empty caches of this record, by next_of_heap
    void *spare_lists[HHI_CLASS_LIMITS]; // of its caches, chained by their first word
    uint32_t slow_events;                // for ticks
};

static inline struct hhi_recent *
hhi_recent_of(struct hhi_thread *thread, const struct hhi_heap_key *key)
{
    static_assert(sizeof(struct hhi_recent) == HHI_HEAP_ID_STEP, "the offset is in the id");
    uint64_t offset = key->id & ((HHI_RECENT_CACHES - 1) * HHI_HEAP_ID_STEP);
    return (struct hhi_recent *)(void *)((char *)thread->recent + offset);
}

struct hhi_shared_list {
    struct hhi_slab *first, *last;
};

enum {
    HHI_SHARED_LISTS = 128, // one a class but for class 0
    HHI_KEPT_RUNS = 4,
};

struct hh_heap {
    union {
        struct hhi_heap_key key;
        uint64_t id; // the key's
    };
    struct hhi_heap_key *face; // its copy elsewhere, or NULL; fixed but for the heap's end
    uint32_t flags;            // HHI_HEAP_*
    struct hhi_lock lock;      // rank: heap; stays when the record is used again for another heap
    struct hhi_budget budget;
    // Under lock:
    struct hhi_shared_list *shared; // slabs without owner that have free blocks, as arrived
    uint32_t shared_mask;
    struct hhi_shared_list shared_few;
    struct hhi_slab **tracked; // per class: slabs of DebugAlloc blocks that have free blocks
    struct hhi_slab *runs;     // all runs of the heap
    struct hhi_cache *caches;  // all its caches
    size_t slab_count;
    uint64_t slabs_carved, slabs_retired;
    struct hh_heap *next;  // list of heaps, under heaps.lock
    struct hh_heap **back; // the link of that list that names this heap
    bool ended;
    char name[32];
    _Atomic uint64_t bad_frees;
    _Atomic uint32_t shared_count; // slabs in shared; a hint without the lock
    _Atomic uint32_t stale_class;  // where the search for stale shared slabs goes on; a hint
    _Atomic(struct hhi_slab *) kept_runs[HHI_KEPT_RUNS]; // [KR-1] of freed large blocks
    _Atomic uint32_t early_runs;      // large blocks that are smaller than their runs
    _Atomic uint32_t kept_run_misses; // runs given up unused since one was used; a hint
    struct hh_heap *next_all; // stays, too: all records but the default heap's; fixed [TC-5]
};

// Written by nobody, and constant, so that no process has pages of them.
extern const struct hhi_thread hhi_thread_none; // of a thread that has no record yet
extern const struct hhi_thread hhi_thread_dead; // of a thread whose record is given up already
extern struct hhi_cache hhi_cache_none;         // owner of slabs that nobody owns
extern HH_TLS_INITIAL_EXEC struct hhi_thread *hhi_self __attribute__((visibility("hidden")));
extern struct hh_heap hhi_default_heap;

/*
 * While set, no thread is given a record of its own: each call that needs one borrows one, as a
 * thread does that has given up its own already. Between its calls such a thread's bins are empty
 * and it owns no slab, so that every malloc and free leaves the fast path, where it can be recorded
 * (override/trace.h). Set before any thread has a record.
 */
extern _Atomic uint8_t hhi_threads_borrow;

/*
 * What the process layer supplies: bring the library up (once, idempotent; false without memory), and
 * remember a thread's record so that hhi_thread_exit is called with it when the thread ends.
 */
extern bool (*const hhi_process_up)(void);
extern bool (*const hhi_process_watch_thread)(struct hhi_thread *thread);
// Whether the library is told of forks. If not, it has no thread of its own: the child of a process with
// one thread then needs no mending.
extern bool (*const hhi_process_watches_forks)(void);

static inline bool
hhi_thread_is_real(const struct hhi_thread *thread)
{
    return thread != &hhi_thread_none && thread != &hhi_thread_dead;
}

/*
 * The calling thread's record, made or adopted if need be. NULL when there is no memory. For a
 * thread that can have none of its own a borrowed one: hhi_thread_return it at the end.
 */
struct hhi_thread *hhi_thread_get(void);
void hhi_thread_return(struct hhi_thread *thread);
// The thread ends: its record becomes an orphan.
void hhi_thread_exit(struct hhi_thread *thread);

// The cache of a heap in a record the caller runs; made if need be. NULL: no memory.
struct hhi_cache *hhi_cache_get(struct hhi_thread *thread, struct hh_heap *heap);
// The same without making one.
struct hhi_cache *hhi_cache_find(struct hhi_thread *thread, const struct hh_heap *heap);
// Make room for the lists of a class of a cache that the caller's thread owns. False: no memory.
bool hhi_cache_grow(struct hhi_cache *cache, unsigned class_index);
static inline bool
hhi_cache_reserve(struct hhi_cache *cache, unsigned class_index)
{
    // relaxed: the owner's own.
    return hh_likely(class_index < hh_load_relaxed(&cache->class_limit)) ||
           hhi_cache_grow(cache, class_index);
}

// A block for class_index, below the limit, or a little larger, when the bin's list is empty. NULL:
// refused.
void *hhi_cache_refill(struct hhi_cache *cache, unsigned class_index, unsigned level);
// credit of a slab of this thread has run out.
void hhi_slab_event(struct hhi_slab *slab);
// Make all that other threads freed until now available.
void hhi_cache_drain(struct hhi_cache *cache);
// Make all slabs of a cache with free blocks ownerless, for others to adopt.
void hhi_cache_share_all(struct hhi_cache *cache);
// Give back the free pages inside the cache's slabs, and its empty slabs. Returns bytes.
size_t hhi_cache_purge(struct hhi_cache *cache);
// Retire all slabs that hold no block, but, unless small_ones, those of one granule from which blocks were
// just taken. At any moment between two steps of the owner's thread.
void hhi_cache_give_back(struct hhi_cache *cache, bool small_ones);
// Give back free pages inside partial slabs in which they were not looked for since the last use or
// the last large number of frees. Goes on where the last call's budget was spent.
void hhi_cache_purge_stale(struct hhi_cache *cache, struct hhi_purge_budget *budget);
// The heap has ended and its slabs are retired: make the cache ready for another heap.
void hhi_cache_reset(struct hhi_cache *cache);
// The same for a cache whose lists are zeroed memory: writes only what must not be zero.
void hhi_cache_start(struct hhi_cache *cache);
/*
 * After a fork, in this order (hhi_thread_mend):
 *   lists   the cache was a lost thread's: its lists are made anew from the links
 *   mark    all slabs that did not wait for the owner, with their tokens: taken here, or by a thread
 *           that was lost, or by one that lives and is about to put the slab into the inbox
 *   settle  when those that lived have done so: collect from the others
 * Other threads may free blocks meanwhile; the sweeper leaves the cache alone.
 */
void hhi_cache_mend_lists(struct hhi_cache *cache);
void hhi_cache_mend_mark(struct hhi_cache *cache);
void hhi_cache_mend_settle(struct hhi_cache *cache);
void hhi_cache_check(struct hhi_cache *cache);

// End an empty slab that no list holds and whose token the caller holds.
void hhi_heap_retire_slab(struct hhi_slab *slab);
// The same without telling the sweeper. Returns the slab's bytes.
size_t hhi_heap_retire_unnoted(struct hhi_slab *slab);
// Put a slab without owner into its heap's list. Token held.
void hhi_heap_share_slab(struct hhi_slab *slab);
// Carve with charge against the limits, and enter the run into the heap's list. tracked: HHI_SLAB_TRACKED.
struct hhi_slab *hhi_heap_carve(struct hh_heap *heap, unsigned class_index, bool tracked,
                                unsigned level);

// Take a slab without owner out of its heap's list; the caller holds its token then. NULL: none.
struct hhi_slab *hhi_heap_take_shared(struct hh_heap *heap, unsigned class_index);
// All thread records, newest first.
struct hhi_thread *hhi_thread_first(void);
// Take an orphan for exclusive use, any one; NULL if there is none.
struct hhi_thread *hhi_orphan_take(void);
// Take one whose cache of this heap has slabs to share.
struct hhi_thread *hhi_orphan_take_for(struct hh_heap *heap);
// Take one that has a cache for which due holds.
struct hhi_thread *hhi_orphan_take_if(bool (*due)(struct hhi_cache *cache));
void hhi_orphan_put(struct hhi_thread *thread);
size_t hhi_thread_count_running(void);
// Whether more than one thread has a record: a hint, written under the lock of the thread list.
extern _Atomic(bool) hhi_threads_several;
// 1 + number of forks above this process. Changes in the child of a fork, while one thread exists.
extern _Atomic uint32_t hhi_thread_generation;

// Whether nothing is left in the record of what a fork above this process has lost.
static inline bool
hhi_thread_is_mended(const struct hhi_thread *thread)
{
    // relaxed (both): see where it is stored; the generation changes only while one thread exists.
    return hh_load_relaxed(&thread->mended) == hh_load_relaxed(&hhi_thread_generation);
}
// Mend a record the caller runs, outside of any operation on its caches. Nothing if it is mended.
void hhi_thread_mend(struct hhi_thread *thread);

// Calls visit with each cache of a record the caller runs that belongs to a heap.
void hhi_thread_for_each_cache(struct hhi_thread *thread,
                               void (*visit)(void *arg, struct hhi_cache *cache), void *arg);

/*
 * In the child every record that this thread has not in hand becomes an orphan: at the next look at
 * the list, since the thread may have been interrupted in one. section_lost: a lost thread was
 * freeing a block, maybe one of ours.
 */
void hhi_threads_fork(enum hhi_fork_step step);
void hhi_threads_fork_child(bool section_lost);

#endif
