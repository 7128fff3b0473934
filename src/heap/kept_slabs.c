// SPDX-License-Identifier: MIT
// heap/kept_slabs.c - empty slabs a thread's cache holds back for a while.
#include "heap/kept_slabs.h"

#include "heap/sweep.h"
#include "options/options.h"
#include "os/os.h"

enum {
    KEPT_MOST_GRANULES = 64, // 4 MiB of address space; of it the memory that was touched
    KEPT_NOTED_BYTES = 1 << 20,
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

// A free slot, HHI_KEPT_SLABS if there is none or granules more were too many.
static unsigned
slot_find(struct hhi_cache *cache, uint32_t granules)
{
    unsigned found = HHI_KEPT_SLABS;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++) {
        // relaxed: others only empty slots.
        if (hh_load_relaxed(&cache->kept[slot]) != NULL)
            granules += hhi_class_granules(cache->kept_class[slot]);
        else
            found = slot;
    }
    cache->kept_full = found == HHI_KEPT_SLABS;
    return granules <= KEPT_MOST_GRANULES ? found : HHI_KEPT_SLABS;
}

bool
hhi_kept_put(struct hhi_cache *cache, struct hhi_slab *slab)
{
    // Without a sweeper that comes by itself a sleeping thread's slabs would stay for ever.
    if (cache->kept_full || !hhi_sweep_comes())
        return false;
    // relaxed: fixed while carved.
    unsigned class_index = hh_load_relaxed(&slab->class_index);
    uint32_t granules = hhi_class_granules(class_index);
    unsigned slot = slot_find(cache, granules);
    if (slot == HHI_KEPT_SLABS)
        return false;
    cache->kept_some = true;
    slab->state = HHI_SLAB_KEPT;
    slab->kept_by = cache;
    // relaxed: published by the slot; a hint to who has not taken the slab.
    hh_store_relaxed(&slab->stamp_ms, (uint32_t)hhi_os_clock_ms());
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

struct hhi_slab *
hhi_kept_take(struct hhi_cache *cache, unsigned class_index)
{
    if (!cache->kept_some)
        return NULL;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++) {
        if (cache->kept_class[slot] != class_index)
            continue;
        struct hhi_slab *slab = slot_empty(cache, slot);
        if (slab == NULL)
            continue;
        cache->kept_full = false;
        return slab;
    }
    return NULL;
}

size_t
hhi_kept_release_own(struct hhi_cache *cache)
{
    if (!cache->kept_some)
        return 0;
    cache->kept_some = cache->kept_full = false;
    return hhi_kept_release(cache, NULL, NULL);
}

size_t
hhi_kept_release(struct hhi_cache *cache, bool (*due)(void *arg, uint32_t stamp_ms), void *arg)
{
    size_t released_bytes = 0;
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS; slot++) {
        // relaxed (both): a hint; records are never unmapped, and a younger slab that came into the
        // slot meanwhile may go as well.
        struct hhi_slab *slab = hh_load_relaxed(&cache->kept[slot]);
        if (slab == NULL || (due != NULL && !due(arg, hh_load_relaxed(&slab->stamp_ms))))
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
    for (unsigned slot = 0; slot < HHI_KEPT_SLABS && cache->kept_some; slot++)
        // relaxed: the caller is alone on the cache.
        hh_store_relaxed(&cache->kept[slot], NULL);
    cache->kept_some = cache->kept_full = false;
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
