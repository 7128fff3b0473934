// SPDX-License-Identifier: MIT
// region/run.c - runs of granules: taken, given back, purged.
#include "region/run.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/region_map.h"
#include "region/window.h"

enum {
    REGIONS_MAX = 16384,
    REGIONS_NEAR = 8,
    COMMIT_STEP_GRANULES = 32, // 2 MiB: what one mprotect commits, and a huge page
    HUGE_FROM_GRANULES = 1024, // 64 MiB committed: a huge page is little against the heap
    HUGE_RUN_GRANULES = 4,     // larger runs hold few blocks, which may stay untouched in part
    WORD_BITS = 64,
};

struct region {
    uint32_t first, granules;     // where it lies; fixed
    uint32_t committed_granules;  // a prefix; fixed once it is the whole
    uint32_t huge_from, huge_end; // where huge pages are allowed (I4)
    uint32_t huge_ms;             // since when (low 32 bits)
    uint32_t free_granules, dirty_granules;
    uint32_t longest_hint; // no free run is longer; may be too large
    uint32_t lowest_hint;  // no free granule is lower; may be too low
    uint32_t capacity;     // granules the maps have room for
    bool executable;
    bool active;                     // false: released, its addresses may be reserved again
    uint64_t *free_map;              // 1 = free
    uint64_t *dirty_map;             // 1 = free and dirty
    uint32_t *freed_ms;              // per granule: when it became dirty (low 32 bits)
    struct hhi_region_record record; // for the region map while the region is active
};

// Everything under lock unless it says otherwise.
static struct {
    struct hhi_lock lock;
    _Atomic uint32_t region_count; // only grows; under the lock
    uint32_t next_granule;         // where the next region is tried
    struct region *spare;          // a record whose region could not be made
    uint32_t held_first;           // reserved for a region that could not be made
    uint32_t held_granules;        // 0: nothing
    uint32_t step_limit;    // no region larger than this is tried unless needed; 0 = no limit
    bool pages_refused;     // since something was given up for want of pages
    bool addresses_refused; // since address space was last had
    size_t reserved_granules;
    size_t committed_granules;
    _Atomic size_t dirty_granules; // written under lock, read by anyone
    _Atomic bool had_huge_pages;   // set under lock, read by anyone
    uint64_t purged_bytes;
} runs HH_START_STATE;
// All regions, under lock: most processes have few.
static struct region *run_regions[REGIONS_NEAR] HH_START_STATE;
static struct region *run_regions_far[REGIONS_MAX - REGIONS_NEAR];

static struct region **
region_slot(uint32_t index)
{
    return index < REGIONS_NEAR ? &run_regions[index] : &run_regions_far[index - REGIONS_NEAR];
}

static bool
map_test(const uint64_t *map, uint32_t bit)
{
    return (map[bit / WORD_BITS] >> (bit % WORD_BITS)) & 1;
}

// Set or clear bits [first, first + count); returns how many changed.
static uint32_t
map_assign(uint64_t *map, uint32_t first, uint32_t count, bool value)
{
    uint32_t changed = 0;
    while (count > 0) {
        uint32_t offset = first % WORD_BITS;
        uint32_t here = WORD_BITS - offset < count ? WORD_BITS - offset : count;
        uint64_t mask = (here == WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << here) - 1) << offset;
        uint64_t *word = &map[first / WORD_BITS];
        changed += (uint32_t)__builtin_popcountl(mask & (value ? ~*word : *word));
        *word = value ? *word | mask : *word & ~mask;
        first += here;
        count -= here;
    }
    return changed;
}

// First bit at or after from that has value; limit if none.
static uint32_t
map_next(const uint64_t *map, uint32_t from, uint32_t limit, bool value)
{
    while (from < limit) {
        uint64_t word = map[from / WORD_BITS];
        if (!value)
            word = ~word;
        word >>= from % WORD_BITS;
        if (word != 0) {
            uint32_t found = from + (uint32_t)__builtin_ctzl(word);
            return found < limit ? found : limit;
        }
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return limit;
}

static void
dirty_add(int64_t granules)
{
    // relaxed: written under the lock only; readers want a rough figure.
    hh_store_relaxed(&runs.dirty_granules,
                     hh_load_relaxed(&runs.dirty_granules) + (size_t)granules);
}

// ---- Regions ------------------------------------------------------------------------------------

static uint32_t
region_default_granules(void)
{
    size_t size_bytes = hhi_opt.region_bytes;
    if (size_bytes == 0) {
        size_bytes = (hhi_window.granules << HHI_GRANULE_SHIFT) / 32;
        if (size_bytes > (size_t)64 << 20) {
            // A large heap takes larger steps: fewer regions to look through.
            size_bytes = (runs.reserved_granules << HHI_GRANULE_SHIFT) / 4;
            if (size_bytes < (size_t)64 << 20)
                size_bytes = (size_t)64 << 20;
            if (size_bytes > (size_t)1 << 30)
                size_bytes = (size_t)1 << 30;
        }
    }
    if (size_bytes < (size_t)1 << 20)
        size_bytes = (size_t)1 << 20;
    return (uint32_t)(hh_align_up(size_bytes, (size_t)1 << 20) >> HHI_GRANULE_SHIFT);
}

// First granule at or above at from where granules lie apart from all regions.
static size_t
region_gap(size_t at, uint32_t granules)
{
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++) {
        const struct region *region = *region_slot(index);
        if (!region->active || region->first >= at + granules ||
            region->first + region->granules <= at)
            continue;
        at = region->first + region->granules;
        index = UINT32_MAX; // from the first again
    }
    return at;
}

// Reserve granules in [from, limit) of the window. 0 or -errno; -ENOSPC: no room between others.
static int
region_reserve_between(size_t from, size_t limit, uint32_t granules, uint32_t *first)
{
    uint32_t step = HHI_GRANULES_PER_MIB;
    for (size_t at = region_gap(from, granules); at + granules <= limit;
         at = region_gap(at + step, granules)) {
        intptr_t result = hhi_os_reserve((void *)hhi_granule_address((uint32_t)at),
                                         (size_t)granules << HHI_GRANULE_SHIFT);
        if (result >= 0) {
            *first = (uint32_t)at;
            return 0;
        }
        if (result != -EEXIST)
            return (int)result;
        // Something foreign stands there: step over it, faster and faster.
        if (step < 1u << 14)
            step *= 2;
    }
    return -ENOSPC;
}

// Reserve granules above what was used so far; where there is no room any more, because of the
// window's end or of foreign mappings, in the gaps that released regions have left. 0 or -errno.
static int
region_reserve(uint32_t granules, uint32_t *first)
{
    int result = region_reserve_between(runs.next_granule, hhi_window.granules, granules, first);
    if (result == -ENOSPC)
        result = region_reserve_between(0, hhi_window.granules, granules, first);
    return result;
}

static struct region *
region_record(uint32_t granules)
{
    struct region *spare = runs.spare;
    if (spare != NULL && spare->capacity >= granules) {
        runs.spare = NULL;
        return spare;
    }
    size_t map_bytes = (granules + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
    size_t record_bytes = hh_align_up(sizeof(struct region), HH_CACHE_LINE_BYTES);
    void *times; // few programs free whole runs
    char *maps =
        hhi_meta_alloc_two(record_bytes + 2 * map_bytes, granules * sizeof(uint32_t), &times);
    if (maps == NULL)
        return NULL;
    struct region *region = (struct region *)(void *)maps;
    maps += record_bytes;
    region->free_map = (uint64_t *)(void *)maps;
    region->dirty_map = (uint64_t *)(void *)(maps + map_bytes);
    region->freed_ms = times;
    region->capacity = granules;
    return region;
}

// Enter the region into the region map, where queries find it. False without memory.
static bool
region_publish(struct region *region, bool executable)
{
    uintptr_t base = hhi_granule_address(region->first);
    region->record.base = base;
    region->record.end = base + ((uintptr_t)region->granules << HHI_GRANULE_SHIFT);
    region->record.kind = executable ? HHI_REGION_EXECUTABLE : HHI_REGION_SLAB;
    hhi_region_record_set_committed(&region->record, base);
    return hhi_region_map_insert(&region->record) == 0;
}

// A kernel that knows no huge pages refuses, and there is nothing to be allowed or forbidden.
static void
region_allow_huge(const struct region *region, uint32_t from, uint32_t end, bool allow)
{
    (void)hhi_os_allow_huge((void *)hhi_granule_address(region->first + from),
                            (size_t)(end - from) << HHI_GRANULE_SHIFT, allow);
}

static bool
region_start(struct region *region, uint32_t index, bool executable)
{
    if (!region_publish(region, executable))
        return false;
    region->committed_granules = region->huge_from = region->huge_end = 0;
    region_allow_huge(region, 0, region->granules, false);
    region->free_granules = region->longest_hint = region->granules;
    region->dirty_granules = region->lowest_hint = 0;
    region->executable = executable;
    region->active = true;
    map_assign(region->free_map, 0, region->granules, true);
    map_assign(region->dirty_map, 0, region->granules, false);
    for (uint32_t mib = 0; mib < region->granules / HHI_GRANULES_PER_MIB; mib++)
        // relaxed: read under the lock only.
        hh_store_relaxed(hhi_region_of_granule(region->first + mib * HHI_GRANULES_PER_MIB),
                         index + 1);
    runs.reserved_granules += region->granules;
    return true;
}

static void
granules_release(uint32_t first, uint32_t granules)
{
    hhi_os_release((void *)hhi_granule_address(first), (size_t)granules << HHI_GRANULE_SHIFT);
}

// Reserve the addresses of a released region again, if one fits. *refused: granules that the kernel
// would not reserve, or 0.
static struct region *
region_revive(uint32_t granules, bool executable, uint32_t *refused)
{
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++) {
        struct region *region = *region_slot(index);
        // Of the same kind, since a late reader of the map may still look at the record.
        if (region->active || region->executable != executable || region->granules < granules ||
            region->granules > 2 * granules)
            continue;
        intptr_t result = hhi_os_reserve((void *)hhi_granule_address(region->first),
                                         (size_t)region->granules << HHI_GRANULE_SHIFT);
        if (result == -EEXIST)
            continue;
        if (result < 0) {
            *refused = region->granules; // refused once is refused for all of them
            return NULL;
        }
        if (region_start(region, index, executable))
            return region;
        granules_release(region->first, region->granules);
    }
    return NULL;
}

static void
held_release(void)
{
    if (runs.held_granules != 0)
        granules_release(runs.held_first, runs.held_granules);
    runs.held_granules = 0;
}

// Make a region of what is held; without memory for its tables it stays held.
static struct region *
region_create(struct region *region, bool executable)
{
    uint32_t first = runs.held_first, granules = runs.held_granules;
    // relaxed: written under the lock, which is held.
    uint32_t index = hh_load_relaxed(&runs.region_count);
    region->first = first;
    region->granules = granules;
    if (!hhi_window_cover((size_t)first + granules) || !region_start(region, index, executable)) {
        runs.spare = region;
        return NULL;
    }
    runs.held_granules = 0;
    if (runs.next_granule < first + granules)
        runs.next_granule = first + granules;
    *region_slot(index) = region;
    // relaxed: written and read under the lock.
    hh_store_relaxed(&runs.region_count, index + 1);
    return region;
}

// The steps become smaller with each refusal and larger again with each success.
static void
step_refused(uint32_t granules)
{
    uint32_t half = (uint32_t)hh_align_up(granules / 2, HHI_GRANULES_PER_MIB);
    if (runs.step_limit == 0 || half < runs.step_limit)
        runs.step_limit = half;
}

static void
step_granted(uint32_t granules)
{
    if (runs.step_limit != 0 && granules >= runs.step_limit)
        runs.step_limit = granules > UINT32_MAX / 2 ? 0 : granules * 2;
}

// Reserve and hold granules, or else only what is needed; refused: so many were just refused.
static bool
region_hold(uint32_t granules, uint32_t needed, uint32_t refused)
{
    if (runs.held_granules >= needed)
        return true;
    held_release();
    if (refused == 0) {
        if (region_reserve(granules, &runs.held_first) == 0) {
            step_granted(granules);
            runs.held_granules = granules;
            return true;
        }
        refused = granules;
    }
    step_refused(refused);
    if (refused <= needed || region_reserve(needed, &runs.held_first) != 0)
        return false;
    runs.held_granules = needed;
    return true;
}

/*
 * A new region with room for count granules, and for more if that is asked for and granted: two calls
 * if it is not. Its record comes first: without memory for that nothing is reserved in vain.
 */
static struct region *
region_add(uint32_t count, bool executable, enum hhi_run_ask ask)
{
    uint32_t needed = (uint32_t)hh_align_up(count, HHI_GRANULES_PER_MIB), refused = 0;
    uint32_t granules = ask == HHI_ASK_MORE ? region_default_granules() : needed;
    if (runs.step_limit != 0 && granules > runs.step_limit)
        granules = runs.step_limit;
    if (granules < needed)
        granules = needed;
    struct region *region = NULL;
    if (runs.held_granules < needed)
        region = region_revive(granules, executable, &refused);
    // relaxed: written under the lock, which is held.
    if (region == NULL && hh_load_relaxed(&runs.region_count) < REGIONS_MAX) {
        struct region *record =
            region_record(granules > runs.held_granules ? granules : runs.held_granules);
        if (record != NULL && !region_hold(granules, needed, refused))
            runs.spare = record;
        else if (record != NULL)
            region = region_create(record, executable);
    }
    runs.addresses_refused = region == NULL;
    return region;
}

// Granules [from, end) were just committed, for slabs that will be filled or not (I4).
static void
region_move_huge(struct region *region, uint32_t from, uint32_t end, bool dense)
{
    if (region->huge_from != region->huge_end)
        region_allow_huge(region, region->huge_from, region->huge_end, false);
    region->huge_from = region->huge_end = end;
    if (!hhi_opt.huge_pages || !dense || region->executable ||
        runs.committed_granules < HUGE_FROM_GRANULES)
        return;
    // relaxed: a hint that a pass of the sweeper may miss once.
    hh_store_relaxed(&runs.had_huge_pages, true);
    region->huge_from = from;
    region->huge_ms = (uint32_t)hhi_os_clock_ms();
    region_allow_huge(region, from, end, true);
}

// dense: see region_move_huge. 0 or -errno.
static int
region_commit(struct region *region, uint32_t limit, bool dense)
{
    if (limit <= region->committed_granules)
        return 0;
    // Steps end where a huge page can: at multiples of their size from address 0.
    limit = (uint32_t)hh_align_up(region->first + limit, COMMIT_STEP_GRANULES) - region->first;
    if (limit > region->granules)
        limit = region->granules;
    uint32_t from = region->committed_granules;
    int result = hhi_os_commit((void *)hhi_granule_address(region->first + from),
                               (size_t)(limit - from) << HHI_GRANULE_SHIFT, region->executable);
    if (result != 0)
        return result;
    region_move_huge(region, from, limit, dense);
    region->committed_granules = limit;
    hhi_region_record_set_committed(&region->record, hhi_granule_address(region->first + limit));
    runs.committed_granules += limit - from;
    return 0;
}

static void
region_release(struct region *region)
{
    // Out of sight first: a query must not take what somebody else maps there next for ours.
    hhi_region_map_unpublish(&region->record);
    if (hhi_os_release((void *)hhi_granule_address(region->first),
                       (size_t)region->granules << HHI_GRANULE_SHIFT) != 0) {
        hhi_region_map_publish(&region->record, &region->record);
        return;
    }
    hhi_region_map_withdraw(&region->record);
    region->active = false;
    region->free_granules = region->longest_hint = 0;
    map_assign(region->free_map, 0, region->granules, false);
    runs.reserved_granules -= region->granules;
    runs.committed_granules -= region->committed_granules;
    region->committed_granules = 0;
}

// ---- Runs ---------------------------------------------------------------------------------------

// First fit for count free granules; UINT32_MAX if there is none.
static uint32_t
region_search(struct region *region, uint32_t count, uint32_t alignment)
{
    uint32_t longest = 0;
    uint32_t at = map_next(region->free_map, region->lowest_hint, region->granules, true);
    region->lowest_hint = at;
    while (at < region->granules) {
        uint32_t end = map_next(region->free_map, at, region->granules, false);
        uint32_t aligned = at;
        if (alignment > 1) {
            uintptr_t address = hhi_granule_address(region->first + at);
            uintptr_t bytes = (uintptr_t)alignment << HHI_GRANULE_SHIFT;
            aligned += (uint32_t)((hh_align_up(address, bytes) - address) >> HHI_GRANULE_SHIFT);
        }
        if (aligned < end && end - aligned >= count)
            return aligned;
        if (end - at > longest)
            longest = end - at;
        at = map_next(region->free_map, end, region->granules, true);
    }
    region->longest_hint = longest;
    return UINT32_MAX;
}

// Make free granules used; returns how many were clean.
static uint32_t
region_take(struct region *region, uint32_t at, uint32_t count)
{
    map_assign(region->free_map, at, count, false);
    uint32_t dirty = map_assign(region->dirty_map, at, count, false);
    region->free_granules -= count;
    region->dirty_granules -= dirty;
    dirty_add(-(int64_t)dirty);
    return count - dirty;
}

// Address space that is not even in part committed, and more than the next request is likely to need.
static void
regions_release_unused(void)
{
    uint32_t usual = region_default_granules();
    if (runs.held_granules > usual)
        held_release();
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++) {
        struct region *region = *region_slot(index);
        if (region->active && region->committed_granules == 0 && region->granules > usual)
            region_release(region);
    }
}

static bool
region_alloc(struct region *region, const struct hhi_run_request *request, struct hhi_run *run)
{
    if (!region->active || region->executable != request->executable ||
        region->longest_hint < request->count)
        return false;
    uint32_t at = region_search(region, request->count, request->alignment);
    if (at == UINT32_MAX)
        return false;
    // The kernel is asked for pages once: what it refuses here it refuses elsewhere.
    if (run->refusal != 0 && at + request->count > region->committed_granules)
        return false;
    bool dense = !request->sparse && request->count <= HUGE_RUN_GRANULES;
    int result = region_commit(region, at + request->count, dense);
    if (result != 0) {
        runs.pages_refused = true;
        run->refusal = result;
        return false;
    }
    run->first = region->first + at;
    run->count = request->count;
    run->clean_granules = region_take(region, at, request->count);
    return true;
}

static struct region *
region_of_granule(uint32_t granule)
{
    // relaxed: read under the lock that writers hold.
    uint32_t index = hh_load_relaxed(hhi_region_of_granule(granule));
    HH_CHECK(index != 0);
    return *region_slot(index - 1);
}

bool
hhi_run_alloc(const struct hhi_run_request *request, struct hhi_run *run)
{
    bool done = false;
    run->refusal = request->ask == HHI_ASK_NOTHING ? -ENOMEM : 0;
    hhi_lock_enter(&runs.lock);
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count && !done; index++)
        done = region_alloc(*region_slot(index), request, run);
    if (!done && run->refusal == 0 && request->count <= hhi_window.granules) {
        uint32_t needed = request->count + (request->alignment > 1 ? request->alignment : 0);
        struct region *region = region_add(needed, request->executable, request->ask);
        done = region != NULL && region_alloc(region, request, run);
    }
    if (!done && request->ask == HHI_ASK_NEEDED)
        regions_release_unused();
    hhi_lock_leave(&runs.lock);
    return done;
}

int
hhi_run_extend(uint32_t first, uint32_t count, uint32_t more, uint32_t *clean_granules)
{
    int result = -EEXIST;
    hhi_lock_enter(&runs.lock);
    struct region *region = region_of_granule(first);
    uint32_t at = first - region->first + count;
    if (more <= region->granules && at <= region->granules - more &&
        map_next(region->free_map, at, at + more, false) == at + more)
        result = region_commit(region, at + more, false);
    if (result == 0)
        *clean_granules = region_take(region, at, more);
    else if (result != -EEXIST)
        runs.pages_refused = true;
    hhi_lock_leave(&runs.lock);
    return result;
}

void
hhi_run_free(uint32_t first, uint32_t count)
{
    uint32_t now_ms = (uint32_t)hhi_os_clock_ms();
    hhi_lock_enter(&runs.lock);
    struct region *region = region_of_granule(first);
    uint32_t at = first - region->first;
    HH_CHECK(map_assign(region->free_map, at, count, true) == count);
    map_assign(region->dirty_map, at, count, true);
#pragma GCC unroll 8
    for (uint32_t granule = at; granule < at + count; granule++)
        region->freed_ms[granule] = now_ms;
    region->free_granules += count;
    region->dirty_granules += count;
    region->longest_hint = region->granules;
    if (at < region->lowest_hint)
        region->lowest_hint = at;
    dirty_add(count);
    hhi_lock_leave(&runs.lock);
}

// ---- Purging ------------------------------------------------------------------------------------

static bool
granule_due(const struct region *region, uint32_t at, uint64_t now_ms, uint32_t decay_ms)
{
    return hhi_stamp_is_due(region->freed_ms[at], now_ms, decay_ms);
}

// The next run of dirty granules that are due, at or after from. False if there is none.
static bool
region_due_run(const struct region *region, uint32_t from, uint64_t now_ms, uint32_t decay_ms,
               uint32_t *at, uint32_t *count)
{
    uint32_t granule = map_next(region->dirty_map, from, region->granules, true);
    while (granule < region->granules && !granule_due(region, granule, now_ms, decay_ms))
        granule = map_next(region->dirty_map, granule + 1, region->granules, true);
    if (granule == region->granules)
        return false;
    uint32_t end = granule + 1;
    while (end < region->granules && map_test(region->dirty_map, end) &&
           granule_due(region, end, now_ms, decay_ms))
        end++;
    *at = granule;
    *count = end - granule;
    return true;
}

// Purge free granules with the lock given up meanwhile: they are marked used. They are clean then.
static bool
granules_purge(struct region *region, uint32_t at, uint32_t count)
{
    region_take(region, at, count);
    hhi_lock_leave(&runs.lock);
    size_t size_bytes = (size_t)count << HHI_GRANULE_SHIFT;
    bool purged = hhi_os_purge((void *)hhi_granule_address(region->first + at), size_bytes) == 0;
    hhi_lock_enter(&runs.lock);
    map_assign(region->free_map, at, count, true);
    region->free_granules += count;
    region->longest_hint = region->granules;
    if (at < region->lowest_hint)
        region->lowest_hint = at;
    return purged;
}

// Purge one run of dirty granules.
static size_t
region_purge_run(struct region *region, uint32_t at, uint32_t count)
{
    if (!granules_purge(region, at, count)) {
        // Locked pages, say: they stay dirty, and are tried again after another decay time.
        map_assign(region->dirty_map, at, count, true);
        region->dirty_granules += count;
        dirty_add(count);
        for (uint32_t granule = at; granule < at + count; granule++)
            region->freed_ms[granule] = (uint32_t)hhi_os_clock_ms();
        return 0;
    }
    size_t size_bytes = (size_t)count << HHI_GRANULE_SHIFT;
    runs.purged_bytes += size_bytes;
    return size_bytes;
}

/*
 * A huge page came whole with its first write. What was never carved of the last ones is clean, but
 * uses memory: it goes back when the heap has stopped growing into it.
 */
static void
region_purge_huge(struct region *region, uint64_t now_ms, uint32_t decay_ms)
{
    uint32_t from = region->huge_from, end = region->huge_end;
    if (from == end || !region->active || !hhi_stamp_is_due(region->huge_ms, now_ms, decay_ms))
        return;
    region_move_huge(region, end, end, false);
    while (from < end) {
        uint32_t at = map_next(region->free_map, from, end, true);
        from = map_next(region->free_map, at, end, false);
        uint32_t dirty = map_next(region->dirty_map, at, from, true);
        if (dirty < from) // that part is purged when it is due
            from = dirty > at ? dirty : dirty + 1;
        if (dirty > at && at < from)
            (void)granules_purge(region, at, from - at);
    }
}

static size_t
region_purge(struct region *region, uint64_t now_ms, uint32_t decay_ms, size_t limit_bytes)
{
    size_t purged_bytes = 0;
    uint32_t from = 0, at, count;
    while (purged_bytes < limit_bytes && region->active && region->dirty_granules > 0 &&
           region_due_run(region, from, now_ms, decay_ms, &at, &count)) {
        size_t most = ((limit_bytes - purged_bytes) >> HHI_GRANULE_SHIFT) + 1;
        if (count > most)
            count = (uint32_t)most;
        purged_bytes += region_purge_run(region, at, count);
        from = at + count;
    }
    return purged_bytes;
}

/*
 * Pages were refused: those of the free end of a region count for the kernel as data, and as memory
 * that was promised, as long as they are accessible. The caller has purged them. False: refused, too; it
 * may have been done in part, so in either case they are committed anew before they are used.
 */
static bool
region_uncommit_end(struct region *region)
{
    uint32_t end = region->committed_granules;
    if (!region->active || end == 0)
        return true;
    while (end > 0 && map_test(region->free_map, end - 1) && !map_test(region->dirty_map, end - 1))
        end--;
    end = (uint32_t)hh_align_up(region->first + end, COMMIT_STEP_GRANULES) - region->first;
    if (end + COMMIT_STEP_GRANULES > region->committed_granules)
        return true;
    uint32_t count = region->committed_granules - end;
    uintptr_t from = hhi_granule_address(region->first + end);
    size_t size_bytes = (size_t)count << HHI_GRANULE_SHIFT;
    hhi_region_record_set_committed(&region->record, from);
    bool done = hhi_os_protect((void *)from, size_bytes, HHI_ACCESS_NONE) == 0;
    if (region->huge_end > end)
        region_move_huge(region, end, end, false);
    runs.committed_granules -= count;
    region->committed_granules = end;
    return done;
}

static void
regions_uncommit_ends(void)
{
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count && region_uncommit_end(*region_slot(index)); index++)
        continue;
    runs.pages_refused = false;
}

// An idle process keeps one region reserved; it costs no memory. One that is not committed yet is kept
// for the request that could not have its pages, unless it is addresses that are wanted.
static bool
region_is_worth_keeping(const struct region *region, uint64_t now_ms, bool first)
{
    if (region->committed_granules == 0 && now_ms == HHI_RUN_ALL)
        return !runs.addresses_refused;
    return first && !region->executable;
}

size_t
hhi_run_purge(uint64_t now_ms, uint32_t decay_ms, size_t limit_bytes)
{
    size_t purged_bytes = 0;
    bool keep_one = true;
    hhi_lock_enter(&runs.lock);
    // relaxed: written under the lock, which is held; regions added meanwhile can wait.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count && purged_bytes < limit_bytes; index++) {
        struct region *region = *region_slot(index);
        purged_bytes += region_purge(region, now_ms, decay_ms, limit_bytes - purged_bytes);
        region_purge_huge(region, now_ms, decay_ms);
        if (region->active && region->free_granules == region->granules &&
            region->dirty_granules == 0) {
            if (!region_is_worth_keeping(region, now_ms, keep_one))
                region_release(region);
            keep_one = false;
        }
    }
    if (runs.pages_refused && now_ms == HHI_RUN_ALL)
        regions_uncommit_ends();
    hhi_lock_leave(&runs.lock);
    return purged_bytes;
}

// ---- Figures, fork, check -----------------------------------------------------------------------

bool
hhi_run_had_huge_pages(void)
{
    // relaxed: see where it is stored.
    return hh_load_relaxed(&runs.had_huge_pages);
}

bool
hhi_run_region_can_hold(size_t size_bytes)
{
    bool can = false;
    hhi_lock_enter(&runs.lock);
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count && !can; index++) {
        const struct region *region = *region_slot(index);
        can = region->active && size_bytes >> HHI_GRANULE_SHIFT <= region->granules;
    }
    hhi_lock_leave(&runs.lock);
    return can;
}

size_t
hhi_run_retained_bytes(void)
{
    // relaxed: a rough figure.
    return hh_load_relaxed(&runs.dirty_granules) << HHI_GRANULE_SHIFT;
}

void
hhi_run_read_stats(struct hhi_run_stats *stats)
{
    hhi_lock_enter(&runs.lock);
    stats->regions = 0;
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++)
        stats->regions += (*region_slot(index))->active;
    stats->reserved_bytes = runs.reserved_granules << HHI_GRANULE_SHIFT;
    stats->committed_bytes = runs.committed_granules << HHI_GRANULE_SHIFT;
    stats->retained_bytes = hhi_run_retained_bytes();
    stats->purged_bytes = runs.purged_bytes;
    hhi_lock_leave(&runs.lock);
}

void
hhi_run_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&runs.lock, step);
}

static void
region_check(const struct region *region)
{
    uint32_t free_granules = 0, dirty_granules = 0;
    for (uint32_t at = 0; at < region->granules; at++) {
        bool is_free = map_test(region->free_map, at), dirty = map_test(region->dirty_map, at);
        HH_CHECK(!dirty || is_free);                                                         // I2
        HH_CHECK(at < region->committed_granules || !region->active || (is_free && !dirty)); // I3
        free_granules += is_free;
        dirty_granules += dirty;
        // relaxed: a run's granules change under the lock or by their only owner.
        HH_CHECK(!is_free || hh_load_relaxed(&hhi_window.heads[region->first + at]) == 0); // I1
    }
    HH_CHECK(free_granules == region->free_granules);
    HH_CHECK(dirty_granules == region->dirty_granules);
}

void
hhi_run_check(void)
{
    hhi_lock_enter(&runs.lock);
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++)
        region_check(*region_slot(index));
    hhi_lock_leave(&runs.lock);
}
