// SPDX-License-Identifier: MIT
/*
 * checked/quarantine.c - freed blocks at rest, first freed first used again.
 *
 * The list is a ring apart from the blocks. An entry whose block is no longer the one that was put
 * in (its heap has ended) is told by the allocation's number and dropped when its turn comes.
 */
#include "base/bits.h"
#include "checked/canary.h"
#include "checked/checked.h"
#include "os/os.h"

enum {
    QUARANTINE_ENTRIES = 1 << 17,
    QUARANTINE_TRY_EVERY =
        256, // freed blocks: how often a list that was not to be had is asked for
};

struct quarantine_entry {
    uintptr_t base;
    uint64_t serial;
    size_t bytes;
};

// Under hhi_checked_lock.
static struct {
    struct quarantine_entry *ring; // NULL: nothing rests
    unsigned missed;               // blocks that did not rest for want of it
    size_t first, count;
    size_t bytes, budget_bytes;
} quarantine;

static bool
quarantine_has_ring(void)
{
    if (hh_likely(quarantine.ring != NULL))
        return true;
    if (quarantine.missed++ % QUARANTINE_TRY_EVERY != 0)
        return false;
    size_t ring_bytes = QUARANTINE_ENTRIES * sizeof *quarantine.ring;
    intptr_t ring = hhi_os_map_private(hh_align_up(ring_bytes, hhi_os_page_bytes()));
    quarantine.ring = ring < 0 ? NULL : (struct quarantine_entry *)ring;
    return ring >= 0;
}

void
hhi_quarantine_start_locked(size_t budget_bytes)
{
    quarantine.budget_bytes = budget_bytes;
    (void)quarantine_has_ring();
}

size_t
hhi_quarantine_budget(void)
{
    return quarantine.budget_bytes;
}

static struct quarantine_entry
quarantine_oldest(void)
{
    struct quarantine_entry entry = quarantine.ring[quarantine.first];
    quarantine.first = (quarantine.first + 1) % QUARANTINE_ENTRIES;
    quarantine.count--;
    quarantine.bytes -= entry.bytes;
    return entry;
}

static void
quarantine_append(struct quarantine_entry entry)
{
    quarantine.ring[(quarantine.first + quarantine.count++) % QUARANTINE_ENTRIES] = entry;
    quarantine.bytes += entry.bytes;
}

// End the rest of the oldest block. False: it has to rest on, since the system refuses its pages, or would:
// refused says that it has just refused others.
static bool
quarantine_end_oldest(struct hhi_checked_findings *findings, bool refused)
{
    struct quarantine_entry entry = quarantine_oldest();
    struct hhi_checked_place place;
    if (!hhi_checked_find_locked((const void *)entry.base, &place) ||
        place.record->serial != entry.serial || place.record->state != HHI_CHECKED_RESTING)
        return true;
    hhi_checked_verify_locked(&place, findings);
    if (place.record->damaged)
        return true;
    if (!(refused && place.record->guarded) && hhi_checked_release_locked(&place))
        return true;
    quarantine_append(entry);
    return false;
}

void
hhi_quarantine_shrink_locked(size_t budget_bytes, struct hhi_checked_findings *findings)
{
    while (quarantine.bytes > budget_bytes && findings->count < HHI_CHECKED_FINDINGS)
        if (!quarantine_end_oldest(findings, false))
            return;
}

bool
hhi_quarantine_empty_locked(struct hhi_checked_findings *findings)
{
    bool refused = false;
    size_t turns = quarantine.count;
    for (; turns > 0 && findings->count < HHI_CHECKED_FINDINGS; turns--)
        refused = !quarantine_end_oldest(findings, refused) || refused;
    return turns == 0;
}

void
hhi_quarantine_put_locked(const struct hhi_checked_place *place,
                          struct hhi_checked_findings *findings)
{
    struct quarantine_entry entry = {place->base, place->record->serial, place->slot_bytes};
    if (quarantine.count == QUARANTINE_ENTRIES)
        quarantine_end_oldest(findings, false);
    if (quarantine_has_ring() && quarantine.count < QUARANTINE_ENTRIES)
        quarantine_append(entry);
    else
        hhi_checked_release_locked(place); // without a list; what is not released rests for ever
}
