// SPDX-License-Identifier: MIT
// heap/heap.c - heaps: made, ended; their runs; their accounts.
#include "heap/heap.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "heap/debug_blocks.h"
#include "heap/growth.h"
#include "heap/heap_list.h"
#include "heap/kept_runs.h"
#include "heap/lent.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "os/os.h"
#include "region/run.h"

static struct hhi_shared_list default_shared[HHI_SHARED_LISTS];
static struct hhi_slab *default_tracked[HHI_CLASSES];
static struct hhi_slab *tracked_none[HHI_CLASSES]; // never written
struct hh_heap hhi_default_heap HH_START_STATE = {.key = {.id = HHI_HEAP_ID_STEP},
                                                  .shared = default_shared,
                                                  .shared_mask = HHI_SHARED_LISTS - 1,
                                                  .tracked = default_tracked,
                                                  .name = "default"};

// A heap of this size has its slabs carved from huge pages, if the process is large enough for them.
#define HUGE_FROM_BYTES ((size_t)32 << 20)

enum { SHARED_FEW_MOST = 16 }; // shared slabs of a heap before each class has a list of its own

static struct {
    struct hhi_lock lock;  // rank: heap list
    struct hh_heap *first; // all heaps but the default one, newest first
    struct hh_heap *ended; // records to use again
    _Atomic(struct hh_heap *)
        all; // [TC-5] all records but the default one; only grows, without lock
    uint64_t last_id;
    size_t count;
} heaps = {.last_id = HHI_HEAP_ID_STEP};

// relaxed (all): nobody knows the heap yet.
static void
key_make(struct hhi_heap_key *key, uint64_t id)
{
    key->id = id;
    hh_store_relaxed(&key->home, NULL);
    hh_store_relaxed(&key->cache, NULL);
    hh_store_relaxed(&key->bins, NULL);
    hh_store_relaxed(&key->small_bytes, 0);
}

// Who calls with the key all the same finds no cache.
static void
key_end(struct hhi_heap_key *key)
{
    key->id = HHI_HEAP_ID_ENDED;
    // relaxed: nobody may use the heap any more.
    hh_store_relaxed(&key->home, NULL);
}

struct hh_heap *
hhi_heap_default(void)
{
    return &hhi_default_heap;
}

uint64_t
hhi_heap_id(const struct hh_heap *heap)
{
    return heap->key.id / HHI_HEAP_ID_STEP;
}

void
hhi_heap_face(struct hh_heap *heap, struct hhi_heap_key *face)
{
    key_make(face, heap->key.id);
    heap->face = face;
}

uint32_t
hhi_heap_flags(const struct hh_heap *heap)
{
    return heap->flags;
}

const char *
hhi_heap_name(const struct hh_heap *heap)
{
    return heap->name;
}

// ---- Runs of a heap -----------------------------------------------------------------------------

static void
runs_enter(struct hh_heap *heap, struct hhi_slab *slab)
{
    hhi_lock_enter(&heap->lock);
    slab->heap_previous = NULL;
    slab->heap_next = heap->runs;
    if (heap->runs != NULL)
        heap->runs->heap_previous = slab;
    heap->runs = slab;
    heap->slab_count++;
    heap->slabs_carved++;
    hhi_lock_leave(&heap->lock);
}

static void
runs_remove_locked(struct hh_heap *heap, struct hhi_slab *slab)
{
    if (slab->heap_previous != NULL)
        slab->heap_previous->heap_next = slab->heap_next;
    else
        heap->runs = slab->heap_next;
    if (slab->heap_next != NULL)
        slab->heap_next->heap_previous = slab->heap_previous;
    heap->slab_count--;
    heap->slabs_retired++;
}

static size_t
slab_bytes(struct hhi_slab *slab)
{
    // relaxed: fixed while the run can not be retired under the caller.
    return (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
}

static bool
heap_is_executable(const struct hh_heap *heap)
{
    return (heap->flags & HHI_HEAP_EXECUTABLE) != 0;
}

// Accounts for a new run of size_bytes, of which clean_granules used no memory before: the others
// were counted against the process already, as retained memory.
static void
account_run(size_t size_bytes, uint32_t clean_granules)
{
    size_t clean_bytes = (size_t)clean_granules << HHI_GRANULE_SHIFT;
    if (size_bytes != clean_bytes)
        hhi_limit_discharge(size_bytes - clean_bytes);
    if (clean_bytes != 0)
        hhi_growth_count(clean_bytes);
    hhi_limit_refill_reserve();
}

// A second try comes after memory was given back, and asks for no more than it needs.
static enum hhi_run_ask
try_asks(unsigned level, unsigned attempt)
{
    switch (hhi_level_tries(level)) {
    case HHI_TRY_AT_HAND:
        return HHI_ASK_NOTHING;
    case HHI_TRY_LAST:
        return HHI_ASK_NEEDED;
    default:
        return attempt == 0 ? HHI_ASK_MORE : HHI_ASK_NEEDED;
    }
}

/*
 * A heap with few slabs may leave most of each untouched, so huge pages are not for it, however many
 * such heaps there are: 100,000 with a block each would hold 64 KiB each.
 */
static unsigned
heap_carves_how(struct hh_heap *heap)
{
    // relaxed: a hint.
    bool sparse = hh_load_relaxed(&heap->budget.committed_bytes) < HUGE_FROM_BYTES;
    return (heap_is_executable(heap) ? HHI_CARVE_EXECUTABLE : 0) | (sparse ? HHI_CARVE_SPARSE : 0);
}

struct hhi_slab *
hhi_heap_carve(struct hh_heap *heap, unsigned class_index, bool tracked, unsigned level)
{
    size_t size_bytes = (size_t)hhi_class_granules(class_index) << HHI_GRANULE_SHIFT;
    hhi_kept_runs_give_up(heap);
    if (!hhi_budget_charge(&heap->budget, size_bytes, level))
        return NULL;
    uint32_t clean_granules;
    struct hhi_tries tries = {.size_bytes = size_bytes};
    struct hhi_slab *slab;
    for (unsigned attempt = 0;; attempt++) {
        tries.ask = try_asks(level, attempt);
        slab = hhi_slab_carve(heap, class_index,
                              heap_carves_how(heap) | (tracked ? HHI_CARVE_TRACKED : 0), &tries,
                              &clean_granules);
        if (slab != NULL || !hhi_limit_retry(level, attempt, &tries))
            break;
    }
    if (slab == NULL) {
        hhi_budget_discharge(&heap->budget, size_bytes);
        if (tries.calls != 0)
            hhi_run_release_unused();
        return NULL;
    }
    account_run(size_bytes, clean_granules);
    // relaxed: nobody else uses the slab yet.
    hh_store_relaxed(&slab->owner, &hhi_cache_none);
    runs_enter(heap, slab);
    return slab;
}

size_t
hhi_heap_retire_unnoted(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    size_t size_bytes = slab_bytes(slab);
    hhi_lock_enter(&heap->lock);
    runs_remove_locked(heap, slab);
    hhi_lock_leave(&heap->lock);
    hhi_budget_discharge_heap(&heap->budget, size_bytes - hhi_lent_end(slab));
    if (hh_unlikely(slab->look > HHI_LOOK_MASK))
        // Its run counts as one that uses memory.
        hhi_growth_count_again(hhi_slab_purged_bytes(slab));
    hhi_slab_retire(slab);
    return size_bytes;
}

void
hhi_heap_retire_slab(struct hhi_slab *slab)
{
    hhi_sweep_note(hhi_heap_retire_unnoted(slab));
}

// ---- Large blocks -------------------------------------------------------------------------------

void *
hhi_heap_try_large(struct hh_heap *heap, size_t size_bytes, size_t alignment_bytes, unsigned level,
                   struct hhi_tries *tries, bool *zeroed)
{
    if (size_bytes > PTRDIFF_MAX - HHI_GRANULE_BYTES)
        return NULL;
    size_t run_bytes = hh_align_up(size_bytes, HHI_GRANULE_BYTES);
    // What can not fit the window is refused without asking the kernel.
    if (run_bytes >> HHI_GRANULE_SHIFT > hhi_window.most_granules)
        return NULL;
    hhi_kept_runs_give_up(heap);
    if (!hhi_budget_charge(&heap->budget, run_bytes, level))
        return NULL;
    uint32_t alignment =
        alignment_bytes <= HHI_GRANULE_BYTES ? 1 : (uint32_t)(alignment_bytes >> HHI_GRANULE_SHIFT);
    uint32_t clean_granules;
    struct hhi_slab *slab;
    tries->size_bytes = run_bytes;
    for (unsigned attempt = 0;; attempt++) {
        tries->ask = try_asks(level, attempt);
        slab = hhi_slab_carve_large(heap, size_bytes, alignment, heap_is_executable(heap), tries,
                                    &clean_granules);
        if (slab != NULL || !hhi_limit_retry(level, attempt, tries))
            break;
    }
    if (slab == NULL) {
        hhi_budget_discharge(&heap->budget, run_bytes);
        return NULL;
    }
    account_run(run_bytes, clean_granules);
    // relaxed: fixed while carved.
    *zeroed = (hh_load_relaxed(&slab->flags) & HHI_SLAB_CLEAN) != 0;
    runs_enter(heap, slab);
    hhi_slab_large_begin(slab, heap);
    return (void *)hhi_slab_base(slab);
}

void *
hhi_heap_alloc_large(struct hh_heap *heap, size_t size_bytes, size_t alignment_bytes,
                     unsigned level, bool *zeroed)
{
    struct hhi_tries tries = {0};
    void *block = hhi_heap_try_large(heap, size_bytes, alignment_bytes, level, &tries, zeroed);
    if (block == NULL && tries.calls != 0)
        hhi_run_release_unused();
    return block;
}

void *
hhi_heap_try_large_first(struct hh_heap *heap, size_t size_bytes, unsigned tries_once,
                         unsigned *level)
{
    bool zeroed;
    struct hhi_tries tries = {0};
    unsigned once =
        hhi_level_tries(*level) == HHI_TRY_ALL ? hhi_level_try(*level, tries_once) : *level;
    void *block = hhi_heap_try_large(heap, size_bytes, 1, once, &tries, &zeroed);
    if (block != NULL || tries.calls == 0)
        return block;
    if (hhi_limit_retry(*level, 0, &tries)) {
        // A process-critical request goes on to the reserve, and waits.
        if (hhi_level_try(*level, HHI_TRY_ALL) != HHI_LEVEL_PROCESS)
            *level = hhi_level_try(*level, HHI_TRY_LAST);
    } else {
        *level = hhi_level_try(*level, HHI_TRY_AT_HAND);
        hhi_run_release_unused();
    }
    return NULL;
}

// One try to grow a run that had old_bytes. As hhi_heap_extend_large.
static int
run_extend(struct hh_heap *heap, struct hhi_slab *slab, size_t old_bytes, size_t new_bytes,
           uint32_t *clean_granules)
{
    int result = -ENOENT;
    hhi_lock_enter(&heap->lock);
    if (hhi_slab_large_end(slab, heap)) {
        bool early = hhi_large_is_early(slab);
        if (slab_bytes(slab) == old_bytes)
            result = hhi_slab_extend_large(slab, new_bytes, clean_granules);
        if (result == 0 && early)
            hhi_large_early_end(heap, slab);
        hhi_slab_large_begin(slab, heap);
    }
    hhi_lock_leave(&heap->lock);
    return result;
}

int
hhi_heap_extend_large(struct hh_heap *heap, struct hhi_slab *slab, size_t size_bytes,
                      unsigned level)
{
    size_t old_bytes = slab_bytes(slab);
    size_t new_bytes = hh_align_up(size_bytes, HHI_GRANULE_BYTES);
    uint32_t clean_granules;
    // What can not fit the window has more granules than their number can tell.
    if (new_bytes >> HHI_GRANULE_SHIFT > hhi_window.most_granules)
        return -ENOMEM;
    if (new_bytes <= old_bytes)
        return -ENOENT;
    hhi_kept_runs_give_up(heap);
    if (!hhi_budget_charge(&heap->budget, new_bytes - old_bytes, level))
        return -ENOMEM;
    struct hhi_tries tries = {.size_bytes = new_bytes - old_bytes, .pages = true, .next_calls = 1};
    int result;
    for (unsigned attempt = 0;; attempt++) {
        result = run_extend(heap, slab, old_bytes, new_bytes, &clean_granules);
        if (result == 0 || result == -EEXIST || result == -ENOENT)
            break;
        tries.calls++;
        if (!hhi_limit_retry(level, attempt, &tries))
            break;
    }
    if (result == 0)
        account_run(new_bytes - old_bytes, clean_granules);
    else
        hhi_budget_discharge(&heap->budget, new_bytes - old_bytes);
    return result;
}

void
hhi_heap_free_large_unnoted(struct hhi_slab *slab)
{
    // relaxed: the caller took the live mark.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    size_t size_bytes = slab_bytes(slab);
    hhi_lock_enter(&heap->lock);
    runs_remove_locked(heap, slab);
    (void)hhi_debug_forget_locked(slab); // its pages have their access back
    hhi_lock_leave(&heap->lock);
    hhi_budget_discharge_heap(&heap->budget, size_bytes);
    hhi_slab_retire_large(slab);
}

void
hhi_heap_free_large(struct hhi_slab *slab)
{
    size_t size_bytes = slab_bytes(slab);
    hhi_heap_free_large_unnoted(slab);
    hhi_sweep_note(size_bytes);
}

// ---- Shared slabs -------------------------------------------------------------------------------

static void
shared_append(struct hhi_shared_list *list, struct hhi_slab *slab)
{
    slab->next = NULL;
    slab->previous = list->last;
    if (slab->previous != NULL)
        slab->previous->next = slab;
    else
        list->first = slab;
    list->last = slab;
}

// Give each class a list of its own. Without memory it stays as it is, which is slower.
static void
shared_spread_locked(struct hh_heap *heap)
{
    struct hhi_shared_list *all = hhi_meta_alloc_cold(HHI_SHARED_LISTS * sizeof *all);
    if (all == NULL)
        return;
    struct hhi_slab *next;
    for (struct hhi_slab *slab = heap->shared_few.first; slab != NULL; slab = next) {
        next = slab->next;
        shared_append(&all[hhi_slab_class(slab) & (HHI_SHARED_LISTS - 1)], slab);
    }
    heap->shared_few = (struct hhi_shared_list){NULL, NULL};
    heap->shared = all;
    heap->shared_mask = HHI_SHARED_LISTS - 1;
}

void
hhi_heap_return_shared(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    slab->state = HHI_SLAB_SHARED;
    hhi_lock_enter(&heap->lock);
    shared_append(&heap->shared[hhi_slab_class(slab) & heap->shared_mask], slab);
    // relaxed: a hint without the lock.
    uint32_t count = hh_load_relaxed(&heap->shared_count) + 1;
    hh_store_relaxed(&heap->shared_count, count);
    if (hh_unlikely(heap->shared_mask == 0 && count > SHARED_FEW_MOST))
        shared_spread_locked(heap);
    hhi_lock_leave(&heap->lock);
}

void
hhi_heap_share_slab(struct hhi_slab *slab)
{
    // relaxed: the slab is in no list yet.
    hh_store_relaxed(&slab->stamp_ms, (uint32_t)hhi_os_clock_ms());
    hhi_slab_set_look(slab, HHI_LOOK_NEXT); // blocks may have been freed since
    size_t size_bytes = slab_bytes(slab);
    hhi_heap_return_shared(slab);
    hhi_sweep_note(size_bytes);
}

static void
shared_remove_locked(struct hh_heap *heap, struct hhi_slab *slab)
{
    struct hhi_shared_list *list = &heap->shared[hhi_slab_class(slab) & heap->shared_mask];
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        list->first = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
    else
        list->last = slab->previous;
    slab->next = slab->previous = NULL;
    // relaxed: a hint without the lock.
    hh_store_relaxed(&heap->shared_count, hh_load_relaxed(&heap->shared_count) - 1);
}

struct hhi_slab *
hhi_heap_take_shared(struct hh_heap *heap, unsigned class_index)
{
    // relaxed: a hint; a slab shared this moment is found the next time.
    if (hh_load_relaxed(&heap->shared_count) == 0)
        return NULL;
    hhi_lock_enter(&heap->lock);
    struct hhi_slab *slab = heap->shared[class_index & heap->shared_mask].first;
    while (slab != NULL && hhi_slab_class(slab) != class_index)
        slab = slab->next;
    if (slab != NULL)
        shared_remove_locked(heap, slab);
    hhi_lock_leave(&heap->lock);
    return slab;
}

struct hhi_slab *
hhi_heap_take_shared_if(struct hh_heap *heap, unsigned class_index,
                        bool (*due)(void *arg, struct hhi_slab *slab), void *arg)
{
    struct hhi_slab *chain = NULL, *next;
    unsigned taken = 0;
    hhi_lock_enter(&heap->lock);
    struct hhi_slab *slab = heap->shared[class_index & heap->shared_mask].first;
    for (; slab != NULL && taken < 64; slab = next) {
        next = slab->next;
        if (hhi_slab_class(slab) != class_index || !due(arg, slab))
            continue;
        shared_remove_locked(heap, slab);
        slab->next = chain;
        chain = slab;
        taken++;
    }
    hhi_lock_leave(&heap->lock);
    return chain;
}

bool
hhi_heap_track_locked(struct hh_heap *heap)
{
    if (heap->tracked != tracked_none)
        return true;
    struct hhi_slab **tracked = hhi_meta_alloc_cold(HHI_CLASSES * sizeof(struct hhi_slab *));
    if (tracked != NULL)
        heap->tracked = tracked;
    return tracked != NULL;
}

// ---- Heaps --------------------------------------------------------------------------------------

// The system may refuse executable pages, by policy or for want of memory: ask once.
static hh_status
executable_pages_ask(void)
{
    struct hhi_run_request request = {1, 1, true, HHI_ASK_MORE, false};
    struct hhi_run run;
    if (!hhi_run_alloc(&request, &run))
        return run.refusal == -EACCES || run.refusal == -EPERM ? HH_E_ACCESS_DENIED
                                                               : HH_E_NO_MEMORY;
    // What is given back counts as retained memory until it is purged.
    hhi_limit_count((size_t)run.clean_granules << HHI_GRANULE_SHIFT);
    hhi_run_free(run.first, run.count);
    return HH_OK;
}

static struct hh_heap *
heap_record_make(void)
{
    struct hh_heap *heap = hhi_meta_alloc(sizeof *heap);
    if (heap == NULL)
        return NULL;
    // relaxed: only a guess for the exchange below.
    struct hh_heap *head = hh_load_relaxed(&heaps.all);
    do {
        heap->next_all = head;
        // order: release [TC-5] publishes next_all.
    } while (!hh_cas_weak_release(&heaps.all, &head, heap));
    return heap;
}

static struct hh_heap *
heap_record(void)
{
    hhi_lock_enter(&heaps.lock);
    struct hh_heap *heap = heaps.ended;
    if (heap != NULL)
        heaps.ended = heap->next;
    hhi_lock_leave(&heaps.lock);
    if (heap == NULL)
        heap = heap_record_make();
    if (heap == NULL)
        return NULL;
    // Lists that an ended heap had made serve the next one; they are empty.
    struct hhi_shared_list *all = heap->shared_mask != 0 ? heap->shared : NULL;
    struct hhi_slab **tracked = heap->tracked;
    memset(&heap->budget, 0, offsetof(struct hh_heap, next_all) - offsetof(struct hh_heap, budget));
    heap->shared = all != NULL ? all : &heap->shared_few;
    heap->shared_mask = all != NULL ? HHI_SHARED_LISTS - 1 : 0;
    heap->tracked = tracked != NULL ? tracked : tracked_none;
    return heap;
}

hh_status
hhi_heap_create(uint32_t flags, size_t soft_bytes, size_t hard_bytes, const char *name,
                struct hh_heap **out)
{
    *out = NULL;
    if (!hhi_process_up())
        return HH_E_NO_MEMORY;
    hh_status status = (flags & HHI_HEAP_EXECUTABLE) != 0 ? executable_pages_ask() : HH_OK;
    if (status != HH_OK)
        return status;
    struct hh_heap *heap = heap_record();
    if (heap == NULL)
        return HH_E_NO_MEMORY;
    heap->flags = flags;
    hhi_budget_set(&heap->budget, soft_bytes, hard_bytes);
    if (name != NULL)
        strncpy(heap->name, name, sizeof heap->name - 1);
    hhi_lock_enter(&heaps.lock);
    heaps.last_id += HHI_HEAP_ID_STEP;
    key_make(&heap->key, heaps.last_id);
    heap->next = heaps.first;
    heap->back = &heaps.first;
    if (heap->next != NULL)
        heap->next->back = &heap->next;
    heaps.first = heap;
    heaps.count++;
    hhi_lock_leave(&heaps.lock);
    *out = heap;
    return HH_OK;
}

// All blocks of a run cease to live; nobody takes from it any more.
static void
run_end(struct hhi_slab *slab)
{
    // relaxed (all): the caller is alone on the heap; wrong frees only look.
    hh_store_relaxed(&slab->owner, &hhi_cache_none);
    hh_store_relaxed(&slab->notice, HHI_NOTICE_TOKEN);
    if (hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE) {
        hh_store_relaxed(&slab->large_of, NULL);
        hhi_slab_retire_large(slab);
        return;
    }
    hhi_link *links = hh_load_relaxed(&slab->links);
    for (uint32_t index = 0; index < slab->init; index++)
        hh_store_relaxed(&links[index], 0);
    hhi_slab_retire(slab);
}

static void
lists_forget_locked(struct hh_heap *heap)
{
    memset(heap->shared, 0, (heap->shared_mask + 1) * sizeof *heap->shared);
    if (heap->tracked != tracked_none)
        memset(heap->tracked, 0, HHI_CLASSES * sizeof *heap->tracked);
}

static void
heap_release_runs(struct hh_heap *heap)
{
    size_t size_bytes = 0;
    hhi_kept_runs_forget(heap);
    hhi_lock_enter(&heap->lock);
    struct hhi_cache *next_cache;
    for (struct hhi_cache *cache = heap->caches; cache != NULL; cache = next_cache) {
        next_cache = cache->next_of_heap;
        hhi_cache_reset(cache);
        // order: release [TC-1] the cache is empty.
        hh_store_release(&cache->heap_id, 0);
    }
    heap->caches = NULL;
    struct hhi_slab *next;
    for (struct hhi_slab *slab = heap->runs; slab != NULL; slab = next) {
        next = slab->heap_next;
        size_bytes += slab_bytes(slab) - hhi_lent_end(slab);
        if (hhi_debug_forget_locked(slab))
            run_end(slab);
    }
    heap->runs = NULL;
    lists_forget_locked(heap);
    hhi_lock_leave(&heap->lock);
    hhi_budget_discharge_heap(&heap->budget, size_bytes);
    hhi_sweep_note(size_bytes);
}

// Nobody is at home any more. Without the sweeper: under its lock lost threads' records are mended.
static void
home_end(struct hh_heap *heap)
{
    // relaxed: nobody may use the heap any more.
    hh_store_relaxed(&heap->key.home, NULL);
    if (heap->face != NULL)
        key_end(heap->face);
    heap->face = NULL;
}

void
hhi_heap_destroy(struct hh_heap *heap)
{
    HH_CHECK(heap != &hhi_default_heap);
    hhi_sweep_exclude(); // it may hold slabs of the heap in its hands
    home_end(heap);
    hhi_lock_enter(&heaps.lock);
    *heap->back = heap->next;
    if (heap->next != NULL)
        heap->next->back = heap->back;
    heaps.count--;
    hhi_lock_leave(&heaps.lock);
    heap_release_runs(heap);
    hhi_sample_end_heap(heap);
    hhi_sweep_admit();
    key_end(&heap->key);
    hhi_lock_enter(&heaps.lock);
    heap->next = heaps.ended;
    heaps.ended = heap;
    hhi_lock_leave(&heaps.lock);
}

void
hhi_heap_orphan(struct hh_heap *heap)
{
    hh_heap_stats stats;
    hhi_sweep_exclude();
    home_end(heap);
    hhi_sweep_admit();
    hhi_heap_get_stats(heap, &stats);
    if (stats.live_blocks == 0) {
        hhi_heap_destroy(heap);
        return;
    }
    // The blocks stay as they are: the heap is kept, and nobody can name it any more.
    hhi_lock_enter(&heap->lock);
    heap->ended = true;
    hhi_lock_leave(&heap->lock);
}

struct hh_heap *
hhi_heap_first(void)
{
    return &hhi_default_heap;
}

struct hh_heap *
hhi_heap_next(struct hh_heap *heap)
{
    if (heap != &hhi_default_heap)
        return heap->next;
    hhi_lock_enter(&heaps.lock);
    struct hh_heap *first = heaps.first;
    hhi_lock_leave(&heaps.lock);
    return first;
}

void
hhi_heap_for_each(void (*visit)(void *arg, struct hh_heap *heap), void *arg)
{
    hhi_lock_enter(&heaps.lock);
    visit(arg, &hhi_default_heap);
    for (struct hh_heap *heap = heaps.first; heap != NULL; heap = heap->next)
        visit(arg, heap);
    hhi_lock_leave(&heaps.lock);
}

hh_status
hhi_heap_set_limits(struct hh_heap *heap, size_t soft_bytes, size_t hard_bytes)
{
    return hhi_budget_set(&heap->budget, soft_bytes, hard_bytes);
}

void
hhi_heap_list_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&heaps.lock, step);
}

// Of all records, since a look is made without a lock: other threads make and end heaps meanwhile.
void
hhi_heaps_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&hhi_default_heap.lock, step);
    // order: acquire [TC-5] the records' links.
    for (struct hh_heap *heap = hh_load_acquire(&heaps.all); heap != NULL; heap = heap->next_all)
        hhi_lock_fork(&heap->lock, step);
}
