// SPDX-License-Identifier: MIT
/*
 * threads.c - whoever walks the list of threads finds their records filled (TC-2), a fork that of the
 * records of heaps their links (TC-5), and a cache whose heap another thread has ended is empty when it is
 * used for the next (TC-1; heap/thread_cache.h).
 *
 * ENDS 0: threads begin while another walks their list.
 *      1: a heap ends while a thread begins to use another one, whose cache's place is behind the ended one's.
 *      2: the same while the thread makes room in its table of caches.
 *      3: heaps are made while a thread forks.
 * Faults: RELAXED_PUSH, RELAXED_END, RELAXED_LOOK.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_PUSH)
#undef hh_cas_weak_release
#define hh_cas_weak_release hh_cas_strong_relaxed
#endif
#if defined(RELAXED_END)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#define hhi_meta_alloc proof_meta_alloc
#define hhi_meta_alloc_cold proof_meta_alloc
#define hhi_meta_alloc_two proof_meta_alloc_two
#define hhi_cache_reset proof_cache_reset
#define hhi_cache_start proof_cache_reset
#define hhi_guard_register proof_guard_register
#define hhi_sample_end_heap proof_sample_end_heap
#define hhi_budget_discharge proof_budget_discharge
#define hhi_budget_discharge_heap proof_budget_discharge_heap
#define hhi_sweep_note proof_sweep_note
#define hhi_kept_runs_forget proof_kept_runs_forget
#if defined(HH_GENMC)
#include <string.h>
#define memset PROOF_MEMSET
#endif
#include "heap/thread.c"

#include "heap/heap.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
size_t hhi_slab_limit_bytes;
struct hhi_cache hhi_cache_none;
_Atomic uint32_t hhi_sample_every, hhi_sample_pool_made;
_Atomic uint64_t hhi_guard_epoch;
bool (*const hhi_process_up)(void) = NULL;
bool (*const hhi_process_watch_thread)(struct hhi_thread *thread) = NULL;
#endif

static struct hhi_thread records[2];
static struct hhi_cache caches[2];
static struct hhi_cache *table[16];
static struct hh_heap heap_records[2];
static _Atomic unsigned records_made, caches_made, heaps_made;

void *
proof_meta_alloc(size_t size_bytes)
{
    if (size_bytes == sizeof records[0])
        return &records[hh_fetch_add_relaxed(&records_made, 1)];
    if (size_bytes == sizeof caches[0])
        return &caches[hh_fetch_add_relaxed(&caches_made, 1)];
    if (size_bytes == sizeof heap_records[0])
        return &heap_records[hh_fetch_add_relaxed(&heaps_made, 1)];
    assert(size_bytes == sizeof table);
    return table;
}

void *
proof_meta_alloc_two(size_t size_bytes, size_t cold_bytes, void **cold)
{
    (void)cold_bytes;
    *cold = NULL; // no slab is in a list here
    return proof_meta_alloc(size_bytes);
}

void
proof_cache_reset(struct hhi_cache *cache)
{
    cache->partial_bytes = 0;
}

void
proof_guard_register(struct hhi_guard *guard)
{
    guard->registered = true;
}

void
proof_sample_end_heap(struct hh_heap *heap)
{
    (void)heap;
}

void
proof_budget_discharge(struct hhi_budget *budget, size_t bytes)
{
    (void)budget, (void)bytes;
}

void
proof_budget_discharge_heap(struct hhi_budget *budget, size_t bytes)
{
    (void)budget, (void)bytes;
}

void
proof_kept_runs_forget(struct hh_heap *heap)
{
    (void)heap;
}

void
proof_sweep_note(size_t size_bytes)
{
    (void)size_bytes;
}

#if ENDS == 1 || ENDS == 2
static struct hhi_cache *old_table[16];
static struct hh_heap ending, next_heap;

static void *
ender(void *arg)
{
    heap_release_runs(&ending);
    return arg;
}

static void *
user(void *arg)
{
    struct hhi_cache *cache = hhi_cache_get(&records[0], &next_heap);
    assert(cache != NULL && cache->heap == &next_heap);
    cache->partial_bytes = 1;
    return arg;
}

static void
scene_run(void)
{
    struct hhi_thread *thread = &records[0];
    hh_store_relaxed(&caches_made, 0);
    thread->spare = NULL;
    thread->table = table;
    thread->table_capacity = 16;
    thread->table_used = 0;
    thread->old_table = old_table;
    for (int slot = 0; slot < 16; slot++)
        table[slot] = NULL;
    for (int slot = 0; slot < HHI_RECENT_CACHES; slot++)
        recent_set(&thread->recent[slot], 0, &hhi_cache_none);
    ending.id = next_heap.id = 2 * HHI_HEAP_ID_STEP;
    ending.caches = next_heap.caches = NULL;
    ending.shared = &ending.shared_few;
    ending.tracked = tracked_none;
    do
        next_heap.id += HHI_HEAP_ID_STEP;
    while ((table_slot(thread, next_heap.id) == table_slot(thread, ending.id)) != (ENDS == 1));
    hh_store_relaxed(&ending.key.home, NULL);
    hh_store_relaxed(&next_heap.key.home, NULL);
    if (hhi_cache_get(thread, &ending) == NULL)
        abort();
    if (ENDS == 2)
        thread->table_used = thread->table_capacity / 2; // as much as it may hold
    PROOF_RUN(ender, user);
}
#elif ENDS == 3
static void *
maker(void *arg)
{
    if (heap_record_make() == NULL)
        abort();
    return arg;
}

static void *
forker(void *arg)
{
    hhi_heaps_fork(HHI_FORK_LOOK);
    return arg;
}

static void
scene_run(void)
{
    hh_store_relaxed(&heaps.all, NULL);
    hh_store_relaxed(&heaps_made, 0);
    PROOF_RUN(maker, maker, forker);
}
#else
static void *
beginner(void *arg)
{
    struct hhi_thread *thread = thread_make();
    assert(thread != NULL);
    return arg;
}

static void *
walker(void *arg)
{
    for (struct hhi_thread *thread = hhi_thread_first(); thread != NULL; thread = thread->next_all)
        assert(thread->guard.registered &&
               hhi_recent_of(thread, &hhi_default_heap.key)->cache == &thread->main);
    return arg;
}

static void
scene_run(void)
{
    hh_store_relaxed(&threads.all, NULL);
    hh_store_relaxed(&records_made, 0);
    PROOF_RUN(beginner, beginner, walker);
}
#endif

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++)
        scene_run();
    return 0;
}
