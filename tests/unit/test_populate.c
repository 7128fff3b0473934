// SPDX-License-Identifier: MIT
// tests/unit/test_populate.c - memory is put behind blocks that a growing heap makes ready.
#include <errno.h>

#include "heap/heap.h"
#include "os/os.h"
#include "region/run.h"
#include "slab/slab.h"
#include "support/core.h"

static struct hhi_os kernel;
static struct {
    uintptr_t from, to; // of the last call
    size_t bytes;
    unsigned calls;
    int result; // 0: as the kernel answers
} populated;

static int
populate_noted(void *address, size_t size_bytes)
{
    uintptr_t from = (uintptr_t)address;
    assert_int_equal(from % hhi_os_page_bytes(), 0);
    assert_int_equal(size_bytes % hhi_os_page_bytes(), 0);
    populated.from = from;
    populated.to = from + size_bytes;
    populated.bytes += size_bytes;
    populated.calls++;
    return populated.result != 0 ? populated.result : kernel.populate(address, size_bytes);
}

static int
hook(void **state)
{
    (void)state;
    kernel = hhi_os;
    hhi_os.populate = populate_noted;
    populated.bytes = populated.calls = 0;
    populated.result = 0;
    return 0;
}

static int
unhook(void **state)
{
    (void)state;
    hhi_os = kernel;
    return 0;
}

static void
slab_end(struct hhi_slab *slab)
{
    for (uint32_t index = 0; index < slab->init; index++)
        hh_store_relaxed(&hh_load_relaxed(&slab->links)[index], 0); // relaxed: the only thread
    hhi_slab_retire(slab);
}

/*
 * Make a slab ready step by step. What is populated lies in it, in one piece without a page twice, up to its
 * end; from its beginning if the class fills slabs, else from where several pages are sure to be used.
 */
static void
slab_check(unsigned class_index, bool fills)
{
    uint32_t clean_granules;
    struct hhi_slab *slab =
        hhi_slab_carve((struct hh_heap *)(uintptr_t)0x1000, class_index, 0,
                       &(struct hhi_tries){.ask = HHI_ASK_MORE}, &clean_granules);
    assert_non_null(slab);
    uintptr_t base = hhi_slab_base(slab), reached = 0;
    // relaxed (both): the only thread.
    uint32_t count = hh_load_relaxed(&slab->block_count);
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    while (slab->init < count) {
        unsigned calls = populated.calls;
        uint32_t first = hhi_slab_extend(slab, false);
        hhi_slab_populate(slab, first, fills);
        if (populated.calls == calls)
            continue;
        assert_int_equal(populated.calls, calls + 1);
        if (reached == 0)
            assert_true(fills ? populated.from == base
                              : populated.from >= base + HHI_POPULATE_FROM_BYTES &&
                                    populated.from <= base + HHI_POPULATE_FROM_BYTES * 2);
        else
            assert_int_equal(populated.from, reached);
        reached = populated.to;
        assert_true(reached >= base + slab->init * block_bytes);
        assert_true(reached <= base + HHI_GRANULE_BYTES);
    }
    assert_true(reached >= base + count * block_bytes);
    slab_end(slab);
}

static void
a_slab_is_populated_a_step_at_a_time(void **state)
{
    (void)state;
    for (unsigned class_index = 1; hhi_class_granules(class_index) == 1; class_index++) {
        slab_check(class_index, false);
        slab_check(class_index, true);
    }
}

static void
free_memory_is_clean(void)
{
    hhi_limbo_advance(true);
    hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
}

// A heap that grows is populated, but for the beginning of the first slab and what follows the last
// step; one that uses its memory again is not.
static void
growth_check(size_t block_bytes)
{
    enum { BLOCKS_BYTES = 4 << 20, MOST = BLOCKS_BYTES / 64 };
    static void *blocks[MOST];
    size_t count = BLOCKS_BYTES / block_bytes;
    struct hh_heap *heap = core_heap();
    free_memory_is_clean();
    populated.bytes = 0;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = core_alloc(heap, block_bytes);
        *(volatile char *)blocks[i] = 1;
    }
    assert_true(populated.bytes >= BLOCKS_BYTES - 4 * HHI_POPULATE_STEP_BYTES);
    assert_true(populated.bytes <= BLOCKS_BYTES + 2 * HHI_POPULATE_STEP_BYTES);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    populated.calls = 0;
    for (size_t i = 0; i < count; i++)
        blocks[i] = core_alloc(heap, block_bytes);
    assert_int_equal(populated.calls, 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hhi_heap_free(heap, blocks[i]), 0);
    hhi_heap_destroy(heap);
}

static void
a_heap_that_grows_is_populated_and_one_in_a_steady_state_is_not(void **state)
{
    (void)state;
    growth_check(64);
    growth_check(1008);
    growth_check(4096);
}

static void
a_few_blocks_of_a_class_populate_nothing(void **state)
{
    (void)state;
    for (size_t block_bytes = 16; block_bytes <= HHI_ONE_GRANULE_MAX_BYTES; block_bytes += 16) {
        struct hh_heap *heap = core_heap();
        free_memory_is_clean();
        for (size_t used = 0; used + block_bytes <= HHI_POPULATE_FROM_BYTES; used += block_bytes)
            core_alloc(heap, block_bytes);
        assert_int_equal(populated.calls, 0);
        hhi_heap_destroy(heap);
    }
}

// The last one: the kernel is not asked any more in this process.
static void
a_kernel_without_the_call_is_asked_once(void **state)
{
    (void)state;
    char *page = (char *)hhi_os_map_private(hhi_os_page_bytes());
    populated.result = -ENOMEM;
    assert_int_equal(hhi_os_populate(page, hhi_os_page_bytes()), -ENOMEM);
    assert_int_equal(hhi_os_populate(page, hhi_os_page_bytes()), -ENOMEM);
    assert_int_equal(populated.calls, 2);
    populated.result = -EINVAL;
    assert_int_equal(hhi_os_populate(page, hhi_os_page_bytes()), -EINVAL);
    assert_int_equal(hhi_os_populate(page, hhi_os_page_bytes()), -EINVAL);
    assert_int_equal(populated.calls, 3);
    hhi_os_release(page, hhi_os_page_bytes());
}

#define POPULATE_TEST(f) cmocka_unit_test_setup_teardown(f, hook, unhook)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        POPULATE_TEST(a_slab_is_populated_a_step_at_a_time),
        POPULATE_TEST(a_heap_that_grows_is_populated_and_one_in_a_steady_state_is_not),
        POPULATE_TEST(a_few_blocks_of_a_class_populate_nothing),
        POPULATE_TEST(a_kernel_without_the_call_is_asked_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
