// SPDX-License-Identifier: MIT
// heap/thread_cache.c - how a cache gets blocks, and what becomes of its slabs.
#include "heap/thread_cache.h"

#include <limits.h>

#include "base/check.h"
#include "heap/growth.h"
#include "heap/guests.h"
#include "heap/heap_list.h"
#include "heap/inbox.h"
#include "heap/kept_slabs.h"
#include "heap/lent.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "os/os.h"

struct hhi_cache hhi_cache_none;

enum {
    // A full slab is used again when an eighth of it is free, one of many blocks a sixteenth.
    FULL_RETURNS_DIVISOR = 8,
    FULL_RETURNS_DIVISOR_MANY = 16,
    FULL_RETURNS_MANY = 128,
    ARRIVAL_LOOKS = 4,          // slabs looked through for one with enough blocks that came back
    LOOK_BACK_BYTES = 4 * 1024, // of a slab, from which on it is looked through before more of it
    CARVE_SETTLES = 4,          // slabs of any class looked at before another is carved
    BORROW_FROM_BYTES = 256,    // smaller blocks save less than the look for them costs
    BORROW_MOST = 32,           // so many a class may borrow before it gets memory of its own,
    OFTEN_BYTES = 1024,         // and then so much of its slab, a block at least
    BORROW_DIVISOR = 4,         // a borrowed block is larger by so much of its size at most
    SPARSE_DIVISOR = 4,         // a slab less than a quarter live may be shared
    STALE_DIVISOR = 16,         // so much freed, and free pages are looked for again
};
static_assert((int)BORROW_MOST < (int)HHI_CLASS_FILLS, "counted in the bits below");
// A thread keeps this much in partly used slabs before it shares sparse ones.
#define SHARE_ABOVE_BYTES ((size_t)16 << 20)

static uint32_t
slab_block_count(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return hh_load_relaxed(&slab->block_count);
}

static size_t
slab_run_bytes(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
}

static struct hhi_cache *
slab_owner(struct hhi_slab *slab)
{
    // relaxed: the caller is the owner's thread or holds the token [SL-3].
    return hh_load_relaxed(&slab->owner);
}

static unsigned
cache_class_limit(struct hhi_cache *cache)
{
    // relaxed: the owner's own.
    return hh_load_relaxed(&cache->class_limit);
}

// True: the caller has the token now.
static bool
token_take(struct hhi_slab *slab)
{
    // relaxed: if it is free, the caller's thread has given it back itself.
    return (hh_fetch_or_relaxed(&slab->notice, HHI_NOTICE_TOKEN) & HHI_NOTICE_TOKEN) == 0;
}

static void
token_give(struct hhi_slab *slab)
{
    // order: seq_cst [SL-2] comes before the scan of the links; release [SL-3] owner and lists.
    hh_exchange_seq_cst(&slab->notice, 0);
}

/*
 * Give the token back and look for marks. Marks made from now on are notified again, so the slab may
 * be in the inbox, and in the hands of the sweeper, before the look is over: the guarded section
 * tells the sweeper that the marks it sees may be on their way to the free list.
 */
static uint32_t
slab_collect_guarded(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // relaxed: fixed once made.
    struct hhi_guard *guard = &hh_load_relaxed(&cache->thread)->guard;
    HH_ASSERT(!hhi_lent_is(slab)); // its blocks are going to be used
    hhi_guard_open(guard);
    token_give(slab);
    uint32_t collected = hhi_slab_collect(slab);
    hhi_guard_close(guard);
    return collected;
}

// ---- Partial list -------------------------------------------------------------------------------

// The first slab of a list. The lists are not even read while all are empty: most programs then have
// no page of them.
static struct hhi_slab *
partial_first(struct hhi_cache *cache, unsigned class_index)
{
    return cache->partial_bytes != 0 ? cache->partial[class_index] : NULL;
}

static void
partial_push(struct hhi_cache *cache, struct hhi_slab *slab)
{
    struct hhi_slab **list = &cache->partial[hhi_slab_class(slab)];
    slab->state = HHI_SLAB_PARTIAL;
    slab->previous = NULL;
    slab->next = *list;
    if (*list != NULL)
        (*list)->previous = slab;
    *list = slab;
    cache->partial_bytes += slab_run_bytes(slab);
}

static void
partial_remove(struct hhi_cache *cache, struct hhi_slab *slab)
{
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        cache->partial[hhi_slab_class(slab)] = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
    slab->next = slab->previous = NULL;
    cache->partial_bytes -= slab_run_bytes(slab);
}

// ---- Events -------------------------------------------------------------------------------------

// Take a slab off its owner: it has no owner afterwards, and the caller holds the token.
static bool
slab_disown(struct hhi_cache *cache, struct hhi_slab *slab)
{
    if (!token_take(slab))
        return false; // on its way to the inbox; the drain will see to it
    partial_remove(cache, slab);
    // relaxed: the token's holder changes the owner [SL-3].
    hh_store_relaxed(&slab->owner, &hhi_cache_none);
    return true;
}

// A partial slab: is it empty, or sparse enough to be shared? Else set the next event.
static void
partial_event(struct hhi_cache *cache, struct hhi_slab *slab)
{
    bool idle = hhi_slab_is_idle(slab);
    uint32_t live = idle ? 0 : hhi_slab_count_live(slab);
    uint32_t sparse = slab_block_count(slab) / SPARSE_DIVISOR;
    hhi_slab_set_look(slab, HHI_LOOK_NEXT); // much was freed since the last one
    if (live == 0) {
        // No block is left to free locally; if the token is gone, the drain comes back here.
        slab->credit = 0;
        if (!slab_disown(cache, slab))
            return;
        if (!idle)
            hhi_slab_collect(slab);
        if (!hhi_kept_put(cache, slab))
            hhi_heap_retire_slab(slab);
    } else if (live <= sparse && cache->partial_bytes > SHARE_ABOVE_BYTES) {
        slab->credit = (int32_t)live;
        if (slab_disown(cache, slab))
            hhi_heap_share_slab(slab);
    } else {
        slab->credit = (int32_t)(live > sparse ? live - sparse : live);
    }
}

// How many blocks of a full slab are freed before it is used again.
static uint32_t
slab_full_returns(struct hhi_slab *slab)
{
    uint32_t count = slab_block_count(slab);
    if (count > FULL_RETURNS_MANY)
        return count / FULL_RETURNS_DIVISOR_MANY;
    return count < FULL_RETURNS_DIVISOR ? 1 : count / FULL_RETURNS_DIVISOR;
}

void
hhi_slab_event(struct hhi_slab *slab)
{
    struct hhi_cache *cache = slab_owner(slab);
    if (slab->state == HHI_SLAB_FULL) {
        partial_push(cache, slab);
        uint32_t count = slab_block_count(slab);
        uint32_t freed = slab_full_returns(slab);
        // Whether it is sparse matters only to a thread that has much; else ask when it is empty.
        uint32_t sparse = cache->partial_bytes > SHARE_ABOVE_BYTES ? count / SPARSE_DIVISOR : 0;
        slab->credit = (int32_t)(count - freed > sparse ? count - freed - sparse : 1);
    } else if (slab->state == HHI_SLAB_PARTIAL) {
        partial_event(cache, slab);
    } else {
        slab->credit = HHI_CREDIT_NEVER;
    }
}

static void
slab_becomes_full(struct hhi_slab *slab)
{
    slab->state = HHI_SLAB_FULL;
    slab->credit = (int32_t)slab_full_returns(slab);
}

// ---- Frees by other threads ---------------------------------------------------------------------

static void bin_unload(struct hhi_cache *cache, unsigned class_index);

// A lent slab whose blocks are not needed now: it is empty, and not even counted. Its token is ours.
HH_SLOW static void
lent_retire(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // No list holds a block of it. It is full, or was current, or its last free block was borrowed.
    if (slab->state == HHI_SLAB_CURRENT)
        bin_unload(cache, hhi_slab_class(slab));
    if (slab->state == HHI_SLAB_PARTIAL)
        partial_remove(cache, slab);
    // relaxed: the token's holder changes the owner [SL-3].
    hh_store_relaxed(&slab->owner, &hhi_cache_none);
    hhi_heap_retire_slab(slab);
}

// What becomes of a slab taken out of the inbox if its blocks are not needed now.
static void
arrival_settle(struct hhi_cache *cache, struct hhi_slab *slab)
{
    if (hh_unlikely(hhi_lent_is(slab))) {
        lent_retire(cache, slab);
        return;
    }
    uint32_t collected = slab_collect_guarded(cache, slab);
    if (slab->state == HHI_SLAB_CURRENT)
        return;
    slab->credit -= (int32_t)collected;
    if (slab->credit > 0)
        return;
    if (slab->state == HHI_SLAB_FULL)
        partial_push(cache, slab);
    partial_event(cache, slab);
}

// Settle up to count slabs of any class.
static void
arrivals_settle(struct hhi_cache *cache, unsigned count)
{
    struct hhi_slab *slab;
    if (hh_likely(hhi_inbox_is_empty(cache)))
        return;
    for (bool first = true; count > 0; count--, first = false) {
        slab = hhi_inbox_take_any(cache, first); // not what comes meanwhile, or it would not end
        if (slab == NULL)
            return;
        arrival_settle(cache, slab);
    }
}

void
hhi_cache_drain(struct hhi_cache *cache)
{
    arrivals_settle(cache, UINT_MAX);
}

/*
 * A slab of a class to take blocks from, of those that came back. A slab of which little has come
 * back stays full, as after frees by its owner: to look through it is dear, and is worth it only for
 * many blocks. One that was lent has to be counted first; if it can not be, it stays where it was.
 */
static struct hhi_slab *
cache_take_arrived(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    for (unsigned look = 0; look < ARRIVAL_LOOKS && !hhi_inbox_is_empty(cache); look++) {
        struct hhi_slab *slab = hhi_inbox_take(cache, class_index);
        if (slab == NULL)
            break;
        if (hh_unlikely(!hhi_lent_take_back(slab, level))) {
            hhi_inbox_push(cache, slab, slab);
            break;
        }
        cache->shared_all = false;
        uint32_t collected = slab_collect_guarded(cache, slab);
        HH_ASSERT(slab->state == HHI_SLAB_FULL); // all others of the class are in use
        slab->credit -= (int32_t)collected;
        if (slab->credit <= 0)
            return slab;
    }
    return NULL;
}

HH_NOINLINE static bool
slab_look_back_slow(struct hhi_cache *cache, struct hhi_slab *slab, uint32_t *collected)
{
    // relaxed: fixed while carved.
    if (slab->init * hh_load_relaxed(&slab->block_bytes) < LOOK_BACK_BYTES ||
        !hhi_inbox_take_slab(cache, slab))
        return false;
    if (hh_unlikely(!hhi_lent_take_back(slab, HHI_LEVEL_TASK))) {
        hhi_inbox_push(cache, slab, slab);
        return false;
    }
    *collected = slab_collect_guarded(cache, slab);
    return true;
}

// Collect in a slab in use what other threads have freed there, if there may be enough. False: not done.
static inline bool
slab_look_back(struct hhi_cache *cache, struct hhi_slab *slab, uint32_t *collected)
{
    // relaxed: a first look.
    return hh_unlikely(hh_load_relaxed(&slab->notice) != 0) &&
           slab_look_back_slow(cache, slab, collected);
}

/*
 * Whether to take a block never used: blocks that other threads have freed in the same slab are
 * warmer, if they are worth the look.
 */
static bool
slab_extends(struct hhi_cache *cache, struct hhi_slab *slab)
{
    uint32_t collected;
    return slab->init != slab_block_count(slab) && slab_look_back(cache, slab, &collected) &&
           collected < slab->init / FULL_RETURNS_DIVISOR;
}

// Whether nothing in a slab is free but what was never used.
static bool
slab_is_extendable(struct hhi_slab *slab)
{
    return slab->freed == HHI_LINK_END && slab->init < slab_block_count(slab);
}

// ---- Refill -------------------------------------------------------------------------------------

// Make blocks of a clean slab ready. Above the small sizes one at a time, as hhi_bin_next does, but for the
// first, and but for a slab in which others free blocks: with lists it is looked through less often.
HH_NOINLINE static uint32_t
slab_extend_clean(struct hhi_slab *slab, bool sparing)
{
    unsigned class_index = hhi_slab_class(slab);
    uint8_t *use = &slab_owner(slab)->shared_use[class_index];
    // relaxed: a first look.
    bool singly =
        class_index > HHI_SMALL_CLASSES && slab->init != 0 && hh_load_relaxed(&slab->notice) == 0;
    uint32_t first = singly ? hhi_slab_extend_by(slab, 1) : hhi_slab_extend(slab, sparing);
    if (hhi_class_granules(class_index) == 1 && !sparing)
        hhi_slab_populate(slab, first, *use >= HHI_CLASS_OWN + HHI_CLASS_FILLS);
    if (slab->init + HHI_POPULATE_LOOK_BLOCKS >= slab_block_count(slab) && *use >= HHI_CLASS_OWN)
        *use |= HHI_CLASS_FILLS;
    return first;
}

/*
 * Make blocks never used the list to take from. Each thread has slabs of its own of each class; where there are several,
 * what all these hold in reserve counts, and they are made ready in shorter steps.
 */
static uint32_t
slab_extend(struct hhi_slab *slab)
{
    // relaxed: a hint.
    bool sparing = hh_load_relaxed(&hhi_threads_several);
    // relaxed: fixed while carved but for a bit of no interest here.
    return hh_load_relaxed(&slab->flags) & HHI_SLAB_CLEAN ? slab_extend_clean(slab, sparing)
                                                          : hhi_slab_extend(slab, sparing);
}

// Make what the slab has free the bin's list. False: nothing is free.
static bool
bin_load(struct hhi_bin *bin, struct hhi_slab *slab)
{
    if (slab->head != HHI_LINK_END) {
        bin->head = slab->head;
        slab->head = HHI_LINK_END;
    } else if (slab->freed != HHI_LINK_END) {
        bin->head = slab->freed;
        slab->freed = HHI_LINK_END;
        slab->head_fresh = false;
    } else if (slab->init < slab_block_count(slab)) {
        bin->head = slab_extend(slab);
    } else {
        return false;
    }
    return true;
}

// Pages of the slab were given back and are going to be used again.
HH_NOINLINE static void
slab_used_again(struct hhi_slab *slab)
{
    hhi_growth_count_again(hhi_slab_purged_bytes(slab));
    hhi_growth_check(slab_owner(slab));
}

static void
bin_install(struct hhi_bin *bin, struct hhi_slab *slab)
{
    slab->state = HHI_SLAB_CURRENT;
    slab->credit = HHI_CREDIT_NEVER;
    if (hh_unlikely(slab->look > HHI_LOOK_MASK))
        slab_used_again(slab);
    slab->look = HHI_LOOK_NEVER;
    bin->slab = slab;
    slab_owner(slab)->shared_all = false;
    // relaxed (both): fixed while carved.
    bin->links = hh_load_relaxed(&slab->links);
    bin->block_bytes = (uint32_t)hh_load_relaxed(&slab->block_bytes);
    bin->base = hhi_slab_base(slab);
}

// Take over a slab that has no owner and is in no list; the caller holds its token.
static void
cache_adopt(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // relaxed: the token's holder changes the owner [SL-3].
    hh_store_relaxed(&slab->owner, cache);
    slab_collect_guarded(cache, slab);
}

static struct hhi_slab *
cache_pop_partial(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_slab *slab = partial_first(cache, class_index);
    if (slab != NULL)
        partial_remove(cache, slab);
    return slab;
}

// A slab of the heap that nobody owns.
static struct hhi_slab *
cache_adopt_shared(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_slab *slab = hhi_heap_take_shared(cache->heap, class_index);
    if (slab != NULL)
        cache_adopt(cache, slab);
    return slab;
}

// From here on the cache's thread asks for memory: nothing is given back meanwhile (sweep.h).
static struct hhi_thread *
asking_begin(struct hhi_cache *cache)
{
    // relaxed: fixed once made.
    struct hhi_thread *thread = hh_load_relaxed(&cache->thread);
    thread->asking = thread->asking == HHI_ASKING_OWED ? HHI_ASKING_NOTED : HHI_ASKING;
    return thread;
}

// served: what was noted is seen to now; else it stays noted, since who is refused makes few calls.
static void
asking_end(struct hhi_thread *thread, bool served)
{
    bool noted = thread->asking == HHI_ASKING_NOTED;
    thread->asking = noted && !served ? HHI_ASKING_OWED : HHI_ASKING_NO;
    if (noted && served)
        hhi_sweep_asked();
}

// Share what threads that ended have left of this heap, one record at a time.
static struct hhi_slab *
cache_adopt_orphaned(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_thread *orphan = hhi_orphan_take_for(cache->heap);
    if (orphan == NULL)
        return NULL;
    struct hhi_thread *thread = asking_begin(cache);
    hhi_cache_share_all(hhi_cache_find(orphan, cache->heap));
    hhi_orphan_put(orphan);
    struct hhi_slab *slab = cache_adopt_shared(cache, class_index);
    asking_end(thread, slab != NULL);
    return slab;
}

static struct hhi_slab *
cache_adopt_kept(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_slab *slab = hhi_kept_take(cache, class_index);
    if (slab != NULL) {
        // relaxed: the token's holder changes the owner [SL-3].
        hh_store_relaxed(&slab->owner, cache);
        // order: release [SL-3] the owner. A kept slab holds no marks, so there is nothing to look
        // for that the token's return would have to come before.
        hh_store_release(&slab->notice, 0);
    }
    return slab;
}

static void
cache_release_kept(struct hhi_cache *cache)
{
    size_t released_bytes = hhi_kept_release_own(cache);
    if (released_bytes != 0)
        hhi_sweep_note(released_bytes);
}

/*
 * A new slab. First, slabs that other threads have emptied go back, in which the new one may be
 * made; all of them, if there is no other memory (hhi_cache_give_back, by who is about to be refused).
 */
static struct hhi_slab *
cache_carve_asking(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    arrivals_settle(cache, CARVE_SETTLES);
    struct hhi_slab *slab = cache_pop_partial(cache, class_index);
    if (slab == NULL)
        slab = cache_adopt_kept(cache, class_index);
    if (slab != NULL)
        return slab;
    // What is kept for other classes goes before memory is taken from elsewhere.
    cache_release_kept(cache);
    slab = hhi_heap_carve(cache->heap, class_index, false, level);
    if (slab != NULL) {
        cache_adopt(cache, slab);
    } else {
        // What was collected meanwhile, from this thread's inbox and from threads that ended.
        slab = cache_pop_partial(cache, class_index);
        if (slab == NULL)
            slab = cache_adopt_shared(cache, class_index);
    }
    return slab;
}

static struct hhi_slab *
cache_carve(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    struct hhi_thread *thread = asking_begin(cache);
    struct hhi_slab *slab = cache_carve_asking(cache, class_index, level);
    asking_end(thread, slab != NULL);
    if (slab != NULL)
        hhi_growth_check(cache);
    return slab;
}

// The lowest bit of a class's size: its blocks' alignment.
static uint32_t
class_alignment(unsigned class_index)
{
    uint32_t size_bytes = hhi_class_bytes(class_index);
    return size_bytes & -size_bytes;
}

// A slab of a class in which blocks were freed that are in no bin's list, or NULL.
static struct hhi_slab *
class_freed(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_bin *bin = &cache->bins[class_index];
    struct hhi_slab *slab = bin->slab;
    // A guest's blocks are of another class.
    uint32_t collected;
    if (slab != NULL && !hhi_bin_is_guest(bin, class_index) &&
        (slab->freed != HHI_LINK_END ||
         (slab_look_back(cache, slab, &collected) && collected != 0)))
        return slab;
    slab = partial_first(cache, class_index);
    // Nor pages that were given back.
    return slab != NULL && slab->freed != HHI_LINK_END && slab->look <= HHI_LOOK_MASK ? slab : NULL;
}

/*
 * A block that was freed in a slab of a larger class. Only of classes as well aligned, since aligned requests
 * rely on their class. A slab in the partial list may so have one more live block than its next event
 * supposes, which then looks.
 */
static inline void *
cache_borrow(struct hhi_cache *cache, unsigned class_index, uint32_t size_bytes)
{
    uint32_t most_bytes = size_bytes + size_bytes / BORROW_DIVISOR;
    uint32_t alignment = size_bytes & -size_bytes;
    unsigned limit = cache_class_limit(cache);
    for (unsigned larger = class_index + 1; larger < limit; larger++) {
        if (hhi_class_bytes(larger) > most_bytes)
            return NULL;
        struct hhi_slab *slab =
            class_alignment(larger) < alignment ? NULL : class_freed(cache, larger);
        if (slab == NULL)
            continue;
        uint32_t index = slab->freed;
        // relaxed (all): fixed while carved; the owner's own list.
        hhi_link *links = hh_load_relaxed(&slab->links);
        slab->freed = hh_load_relaxed(&links[index]);
        hh_store_relaxed(&links[index], HHI_LINK_LIVE);
        slab->head_fresh = false; // so that calloc clears it
        cache->shared_all = false;
        return (void *)(hhi_slab_base(slab) + index * hh_load_relaxed(&slab->block_bytes));
    }
    return NULL;
}

/*
 * Before a slab is extended or carved: such a block, since neighbours even out what each alone has to hold at its
 * peak. Not while slabs of the class itself have free blocks; nor more than a few times without new memory for
 * the class in between, or it goes on with few of its own and finds its list empty at every fourth allocation.
 * *often: those few were used up.
 */
HH_NOINLINE static void *
cache_borrow_some(struct hhi_cache *cache, unsigned class_index, bool *often)
{
    uint32_t size_bytes = hhi_class_bytes(class_index);
    if (size_bytes < BORROW_FROM_BYTES || partial_first(cache, class_index) != NULL)
        return NULL;
    uint8_t *use = &cache->shared_use[class_index];
    unsigned said = *use & (HHI_CLASS_OWN | HHI_CLASS_FILLS);
    *often = said != 0 && *use - said >= BORROW_MOST;
    void *block = *often ? NULL : cache_borrow(cache, class_index, size_bytes);
    if (said != 0) // else it counts something else yet
        *use = (uint8_t)(block != NULL ? *use + 1u : said);
    return block;
}

// The next slab to take blocks from that is carved already, in no list; or NULL.
static struct hhi_slab *
cache_next_slab(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    struct hhi_slab *slab = cache_pop_partial(cache, class_index);
    // relaxed: fixed once made.
    struct hhi_thread *thread = hh_load_relaxed(&cache->thread);
    if (slab == NULL && hh_unlikely(!hhi_thread_is_mended(thread))) {
        hhi_thread_mend(thread);
        slab = cache_pop_partial(cache, class_index);
    }
    if (slab == NULL)
        slab = cache_take_arrived(cache, class_index, level);
    if (slab == NULL)
        slab = cache_adopt_kept(cache, class_index);
    if (slab == NULL)
        slab = cache_adopt_shared(cache, class_index);
    if (slab == NULL)
        slab = cache_adopt_orphaned(cache, class_index);
    return slab;
}

static void *
bin_take(struct hhi_bin *bin)
{
    uint32_t index = bin->head;
    // relaxed (both): the owner's own list.
    bin->head = hh_load_relaxed(&bin->links[index]);
    hh_store_relaxed(&bin->links[index], HHI_LINK_LIVE);
    return (void *)(bin->base + (uintptr_t)index * bin->block_bytes);
}

// Make the bin's list from slabs that are carved already and at hand. False: nothing is free.
static bool
bin_fill_carved(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_bin *bin = &cache->bins[class_index];
    struct hhi_slab *slab = bin->slab;
    hhi_guests_leave(cache, class_index);
    while (slab == NULL || !bin_load(bin, slab)) {
        if (slab != NULL)
            slab_becomes_full(slab);
        bin->slab = NULL;
        slab = cache_pop_partial(cache, class_index);
        if (slab == NULL)
            slab = cache_adopt_shared(cache, class_index);
        if (slab == NULL)
            return false;
        bin_install(bin, slab);
    }
    return true;
}

/*
 * The first block of a class above 32 KiB is a run of its own: few programs go on to a second, and a slab
 * of 2 MiB puts all later slabs behind it, where their records are in another page. At most twice as
 * large as what is asked for (free_sized). NULL: refused, or not the first; *level: the tries that are left.
 */
static void *
cache_take_run(struct hhi_cache *cache, unsigned class_index, unsigned *level)
{
    uint8_t *use = &cache->shared_use[class_index];
    uint32_t block_bytes = hhi_class_bytes(class_index);
    if (block_bytes <= HHI_STEPS_BYTES || *use != 0)
        return NULL;
    *use = 1;
    void *block = hhi_heap_try_large_first(cache->heap, block_bytes, HHI_TRY_ONCE, level);
    if (block != NULL)
        hhi_growth_check(cache);
    return block;
}

/*
 * A class has no slab: it is new, and a coarser one serves its first blocks, or has it as a guest; or there
 * is no memory for a slab, and a coarser one may still have a block.
 */
HH_NOINLINE static void *
cache_take_coarse(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    unsigned coarse = hhi_class_coarse(class_index);
    struct hhi_bin *bin = &cache->bins[coarse];
    uint8_t *use = &cache->shared_use[class_index];
    if (*use >= HHI_CLASS_OWN) {
        bool ready =
            coarse != class_index && (bin->head < HHI_LINK_END || bin_fill_carved(cache, coarse));
        return ready ? bin_take(bin) : NULL;
    }
    if (hhi_guest_enter(cache, class_index))
        return bin_take(&cache->bins[class_index]);
    void *block = cache_take_run(cache, class_index, &level);
    if (block != NULL)
        return block;
    if (coarse == class_index || *use >= hhi_class_coarse_blocks(class_index)) {
        *use = HHI_CLASS_OWN;
        return hhi_cache_refill(cache, class_index, level);
    }
    ++*use;
    return bin->head < HHI_LINK_END ? bin_take(bin) : hhi_cache_refill(cache, coarse, level);
}

void *
hhi_cache_refill(struct hhi_cache *cache, unsigned class_index, unsigned level)
{
    struct hhi_bin *bin = &cache->bins[class_index];
    struct hhi_slab *slab = bin->slab;
    bool often = false;
    if (hh_unlikely(cache->guests != 0) && slab != NULL && slab->freed == HHI_LINK_END) {
        if (hhi_bin_is_guest(bin, class_index))
            bin->slab = slab = NULL;
        else
            hhi_guests_leave(cache, class_index); // guests.h I2
    }
    // Blocks that come back are warmer than blocks never used.
    if (slab != NULL && slab->freed == HHI_LINK_END) {
        // Here and not above: the refills that find freed blocks are many, and cost nothing more.
        // relaxed: see hhi_sample_take.
        if (hh_unlikely(hh_load_relaxed(&hhi_sample_every) != 0)) {
            void *block = hhi_sample_take(cache->heap, class_index);
            if (block != NULL)
                return block;
        }
        if (slab_extends(cache, slab) || slab_is_extendable(slab)) {
            void *block = cache_borrow_some(cache, class_index, &often);
            if (block != NULL)
                return block;
            // Who lacked one so often lacks a few.
            bin->head = often ? hhi_slab_extend_by(slab, OFTEN_BYTES / hhi_class_bytes(class_index))
                              : slab_extend(slab);
        }
    }
    while (bin->head == HHI_LINK_END && (slab == NULL || !bin_load(bin, slab))) {
        if (slab != NULL)
            slab_becomes_full(slab);
        bin->slab = NULL;
        slab = cache_next_slab(cache, class_index, level);
        if (slab == NULL && cache->shared_use[class_index] >= HHI_CLASS_OWN) {
            void *block = cache_borrow_some(cache, class_index, &often);
            if (block != NULL)
                return block;
            slab = cache_carve(cache, class_index, level);
        }
        if (slab == NULL)
            return cache_take_coarse(cache, class_index, level);
        bin_install(bin, slab);
    }
    return bin_take(bin);
}

// ---- A cache as a whole -------------------------------------------------------------------------

// A slab put in the partial list without an event: the next one is when it may be empty.
static void
partial_rest(struct hhi_slab *slab)
{
    uint32_t live = hhi_slab_count_live(slab);
    slab->credit = (int32_t)(live == 0 ? 1 : live);
}

// Take the current slab out of its bin and put it in the partial list.
static void
bin_unload(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_bin *bin = &cache->bins[class_index];
    struct hhi_slab *slab = bin->slab;
    if (slab == NULL)
        return;
    if (hhi_bin_is_guest(bin, class_index)) {
        hhi_guest_leave(bin);
        return;
    }
    hhi_guests_leave(cache, class_index);
    slab->head = bin->head;
    bin->head = HHI_LINK_END;
    bin->slab = NULL;
    if (slab->head == HHI_LINK_END && slab->freed == HHI_LINK_END &&
        slab->init == slab_block_count(slab)) {
        slab_becomes_full(slab);
        return;
    }
    partial_push(cache, slab);
    partial_rest(slab);
}

void
hhi_cache_share_all(struct hhi_cache *cache)
{
    hhi_cache_drain(cache);
    cache_release_kept(cache);
    cache->shared_all = true;
    for (unsigned class_index = 1; class_index < cache_class_limit(cache); class_index++) {
        bin_unload(cache, class_index);
        struct hhi_slab *next;
        for (struct hhi_slab *slab = cache->partial[class_index]; slab != NULL; slab = next) {
            next = slab->next;
            if (!slab_disown(cache, slab))
                continue;
            if (hhi_slab_count_live(slab) == 0)
                hhi_heap_retire_slab(slab);
            else
                hhi_heap_share_slab(slab);
        }
    }
}

void
hhi_cache_give_back(struct hhi_cache *cache, bool small_ones)
{
    hhi_cache_drain(cache);
    for (unsigned class_index = 1; class_index < cache_class_limit(cache); class_index++) {
        struct hhi_slab *slab = cache->bins[class_index].slab;
        if (slab == NULL || (!small_ones && hhi_class_granules(class_index) == 1) ||
            hhi_slab_count_live(slab) != 0)
            continue;
        bin_unload(cache, class_index);
        if (slab->state == HHI_SLAB_PARTIAL && slab_disown(cache, slab))
            (void)hhi_heap_retire_unnoted(slab);
    }
    (void)hhi_kept_release_own(cache);
}

size_t
hhi_cache_purge(struct hhi_cache *cache)
{
    size_t purged_bytes = 0;
    hhi_cache_drain(cache);
    cache_release_kept(cache);
    for (unsigned class_index = 1; class_index < cache_class_limit(cache); class_index++) {
        bin_unload(cache, class_index);
        struct hhi_slab *next;
        for (struct hhi_slab *slab = cache->partial[class_index]; slab != NULL; slab = next) {
            next = slab->next;
            slab->head_fresh = false;
            if (hhi_slab_count_live(slab) == 0 && slab_disown(cache, slab))
                hhi_heap_retire_slab(slab);
            else
                purged_bytes += hhi_slab_purge_owned(slab);
        }
    }
    return purged_bytes;
}

/*
 * Whether free pages should be looked for in a partial slab: it has been there since the last time
 * at least, and they were not looked for yet, or much was freed since.
 */
static bool
slab_is_stale(struct hhi_slab *slab)
{
    if (hhi_slab_look(slab) == HHI_LOOK_NEVER) {
        hhi_slab_set_look(slab, HHI_LOOK_NEXT);
        return false;
    }
    // relaxed: the owner's while the slab is partial.
    int32_t freed = (int32_t)hh_load_relaxed(&slab->stamp_ms) - slab->credit;
    return hhi_slab_look(slab) == HHI_LOOK_NEXT ||
           freed >= (int32_t)(slab_block_count(slab) / STALE_DIVISOR + 1);
}

// The slab of a list that has not been allocated from for the longest time.
static struct hhi_slab *
partial_last(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_slab *slab = cache->partial[class_index];
    while (slab != NULL && slab->next != NULL)
        slab = slab->next;
    return slab;
}

void
hhi_cache_purge_stale(struct hhi_cache *cache, struct hhi_purge_budget *budget)
{
    unsigned class_limit = cache_class_limit(cache);
    for (unsigned classes = 0; classes < class_limit; classes++) {
        unsigned class_index = cache->stale_class;
        for (struct hhi_slab *slab = partial_last(cache, class_index); slab != NULL;
             slab = slab->previous) {
            if (hhi_purge_budget_is_spent(budget))
                return; // goes on in this class
            if (!slab_is_stale(slab))
                continue;
            slab->head_fresh = false;
            hhi_slab_purge_within(slab, budget);
            // relaxed: as in slab_is_stale.
            hh_store_relaxed(&slab->stamp_ms, (uint32_t)slab->credit);
        }
        cache->stale_class = (uint8_t)(class_index + 1 < class_limit ? class_index + 1 : 0);
    }
}

void
hhi_cache_start(struct hhi_cache *cache)
{
    for (unsigned class_index = 0; class_index < cache_class_limit(cache); class_index++)
        cache->bins[class_index].head = HHI_LINK_END;
    hhi_inbox_forget_arrived(cache);
}

static void
lists_reset(struct hhi_cache *cache)
{
    // order: acquire [TC-4] the lists have room for as many.
    unsigned class_limit = hh_load_acquire(&cache->class_limit);
    for (unsigned class_index = 0; class_index < class_limit; class_index++) {
        cache->bins[class_index] = (struct hhi_bin){.head = HHI_LINK_END};
        cache->partial[class_index] = NULL;
        cache->shared_use[class_index] = 0;
    }
    hhi_kept_forget(cache);
    hhi_inbox_forget_arrived(cache);
    cache->guests = 0;
    cache->partial_bytes = 0;
    cache->shared_all = false;
}

void
hhi_cache_reset(struct hhi_cache *cache)
{
    lists_reset(cache);
    // relaxed: nobody owns or frees blocks of this cache now.
    hh_store_relaxed(&cache->inbox, NULL);
}

// ---- After a fork -------------------------------------------------------------------------------

// Owned by the cache, or kept in one of its slots.
static bool
slab_belongs_to(struct hhi_slab *slab, struct hhi_cache *cache)
{
    struct hhi_cache *owner = slab_owner(slab);
    return owner == cache ||
           (owner == &hhi_cache_none && slab->state == HHI_SLAB_KEPT && slab->kept_by == cache);
}

// The first run from here on that is a slab of the cache, or NULL. Under the heap's lock.
static struct hhi_slab *
mend_next(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // relaxed: only the caller makes slabs this cache's, or ends them.
    while (slab != NULL &&
           (hh_load_relaxed(&slab->kind) != HHI_KIND_SLAB || !slab_belongs_to(slab, cache)))
        slab = slab->heap_next;
    return slab;
}

// Put a slab of a lost thread where it belongs; what others have freed is not free yet.
static void
torn_place(struct hhi_cache *cache, struct hhi_slab *slab)
{
    slab->next = slab->previous = NULL;
    // relaxed: of a kept slab, whose token nobody else has [SL-3]; else it is so already.
    hh_store_relaxed(&slab->owner, cache);
    hhi_slab_rebuild(slab);
    if (slab->freed == HHI_LINK_END && slab->init == slab_block_count(slab)) {
        slab_becomes_full(slab);
    } else {
        partial_push(cache, slab);
        partial_rest(slab);
    }
}

// The heap's lock, if the heap has not been ended by another thread meanwhile.
static bool
mend_enter(struct hhi_cache *cache)
{
    struct hh_heap *heap = cache->heap;
    hhi_lock_enter(&heap->lock);
    // relaxed: written under the heap's lock.
    if (hh_load_relaxed(&cache->heap_id) == heap->key.id)
        return true;
    hhi_lock_leave(&heap->lock);
    return false;
}

void
hhi_cache_mend_lists(struct hhi_cache *cache)
{
    if (!mend_enter(cache))
        return;
    cache->kept_filled = UINT32_MAX; // what the lost thread had filled may be newer than noted
    lists_reset(cache);
    for (struct hhi_slab *slab = cache->heap->runs; (slab = mend_next(cache, slab)) != NULL;
         slab = slab->heap_next)
        torn_place(cache, slab);
    hhi_lock_leave(&cache->heap->lock);
}

void
hhi_cache_mend_mark(struct hhi_cache *cache)
{
    hhi_cache_drain(cache);
    if (!mend_enter(cache))
        return;
    for (struct hhi_slab *slab = cache->heap->runs; (slab = mend_next(cache, slab)) != NULL;
         slab = slab->heap_next) {
        // A free that was not told is found by looking at all links, with the token.
        if (slab_owner(slab) == cache) {
            (void)token_take(slab);
            slab->rests = HHI_RESTS_LOST;
        }
    }
    hhi_lock_leave(&cache->heap->lock);
}

void
hhi_cache_mend_settle(struct hhi_cache *cache)
{
    struct hhi_slab *chain = NULL, *next;
    hhi_cache_drain(cache); // what living threads had the token of is here
    if (!mend_enter(cache))
        return;
    for (struct hhi_slab *slab = cache->heap->runs; (slab = mend_next(cache, slab)) != NULL;
         slab = slab->heap_next) {
        if (slab_owner(slab) == cache && slab->rests == HHI_RESTS_LOST) {
            slab->rests = 0;
            hhi_slab_inbox_set_next(slab, chain);
            chain = slab;
        }
    }
    hhi_lock_leave(&cache->heap->lock);
    for (struct hhi_slab *slab = chain; slab != NULL; slab = next) {
        next = hhi_slab_inbox_next(slab);
        arrival_settle(cache, slab);
    }
}

void
hhi_cache_check(struct hhi_cache *cache)
{
    for (unsigned class_index = 0; class_index < cache_class_limit(cache); class_index++) {
        struct hhi_bin *bin = &cache->bins[class_index];
        struct hhi_slab *current = bin->slab;
        HH_CHECK(current != NULL || bin->head == HHI_LINK_END); // I1
        if (current != NULL && hhi_bin_is_guest(bin, class_index)) {
            HH_CHECK(current == cache->bins[hhi_class_coarse(class_index)].slab); // guests.h I1
        } else if (current != NULL) {
            HH_CHECK(current->state == HHI_SLAB_CURRENT && slab_owner(current) == cache); // I2
            HH_CHECK(current->head == HHI_LINK_END);
            uint32_t heads[1 + HHI_GUESTS_MOST];
            heads[0] = bin->head;
            hhi_slab_check_lists(current, heads,
                                 1 + hhi_guests_lists(cache, class_index, heads + 1));
        }
        for (struct hhi_slab *slab = cache->partial[class_index]; slab != NULL; slab = slab->next) {
            HH_CHECK(slab->state == HHI_SLAB_PARTIAL && slab_owner(slab) == cache); // I2
            hhi_slab_check(slab, slab->head);
        }
    }
}
