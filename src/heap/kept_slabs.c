// SPDX-License-Identifier: MIT
// heap/kept_slabs.c - empty slabs a thread's cache holds back for a while.
#include "heap/kept_slabs.h"

#include "heap/sweep.h"

enum {
    KEPT_MOST_GRANULES = 64, // 4 MiB of address space; of it the memory that was touched
    KEPT_NOTED_BYTES = 1 << 20,
    SLOTS_ALL = (1 << HHI_KEPT_SLABS) - 1,
};

static struct hhi_slab *
slot_empty(struct hhi_cache *cache, unsigned slot)
{
    // relaxed: a first look without a locked instruction.
    if (hh_load_relaxed(&cache->kept[slot]) == NULL)
        return NULL;
    // order: acquire [KS-1] the slab's fields.
    return hh_exchange_acquire(&cache->kept[slot], NULL);
}

// What the owner believes of its slots, from what is in them: others only empty them.
static void
slots_look(struct hhi_cache *cache)
{
    cache->kept_filled = cache->kept_granules = 0;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++) {
        // relaxed: a look.
        if (hh_load_relaxed(&cache->kept[slot]) == NULL)
            continue;
        cache->kept_filled |= 1u << slot;
        cache->kept_granules += hhi_class_granules(cache->kept_class[slot]);
    }
}

static bool
slots_have_room(const struct hhi_cache *cache, uint32_t granules)
{
    return cache->kept_filled != SLOTS_ALL && cache->kept_granules + granules <= KEPT_MOST_GRANULES;
}

bool
hhi_kept_put(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // Without a sweeper that comes by itself a sleeping thread's slabs would stay for ever.
    if (cache->kept_full || !hhi_sweep_comes())
        return false;
    // relaxed (both): fixed while carved.
    unsigned class_index = hh_load_relaxed(&slab->class_index);
    uint32_t granules = hh_load_relaxed(&slab->granules);
    if (!slots_have_room(cache, granules)) {
        slots_look(cache);
        if (!slots_have_room(cache, granules)) {
            cache->kept_full = cache->kept_filled == SLOTS_ALL;
            return false;
        }
    }
    unsigned slot = (unsigned)__builtin_ctz(~cache->kept_filled);
    cache->kept_filled |= 1u << slot;
    cache->kept_granules += granules;
    slab->state = HHI_SLAB_KEPT;
    slab->kept_by = cache;
    // relaxed: published by the slot; 0: the sweeper has not seen it yet.
    hh_store_relaxed(&slab->stamp_ms, 0);
    cache->kept_class[slot] = (uint8_t)class_index;
    // order: release [KS-1].
    hh_store_release(&cache->kept[slot], slab);
    cache->kept_unnoted_bytes += granules << HHI_GRANULE_SHIFT;
    if (cache->kept_unnoted_bytes >= KEPT_NOTED_BYTES) {
        hhi_sweep_note(cache->kept_unnoted_bytes);
        cache->kept_unnoted_bytes = 0;
    }
    return true;
}

// Somebody else has emptied a slot that the owner believed filled.
HH_SLOW static void
slot_lost(struct hhi_cache *cache, unsigned slot)
{
    cache->kept_granules -= hhi_class_granules(cache->kept_class[slot]);
}

struct hhi_slab *
hhi_kept_take(struct hhi_cache *cache, unsigned class_index)
{
    for (uint32_t slots = cache->kept_filled; slots != 0; slots &= slots - 1) {
        unsigned slot = (unsigned)__builtin_ctz(slots);
        if (cache->kept_class[slot] != class_index)
            continue;
        cache->kept_filled &= ~(1u << slot);
        cache->kept_full = false;
        struct hhi_slab *slab = slot_empty(cache, slot);
        if (hh_likely(slab != NULL)) {
            // relaxed: fixed while carved.
            cache->kept_granules -= hh_load_relaxed(&slab->granules);
            return slab;
        }
        slot_lost(cache, slot);
    }
    return NULL;
}

size_t
hhi_kept_release_own(struct hhi_cache *cache)
{
    if (cache->kept_filled == 0)
        return 0;
    cache->kept_filled = cache->kept_granules = 0;
    cache->kept_full = false;
    return hhi_kept_release(cache, NULL, NULL);
}

size_t
hhi_kept_release(struct hhi_cache *cache, bool (*due)(void *arg, struct hhi_slab *slab), void *arg)
{
    size_t released_bytes = 0;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++) {
        // relaxed: a hint; records are never unmapped, and a younger slab that came into the slot
        // meanwhile may go as well.
        struct hhi_slab *slab = hh_load_relaxed(&cache->kept[slot]);
        if (slab == NULL || (due != NULL && !due(arg, slab)))
            continue;
        slab = slot_empty(cache, slot);
        if (slab != NULL)
            released_bytes += hhi_heap_retire_unnoted(slab);
    }
    return released_bytes;
}

void
hhi_kept_forget(struct hhi_cache *cache)
{
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS && cache->kept_filled != 0; slot++)
        // relaxed: the caller is alone on the cache.
        hh_store_relaxed(&cache->kept[slot], NULL);
    cache->kept_filled = cache->kept_granules = 0;
    cache->kept_full = false;
}

unsigned
hhi_kept_count(struct hhi_cache *cache)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++)
        // relaxed: a census.
        count += hh_load_relaxed(&cache->kept[slot]) != NULL;
    return count;
}
