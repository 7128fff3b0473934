// SPDX-License-Identifier: MIT
/*
 * report.c - of two faults at a time each is reported whole (SR-1; heap/sample_report.h).
 *
 * Faults: RELAXED_ENTER, RELAXED_LEAVE.
 */
#include "proof.h"

#if defined(RELAXED_ENTER)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#if defined(RELAXED_LEAVE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#define hhi_sample_contains proof_contains
#define hhi_block_fault_text proof_fault_text
#define hhi_diag_write proof_write
#define hhi_os_sleep_ms proof_sleep_ms
#include "heap/sample_report.c"

bool
proof_contains(const void *address)
{
    (void)address;
    return false;
}

size_t
proof_fault_text(char *text, size_t capacity_bytes, const char *access, const void *address)
{
    (void)capacity_bytes, (void)access;
    text[0] = (char)(uintptr_t)address;
    return 1;
}

static _Thread_local char faulted;
static ucontext_t machine;

void
proof_write(const char *text, size_t length_bytes)
{
    assert(length_bytes == 1 && text[0] == faulted);
}

void
proof_sleep_ms(unsigned ms)
{
    (void)ms;
#if defined(HH_GENMC)
    PROOF_WAIT(false); // to wait is to be not looked at any further
#endif
}

static void *
faulter(void *arg)
{
    faulted = (char)((uintptr_t)arg + 1);
    fault_report((void *)((uintptr_t)arg + 1), &machine);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++)
        PROOF_RUN(faulter, faulter);
    return 0;
}
