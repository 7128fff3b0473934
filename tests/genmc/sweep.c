// SPDX-License-Identifier: MIT
/*
 * sweep.c - bytes that became unused are seen to: who notes them starts a sweeper, or the one that is about
 * to end goes on; and who starts one comes after the last start (SW-1; heap/sweep.h).
 *
 * A sweeper runs while two threads note as much as starts one. The first start fails.
 * Faults: RELAXED_NOTE, RELAXED_START, RELAXED_END (the sweeper looks at the bytes before it says that it
 * ends).
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_NOTE)
#undef hh_fetch_add_seq_cst
#define hh_fetch_add_seq_cst hh_fetch_add_relaxed
#endif
#if defined(RELAXED_START)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#if defined(RELAXED_END)
#undef hh_store_seq_cst
#define hh_store_seq_cst hh_store_release
#endif
#define hhi_opt proof_opt
#define hhi_os_sleep_ms proof_sleep_ms
#define hhi_os_clock_ms proof_clock_ms
#define hhi_os_block_signals proof_block_signals
#define hhi_os_restore_signals proof_restore_signals
#define hhi_os_start_hidden_thread proof_start_hidden_thread
#define hhi_orphan_take_if proof_orphan_take_if
#define hhi_heap_first proof_heap_first
#define hhi_limbo_advance proof_limbo_advance
#define hhi_limbo_granules proof_limbo_granules
#define hhi_run_purge proof_run_purge
#define hhi_run_retained_bytes proof_run_retained_bytes
#define hhi_limit_discharge proof_limit_discharge
#include "heap/sweep.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
const struct hhi_thread hhi_thread_none, hhi_thread_dead;
__thread struct hhi_thread *hhi_self;
_Atomic uint64_t hhi_guard_epoch;
_Atomic uint32_t hhi_thread_generation;

static bool
proof_watches_forks(void)
{
    return true;
}

bool (*const hhi_process_watches_forks)(void) = proof_watches_forks;
#endif
struct hhi_options proof_opt = {.decay_ms = 1000, .background = true};
static int starts; // plain: one at a time may start a thread

int
proof_start_hidden_thread(void (*run)(void *arg), void *arg)
{
    (void)run, (void)arg;
    return starts++ == 0 ? -1 : 0; // as if one that was started slept
}

void
proof_sleep_ms(unsigned ms)
{
    (void)ms;
}

uint64_t
proof_clock_ms(void)
{
    return 0;
}

uint64_t
proof_block_signals(void)
{
    return 0;
}

void
proof_restore_signals(uint64_t old)
{
    (void)old;
}

struct hhi_thread *
proof_orphan_take_if(bool (*due)(struct hhi_cache *cache))
{
    (void)due;
    return NULL;
}

struct hh_heap *
proof_heap_first(void)
{
    return NULL;
}

uint32_t
proof_limbo_advance(bool force)
{
    (void)force;
    return 0;
}

size_t
proof_limbo_granules(void)
{
    return 0;
}

size_t
proof_run_purge(uint64_t now_ms, uint32_t decay_ms, size_t limit_bytes)
{
    (void)now_ms, (void)decay_ms, (void)limit_bytes;
    return 0;
}

size_t
proof_run_retained_bytes(void)
{
    return 0;
}

void
proof_limit_discharge(size_t size_bytes)
{
    (void)size_bytes;
}

static void *
sweeper(void *arg)
{
    sweeper_run(NULL);
    return arg;
}

static void *
noter(void *arg)
{
    hhi_self = (struct hhi_thread *)(uintptr_t)&hhi_thread_none;
    hhi_sweep_note(NOTE_STARTS_BYTES);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        // relaxed (all): no thread runs.
        hh_store_relaxed(&sweep.running, 1);
        hh_store_relaxed(&sweep.unavailable, 0);
        hh_store_relaxed(&sweep.noted_bytes, 0);
        starts = 0;
        PROOF_RUN(sweeper, noter, noter);
        assert(hh_load_relaxed(&sweep.noted_bytes) < NOTE_STARTS_BYTES ||
               hh_load_relaxed(&sweep.running) != 0 || hh_load_relaxed(&sweep.unavailable) != 0);
    }
    return 0;
}
