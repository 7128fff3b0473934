// SPDX-License-Identifier: MIT
/*
 * grown.c - whoever sees that a cache has lists for more classes finds the lists (TC-4;
 * heap/thread_cache.h).
 *
 * A thread makes the lists of its cache larger, and is lost in a fork after it has said so. The child makes
 * them anew. That a fork copies what the thread has written in the order in which it did has no word in
 * C11: here the child is a thread that goes on when it sees the new limit.
 * Faults: RELAXED_LIMIT, RELAXED_LOOK.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_LIMIT)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#define hhi_meta_alloc proof_meta_alloc
#define hhi_kept_forget proof_kept_forget
#define hhi_inbox_forget_arrived proof_forget_arrived
#include "heap/guests.c"
#include "heap/thread_cache.c"

#include "heap/thread.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
size_t hhi_slab_limit_bytes;
const uint8_t hhi_class_steps[256]; // of larger blocks than these
struct hh_heap hhi_default_heap;
_Atomic uint32_t hhi_sample_every, hhi_sample_pool_made;
_Atomic uint64_t hhi_guard_epoch;
bool hhi_guard_asymmetric;
_Atomic size_t hhi_growth_bytes;
bool (*const hhi_process_up)(void) = NULL;
bool (*const hhi_process_watch_thread)(struct hhi_thread *thread) = NULL;
#endif

enum { FEW = 9, MORE = 17 }; // classes that there are lists for, before and after

static struct hhi_thread thread;
static struct hhi_cache cache;
static struct hh_heap heap;
static char lists[2][sizeof(struct hhi_thread)] __attribute__((aligned(64)));

void *
proof_meta_alloc(size_t size_bytes)
{
    return lists[size_bytes > (size_t)FEW * LISTS_BYTES_A_CLASS];
}

void
proof_kept_forget(struct hhi_cache *forgotten)
{
    (void)forgotten;
}

void
proof_forget_arrived(struct hhi_cache *forgotten)
{
    (void)forgotten;
}

static void *
lost(void *arg)
{
    if (!hhi_cache_grow(&cache, FEW))
        abort();
    return arg;
}

static void *
mender(void *arg)
{
    // relaxed: looked at once more by what is called.
    PROOF_WAIT(hh_load_relaxed(&cache.class_limit) == MORE);
    hhi_cache_mend_lists(&cache);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        // relaxed (all): no thread runs.
        hh_store_relaxed(&cache.class_limit, 0);
        hh_store_relaxed(&cache.thread, &thread);
        hh_store_relaxed(&cache.heap_id, 7 * HHI_HEAP_ID_STEP);
        thread.spare_lists[0] = thread.spare_lists[1] = NULL;
        cache.heap = &heap;
        heap.id = 7 * HHI_HEAP_ID_STEP;
        if (!hhi_cache_grow(&cache, 1))
            abort();
        PROOF_RUN(lost, mender);
        for (int each = 0; each < MORE; each++)
            assert(cache.bins[each].head == HHI_LINK_END && cache.partial[each] == NULL);
    }
    return 0;
}
