// SPDX-License-Identifier: MIT
// checked/checked_start.c - what the first call sets up. See checked.h.
#include "checked/canary.h"
#include "checked/checked.h"
#include "heap/sample.h"
#include "options/options.h"
#include "os/os.h"

enum { CHECKED_SAMPLE_EVERY = 64 }; // unless the option sample says otherwise

struct hhi_lock hhi_checked_lock;
uint32_t hhi_checked_seed;

static _Atomic uint32_t checked_started; // [CK-1]
static uint64_t checked_random;          // state of the generator of placements; under the lock

static bool
checked_start_slow(void)
{
    if (!hhi_process_up())
        return false; // the next call tries again
    hhi_lock_enter(&hhi_checked_lock);
    // relaxed: written under the lock.
    bool first = hh_load_relaxed(&checked_started) == 0;
    if (first) {
        hhi_checked_seed = hhi_opt.seed != 0 ? hhi_opt.seed : (uint32_t)hhi_os_random() | 1;
        checked_random = hhi_checked_seed;
        hhi_canary_start(hhi_os_random());
        hhi_quarantine_start_locked(hhi_opt.quarantine_bytes);
        // order: release [CK-1] publishes the above.
        hh_store_release(&checked_started, 1);
    }
    hhi_lock_leave(&hhi_checked_lock);
    if (first)
        hhi_sample_start(hhi_opt.sample != 0 ? hhi_opt.sample : CHECKED_SAMPLE_EVERY);
    return true;
}

bool
hhi_checked_start(void)
{
    // order: acquire [CK-1] the canaries' secret, which a sampled block needs without the lock.
    return hh_likely(hh_load_acquire(&checked_started) != 0) || checked_start_slow();
}

// splitmix64.
uint32_t
hhi_checked_random_below_locked(uint32_t limit)
{
    uint64_t number = checked_random += 0x9E3779B97F4A7C15u;
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(((number >> 32) * limit) >> 32);
}
