// SPDX-License-Identifier: MIT
/*
 * checked_start.c - whoever passes the start of the checked library finds the secret of its canaries
 * (CK-1; checked/checked.h), though what is written around a sampled block is written under no lock.
 *
 * Two threads' first calls, at once. Each fills and looks at memory of its own. Faults: RELAXED_START,
 * RELAXED_LOOK.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_START)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(HH_GENMC)
#define memcpy(to, from, size_bytes)                                                               \
    ((void)(size_bytes), *(uint64_t *)(to) = *(const uint64_t *)(from))
#define memcmp(one, other, size_bytes)                                                             \
    ((void)(size_bytes), *(const uint64_t *)(one) != *(const uint64_t *)(other))
#endif
#define hhi_opt proof_opt
#define hhi_os_random proof_random
#define hhi_quarantine_start_locked proof_quarantine_start
#define hhi_sample_start proof_sample_start
#define hhi_process_up proof_process_up
#include "checked/canary.c"
#if defined(HH_GENMC)
#undef memcpy
#undef memcmp
#endif

#include "checked/checked_start.c"

struct hhi_options proof_opt;

static bool
process_is_up(void)
{
    return true;
}

bool (*const hhi_process_up)(void) = process_is_up;

static int starts;

uint64_t
proof_random(void)
{
    return 4;
}

void
proof_quarantine_start(size_t budget_bytes)
{
    (void)budget_bytes;
    starts++;
}

bool
proof_sample_start(uint32_t every)
{
    (void)every;
    return true;
}

static void *
first_call(void *arg)
{
    uint64_t word = 0;
    assert(hhi_checked_start());
    hhi_canary_fill((uintptr_t)&word, (uintptr_t)(&word + 1));
    assert(word != 0 && hhi_canary_check((uintptr_t)&word, (uintptr_t)(&word + 1)) == 0);
    assert(starts == 1);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        hh_store_relaxed(&checked_started, 0);
        starts = 0;
        PROOF_RUN(first_call, first_call, first_call);
    }
    return 0;
}
