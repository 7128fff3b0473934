// SPDX-License-Identifier: MIT
// heap/lent.c - see lent.h.
#include "heap/lent.h"

#include "heap/inbox.h"
#include "heap/limit.h"

static void
lent_set(struct hhi_slab *slab, bool lent)
{
    // relaxed (both): the token's holder's.
    unsigned others = hh_load_relaxed(&slab->flags) & ~(unsigned)HHI_SLAB_LENT;
    hh_store_relaxed(&slab->flags, (uint8_t)(others | (lent ? HHI_SLAB_LENT : 0)));
}

static size_t
lent_bytes(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
}

static struct hhi_budget *
lent_budget(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return &hh_load_relaxed(&slab->heap)->budget;
}

static bool
lent_make_one(struct hhi_slab *slab)
{
    if (!hhi_slab_is_remote(slab) || !hhi_slab_purge_all(slab))
        return false;
    lent_set(slab, true);
    hhi_budget_discharge(lent_budget(slab), lent_bytes(slab));
    return true;
}

void
hhi_lent_make(struct hhi_cache *cache)
{
    struct hhi_slab *freed = hhi_inbox_take_freed(cache);
    if (freed == NULL)
        return;
    // relaxed: an owner that still collects from one of them read its section's epoch before it gave
    // the token back, so before the slab was taken [SL-4]: this is not an older one.
    uint64_t taken_epoch = hh_load_relaxed(&hhi_guard_epoch);
    bool all = hhi_guard_advance() > taken_epoch;
    for (struct hhi_slab *slab = freed; all && slab != NULL; slab = hhi_slab_inbox_next(slab))
        all = lent_make_one(slab);
    hhi_inbox_put_cold(cache, freed, all);
}

bool
hhi_lent_take_back_slow(struct hhi_slab *slab, unsigned level)
{
    if (!hhi_budget_charge(lent_budget(slab), lent_bytes(slab),
                           hhi_level_try(level, HHI_TRY_AT_HAND)))
        return false;
    lent_set(slab, false);
    return true;
}

size_t
hhi_lent_end_slow(struct hhi_slab *slab)
{
    lent_set(slab, false);
    hhi_limit_count(lent_bytes(slab));
    return lent_bytes(slab);
}
