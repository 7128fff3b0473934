// SPDX-License-Identifier: MIT
// heap/block_place.c - see block_place.h.
#include "heap/block_place.h"

#include <string.h>

#include "slab/slab.h"

// How far to each side the nearest live block is looked for.
enum { PLACE_GRANULES = 64 };

// A slab's fields as they were read once. They may be of two lives of the record; every access that
// follows stays inside the links (HHI_META_OVERREAD_BYTES) all the same.
struct place_slab {
    uintptr_t base;
    hhi_link *links;
    size_t block_bytes;
    uint32_t count;
};

static bool
place_read(struct hhi_slab *slab, struct place_slab *read)
{
    // relaxed (all): for a report; see above.
    read->base = hhi_slab_base(slab);
    read->links = hh_load_relaxed(&slab->links);
    read->block_bytes = hh_load_relaxed(&slab->block_bytes);
    read->count = hh_load_relaxed(&slab->block_count);
    return read->links != NULL;
}

static void
place_neighbour(const struct place_slab *slab, uint32_t index, struct hhi_block_neighbour *found)
{
    // relaxed: for a report.
    uint32_t link = hh_load_relaxed(&slab->links[index]);
    found->base = slab->base + index * slab->block_bytes;
    found->size_bytes = slab->block_bytes;
    found->state = link == HHI_LINK_LIVE     ? "allocated"
                   : link == HHI_LINK_REMOTE ? "freed by another thread"
                                             : "free";
}

// How far address is from a block; 0: inside it.
static size_t
place_distance(uintptr_t address, uintptr_t base, size_t size_bytes)
{
    return address < base                ? base - address
           : address < base + size_bytes ? 0
                                         : address - base - size_bytes + 1;
}

static void
place_offer(uintptr_t address, uintptr_t base, size_t size_bytes,
            struct hhi_block_neighbour *nearest)
{
    if (nearest->base != 0 && place_distance(address, nearest->base, nearest->size_bytes) <=
                                  place_distance(address, base, size_bytes))
        return;
    *nearest = (struct hhi_block_neighbour){base, size_bytes, "allocated"};
}

// Offer the live blocks of the run that begins at granule head, but for the address's own.
static void
place_offer_run(uintptr_t address, uint32_t head, struct hhi_block_neighbour *nearest)
{
    struct hhi_slab *slab = hhi_slab_at(head);
    struct place_slab read;
    // relaxed: for a report; see place_slab.
    unsigned kind = hh_load_relaxed(&slab->kind);
    if (kind == HHI_KIND_LARGE) {
        // relaxed (both): for a report.
        size_t size_bytes = hh_load_relaxed(&slab->block_bytes);
        if (hh_load_relaxed(&slab->large_of) != NULL && address - hhi_slab_base(slab) >= size_bytes)
            place_offer(address, hhi_slab_base(slab), size_bytes, nearest);
        return;
    }
    if (kind != HHI_KIND_SLAB || !place_read(slab, &read))
        return;
    for (uint32_t index = 0; index < read.count; index++) {
        uintptr_t base = read.base + index * read.block_bytes;
        // relaxed: for a report.
        if (hh_load_relaxed(&read.links[index]) == HHI_LINK_LIVE &&
            address - base >= read.block_bytes)
            place_offer(address, base, read.block_bytes, nearest);
    }
}

// The run of one granule, if there is one and it is not `last`; its first granule.
static uint32_t
place_head_at(size_t granule, uint32_t last)
{
    if (!hhi_granule_is_inside(granule))
        return UINT32_MAX;
    // relaxed: as in window.h.
    uint32_t head = hh_load_relaxed(&hhi_window.heads[granule]) - 1;
    return head == last ? UINT32_MAX : head;
}

// Outwards from the address's granule, until a granule is farther than what was found.
static void
place_find_nearest(uintptr_t address, struct hhi_block_neighbour *nearest)
{
    size_t middle = hhi_granule_of((const void *)address);
    uint32_t below = UINT32_MAX, above = UINT32_MAX;
    for (size_t step = 0; hhi_granule_is_inside(middle) && step <= PLACE_GRANULES; step++) {
        if (step > 1 && nearest->base != 0 &&
            place_distance(address, nearest->base, nearest->size_bytes) < (step - 1)
                                                                              << HHI_GRANULE_SHIFT)
            return;
        uint32_t head = place_head_at(middle + step, above);
        if (head != UINT32_MAX)
            place_offer_run(address, above = head, nearest);
        head = step > middle ? UINT32_MAX : place_head_at(middle - step, below);
        if (head != UINT32_MAX)
            place_offer_run(address, below = head, nearest);
    }
}

void
hhi_block_find_place(const void *address, struct hhi_block_place *place)
{
    memset(place, 0, sizeof *place);
    place_find_nearest((uintptr_t)address, &place->nearest);
    unsigned kind = HHI_KIND_NONE;
    struct hhi_slab *slab = hhi_slab_find(address, &kind);
    struct place_slab read;
    if (slab != NULL && kind == HHI_KIND_LARGE) {
        place->slab = slab;
        place->slab_base = hhi_slab_base(slab);
        place->large = true;
        return;
    }
    if (slab == NULL || kind != HHI_KIND_SLAB || !place_read(slab, &read))
        return;
    uint32_t slot;
    hhi_slab_block_at(slab, address, &slot);
    if (slot >= read.count)
        return;
    place->slab = slab;
    place->slab_base = read.base;
    place->class_bytes = read.block_bytes;
    place->slot = slot;
    place->slots = read.count;
    if (slot > 0)
        place_neighbour(&read, slot - 1, &place->before);
    if (slot + 1 < read.count)
        place_neighbour(&read, slot + 1, &place->behind);
}
