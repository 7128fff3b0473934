// SPDX-License-Identifier: MIT
/*
 * tests/stress/perturbed.c - a few threads in every protocol of the heap, held up at random.
 *
 * The library is built with a point before each atomic operation where support/perturb.c may hold
 * a thread up. Each seed is one short run of each scene; with another seed other threads are slow at
 * other points. A failure prints the seed, and HOSTHEAP_PERTURB_SEED=that HOSTHEAP_PERTURB_SEEDS=1
 * begins with it.
 *
 * HOSTHEAP_PERTURB_SEED (default: the time), HOSTHEAP_PERTURB_SEEDS (default 200)
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "heap/heap.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "region/run.h"
#include "support/perturb.h"

enum {
    BLOCKS = 48,
    SLOTS = 24,
    STEPS = 120,
    BOUND_SECONDS = 60,
    SEEDS_PER_SECOND = 2,
    DECAY_MS = 20
};

static const size_t sizes[] = {16, 48, 240, 1000, 3000, 9000, 40000, 300000};

static struct {
    struct hh_heap *heap;
    void *blocks[BLOCKS];
    _Atomic(void *) slots[SLOTS];
    _Atomic uint32_t freed, live;
} scene;

static void
failed_write(const char *what, int line)
{
    char text[160];
    int length = snprintf(text, sizeof text, "%s at line %d; HOSTHEAP_PERTURB_SEED=%llu\n", what,
                          line, (unsigned long long)perturb_seed());
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(3);
}

static void
signal_caught(int number)
{
    failed_write(number == SIGALRM ? "hangs" : "a check of the library failed", 0);
    _exit(2);
}

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failed_write(#condition, __LINE__);                                                    \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static uint32_t
random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void
threads_run(unsigned count, void *(*run)(void *))
{
    pthread_t threads[4];
    for (unsigned i = 0; i < count; i++)
        REQUIRE(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) == 0);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static int
count_block(void *arg, void *block, size_t size_bytes)
{
    (void)block, (void)size_bytes;
    ++*(uint32_t *)arg;
    return 0;
}

static uint32_t
blocks_live(void)
{
    uint32_t count = 0;
    REQUIRE(hhi_heap_walk(scene.heap, count_block, &count) == HH_OK);
    return count;
}

// ---- Several threads free the same blocks: each counts once --------------------------------------

static void *
racer_run(void *argument)
{
    uint32_t freed = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        void *block = scene.blocks[(uintptr_t)argument % 2 == 0 ? i : BLOCKS - 1 - i];
        freed += hhi_heap_free(scene.heap, block) == 0;
    }
    // relaxed: read after the threads were joined.
    hh_fetch_add_relaxed(&scene.freed, freed);
    return NULL;
}

static void
scene_double_free(uint64_t seed)
{
    size_t size_bytes = sizes[seed % (sizeof sizes / sizeof sizes[0])];
    for (unsigned i = 0; i < BLOCKS; i++)
        REQUIRE((scene.blocks[i] = hhi_heap_alloc(scene.heap, size_bytes, HHI_LEVEL_TASK)) != NULL);
    // relaxed (both): no thread runs.
    hh_store_relaxed(&scene.freed, 0);
    threads_run(3, racer_run);
    REQUIRE(hh_load_relaxed(&scene.freed) == BLOCKS);
    REQUIRE(blocks_live() == 0);
    struct hhi_cache *cache = hhi_cache_find(hhi_self, scene.heap);
    if (cache != NULL) // large blocks alone make none
        hhi_cache_check(cache);
}

// ---- Threads hand blocks to each other, end, and are replaced ------------------------------------

static void
piece_end(size_t *piece)
{
    size_t size_bytes = piece[0];
    REQUIRE(piece[1] == (uintptr_t)piece && size_bytes >= sizes[0]);
    REQUIRE(size_bytes == sizes[0] || memcmp((char *)piece + size_bytes - 8, piece + 1, 8) == 0);
    REQUIRE(hhi_heap_free(scene.heap, piece) == 0);
    // relaxed: read after the threads were joined.
    hh_fetch_sub_relaxed(&scene.live, 1);
}

static size_t *
piece_make(uint64_t *state)
{
    size_t size_bytes = sizes[random_next(state) % 7];
    if (random_next(state) % 32 == 0)
        size_bytes = sizes[7];
    size_t *piece = hhi_heap_alloc(scene.heap, size_bytes, HHI_LEVEL_TASK);
    REQUIRE(piece != NULL);
    piece[0] = size_bytes;
    piece[1] = (uintptr_t)piece;
    if (size_bytes > sizes[0])
        memcpy((char *)piece + size_bytes - 8, piece + 1, 8);
    // relaxed: read after the threads were joined.
    hh_fetch_add_relaxed(&scene.live, 1);
    return piece;
}

static void *
swapper_run(void *argument)
{
    uint64_t state = perturb_seed() * 31 + (uintptr_t)argument;
    for (int step = 0; step < STEPS; step++) {
        size_t *piece = random_next(&state) % 3 == 0 ? NULL : piece_make(&state);
        // order: acq_rel: hands one block's contents over, takes another's.
        piece = hh_exchange_acq_rel(&scene.slots[random_next(&state) % SLOTS], piece);
        if (piece != NULL)
            piece_end(piece);
        if (random_next(&state) % 64 == 0)
            hhi_trim();
    }
    return NULL;
}

static void
slots_empty(void)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        size_t *piece = hh_exchange_relaxed(&scene.slots[slot], NULL); // relaxed: no thread runs.
        if (piece != NULL)
            piece_end(piece);
    }
}

static void
scene_swap(uint64_t seed)
{
    threads_run(3, swapper_run);
    REQUIRE(blocks_live() == hh_load_relaxed(&scene.live)); // relaxed: no thread runs.
    if (seed % 2 == 0)
        threads_run(2, swapper_run); // they adopt what the first ones left
    slots_empty();
    REQUIRE(blocks_live() == 0);
}

// ---- Heaps begin and end on several threads -------------------------------------------------------

static void *
heaps_run(void *argument)
{
    uint64_t state = perturb_seed() * 17 + (uintptr_t)argument;
    for (int round = 0; round < 3; round++) {
        struct hh_heap *heap;
        REQUIRE(hhi_heap_create(0, 0, 0, NULL, &heap) == HH_OK);
        for (int i = 0; i < 8; i++) {
            size_t size_bytes = sizes[random_next(&state) % 8];
            void *block = hhi_heap_alloc(heap, size_bytes, HHI_LEVEL_TASK);
            REQUIRE(block != NULL);
            REQUIRE(hhi_heap_free(scene.heap, block) != 0); // the wrong one
            if (i % 2 == 0)
                REQUIRE(hhi_heap_free(heap, block) == 0);
        }
        hhi_heap_destroy(heap);
    }
    return NULL;
}

static void
scene_heaps(uint64_t seed)
{
    (void)seed;
    threads_run(3, heaps_run);
}

// ---- Runs of two sizes are kept and used again -----------------------------------------------------

static void *
runs_run(void *argument)
{
    uint64_t state = perturb_seed() * 13 + (uintptr_t)argument;
    for (int step = 0; step < 3 * STEPS; step++) {
        size_t usable_bytes, size_bytes = (size_t)(5 + random_next(&state) % 2)
                                          << HHI_GRANULE_SHIFT;
        void *block = hhi_heap_alloc(scene.heap, size_bytes, HHI_LEVEL_TASK);
        REQUIRE(block != NULL);
        REQUIRE(hhi_heap_usable_size(scene.heap, block, &usable_bytes) == 0);
        REQUIRE(usable_bytes == size_bytes);
        // order: acq_rel: hands one block over, takes another.
        block = hh_exchange_acq_rel(&scene.slots[random_next(&state) % 3], block);
        REQUIRE(block == NULL || hhi_heap_free(scene.heap, block) == 0);
    }
    return NULL;
}

static void
scene_runs(uint64_t seed)
{
    (void)seed;
    hhi_opt.decay_ms = HHI_DECAY_OFF; // the sweeper would come, but is not told
    hhi_opt.background = true;
    threads_run(3, runs_run);
    hhi_opt.background = false;
    hhi_opt.decay_ms = DECAY_MS;
    for (int slot = 0; slot < 3; slot++) {
        // relaxed: no thread runs.
        void *block = hh_exchange_relaxed(&scene.slots[slot], NULL);
        REQUIRE(block == NULL || hhi_heap_free(scene.heap, block) == 0);
    }
    REQUIRE(blocks_live() == 0);
}

static void
seed_run(uint64_t seed)
{
    REQUIRE(hhi_heap_create(0, 0, 0, NULL, &scene.heap) == HH_OK);
    perturb_begin(seed);
    scene_double_free(seed);
    scene_swap(seed);
    scene_heaps(seed);
    scene_runs(seed);
    perturb_end();
    hhi_heap_destroy(scene.heap);
    hhi_run_check();
}

static uint64_t
setting(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

int
main(void)
{
    uint64_t first = setting("HOSTHEAP_PERTURB_SEED", (uint64_t)time(NULL) * 100000);
    uint64_t count = setting("HOSTHEAP_PERTURB_SEEDS", 200);
    const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGALRM};
    for (unsigned i = 0; i < sizeof caught / sizeof caught[0]; i++)
        signal(caught[i], signal_caught);
    alarm(BOUND_SECONDS + (unsigned)(count / SEEDS_PER_SECOND));
    printf("seeds %llu to %llu\n", (unsigned long long)first,
           (unsigned long long)(first + count - 1));
    fflush(stdout);
    hhi_opt.decay_ms = DECAY_MS;
    hhi_process_up();
    hhi_opt.background = false; // the hidden thread can not be held up
    for (uint64_t seed = first; seed < first + count; seed++)
        seed_run(seed);
    return 0;
}
