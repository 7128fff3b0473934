// SPDX-License-Identifier: MIT
/*
 * rcu.c - a record that was retired is used again only after every section that may have found it
 * (RCU-1, RCU-2, RCU-3, RCU-4, RCU-6; rcu/rcu.h).
 *
 * A reader opens a section, reads the published pointer and then the record. A writer publishes
 * another record and retires the first. The reclaimer makes one pass; what it hands back the main
 * thread takes and fills anew. A race on a record's field is a reader that was not waited for.
 *
 * GUESTS: the reader finds no registered record. Faults: NO_GUESTS, NO_GRACE, RETIRE_FIRST,
 * RELAXED_LEAVE.
 */
#define PROOF_URCU_READERS 65 // RCU_RECORDS, and the one the reclaimer keeps
#include "proof.h"

#if defined(HH_GENMC)
#include <time.h>
// To wait is to be not looked at any further.
#define nanosleep(wait, left) __VERIFIER_assume(0)
#endif
#if defined(RELAXED_LEAVE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#undef hh_fetch_sub_release
#define hh_fetch_sub_release hh_fetch_sub_relaxed
#undef hh_fetch_sub_acq_rel
#define hh_fetch_sub_acq_rel hh_fetch_sub_relaxed
#endif
#define hhi_meta_alloc proof_meta_alloc
#include "rcu/library_linked.c"
#include "rcu/rcu.c"

struct thing {
    struct hhi_rcu_link link;
    int value;
};

static struct hhi_rcu_pool pool = {.record_bytes = sizeof(struct thing)};
static struct thing things[2];
static _Atomic(struct thing *) published;

void *
proof_meta_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return NULL;
}

static void *
reader(void *arg)
{
    hhi_rcu_section section = hhi_rcu_enter();
    // order: acquire: the record's fields.
    struct thing *thing = hh_load_acquire(&published);
    int value = thing->value;
    assert(value == 1 || value == 2);
    hhi_rcu_leave(section);
    return arg;
}

static void *
writer(void *arg)
{
#if defined(RETIRE_FIRST)
    hhi_rcu_pool_retire(&pool, &things[0]);
#endif
    things[1].value = 2;
    // order: release: the record's fields.
    hh_store_release(&published, &things[1]);
#if !defined(RETIRE_FIRST)
    hhi_rcu_pool_retire(&pool, &things[0]);
#endif
    struct thing *again = hhi_rcu_pool_take(&pool);
    if (again != NULL)
        again->value = 3;
    return arg;
}

static void *
reclaimer(void *arg)
{
#if defined(NO_GRACE)
    if (batches_collect())
        batches_hand_back();
#else
    reclaimer_pass();
#endif
    return arg;
}

int
main(void)
{
    if (HH_TSAN) // liburcu's barriers are fences
        return 77;
    hhi_rcu_pool_add(&pool);
    if (!GUESTS)
        records_register();
    else // by a reclaimer that has not registered the records yet
        hhi_rcu_library_open(&rcu.urcu);
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        things[0].value = 1;
        hh_store_relaxed(&published, &things[0]);
        PROOF_RUN(reader, writer, reclaimer);
        // relaxed (all): no thread runs.
        pool.free = NULL;
        hh_store_relaxed(&pool.retired, NULL);
        hh_store_relaxed(&pool.ready, NULL);
    }
    return 0;
}
