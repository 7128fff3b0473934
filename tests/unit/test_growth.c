// SPDX-License-Identifier: MIT
// tests/unit/test_growth.c - a heap that grows gives back what is free inside its slabs.
#include "heap/growth.h"

#include <sys/mman.h>

#include "heap/heap.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "os/os.h"
#include "support/core.h"

enum {
    OLD_BLOCKS = 4000, // 8 MiB, less than what a thread shares
    OLD_BYTES = 2048,
    NEW_BLOCKS = 16000, // 8 MiB
    NEW_BYTES = 512,
    OLD_KEPT = 31, // one block of each slab
    NEW_KEPT = 127,
};

static struct hh_heap *heap;
static char *old_blocks[OLD_BLOCKS], *new_blocks[NEW_BLOCKS];
static int (*kernel_advise)(void *address, size_t size_bytes, int advice);
static size_t advised_bytes;

static int
advise_counted(void *address, size_t size_bytes, int advice)
{
    if (advice == MADV_DONTNEED)
        advised_bytes += size_bytes;
    return kernel_advise(address, size_bytes, advice);
}

static int
growth_begin(void **state)
{
    (void)state;
    hhi_trim(); // what tests before this one have left is clean
    heap = core_heap();
    kernel_advise = hhi_os.advise;
    hhi_os.advise = advise_counted;
    return 0;
}

static int
growth_end(void **state)
{
    (void)state;
    hhi_os.advise = kernel_advise;
    hhi_heap_destroy(heap);
    return 0;
}

// The blocks that are missing.
static void
blocks_fill(char **blocks, size_t count, size_t size_bytes)
{
    for (size_t i = 0; i < count; i++)
        if (blocks[i] == NULL) {
            blocks[i] = core_alloc(heap, size_bytes);
            core_fill(blocks[i], size_bytes, i);
        }
}

// All but every kept one; kept 0: all.
static void
blocks_free(char **blocks, size_t count, size_t size_bytes, size_t kept)
{
    for (size_t i = 0; i < count; i++)
        if (blocks[i] != NULL && (kept == 0 || i % kept != 0)) {
            assert_true(core_holds(blocks[i], size_bytes, i));
            assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
            blocks[i] = NULL;
        }
}

static void
old_fill(void)
{
    blocks_fill(old_blocks, OLD_BLOCKS, OLD_BYTES);
}

static void
old_free(size_t kept)
{
    blocks_free(old_blocks, OLD_BLOCKS, OLD_BYTES, kept);
}

static void
new_fill(void)
{
    blocks_fill(new_blocks, NEW_BLOCKS, NEW_BYTES);
}

static void
new_free(size_t kept)
{
    blocks_free(new_blocks, NEW_BLOCKS, NEW_BYTES, kept);
}

static void
what_is_free_in_slabs_goes_back_while_other_sizes_need_memory(void **state)
{
    (void)state;
    old_fill();
    old_free(OLD_KEPT);
    advised_bytes = 0;
    new_fill();
    // All but the pages of the kept blocks and of slabs that were in use at the time.
    assert_true(advised_bytes >= (size_t)OLD_BLOCKS * OLD_BYTES * 3 / 4);
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
    old_fill(); // what was given back can be used again
    new_free(0);
    old_free(0);
}

static void
a_heap_that_only_grows_gives_nothing_back(void **state)
{
    (void)state;
    advised_bytes = 0;
    old_fill();
    new_fill();
    assert_int_equal(advised_bytes, 0);
    new_free(0);
    old_free(0);
}

static void
a_slab_that_has_just_become_partly_free_is_left_alone_once(void **state)
{
    (void)state;
    old_fill();
    old_free(OLD_KEPT);
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    struct hhi_purge_budget budget = {SIZE_MAX, UINT32_MAX};
    // Slabs freed to a quarter were looked at by the event of that; a new one was not.
    struct hhi_slab *slab = cache->partial[hhi_class_of(OLD_BYTES)];
    assert_non_null(slab);
    hhi_slab_set_look(slab, HHI_LOOK_NEVER);
    hhi_cache_purge_stale(cache, &budget);
    assert_int_equal(hhi_slab_look(slab), HHI_LOOK_NEXT);
    assert_int_equal(hhi_slab_purged_bytes(slab), 0);
    hhi_cache_purge_stale(cache, &budget);
    assert_int_equal(hhi_slab_look(slab), HHI_LOOK_DONE);
    assert_true(hhi_slab_purged_bytes(slab) > 0);
    advised_bytes = 0;
    hhi_cache_purge_stale(cache, &budget);
    assert_int_equal(advised_bytes, 0);
    old_free(0);
}

static void
a_program_that_goes_to_and_fro_between_sizes_soon_pays_no_more(void **state)
{
    (void)state;
    enum { TURNS = 40, LAST_TURNS = 4 };
    for (int turn = 0; turn < TURNS; turn++) {
        if (turn == TURNS - LAST_TURNS)
            advised_bytes = 0;
        old_fill();
        old_free(OLD_KEPT);
        new_fill();
        new_free(NEW_KEPT);
    }
    assert_in_range(advised_bytes, 0, (size_t)LAST_TURNS << 20);
    new_free(0);
    old_free(0);
}

// Blocks of 1 to 4 MiB in the place of others: what is given back must not count as growth for ever.
static void
large_blocks_that_replace_others_soon_pay_no_more(void **state)
{
    (void)state;
    enum { BLOCKS = 8, REPLACED = 2000, LAST = 200 };
    static char *blocks[BLOCKS];
    uint64_t seed = 7;
    char *small = core_alloc(heap, 100); // so that the thread has a cache of this heap
    for (int turn = 0; turn < REPLACED; turn++) {
        if (turn == REPLACED - LAST)
            advised_bytes = 0;
        char **block = &blocks[core_random(&seed) % BLOCKS];
        if (*block != NULL)
            assert_int_equal(hhi_heap_free(heap, *block), 0);
        size_t size_bytes = ((size_t)1 << 20) + core_random(&seed) % ((size_t)3 << 20);
        *block = core_alloc(heap, size_bytes);
        for (size_t at = 0; at < size_bytes; at += 4096)
            (*block)[at] = 1;
    }
    // 316 MB if it did; some is clean for the first time even now.
    assert_in_range(advised_bytes, 0, (size_t)LAST << 16);
    for (int at = 0; at < BLOCKS; at++)
        assert_int_equal(hhi_heap_free(heap, blocks[at]), 0);
    assert_int_equal(hhi_heap_free(heap, small), 0);
}

#define GROWTH_TEST(f) cmocka_unit_test_setup_teardown(f, growth_begin, growth_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        GROWTH_TEST(what_is_free_in_slabs_goes_back_while_other_sizes_need_memory),
        GROWTH_TEST(a_heap_that_only_grows_gives_nothing_back),
        GROWTH_TEST(a_slab_that_has_just_become_partly_free_is_left_alone_once),
        GROWTH_TEST(large_blocks_that_replace_others_soon_pay_no_more),
        GROWTH_TEST(a_program_that_goes_to_and_fro_between_sizes_soon_pays_no_more),
    };
    hhi_opt.background = false; // no sweeper beside us
    return cmocka_run_group_tests(tests, NULL, NULL);
}
