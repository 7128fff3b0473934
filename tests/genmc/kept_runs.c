// SPDX-License-Identifier: MIT
/*
 * kept_runs.c - a run that a heap keeps is in the hands of one taker, who finds it as the thread left it
 * that freed its block (KR-1; heap/kept_runs.h).
 *
 * One thread keeps the run of a block it has freed and asks for a block of the same size; another, the
 * sweeper say, ends what it finds.
 * Faults: RELAXED_PUT, RELAXED_TAKE, LOAD_TAKE (no exchange).
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_PUT)
#undef hh_cas_strong_release
#define hh_cas_strong_release hh_cas_strong_relaxed
#endif
#if defined(RELAXED_TAKE)
#undef hh_exchange_acquire
#define hh_exchange_acquire hh_exchange_relaxed
#endif
#if defined(LOAD_TAKE)
#undef hh_exchange_acquire
#define hh_exchange_acquire(p, v) hh_load_acquire(p)
#endif
#define hhi_sweep_comes proof_sweep_comes
#define hhi_sweep_note proof_sweep_note
#define hhi_heap_free_large proof_end
#define hhi_heap_free_large_unnoted proof_end
#include "heap/kept_runs.c"

enum { GRANULES = 5 };

struct hhi_window hhi_window;
static struct hhi_slab slab;
static struct hh_heap heap;

bool
proof_sweep_comes(void)
{
    return true;
}

void
proof_sweep_note(size_t size_bytes)
{
    (void)size_bytes;
}

// Whoever has the run uses its record; once.
static void
run_use(struct hhi_slab *taken)
{
    assert(taken->freed == 3);
    taken->freed = 4;
}

void
proof_end(struct hhi_slab *taken)
{
    run_use(taken);
}

static void *
freer(void *arg)
{
    slab.freed = 3;
    if (!hhi_kept_run_put(&slab))
        abort();
    if (hhi_kept_run_take(&heap, GRANULES) != NULL)
        run_use(&slab);
    return arg;
}

static void *
sweeper(void *arg)
{
    hhi_kept_runs_release(&heap, NULL, NULL);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        // relaxed (all): no thread runs.
        hh_store_relaxed(&slab.granules, GRANULES);
        hh_store_relaxed(&slab.heap, &heap);
        slab.freed = 0;
        PROOF_RUN(freer, sweeper);
        assert(hhi_kept_run_bytes() == 0);
    }
    return 0;
}
