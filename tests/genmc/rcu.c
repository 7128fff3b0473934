// SPDX-License-Identifier: MIT
/*
 * rcu.c - a record that was retired is used again only after every section that may have found it
 * (RCU-1, RCU-2, RCU-3, RCU-4, RCU-6), and who goes through the gate or wakes the reclaimer comes after
 * what it stands for (RCU-5, RCU-7; rcu/rcu.h).
 *
 * SCENE 1: a reader opens a section, reads the published pointer and then the record. A writer publishes
 *          another record and retires the first. The reclaimer makes one pass; what it hands back the
 *          writer takes and fills anew. A race on a record's field is a reader that was not waited for.
 *          GUESTS: the reader finds no registered record. PROOF_URCU_ASYMMETRIC: liburcu has membarrier.
 *       2: two readers: a record that both borrow passes from one to the other.
 *       3: a pool is added while the reclaimer makes a pass over another.
 *       4: two threads start the reclaimer, for which the first try fails, and wake it.
 *       5: two threads fork.
 * Faults: NO_GRACE, RETIRE_FIRST, RELAXED_LEAVE, RELAXED_BORROW, RELAXED_ADD, RELAXED_WALK, RELAXED_START,
 * RELAXED_GATE.
 */
#define PROOF_URCU_READERS 65 // RCU_RECORDS, and the one the reclaimer keeps
#if !defined(PROOF_URCU_ASYMMETRIC)
#define PROOF_URCU_ASYMMETRIC 0
#endif
#if !defined(GUESTS)
#define GUESTS (SCENE != 2)
#endif
#include "proof.h"
#include "proof_lock.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#if defined(HH_GENMC)
#undef errno
static _Thread_local int proof_errno;
#define errno proof_errno
#define memset PROOF_MEMSET
// To wait is to be not looked at any further.
#define nanosleep(wait, left) __VERIFIER_assume(0)
#endif
#if defined(RELAXED_LEAVE) || defined(RELAXED_START) || defined(RELAXED_GATE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#undef hh_fetch_sub_release
#define hh_fetch_sub_release hh_fetch_sub_relaxed
#endif
#if defined(RELAXED_BORROW)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#if defined(RELAXED_ADD)
#undef hh_cas_weak_release
#define hh_cas_weak_release hh_cas_strong_relaxed
#endif
#if defined(RELAXED_WALK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif

// The reclaimer is no thread of its own here; what else it is made of, one at a time may do.
static int attempts; // to start it
static int semaphores_made;

static int
proof_create(void)
{
    return attempts++ == 0 ? EAGAIN : 0;
}

static int
proof_sem_init(void)
{
    return semaphores_made++ < 0;
}

static int
proof_sem_post(void)
{
    assert(semaphores_made > 0);
    return 0;
}

#define hhi_meta_alloc proof_meta_alloc
#include "rcu/library_linked.c"
#include "rcu/rcu.h"
#define hhi_rcu_library_has_memory() true
#define pthread_create(thread, attributes, run, arg) ((void)(run), (void)(thread), proof_create())
#define pthread_attr_init(attributes) ((void)(attributes))
#define pthread_attr_destroy(attributes) ((void)(attributes))
#define pthread_attr_setdetachstate(attributes, state) ((void)0)
#define pthread_sigmask(how, set, old) ((void)(set), (void)(old))
#define sigfillset(set) ((void)(set))
#define sem_init(semaphore, shared, value) proof_sem_init()
#define sem_post(semaphore) proof_sem_post()
#include "rcu/rcu.c"
#undef hh_store_release
#define hh_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#undef hh_load_acquire
#define hh_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)

struct thing {
    struct hhi_rcu_link link;
    int value;
};

static struct hhi_rcu_pool pool = {.record_bytes = sizeof(struct thing)};
#if SCENE == 1 || SCENE == 3
static struct thing things[2];
#endif

void *
proof_meta_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return NULL;
}

static void *
reclaimer(void *arg)
{
#if defined(NO_GRACE)
    if (anything_retired()) {
        batches_collect();
        batches_hand_back();
    }
#else
    reclaimer_pass();
#endif
#if !defined(HH_GENMC) // if there was nothing to wait for
    hh_store_relaxed(&proof_asked, 1);
#endif
    return arg;
}

static void
pool_reset(void)
{
    // relaxed (all): no thread runs.
    pool.free = NULL;
    hh_store_relaxed(&pool.retired, NULL);
    hh_store_relaxed(&pool.ready, NULL);
}

#if SCENE == 1
enum { READER_POINTS = 5 }; // two of them rcu.c's
static _Atomic(struct thing *) published;

static void *
reader(void *arg)
{
    proof_points_begin();
    if (proof_point_wanted > READER_POINTS - 1)
        proof_point_wanted = READER_POINTS - 1;
#if !PROOF_URCU_ASYMMETRIC
    proof_point_wanted = -1;
#endif
    proof_point();
    hhi_rcu_section section = hhi_rcu_enter();
    // order: acquire: the record's fields.
    struct thing *thing = hh_load_acquire(&published);
    proof_point();
    int value = thing->value;
    assert(value == 1 || value == 2);
    hhi_rcu_leave(section);
    proof_point();
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

static void
scene_run(void)
{
    things[0].value = 1;
    hh_store_relaxed(&published, &things[0]);
    proof_points_reset();
#if PROOF_URCU_ASYMMETRIC
    PROOF_RUN(reader, writer, reclaimer, proof_choose);
#else
    PROOF_RUN(reader, writer, reclaimer);
#endif
}
#elif SCENE == 2
static int borrowed;

static void *
borrower(void *arg)
{
    hhi_rcu_section section = hhi_rcu_enter();
    if ((section & SECTION_GUEST) == 0)
        borrowed++;
    hhi_rcu_leave(section);
    return arg;
}

static void
scene_run(void)
{
    (void)reclaimer;
    // One record, whichever place a reader begins to look at.
    for (int i = 0; i < RCU_RECORDS; i++)
        rcu.records[i] = rcu.records[0];
    // relaxed: no thread runs.
    hh_store_relaxed(&rcu.record_count, 1);
    PROOF_RUN(borrower, borrower);
}
#elif SCENE == 3
static struct hhi_rcu_pool new_pool = {.record_bytes = sizeof(struct thing)};

static void *
adder(void *arg)
{
    hhi_rcu_pool_add(&new_pool);
    return arg;
}

static void *
asker(void *arg)
{
    struct hhi_rcu_stats stats;
    hhi_rcu_get_stats(&stats);
    assert(stats.reclaimed <= stats.retired);
    return arg;
}

static void
scene_run(void)
{
    // relaxed: no thread runs.
    pool.next = NULL;
    hh_store_relaxed(&rcu.pools, &pool);
    hhi_rcu_pool_retire(&pool, &things[0]);
    PROOF_RUN(adder, reclaimer, asker);
}
#elif SCENE == 4
static void *
starter(void *arg)
{
    hhi_rcu_start();
    reclaimer_wake();
    return arg;
}

static void
scene_run(void)
{
    // relaxed (both): no thread runs.
    hh_store_relaxed(&rcu.reclaimer, RECLAIMER_NONE);
    hh_store_relaxed(&rcu.woken, 0);
    attempts = semaphores_made = 0;
    (void)reclaimer;
    PROOF_RUN(starter, starter, starter);
    assert(attempts == semaphores_made);
}
#else
static int inside;

static void *
forker(void *arg)
{
    hhi_rcu_fork(HHI_FORK_TAKE);
    if (fork_has_gate())
        inside++;
    hhi_rcu_fork(HHI_FORK_PARENT);
    return arg;
}

static void
scene_run(void)
{
    (void)reclaimer;
    PROOF_RUN(forker, forker);
}
#endif

int
main(void)
{
    if (HH_TSAN && SCENE <= 3) // liburcu's barriers are fences
        return 77;
    hhi_rcu_pool_add(&pool);
    if (!GUESTS)
        records_register();
    else // by a reclaimer that has not registered the records yet
        hhi_rcu_library_open(&rcu.urcu);
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        scene_run();
        pool_reset();
    }
    return 0;
}
