// SPDX-License-Identifier: MIT
/*
 * genmc/fake/urcu/urcu-bp.h - as much of liburcu's interface as src/rcu/rcu.c uses, and its grace
 * period: two waits for readers of the older phase, between full barriers. With PROOF_URCU_ASYMMETRIC
 * the first barrier is membarrier's, and the reader has none; that the last one is membarrier's, too, is
 * not counted on. Its own correctness is not in question; what rcu.c adds to it is.
 */
#ifndef HH_GENMC_FAKE_URCU_H
#define HH_GENMC_FAKE_URCU_H

#include "../../proof.h"

#define URCU_BP_GP_CTR_NEST_MASK 0xFFFFul
#define URCU_BP_GP_CTR_PHASE 0x10000ul
#define URCU_TLS(name) name
#define CMM_LOAD_SHARED(word) hh_load_relaxed(&(word))

struct urcu_bp_reader {
    _Atomic(unsigned long) ctr;
};

struct urcu_bp_gp {
    _Atomic(unsigned long) ctr;
};

static struct urcu_bp_gp urcu_bp_gp = {1};
static struct urcu_bp_reader fake_readers[PROOF_URCU_READERS];
static unsigned fake_readers_made;
static struct urcu_bp_reader *urcu_bp_reader;

static int urcu_bp_has_sys_membarrier = PROOF_URCU_ASYMMETRIC; // 0: readers have barriers

static inline void
cmm_smp_mb(void)
{
    PROOF_FENCE();
}

static inline void
cmm_barrier(void)
{
    proof_point();
}

static inline void
urcu_bp_register_thread(void)
{
    urcu_bp_reader = &fake_readers[fake_readers_made++ % PROOF_URCU_READERS];
}

static inline bool
fake_reader_is_out(unsigned reader, unsigned long now)
{
    unsigned long entered = hh_load_relaxed(&fake_readers[reader].ctr);
    return (entered & URCU_BP_GP_CTR_NEST_MASK) == 0 ||
           ((entered ^ now) & URCU_BP_GP_CTR_PHASE) == 0;
}

static inline void
fake_wait(void)
{
    unsigned long now = hh_load_relaxed(&urcu_bp_gp.ctr);
    for (unsigned i = 0; i < PROOF_URCU_READERS; i++)
        PROOF_WAIT(fake_reader_is_out(i, now));
}

static inline void
urcu_bp_synchronize_rcu(void)
{
#if PROOF_URCU_ASYMMETRIC
    proof_membarrier();
#else
    PROOF_FENCE();
#endif
    fake_wait();
    hh_store_relaxed(&urcu_bp_gp.ctr, hh_load_relaxed(&urcu_bp_gp.ctr) ^ URCU_BP_GP_CTR_PHASE);
    PROOF_FENCE();
    fake_wait();
    PROOF_FENCE();
}

#endif
