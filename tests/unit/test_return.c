// SPDX-License-Identifier: MIT
// tests/unit/test_return.c - memory goes back to the system: by decay, at once, on demand, or never.
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum {
    BLOCKS = 4000,
    SMALL_BYTES = 2000,
    LARGES = 8,
    LARGE_BYTES = 4 << 20,
    LEFT_BYTES = 100000,
    OWN_BLOCKS = 1,
};

static struct {
    struct hh_heap *heap;
    void *small[BLOCKS], *large[LARGES];
} held;

static int
heap_make(void **state)
{
    (void)state;
    hhi_trim();
    held.heap = core_heap();
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_heap_destroy(held.heap);
    hhi_run_check();
    return 0;
}

static void
hold_much(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++)
        core_fill(held.small[i] = core_alloc(held.heap, SMALL_BYTES), SMALL_BYTES, 1);
    for (int i = 0; i < LARGES; i++)
        core_fill(held.large[i] = core_alloc(held.heap, LARGE_BYTES), LARGE_BYTES, 1);
}

static void
free_all(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++)
        assert_int_equal(hhi_heap_free(held.heap, held.small[i]), 0);
    for (int i = 0; i < LARGES; i++)
        assert_int_equal(hhi_heap_free(held.heap, held.large[i]), 0);
}

static size_t
retained_bytes(void)
{
    hh_stats stats;
    hhi_get_stats(&stats);
    return stats.retained_bytes;
}

// What the heap and the process hold that no block needs.
static bool
little_is_retained(void *argument)
{
    hh_heap_stats stats;
    hhi_heap_get_stats(held.heap, &stats);
    return retained_bytes() == 0 && stats.committed_bytes <= *(size_t *)argument;
}

#if !HH_TSAN && defined(__x86_64__) // elsewhere libc maps its stack

static struct hhi_os kernel;

// Whatever the sweeper's stack is, blocks are mapped in other ways.
static intptr_t
private_maps_refused(void *address, size_t size_bytes, int protection, int flags)
{
    bool accessible = protection != 0 && address == NULL;
    return accessible ? -ENOMEM : kernel.map(address, size_bytes, protection, flags);
}

static bool
sweeper_comes(void *argument)
{
    (void)argument;
    hold_much(NULL);
    free_all(NULL);
    return hhi_sweep_comes();
}

static void
a_sweeper_that_could_not_be_started_is_tried_again(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 100;
    hhi_opt.background = true;
    hold_much(NULL); // with the records it needs
    kernel = hhi_os;
    hhi_os.map = private_maps_refused;
    free_all(NULL);
    hhi_os = kernel;
    assert_false(hhi_sweep_comes());
    assert_true(core_wait_for(sweeper_comes, NULL));
}

#endif

// From here on the sweeper may run, and the options stay as they are.
static void
an_idle_process_gives_memory_back_by_itself(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 100;
    hhi_opt.background = true;
    hold_much(NULL);
    free_all(NULL);
    assert_true(retained_bytes() > 0 || little_is_retained(&(size_t){1 << 20}));
    assert_true(core_wait_for(little_is_retained, &(size_t){1 << 20}));
}

static void
memory_of_a_thread_that_ended_goes_back_by_itself(void **state)
{
    (void)state;
    core_in_thread(hold_much, NULL);
    core_in_thread(free_all, NULL);
    assert_true(core_wait_for(little_is_retained, &(size_t){0}));
}

static void
without_decay_nothing_goes_back_until_it_is_asked_for(void **state)
{
    (void)state;
    hhi_opt.decay_ms = HHI_DECAY_OFF;
    hold_much(NULL);
    struct hhi_run_stats before, after;
    hhi_run_read_stats(&before);
    free_all(NULL);
    hhi_os_sleep_ms(300);
    hhi_run_read_stats(&after);
    assert_int_equal(after.purged_bytes, before.purged_bytes);
    assert_true(retained_bytes() >= (size_t)LARGES * LARGE_BYTES);
    size_t given_bytes = hhi_trim();
    assert_true(given_bytes >= (size_t)LARGES * LARGE_BYTES);
    assert_true(little_is_retained(&(size_t){0}));
}

// In a process of its own: the sweeper may run from here on, and the options stay as they are.
static int
decay_zero_run(void *argument)
{
    (void)argument;
    hhi_opt.decay_ms = 0;
    hold_much(NULL);
    for (int i = 0; i < LARGES; i++)
        if (hhi_heap_free(held.heap, held.large[i]) != 0 || retained_bytes() != 0)
            return 1;
    for (int i = 0; i < BLOCKS; i++)
        if (hhi_heap_free(held.heap, held.small[i]) != 0)
            return 2;
    return retained_bytes() <= (size_t)2 << 20 ? 0 : 3;
}

static void
with_a_decay_of_zero_memory_goes_back_at_once(void **state)
{
    (void)state;
    assert_int_equal(core_in_child(decay_zero_run, NULL), 0);
}

static void
leave_an_empty_slab_and_another(void *argument)
{
    void *block = core_alloc(held.heap, LEFT_BYTES);
    assert_int_equal(hhi_heap_free(held.heap, block), 0);
    *(void **)argument = core_alloc(held.heap, SMALL_BYTES);
}

// As above. The other slab is taken over from the thread that ended; the empty one goes back.
static int
decay_zero_adopt(void *argument)
{
    (void)argument;
    void *left, *block;
    hhi_opt.decay_ms = 0;
    hhi_opt.background = false;
    core_in_thread(leave_an_empty_slab_and_another, &left);
    for (int i = 0; i < OWN_BLOCKS; i++) // until blocks of the other slab come
        block = core_alloc(held.heap, SMALL_BYTES);
    if (((uintptr_t)block ^ (uintptr_t)left) >> HHI_GRANULE_SHIFT != 0)
        return 1;
    return hhi_limbo_granules() == 0 && retained_bytes() == 0 ? 0 : 2;
}

static void
with_a_decay_of_zero_what_an_ended_thread_left_goes_back_when_it_is_found(void **state)
{
    (void)state;
    assert_int_equal(core_in_child(decay_zero_adopt, NULL), 0);
}

// Every second block stays: the pages of the others go back, and the blocks keep their contents.
static void
free_pages_inside_of_slabs_go_back(void **state)
{
    (void)state;
    enum { PAGE_BLOCKS = 500, BYTES = 8192 };
    void *blocks[PAGE_BLOCKS];
    hhi_opt.decay_ms = HHI_DECAY_OFF;
    for (int i = 0; i < PAGE_BLOCKS; i++)
        core_fill(blocks[i] = core_alloc(held.heap, BYTES), BYTES, (uint64_t)i);
    for (int i = 0; i < PAGE_BLOCKS; i += 2)
        assert_int_equal(hhi_heap_free(held.heap, blocks[i]), 0);
    assert_true(hhi_trim() >= (size_t)PAGE_BLOCKS / 2 * BYTES * 3 / 4);
    for (int i = 1; i < PAGE_BLOCKS; i += 2)
        assert_true(core_holds(blocks[i], BYTES, (uint64_t)i));
    for (int i = 0; i < PAGE_BLOCKS; i += 2) {
        blocks[i] = hhi_heap_alloc_zeroed(held.heap, BYTES, HHI_LEVEL_TASK);
        assert_true(core_is_zero(blocks[i], BYTES));
        core_fill(blocks[i], BYTES, (uint64_t)i);
    }
    for (int i = 0; i < PAGE_BLOCKS; i++) {
        assert_true(core_holds(blocks[i], BYTES, (uint64_t)i));
        assert_int_equal(hhi_heap_free(held.heap, blocks[i]), 0);
    }
}

static void
without_a_helper_thread_busy_threads_give_memory_back(void **state)
{
    (void)state;
    hhi_opt.decay_ms = 50;
    hhi_opt.background = false;
    hold_much(NULL);
    free_all(NULL);
    uint64_t deadline_ms = core_now_ms() + 20000;
    while (retained_bytes() > (size_t)4 << 20 && core_now_ms() < deadline_ms) {
        // Slow events: slabs carved and retired.
        struct hh_heap *heap = core_heap();
        for (int i = 0; i < 10; i++)
            core_alloc(heap, 300000);
        hhi_heap_destroy(heap);
        hhi_os_sleep_ms(1);
    }
    assert_true(retained_bytes() <= (size_t)4 << 20);
}

#define RETURN_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RETURN_TEST(without_decay_nothing_goes_back_until_it_is_asked_for),
        RETURN_TEST(with_a_decay_of_zero_memory_goes_back_at_once),
        RETURN_TEST(with_a_decay_of_zero_what_an_ended_thread_left_goes_back_when_it_is_found),
        RETURN_TEST(free_pages_inside_of_slabs_go_back),
        RETURN_TEST(without_a_helper_thread_busy_threads_give_memory_back),
#if !HH_TSAN && defined(__x86_64__)
        RETURN_TEST(a_sweeper_that_could_not_be_started_is_tried_again),
#endif
        RETURN_TEST(an_idle_process_gives_memory_back_by_itself),
        RETURN_TEST(memory_of_a_thread_that_ended_goes_back_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
