// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_core_edges.c - sizes, accounts and orders of events at the edge of what the core
 * can represent.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "heap/debug_blocks.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "region/window.h"
#include "support/core.h"

static void
a_block_is_not_resized_to_more_granules_than_a_number_holds(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    void *block = core_alloc(heap, (size_t)512 << 10);
    void *result = block;
    size_t size_bytes = ((size_t)1 << 48) + ((size_t)1 << 20); // 2^32 + 16 granules

    assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &result), 0);
    assert_null(result);
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.committed_bytes, (size_t)512 << 10);
}

static void
making_an_executable_heap_leaves_the_account_of_the_process_as_it_was(void **state)
{
    (void)state;
    struct hhi_budget_reading before, after;
    hhi_trim();
    hhi_limit_read(&before);
    for (int round = 0; round < 3; round++) {
        struct hh_heap *heap;
        assert_int_equal(hhi_heap_create(HHI_HEAP_EXECUTABLE, 0, 0, NULL, &heap), HH_OK);
        hhi_heap_destroy(heap);
        hhi_trim();
    }
    hhi_limit_read(&after);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
}

enum { ENDED_HEAPS = 300 };

static struct {
    _Atomic(struct hh_heap *) heap; // NULL: the next one may be made
} handover;

// Takes blocks of a heap, hands the heap over to be ended, and trims meanwhile.
static void *
trimmer_run(void *argument)
{
    for (int round = 0; round < ENDED_HEAPS; round++) {
        struct hh_heap *heap = core_heap();
        for (int block = 0; block < 12; block++)
            core_alloc(heap, 16 + (size_t)block * 900);
        // order: release [TT-2] all that was done to the heap.
        hh_store_release(&handover.heap, heap);
        // order: acquire [TT-3] the heap's end.
        while (hh_load_acquire(&handover.heap) != NULL)
            hhi_trim();
    }
    return argument;
}

static void
a_heap_may_be_ended_while_another_thread_trims(void **state)
{
    (void)state;
    pthread_t trimmer;
    assert_int_equal(pthread_create(&trimmer, NULL, trimmer_run, NULL), 0);
    for (int round = 0; round < ENDED_HEAPS; round++) {
        struct hh_heap *heap;
        // order: acquire [TT-2] all that was done to the heap.
        while ((heap = hh_load_acquire(&handover.heap)) == NULL)
            sched_yield();
        hhi_heap_destroy(heap);
        // order: release [TT-3] the heap's end.
        hh_store_release(&handover.heap, NULL);
    }
    assert_int_equal(pthread_join(trimmer, NULL), 0);
    hhi_run_check();
}

static void
a_run_goes_to_another_heap_only_after_the_sections_that_may_know_it(void **state)
{
    (void)state;
    static struct hhi_guard guard;
    struct hh_heap *first = core_heap(), *second = core_heap();
    core_alloc(second, 16); // the thread's cache exists
    hhi_guard_register(&guard);
    void *block = core_alloc(first, 8192);
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    hhi_guard_open(&guard);
    assert_int_equal(hhi_heap_free(first, block), 0);
    hhi_trim();
    assert_int_not_equal(hhi_limbo_granules(), 0);

    assert_ptr_not_equal(hhi_slab_find(core_alloc(second, 8192), &kind), slab);
    assert_ptr_equal(hhi_slab_find(core_alloc(first, 8192), &kind), slab);
    hhi_guard_close(&guard);
}

static void
heaps_that_come_and_go_leave_no_records_behind(void **state)
{
    (void)state;
    size_t before_bytes = 0;
    for (int round = 0; round < 60000; round++) {
        struct hh_heap *heap = core_heap();
        core_alloc(heap, 64);
        hhi_heap_destroy(heap);
        if (round == 1000)
            before_bytes = hhi_meta_bytes();
    }
    assert_int_equal(hhi_meta_bytes(), before_bytes);
}

static void
host_heaps_without_blocks_leave_nothing_behind(void **state)
{
    (void)state;
    size_t before_bytes = 0;
    struct hhi_run_stats before, after;
    for (int round = 0; round < 3000; round++) {
        struct hh_heap *heap;
        assert_int_equal(hhi_heap_create(HHI_HEAP_HOST, 0, 0, NULL, &heap), HH_OK);
        assert_int_equal(hhi_heap_free(heap, core_alloc(heap, 64)), 0);
        hhi_heap_orphan(heap);
        if (round == 100) {
            before_bytes = hhi_meta_bytes();
            hhi_run_read_stats(&before);
        }
    }
    hhi_run_read_stats(&after);
    assert_int_equal(hhi_meta_bytes(), before_bytes);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
}

static void
slabs_of_debug_blocks_go_back_when_they_are_empty(void **state)
{
    (void)state;
    static void *blocks[1000];
    hh_heap_stats stats;
    struct hh_heap *heap = core_heap();
    for (int round = 0; round < 3; round++) {
        for (int block = 0; block < 1000; block++) {
            blocks[block] = hhi_heap_alloc_debug(heap, 4000, HHI_LEVEL_TASK, "file.c", block);
            assert_non_null(blocks[block]);
        }
        for (int block = 0; block < 1000; block++)
            assert_int_equal(hhi_heap_free(heap, blocks[(block * 7) % 1000]), 0);
        hhi_heap_get_stats(heap, &stats);
        assert_int_equal(stats.slab_count, 1);
        assert_int_equal(hhi_heap_free(heap, blocks[999]), HH_BAD_NOT_LIVE);
    }
    hhi_heap_destroy(heap);
}

// A free that is late finds what it looked for, or the end of it.
static void
a_slab_of_debug_blocks_does_not_become_another_one_at_once(void **state)
{
    (void)state;
    enum { BYTES = 4000 };
    static void *blocks[1000];
    struct hh_heap *heap = core_heap();
    unsigned count = 0, kind;
    do
        blocks[count] = hhi_heap_alloc_debug(heap, BYTES, HHI_LEVEL_TASK, "file.c", 1);
    while (hhi_slab_find(blocks[count++], &kind) == hhi_slab_find(blocks[0], &kind));
    struct hhi_slab *slab = hhi_slab_find(blocks[count - 1], &kind);
    assert_int_equal(hhi_heap_free(heap, blocks[0]), 0); // the other one is kept for the next block
    assert_int_equal(hhi_heap_free(heap, blocks[count - 1]), 0);
    assert_ptr_not_equal(hhi_slab_find(core_alloc(heap, BYTES), &kind), slab);
    assert_int_equal(hhi_debug_free(heap, slab, 0), HH_BAD_NOT_LIVE);
    // Nor does a slab that a thread owns take part, if it comes there after all.
    struct hhi_slab *own = hhi_slab_find(core_alloc(heap, BYTES), &kind);
    assert_int_equal(hhi_debug_free(heap, own, 0), HH_BAD_NOT_LIVE);
    hhi_cache_check(hhi_cache_find(hhi_self, heap));
    hhi_heap_destroy(heap);
}

enum { LEFT_BLOCKS = 400, LEFT_BYTES = 1024 };

static struct {
    struct hh_heap *heap;
    void *blocks[LEFT_BLOCKS];
} left;

static void
left_fill(void *argument)
{
    (void)argument;
    for (int block = 0; block < LEFT_BLOCKS; block++)
        left.blocks[block] = core_alloc(left.heap, LEFT_BYTES);
}

static void
blocks_of_a_thread_that_ended_are_taken_again_after_they_are_freed(void **state)
{
    (void)state;
    hh_heap_stats stats;
    left.heap = core_heap();
    core_in_thread(left_fill, NULL);
    core_alloc(left.heap, LEFT_BYTES); // shares what the thread has left; its slabs are full
    for (int block = 0; block < LEFT_BLOCKS; block++)
        assert_int_equal(hhi_heap_free(left.heap, left.blocks[block]), 0);
    hhi_heap_get_stats(left.heap, &stats);
    size_t slabs = stats.slab_count;
    left_fill(NULL);
    hhi_heap_get_stats(left.heap, &stats);
    assert_in_range(stats.slab_count, 1, slabs);
}

static struct {
    struct hh_heap *heap;
    int (*advise)(void *address, size_t size_bytes, int advice);
    _Atomic uint32_t begun;
} slow_purge;

static int
advise_slowly(void *address, size_t size_bytes, int advice)
{
    // order: release [TT-4] the retained memory is taken out of the account's reach.
    hh_store_release(&slow_purge.begun, 1);
    hhi_os_sleep_ms(300);
    return slow_purge.advise(address, size_bytes, advice);
}

static void *
slow_trim(void *argument)
{
    hhi_trim();
    return argument;
}

static void
memory_that_is_being_given_back_is_waited_for_at_a_limit(void **state)
{
    (void)state;
    const size_t size_bytes = (size_t)8 << 20;
    struct hhi_budget_reading reading;
    pthread_t trimmer;
    slow_purge.heap = core_heap();
    hhi_trim();
    assert_int_equal(hhi_heap_free(slow_purge.heap, core_alloc(slow_purge.heap, size_bytes)), 0);
    hhi_limit_read(&reading);
    assert_int_equal(hhi_set_memory_limits(0, reading.committed_bytes), HH_OK);
    slow_purge.advise = hhi_os.advise;
    hhi_os.advise = advise_slowly;
    assert_int_equal(pthread_create(&trimmer, NULL, slow_trim, NULL), 0);
    // order: acquire [TT-4] the retained memory is in the other thread's hands.
    while (hh_load_acquire(&slow_purge.begun) == 0)
        sched_yield();

    void *block = hhi_heap_alloc(slow_purge.heap, size_bytes, HHI_LEVEL_TASK);
    assert_int_equal(pthread_join(trimmer, NULL), 0);
    hhi_os.advise = slow_purge.advise;
    assert_int_equal(hhi_set_memory_limits(0, 0), HH_OK);
    assert_non_null(block);
    hhi_heap_destroy(slow_purge.heap);
}

static struct {
    struct hh_heap *heap;
    void *block;
    hhi_refusal refusal;
} late;

static void
late_free(void *argument)
{
    (void)argument;
    late.refusal = hhi_heap_free(late.heap, late.block);
}

static intptr_t
map_refused(void *address, size_t size_bytes, int protection, int flags)
{
    (void)address, (void)size_bytes, (void)protection, (void)flags;
    return -ENOMEM;
}

static void
a_thread_without_memory_for_its_record_frees_blocks_of_others(void **state)
{
    (void)state;
    intptr_t (*map)(void *, size_t, int, int) = hhi_os.map;
    late.heap = core_heap();
    late.block = core_alloc(late.heap, 64);
    while (hhi_orphan_take() != NULL)
        continue; // no record is left to take over
    hhi_os.map = map_refused;
    while (hhi_meta_alloc(64) != NULL)
        continue;
    core_in_thread(late_free, NULL);
    hhi_os.map = map;
    assert_int_equal(late.refusal, 0);
    assert_int_equal(core_census(late.heap), 0);
    assert_int_equal(hhi_heap_free(late.heap, late.block), HH_BAD_NOT_LIVE);
}

// ---- Addresses that are left --------------------------------------------------------------------

#define MIB ((size_t)1 << 20)

static struct {
    struct hhi_os real;
    size_t left_bytes; // that the process may map
} addresses;

static intptr_t
map_what_is_left(void *address, size_t size_bytes, int protection, int flags)
{
    if (size_bytes > addresses.left_bytes) {
        // relaxed: a count.
        hh_fetch_add_relaxed(&hhi_os_calls, 1);
        return -ENOMEM;
    }
    intptr_t mapped = addresses.real.map(address, size_bytes, protection, flags);
    addresses.left_bytes -= mapped < 0 ? 0 : size_bytes;
    return mapped;
}

static int
unmap_to_what_is_left(void *address, size_t size_bytes)
{
    addresses.left_bytes += size_bytes;
    return addresses.real.unmap(address, size_bytes);
}

static void
addresses_limit(size_t left_bytes)
{
    addresses.real = hhi_os;
    addresses.left_bytes = left_bytes;
    hhi_os.map = map_what_is_left;
    hhi_os.unmap = unmap_to_what_is_left;
}

// A region of 120 MiB was given up, in whose place a smaller one would do.
static int
take_less_than_was_given_up(void *argument)
{
    (void)argument;
    struct hh_heap *heap = core_heap();
    void *rest = core_alloc(heap, 40 * MIB), *kept = core_alloc(heap, 70 * MIB);
    void *given_up = core_alloc(heap, 120 * MIB);
    hhi_heap_free(heap, kept);
    hhi_heap_free(heap, given_up);
    hhi_trim();
    addresses_limit(20 * MIB); // and 70 in a free region
    return rest != NULL && hhi_heap_alloc(heap, 75 * MIB, HHI_LEVEL_TASK) != NULL ? 0 : 1;
}

static int
grow_to_less_than_was_given_up(void *argument)
{
    (void)argument;
    struct hh_heap *heap = core_heap();
    void *grown = NULL, *growing = core_alloc(heap, 62 * MIB), *beside = core_alloc(heap, 66 * MIB);
    void *given_up = core_alloc(heap, 120 * MIB);
    hhi_heap_free(heap, beside);
    hhi_heap_free(heap, given_up);
    hhi_trim();
    beside = core_alloc(heap, 66 * MIB);
    addresses_limit(78 * MIB);
    return hhi_heap_realloc(heap, growing, 70 * MIB, HHI_LEVEL_TASK, &grown) == 0 && grown != NULL
               ? 0
               : 1;
}

static void
a_region_that_was_given_up_is_not_had_again_for_less(void **state)
{
    (void)state;
    assert_int_equal(core_in_child(take_less_than_was_given_up, NULL), 0);
    assert_int_equal(core_in_child(grow_to_less_than_was_given_up, NULL), 0);
}

static unsigned
blocks_take(struct hh_heap *heap, void **blocks, unsigned most)
{
    unsigned count = 0;
    while (count < most && (blocks[count] = hhi_heap_alloc(heap, 60 * MIB, HHI_LEVEL_TASK)) != NULL)
        count++;
    return count;
}

// Somebody's mapping stands where the tables would go on.
static int
use_again_what_has_tables(void *argument)
{
    enum { MOST = 4096, NEARLY = 8 };
    static void *blocks[MOST];
    (void)argument;
    struct hh_heap *heap = core_heap();
    hhi_opt.region_bytes = 64 * MIB;
    if (core_alloc(heap, 1000) == NULL || hhi_window.granules == hhi_window.most_granules)
        return 0; // they are all there
    char *end = hhi_window.records + (hhi_window.granules << HHI_RECORD_SHIFT);
    end = (char *)hh_align_up((uintptr_t)end, 64 * MIB);
    if (mmap(end, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != end)
        return 2;
    unsigned first = blocks_take(heap, blocks, MOST);
    for (unsigned i = 0; i < first; i++)
        hhi_heap_free(heap, blocks[i]);
    hhi_trim();
    unsigned again = blocks_take(heap, blocks, MOST);
    return first > NEARLY && again + NEARLY >= first ? 0 : 1;
}

static void
regions_that_have_tables_are_used_though_these_can_not_grow(void **state)
{
    (void)state;
    assert_int_equal(core_in_child(use_again_what_has_tables, NULL), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_not_resized_to_more_granules_than_a_number_holds),
        cmocka_unit_test(making_an_executable_heap_leaves_the_account_of_the_process_as_it_was),
        cmocka_unit_test(a_heap_may_be_ended_while_another_thread_trims),
        cmocka_unit_test(a_run_goes_to_another_heap_only_after_the_sections_that_may_know_it),
        cmocka_unit_test(heaps_that_come_and_go_leave_no_records_behind),
        cmocka_unit_test(host_heaps_without_blocks_leave_nothing_behind),
        cmocka_unit_test(slabs_of_debug_blocks_go_back_when_they_are_empty),
        cmocka_unit_test(a_slab_of_debug_blocks_does_not_become_another_one_at_once),
        cmocka_unit_test(blocks_of_a_thread_that_ended_are_taken_again_after_they_are_freed),
        cmocka_unit_test(memory_that_is_being_given_back_is_waited_for_at_a_limit),
        cmocka_unit_test(a_region_that_was_given_up_is_not_had_again_for_less),
        cmocka_unit_test(regions_that_have_tables_are_used_though_these_can_not_grow),
        cmocka_unit_test(a_thread_without_memory_for_its_record_frees_blocks_of_others),
    };
    hhi_opt.decay_ms = HHI_DECAY_OFF; // nobody purges but the tests
    return cmocka_run_group_tests(tests, NULL, NULL);
}
