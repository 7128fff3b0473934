// SPDX-License-Identifier: MIT
/*
 * tests/stress/stress_swap.c - threads hand blocks to each other through shared slots.
 *
 * Every block carries its size and a pattern that is checked by whoever frees it, mostly not the
 * thread that allocated it. Workers end and are replaced all the time; a thread of its own gives
 * memory back meanwhile. At the end the walk, the statistics and the shadow count must agree.
 *
 * HOSTHEAP_STRESS_SECONDS, HOSTHEAP_STRESS_THREADS, HOSTHEAP_STRESS_SEED
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { SLOTS = 1024, HEAPS = 3, THREADS_MAX = 64, STEPS_OF_A_WORKER = 20000 };

struct piece {
    size_t size_bytes;
    uint32_t heap;
    uint32_t unused;
};

static struct {
    struct hh_heap *heaps[HEAPS];
    _Atomic(struct piece *) slots[SLOTS];
    _Atomic uint64_t allocated[HEAPS], freed[HEAPS];
    _Atomic uint32_t stop;
    _Atomic uint32_t broken; // a pattern was not there, or a free was refused
    _Atomic uint64_t seed;
} swap;

static size_t
random_size(uint64_t *seed)
{
    uint64_t kind = core_random(seed) % 100;
    if (kind < 60)
        return 16 + core_random(seed) % 500;
    if (kind < 80)
        return 16 + core_random(seed) % 4096;
    if (kind < 97)
        return 4096 + core_random(seed) % 16384;
    if (kind < 99)
        return 4096 + core_random(seed) % (200 * 1024);
    return 300 * 1024 + core_random(seed) % (1 << 20);
}

static uint64_t
piece_tag(const struct piece *piece)
{
    return (uintptr_t)piece * 31 + piece->size_bytes;
}

static struct piece *
piece_make(uint64_t *seed)
{
    size_t size_bytes = random_size(seed);
    uint32_t heap = (uint32_t)(core_random(seed) % HEAPS);
    bool zeroed = core_random(seed) % 8 == 0;
    struct piece *piece = zeroed
                              ? hhi_heap_alloc_zeroed(swap.heaps[heap], size_bytes, HHI_LEVEL_TASK)
                              : hhi_heap_alloc(swap.heaps[heap], size_bytes, HHI_LEVEL_TASK);
    if (piece == NULL)
        return NULL;
    if (zeroed && !core_is_zero(piece, size_bytes))
        // relaxed: read after the threads were joined.
        hh_store_relaxed(&swap.broken, 1);
    piece->size_bytes = size_bytes;
    piece->heap = heap;
    core_fill(piece + 1, size_bytes - sizeof *piece, piece_tag(piece));
    // relaxed: read after the threads were joined.
    hh_fetch_add_relaxed(&swap.allocated[heap], 1);
    return piece;
}

static void
piece_end(struct piece *piece)
{
    uint32_t heap = piece->heap;
    bool holds =
        heap < HEAPS && core_holds(piece + 1, piece->size_bytes - sizeof *piece, piece_tag(piece));
    if (!holds || hhi_heap_free(swap.heaps[heap], piece) != 0) {
        // relaxed: read after the threads were joined.
        hh_store_relaxed(&swap.broken, 2);
        return;
    }
    // relaxed: read after the threads were joined.
    hh_fetch_add_relaxed(&swap.freed[heap], 1);
}

// Shrink or grow a block nobody else knows.
static struct piece *
piece_resize(struct piece *piece, uint64_t *seed)
{
    size_t size_bytes = random_size(seed), old_bytes = piece->size_bytes;
    uint64_t tag = piece_tag(piece);
    void *moved;
    if (hhi_heap_realloc(swap.heaps[piece->heap], piece, size_bytes, HHI_LEVEL_TASK, &moved) != 0)
        // relaxed: read after the threads were joined.
        hh_store_relaxed(&swap.broken, 3);
    if (moved == NULL)
        return piece;
    piece = moved;
    if (size_bytes >= old_bytes && !core_holds(piece + 1, old_bytes - sizeof *piece, tag))
        // relaxed: read after the threads were joined.
        hh_store_relaxed(&swap.broken, 4);
    piece->size_bytes = size_bytes;
    core_fill(piece + 1, size_bytes - sizeof *piece, piece_tag(piece));
    return piece;
}

static void *
worker_run(void *argument)
{
    (void)argument;
    // relaxed (all): a number of its own for each worker; a stop seen late does no harm.
    uint64_t seed = hh_fetch_add_relaxed(&swap.seed, 1) * 7919;
    for (int step = 0; step < STEPS_OF_A_WORKER && hh_load_relaxed(&swap.stop) == 0; step++) {
        struct piece *piece = piece_make(&seed);
        if (piece != NULL && core_random(&seed) % 16 == 0)
            piece = piece_resize(piece, &seed);
        // order: acq_rel: hands one block's contents over, takes another's.
        piece = hh_exchange_acq_rel(&swap.slots[core_random(&seed) % SLOTS], piece);
        if (piece != NULL)
            piece_end(piece);
    }
    return NULL;
}

// Keeps one worker alive, a new thread each time.
static void *
keeper_run(void *argument)
{
    // relaxed: a stop seen late does no harm.
    while (hh_load_relaxed(&swap.stop) == 0) {
        pthread_t worker;
        if (pthread_create(&worker, NULL, worker_run, argument) == 0)
            pthread_join(worker, NULL);
    }
    return NULL;
}

static void *
trimmer_run(void *argument)
{
    // relaxed: a stop seen late does no harm.
    while (hh_load_relaxed(&swap.stop) == 0) {
        hhi_trim();
        hhi_os_sleep_ms(1);
    }
    return argument;
}

static void
blocks_swapped_between_threads_keep_their_contents(void **state)
{
    (void)state;
    unsigned seconds = core_setting("HOSTHEAP_STRESS_SECONDS", 2);
    unsigned threads = core_setting("HOSTHEAP_STRESS_THREADS", 4);
    pthread_t ids[THREADS_MAX + 1];
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    // relaxed: before the threads start.
    hh_store_relaxed(&swap.seed, core_setting("HOSTHEAP_STRESS_SEED", 1));
    hhi_opt.decay_ms = 40;
    for (int heap = 0; heap < HEAPS; heap++)
        swap.heaps[heap] = heap == 0 ? hhi_heap_default() : core_heap();
    size_t before = core_census(swap.heaps[0]);
    for (unsigned thread = 0; thread < threads; thread++)
        assert_int_equal(pthread_create(&ids[thread], NULL, keeper_run, NULL), 0);
    assert_int_equal(pthread_create(&ids[threads], NULL, trimmer_run, NULL), 0);
    for (unsigned tick = 0; tick < seconds * 10; tick++)
        hhi_os_sleep_ms(100);
    // relaxed: a stop seen late does no harm.
    hh_store_relaxed(&swap.stop, 1);
    for (unsigned thread = 0; thread <= threads; thread++)
        assert_int_equal(pthread_join(ids[thread], NULL), 0);
    // relaxed (all): the threads were joined.
    assert_int_equal(hh_load_relaxed(&swap.broken), 0);
    for (int heap = 0; heap < HEAPS; heap++)
        assert_int_equal(core_census(swap.heaps[heap]) - (heap == 0 ? before : 0),
                         hh_load_relaxed(&swap.allocated[heap]) -
                             hh_load_relaxed(&swap.freed[heap]));
    for (int slot = 0; slot < SLOTS; slot++) {
        struct piece *piece = hh_load_relaxed(&swap.slots[slot]);
        if (piece != NULL)
            piece_end(piece);
    }
    assert_int_equal(hh_load_relaxed(&swap.broken), 0);
    for (int heap = 0; heap < HEAPS; heap++)
        assert_int_equal(core_census(swap.heaps[heap]), heap == 0 ? before : 0);
    hhi_trim();
    hhi_run_check();
    print_message("%llu blocks swapped\n",
                  (unsigned long long)hh_load_relaxed(&swap.allocated[0]) * HEAPS);
    for (int heap = 1; heap < HEAPS; heap++)
        hhi_heap_destroy(swap.heaps[heap]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_swapped_between_threads_keep_their_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
