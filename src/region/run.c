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
    bool plain;                      // huge pages are forbidden as a whole (I4)
    bool untouched;                  // none of its pages was ever had
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
    bool held_uncovered;           // the window's tables do not reach it, and could not grow
    uint32_t step_limit; // no region larger than this is tried unless needed; 0 = no limit
    uint64_t calls;      // made before the request that holds the lock
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
        size_bytes = (hhi_window.most_granules << HHI_GRANULE_SHIFT) / 32;
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
    int result =
        region_reserve_between(runs.next_granule, hhi_window.most_granules, granules, first);
    if (result == -ENOSPC)
        result = region_reserve_between(0, hhi_window.most_granules, granules, first);
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
    region->plain = false;
    region->untouched = true;
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

// Reserve the addresses of a released region again, if one of granules to most fits. *refused: granules that
// the kernel would not reserve, or 0.
static struct region *
region_revive(uint32_t granules, uint32_t most, bool executable, uint32_t *refused)
{
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++) {
        struct region *region = *region_slot(index);
        // Of the same kind, since a late reader of the map may still look at the record.
        if (region->active || region->executable != executable || region->granules < granules ||
            region->granules > most)
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
    runs.held_uncovered = !hhi_window_cover((size_t)first + granules);
    if (runs.held_uncovered || !region_start(region, index, executable)) {
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

// Memory calls since the request that holds the lock took it; others' that need no lock are among them.
static unsigned
calls_made(void)
{
    return (unsigned)(hhi_os_calls_now() - runs.calls);
}

// Reserve and hold granules, or else only what is needed; refused: so many were just refused. A first try
// that has made a call for its record besides leaves the smaller size to the next.
static bool
region_hold(uint32_t granules, uint32_t needed, uint32_t refused, enum hhi_run_ask ask)
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
    if (refused <= needed || calls_made() > (ask == HHI_ASK_MORE) ||
        region_reserve(needed, &runs.held_first) != 0)
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
    // Only a first try may have more than it asks for. A released region has its tables.
    uint32_t most = ask == HHI_ASK_MORE ? 2 * granules : granules;
    struct region *region = NULL;
    if (runs.held_granules < needed || runs.held_uncovered)
        region = region_revive(granules, most, executable, &refused);
    // relaxed: written under the lock, which is held.
    if (region == NULL && hh_load_relaxed(&runs.region_count) < REGIONS_MAX) {
        struct region *record =
            region_record(granules > runs.held_granules ? granules : runs.held_granules);
        if (record != NULL && !region_hold(granules, needed, refused, ask))
            runs.spare = record;
        else if (record != NULL)
            region = region_create(record, executable);
    }
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
    if (!region->plain) // not before: who is refused pages makes no call in vain
        region_allow_huge(region, 0, region->granules, false);
    region->plain = true;
    region->untouched = false;
    region_move_huge(region, from, limit, dense);
    region->committed_granules = limit;
    hhi_region_record_set_committed(&region->record, hhi_granule_address(region->first + limit));
    runs.committed_granules += limit - from;
    return 0;
}

// A region has been unmapped.
static void
region_note_released(struct region *region)
{
    hhi_region_map_withdraw(&region->record);
    region->active = false;
    region->free_granules = region->longest_hint = 0;
    map_assign(region->free_map, 0, region->granules, false);
    runs.reserved_granules -= region->granules;
    runs.committed_granules -= region->committed_granules;
    region->committed_granules = 0;
}

static void
region_release(struct region *region)
{
    // Out of sight first: a query must not take what somebody else maps there next for ours.
    hhi_region_map_unpublish(&region->record);
    if (hhi_os_release((void *)hhi_granule_address(region->first),
                       (size_t)region->granules << HHI_GRANULE_SHIFT) == 0)
        region_note_released(region);
    else
        hhi_region_map_publish(&region->record, &region->record);
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

// What is reserved and not more than the next request is likely to need.
static uint32_t
worth_keeping(void)
{
    uint32_t usual = region_default_granules();
    return usual < COMMIT_STEP_GRANULES ? COMMIT_STEP_GRANULES : usual;
}

// A region whose pages were all refused, and larger than that.
static struct region *
region_unused(void)
{
    uint32_t usual = worth_keeping();
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count; index++) {
        struct region *region = *region_slot(index);
        if (region->active && region->untouched && region->granules > usual)
            return region;
    }
    return NULL;
}

void
hhi_run_release_unused(void)
{
    hhi_lock_enter(&runs.lock);
    struct region *region = region_unused();
    if (runs.held_granules > worth_keeping())
        held_release();
    else if (region != NULL)
        region_release(region);
    hhi_lock_leave(&runs.lock);
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
    run->addresses_refused = false;
    hhi_lock_enter(&runs.lock);
    runs.calls = hhi_os_calls_now();
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count);
    for (uint32_t index = 0; index < count && !done; index++)
        done = region_alloc(*region_slot(index), request, run);
    if (!done && run->refusal == 0 && request->count <= hhi_window.most_granules) {
        uint32_t needed = request->count + (request->alignment > 1 ? request->alignment : 0);
        struct region *region = region_add(needed, request->executable, request->ask);
        done = region != NULL && region_alloc(region, request, run);
        run->addresses_refused = region == NULL && runs.held_granules == 0;
        // Tables for the next region: its request then has less to ask for, and tries it again if need be.
        if (done)
            (void)hhi_window_cover((size_t)runs.next_granule + region_default_granules());
    }
    if (!done) {
        run->calls = calls_made();
        run->next_calls = runs.held_granules > worth_keeping() || region_unused() != NULL ? 2 : 1;
    }
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
            // An idle process keeps one region reserved; it costs no memory.
            if (!keep_one || region->executable)
                region_release(region);
            keep_one = false;
        }
    }
    hhi_lock_leave(&runs.lock);
    return purged_bytes;
}

// ---- Before a refusal by the kernel -------------------------------------------------------------

/*
 * What one call gives back: the free end of a region and the free regions right behind it, or only whole
 * regions. Accessible pages count for RLIMIT_DATA and for strict overcommit, addresses for RLIMIT_AS; the pages'
 * contents count for nothing, so that they are not purged before.
 *
 *   region |##used##|..free..,..dirty..|..reserved..| next region, all free |  one in use
 *                   |<----------- one stretch ------------------------------>|
 */
struct stretch {
    uint32_t first, end; // granules of the window; at regions' ends, but for first
    uint32_t worth;      // granules of it that count for what was refused
};

static bool
region_is_free(const struct region *region)
{
    return region->active && region->free_granules == region->granules;
}

// Granules that count from the beginning of a region's free end on, at *at. 0: nothing is worth a call.
static uint32_t
region_free_end(const struct region *region, bool whole, uint32_t *at)
{
    uint32_t from = region_is_free(region) ? 0 : region->granules;
    *at = from;
    if (whole)
        return region->granules - from;
    while (from > 0 && region->active && map_test(region->free_map, from - 1))
        from--;
    if (from > 0)
        from = (uint32_t)hh_align_up(region->first + from, COMMIT_STEP_GRANULES) - region->first;
    *at = from;
    return region->committed_granules > from ? region->committed_granules - from : 0;
}

// The region that begins at a granule if all of it is free, else NULL.
static struct region *
region_free_at(uint32_t granule)
{
    // relaxed: written under the lock, which is held.
    uint32_t index =
        granule < runs.next_granule ? hh_load_relaxed(hhi_region_of_granule(granule)) : 0;
    struct region *region = index != 0 ? *region_slot(index - 1) : NULL;
    return region != NULL && region->first == granule && region_is_free(region) ? region : NULL;
}

static struct stretch
stretch_from(struct region *region, bool whole)
{
    uint32_t at;
    struct stretch stretch = {.worth = region_free_end(region, whole, &at)};
    if (stretch.worth == 0)
        return stretch;
    stretch.first = region->first + at;
    stretch.end = region->first + region->granules;
    while ((region = region_free_at(stretch.end)) != NULL) {
        stretch.worth += region_free_end(region, whole, &at);
        stretch.end = region->first + region->granules;
    }
    return stretch;
}

// The stretch of the greatest worth; *all: what all of them are worth together.
static struct stretch
stretch_find(bool whole, size_t *all)
{
    struct stretch most = {0, 0, 0};
    *all = 0;
    // relaxed: written under the lock, which is held.
    uint32_t count = hh_load_relaxed(&runs.region_count), at;
    for (uint32_t index = 0; index < count; index++) {
        struct stretch stretch = stretch_from(*region_slot(index), whole);
        *all += region_free_end(*region_slot(index), whole, &at);
        if (stretch.worth > most.worth)
            most = stretch;
    }
    return most;
}

// What queries are told of the regions in a stretch: before it is given back, or if that failed.
static void
stretch_tell(const struct stretch *stretch, bool whole, bool gone)
{
    for (uint32_t at = stretch->first; at < stretch->end;) {
        struct region *region = region_of_granule(at);
        uint32_t committed = region->first + region->committed_granules;
        if (whole && gone)
            hhi_region_map_unpublish(&region->record);
        else if (whole)
            hhi_region_map_publish(&region->record, &region->record);
        else if (committed > at)
            hhi_region_record_set_committed(&region->record,
                                            hhi_granule_address(gone ? at : committed));
        at = region->first + region->granules;
    }
}

// The granules of a region from at on, all free, are inaccessible and hold nothing any more.
static size_t
region_note_reserved(struct region *region, uint32_t at)
{
    uint32_t dirty = map_assign(region->dirty_map, at, region->granules - at, false);
    region->dirty_granules -= dirty;
    dirty_add(-(int64_t)dirty);
    if (region->committed_granules > at) {
        runs.committed_granules -= region->committed_granules - at;
        region->committed_granules = at;
    }
    region->plain = false; // its new mapping is like any other
    if (region->huge_end > at)
        region->huge_from = region->huge_end = at;
    return (size_t)dirty << HHI_GRANULE_SHIFT;
}

// A refused mapping over free pages may have been made in part: they count as reserved in either case, so their
// contents go. What is not mapped any more is refused to who commits it.
static bool
stretch_is_emptied(void *address, size_t size_bytes)
{
    int result = hhi_os_purge(address, size_bytes);
    return result == 0 || result == -ENOMEM;
}

// Adds the bytes that were dirty to *dirty_bytes. False: the kernel would not.
static bool
stretch_give_back(const struct stretch *stretch, bool whole, size_t *dirty_bytes)
{
    void *address = (void *)hhi_granule_address(stretch->first);
    size_t size_bytes = (size_t)(stretch->end - stretch->first) << HHI_GRANULE_SHIFT;
    stretch_tell(stretch, whole, true);
    int result = whole ? hhi_os_release(address, size_bytes) : hhi_os_replace(address, size_bytes);
    if (result != 0 && (whole || !stretch_is_emptied(address, size_bytes))) {
        stretch_tell(stretch, whole, false);
        return false;
    }
    for (uint32_t at = stretch->first, next; at < stretch->end; at = next) {
        struct region *region = region_of_granule(at);
        next = region->first + region->granules;
        *dirty_bytes += region_note_reserved(region, at - region->first);
        if (whole)
            region_note_released(region);
    }
    return result == 0;
}

// Whether the process has a limit for what was refused: then that much less of it used is that much more to be had.
static bool
refusal_is_of_limit(const struct hhi_tries *tries)
{
    return (!tries->pages && hhi_os_address_space_limit() != SIZE_MAX) ||
           (!tries->addresses && hhi_os_data_limit() != SIZE_MAX);
}

size_t
hhi_run_give_back(struct hhi_tries *tries)
{
    size_t dirty_bytes = 0, all;
    // Asked for are steps of pages, and regions of whole MiB.
    size_t needed = (tries->size_bytes >> HHI_GRANULE_SHIFT) + 2 * COMMIT_STEP_GRANULES;
    hhi_lock_enter(&runs.lock);
    // Regions help whatever was refused; but if there is no limit other than of pages, there is more to give back.
    bool unknown = !tries->pages && !tries->addresses;
    bool whole = !tries->pages && !(unknown && hhi_os_address_space_limit() == SIZE_MAX &&
                                    hhi_os_data_limit() != SIZE_MAX);
    bool all_of_it = false;
    struct stretch stretch = stretch_find(whole, &all);
    if (stretch.worth == 0 && unknown)
        stretch = stretch_find(whole = false, &all);
    if (stretch.worth != 0 && all >= needed)
        all_of_it = refusal_is_of_limit(tries);
    while (stretch.worth != 0 &&
           (all_of_it || tries->calls + tries->next_calls < HHI_TRIES_CALLS)) {
        tries->calls++;
        if (!stretch_give_back(&stretch, whole, &dirty_bytes)) {
            tries->calls += !whole;
            break;
        }
        stretch = stretch_find(whole, &all);
    }
    if (all_of_it && stretch.worth == 0)
        tries->calls = 0; // it will be served
    runs.purged_bytes += dirty_bytes;
    hhi_lock_leave(&runs.lock);
    return dirty_bytes;
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
