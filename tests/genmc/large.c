// SPDX-License-Identifier: MIT
/*
 * large.c - a large block that is found live is described as of this life of its run, by whoever frees it,
 * rightly or wrongly, and whoever asks (SL-5, SL-6; slab/slab.h).
 *
 * SCENE 1: a block is freed and its run, a granule longer, serves another one, while a second thread frees
 *          the first block again. Every run comes back as long as it was given out.
 *       2: a block is allocated, freed and, in the run that the heap kept, allocated again, while another
 *          thread asks for its size. The run had a longer block before.
 *       3: a block is allocated where there was none, while another thread asks what is there.
 *       4: as 1, but the block that comes to lie there is another heap's: it stays.
 *       5: a block grows where it lies while another thread frees it: one after the other, or the block
 *          is no longer there to grow.
 * Faults: RELAXED_END, RELAXED_LIVE, RELAXED_LOOK, LOOK_FIRST (whose a block is, before it is ended),
 *         KEEP_MARK (a block can be freed while its size changes).
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_END)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#if defined(RELAXED_LIVE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(HH_GENMC)
#include <string.h>
#define memset PROOF_MEMSET
#endif
#define hhi_sweep_comes proof_sweep_comes
#define hhi_sweep_note proof_sweep_note
#define hhi_run_alloc proof_run_alloc
#define hhi_run_free proof_run_free
#define hhi_run_extend proof_run_extend
#define hhi_budget_charge proof_budget_charge
#define hhi_budget_discharge proof_budget_discharge
#define hhi_budget_discharge_heap proof_budget_discharge_heap
#define hhi_limit_discharge proof_limit_discharge
#define hhi_limit_refill_reserve proof_limit_refill_reserve
#define hhi_limit_retry proof_limit_retry
#define hhi_growth_count proof_growth_count
#define hhi_debug_forget_locked proof_debug_forget
#include "slab/carve.c"

#include "heap/kept_runs.c"

#if defined(KEEP_MARK)
#define hhi_slab_large_end(slab, heap) (hh_load_acquire(&(slab)->large_of) == (heap))
#define hhi_slab_large_begin(slab, heap)                                                           \
    (threads_run ? (void)0 : hh_store_release(&(slab)->large_of, heap))
static bool threads_run;
#endif
#include "heap/heap.c"
#undef hhi_slab_large_end
#undef hhi_slab_large_begin

#include "heap/census.c"
#define refuse refuse_free
#if defined(LOOK_FIRST)
#define hhi_slab_large_end(slab, of)                                                               \
    (hh_load_relaxed(&(slab)->heap) == (of) && hh_exchange_acquire(&(slab)->large_of, NULL) != NULL)
#endif
#include "heap/alloc.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
struct hhi_cache hhi_cache_none;
_Atomic uint64_t hhi_guard_epoch;
bool hhi_guard_asymmetric;
_Atomic uint64_t hhi_os_calls;
_Atomic uint32_t hhi_thread_generation, hhi_sample_every, hhi_sample_pool_made;
_Atomic size_t hhi_growth_bytes;
_Atomic uint8_t hhi_threads_borrow;
__thread struct hhi_thread *hhi_self;
const struct hhi_thread hhi_thread_none, hhi_thread_dead;
bool (*const hhi_process_up)(void) = NULL;
bool (*const hhi_process_watch_thread)(struct hhi_thread *thread) = NULL;
#endif

enum { GRANULES = 8, LONG = 6, LONGER = 7, LONGEST = 8 };

static struct hhi_slab records[GRANULES];
static _Atomic uint32_t heads[GRANULES];
static struct hhi_lock run_lock; // as the runs' own; under it:
static uint32_t given;           // granules of the run at 0
static _Atomic size_t charged;   // bytes, to either heap
static unsigned runs_given, runs_back;

bool
proof_sweep_comes(void)
{
    return SCENE == 2;
}

void
proof_sweep_note(size_t size_bytes)
{
    (void)size_bytes;
}

bool
proof_run_alloc(const struct hhi_run_request *request, struct hhi_run *run)
{
    hhi_lock_enter(&run_lock);
    bool free = given == 0;
    run->first = run->count = run->clean_granules = run->calls = run->next_calls = 0;
    run->refusal = 0;
    run->addresses_refused = false;
    if (free) {
        given = request->count;
        runs_given++;
        run->count = request->count;
    }
    hhi_lock_leave(&run_lock);
    return free;
}

void
proof_run_free(uint32_t first, uint32_t count)
{
    hhi_lock_enter(&run_lock);
    assert(first == 0 && count == given);
    given = 0;
    runs_back++;
    hhi_lock_leave(&run_lock);
}

int
proof_run_extend(uint32_t first, uint32_t count, uint32_t more, uint32_t *clean_granules)
{
    hhi_lock_enter(&run_lock);
    assert(first == 0 && count == given);
    given += more;
    hhi_lock_leave(&run_lock);
    *clean_granules = 0;
    return 0;
}

bool
proof_budget_charge(struct hhi_budget *budget, size_t bytes, unsigned level)
{
    (void)budget, (void)level;
    hh_fetch_add_relaxed(&charged, bytes); // relaxed: a count publishes nothing
    return true;
}

void
proof_budget_discharge(struct hhi_budget *budget, size_t bytes)
{
    (void)budget;
    hh_fetch_sub_relaxed(&charged, bytes); // relaxed: as above
}

void
proof_budget_discharge_heap(struct hhi_budget *budget, size_t bytes)
{
    (void)budget;
    hh_fetch_sub_relaxed(&charged, bytes); // relaxed: as above
}

void
proof_limit_discharge(size_t bytes)
{
    (void)bytes;
}

bool
proof_limit_retry(unsigned level, unsigned attempt, struct hhi_tries *tries)
{
    (void)level, (void)attempt, (void)tries;
    return false;
}

void
proof_limit_refill_reserve(void)
{
}

void
proof_growth_count(size_t clean_bytes)
{
    (void)clean_bytes;
}

bool
proof_debug_forget(struct hhi_slab *slab)
{
    (void)slab;
    return true;
}

static struct hh_heap other_heap;

static void *
block_make_of(struct hh_heap *heap, uint32_t granules)
{
    bool zeroed;
    return hhi_heap_alloc_large(heap, (size_t)granules << HHI_GRANULE_SHIFT, 1, 0, &zeroed);
}

static void *
block_make(uint32_t granules)
{
    return block_make_of(&hhi_default_heap, granules);
}

// As hhi_heap_free_slow: 0, or why not.
static hhi_refusal
block_end(void *block)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    return slab != NULL && kind == HHI_KIND_LARGE ? free_large(&hhi_default_heap, slab, block)
                                                  : HH_BAD_FOREIGN;
}

static unsigned made, ended[2]; // by each thread

static void *
owner(void *arg)
{
#if SCENE == 1
    ended[0] += block_end((void *)hhi_window.base) == 0;
    made += block_make(LONGER) != NULL;
#elif SCENE == 2
    void *block = block_make(LONG);
    assert(block != NULL && block_end(block) == 0);
    assert(hhi_kept_run_take(&hhi_default_heap, LONG) == block);
#elif SCENE == 4
    ended[0] += block_end((void *)hhi_window.base) == 0;
    made += block_make_of(&other_heap, LONG) != NULL;
#elif SCENE == 5
    int grown = hhi_heap_extend_large(&hhi_default_heap, &records[0],
                                      (size_t)LONGER << HHI_GRANULE_SHIFT, 0);
    assert(grown == 0 || grown == -ENOENT);
    made += grown == 0;
#else
    (void)block_end;
    block_make(LONG);
#endif
    return arg;
}

static void *
other(void *arg)
{
    void *block = (void *)hhi_window.base;
#if SCENE == 1 || SCENE == 4 || SCENE == 5
    ended[1] += block_end(block) == 0;
#elif SCENE == 2
    size_t size_bytes = hhi_large_block_bytes(&hhi_default_heap, block);
    assert(size_bytes == 0 || size_bytes == (size_t)LONG << HHI_GRANULE_SHIFT);
    size_bytes = hhi_cache_block_bytes_medium(&hhi_cache_none, &hhi_default_heap, block);
    assert(size_bytes == 0 || size_bytes == (size_t)LONG << HHI_GRANULE_SHIFT);
#else
    hh_block_info info;
    hhi_heap_owns(block, &info);
    if (info.heap != NULL)
        assert(info.base == block && info.size_bytes == (size_t)LONG << HHI_GRANULE_SHIFT);
#endif
    return arg;
}

static void
scene_set(void)
{
    // relaxed (all): no thread runs.
    hh_store_relaxed(&records[0].kind, HHI_KIND_NONE);
    hh_store_relaxed(&records[0].large_of, NULL);
    hh_store_relaxed(&records[0].block_bytes, 0);
    hh_store_relaxed(&records[0].heap, NULL);
    for (int granule = 0; granule < GRANULES; granule++)
        hh_store_relaxed(&heads[granule], 0);
    for (int slot = 0; slot < HHI_KEPT_RUNS; slot++)
        hh_store_relaxed(&hhi_default_heap.kept_runs[slot], NULL);
    hhi_default_heap.runs = other_heap.runs = NULL;
    hh_store_relaxed(&charged, 0);
    given = 0;
    made = ended[0] = ended[1] = runs_given = runs_back = 0;
}

int
main(void)
{
    hhi_window.base = (uintptr_t)1 << 32;
    hhi_window.granules = hhi_window.most_granules = GRANULES;
    hhi_window.records = (char *)records;
    hhi_window.heads = heads;
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        scene_set();
#if SCENE == 1 || SCENE == 4
        made += block_make(LONG) != NULL;
#elif SCENE == 5
        if (block_make(LONG) == NULL)
            abort();
#if defined(KEEP_MARK)
        threads_run = true;
#endif
#elif SCENE == 2
        if (block_make(LONGEST) == NULL)
            abort();
        (void)block_end((void *)hhi_window.base);
        (void)hhi_kept_runs_release(&hhi_default_heap, NULL, NULL);
#endif
        PROOF_RUN(owner, other);
        if (SCENE == 1)
            assert(made == runs_given && ended[0] + ended[1] == runs_back);
        if (SCENE == 5) // the block is there as what it grew to, or it was not there to grow
            assert(ended[1] == runs_back &&
                   (ended[1] == 1 || (made == 1 && given == LONGER &&
                                      hh_load_relaxed(&records[0].granules) == LONGER)) &&
                   hh_load_relaxed(&charged) == (size_t)given << HHI_GRANULE_SHIFT);
        if (SCENE == 4)
            // relaxed: no thread runs.
            assert(ended[0] + ended[1] == 1 &&
                   (made == 1 || hh_load_relaxed(&records[0].large_of) == &other_heap));
    }
    return 0;
}
