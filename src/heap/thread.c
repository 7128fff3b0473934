// SPDX-License-Identifier: MIT
// heap/thread.c - records of threads: made, adopted, given up; their tables of caches.
#include <string.h>

#include "base/check.h"
#include "heap/heap.h"
#include "heap/inbox.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"

#define EMPTY_BINS                                                                                 \
    {                                                                                              \
        [0 ... HHI_CLASSES - 1] = {.head = HHI_LINK_END }                                          \
    }

const struct hhi_thread hhi_thread_none = {.bins = EMPTY_BINS};
const struct hhi_thread hhi_thread_dead = {.bins = EMPTY_BINS};
HH_TLS_INITIAL_EXEC struct hhi_thread *hhi_self = (struct hhi_thread *)&hhi_thread_none;
_Atomic uint8_t hhi_threads_borrow HH_START_STATE;

_Atomic uint32_t hhi_thread_generation HH_START_STATE = 1;
_Atomic(bool) hhi_threads_several HH_START_STATE;

static struct {
    struct hhi_lock lock;             // rank: thread list
    struct hhi_thread *orphans;       // by next_orphan
    _Atomic(struct hhi_thread *) all; // [TC-2] only grows
    _Atomic size_t orphan_count;      // written under lock; a hint without it
    size_t running;                   // under lock
    _Atomic(bool) forked; // records of lost threads are not yet orphans; as orphan_count
    uint64_t survivor;    // after a fork: the thread that was not lost
    uint32_t stock;       // the generation before the first fork since stock was taken
    bool section_lost;    // in a fork since then a lost thread was freeing a block
} threads HH_START_STATE;

// The number of threads with a record. Under the lock.
static void
running_set(size_t running)
{
    threads.running = running;
    // relaxed: a hint.
    hh_store_relaxed(&hhi_threads_several, running > 1);
}

/*
 * Records that nobody living has become orphans. At the first use of the list after a fork, and not in the
 * fork: the thread may have been interrupted in its use by the handler that forks. No other thread
 * exists until it has gone on.
 */
static void
threads_take_stock(void)
{
    size_t orphans = 0, running = 0;
    // relaxed (all): the only thread of the process, or written under the lock.
    uint32_t generation = hh_load_relaxed(&hhi_thread_generation);
    threads.orphans = NULL;
    for (struct hhi_thread *thread = hhi_thread_first(); thread != NULL;
         thread = thread->next_all) {
        if (thread->holder == threads.survivor) {
            // relaxed: the only thread of the process, or not yet seen by another.
            running += hh_load_relaxed(&thread->state) == HHI_THREAD_RUNNING;
            continue;
        }
        thread->torn = thread->torn || thread->holder != 0;
        // Only a free in progress leaves something in another thread's slabs; and what was not mended
        // before the fork still is to be.
        // relaxed (both): as above.
        if (!thread->torn && !threads.section_lost &&
            hh_load_relaxed(&thread->mended) == threads.stock)
            hh_store_relaxed(&thread->mended, generation);
        thread->holder = 0;
        thread->borrowed = 0;
        // relaxed: as above.
        hh_store_relaxed(&thread->state, HHI_THREAD_ORPHAN);
        thread->next_orphan = threads.orphans;
        threads.orphans = thread;
        orphans++;
    }
    running_set(running);
    // relaxed (both): written under the lock.
    hh_store_relaxed(&threads.orphan_count, orphans);
    hh_store_relaxed(&threads.forked, false);
    // relaxed (both): in this order, a handler that has forked meanwhile is not forgotten.
    if (hh_load_relaxed(&hhi_thread_generation) != generation)
        hh_store_relaxed(&threads.forked, true);
}

static void
threads_enter(void)
{
    hhi_lock_enter(&threads.lock);
    // relaxed: written under the lock, or by the only thread.
    if (hh_unlikely(hh_load_relaxed(&threads.forked)))
        threads_take_stock();
}

// ---- Orphans ------------------------------------------------------------------------------------

// What kind of orphan is looked for: any, one with slabs of a heap, one with a cache that is due.
struct orphan_wish {
    struct hh_heap *heap;
    bool (*due)(struct hhi_cache *cache);
    bool found;
};

static void
orphan_ask(void *arg, struct hhi_cache *cache)
{
    struct orphan_wish *wish = arg;
    wish->found = wish->found || wish->due(cache);
}

static bool
orphan_fits(struct hhi_thread *orphan, struct orphan_wish *wish)
{
    if (wish->heap != NULL) {
        struct hhi_cache *cache = hhi_cache_find(orphan, wish->heap);
        // relaxed: a hint; blocks freed in slabs that were full when the thread ended.
        return cache != NULL &&
               (!cache->shared_all || !hhi_thread_is_mended(orphan) || !hhi_inbox_is_empty(cache));
    }
    if (wish->due == NULL || !hhi_thread_is_mended(orphan))
        return true;
    wish->found = false;
    hhi_thread_for_each_cache(orphan, orphan_ask, wish);
    return wish->found;
}

static struct hhi_thread *
orphan_remove(struct orphan_wish wish)
{
    // relaxed (both): hints; an orphan of this moment is found the next time.
    if (hh_load_relaxed(&threads.orphan_count) == 0 && !hh_load_relaxed(&threads.forked))
        return NULL;
    threads_enter();
    struct hhi_thread **link = &threads.orphans;
    while (*link != NULL && !orphan_fits(*link, &wish))
        link = &(*link)->next_orphan;
    struct hhi_thread *orphan = *link;
    if (orphan != NULL) {
        *link = orphan->next_orphan;
        orphan->holder = hhi_thread_self();
        // relaxed: written under the lock.
        hh_store_relaxed(&threads.orphan_count, hh_load_relaxed(&threads.orphan_count) - 1);
    }
    hhi_lock_leave(&threads.lock);
    if (orphan != NULL)
        hhi_thread_mend(orphan);
    return orphan;
}

struct hhi_thread *
hhi_orphan_take(void)
{
    return orphan_remove((struct orphan_wish){0});
}

struct hhi_thread *
hhi_orphan_take_for(struct hh_heap *heap)
{
    return orphan_remove((struct orphan_wish){.heap = heap});
}

struct hhi_thread *
hhi_orphan_take_if(bool (*due)(struct hhi_cache *cache))
{
    return orphan_remove((struct orphan_wish){.due = due});
}

void
hhi_orphan_put(struct hhi_thread *thread)
{
    threads_enter();
    thread->next_orphan = threads.orphans;
    threads.orphans = thread;
    thread->holder = 0;
    // relaxed (both): written under the lock or by the record's only user.
    hh_store_relaxed(&thread->state, HHI_THREAD_ORPHAN);
    hh_store_relaxed(&threads.orphan_count, hh_load_relaxed(&threads.orphan_count) + 1);
    hhi_lock_leave(&threads.lock);
}

// ---- Where a heap's cache is found ---------------------------------------------------------------

// Remember the cache of a heap, or forget what is there: heap_id 0.
static void
recent_set(struct hhi_recent *recent, uint64_t heap_id, struct hhi_cache *cache)
{
    // relaxed: the owner's own.
    size_t classes = hh_load_relaxed(&cache->class_limit);
    if (classes > HHI_SMALL_CLASSES)
        classes = HHI_SMALL_CLASSES + 1;
    recent->heap_id = heap_id;
    recent->cache = cache;
    recent->bins = cache->bins;
    recent->small_bytes = classes == 0 ? 0 : (classes - 1) * HHI_ALIGNMENT_BYTES;
}

static void
home_fill(struct hhi_heap_key *key, struct hhi_thread *thread, struct hhi_cache *cache,
          const struct hhi_recent *recent)
{
    // relaxed (all): read by who runs the record, after home.
    hh_store_relaxed(&key->cache, cache);
    hh_store_relaxed(&key->bins, recent->bins);
    hh_store_relaxed(&key->small_bytes, recent->small_bytes);
    hh_store_relaxed(&key->home, thread);
}

// Lists of a cache are made, or made anew: if its thread is at home in the heap, say so where it looks.
static void
home_set(struct hhi_cache *cache)
{
    struct hh_heap *heap = cache->heap;
    // relaxed (both): fixed once made; changed by who runs the record.
    struct hhi_thread *thread = hh_load_relaxed(&cache->thread);
    if (hh_load_relaxed(&heap->key.home) != thread)
        return;
    struct hhi_recent lists;
    recent_set(&lists, heap->key.id, cache);
    home_fill(&heap->key, thread, cache, &lists);
    if (heap->face != NULL)
        home_fill(heap->face, thread, cache, &lists);
}

// The first thread that uses a heap is at home there.
static void
home_claim(struct hhi_thread *thread, struct hhi_cache *cache)
{
    struct hhi_heap_key *key = &cache->heap->key;
    struct hhi_thread *nobody = NULL;
    // relaxed (all): a claim alone publishes nothing; then the claimer's own.
    if (hh_load_relaxed(&key->home) != NULL ||
        !hh_cas_strong_relaxed(&key->home, &nobody, HHI_HOME_CLAIMED))
        return;
    hh_store_relaxed(&key->home, thread);
    home_set(cache);
}

// ---- Mending ------------------------------------------------------------------------------------

static void
thread_mend_lists(void *arg, struct hhi_cache *cache)
{
    (void)arg;
    hhi_cache_mend_lists(cache);
    home_set(cache);
}

static void
thread_mend_mark(void *arg, struct hhi_cache *cache)
{
    (void)arg;
    hhi_cache_mend_mark(cache);
}

static void
thread_mend_settle(void *arg, struct hhi_cache *cache)
{
    (void)arg;
    hhi_cache_mend_settle(cache);
}

// Its thread may have been making lists for more classes.
static void
thread_mend_torn(struct hhi_thread *thread)
{
    thread->asking = HHI_ASKING_NO; // its thread may have been asking for memory
    memset(thread->recent, 0, sizeof thread->recent);
    memset(thread->spare_lists, 0, sizeof thread->spare_lists);
    hhi_thread_for_each_cache(thread, thread_mend_lists, NULL);
}

// While no heap can end.
static void
thread_mend_alone(struct hhi_thread *thread)
{
    // relaxed: read before anything is looked at. If a handler forks meanwhile, the child's
    // generation is a later one, and the record is mended once more.
    uint32_t generation = hh_load_relaxed(&hhi_thread_generation);
    if (thread->torn)
        thread_mend_torn(thread);
    thread->torn = false;
    hhi_thread_for_each_cache(thread, thread_mend_mark, NULL);
    // relaxed: an addition reads the newest epoch. Who took a token before the slabs were marked is in a
    // section of this epoch or an older one until the slab is in the inbox.
    uint64_t marked_epoch = hh_fetch_add_relaxed(&hhi_guard_epoch, 0);
    if (hhi_guard_advance() <= marked_epoch)
        return; // some section is open: the next try begins anew
    hhi_thread_for_each_cache(thread, thread_mend_settle, NULL);
    // relaxed: all slabs whose tokens are out are in the inboxes. Who takes these looks at it under the
    // sweep lock, which is held, or under the lock of the thread list, which the record passes through.
    hh_store_relaxed(&thread->mended, generation);
}

void
hhi_thread_mend(struct hhi_thread *thread)
{
    if (hh_likely(hhi_thread_is_mended(thread)))
        return;
    // The record has caches of heaps that the calling thread does not use: another may end them.
    bool excluded = hhi_sweep_exclude_once();
    thread_mend_alone(thread);
    if (excluded)
        hhi_sweep_admit();
}

// ---- Records ------------------------------------------------------------------------------------

static void
cache_init(struct hhi_cache *cache, struct hhi_thread *thread)
{
    if (cache->arrived == NULL) { // new: its lists come with the first block
        cache->arrived = cache->arrived_few;
        cache->bins = (struct hhi_bin *)hhi_thread_none.bins;
    }
    hhi_cache_reset(cache);
    // relaxed: published with the record, or by the owner word of a slab [SL-3].
    hh_store_relaxed(&cache->thread, thread);
}

static void
cache_attach(struct hhi_cache *cache, struct hh_heap *heap)
{
    cache->heap = heap;
    hhi_lock_enter(&heap->lock);
    cache->next_of_heap = heap->caches;
    heap->caches = cache;
    // relaxed: read by who runs the record, or under the lock. Under it, so that no fork comes between.
    hh_store_relaxed(&cache->heap_id, heap->key.id);
    hhi_lock_leave(&heap->lock);
}

// The main cache has lists of all classes, in the record itself but for those that few threads need.
static void
main_init(struct hhi_thread *thread, struct hhi_slab **partial)
{
    struct hhi_cache *cache = &thread->main;
    cache->bins = thread->bins;
    cache->partial = partial;
    cache->shared_use = thread->shared_use;
    cache->arrived = cache->arrived_few;
    // relaxed (both): published with the record.
    hh_store_relaxed(&cache->class_limit, HHI_CLASSES);
    hh_store_relaxed(&cache->thread, thread);
    hhi_cache_start(cache);
    cache_attach(cache, &hhi_default_heap);
}

static struct hhi_thread *
thread_make(void)
{
    void *partial;
    struct hhi_thread *thread =
        hhi_meta_alloc_two(sizeof *thread, HHI_CLASSES * sizeof(struct hhi_slab *), &partial);
    if (thread == NULL)
        return NULL;
    thread->holder = hhi_thread_self();
    // relaxed (both): published with the record.
    hh_store_relaxed(&thread->mended, hh_load_relaxed(&hhi_thread_generation));
    main_init(thread, partial);
    recent_set(hhi_recent_of(thread, &hhi_default_heap.key), hhi_default_heap.key.id,
               &thread->main);
    hhi_guard_register(&thread->guard);
    // relaxed: only a guess for the exchange below.
    struct hhi_thread *head = hh_load_relaxed(&threads.all);
    do {
        thread->next_all = head;
        // order: release [TC-2] publishes the record.
    } while (!hh_cas_weak_release(&threads.all, &head, thread));
    return thread;
}

struct hhi_thread *
hhi_thread_get(void)
{
    struct hhi_thread *self = hhi_self;
    if (hh_likely(hhi_thread_is_real(self))) {
        if (hh_unlikely(self->borrowed > 0))
            self->borrowed++; // a call within a call: libc allocates when a thread is started
        return self;
    }
    if (!hhi_process_up())
        return NULL;
    struct hhi_thread *thread = hhi_orphan_take();
    if (thread == NULL)
        thread = thread_make();
    if (thread == NULL)
        return NULL;
    threads_enter();
    running_set(threads.running + 1);
    // relaxed: a hint for the sweeper; with the count, for who takes stock after a fork.
    hh_store_relaxed(&thread->state, HHI_THREAD_RUNNING);
    hhi_lock_leave(&threads.lock);
    // relaxed: set before the first record; where it ends, this call or the next sees it.
    thread->borrowed = self == &hhi_thread_dead || hh_load_relaxed(&hhi_threads_borrow) != 0;
    thread->stand_in = self;
    hhi_self = thread;
    // May allocate: the record is in place. If the thread's end will not be noticed, the record is only
    // borrowed, for each call anew: else it would be lost with the thread.
    if (!thread->borrowed && !hhi_process_watch_thread(thread))
        thread->borrowed = 1;
    return thread;
}

static void
thread_give_up(struct hhi_thread *thread, struct hhi_thread *stand_in)
{
    hhi_self = stand_in;
    threads_enter();
    running_set(threads.running - 1);
    // relaxed: a hint for the sweeper; with the count, for who takes stock after a fork.
    hh_store_relaxed(&thread->state, HHI_THREAD_ORPHAN);
    hhi_lock_leave(&threads.lock);
    hhi_orphan_put(thread);
}

void
hhi_thread_return(struct hhi_thread *thread)
{
    if (hh_unlikely(thread != NULL && thread->borrowed > 0) && --thread->borrowed == 0)
        thread_give_up(thread, thread->stand_in);
}

void
hhi_thread_exit(struct hhi_thread *thread)
{
    HH_CHECK(thread == hhi_self);
    size_t left_bytes = thread->main.partial_bytes + HHI_GRANULE_BYTES;
    thread_give_up(thread, (struct hhi_thread *)&hhi_thread_dead);
    hhi_sweep_note(left_bytes); // its slabs may wait for a thread that never comes
}

struct hhi_thread *
hhi_thread_first(void)
{
    // order: acquire [TC-2] the records in the list.
    return hh_load_acquire(&threads.all);
}

size_t
hhi_thread_count_running(void)
{
    threads_enter();
    size_t running = threads.running;
    hhi_lock_leave(&threads.lock);
    return running;
}

// ---- Tables of caches ---------------------------------------------------------------------------

static uint32_t
table_slot(const struct hhi_thread *thread, uint64_t heap_id)
{
    return (uint32_t)((heap_id * 0x9E3779B97F4A7C15u) >> 32) & (thread->table_capacity - 1);
}

// The entry that holds heap_id's cache, or the one where it belongs: NULL in it, or a cache free
// for use.
static struct hhi_cache **
table_entry(struct hhi_thread *thread, uint64_t heap_id)
{
    struct hhi_cache **reusable = NULL;
    uint32_t slot = table_slot(thread, heap_id);
    for (;; slot = (slot + 1) & (thread->table_capacity - 1)) {
        struct hhi_cache **entry = &thread->table[slot];
        if (*entry == NULL)
            return reusable != NULL ? reusable : entry;
        // order: acquire [TC-1] 0 means that the heap's end has emptied the cache.
        uint64_t id = hh_load_acquire(&(*entry)->heap_id);
        if (id == heap_id)
            return entry;
        if (id == 0 && reusable == NULL)
            reusable = entry;
    }
}

// Of a cache that is not there. Only where nothing is: what is free for use by now is to be found again.
static void
table_insert(struct hhi_thread *thread, uint64_t heap_id, struct hhi_cache *cache)
{
    uint32_t slot = table_slot(thread, heap_id);
    while (thread->table[slot] != NULL)
        slot = (slot + 1) & (thread->table_capacity - 1);
    thread->table[slot] = cache;
    thread->table_used++;
}

// Make room for one more cache. Caches of ended heaps go to the spare list.
static bool
table_reserve(struct hhi_thread *thread)
{
    if (thread->table_used * 2 < thread->table_capacity)
        return true;
    struct hhi_cache **old = thread->table;
    uint32_t old_capacity = thread->table_capacity, live = 0;
    for (uint32_t slot = 0; slot < old_capacity; slot++)
        // relaxed: a count, for the size of the next table.
        live += old[slot] != NULL && hh_load_relaxed(&old[slot]->heap_id) != 0;
    uint32_t capacity = old_capacity == 0 ? 16 : old_capacity;
    if (live * 4 > capacity)
        capacity *= 2;
    // Heaps that come and go fill the table with dead caches: two tables by turns.
    struct hhi_cache **table = capacity == old_capacity ? thread->old_table : NULL;
    if (table == NULL)
        table = hhi_meta_alloc(capacity * sizeof *table);
    if (table == NULL)
        return false;
    memset(table, 0, capacity * sizeof *table);
    thread->old_table = capacity == old_capacity ? old : NULL;
    thread->table = table;
    thread->table_capacity = capacity;
    thread->table_used = 0;
    for (uint32_t slot = 0; slot < old_capacity; slot++) {
        struct hhi_cache *cache = old[slot];
        if (cache == NULL)
            continue;
        // order: acquire [TC-1] before the cache is used for another heap.
        uint64_t id = hh_load_acquire(&cache->heap_id);
        if (id == 0) {
            cache->next_of_heap = thread->spare;
            thread->spare = cache;
        } else {
            table_insert(thread, id, cache);
        }
    }
    return true;
}

// ---- Lists of a cache ---------------------------------------------------------------------------

// Lists for classes below each: the classes that serve them first (hhi_class_coarse) are below it, too.
static const uint8_t class_limits[HHI_CLASS_LIMITS] = {9, 17, 33, HHI_SMALL_CLASSES + 1,
                                                       HHI_CLASSES};

enum { LISTS_BYTES_A_CLASS = sizeof(struct hhi_bin) + sizeof(struct hhi_slab *) + 1 };

// The place of the first limit above class_index.
static unsigned
limit_place(unsigned class_index)
{
    unsigned place = 0;
    while (class_limits[place] <= class_index)
        place++;
    return place;
}

static void *
lists_take(struct hhi_thread *thread, unsigned place)
{
    void **lists = thread->spare_lists[place];
    if (lists == NULL)
        return hhi_meta_alloc((size_t)class_limits[place] * LISTS_BYTES_A_CLASS);
    thread->spare_lists[place] = *lists;
    return lists;
}

static void
lists_give(struct hhi_thread *thread, unsigned place, void *lists)
{
    *(void **)lists = thread->spare_lists[place];
    thread->spare_lists[place] = lists;
}

bool
hhi_cache_grow(struct hhi_cache *cache, unsigned class_index)
{
    // relaxed (both): the owner's own; fixed once made.
    unsigned old_limit = hh_load_relaxed(&cache->class_limit), place = limit_place(class_index);
    struct hhi_thread *thread = hh_load_relaxed(&cache->thread);
    unsigned limit = class_limits[place];
    struct hhi_bin *bins = lists_take(thread, place), *old_bins = cache->bins;
    if (bins == NULL)
        return false;
    struct hhi_slab **partial = (struct hhi_slab **)(void *)(bins + limit);
    uint8_t *shared_use = (uint8_t *)(partial + limit);
    for (unsigned each = 0; each < limit; each++) {
        bool old = each < old_limit;
        bins[each] = old ? old_bins[each] : (struct hhi_bin){.head = HHI_LINK_END};
        partial[each] = old ? cache->partial[each] : NULL;
        shared_use[each] = old ? cache->shared_use[each] : 0;
    }
    cache->bins = bins;
    cache->partial = partial;
    cache->shared_use = shared_use;
    // order: release [TC-4] there is room for as many (I4).
    hh_store_release(&cache->class_limit, limit);
    // relaxed: fixed while the caller uses the heap.
    uint64_t heap_id = hh_load_relaxed(&cache->heap_id);
    struct hhi_recent *recent = hhi_recent_of(thread, &cache->heap->key);
    if (recent->heap_id == heap_id)
        recent_set(recent, heap_id, cache);
    home_set(cache);
    if (old_limit != 0)
        lists_give(thread, limit_place(old_limit - 1), old_bins);
    return true;
}

static struct hhi_cache *
cache_make(struct hhi_thread *thread)
{
    struct hhi_cache *cache = thread->spare;
    if (cache != NULL) {
        thread->spare = cache->next_of_heap;
        return cache;
    }
    cache = hhi_meta_alloc(sizeof *cache);
    if (cache != NULL)
        cache_init(cache, thread);
    return cache;
}

struct hhi_cache *
hhi_cache_find(struct hhi_thread *thread, const struct hh_heap *heap)
{
    struct hhi_recent *recent = hhi_recent_of(thread, &heap->key);
    if (recent->heap_id == heap->key.id)
        return recent->cache;
    if (heap == &hhi_default_heap) {
        recent_set(recent, heap->key.id, &thread->main);
        return &thread->main;
    }
    if (thread->table_capacity == 0)
        return NULL;
    struct hhi_cache *cache = *table_entry(thread, heap->key.id);
    // relaxed: only the end of the heap changes it, which the caller excludes.
    if (cache == NULL || hh_load_relaxed(&cache->heap_id) != heap->key.id)
        return NULL;
    recent_set(recent, heap->key.id, cache);
    return cache;
}

struct hhi_cache *
hhi_cache_get(struct hhi_thread *thread, struct hh_heap *heap)
{
    HH_ASSERT(thread != NULL);
    struct hhi_cache *cache = hhi_cache_find(thread, heap);
    if (cache != NULL)
        return cache;
    if (!table_reserve(thread))
        return NULL;
    struct hhi_cache **entry = table_entry(thread, heap->key.id);
    if (*entry == NULL) {
        cache = cache_make(thread);
        if (cache == NULL)
            return NULL;
        *entry = cache;
        thread->table_used++;
    }
    cache = *entry;
    cache_attach(cache, heap);
    recent_set(hhi_recent_of(thread, &heap->key), heap->key.id, cache);
    home_claim(thread, cache);
    return cache;
}

void
hhi_thread_for_each_cache(struct hhi_thread *thread,
                          void (*visit)(void *arg, struct hhi_cache *cache), void *arg)
{
    visit(arg, &thread->main);
    for (uint32_t slot = 0; slot < thread->table_capacity; slot++)
        // relaxed: 0 means an empty cache of no heap, which is left alone.
        if (thread->table[slot] != NULL && hh_load_relaxed(&thread->table[slot]->heap_id) != 0)
            visit(arg, thread->table[slot]);
}

// ---- Fork ---------------------------------------------------------------------------------------

void
hhi_threads_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&threads.lock, step);
}

void
hhi_threads_fork_child(bool section_lost)
{
    // relaxed (all): the only thread of the process.
    uint32_t generation = hh_load_relaxed(&hhi_thread_generation);
    if (!hh_load_relaxed(&threads.forked)) {
        threads.stock = generation;
        threads.section_lost = false;
    }
    threads.survivor = hhi_thread_self();
    threads.section_lost = threads.section_lost || section_lost;
    bool whole = !section_lost && hhi_thread_is_real(hhi_self) && hhi_thread_is_mended(hhi_self);
    hh_store_relaxed(&hhi_thread_generation, generation + 1);
    hh_store_relaxed(&threads.forked, true);
    // Only a free in progress leaves something in another thread's slabs.
    if (whole)
        hh_store_relaxed(&hhi_self->mended, generation + 1);
}
