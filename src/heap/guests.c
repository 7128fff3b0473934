// SPDX-License-Identifier: MIT
// heap/guests.c - see guests.h.
#include "heap/guests.h"

// The bit of a class in hhi_cache.guests; 0: its slabs have no guests.
static uint8_t
host_bit(unsigned class_index)
{
    bool is_host = class_index >= HHI_COARSE_MIN_CLASS && class_index <= HHI_SMALL_CLASSES &&
                   hh_is_power_of_two(class_index);
    return (uint8_t)(is_host ? 1u << hh_log2_floor(class_index) : 0);
}

// The next guest in the current slab of a class, of classes below last; 0: no more.
static unsigned
guest_before(struct hhi_cache *cache, unsigned class_index, unsigned last)
{
    struct hhi_slab *slab = cache->bins[class_index].slab;
    for (unsigned guest = last - 1; guest > 0 && hhi_class_coarse(guest) == class_index; guest--)
        if (cache->bins[guest].slab == slab && slab != NULL)
            return guest;
    return 0;
}

unsigned
hhi_guests_lists(struct hhi_cache *cache, unsigned class_index, uint32_t heads[HHI_GUESTS_MOST])
{
    unsigned count = 0, guest = class_index;
    if ((cache->guests & host_bit(class_index)) == 0)
        return 0;
    while ((guest = guest_before(cache, class_index, guest)) != 0) {
        HH_CHECK(count < HHI_GUESTS_MOST); // I3
        heads[count++] = cache->bins[guest].head;
    }
    return count;
}

void
hhi_guest_leave(struct hhi_bin *bin)
{
    struct hhi_slab *slab = bin->slab;
    uint32_t last = bin->head, next;
    if (last != HHI_LINK_END) {
        // relaxed (both): the owner's own list.
        while ((next = hh_load_relaxed(&bin->links[last])) != HHI_LINK_END)
            last = next;
        hh_store_relaxed(&bin->links[last], (uint16_t)slab->freed);
        slab->freed = bin->head;
    }
    bin->head = HHI_LINK_END;
    bin->slab = NULL;
}

void
hhi_guests_leave(struct hhi_cache *cache, unsigned class_index)
{
    uint8_t bit = cache->guests != 0 ? host_bit(class_index) : 0;
    if (hh_likely((cache->guests & bit) == 0))
        return;
    for (unsigned guest = class_index; (guest = guest_before(cache, class_index, guest)) != 0;)
        hhi_guest_leave(&cache->bins[guest]);
    cache->guests &= (uint8_t)~bit;
}

// Step over up to most blocks of a list; how many. *last: the last of them; *rest: what follows.
static uint32_t
list_step(hhi_link *links, uint32_t head, uint32_t most, uint32_t *last, uint32_t *rest)
{
    uint32_t count = 0;
    for (*rest = head; *rest != HHI_LINK_END && count < most; count++) {
        *last = *rest;
        // relaxed: the owner's own list.
        *rest = hh_load_relaxed(&links[*last]);
    }
    return count;
}

// A guest's list: blocks freed in the host, and if they are few some of its bin's, as the class has a
// right to them.
static uint32_t
guest_list(struct hhi_bin *host, unsigned class_index, uint8_t *use)
{
    uint32_t wanted = HHI_GUEST_BYTES / host->block_bytes;
    uint32_t right = hhi_class_coarse_blocks(class_index);
    uint32_t list = HHI_LINK_END, last = 0, rest;
    uint32_t freed = list_step(host->links, host->slab->freed, wanted, &last, &rest);
    uint32_t freed_last = last, freed_first = host->slab->freed;
    host->slab->freed = rest;
    right = *use < right ? right - *use : 0;
    uint32_t more = wanted - freed < right ? wanted - freed : right;
    uint32_t added = list_step(host->links, host->head, more, &last, &rest);
    *use = (uint8_t)(*use + added);
    if (added != 0) {
        list = host->head;
        host->head = rest;
        // relaxed (here and below): the owner's own list.
        hh_store_relaxed(&host->links[last], HHI_LINK_END);
    }
    if (freed == 0)
        return list;
    hh_store_relaxed(&host->links[freed_last], (uint16_t)list);
    return freed_first;
}

bool
hhi_guest_enter(struct hhi_cache *cache, unsigned class_index)
{
    unsigned coarse = hhi_class_coarse(class_index);
    struct hhi_bin *bin = &cache->bins[class_index], *host = &cache->bins[coarse];
    struct hhi_slab *slab = host->slab;
    uint32_t lists[HHI_GUESTS_MOST];
    if (class_index < HHI_GUEST_MIN_CLASS ||
        cache->shared_use[class_index] < HHI_GUEST_FROM_BLOCKS || coarse == class_index ||
        host_bit(coarse) == 0 || slab == NULL ||
        slab->init * host->block_bytes > HHI_GUEST_HOST_BYTES ||
        hhi_guests_lists(cache, coarse, lists) == HHI_GUESTS_MOST)
        return false;
    uint32_t list = guest_list(host, class_index, &cache->shared_use[class_index]);
    if (list == HHI_LINK_END)
        return false;
    bin->head = list;
    bin->block_bytes = host->block_bytes;
    bin->links = host->links;
    bin->base = host->base;
    bin->slab = slab;
    cache->guests |= host_bit(coarse);
    slab->head_fresh = false;
    return true;
}
