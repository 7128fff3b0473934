// SPDX-License-Identifier: MIT
// rcu/rcu.c - see rcu.h.
#include "rcu/rcu.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <time.h>

// Structures, constants and barriers; what is in the library is reached through library.h.
#define _LGPL_SOURCE
#include <urcu/urcu-bp.h>

#include "meta/meta_arena.h"
#include "rcu/library.h"

#if HH_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

enum {
    RCU_RECORDS = 64,        // read sections at once before readers become guests
    RCU_STRIPES = 16,        // guest counters
    RCU_BATCH_BYTES = 65536, // a pool's records are carved from pieces of this size
    RCU_WAKE_COUNT = 512,    // retired records before the reclaimer is woken
    RCU_PASS_MS = 2,         // between passes
    RCU_IDLE_PASSES = 50,    // without work before the reclaimer sleeps until it is woken
    RCU_RETRY_MS = 100,      // before liburcu is asked again for what could not be had
    RCU_FORK_WAIT_MS = 1000,
};

enum { RECLAIMER_NONE, RECLAIMER_STARTS, RECLAIMER_RUNS };
enum { GATE_OPEN, GATE_GRACE, GATE_FORK };

// Low half: guests inside. High half: guests so far, a statistic for the price of the same addition.
struct rcu_stripe {
    _Alignas(HH_CACHE_LINE_BYTES) _Atomic uint64_t guests; // [RCU-3]
};
#define STRIPE_ENTER (((uint64_t)1 << 32) + 1)

static struct {
    struct rcu_stripe stripes[RCU_STRIPES];
    struct hhi_rcu_library urcu;                  // before record_count [RCU-4]
    _Atomic(unsigned long) *records[RCU_RECORDS]; // the counters; before record_count [RCU-4]
    _Atomic uint32_t record_count;                // 0 until all are registered [RCU-4]
    _Atomic uint32_t generation;                  // forks above this process
    _Atomic uint32_t reclaimer;                   // RECLAIMER_ [RCU-7]
    _Atomic uint32_t gate;                        // GATE_ [RCU-5]
    _Atomic(bool) lost;
    _Atomic(struct hhi_rcu_pool *) pools; // newest first [RCU-6]
    _Atomic uint64_t pending;             // retired and not yet taken by the reclaimer, about
    _Atomic uint64_t grace_periods;
    _Atomic uint32_t woken;       // 1: a post is on its way
    sem_t wake;                   // the reclaimer's bed; posting takes no lock
    char reader_edge;             // only its address, for the thread sanitizer [RCU-3]
    _Atomic uint64_t fork_thread; // whose fork has the gate, 0 if none
    unsigned fork_depth;          // that fork's, written inside the gate
} rcu;

// ---- Read sections ----

// A section: bits 0..15 which record (plus 1) or guest stripe, bit 16 guest, bits 32.. generation.
#define SECTION_GUEST ((hhi_rcu_section)1 << 16)

/*
 * The counter of a registered record. By offset: liburcu's arena does not keep the alignment that
 * its structure declares, so the structure must not be accessed as one.
 */
static _Atomic(unsigned long) *
record_counter(struct urcu_bp_reader *record)
{
    char *start = (void *)record;
    return (_Atomic(unsigned long) *)(void *)(start + offsetof(struct urcu_bp_reader, ctr));
}

// Different on threads that run at once, mostly the same on one thread.
static unsigned
reader_seed(void)
{
    char here;
    return (unsigned)(((uintptr_t)&here >> 14) * 0x9E3779B97F4A7C15u >> 40);
}

static bool
record_borrow(_Atomic(unsigned long) *counter)
{
    // relaxed: a guess for the swap below.
    unsigned long value = hh_load_relaxed(counter);
    if (value & URCU_BP_GP_CTR_NEST_MASK)
        return false;
    // What liburcu's read lock stores: the phase of the grace period now, nesting 1.
    unsigned long entered = CMM_LOAD_SHARED(rcu.urcu.grace_period->ctr);
    // order: acquire [RCU-3] the record passes from the last reader to this one. The section's reads
    // come after it by section_barrier.
    return hh_cas_strong_acquire(counter, &value, entered);
}

static hhi_rcu_section
guest_enter(unsigned seed)
{
    unsigned stripe = seed % RCU_STRIPES;
    // relaxed: changes only in the child of a fork, when this thread alone exists.
    uint64_t generation = hh_load_relaxed(&rcu.generation);
    // relaxed: the section's reads come after it by section_barrier, and an addition hands on what
    // guests that left have released in it.
    hh_fetch_add_relaxed(&rcu.stripes[stripe].guests, STRIPE_ENTER);
    return generation << 32 | SECTION_GUEST | stripe;
}

/*
 * What liburcu's own read lock has where its grace periods have a barrier for all threads. A guest may
 * know nothing of the library yet, and has a barrier of its own.
 */
static void
section_barrier(hhi_rcu_section section)
{
    if (!(section & SECTION_GUEST) && rcu.urcu.asymmetric)
        cmm_barrier();
    else
        cmm_smp_mb();
}

hhi_rcu_section
hhi_rcu_enter(void)
{
    unsigned seed = reader_seed();
    hhi_rcu_section section = 0;
    // order: acquire [RCU-4] reads the records' addresses.
    uint32_t count = hh_load_acquire(&rcu.record_count);
    for (uint32_t i = 0; i < count && section == 0; i++) {
        uint32_t index = (seed + i) % RCU_RECORDS;
        if (record_borrow(rcu.records[index]))
            section = index + 1;
    }
    if (section == 0)
        section = guest_enter(seed);
    section_barrier(section);
    return section;
}

void
hhi_rcu_leave(hhi_rcu_section section)
{
    uint32_t which = (uint32_t)section & 0xFFFF;
    __tsan_release(&rcu.reader_edge);
    if (!(section & SECTION_GUEST)) {
        section_barrier(section);
        // order: release [RCU-3] the section's reads are done.
        hh_store_release(rcu.records[which - 1], 0);
        return;
    }
    // relaxed: see guest_enter. A section begun before a fork is not counted in the child.
    if (section >> 32 == hh_load_relaxed(&rcu.generation)) {
        // order: release [RCU-3] the section's reads are done.
        hh_fetch_sub_release(&rcu.stripes[which].guests, 1);
    }
}

// ---- Pools ----

void
hhi_rcu_pool_add(struct hhi_rcu_pool *pool)
{
    // relaxed: a guess for the swap below.
    pool->next = hh_load_relaxed(&rcu.pools);
    // order: release [RCU-6] publishes the pool's fields.
    while (!hh_cas_weak_release(&rcu.pools, &pool->next, pool))
        continue;
}

static bool
pool_carve(struct hhi_rcu_pool *pool)
{
    if (pool->fresh_end - pool->fresh_next >= pool->record_bytes)
        return true;
    void *piece = hhi_meta_alloc(RCU_BATCH_BYTES);
    if (piece == NULL)
        return false;
    pool->fresh_next = (uintptr_t)piece;
    pool->fresh_end = pool->fresh_next + RCU_BATCH_BYTES;
    return true;
}

void *
hhi_rcu_pool_take(struct hhi_rcu_pool *pool)
{
    if (pool->free == NULL) {
        // order: acquire [RCU-2] all readers of these records are gone.
        pool->free = hh_exchange_acquire(&pool->ready, NULL);
    }
    struct hhi_rcu_link *link = pool->free;
    if (link != NULL) {
        pool->free = link->next;
        return link;
    }
    if (!pool_carve(pool))
        return NULL;
    void *record = (void *)pool->fresh_next;
    pool->fresh_next += pool->record_bytes;
    // relaxed: a statistic.
    hh_fetch_add_relaxed(&pool->made_count, 1);
    return record;
}

void
hhi_rcu_pool_put(struct hhi_rcu_pool *pool, void *record)
{
    struct hhi_rcu_link *link = record;
    link->next = pool->free;
    pool->free = link;
}

bool
hhi_rcu_pool_reserve(struct hhi_rcu_pool *pool, unsigned count)
{
    struct hhi_rcu_link *taken = NULL;
    bool enough = true;
    for (; count > 0 && enough; count--) {
        struct hhi_rcu_link *link = hhi_rcu_pool_take(pool);
        enough = link != NULL;
        if (enough) {
            link->next = taken;
            taken = link;
        }
    }
    while (taken != NULL) {
        struct hhi_rcu_link *next = taken->next;
        hhi_rcu_pool_put(pool, taken);
        taken = next;
    }
    return enough;
}

// Push the chain first..last; the swap's release is the caller's label.
static void
chain_push(_Atomic(struct hhi_rcu_link *) *list, struct hhi_rcu_link *first,
           struct hhi_rcu_link *last)
{
    // relaxed: a guess for the swap below.
    last->next = hh_load_relaxed(list);
    // order: release [RCU-1] [RCU-2] what happened to the records before.
    while (!hh_cas_weak_release(list, &last->next, first))
        continue;
}

void
hhi_rcu_pool_retire(struct hhi_rcu_pool *pool, void *record)
{
    chain_push(&pool->retired, record, record);
    // relaxed: statistics, and when to start the reclaimer.
    hh_fetch_add_relaxed(&pool->retired_count, 1);
    hh_fetch_add_relaxed(&rcu.pending, 1);
}

// ---- The reclaimer ----

static void
nap(unsigned milliseconds)
{
    struct timespec wait = {0, (long)milliseconds * 1000000};
    nanosleep(&wait, NULL);
}

static bool
gate_enter(uint32_t by, unsigned patience_ms)
{
    for (unsigned waited = 0;; waited++) {
        uint32_t open = GATE_OPEN;
        // order: acquire [RCU-5] after the last one through.
        if (hh_cas_strong_acquire(&rcu.gate, &open, by))
            return true;
        if (waited >= patience_ms)
            return false;
        nap(1);
    }
}

static void
gate_leave(void)
{
    // order: release [RCU-5] what was done inside.
    hh_store_release(&rcu.gate, GATE_OPEN);
}

/*
 * Register the records readers borrow. urcu_bp_register hangs a record on the thread; taking it off
 * again by clearing the thread's pointer leaves it registered for ever. The thread keeps the last
 * one, which is not in the table, so that liburcu's exit handler ends that one only.
 * False: there is no library, or no memory for it to ask for; what is retired waits.
 */
static bool
records_register(void)
{
    // relaxed: written by reclaimers only, and they follow one another.
    if (hh_load_relaxed(&rcu.record_count) != 0)
        return true;
    gate_enter(GATE_GRACE, UINT32_MAX);
    bool ready = hhi_rcu_library_open(&rcu.urcu) && hhi_rcu_library_has_memory();
    for (int i = 0; ready && i <= RCU_RECORDS; i++) {
        *rcu.urcu.reader = NULL;
        rcu.urcu.register_thread();
        if (i < RCU_RECORDS)
            rcu.records[i] = record_counter(*rcu.urcu.reader);
    }
    gate_leave();
    if (!ready)
        return false;
    // order: release [RCU-4] publishes the library and the records.
    hh_store_release(&rcu.record_count, RCU_RECORDS);
    return true;
}

/*
 * Wait until each record was seen free once. liburcu would wait as well, but with its locks held,
 * and a fork must not meet them held while a reader is stopped for long (I4).
 */
static void
records_settle(void)
{
    // relaxed (both): the reclaimer registered them itself; liburcu looks again, with its barriers.
    uint32_t count = hh_load_relaxed(&rcu.record_count);
    for (uint32_t i = 0; i < count; i++)
        while (hh_load_relaxed(rcu.records[i]) & URCU_BP_GP_CTR_NEST_MASK)
            nap(1);
}

static void
grace_period(void)
{
    records_settle();
    gate_enter(GATE_GRACE, UINT32_MAX);
    rcu.urcu.synchronize();
    gate_leave();
    for (int i = 0; i < RCU_STRIPES; i++) {
        // order: acquire [RCU-3] the guests are done.
        while ((uint32_t)hh_load_acquire(&rcu.stripes[i].guests) != 0)
            nap(1);
    }
    __tsan_acquire(&rcu.reader_edge);
    // relaxed: a statistic.
    hh_fetch_add_relaxed(&rcu.grace_periods, 1);
}

static bool
anything_retired(void)
{
    // order: acquire [RCU-6] reads the pool's fields.
    struct hhi_rcu_pool *pool = hh_load_acquire(&rcu.pools);
    // relaxed: a first look.
    while (pool != NULL && hh_load_relaxed(&pool->retired) == NULL)
        pool = pool->next;
    return pool != NULL;
}

// Through the gate, like the way back: a fork finds each record in a list.
static void
batches_collect(void)
{
    gate_enter(GATE_GRACE, UINT32_MAX);
    // order: acquire [RCU-6] reads the pool's fields.
    struct hhi_rcu_pool *pool = hh_load_acquire(&rcu.pools);
    for (; pool != NULL; pool = pool->next)
        // order: acquire [RCU-1] the records were unpublished before.
        // relaxed: read by the reclaimer, and after a fork by the only thread.
        hh_store_relaxed(&pool->waiting, hh_exchange_acquire(&pool->retired, NULL));
    gate_leave();
}

static void
batches_hand_back(void)
{
    gate_enter(GATE_GRACE, UINT32_MAX);
    // order: acquire [RCU-6] reads the pool's fields.
    struct hhi_rcu_pool *pool = hh_load_acquire(&rcu.pools);
    for (; pool != NULL; pool = pool->next) {
        // relaxed: only the reclaimer writes it.
        struct hhi_rcu_link *first = hh_load_relaxed(&pool->waiting);
        if (first == NULL)
            continue;
        uint64_t count = 1;
        struct hhi_rcu_link *last = first;
        for (; last->next != NULL; last = last->next)
            count++;
        hh_store_relaxed(&pool->waiting, NULL);
        chain_push(&pool->ready, first, last);
        // relaxed: a statistic.
        hh_fetch_add_relaxed(&pool->reclaimed_count, count);
    }
    gate_leave();
}

static bool
reclaimer_pass(void)
{
    // relaxed: counts that come a moment late are counted for the next pass.
    hh_store_relaxed(&rcu.pending, 0);
    if (!anything_retired())
        return false;
    batches_collect();
    grace_period();
    batches_hand_back();
    return true;
}

static void *
reclaimer_main(void *unused)
{
    (void)unused;
    for (unsigned idle = 0;;) {
        bool registered = records_register();
        idle = registered && reclaimer_pass() ? 0 : idle + 1;
        if (!registered) {
            nap(RCU_RETRY_MS);
        } else if (idle < RCU_IDLE_PASSES) {
            nap(RCU_PASS_MS);
            continue;
        }
        while (sem_wait(&rcu.wake) != 0)
            continue;
        // relaxed: who retires from here on posts again.
        hh_store_relaxed(&rcu.woken, 0);
        idle = 0;
    }
    return NULL;
}

// A thread like any other, with all signals blocked: liburcu uses thread-local variables.
static bool
reclaimer_start(void)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int result = pthread_create(&thread, &attributes, reclaimer_main, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return result == 0;
}

void
hhi_rcu_start(void)
{
    // relaxed (both): lost is set in the child of a fork, before other threads exist; a reclaimer
    // that runs is all that is asked for.
    if (hh_load_relaxed(&rcu.lost) || hh_load_relaxed(&rcu.reclaimer) != RECLAIMER_NONE)
        return;
    uint32_t none = RECLAIMER_NONE;
    // order: acquire [RCU-7] reads what the last attempt left.
    if (!hh_cas_strong_acquire(&rcu.reclaimer, &none, RECLAIMER_STARTS))
        return;
    int saved_errno = errno;
    sem_init(&rcu.wake, 0, 0);
    // order: release [RCU-7] the semaphore, or that nothing has changed: the next start tries again.
    hh_store_release(&rcu.reclaimer, reclaimer_start() ? RECLAIMER_RUNS : RECLAIMER_NONE);
    errno = saved_errno;
}

static void
reclaimer_wake(void)
{
    // order: acquire [RCU-7] the semaphore.
    if (hh_load_acquire(&rcu.reclaimer) != RECLAIMER_RUNS)
        return;
    // relaxed: one post is enough.
    if (hh_exchange_relaxed(&rcu.woken, 1) == 0)
        sem_post(&rcu.wake);
}

void
hhi_rcu_poke(void)
{
    // relaxed: a threshold, no data is read through it.
    if (hh_unlikely(hh_load_relaxed(&rcu.pending) >= RCU_WAKE_COUNT))
        reclaimer_wake();
}

void
hhi_rcu_get_stats(struct hhi_rcu_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    // order: acquire [RCU-6] reads the pool's fields.
    struct hhi_rcu_pool *pool = hh_load_acquire(&rcu.pools);
    for (; pool != NULL; pool = pool->next) {
        // relaxed: statistics. reclaimed is read first, so that it is never above retired.
        stats->reclaimed += hh_load_relaxed(&pool->reclaimed_count);
        stats->retired += hh_load_relaxed(&pool->retired_count);
        stats->made += hh_load_relaxed(&pool->made_count);
    }
    // relaxed: statistics.
    stats->grace_periods = hh_load_relaxed(&rcu.grace_periods);
    for (int i = 0; i < RCU_STRIPES; i++)
        stats->guests += hh_load_relaxed(&rcu.stripes[i].guests) >> 32;
    stats->lost = hh_load_relaxed(&rcu.lost);
}

bool
hhi_rcu_flush(unsigned timeout_ms)
{
    struct hhi_rcu_stats stats;
    hhi_rcu_get_stats(&stats);
    uint64_t goal = stats.retired;
    hhi_rcu_start();
    for (unsigned waited = 0; stats.reclaimed < goal; waited++) {
        if (waited >= timeout_ms)
            return false;
        reclaimer_wake();
        nap(1);
        hhi_rcu_get_stats(&stats);
    }
    return true;
}

// ---- Fork ----

static bool
fork_has_gate(void)
{
    // relaxed: only this thread stores its own number.
    return hh_load_relaxed(&rcu.fork_thread) == hhi_thread_self();
}

static void
rcu_fork_prepare(void)
{
    // A fork in a handler that interrupted this thread's fork finds the gate taken.
    if (fork_has_gate() || !gate_enter(GATE_FORK, RCU_FORK_WAIT_MS))
        return;
    rcu.fork_depth = hhi_fork_depth();
    // relaxed: only this thread stores its own number.
    hh_store_relaxed(&rcu.fork_thread, hhi_thread_self());
}

static void
rcu_fork_parent(void)
{
    if (!fork_has_gate() || rcu.fork_depth != hhi_fork_depth())
        return;
    // relaxed: only this thread stores its own number.
    hh_store_relaxed(&rcu.fork_thread, 0);
    gate_leave();
}

// What the reclaimer had in its hands waits again. A thread that does not exist here may have counted a
// record that it had not retired yet, or the other way round: they are counted anew.
static void
pool_child_start(struct hhi_rcu_pool *pool)
{
    // relaxed (all): no other thread exists.
    struct hhi_rcu_link *first = hh_load_relaxed(&pool->waiting);
    if (first != NULL) {
        struct hhi_rcu_link *last = first;
        while (last->next != NULL)
            last = last->next;
        chain_push(&pool->retired, first, last);
        hh_store_relaxed(&pool->waiting, NULL);
    }
    uint64_t count = hh_load_relaxed(&pool->reclaimed_count);
    for (first = hh_load_relaxed(&pool->retired); first != NULL; first = first->next)
        count++;
    hh_store_relaxed(&pool->retired_count, count);
}

/*
 * The reclaimer does not exist in the child, nor does any reader but this thread. The records stay
 * registered with liburcu but are not used again: a program that uses liburcu too lets it drop
 * records of vanished threads after a fork, and then uses them for its own.
 */
static void
rcu_child_start(void)
{
    // relaxed: all of it, since no other thread exists.
    uint32_t count = hh_load_relaxed(&rcu.record_count);
    for (uint32_t i = 0; i < count; i++)
        hh_store_relaxed(rcu.records[i], 0);
    hh_store_relaxed(&rcu.record_count, 0);
    for (int i = 0; i < RCU_STRIPES; i++)
        hh_store_relaxed(&rcu.stripes[i].guests, 0);
    hh_fetch_add_relaxed(&rcu.generation, 1);
    hh_store_relaxed(&rcu.reclaimer, RECLAIMER_NONE);
    hh_store_relaxed(&rcu.woken, 0);
    hh_store_relaxed(&rcu.gate, GATE_OPEN);
    if (!fork_has_gate())
        hh_store_relaxed(&rcu.lost, true);
    hh_store_relaxed(&rcu.fork_thread, 0);
    struct hhi_rcu_pool *pool = hh_load_relaxed(&rcu.pools);
    for (; pool != NULL; pool = pool->next)
        pool_child_start(pool);
}

void
hhi_rcu_fork(enum hhi_fork_step step)
{
    if (step == HHI_FORK_TAKE)
        rcu_fork_prepare();
    else if (step == HHI_FORK_PARENT)
        rcu_fork_parent();
    else if (step == HHI_FORK_CHILD)
        rcu_child_start();
}
