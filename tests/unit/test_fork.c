// SPDX-License-Identifier: MIT
// tests/unit/test_fork.c - the child of a process whose threads were all at work.
#include <pthread.h>
#include <string.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { CHURNERS = 3, HELD = 200, FORKS = 25 };

static struct {
    struct hh_heap *heap;
    _Atomic uint32_t stop;
    _Atomic uint32_t broken;
    // Blocks of a churner that stay as they are.
    void *held[CHURNERS][HELD];
    _Atomic uint32_t ready;
    unsigned numbers[CHURNERS];
} parent;

static void
churn_step(uint64_t *seed, void **blocks, size_t *sizes, int count)
{
    int at = (int)(core_random(seed) % (uint64_t)count);
    struct hh_heap *heap = at % 2 == 0 ? parent.heap : hhi_heap_default();
    if (blocks[at] != NULL) {
        bool holds = core_holds(blocks[at], sizes[at], (uintptr_t)blocks[at]);
        if (!holds || hhi_heap_free(heap, blocks[at]) != 0)
            // relaxed: read when the threads were joined.
            hh_store_relaxed(&parent.broken, 1);
        blocks[at] = NULL;
        return;
    }
    sizes[at] = core_random(seed) % (at % 50 == 0 ? 400000 : 3000);
    blocks[at] = hhi_heap_alloc(heap, sizes[at], HHI_LEVEL_TASK);
    if (blocks[at] != NULL)
        core_fill(blocks[at], sizes[at], (uintptr_t)blocks[at]);
}

static void *
churner_run(void *argument)
{
    unsigned number = *(unsigned *)argument;
    uint64_t seed = number;
    void *blocks[300] = {0};
    size_t sizes[300];
    for (int i = 0; i < HELD; i++) {
        parent.held[number][i] = core_alloc(parent.heap, (size_t)i * 40);
        core_fill(parent.held[number][i], (size_t)i * 40, (uint64_t)i);
    }
    // order: release, acquire [FT-1] the held blocks; a stop seen late does no harm.
    hh_fetch_add_acq_rel(&parent.ready, 1);
    while (hh_load_relaxed(&parent.stop) == 0)
        churn_step(&seed, blocks, sizes, 300);
    for (int i = 0; i < 300; i++)
        if (blocks[i] != NULL)
            hhi_heap_free(i % 2 == 0 ? parent.heap : hhi_heap_default(), blocks[i]);
    return NULL;
}

static void *
child_thread(void *argument)
{
    uint64_t seed = 77;
    void *blocks[100] = {0};
    size_t sizes[100];
    for (int step = 0; step < 2000; step++)
        churn_step(&seed, blocks, sizes, 100);
    for (int i = 0; i < 100; i++)
        if (blocks[i] != NULL &&
            hhi_heap_free(i % 2 == 0 ? parent.heap : hhi_heap_default(), blocks[i]) != 0)
            return NULL;
    return argument;
}

enum child_verdict {
    CHILD_GOOD,
    CHILD_BLOCK_CHANGED,
    CHILD_FREE_REFUSED,
    CHILD_FREED_TWICE,
    CHILD_THREAD_FAILED,
    CHILD_BROKEN,
};

// What the parent's threads held is freed by the child, checked; then threads of its own.
static int
child_run(void *argument)
{
    (void)argument;
    for (int number = 0; number < CHURNERS; number++) {
        for (int i = 0; i < HELD; i++) {
            void *block = parent.held[number][i];
            if (!core_holds(block, (size_t)i * 40, (uint64_t)i))
                return CHILD_BLOCK_CHANGED;
            if (hhi_heap_free(parent.heap, block) != 0)
                return CHILD_FREE_REFUSED;
            if (hhi_heap_free(parent.heap, block) == 0)
                return CHILD_FREED_TWICE;
        }
    }
    if (child_thread(&parent) == NULL)
        return CHILD_THREAD_FAILED;
    // The thread sanitizer does not support threads in the child of a threaded process.
    for (int round = 0; !HH_TSAN && round < CHURNERS + 1; round++) {
        pthread_t thread;
        void *result = NULL;
        if (pthread_create(&thread, NULL, child_thread, &parent) != 0 ||
            pthread_join(thread, &result) != 0 || result == NULL)
            return CHILD_THREAD_FAILED;
    }
    hhi_trim();
    hhi_cache_check(&hhi_self->main);
    hhi_run_check();
    // relaxed: the threads were joined.
    return hh_load_relaxed(&parent.broken) == 0 ? CHILD_GOOD : CHILD_BROKEN;
}

static void
children_of_a_busy_parent_have_a_working_heap(void **state)
{
    (void)state;
    pthread_t threads[CHURNERS];
    hhi_opt.decay_ms = 20; // the sweeper is at work as well
    parent.heap = core_heap();
    for (unsigned number = 0; number < CHURNERS; number++) {
        parent.numbers[number] = number;
        assert_int_equal(
            pthread_create(&threads[number], NULL, churner_run, &parent.numbers[number]), 0);
    }
    // order: acquire [FT-1] the held blocks.
    while (hh_load_acquire(&parent.ready) < CHURNERS)
        hhi_os_sleep_ms(1);
    unsigned forks = core_setting("HOSTHEAP_FORKS", HH_TSAN ? 10 : FORKS);
    for (unsigned fork_number = 0; fork_number < forks; fork_number++)
        assert_int_equal(core_in_child(child_run, NULL), CHILD_GOOD);
    // relaxed: a stop seen late does no harm.
    hh_store_relaxed(&parent.stop, 1);
    for (unsigned number = 0; number < CHURNERS; number++)
        assert_int_equal(pthread_join(threads[number], NULL), 0);
    // relaxed: the threads were joined.
    assert_int_equal(hh_load_relaxed(&parent.broken), 0);
    assert_int_equal(core_census(parent.heap), CHURNERS * HELD);
    hhi_heap_destroy(parent.heap);
}

static int
grandchild_run(void *argument)
{
    if (child_thread(argument) == NULL)
        return CHILD_THREAD_FAILED;
    return core_in_child(child_run, NULL);
}

static void
churner_once(void *argument)
{
    churner_run(argument);
}

static void
a_child_of_a_child_has_a_working_heap(void **state)
{
    (void)state;
    parent.heap = core_heap();
    // relaxed: no thread is at work.
    hh_store_relaxed(&parent.stop, 1);
    for (unsigned number = 0; number < CHURNERS; number++)
        core_in_thread(churner_once, &parent.numbers[number]);
    assert_int_equal(core_in_child(grandchild_run, &parent), CHILD_GOOD);
    hhi_heap_destroy(parent.heap);
}

// ---- Heaps that come and go ---------------------------------------------------------------------

static void *
heaps_come_and_go(void *argument)
{
    // relaxed: a stop seen late does no harm.
    while (hh_load_relaxed(&parent.stop) == 0) {
        struct hh_heap *heaps[4];
        for (int i = 0; i < 4; i++) {
            heaps[i] = core_heap();
            core_alloc(heaps[i], 100);
        }
        for (int i = 0; i < 4; i++)
            hhi_heap_destroy(heaps[i]);
    }
    return argument;
}

static int
child_makes_a_heap(void *argument)
{
    struct hh_heap *heap = core_heap();
    bool good = hhi_heap_free(heap, core_alloc(heap, 100)) == 0;
    hhi_heap_destroy(heap);
    return good ? 0 : argument == NULL;
}

static void
a_fork_meets_heaps_that_other_threads_make_and_end(void **state)
{
    (void)state;
    pthread_t thread;
    // relaxed: no other thread of the test exists.
    hh_store_relaxed(&parent.stop, 0);
    assert_int_equal(pthread_create(&thread, NULL, heaps_come_and_go, NULL), 0);
    for (int fork = 0; fork < FORKS; fork++)
        assert_int_equal(core_in_child(child_makes_a_heap, NULL), 0);
    // relaxed: as above.
    hh_store_relaxed(&parent.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_of_a_busy_parent_have_a_working_heap),
        cmocka_unit_test(a_child_of_a_child_has_a_working_heap),
        cmocka_unit_test(a_fork_meets_heaps_that_other_threads_make_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
