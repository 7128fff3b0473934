// SPDX-License-Identifier: MIT
// heap/inbox.c - slabs in which other threads have freed blocks, on their way back to the owner.
#include "heap/inbox.h"

#include "heap/lent.h"
#include "meta/meta_arena.h"

enum {
    /*
     * Passes of the sweeper, four in a decay time, for which a slab in which nothing is freed any
     * more, and which its owner does not take, keeps its pages.
     */
    COLD_PASSES = 3,
    TAKE_LOOKS = 8,     // slabs looked at for a certain one
    FEW_MOST_SLABS = 8, // arrived, before each class has a ring of its own
};

void
hhi_inbox_push(struct hhi_cache *cache, struct hhi_slab *first, struct hhi_slab *last)
{
    // relaxed: only a guess for the exchange below.
    struct hhi_slab *head = hh_load_relaxed(&cache->inbox);
    do {
        hhi_slab_inbox_set_next(last, head);
        // order: release [SL-4] publishes inbox_next.
    } while (!hh_cas_weak_release(&cache->inbox, &head, first));
}

static bool
arrivals_enter(struct hhi_cache *cache)
{
    return hhi_lock_try_enter(&cache->arrival_lock);
}

static void
arrivals_leave(struct hhi_cache *cache)
{
    hhi_lock_leave(&cache->arrival_lock);
}

static void
arrived_count_add(struct hhi_cache *cache, int change)
{
    // relaxed (both): written under the lock; a hint without it.
    hh_store_relaxed(&cache->arrived_count,
                     hh_load_relaxed(&cache->arrived_count) + (uint32_t)change);
}

static void
ring_append(struct hhi_slab **last, struct hhi_slab *slab)
{
    if (*last == NULL) {
        hhi_slab_inbox_set_next(slab, slab);
    } else {
        hhi_slab_inbox_set_next(slab, hhi_slab_inbox_next(*last));
        hhi_slab_inbox_set_next(*last, slab);
    }
    *last = slab;
}

// The last of the ring in which slabs of a class are.
static struct hhi_slab **
arrived_ring(struct hhi_cache *cache, unsigned class_index)
{
    return &cache->arrived[class_index & cache->arrived_mask];
}

static void
arrived_append(struct hhi_cache *cache, struct hhi_slab *slab)
{
    ring_append(arrived_ring(cache, hhi_slab_class(slab)), slab);
    arrived_count_add(cache, 1);
}

// Remove the slab after previous from the ring of which *last is the last one.
static struct hhi_slab *
arrived_remove(struct hhi_cache *cache, struct hhi_slab **last, struct hhi_slab *previous)
{
    struct hhi_slab *slab = hhi_slab_inbox_next(previous);
    hhi_slab_inbox_set_next(previous, hhi_slab_inbox_next(slab));
    if (slab == *last)
        *last = slab == previous ? NULL : previous;
    arrived_count_add(cache, -1);
    return slab;
}

// Give each class a ring of its own. Without memory it stays as it is, which is slower.
static void
arrived_spread(struct hhi_cache *cache)
{
    struct hhi_slab **all = hhi_meta_alloc(HHI_ARRIVED_ALL * sizeof(struct hhi_slab *));
    if (all == NULL)
        return;
    for (unsigned ring = 0; ring < HHI_ARRIVED_FEW; ring++) {
        struct hhi_slab *last = cache->arrived_few[ring], *next;
        if (last == NULL)
            continue;
        struct hhi_slab *slab = hhi_slab_inbox_next(last);
        hhi_slab_inbox_set_next(last, NULL);
        for (; slab != NULL; slab = next) {
            next = hhi_slab_inbox_next(slab);
            ring_append(&all[hhi_slab_class(slab) & (HHI_ARRIVED_ALL - 1)], slab);
        }
        cache->arrived_few[ring] = NULL;
    }
    cache->arrived = all;
    cache->arrived_mask = HHI_ARRIVED_ALL - 1;
}

// Move what is in the inbox behind what has arrived before, in the order it was pushed.
static void
arrivals_gather(struct hhi_cache *cache)
{
    // relaxed: a first look without a locked instruction.
    if (hh_load_relaxed(&cache->inbox) == NULL)
        return;
    // order: acquire [SL-4] inbox_next of all that was pushed.
    struct hhi_slab *newest = hh_exchange_acquire(&cache->inbox, NULL);
    struct hhi_slab *oldest = NULL, *next;
    for (; newest != NULL; newest = next) {
        next = hhi_slab_inbox_next(newest);
        hhi_slab_inbox_set_next(newest, oldest);
        oldest = newest;
    }
    for (; oldest != NULL; oldest = next) {
        next = hhi_slab_inbox_next(oldest);
        arrived_append(cache, oldest);
    }
    // relaxed: written under the lock.
    if (hh_unlikely(cache->arrived_mask < HHI_ARRIVED_ALL - 1 &&
                    hh_load_relaxed(&cache->arrived_count) > FEW_MOST_SLABS))
        arrived_spread(cache);
}

// The slab before the oldest one of a class in its ring, or NULL.
static struct hhi_slab *
arrived_before(struct hhi_slab *last, unsigned class_index)
{
    struct hhi_slab *previous = last;
    while (previous != NULL && hhi_slab_class(hhi_slab_inbox_next(previous)) != class_index) {
        previous = hhi_slab_inbox_next(previous);
        if (previous == last)
            return NULL;
    }
    return previous;
}

struct hhi_slab *
hhi_inbox_take(struct hhi_cache *cache, unsigned class_index)
{
    if (!arrivals_enter(cache))
        return NULL;
    struct hhi_slab **last = arrived_ring(cache, class_index), *slab = NULL;
    struct hhi_slab *previous = arrived_before(*last, class_index);
    if (previous == NULL) {
        arrivals_gather(cache);
        last = arrived_ring(cache, class_index);
        previous = arrived_before(*last, class_index);
    }
    if (previous != NULL) {
        slab = arrived_remove(cache, last, previous);
        slab->rests = 0;
        if (*last != NULL) // the next one's record, which another thread has written to
            __builtin_prefetch(hhi_slab_inbox_next(*last));
    }
    arrivals_leave(cache);
    return slab;
}

bool
hhi_inbox_take_slab(struct hhi_cache *cache, struct hhi_slab *slab)
{
    if (!arrivals_enter(cache))
        return false;
    arrivals_gather(cache);
    struct hhi_slab **last = arrived_ring(cache, hhi_slab_class(slab));
    struct hhi_slab *previous = *last;
    bool found = false;
    for (unsigned look = 0; look < TAKE_LOOKS && previous != NULL && !found; look++) {
        found = hhi_slab_inbox_next(previous) == slab;
        if (!found)
            previous = hhi_slab_inbox_next(previous);
    }
    if (found) {
        arrived_remove(cache, last, previous);
        slab->rests = 0;
    }
    arrivals_leave(cache);
    return found;
}

struct hhi_slab *
hhi_inbox_take_any(struct hhi_cache *cache, bool gather)
{
    struct hhi_slab *slab = NULL;
    if (hhi_inbox_is_empty(cache) || !arrivals_enter(cache))
        return NULL;
    if (gather)
        arrivals_gather(cache);
    // relaxed: written under the lock.
    for (unsigned look = 0;
         look <= cache->arrived_mask && hh_load_relaxed(&cache->arrived_count) > 0; look++) {
        cache->arrived_turn = (cache->arrived_turn + 1) & cache->arrived_mask;
        struct hhi_slab **last = &cache->arrived[cache->arrived_turn];
        if (*last != NULL) {
            slab = arrived_remove(cache, last, *last);
            slab->rests = 0;
            break;
        }
    }
    arrivals_leave(cache);
    return slab;
}

// Whether a slab's marked blocks may be purged now.
static bool
slab_is_cold(struct hhi_slab *slab, bool all, size_t *waiting)
{
    // relaxed: a first look.
    bool touched = (hh_load_relaxed(&slab->notice) & HHI_NOTICE_TOUCHED) != 0;
    if (touched) {
        // relaxed: the sweeper looks at the links behind the full barrier of hhi_guard_advance. Either it
        // finds a mark, or the mark's maker finds the bit clear and leads to another look [SL-2].
        hh_fetch_and_relaxed(&slab->notice, ~(uint32_t)HHI_NOTICE_TOUCHED);
        slab->rests = 1;
    } else if (slab->rests != 0) {
        slab->rests++;
    }
    if (slab->rests > COLD_PASSES || (all && slab->rests != 0))
        return true;
    *waiting += slab->rests != 0;
    return false;
}

// Take what has arrived and want holds for; the caller has the lock.
static struct hhi_slab *
arrivals_pick(struct hhi_cache *cache, bool (*want)(struct hhi_slab *slab, void *arg), void *arg)
{
    struct hhi_slab *chain = NULL;
    arrivals_gather(cache);
    for (unsigned ring = 0; ring <= cache->arrived_mask; ring++) {
        struct hhi_slab **last = &cache->arrived[ring], *end = *last, *previous = end;
        for (bool more = end != NULL; more;) {
            struct hhi_slab *slab = hhi_slab_inbox_next(previous);
            more = slab != end;
            if (!want(slab, arg)) {
                previous = slab;
                continue;
            }
            arrived_remove(cache, last, previous);
            hhi_slab_inbox_set_next(slab, chain);
            chain = slab;
        }
    }
    return chain;
}

struct cold_search {
    bool all;
    size_t *waiting;
};

static bool
cold_is_wanted(struct hhi_slab *slab, void *arg)
{
    const struct cold_search *search = arg;
    return slab_is_cold(slab, search->all, search->waiting);
}

struct hhi_slab *
hhi_inbox_take_cold(struct hhi_cache *cache, bool all, size_t *waiting)
{
    struct cold_search search = {all, waiting};
    if (hhi_inbox_is_empty(cache))
        return NULL;
    if (!arrivals_enter(cache)) {
        ++*waiting;
        return NULL;
    }
    struct hhi_slab *chain = arrivals_pick(cache, cold_is_wanted, &search);
    arrivals_leave(cache);
    return chain;
}

static bool
freed_is_wanted(struct hhi_slab *slab, void *arg)
{
    (void)arg;
    return !hhi_lent_is(slab) && hhi_slab_is_remote(slab);
}

struct hhi_slab *
hhi_inbox_take_freed(struct hhi_cache *cache)
{
    if (hhi_inbox_is_empty(cache) || !arrivals_enter(cache))
        return NULL;
    struct hhi_slab *chain = arrivals_pick(cache, freed_is_wanted, NULL);
    arrivals_leave(cache);
    return chain;
}

void
hhi_inbox_put_cold(struct hhi_cache *cache, struct hhi_slab *first, bool purged)
{
    struct hhi_slab *last = first;
    last->rests = purged ? 0 : COLD_PASSES;
    while (hhi_slab_inbox_next(last) != NULL) {
        last = hhi_slab_inbox_next(last);
        last->rests = purged ? 0 : COLD_PASSES;
    }
    hhi_inbox_push(cache, first, last);
}

void
hhi_inbox_forget_arrived(struct hhi_cache *cache)
{
    // A lost thread may have been spreading them.
    bool few = cache->arrived == cache->arrived_few;
    cache->arrived_mask = (few ? HHI_ARRIVED_FEW : HHI_ARRIVED_ALL) - 1;
    for (unsigned ring = 0; ring <= cache->arrived_mask; ring++)
        cache->arrived[ring] = NULL;
    for (unsigned ring = 0; ring < HHI_ARRIVED_FEW; ring++)
        cache->arrived_few[ring] = NULL;
    // relaxed: nobody else uses what has arrived.
    hh_store_relaxed(&cache->arrived_count, 0);
    hhi_lock_reset(&cache->arrival_lock);
}
