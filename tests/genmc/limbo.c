// SPDX-License-Identifier: MIT
/*
 * limbo.c - a retired slab's run is used for something else only after every section that might
 * still look at it as the old slab (GD-1, GD-2, GD-3, GD-4; slab/guard.h, slab/carve.c).
 *
 * A reader opens sections in which it looks for the slab and, if it finds one, at its memory. Another
 * thread retires the slab and ends the grace periods that it can; what gets the run then writes to
 * the memory. A race on `memory` is a section that was not waited for.
 *
 * ASYMMETRIC: the barrier is membarrier's. SECTIONS: how many, of which later ones may be of an epoch
 * in which the first are not seen any more. REGISTERS: the reader is new. OTHER: a third thread begins epochs.
 * RECARVES: the run becomes a slab of another class, which the reader may find as well (SL-5).
 * Faults: NO_SECTION, NO_BARRIER, NO_WAIT, RELAXED_CLOSE.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(NO_BARRIER)
#undef hh_fence_after_rmw
#define hh_fence_after_rmw() ((void)0)
#endif
#if defined(RELAXED_CLOSE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#include "slab/guard.c"
#if defined(RELAXED_CLOSE)
#undef hh_store_release
#define hh_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#endif
#if defined(RELAXED_KIND)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(NO_WAIT) // for sections of older epochs
#define hhi_guard_advance() (hhi_guard_advance(), UINT64_MAX)
#endif

#include "slab/carve.c"

enum { CLASS = 8, NEXT_CLASS = 9 };

struct hhi_window hhi_window;
static struct hhi_slab records[1];
static _Atomic uint32_t heads[1];
static hhi_link links[1024];
static struct hhi_guard reader_guard;
static bool alone; // no reader runs
static bool run_used;
_Atomic uint64_t hhi_os_calls;
static char heap;  // only its address
static int memory; // of the run
static int seen;   // what the reader saw of it

bool
hhi_os_barrier_init(void)
{
    return ASYMMETRIC;
}

bool
hhi_os_barrier_all_threads(void)
{
#if !defined(NO_BARRIER)
    if (!alone)
        proof_membarrier();
#endif
    return true;
}

void *
hhi_meta_alloc(size_t size_bytes)
{
    assert(size_bytes <= sizeof links);
    return links;
}

bool
hhi_run_alloc(const struct hhi_run_request *request, struct hhi_run *run)
{
    run->first = run->clean_granules = run->calls = run->next_calls = 0;
    run->count = request->count;
    run->refusal = 0;
    run->addresses_refused = false;
    if (run_used)
        return false;
    return run_used = true;
}

int
hhi_run_extend(uint32_t first, uint32_t count, uint32_t more, uint32_t *clean_granules)
{
    (void)first, (void)count, (void)more, (void)clean_granules;
    return -1;
}

void
hhi_run_free(uint32_t first, uint32_t count)
{
    (void)first, (void)count;
    run_used = false;
    memory++; // whoever gets it next
}

uint32_t
hhi_slab_collect(struct hhi_slab *slab)
{
    (void)slab;
    return 0;
}

static void
look(void)
{
    proof_point();
#if !defined(NO_SECTION)
    hhi_guard_open(&reader_guard); // passes a point
#endif
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find((void *)hhi_window.base, &kind);
    proof_point();
    if (slab != NULL && kind == HHI_KIND_SLAB) {
        // relaxed (all): fixed while the section is open.
        size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
        assert(hh_load_relaxed(&slab->links) != NULL);
        assert(block_bytes == hhi_class_bytes(hh_load_relaxed(&slab->class_index)));
        assert(block_bytes * hh_load_relaxed(&slab->block_count) <= HHI_GRANULE_BYTES);
        seen += memory;
    }
    proof_point();
#if !defined(NO_SECTION)
    hhi_guard_close(&reader_guard);
#endif
}

static void *
reader(void *arg)
{
    proof_points_begin();
#if defined(NO_BARRIER) || !ASYMMETRIC
    proof_point_wanted = -1;
#endif
#if REGISTERS
    hhi_guard_register(&reader_guard);
#endif
    for (int section = 0; section < SECTIONS; section++)
        look();
    proof_point();
    return arg;
}

static bool
slab_carve(unsigned class_index)
{
    uint32_t clean_granules;
    struct hhi_tries tries = {.ask = HHI_ASK_MORE};
    return hhi_slab_carve((struct hh_heap *)(void *)&heap, class_index, 0, &tries,
                          &clean_granules) != NULL;
}

static void *
owner(void *arg)
{
    hhi_slab_retire(&records[0]);
    hhi_limbo_advance(true);
    if (RECARVES)
        slab_carve(NEXT_CLASS);
    return arg;
}

// As the sweeper does, who does not hold the lock that retirements are made under.
static void *
other(void *arg)
{
    hhi_guard_advance();
    return arg;
}

int
main(void)
{
    if (HH_TSAN && ASYMMETRIC)
        return 77;
    hhi_window.base = (uintptr_t)1 << 32;
    hhi_window.granules = 1;
    hhi_window.records = (char *)records;
    hhi_window.heads = heads;
    hhi_guard_asymmetric = ASYMMETRIC;
    if (!REGISTERS)
        hhi_guard_register(&reader_guard);
    for (int round = 0; round < (REGISTERS ? 1 : PROOF_ROUNDS); round++) {
        alone = false;
        proof_points_reset();
        if (!slab_carve(CLASS))
            abort();
#if ASYMMETRIC
        (void)other;
        PROOF_RUN(reader, owner, proof_choose);
#else
#if OTHER
        PROOF_RUN(reader, owner, other);
#else
        (void)other;
        PROOF_RUN(reader, owner);
#endif
#endif
        alone = true;
        hhi_limbo_advance(true); // what the owner could not end
        if (run_used) {          // carved again
            hhi_slab_retire(&records[0]);
            hhi_limbo_advance(true);
        }
    }
    return 0;
}
