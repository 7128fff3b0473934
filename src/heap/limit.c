// SPDX-License-Identifier: MIT
// heap/limit.c - see limit.h.

#include "heap/limit.h"

#include "base/check.h"
#include "os/os.h"

// Values of the reserve word that are no address.
enum { RESERVE_UNWANTED = 0, RESERVE_GONE = 1 };

// Waits of a process-critical request, 50 ms with what the attempts themselves take.
static const unsigned limit_wait_ms[] = {5, 15, 25};
enum { WAIT_COUNT = sizeof limit_wait_ms / sizeof limit_wait_ms[0] };

static void *system_map(size_t size_bytes);
static void system_unmap(void *address, size_t size_bytes);
static void system_wait(unsigned ms);
static uint64_t system_now_ms(void);

static const struct hhi_limit_system limit_real_system = {system_map, system_unmap, system_wait,
                                                          system_now_ms};

static struct {
    struct hhi_budget process;
    _Atomic(uintptr_t) reserve;                    // RESERVE_* or the mapping's address  [LM-1]
    _Atomic(uint64_t) reserve_gone_ms;             // when it was given up; any thread
    _Atomic(size_t (*)(struct hhi_tries *)) purge; // NULL = nothing to purge; any thread
    const struct hhi_limit_system *system;         // set while one thread runs
} limit_state HH_START_STATE = {.system = &limit_real_system};

// The pages are written to, so that they are really there when they are needed.
static void *
system_map(size_t size_bytes)
{
    intptr_t address = hhi_os_map_private(size_bytes);
    if (address < 0)
        return NULL;
    volatile char *pages = (volatile char *)address;
    for (size_t offset = 0; offset < size_bytes; offset += hhi_os_page_bytes())
        pages[offset] = 0;
    return (void *)address;
}

static void
system_unmap(void *address, size_t size_bytes)
{
    (void)hhi_os_release(address, size_bytes);
}

// A signal may end the wait early; the policy needs no exact time.
static void
system_wait(unsigned ms)
{
    hhi_os_sleep_ms(ms);
}

static uint64_t
system_now_ms(void)
{
    return hhi_os_clock_ms();
}

static unsigned
limit_known_level(unsigned level)
{
    return hhi_level_try(level, HHI_TRY_ALL);
}

// The count a request of this level may reach; SIZE_MAX = no limit.
static size_t
budget_ceiling(struct hhi_budget *budget, unsigned level, size_t overdraft_bytes)
{
    // relaxed: limits publish nothing; a charge that races with a change may see either.
    size_t soft_bytes = hh_load_relaxed(&budget->soft_bytes);
    // relaxed: as above.
    size_t hard_bytes = hh_load_relaxed(&budget->hard_bytes);
    size_t ceiling = SIZE_MAX;
    if (hard_bytes != 0)
        ceiling =
            hard_bytes <= SIZE_MAX - overdraft_bytes ? hard_bytes + overdraft_bytes : SIZE_MAX;
    if (level == HHI_LEVEL_TASK && soft_bytes != 0 && soft_bytes < ceiling)
        ceiling = soft_bytes;
    return ceiling;
}

static bool
budget_count(struct hhi_budget *budget, size_t bytes, unsigned level, size_t overdraft_bytes)
{
    size_t ceiling = budget_ceiling(budget, level, overdraft_bytes);
    if (ceiling == SIZE_MAX) {
        // relaxed: a count publishes nothing.
        (void)hh_fetch_add_relaxed(&budget->committed_bytes, bytes);
        return true;
    }
    // relaxed: only a guess for the CAS below, which validates it.
    size_t committed = hh_load_relaxed(&budget->committed_bytes);
    do {
        if (committed > ceiling || bytes > ceiling - committed)
            return false;
        // relaxed: a count publishes nothing.
    } while (!hh_cas_strong_relaxed(&budget->committed_bytes, &committed, committed + bytes));
    return true;
}

static void
budget_uncount(struct hhi_budget *budget, size_t bytes)
{
    // relaxed: a count publishes nothing.
    (void)hh_fetch_sub_relaxed(&budget->committed_bytes, bytes);
}

static bool
limit_count_both(struct hhi_budget *heap_budget, size_t bytes, unsigned level,
                 size_t overdraft_bytes)
{
    if (heap_budget != NULL && !budget_count(heap_budget, bytes, level, overdraft_bytes))
        return false;
    if (budget_count(&limit_state.process, bytes, level, overdraft_bytes))
        return true;
    if (heap_budget != NULL)
        budget_uncount(heap_budget, bytes);
    return false;
}

// Not even an empty budget would do.
static bool
limit_is_hopeless(struct hhi_budget *heap_budget, size_t bytes, unsigned level)
{
    size_t overdraft_bytes = level == HHI_LEVEL_PROCESS ? HHI_LIMIT_RESERVE_BYTES : 0;
    return bytes > budget_ceiling(&limit_state.process, level, overdraft_bytes) ||
           (heap_budget != NULL && bytes > budget_ceiling(heap_budget, level, overdraft_bytes));
}

static void
limit_purge(struct hhi_tries *tries)
{
    // relaxed: the pointer leads to code, which is always there.
    size_t (*purge)(struct hhi_tries *) = hh_load_relaxed(&limit_state.purge);
    if (purge != NULL)
        (void)purge(tries);
}

static void
limit_wait(unsigned attempt, struct hhi_tries *tries)
{
    HH_ASSERT(attempt - 2 < WAIT_COUNT); // as hhi_limit_next_step says
    limit_state.system->wait(limit_wait_ms[attempt - 2]);
    limit_purge(tries);
}

enum hhi_limit_step
hhi_limit_next_step(unsigned level, unsigned attempt)
{
    if (hhi_level_tries(level) != HHI_TRY_ALL)
        return HHI_LIMIT_REFUSE;
    if (attempt == 0)
        return HHI_LIMIT_PURGE;
    if (limit_known_level(level) != HHI_LEVEL_PROCESS)
        return HHI_LIMIT_REFUSE;
    if (attempt == 1)
        return HHI_LIMIT_RESERVE;
    return attempt < 2 + WAIT_COUNT ? HHI_LIMIT_WAIT : HHI_LIMIT_REFUSE;
}

// The first try has failed.
HH_SLOW static bool
limit_charge_slow(struct hhi_budget *heap_budget, size_t bytes, unsigned level)
{
    unsigned known_level = limit_known_level(level);
    if (limit_is_hopeless(heap_budget, bytes, known_level))
        return false;
    size_t overdraft_bytes = 0;
    for (unsigned attempt = 0;; attempt++) {
        switch (hhi_limit_next_step(level, attempt)) {
        case HHI_LIMIT_REFUSE:
            return false;
        case HHI_LIMIT_PURGE:
            limit_purge(NULL);
            break;
        case HHI_LIMIT_RESERVE:
            overdraft_bytes = HHI_LIMIT_RESERVE_BYTES;
            break;
        case HHI_LIMIT_WAIT:
            limit_wait(attempt, NULL);
            break;
        }
        if (limit_count_both(heap_budget, bytes, known_level, overdraft_bytes))
            return true;
    }
}

bool
hhi_budget_charge(struct hhi_budget *heap_budget, size_t bytes, unsigned level)
{
    if (hh_unlikely(!limit_count_both(heap_budget, bytes, limit_known_level(level), 0)))
        return limit_charge_slow(heap_budget, bytes, level);
    return true;
}

void
hhi_budget_discharge(struct hhi_budget *heap_budget, size_t bytes)
{
    if (heap_budget != NULL)
        budget_uncount(heap_budget, bytes);
    budget_uncount(&limit_state.process, bytes);
}

void
hhi_budget_discharge_heap(struct hhi_budget *heap_budget, size_t bytes)
{
    budget_uncount(heap_budget, bytes);
}

bool
hhi_limit_charge(size_t bytes, unsigned level)
{
    return hhi_budget_charge(NULL, bytes, level);
}

void
hhi_limit_discharge(size_t bytes)
{
    hhi_budget_discharge(NULL, bytes);
}

void
hhi_limit_count(size_t bytes)
{
    // relaxed: a count publishes nothing.
    (void)hh_fetch_add_relaxed(&limit_state.process.committed_bytes, bytes);
}

hh_status
hhi_budget_set(struct hhi_budget *budget, size_t soft_bytes, size_t hard_bytes)
{
    if (soft_bytes != 0 && hard_bytes != 0 && soft_bytes > hard_bytes)
        return HH_E_INVALID_ARGUMENT;
    // relaxed: limits publish nothing.
    hh_store_relaxed(&budget->soft_bytes, soft_bytes);
    // relaxed: as above.
    hh_store_relaxed(&budget->hard_bytes, hard_bytes);
    if (soft_bytes != 0 || hard_bytes != 0)
        hhi_limit_prepare_reserve();
    return HH_OK;
}

void
hhi_budget_read(const struct hhi_budget *budget, struct hhi_budget_reading *reading)
{
    // relaxed: statistics.
    reading->soft_bytes = hh_load_relaxed(&budget->soft_bytes);
    // relaxed: statistics.
    reading->hard_bytes = hh_load_relaxed(&budget->hard_bytes);
    // relaxed: statistics.
    reading->committed_bytes = hh_load_relaxed(&budget->committed_bytes);
}

hh_status
hhi_set_memory_limits(size_t soft_bytes, size_t hard_bytes)
{
    return hhi_budget_set(&limit_state.process, soft_bytes, hard_bytes);
}

void
hhi_limit_read(struct hhi_budget_reading *reading)
{
    hhi_budget_read(&limit_state.process, reading);
}

void
hhi_limit_set_purge(size_t (*purge)(struct hhi_tries *tries))
{
    // relaxed: the pointer leads to code, which is always there.
    hh_store_relaxed(&limit_state.purge, purge);
}

bool
hhi_limit_retry(unsigned level, unsigned attempt, struct hhi_tries *tries)
{
    switch (hhi_limit_next_step(level, attempt)) {
    case HHI_LIMIT_REFUSE:
        return false;
    case HHI_LIMIT_PURGE:
        limit_purge(tries);
        return tries->calls + tries->next_calls <= HHI_TRIES_CALLS ||
               limit_known_level(level) == HHI_LEVEL_PROCESS;
    case HHI_LIMIT_RESERVE:
        tries->calls = hhi_limit_release_reserve();
        return true;
    case HHI_LIMIT_WAIT:
        tries->calls = 0;
        limit_wait(attempt, tries);
        return true;
    }
    return false;
}

bool
hhi_limit_retry_record(unsigned level, unsigned attempt)
{
    struct hhi_tries tries = {0};
    return limit_known_level(level) == HHI_LEVEL_PROCESS && hhi_limit_retry(level, attempt, &tries);
}

// Expects the word to hold expected; maps and stores, or leaves all as it was.
static void
reserve_map(uintptr_t expected)
{
    void *address = limit_state.system->map(HHI_LIMIT_RESERVE_BYTES);
    if (address == NULL)
        return;
    // order: release [LM-1] publishes the mapping to the thread that will unmap it.
    if (!hh_cas_strong_release(&limit_state.reserve, &expected, (uintptr_t)address))
        limit_state.system->unmap(address, HHI_LIMIT_RESERVE_BYTES);
}

void
hhi_limit_prepare_reserve(void)
{
    uintptr_t expected = RESERVE_UNWANTED;
    // relaxed: no mapping is published yet.
    if (hh_cas_strong_relaxed(&limit_state.reserve, &expected, (uintptr_t)RESERVE_GONE))
        reserve_map(RESERVE_GONE);
}

bool
hhi_limit_release_reserve(void)
{
    // relaxed: a guess that spares the clock; the swap below decides.
    if (hh_load_relaxed(&limit_state.reserve) != RESERVE_GONE) {
        // relaxed: only compared with the clock.
        hh_store_relaxed(&limit_state.reserve_gone_ms, limit_state.system->now_ms());
    }
    // order: acquire [LM-1] the mapping that the refill published.
    uintptr_t address = hh_exchange_acquire(&limit_state.reserve, (uintptr_t)RESERVE_GONE);
    if (address == RESERVE_UNWANTED || address == RESERVE_GONE)
        return false;
    limit_state.system->unmap((void *)address, HHI_LIMIT_RESERVE_BYTES);
    return true;
}

void
hhi_limit_refill_reserve(void)
{
    // relaxed: a guess; the CAS in reserve_map decides.
    if (hh_likely(hh_load_relaxed(&limit_state.reserve) != RESERVE_GONE))
        return;
    // relaxed: only compared with the clock.
    uint64_t gone_ms = hh_load_relaxed(&limit_state.reserve_gone_ms);
    if (limit_state.system->now_ms() - gone_ms >= HHI_LIMIT_REFILL_MS)
        reserve_map(RESERVE_GONE);
}

void
hhi_limit_set_system(const struct hhi_limit_system *system)
{
    limit_state.system = system != NULL ? system : &limit_real_system;
}
