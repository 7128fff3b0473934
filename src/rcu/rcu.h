// SPDX-License-Identifier: MIT
/*
 * rcu/rcu.h - read sections that never wait, and pools of records that outlive their readers.
 *
 * Layer: rcu. May include: base, os, diag, meta; alone in the tree: liburcu (urcu-bp), through
 * library.h.
 *
 * A reader may run on a thread nobody registered, in a signal handler, and while every other
 * thread is stopped anywhere (GEN-8). liburcu's own first read lock on a thread takes a mutex, may
 * map memory and ends the process when it gets none; so no reader ever registers. Instead the
 * reclaimer registers a fixed number of liburcu reader records once, and a read section borrows
 * one of them by a compare-and-swap on its counter: the counter's nesting half is 0 while nobody
 * has it. To liburcu each such section is an ordinary reader. A reader that finds no free record
 * (none registered yet, or all borrowed by stopped threads) is a guest: it adds itself to one of a
 * few plain counters, and the reclaimer waits until it has seen each of them at 0.
 *
 * Writers replace a record, retire the old one and go on; they never wait for readers. A retired
 * record goes through one grace period on the reclaimer, a thread that sleeps while nothing is
 * retired, and then back to its pool. The thread is started when a host asks for the memory manager,
 * never by a writer: pthread_create takes locks of libc that a thread stopped by the host's
 * collector may hold. Records are type-stable: pools never give memory back.
 *
 *   take -> [being filled] -> published -> retire -> [grace period] -> ready -> take
 *              |                                                         ^
 *              +------------------------- put ---------------------------+
 *
 * Thread rules ("-" needs nothing, "X" the caller excludes, per pool):
 *                 take/put  retire  enter/leave
 *   take/put         X        -          -
 *   retire           -        -          -
 *   enter/leave      -        -          -
 *
 * Invariants
 *   I1  a record is on at most one of: its pool's free list, retired, waiting, ready.
 *   I2  a record's link is never read by readers of the record.
 *   I3  nobody waits for a reader but the reclaimer, and it holds no lock of ours meanwhile.
 *   I4  liburcu's locks are not held while the process is copied by fork, nor are records between two
 *       lists in the reclaimer's hands (RCU gate).
 *
 * Memory ordering
 *   RCU-1  retire push -> reclaimer's swap: that the record was unpublished before.
 *   RCU-2  reclaimer's push to ready -> the taker's swap: that all readers of the record are gone,
 *          so that the taker's writes come after their last reads.
 *   RCU-3  end of a read section (counter store or subtraction) -> the reclaimer's look at the
 *          counter, and the next reader that borrows the record: the reader's last reads of records.
 *          liburcu's side of it is invisible to the thread sanitizer, which is told by annotations.
 *   RCU-4  registered record table: reclaimer -> readers: the library, the records' addresses and
 *          contents.
 *   RCU-5  gate: the thread that leaves liburcu or ends a fork -> the next one through.
 *   RCU-6  pool list: hhi_rcu_pool_add -> reclaimer: the pool's fields.
 *   RCU-7  reclaimer state: its start -> who wakes it: the semaphore.
 *
 * Progress: enter and leave are wait-free (a bounded number of steps) and async-signal-safe; take,
 * put are wait-free; retire is lock-free.
 * Failure: take gives NULL when there is no memory. Without threads or liburcu, or memory for it, nothing is
 * reclaimed until it is to be had, which costs memory (counted) and nothing else.
 * Source: contract GEN-8; ADR-0005; model in tests/models/rcu_sections.pml.
 */
#ifndef HHI_RCU_RCU_H
#define HHI_RCU_RCU_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "os/lock.h"

// The first member of every pool record.
struct hhi_rcu_link {
    struct hhi_rcu_link *next;
};

struct hhi_rcu_pool {
    size_t record_bytes;
    // Caller's lock.
    struct hhi_rcu_link *free;
    uintptr_t fresh_next, fresh_end;
    // Any thread.
    _Atomic(struct hhi_rcu_link *) retired; // pushed by writers, swapped out by reclaimer [RCU-1]
    _Atomic(struct hhi_rcu_link *) waiting; // the batch of the running grace period; reclaimer only
    _Atomic(struct hhi_rcu_link *) ready;   // pushed by reclaimer, swapped out by take [RCU-2]
    _Atomic uint64_t retired_count;
    _Atomic uint64_t reclaimed_count;
    _Atomic uint64_t made_count;
    struct hhi_rcu_pool *next; // written once, before the pool is in the list [RCU-6]
};

// What a read section has borrowed; only for hhi_rcu_leave.
typedef uint64_t hhi_rcu_section;

/*
 * Begin and end a read section. Records reachable through published pointers inside it are not
 * used again before it ends. Sections may nest, each with a value of its own; one must end on the
 * thread that began it, and be short.
 */
hhi_rcu_section hhi_rcu_enter(void);
void hhi_rcu_leave(hhi_rcu_section section);

// Make a pool known to the reclaimer, once, before its first use. record_bytes is set already.
void hhi_rcu_pool_add(struct hhi_rcu_pool *pool);
// A record with undefined contents; NULL without memory.
void *hhi_rcu_pool_take(struct hhi_rcu_pool *pool);
// Make sure that the next count takes succeed, if nothing else takes. False without memory.
bool hhi_rcu_pool_reserve(struct hhi_rcu_pool *pool, unsigned count);
// Give back a record that no reader can have seen.
void hhi_rcu_pool_put(struct hhi_rcu_pool *pool, void *record);
// Give back a record that readers may still see, after it was unpublished.
void hhi_rcu_pool_retire(struct hhi_rcu_pool *pool, void *record);

// Start the reclaimer if it does not exist. Creates a thread: not where others may be stopped.
void hhi_rcu_start(void);
// Let the reclaimer run if enough is retired. Never waits, takes no lock. Not in signal handlers.
void hhi_rcu_poke(void);
/*
 * Wait until all that is retired now has been reclaimed, at most timeout_ms. False if it has not.
 * Never inside a host method.
 */
bool hhi_rcu_flush(unsigned timeout_ms);

struct hhi_rcu_stats {
    uint64_t made;          // records taken from the meta arena
    uint64_t retired;       // records retired since start
    uint64_t reclaimed;     // of these, back in their pools
    uint64_t grace_periods; // since start
    uint64_t guests;        // read sections that found no free record
    bool lost;              // liburcu unusable after a fork in the middle of a grace period
};
void hhi_rcu_get_stats(struct hhi_rcu_stats *stats);

// Around fork. prepare waits at most a second for the reclaimer to be outside of liburcu.
void hhi_rcu_fork(enum hhi_fork_step step);

#endif
