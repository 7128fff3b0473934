// SPDX-License-Identifier: MIT
/*
 * sample.c - a sampled block's slot is described as of the block's life, of two frees one counts, and
 * a pool that is found is set up (SG-1, SG-2; heap/sample.h).
 *
 * STARTS: the pool is made while another thread asks for a slot.
 * Faults: RELAXED_STORES, RELAXED_LOADS, SPLIT_END (no compare-and-swap).
 */
#include "proof.h"
#include "proof_lock.h"

// The stack that an event notes, in words that lie at the end of a page.
static _Alignas(256) volatile uintptr_t proof_stack[32];
#define __builtin_frame_address(level) ((void *)&proof_stack[30])
#if defined(RELAXED_STORES)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOADS)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(SPLIT_END)
#undef hh_cas_strong_relaxed
#define hh_cas_strong_relaxed(p, expected, v)                                                      \
    (hh_load_acquire(p) == *(expected) && (hh_exchange_relaxed((p), (v)), true))
#endif
#define hhi_heap_judge proof_heap_judge
#define hhi_heap_id proof_heap_id
#define hhi_sample_catch_faults proof_catch_faults
#define hhi_sample_report_reset proof_report_reset
#define hhi_os_page_bytes proof_page_bytes
#define hhi_os_thread_id proof_thread_id
#define hhi_os_purge proof_purge
#define hhi_os_commit proof_commit
#define hhi_os_decommit proof_decommit
#define hhi_os_map_private proof_map_private
#define hhi_os_reserve proof_reserve
#define hhi_os_release proof_release
#define hhi_os_random proof_random
#include "heap/sample.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
#endif

static struct hhi_sample_slot slots[HHI_SAMPLE_SLOTS];
static struct hh_heap heap = {.id = 7};
static int page;              // contents of the pages
static _Atomic(void *) given; // the block, when it was allocated
static _Atomic uint32_t ends; // frees that counted
enum { OLD_CLASS = 4, CLASS = 2, SIZE_BYTES = 32, BASE = 1 << 20, PAGE_BYTES = 256 };

uint64_t
proof_heap_id(const struct hh_heap *asked)
{
    return asked->id;
}

hhi_refusal
proof_heap_judge(struct hh_heap *asked, const void *address, hh_block_info *info)
{
    (void)asked, (void)address, (void)info;
    return 0;
}

void
proof_catch_faults(void)
{
}

void
proof_report_reset(void)
{
}

size_t
proof_page_bytes(void)
{
    return PAGE_BYTES;
}

pid_t
proof_thread_id(void)
{
    return 1;
}

int
proof_purge(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
    return 0;
}

int
proof_commit(void *address, size_t size_bytes, bool executable)
{
    (void)address, (void)size_bytes, (void)executable;
    page = 1;
    return 0;
}

int
proof_decommit(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
    page = 0;
    return 0;
}

intptr_t
proof_map_private(size_t size_bytes)
{
    (void)size_bytes;
    return (intptr_t)slots;
}

intptr_t
proof_reserve(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
    return BASE;
}

int
proof_release(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
    return 0;
}

uint64_t
proof_random(void)
{
    return 0;
}

static void
first_slot_next(void)
{
    pool.first = 0;
    pool.queue[0] = 0;
    pool.queued = HHI_SAMPLE_SLOTS;
}

static void *
starter(void *arg)
{
    if (!hhi_sample_start(1))
        abort();
    return arg;
}

// Asks for a page of the first slot, which nobody has had.
static void *
asker(void *arg)
{
    if (hhi_sample_contains((void *)(uintptr_t)(BASE + PAGE_BYTES)))
        assert(pool.slots == slots && pool.queued == HHI_SAMPLE_SLOTS);
    return arg;
}

static void *
owner(void *arg)
{
    void *block = hhi_sample_take(&heap, CLASS);
    assert(block != NULL && page == 1);
    page = 2;
    // order: release: as a program hands a block over.
    hh_store_release(&given, block);
    return arg;
}

static void *
freer(void *arg)
{
    // order: acquire: as a program takes a block over.
    void *block = hh_load_acquire(&given);
    if (block != NULL && hhi_sample_free(&heap, block) == 0)
        hh_fetch_add_relaxed(&ends, 1);
    return arg;
}

static void *
describer(void *arg)
{
    hh_block_info info;
    info.heap = NULL;
    info.live = false;
    hhi_sample_describe((void *)(uintptr_t)(BASE + 2 * PAGE_BYTES - 1), &info);
    hhi_sample_describe((void *)(uintptr_t)(BASE + PAGE_BYTES), &info);
    if (info.live)
        assert(info.heap == &heap && info.size_bytes == SIZE_BYTES);
    return arg;
}

int
main(void)
{
#if STARTS
    (void)first_slot_next, (void)owner, (void)freer, (void)describer;
    PROOF_RUN(starter, asker);
#else
    (void)asker;
    starter(NULL);
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        // relaxed (both): no thread runs.
        hh_store_relaxed(&given, NULL);
        hh_store_relaxed(&ends, 0);
        // The slot has had a block of another size.
        first_slot_next();
        void *old = hhi_sample_take(&heap, OLD_CLASS);
        if (old == NULL || hhi_sample_free(&heap, old) != 0)
            abort();
        first_slot_next();
        PROOF_RUN(owner, freer, freer, describer);
        assert(hh_load_relaxed(&ends) <= 1);
        freer(NULL); // what came too early
        assert(hh_load_relaxed(&ends) == 1);
    }
#endif
    return 0;
}
