// SPDX-License-Identifier: MIT
/*
 * heap/limit.h - who is served when memory runs short: limits, critical levels, the reserve.
 *
 * Layer: heap. May include: base, os, region/run.h.
 *
 * A budget counts committed bytes against a soft and a hard limit. There is one for the process
 * and one per heap; a charge must fit both. Counted are committed pages of host allocations and of
 * slabs and large blocks, retained free ones included; metadata is not.
 *
 *   level          soft limit reached      hard limit or kernel out of memory
 *   task           purge, retry, fail      purge, retry, fail
 *   app domain     served                  purge, retry, fail
 *   process        served                  purge, retry; then the reserve; then up to three more
 *                                          tries within 50 ms; then fail
 *
 * Purging means handing retained free memory back, which is done before anybody is refused: free runs, and
 * slabs without a block, the asking thread's own as well (hhi_sweep_retained). Blocks
 * that other threads have freed in the slabs of a thread that is alive but does not allocate are
 * not retained memory: only that thread collects them, until then they stay counted. A request
 * that could not fit even an empty budget is refused at once, without purging.
 *
 * The reserve has two faces. Against a limit it is an amount by which process-critical requests
 * may pass a hard limit; it is there again as soon as the count falls below the limit. Against the
 * kernel it is a mapping of touched pages that is given up once, so that the caller's next attempt
 * finds memory; it is mapped again by a later charge that fits, HHI_LIMIT_REFILL_MS after it was given
 * up at the earliest. Nobody who never sets a limit, never makes an IHostMalloc and never asks at
 * process level has that mapping.
 *
 * Thread rules: every function may run on any thread at once. None takes a lock. Charging may call
 * the purge function and may wait up to 50 ms, so the caller holds no lock that purging needs.
 *
 * Invariants
 *   I1  committed_bytes = charges that returned true - discharges.
 *   I2  a charge that returns true found committed_bytes + bytes within the limit of its level
 *       (plus the reserve at process level) at the instant it was counted.
 *   I3  a charge that returns false leaves both counts as they were.
 *
 * Memory ordering (label: writer -> reader: what is published)
 *   LM-1  refill CAS -> release swap of the reserve word: the mapping. Both sides only pass an
 *         address to the kernel, yet the unmapping must come after the mapping.
 * All counters are relaxed: a count publishes no other memory.
 *
 * Progress: discharge is wait-free, charge is lock-free until it has to purge or wait.
 *
 * Source: contract section 10 (DECISION 45), 16.6, GEN-10.
 */
#ifndef HHI_HEAP_LIMIT_H
#define HHI_HEAP_LIMIT_H

#include <hostheap/hostheap.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "region/run.h"

// Levels of EMemoryCriticalLevel; anything else counts as task.
enum { HHI_LEVEL_TASK = 0, HHI_LEVEL_DOMAIN = 1, HHI_LEVEL_PROCESS = 2 };

/*
 * How often a request is tried; part of a level inside of the library, which asks for one request of its
 * caller in several ways. What a host passes has nothing of it: hhi_level_of_host.
 */
enum {
    HHI_TRY_ALL = 0,            // as the level allows
    HHI_TRY_ONCE = 0x5A5900,    // once, without purging
    HHI_TRY_LAST = 0x5A5A00,    // the same, for what is needed only
    HHI_TRY_AT_HAND = 0x5A5B00, // once, for memory that neither the kernel nor a purge has to give
};

static inline unsigned
hhi_level_tries(unsigned level)
{
    unsigned tries = level & ~3u;
    return tries >= HHI_TRY_ONCE && tries <= HHI_TRY_AT_HAND && tries % 0x100 == 0 ? tries
                                                                                   : HHI_TRY_ALL;
}

// A level as a host passes it, any number.
static inline unsigned
hhi_level_of_host(uint32_t level)
{
    return level <= HHI_LEVEL_PROCESS ? level : HHI_LEVEL_TASK;
}

// The level with other tries.
static inline unsigned
hhi_level_try(unsigned level, unsigned tries)
{
    if (hhi_level_tries(level) != HHI_TRY_ALL)
        level &= 3u;
    return hhi_level_of_host(level) | tries;
}

enum {
    HHI_LIMIT_RESERVE_BYTES = 1 << 20,
    HHI_LIMIT_REFILL_MS = 100,
};

// Zero-filled, a budget has no limits and no charge.
struct hhi_budget {
    _Atomic(size_t) soft_bytes;      // 0 = none; written by hhi_budget_set, read by any thread
    _Atomic(size_t) hard_bytes;      // 0 = none; as soft_bytes
    _Atomic(size_t) committed_bytes; // any thread
};

// One reading of a budget; the three fields are not of one instant.
struct hhi_budget_reading {
    size_t soft_bytes; // 0 = none
    size_t hard_bytes; // 0 = none
    size_t committed_bytes;
};

// HH_E_INVALID_ARGUMENT if both are set and soft is above hard.
hh_status hhi_budget_set(struct hhi_budget *budget, size_t soft_bytes, size_t hard_bytes);
void hhi_budget_read(const struct hhi_budget *budget, struct hhi_budget_reading *reading);

/*
 * Count bytes against heap_budget and the process. heap_budget NULL = the process only.
 * True: counted in both; the caller commits the memory, or discharges if it can not.
 */
bool hhi_budget_charge(struct hhi_budget *heap_budget, size_t bytes, unsigned level);
void hhi_budget_discharge(struct hhi_budget *heap_budget, size_t bytes);
// The heap gives memory up that the process retains: it stays counted there.
void hhi_budget_discharge_heap(struct hhi_budget *heap_budget, size_t bytes);

// The same for memory that belongs to no heap (VirtualAlloc).
bool hhi_limit_charge(size_t bytes, unsigned level);
void hhi_limit_discharge(size_t bytes);
// Count bytes that are there already, whatever the limits: for a few granules of our own.
void hhi_limit_count(size_t bytes);

// The process's limits. As hhi_budget_set.
hh_status hhi_set_memory_limits(size_t soft_bytes, size_t hard_bytes);
void hhi_limit_read(struct hhi_budget_reading *reading);

// What gives retained memory back: returns the bytes, discharges them itself, must not charge.
// tries: what the kernel has refused, NULL: a limit is reached.
void hhi_limit_set_purge(size_t (*purge)(struct hhi_tries *tries));

// What to do after failed attempt number attempt (0 = the first).
enum hhi_limit_step {
    HHI_LIMIT_REFUSE,  // give up
    HHI_LIMIT_PURGE,   // give retained memory back, try again
    HHI_LIMIT_RESERVE, // use the reserve, try again
    HHI_LIMIT_WAIT,    // wait a little, give retained memory back, try again
};
enum hhi_limit_step hhi_limit_next_step(unsigned level, unsigned attempt);

/*
 * The same policy for a kernel that refuses memory:
 *     for (unsigned attempt = 0; !commit(...); attempt++)
 *         if (!hhi_limit_retry(level, attempt, &tries))
 *             return NULL;
 * Does what hhi_limit_next_step says; false = refuse: also where the second try would make more calls than the
 * request has left. A process-critical one may make as many again after the reserve was given up, and after each wait.
 */
bool hhi_limit_retry(unsigned level, unsigned attempt, struct hhi_tries *tries);
// The same for records of ours that a request needs, which only a process-critical one tries again.
bool hhi_limit_retry_record(unsigned level, unsigned attempt);

// From now on a reserve is wanted: map it. Failure is silent; a later refill tries again.
void hhi_limit_prepare_reserve(void);
// Unmap it, and want it back later. False if it is not there.
bool hhi_limit_release_reserve(void);
// Map it again if it is wanted, gone, and the time has come. One load when there is nothing to do. After a
// request was served, not before: one that is refused would make a call more (docs/adr/0033).
void hhi_limit_refill_reserve(void);

// What this module asks of the system, replaceable by tests.
struct hhi_limit_system {
    void *(*map)(size_t size_bytes); // touched pages; NULL on failure
    void (*unmap)(void *address, size_t size_bytes);
    void (*wait)(unsigned ms);
    uint64_t (*now_ms)(void);
};
// NULL = the real one. Only while no other thread is in this module.
void hhi_limit_set_system(const struct hhi_limit_system *system);

#endif
