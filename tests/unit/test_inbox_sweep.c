// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_inbox_sweep.c - the sweeper and an owner that collects at the same time.
 *
 * The owner is stopped inside of its collecting: the page of the slab's links is made unreadable,
 * and the handler of the fault waits. Meanwhile another thread frees a block of the slab and runs a
 * full sweep. A sweep that would give pages of the slab back is stopped in its call to the kernel
 * until the owner has gone on, taken the block and written to it.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/os.h"
#include "support/core.h"

enum { BLOCK_BYTES = 4096, BLOCKS = 16 };

enum stage { OWNER_RUNS, OWNER_STOPPED, OWNER_MAY_GO, OWNER_WROTE };

static struct {
    _Atomic uint32_t stage;
    struct hh_heap *heap;
    struct hhi_slab *slab;
    void *links_page;
    char *blocks[BLOCKS];
    int (*advise)(void *address, size_t size_bytes, int advice);
} race;

static void
stage_await(enum stage stage)
{
    // order: acquire [TT-1] what the other thread did before it changed the stage.
    while (hh_load_acquire(&race.stage) < (uint32_t)stage)
        sched_yield();
}

static void
stage_set(enum stage stage)
{
    // order: release [TT-1] what this thread did before.
    hh_store_release(&race.stage, stage);
}

// The owner has touched the links: it is inside of hhi_slab_collect.
static void
owner_faulted(int signal_number)
{
    (void)signal_number;
    mprotect(race.links_page, hhi_os_page_bytes(), PROT_READ | PROT_WRITE);
    stage_set(OWNER_STOPPED);
    stage_await(OWNER_MAY_GO);
}

static int
advise_late(void *address, size_t size_bytes, int advice)
{
    if ((uintptr_t)address - hhi_slab_base(race.slab) < HHI_GRANULE_BYTES) {
        stage_set(OWNER_MAY_GO);
        stage_await(OWNER_WROTE);
    }
    return race.advise(address, size_bytes, advice);
}

static void
blocks_free_first(void *argument)
{
    (void)argument;
    for (int block = 0; block < 4; block++)
        assert_int_equal(hhi_heap_free(race.heap, race.blocks[block]), 0);
}

static void *
other_run(void *argument)
{
    stage_await(OWNER_STOPPED);
    bool freed = true;
    for (int block = 4; block < 12; block++)
        freed = hhi_heap_free(race.heap, race.blocks[block]) == 0 && freed;
    hhi_trim();
    // order: acquire, release [TT-1] as stage_await and stage_set.
    if (hh_load_acquire(&race.stage) < OWNER_MAY_GO)
        stage_set(OWNER_MAY_GO);
    return freed ? argument : NULL;
}

static void
slab_prepare(void)
{
    core_alloc(race.heap, 16); // the thread's cache exists
    // The links get a page of their own.
    assert_non_null(hhi_meta_alloc(2 * hhi_os_page_bytes()));
    for (int block = 0; block < BLOCKS; block++)
        race.blocks[block] = core_alloc(race.heap, BLOCK_BYTES);
    assert_non_null(hhi_meta_alloc(2 * hhi_os_page_bytes()));
    unsigned kind;
    race.slab = hhi_slab_find(race.blocks[0], &kind);
    for (int block = 1; block < BLOCKS; block++)
        assert_ptr_equal(hhi_slab_find(race.blocks[block], &kind), race.slab);
    // relaxed: fixed while carved.
    uintptr_t links = (uintptr_t)hh_load_relaxed(&race.slab->links);
    race.links_page = (void *)(links & ~(uintptr_t)(hhi_os_page_bytes() - 1));
}

static void
a_block_collected_during_a_sweep_keeps_its_contents(void **state)
{
    (void)state;
    pthread_t other;
    void *result;
    hhi_opt.decay_ms = HHI_DECAY_OFF; // no sweeper but the one below
    race.heap = core_heap();
    slab_prepare();
    struct hhi_cache *cache = hhi_cache_find(hhi_self, race.heap);
    core_in_thread(blocks_free_first, NULL);
    struct sigaction action = {.sa_handler = owner_faulted};
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    race.advise = hhi_os.advise;
    hhi_os.advise = advise_late;
    assert_int_equal(pthread_create(&other, NULL, other_run, &race), 0);

    assert_int_equal(mprotect(race.links_page, hhi_os_page_bytes(), PROT_NONE), 0);
    hhi_cache_drain(cache);
    // relaxed: only whether the owner was stopped at all.
    assert_int_not_equal(hh_load_relaxed(&race.stage), OWNER_RUNS);
    char *taken[12] = {0};
    for (int block = 0; block < 12; block++) {
        taken[block] = core_alloc(race.heap, BLOCK_BYTES);
        core_fill(taken[block], BLOCK_BYTES, (uintptr_t)taken[block]);
    }
    stage_set(OWNER_WROTE);
    assert_int_equal(pthread_join(other, &result), 0);
    assert_ptr_equal(result, &race);
    hhi_os.advise = race.advise;
    for (int block = 0; block < 12; block++)
        assert_true(core_holds(taken[block], BLOCK_BYTES, (uintptr_t)taken[block]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_collected_during_a_sweep_keeps_its_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
