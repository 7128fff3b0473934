// SPDX-License-Identifier: MIT
/*
 * tests/stress/stress_double_free.c - several threads free the same blocks at once.
 *
 * In the exact part nothing is allocated while they race. Of threads that do not own the blocks one
 * succeeds for each of them; if the owner races as well, at least one, since its own frees are not
 * worth a locked instruction (contract FR-5). Nothing may break either way.
 * In the wild part threads free what others have long freed and allocated again; whose free counts
 * is then nobody's to say, but no block may be handed out twice and no record may break.
 *
 * HOSTHEAP_STRESS_SECONDS, HOSTHEAP_STRESS_THREADS
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { THREADS_MAX = 32, BLOCKS = 2000, WILD_SLOTS = 256 };

static const size_t sizes[] = {16, 48, 64, 500, 1024, 3000, 9000, 40000, 270000, 900000};

static struct {
    struct hh_heap *heap;
    unsigned threads;
    bool owner_races;
    pthread_barrier_t start;
    void *blocks[BLOCKS];
    unsigned count;
    _Atomic uint64_t freed;
    _Atomic(void *) slots[WILD_SLOTS];
    _Atomic uint32_t stop;
} race;

static void *
racer_run(void *argument)
{
    unsigned number = *(unsigned *)argument;
    uint64_t freed = 0;
    pthread_barrier_wait(&race.start);
    for (unsigned i = 0; i < race.count; i++) {
        // Half of the threads from the other end: they meet all over.
        void *block = race.blocks[number % 2 == 0 ? i : race.count - 1 - i];
        freed += hhi_heap_free(race.heap, block) == 0;
    }
    // relaxed: read after the threads were joined.
    hh_fetch_add_relaxed(&race.freed, freed);
    return NULL;
}

static void
threads_run(void *(*run)(void *), unsigned count)
{
    static unsigned numbers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    for (unsigned thread = 0; thread < count; thread++) {
        numbers[thread] = thread;
        assert_int_equal(pthread_create(&threads[thread], NULL, run, &numbers[thread]), 0);
    }
    if (run != racer_run) {
        for (unsigned tick = 0; tick < core_setting("HOSTHEAP_STRESS_SECONDS", 1) * 10; tick++)
            hhi_os_sleep_ms(100);
        // relaxed: a stop seen late does no harm.
        hh_store_relaxed(&race.stop, 1);
    } else {
        if (race.owner_races)
            racer_run(&(unsigned){count});
    }
    for (unsigned thread = 0; thread < count; thread++)
        assert_int_equal(pthread_join(threads[thread], NULL), 0);
}

static void
races_run(bool owner_races)
{
    race.owner_races = owner_races;
    uint64_t deadline_ms = core_now_ms() + core_setting("HOSTHEAP_STRESS_SECONDS", 1) * 1000;
    unsigned round = 0;
    do {
        race.count = sizes[round % COUNT_OF(sizes)] > 100000 ? 50 : BLOCKS;
        for (unsigned i = 0; i < race.count; i++)
            race.blocks[i] = core_alloc(race.heap, sizes[round % COUNT_OF(sizes)]);
        // relaxed (both): no thread runs.
        hh_store_relaxed(&race.freed, 0);
        assert_int_equal(pthread_barrier_init(&race.start, NULL, race.threads + owner_races), 0);
        threads_run(racer_run, race.threads);
        pthread_barrier_destroy(&race.start);
        assert_in_range(hh_load_relaxed(&race.freed), race.count,
                        owner_races ? 2 * race.count : race.count);
        assert_int_equal(core_census(race.heap), 0);
        hhi_cache_check(hhi_cache_find(hhi_self, race.heap));
        round++;
    } while (core_now_ms() < deadline_ms || round < COUNT_OF(sizes));
    hhi_run_check();
}

static void
of_racing_frees_by_threads_that_do_not_own_the_block_one_succeeds(void **state)
{
    (void)state;
    races_run(false);
}

static void
racing_frees_of_the_owner_and_others_break_nothing(void **state)
{
    (void)state;
    races_run(true);
}

// Frees blocks that may be freed already and leaves them in the slots.
static void *
wild_run(void *argument)
{
    uint64_t seed = *(unsigned *)argument;
    // relaxed (all): addresses only, nobody looks at the contents.
    while (hh_load_relaxed(&race.stop) == 0) {
        _Atomic(void *) *slot = &race.slots[core_random(&seed) % WILD_SLOTS];
        size_t size_bytes = sizes[core_random(&seed) % COUNT_OF(sizes)];
        void *block = hh_load_relaxed(slot);
        if (block != NULL)
            hhi_heap_free(race.heap, block);
        if (core_random(&seed) % 2 == 0)
            hh_store_relaxed(slot, hhi_heap_alloc(race.heap, size_bytes, HHI_LEVEL_TASK));
        if (core_random(&seed) % 4096 == 0)
            hhi_trim();
    }
    return NULL;
}

static int
compare_addresses(const void *left, const void *right)
{
    uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
    return a < b ? -1 : a > b;
}

static void
wild_frees_break_nothing(void **state)
{
    (void)state;
    static uintptr_t addresses[BLOCKS];
    threads_run(wild_run, race.threads);
    core_census(race.heap);
    hhi_trim();
    hhi_run_check();
    // All that is handed out from now on is apart.
    for (size_t i = 0; i < COUNT_OF(sizes) - 2; i++) {
        for (int block = 0; block < BLOCKS; block++)
            addresses[block] = (uintptr_t)core_alloc(race.heap, sizes[i]);
        qsort(addresses, BLOCKS, sizeof addresses[0], compare_addresses);
        for (int block = 1; block < BLOCKS; block++)
            assert_true(addresses[block] - addresses[block - 1] >= sizes[i]);
        for (int block = 0; block < BLOCKS; block++)
            assert_int_equal(hhi_heap_free(race.heap, (void *)addresses[block]), 0);
    }
    core_census(race.heap);
}

static int
heap_make(void **state)
{
    (void)state;
    race.heap = core_heap();
    race.threads = core_setting("HOSTHEAP_STRESS_THREADS", 3);
    if (race.threads > THREADS_MAX)
        race.threads = THREADS_MAX;
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_heap_destroy(race.heap);
    hhi_run_check();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            of_racing_frees_by_threads_that_do_not_own_the_block_one_succeeds, heap_make, heap_end),
        cmocka_unit_test_setup_teardown(racing_frees_of_the_owner_and_others_break_nothing,
                                        heap_make, heap_end),
        cmocka_unit_test_setup_teardown(wild_frees_break_nothing, heap_make, heap_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
