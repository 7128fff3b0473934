// SPDX-License-Identifier: MIT
/*
 * reserve.c - a reserve is unmapped once, after it was mapped (LM-1; heap/limit.h).
 *
 * Faults: RELAXED_TAKE, RELAXED_GIVE, TWICE.
 */
#include "proof.h"

#if defined(RELAXED_TAKE)
#undef hh_exchange_acquire
#define hh_exchange_acquire hh_exchange_relaxed
#endif
#if defined(TWICE) // a load in the place of the exchange
#undef hh_exchange_acquire
#define hh_exchange_acquire(p, v) hh_load_acquire(p)
#endif
#if defined(RELAXED_GIVE)
#undef hh_cas_strong_release
#define hh_cas_strong_release hh_cas_strong_relaxed
#endif
#include "heap/limit.c"

static int mapped[4]; // 1: is mapped
static _Atomic unsigned maps;

static void *
proof_map(size_t size_bytes)
{
    (void)size_bytes;
    int *mapping = &mapped[hh_fetch_add_relaxed(&maps, 1)];
    *mapping = 1;
    return mapping;
}

static void
proof_unmap(void *address, size_t size_bytes)
{
    (void)size_bytes;
    assert(*(int *)address == 1);
    *(int *)address = 0;
}

static void
proof_sleep(unsigned ms)
{
    (void)ms;
}

static uint64_t
proof_now_ms(void)
{
    return HHI_LIMIT_REFILL_MS;
}

static const struct hhi_limit_system proof_system = {proof_map, proof_unmap, proof_sleep,
                                                     proof_now_ms};

static void *
refiller(void *arg)
{
    reserve_map(RESERVE_GONE);
    return arg;
}

static void *
taker(void *arg)
{
    hhi_limit_release_reserve();
    return arg;
}

int
main(void)
{
    hhi_limit_set_system(&proof_system);
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        hh_store_relaxed(&maps, 0);
        hh_store_relaxed(&limit_state.reserve, RESERVE_GONE);
        PROOF_RUN(refiller, refiller, taker, taker);
        hhi_limit_release_reserve();
        for (unsigned i = 0; i < hh_load_relaxed(&maps); i++)
            assert(mapped[i] == 0);
    }
    return 0;
}
