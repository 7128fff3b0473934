// SPDX-License-Identifier: MIT
/*
 * kept.c - a slab that its owner keeps is in the hands of one taker, who finds its fields as the owner
 * left them (KS-1; heap/kept_slabs.h).
 *
 * The owner keeps a slab and takes it back; another thread, the sweeper say, retires what it finds.
 * Faults: RELAXED_PUT, RELAXED_TAKE, LOAD_TAKE (no exchange).
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_PUT)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
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
#define hhi_heap_retire_unnoted proof_retire
#include "heap/kept_slabs.c"

enum { CLASS = 8 };

static struct hhi_slab slab;
static struct hhi_cache cache;

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

// Whoever takes the slab uses its record; once.
static void
slab_use(struct hhi_slab *taken)
{
    assert(taken->state == HHI_SLAB_KEPT && taken->freed == 3);
    taken->state = HHI_SLAB_FULL;
}

size_t
proof_retire(struct hhi_slab *taken)
{
    slab_use(taken);
    return 1;
}

static void *
owner(void *arg)
{
    slab.freed = 3;
    if (!hhi_kept_put(&cache, &slab))
        abort();
    struct hhi_slab *again = hhi_kept_take(&cache, CLASS);
    if (again != NULL)
        slab_use(again);
    return arg;
}

static void *
sweeper(void *arg)
{
    hhi_kept_release(&cache, NULL, NULL);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        // relaxed: no thread runs.
        hh_store_relaxed(&slab.class_index, CLASS);
        slab.freed = 0;
        PROOF_RUN(owner, sweeper);
        assert(hhi_kept_count(&cache) == 0);
    }
    return 0;
}
