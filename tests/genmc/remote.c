// SPDX-License-Identifier: MIT
/*
 * remote.c - a block freed by a thread that does not own its slab comes back once, with the freeing
 * thread's accesses behind it, whoever owns the slab by then (SL-1, SL-2, SL-3, SL-4; slab/slab.h,
 * heap/inbox.h).
 *
 * SCENE 1: two threads free a block each while the owner takes slabs back and uses their blocks again.
 *       2: both free the same block: one of them is told so, and it comes back once.
 *       3: the owner gives the slab up and another thread adopts it while a block is freed.
 *       4: the record is mended, as after a fork, while a block is freed; OUT: the token of the slab
 *          was not a lost thread's.
 *       5: the sweeper takes the slab out of the inbox, looks for marks and puts it back.
 * Each time, when all threads have ended, the owner takes what is in its inbox, and then no mark is
 * left. Links are looked at one by one: their four at a time C11 has no word for.
 *       6: the owner finds the slab empty, keeps it and takes it again, before the thread that freed the last
 *          block has looked whether it has to tell. It tells the owner.
 *       7: the sweeper looks through a slab that nobody owns while blocks are freed; 8: through one that waits
 *          in an inbox. A mark that it does not see it will come back for.
 *       9: a slab is carved while somebody frees an address in it that nobody was given.
 *      10: two threads free the last live blocks of a slab, which its owner takes back and uses again, while a
 *          limit is reached: it is used only while it is counted, and what is used keeps its pages (heap/lent.h).
 * Faults: LOOK_FIRST (the owner looks before it gives the token back), RELAXED_MARK, RELAXED_PUSH,
 * NO_WAIT (what is marked is taken while a section is open; or a slab is lent then), NO_COUNT,
 * ADOPT_LATE (the owner is stored after the token is given back), SPLIT_MARK, RELAXED_GIVE, NO_FENCE,
 * RELAXED_CLEAR, RELAXED_LOOK.
 */
#if !defined(OUT)
#define OUT 0
#endif
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_MARK)
#undef hh_cas_strong_seq_cst
#define hh_cas_strong_seq_cst hh_cas_strong_relaxed
#endif
#if defined(SPLIT_MARK)
#undef hh_cas_strong_seq_cst
#define hh_cas_strong_seq_cst(p, expected, v)                                                      \
    (hh_load_seq_cst(p) == *(expected) && (hh_exchange_seq_cst((p), (v)), true))
#endif
#if defined(RELAXED_PUSH)
#undef hh_cas_weak_release
#define hh_cas_weak_release hh_cas_strong_relaxed
#endif
#if defined(RELAXED_GIVE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_CLEAR)
#undef hh_fetch_and_seq_cst
#define hh_fetch_and_seq_cst hh_fetch_and_relaxed
#endif
#if defined(NO_FENCE)
#undef hh_fence_after_rmw
#define hh_fence_after_rmw() ((void)0)
#endif
#define hhi_sweep_note proof_sweep_note
#define hhi_kept_take proof_kept_take
#define hhi_heap_share_slab proof_share
#define hhi_heap_retire_slab proof_retire
#define hhi_kept_put proof_kept_put
#define hhi_kept_forget proof_kept_forget
#define hhi_os_purge proof_purge
#define hhi_os_page_bytes proof_page_bytes
#if SCENE == 10
#define hhi_budget_charge proof_budget_charge
#define hhi_budget_discharge proof_budget_discharge
#define hhi_limit_count proof_limit_count
#endif
#define hhi_os_populate proof_populate
#if SCENE == 7
#undef hhi_sweep_note
#define hhi_opt proof_opt
#define hhi_heap_return_shared proof_return_shared
#define hhi_orphan_take_if proof_orphan_take_if
#include "heap/sweep.c"
struct hhi_options proof_opt = {.decay_ms = HHI_DECAY_OFF};
#endif
#include "slab/guard.c"

#include "slab/slab.h"

#if defined(HH_GENMC)
#define FOUR_OF(order)                                                                             \
    static uint64_t four_##order(const void *word)                                                 \
    {                                                                                              \
        _Atomic uint16_t *four = (_Atomic uint16_t *)(uintptr_t)word;                              \
        uint64_t links = 0;                                                                        \
        for (unsigned lane = 0; lane < 4; lane++)                                                  \
            links |= (uint64_t)atomic_load_explicit(&four[lane], memory_order_##order)             \
                     << (16 * lane);                                                               \
        return links;                                                                              \
    }
#define LOAD_OF(p, order)                                                                          \
    _Generic((p), _Atomic uint64_t *                                                               \
             : four_##order(p), default                                                            \
             : atomic_load_explicit((p), memory_order_##order))
FOUR_OF(acquire)
FOUR_OF(seq_cst)
#undef hh_load_acquire
#define hh_load_acquire(p) LOAD_OF(p, acquire)
#undef hh_load_seq_cst
#define hh_load_seq_cst(p) LOAD_OF(p, seq_cst)
#define hhi_slab_count_live slab_count_live_by_four
#define hhi_slab_is_idle slab_is_idle_by_four
#include "slab/slab.c"
#undef hhi_slab_count_live
#undef hhi_slab_is_idle
#undef hh_load_acquire
#if defined(RELAXED_LOOK)
#define hh_load_acquire hh_load_relaxed
#else
#define hh_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#endif
#undef hh_load_seq_cst
#define hh_load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)

uint32_t
hhi_slab_count_live(struct hhi_slab *counted)
{
    uint32_t live = 0;
    for (uint32_t index = 0; index < hh_load_relaxed(&counted->block_count); index++)
        live += link_read(counted, index) == HHI_LINK_LIVE;
    return live;
}

bool
hhi_slab_is_idle(struct hhi_slab *asked)
{
    for (uint32_t index = 0; index < asked->init; index++)
        if ((link_read(asked, index) | 1) == HHI_LINK_LIVE)
            return false;
    return true;
}
#else
#include "slab/slab.c"
#endif

/*
 * The token's holder alone touches the link of the inbox: a plain word beside it shows who does without. The field
 * itself is atomic for the sake of large blocks, so that the checker would see no race there.
 */
static unsigned links_touched;

static struct hhi_slab *
proof_inbox_next(const struct hhi_slab *slab)
{
    assert(links_touched <= 1); // a read
    return hhi_slab_inbox_next(slab);
}

static void
proof_inbox_set_next(struct hhi_slab *slab, struct hhi_slab *next)
{
    links_touched = 1;
    hhi_slab_inbox_set_next(slab, next);
}
#define hhi_slab_inbox_next proof_inbox_next
#define hhi_slab_inbox_set_next proof_inbox_set_next

#include "heap/guests.c"
#include "heap/thread_cache.c"

#include "heap/inbox.c"

#if SCENE == 10
#if defined(NO_WAIT)
#define hhi_guard_advance() UINT64_MAX
#endif
#include "heap/lent.c"
#undef hhi_guard_advance
#endif

#define refuse refuse_free
#include "heap/alloc.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
_Atomic uint32_t hhi_thread_generation = 1;
size_t hhi_slab_limit_bytes;
const struct hhi_thread hhi_thread_none, hhi_thread_dead;
struct hh_heap hhi_default_heap;
_Atomic uint8_t hhi_threads_borrow;
_Atomic(bool) hhi_threads_several;
_Atomic size_t hhi_growth_bytes;
__thread struct hhi_thread *hhi_self;
_Atomic uint32_t hhi_sample_every, hhi_sample_pool_made;
bool (*const hhi_process_up)(void) = NULL;
bool (*const hhi_process_watch_thread)(struct hhi_thread *thread) = NULL;
bool (*const hhi_process_watches_forks)(void) = NULL;
#endif

// Four marks side by side would be collected by one store, for which C11 has no word.
enum { CLASS = 8, BLOCK_BYTES = 128, BLOCKS = SCENE == 10 ? 3 : 4 };

static struct hhi_slab records[1];
static _Atomic uint32_t heads[1] = {1};
static _Alignas(8) hhi_link links[BLOCKS + 4];
#ifdef HH_GENMC
const uint8_t hhi_class_steps[256]; // of larger blocks than these
#endif
static struct hhi_thread owner_thread, heir_thread;
static struct hhi_slab *partial_lists[2][HHI_CLASSES];
#define owner_cache owner_thread.main
#define heir_cache heir_thread.main
static struct hhi_guard freer_guards[2];
static int contents[BLOCKS];        // of the blocks
static bool counted[2];             // the frees that were told so
static uint32_t came_back;          // blocks, to the owner's thread
static struct hhi_lock shared_lock; // and under it:
static struct hhi_slab *shared;
static size_t purged_bytes;

#if SCENE != 7
void
proof_sweep_note(size_t size_bytes)
{
    (void)size_bytes;
}
#endif

void
proof_share(struct hhi_slab *slab)
{
    hhi_lock_enter(&shared_lock);
    shared = slab;
    hhi_lock_leave(&shared_lock);
}

void
proof_retire(struct hhi_slab *slab)
{
    (void)slab;
    abort(); // a live block is left
}

static struct hhi_slab *kept; // by the owner

bool
proof_kept_put(struct hhi_cache *cache, struct hhi_slab *slab)
{
    (void)cache;
    kept = slab;
    return SCENE == 6;
}

struct hhi_slab *
proof_kept_take(struct hhi_cache *cache, unsigned class_index)
{
    struct hhi_slab *slab = kept;
    (void)cache, (void)class_index;
    kept = NULL;
    return slab;
}

void
proof_kept_forget(struct hhi_cache *cache)
{
    (void)cache;
}

size_t
proof_page_bytes(void)
{
    return BLOCK_BYTES;
}

int
proof_populate(void *address, size_t size_bytes)
{
    (void)address;
    (void)size_bytes;
    return 0;
}

int
proof_purge(void *address, size_t size_bytes)
{
    size_t first = ((uintptr_t)address - hhi_window.base) / BLOCK_BYTES;
    for (size_t i = first; i < first + size_bytes / BLOCK_BYTES && i < BLOCKS; i++)
        contents[i] = 0;
    return 0;
}

// What was collected is used again: its contents are the owner's now.
static void
blocks_use(struct hhi_slab *slab)
{
    for (uint32_t index = slab->freed; index != HHI_LINK_END;) {
        uint32_t next = link_read(slab, index);
        contents[index] = 9;
        link_write(slab, index, SCENE == 2 ? HHI_LINK_END : HHI_LINK_LIVE);
        came_back++;
        index = next;
    }
    slab->freed = HHI_LINK_END;
}

#if SCENE == 10
static int slabs_counted; // plain: by the token's holder

bool
proof_budget_charge(struct hhi_budget *budget, size_t bytes, unsigned level)
{
    (void)budget, (void)bytes, (void)level;
    slabs_counted++;
    return true;
}

void
proof_budget_discharge(struct hhi_budget *budget, size_t bytes)
{
    (void)budget, (void)bytes;
    slabs_counted--;
}

void
proof_limit_count(size_t bytes)
{
    (void)bytes;
}

// As cache_take_arrived.
static void
slab_count(struct hhi_slab *slab)
{
#if !defined(NO_COUNT)
    hhi_lent_take_back(slab, 0);
#endif
    assert(slabs_counted == 1);
}
#endif

// In line: the checker takes the local variables of a second call for freed ones of the first.
HH_FAST void
arrivals_use(struct hhi_cache *cache)
{
    struct hhi_slab *slab;
    while ((slab = hhi_inbox_take(cache, CLASS)) != NULL) {
#if defined(LOOK_FIRST)
        hhi_slab_collect(slab);
        token_give(slab);
#else
#if SCENE == 10
        slab_count(slab);
#endif
        slab_collect_guarded(cache, slab);
#endif
        blocks_use(slab);
    }
}

static void *
owner(void *arg)
{
    arrivals_use(&owner_cache);
    return arg;
}

static void
block_free(unsigned freer, unsigned block)
{
    if (SCENE != 2) // else it may be the owner's again
        contents[block] = 1;
    struct hhi_guard *guard = &freer_guards[freer];
    size_t offset = (size_t)block * BLOCK_BYTES;
    if (freer == 0) { // the fast way
        counted[0] =
            hhi_slab_free_remote(&records[0], &hhi_default_heap, guard, offset, true, false, 0);
        return;
    }
    hhi_guard_open(guard);
    counted[1] = free_remote_block(&hhi_default_heap, &records[0],
                                   (void *)(hhi_window.base + offset), guard) == 0;
    hhi_guard_close(guard);
}

static void *
freer(void *arg)
{
    block_free(0, 0);
    return arg;
}

static void *
other_freer(void *arg)
{
    block_free(1, SCENE == 2 ? 0 : 1);
    return arg;
}

static void *
giver(void *arg)
{
    if (slab_disown(&owner_cache, &records[0]))
        proof_share(&records[0]);
    return arg;
}

static void
adopt(void)
{
    hhi_lock_enter(&shared_lock);
    struct hhi_slab *slab = shared;
    shared = NULL;
    hhi_lock_leave(&shared_lock);
    if (slab == NULL)
        return;
#if defined(ADOPT_LATE)
    slab_collect_guarded(&heir_cache, slab);
    hh_store_relaxed(&slab->owner, &heir_cache);
#else
    cache_adopt(&heir_cache, slab);
#endif
    blocks_use(slab);
}

static void *
heir(void *arg)
{
    adopt();
    return arg;
}

static bool mended;

// As hhi_thread_mend: not if a section is open.
static void
mend(void)
{
    hhi_cache_mend_mark(&owner_cache);
    // order: seq_cst: as in heap/thread.c.
    uint64_t marked_epoch = hh_load_seq_cst(&hhi_guard_epoch);
#if !defined(NO_WAIT)
    if (hhi_guard_advance() <= marked_epoch)
        return;
#endif
    hhi_cache_mend_settle(&owner_cache);
    mended = true;
}

static void *
mender(void *arg)
{
    hhi_cache_mend_lists(&owner_cache);
    mend();
    return arg;
}

static void *
sweeper(void *arg)
{
    size_t waiting = 0;
    struct hhi_slab *cold = hhi_inbox_take_cold(&owner_cache, true, &waiting);
    if (cold == NULL)
        return arg;
    // relaxed: as in heap/sweep.c.
    uint64_t taken_epoch = hh_load_relaxed(&hhi_guard_epoch);
    bool alone = hhi_guard_advance() > taken_epoch;
    if (alone)
        purged_bytes += hhi_slab_purge_remote(cold);
    hhi_inbox_put_cold(&owner_cache, cold, alone);
    return arg;
}

#if SCENE == 6
static void *
keeper(void *arg)
{
    partial_event(&owner_cache, &records[0]);
    if (kept != NULL) {
        came_back++;
        cache_adopt_kept(&owner_cache, CLASS);
    }
    return arg;
}

// One block is live, the others were never taken.
static void
scene_set_more(void)
{
    // relaxed (all): no thread runs.
    for (uint32_t index = 1; index < BLOCKS; index++)
        hh_store_relaxed(&links[index], 0);
    records[0].init = 1;
    owner_cache.partial[CLASS] = NULL;
    partial_push(&owner_cache, &records[0]);
}
#elif SCENE == 7
void
proof_return_shared(struct hhi_slab *slab)
{
    (void)slab;
}

struct hhi_thread *
proof_orphan_take_if(bool (*due)(struct hhi_cache *cache))
{
    (void)due;
    return NULL;
}

static void *
shared_sweeper(void *arg)
{
    shared_slab_purge(&records[0], NULL);
    return arg;
}

static void
scene_set_more(void)
{
    // relaxed (both): no thread runs.
    hh_store_relaxed(&records[0].owner, &hhi_cache_none);
    hh_store_relaxed(&records[0].notice, HHI_NOTICE_GIVEN);
}
#elif SCENE == 8
static void
scene_set_more(void)
{
    // relaxed: no thread runs.
    hh_store_relaxed(&records[0].notice, HHI_NOTICE_GIVEN);
    records[0].rests = 0;
    hhi_inbox_push(&owner_cache, &records[0], &records[0]);
}
#elif SCENE == 10
static void *
lender(void *arg)
{
    hhi_lent_make(&owner_cache);
    return arg;
}

// One block is free already, and the slab has been told of.
static void
scene_set_more(void)
{
    // relaxed (all): no thread runs.
    for (unsigned i = 2; i < BLOCKS; i++)
        hh_store_relaxed(&links[i], HHI_LINK_REMOTE);
    hh_store_relaxed(&records[0].notice, HHI_NOTICE_GIVEN);
    hh_store_relaxed(&records[0].flags, 0);
    hhi_inbox_push(&owner_cache, &records[0], &records[0]);
    slabs_counted = 1;
}
#elif SCENE == 9
static void *
carver(void *arg)
{
    // As hhi_slab_carve. relaxed (all): published by kind.
    hh_store_relaxed(&records[0].links, links);
    hh_store_relaxed(&records[0].magic, hh_divide_magic(BLOCK_BYTES));
    hh_store_relaxed(&records[0].heap, &hhi_default_heap);
    // order: release: as there.
    hh_store_release(&records[0].kind, HHI_KIND_SLAB);
    return arg;
}

static void
scene_set_more(void)
{
    // relaxed (all): no thread runs.
    hh_store_relaxed(&records[0].kind, HHI_KIND_NONE);
    hh_store_relaxed(&records[0].links, NULL);
    hh_store_relaxed(&records[0].magic, 0);
    hh_store_relaxed(&records[0].heap, NULL);
    for (unsigned i = 0; i < BLOCKS; i++)
        hh_store_relaxed(&links[i], 0);
}
#else
static void
scene_set_more(void)
{
}
#endif

#if SCENE == 7 || SCENE == 8
// Whether a block is still marked, and nothing tells the sweeper so.
static bool
mark_is_lost(struct hhi_slab *slab, uint32_t index)
{
    // relaxed (both): no thread runs.
    return hh_load_relaxed(&links[index]) == HHI_LINK_REMOTE && contents[index] != 0 &&
           (hh_load_relaxed(&slab->notice) & HHI_NOTICE_TOUCHED) == 0 && slab->rests == 0;
}
#endif

// A slab of four live blocks that belongs to the owner's cache.
static void
scene_set(void)
{
    struct hhi_slab *slab = &records[0];
    // relaxed (all): no thread runs.
    hh_store_relaxed(&slab->owner, &owner_cache);
    hh_store_relaxed(&slab->magic, hh_divide_magic(BLOCK_BYTES));
    hh_store_relaxed(&slab->links, links);
    hh_store_relaxed(&slab->heap, &hhi_default_heap);
    hh_store_relaxed(&slab->block_bytes, BLOCK_BYTES);
    hh_store_relaxed(&slab->notice, SCENE == 4 && !OUT ? HHI_NOTICE_GIVEN : 0);
    hh_store_relaxed(&slab->kind, HHI_KIND_SLAB);
    hh_store_relaxed(&slab->class_index, CLASS);
    hh_store_relaxed(&slab->block_count, BLOCKS);
    hh_store_relaxed(&slab->granules, 1);
    for (unsigned i = 0; i < BLOCKS; i++) {
        hh_store_relaxed(&links[i], HHI_LINK_LIVE);
        contents[i] = 0;
    }
    slab->freed = slab->head = HHI_LINK_END;
    slab->init = BLOCKS;
    slab->credit = 100;
    slab->state = HHI_SLAB_FULL;
    slab->heap_next = slab->next = slab->previous = NULL;
    hh_store_relaxed(&owner_cache.inbox, NULL);
    hh_store_relaxed(&heir_cache.inbox, NULL);
    for (unsigned ring = 0; ring < HHI_ARRIVED_FEW; ring++)
        owner_cache.arrived_few[ring] = heir_cache.arrived_few[ring] = NULL;
    came_back = 0;
    mended = false;
    shared = NULL;
    hhi_default_heap.runs = slab;
    if (SCENE == 3) {
        owner_cache.partial[CLASS] = NULL;
        partial_push(&owner_cache, slab);
    }
    kept = NULL;
    slab->rests = 0;
    scene_set_more();
}

static void
lists_give_to(struct hhi_thread *thread, struct hhi_slab **partial)
{
    // relaxed (both): no thread runs.
    hh_store_relaxed(&thread->main.thread, thread);
    hh_store_relaxed(&thread->main.class_limit, HHI_CLASSES);
    thread->main.bins = thread->bins;
    thread->main.partial = partial;
    thread->main.shared_use = thread->shared_use;
    thread->main.arrived = thread->main.arrived_few;
    thread->main.arrived_mask = HHI_ARRIVED_FEW - 1;
}

static void
scene_begin(void)
{
    hhi_window.base = (uintptr_t)1 << 32;
    hhi_window.granules = 1;
    hhi_window.records = (char *)records;
    hhi_window.heads = heads;
    lists_give_to(&owner_thread, partial_lists[0]);
    lists_give_to(&heir_thread, partial_lists[1]);
    owner_cache.heap = heir_cache.heap = &hhi_default_heap;
    hhi_default_heap.id = 1;
    hh_store_relaxed(&owner_cache.heap_id, 1);
    hhi_guard_register(&owner_thread.guard);
    hhi_guard_register(&heir_thread.guard);
    hhi_guard_register(&freer_guards[0]);
    hhi_guard_register(&freer_guards[1]);
}

static void
scene_run(void)
{
#if SCENE == 1 || SCENE == 2
    PROOF_RUN(freer, other_freer, owner);
    arrivals_use(&owner_cache);
    assert(came_back == (uint32_t)counted[0] + counted[1]);
    assert(came_back == (SCENE == 1 ? 2 : 1));
#elif SCENE == 3
    PROOF_RUN(freer, giver, heir);
    arrivals_use(&owner_cache);
    adopt();
    arrivals_use(&heir_cache);
    assert(counted[0] && came_back == 1);
#elif SCENE == 4
    PROOF_RUN(freer, mender);
    if (!mended)
        mend();
    assert(mended);
    arrivals_use(&owner_cache);
    blocks_use(&records[0]);
    assert(counted[0] && came_back == 1);
#elif SCENE == 5
    PROOF_RUN(freer, other_freer, owner, sweeper);
    arrivals_use(&owner_cache);
    assert(came_back == 2);
#elif SCENE == 6
    PROOF_RUN(freer, keeper);
    // relaxed (both): no thread runs.
    assert(counted[0] && ((hh_load_relaxed(&records[0].notice) & HHI_NOTICE_TOKEN) == 0 ||
                          hh_load_relaxed(&owner_cache.inbox) == &records[0]));
    if (came_back == 0)
        arrivals_use(&owner_cache);
    assert(came_back == 1);
#elif SCENE == 7
    PROOF_RUN(freer, shared_sweeper);
    assert(!mark_is_lost(&records[0], 0));
#elif SCENE == 8
    PROOF_RUN(freer, sweeper);
    assert(!mark_is_lost(&records[0], 0));
#elif SCENE == 10
    PROOF_RUN(freer, other_freer, owner, lender);
    arrivals_use(&owner_cache);
    assert(came_back == BLOCKS && slabs_counted == 1);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert(contents[i] == 9);
#else
    PROOF_RUN(freer, carver);
    assert(!counted[0]);
#endif
}

int
main(void)
{
    (void)owner, (void)other_freer, (void)giver, (void)heir, (void)mender, (void)sweeper;
    scene_begin();
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        scene_set();
        scene_run();
    }
    return 0;
}
