// SPDX-License-Identifier: MIT
/*
 * slab/carve.c - runs become slabs and large blocks, and runs again.
 *
 * A retired slab waits in limbo (slab/guard.h). There it can be carved again for its own class and
 * heap at once: whoever still looks at it as the old slab then sees the same geometry, and what it
 * may do wrong is to free an address that is live again, which nobody can tell from a right free.
 */
#include "base/check.h"
#include "meta/meta_arena.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/run.h"
#include "slab/guard.h"
#include "slab/slab.h"

enum {
    /*
     * So much may wait in limbo. Slabs that are emptied and carved again by turns, as a batch of
     * large blocks does, never leave it, so it is looked through only by who would otherwise take
     * memory from elsewhere, and from time to time by the sweeper: each look costs a membarrier.
     */
    LIMBO_SPARE_GRANULES = 32,
    LIMBO_MOST_GRANULES = 1024,
    LIMBO_LOOK = 16, // runs looked at for one of the right heap
};
#define SMALL_WINDOW_BYTES ((size_t)1 << 30)

// Everything under lock (rank: limbo).
static struct {
    struct hhi_lock lock;
    _Atomic size_t granules; // in limbo; written under lock
    size_t links;            // arrays in limbo_links
} limbo HH_START_STATE;
// Not even read while the counts above are 0: most programs then have no page of them.
static struct hhi_slab *limbo_retired[2][HHI_CLASSES]; // [executable][class]
static _Atomic uint64_t *limbo_links[HHI_CLASSES]; // arrays of links, chained by their first word

size_t hhi_slab_limit_bytes = HHI_SLAB_MAX_BYTES;
static_assert(HHI_SMALL_WINDOW_LIMIT_BYTES >= HHI_STEPS_BYTES, "no limit is below it");

// The eight classes of a doubling, each of a number of steps.
#define STEPS(first, steps, class_index) [(first)...(first) + (steps)-1] = (class_index)
#define EIGHT_STEPS(first, steps, class_index)                                                     \
    STEPS(first, steps, class_index), STEPS((first) + (steps), steps, (class_index) + 1),          \
        STEPS((first) + 2 * (steps), steps, (class_index) + 2),                                    \
        STEPS((first) + 3 * (steps), steps, (class_index) + 3),                                    \
        STEPS((first) + 4 * (steps), steps, (class_index) + 4),                                    \
        STEPS((first) + 5 * (steps), steps, (class_index) + 5),                                    \
        STEPS((first) + 6 * (steps), steps, (class_index) + 6),                                    \
        STEPS((first) + 7 * (steps), steps, (class_index) + 7)

const uint8_t hhi_class_steps[256] = {
    EIGHT_STEPS(8, 1, HHI_SMALL_CLASSES + 1),     EIGHT_STEPS(16, 2, HHI_SMALL_CLASSES + 9),
    EIGHT_STEPS(32, 4, HHI_SMALL_CLASSES + 17),   EIGHT_STEPS(64, 8, HHI_SMALL_CLASSES + 25),
    EIGHT_STEPS(128, 16, HHI_SMALL_CLASSES + 33),
};

void
hhi_slab_init(void)
{
    if (hhi_window.most_granules << HHI_GRANULE_SHIFT < SMALL_WINDOW_BYTES)
        hhi_slab_limit_bytes = HHI_SMALL_WINDOW_LIMIT_BYTES;
}

static bool
slab_is_executable(const struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return (hh_load_relaxed(&slab->flags) & HHI_SLAB_EXECUTABLE) != 0;
}

// An array of links for class_index, all 0.
static hhi_link *
links_take(unsigned class_index)
{
    size_t words = hhi_slab_links_bytes(class_index) / sizeof(uint64_t);
    hhi_lock_enter(&limbo.lock);
    _Atomic uint64_t *links = limbo.links != 0 ? limbo_links[class_index] : NULL;
    if (links != NULL) {
        // relaxed (here and below): late readers may look at links, nobody acts on what they see.
        limbo_links[class_index] = (_Atomic uint64_t *)hh_load_relaxed(&links[0]);
        limbo.links--;
    }
    hhi_lock_leave(&limbo.lock);
    if (links == NULL)
        return hhi_meta_alloc(words * sizeof(uint64_t));
    for (size_t word = 0; word < words; word++)
        hh_store_relaxed(&links[word], 0);
    return (hhi_link *)(void *)links;
}

static void
links_give(unsigned class_index, hhi_link *links)
{
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)links;
    // relaxed: see links_take.
    hh_store_relaxed(&words[0], (uint64_t)limbo_links[class_index]);
    limbo_links[class_index] = words;
    limbo.links++;
}

static void
heads_set(uint32_t first, uint32_t count, uint32_t value)
{
#pragma GCC unroll 8
    for (uint32_t granule = first; granule < first + count; granule++)
        // relaxed: who follows it acquires the kind or the live mark of the record (window.h).
        hh_store_relaxed(&hhi_window.heads[granule], value);
}

static void
limbo_push(struct hhi_slab *slab, unsigned class_index)
{
    struct hhi_slab **list = &limbo_retired[slab_is_executable(slab)][class_index];
    slab->next = *list;
    *list = slab;
    // relaxed: written under the lock.
    hh_store_relaxed(&limbo.granules,
                     hh_load_relaxed(&limbo.granules) + hhi_class_granules(class_index));
}

// Whether it may be carved anew at once: a late free does there what any free of a stale address does, if it
// finds a slab that is freed into in the same way.
static bool
limbo_serves(const struct hhi_slab *slab, const struct hh_heap *heap, bool tracked)
{
    // relaxed: as the run was carved last.
    return slab->retired_from == heap &&
           ((hh_load_relaxed(&slab->flags) & HHI_SLAB_TRACKED) != 0) == tracked;
}

// A run of the class that waits in limbo and belonged to the heap.
static struct hhi_slab *
limbo_pop(const struct hh_heap *heap, unsigned class_index, unsigned how)
{
    bool executable = (how & HHI_CARVE_EXECUTABLE) != 0, tracked = (how & HHI_CARVE_TRACKED) != 0;
    // relaxed: a rough figure; what another thread retires at this moment is for the next.
    if (hh_load_relaxed(&limbo.granules) == 0)
        return NULL;
    hhi_lock_enter(&limbo.lock);
    struct hhi_slab **link = &limbo_retired[executable][class_index];
    for (int look = 1; look < LIMBO_LOOK && *link != NULL && !limbo_serves(*link, heap, tracked);
         look++)
        link = &(*link)->next;
    struct hhi_slab *slab = *link != NULL && limbo_serves(*link, heap, tracked) ? *link : NULL;
    if (slab != NULL) {
        *link = slab->next;
        // relaxed: written under the lock.
        hh_store_relaxed(&limbo.granules,
                         hh_load_relaxed(&limbo.granules) - hhi_class_granules(class_index));
    }
    hhi_lock_leave(&limbo.lock);
    return slab;
}

static void
slab_set_flags(struct hhi_slab *slab, bool clean, unsigned how)
{
    unsigned flags = (clean ? HHI_SLAB_CLEAN : 0) |
                     ((how & HHI_CARVE_EXECUTABLE) != 0 ? HHI_SLAB_EXECUTABLE : 0) |
                     ((how & HHI_CARVE_TRACKED) != 0 ? HHI_SLAB_TRACKED : 0);
    // relaxed: published by kind.
    hh_store_relaxed(&slab->flags, (uint8_t)flags);
}

// Fields that every carved run starts with. relaxed: published by kind.
static void
slab_start(struct hhi_slab *slab, struct hh_heap *heap, size_t block_bytes, uint32_t granules)
{
    hh_store_relaxed(&slab->heap, heap);
    hh_store_relaxed(&slab->block_bytes, block_bytes);
    hh_store_relaxed(&slab->granules, granules);
    hh_store_relaxed(&slab->notice, HHI_NOTICE_TOKEN);
    slab->rests = 0;
    slab->freed = slab->head = HHI_LINK_END;
    slab->init = 0;
    slab->credit = HHI_CREDIT_NEVER;
    slab->look = HHI_LOOK_NEVER;
    slab->head_fresh = false;
    // relaxed: no block lives yet; nobody has its token.
    hh_store_relaxed(&slab->inbox_next, NULL);
    slab->next = slab->previous = NULL;
    slab->records = NULL;
}

// A run of granules; what waits in limbo is released first if it is much, or if there is no other.
static bool
carve_run(struct hhi_run_request *request, struct hhi_run *run, struct hhi_tries *tries)
{
    hhi_limbo_advance(false);
    if (hhi_run_alloc(request, run))
        return true;
    tries->pages = run->refusal != 0;
    tries->addresses = run->addresses_refused;
    tries->calls += run->calls;
    tries->next_calls = run->next_calls;
    request->ask = HHI_ASK_NOTHING; // the kernel has just refused
    return hhi_limbo_advance(true) != 0 && hhi_run_alloc(request, run);
}

static struct hhi_slab *
carve_fresh(unsigned class_index, unsigned how, struct hhi_tries *tries, uint32_t *clean_granules)
{
    bool executable = (how & HHI_CARVE_EXECUTABLE) != 0;
    struct hhi_run_request request = {hhi_class_granules(class_index), 1, executable, tries->ask,
                                      (how & HHI_CARVE_SPARSE) != 0};
    struct hhi_run run;
    uint64_t calls = hhi_os_calls_now();
    hhi_link *links = links_take(class_index);
    tries->calls += (unsigned)(hhi_os_calls_now() - calls);
    tries->pages = tries->addresses = false;
    tries->next_calls = 1;
    if (links == NULL)
        return NULL;
    if (!carve_run(&request, &run, tries)) {
        hhi_lock_enter(&limbo.lock);
        links_give(class_index, links);
        hhi_lock_leave(&limbo.lock);
        return NULL;
    }
    struct hhi_slab *slab = hhi_slab_at(run.first);
    uint32_t block_bytes = hhi_class_bytes(class_index);
    // relaxed (all): published by kind.
    hh_store_relaxed(&slab->magic, hh_divide_magic(block_bytes));
    hh_store_relaxed(&slab->links, links);
    hh_store_relaxed(&slab->class_index, (uint8_t)class_index);
    hh_store_relaxed(&slab->block_count, hhi_class_blocks(class_index));
    slab_set_flags(slab, run.clean_granules == run.count, how);
    *clean_granules = run.clean_granules;
    return slab;
}

struct hhi_slab *
hhi_slab_carve(struct hh_heap *heap, unsigned class_index, unsigned how, struct hhi_tries *tries,
               uint32_t *clean_granules)
{
    *clean_granules = 0;
    struct hhi_slab *slab = limbo_pop(heap, class_index, how);
    if (slab != NULL)
        slab_set_flags(slab, false, how);
    else
        slab = carve_fresh(class_index, how, tries, clean_granules);
    if (slab == NULL)
        return NULL;
    slab_start(slab, heap, hhi_class_bytes(class_index), hhi_class_granules(class_index));
    // order: release [SL-5] the fields above.
    hh_store_release(&slab->kind, HHI_KIND_SLAB);
    uint32_t first = hhi_slab_granule(slab);
    heads_set(first, hhi_class_granules(class_index), first + 1);
    return slab;
}

struct hhi_slab *
hhi_slab_carve_large(struct hh_heap *heap, size_t size_bytes, uint32_t alignment_granules,
                     bool executable, struct hhi_tries *tries, uint32_t *clean_granules)
{
    uint32_t count = (uint32_t)((size_bytes + HHI_GRANULE_BYTES - 1) >> HHI_GRANULE_SHIFT);
    struct hhi_run_request request = {count, alignment_granules, executable, tries->ask, false};
    struct hhi_run run;
    if (!carve_run(&request, &run, tries))
        return NULL;
    struct hhi_slab *slab = hhi_slab_at(run.first);
    slab_start(slab, heap, (size_t)count << HHI_GRANULE_SHIFT, count);
    slab_set_flags(slab, run.clean_granules == run.count, executable ? HHI_CARVE_EXECUTABLE : 0);
    slab->head_fresh = run.clean_granules == run.count;
    *clean_granules = run.clean_granules;
    // order: release [SL-5] the fields above.
    hh_store_release(&slab->kind, HHI_KIND_LARGE);
    heads_set(run.first, count, run.first + 1);
    return slab;
}

int
hhi_slab_extend_large(struct hhi_slab *slab, size_t size_bytes, uint32_t *clean_granules)
{
    // relaxed (all): the caller owns the live block, nobody else changes the run.
    uint32_t granules = hh_load_relaxed(&slab->granules);
    uint32_t wanted = (uint32_t)((size_bytes + HHI_GRANULE_BYTES - 1) >> HHI_GRANULE_SHIFT);
    uint32_t first = hhi_slab_granule(slab);
    HH_ASSERT(wanted > granules);
    int result = hhi_run_extend(first, granules, wanted - granules, clean_granules);
    if (result != 0)
        return result;
    heads_set(first + granules, wanted - granules, first + 1);
    hh_store_relaxed(&slab->granules, wanted);
    hh_store_relaxed(&slab->block_bytes, (size_t)wanted << HHI_GRANULE_SHIFT);
    return 0;
}

void
hhi_slab_retire(struct hhi_slab *slab)
{
    hhi_slab_collect(slab); // leave no REMOTE mark behind (I3)
    // relaxed: from now on nobody finds a slab here; the epoch below publishes it [GD-4].
    hh_store_relaxed(&slab->kind, HHI_KIND_LIMBO);
    // relaxed (all): fixed while carved; the heap is no longer ours to name.
    unsigned class_index = hh_load_relaxed(&slab->class_index);
    slab->retired_from = hh_load_relaxed(&slab->heap);
    hh_store_relaxed(&slab->heap, NULL);
    hhi_lock_enter(&limbo.lock);
    // order: release [GD-4] of the kind store, which whoever finds a later epoch must see: a read that
    // writes back what it found, since the next epoch may be begun without this lock.
    slab->retired_epoch = hh_fetch_add_release(&hhi_guard_epoch, 0);
    limbo_push(slab, class_index);
    // relaxed: written under the lock, which is held.
    bool full = hh_load_relaxed(&limbo.granules) >= LIMBO_MOST_GRANULES;
    hhi_lock_leave(&limbo.lock);
    if (full)
        hhi_limbo_advance(false);
}

void
hhi_slab_retire_large(struct hhi_slab *slab)
{
    // relaxed (all): the caller took the block's live mark, so the run is its own.
    uint32_t first = hhi_slab_granule(slab), granules = hh_load_relaxed(&slab->granules);
    hh_store_relaxed(&slab->heap, NULL);
    // relaxed: who finds it looks at nothing else.
    hh_store_relaxed(&slab->kind, HHI_KIND_NONE);
    heads_set(first, granules, 0);
    hhi_run_free(first, granules);
}

// Give back a run that no section can look at any more. Under lock but for the run itself.
static void
limbo_release(struct hhi_slab *slab, unsigned class_index)
{
    uint32_t first = hhi_slab_granule(slab), granules = hhi_class_granules(class_index);
    // relaxed: nobody finds a slab here.
    hhi_link *links = hh_load_relaxed(&slab->links);
    hh_store_relaxed(&slab->links, NULL);
    // relaxed: who finds it looks at nothing else.
    hh_store_relaxed(&slab->kind, HHI_KIND_NONE);
    heads_set(first, granules, 0);
    links_give(class_index, links);
    hhi_run_free(first, granules);
}

static uint32_t
limbo_release_list(struct hhi_slab **list, unsigned class_index, uint64_t oldest)
{
    uint32_t released = 0;
    while (*list != NULL) {
        struct hhi_slab *slab = *list;
        if (slab->retired_epoch >= oldest) {
            list = &slab->next;
            continue;
        }
        *list = slab->next;
        limbo_release(slab, class_index);
        released += hhi_class_granules(class_index);
    }
    return released;
}

uint32_t
hhi_limbo_advance(bool force)
{
    uint32_t released = 0;
    // relaxed: a rough figure.
    if (!force && hh_load_relaxed(&limbo.granules) < LIMBO_SPARE_GRANULES)
        return 0;
    hhi_lock_enter(&limbo.lock);
    // relaxed: written under the lock, which is held.
    size_t waiting = hh_load_relaxed(&limbo.granules);
    if (waiting > 0) {
        uint64_t oldest = hhi_guard_advance();
        for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++)
            for (int executable = 0; executable < 2; executable++)
                released += limbo_release_list(&limbo_retired[executable][class_index], class_index,
                                               oldest);
        hh_store_relaxed(&limbo.granules, waiting - released);
    }
    hhi_lock_leave(&limbo.lock);
    return released;
}

size_t
hhi_limbo_granules(void)
{
    // relaxed: a rough figure.
    return hh_load_relaxed(&limbo.granules);
}

void
hhi_limbo_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&limbo.lock, step);
}
