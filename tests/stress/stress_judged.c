// SPDX-License-Identifier: MIT
/*
 * tests/stress/stress_judged.c - right calls and bad frees mixed at random; every answer is judged.
 *
 * A cell is a heap and a shadow of it: which addresses are live, which were freed. Threads take a
 * cell for some calls at a time, so that the shadow is exact and any address can be judged, whoever
 * allocated it: freed before, inside a block, beside one, of another heap, no memory at all. The
 * slots hold blocks of heaps that all threads use at the same time; who has taken a block out of
 * its slot knows that it is live, and that no other address inside it is a block.
 *
 * A false accept is a bad address that was taken, a false reject a live block that was refused. Each
 * must be 0, and in the end the heaps must have counted as many bad frees as were made.
 *
 * HOSTHEAP_JUDGED_MILLIONS (calls, default 2), HOSTHEAP_STRESS_THREADS, HOSTHEAP_STRESS_SEED
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hostheap/host_memory.h>

#include "base/atomic.h"
#include "options/options.h"
#include "region/run.h"
#include "support/core.h"

enum {
    CELLS = 6,
    SHARED_HEAPS = 3,
    SLOTS = 512,
    THREADS_MAX = 16,
    CALLS_OF_A_TURN = 256,
    TURNS_OF_A_WORKER = 200,
    CELL_LIVE = 1024,
    SHADOW_ENTRIES = 1 << 14,
    RECENT = 256,
    MAPPED_BYTES = 4096,
    SECONDS_PER_MILLION = 7,
    SECONDS_AT_LEAST = 240,
};

enum kind {
    RIGHT_ALLOC,
    RIGHT_FREE,
    RIGHT_REALLOC,
    RIGHT_SIZE,
    BAD_FREED,
    BAD_INTERIOR,
    BAD_NEAR,
    BAD_OTHER_HEAP,
    BAD_FOREIGN,
    BAD_WILD,
    BAD_SIZE_NAMED,
    BAD_REALLOC,
    KINDS,
};
static const char *const kind_names[KINDS] = {
    "allocations",       "frees",       "reallocs",    "questions",
    "freed already",     "inside",      "beside",      "another heap",
    "not of the window", "any numbers", "wrong sizes", "bad reallocs",
};

// A heap by the native calls or through its object.
struct judged_heap {
    hh_heap *heap;
    IHostMalloc *object;
    void *anchor;              // a block that lives to the end
    _Atomic uint64_t refusals; // frees that were refused, as the heap must have counted them
};

struct shadow {
    uintptr_t address; // 0: none
    uint32_t size_bytes;
    bool live;
    bool aligned; // its size must not be named without the alignment
};

struct cell {
    pthread_mutex_t lock;
    struct judged_heap heap;
    uint32_t live_count, recent_next, entries_used;
    uintptr_t live[CELL_LIVE];
    uintptr_t recent[RECENT]; // freed a short while ago; some serve again
    struct shadow shadow[SHADOW_ENTRIES];
};

// What a thread counts; added up when it ends.
struct tally {
    uint64_t calls[KINDS];
    uint64_t false_accepts, false_rejects, broken;
    uint64_t seed;
};

struct piece {
    uint32_t size_bytes;
    uint32_t heap;
};

static struct {
    struct cell cells[CELLS];
    struct judged_heap shared[SHARED_HEAPS];
    _Atomic(struct piece *) slots[SLOTS];
    _Atomic int64_t turns;
    _Atomic uint64_t seeds;
    pthread_mutex_t total_lock;
    struct tally total;
} judged = {.total_lock = PTHREAD_MUTEX_INITIALIZER};

static uint32_t
pick(struct tally *tally, uint32_t count)
{
    return (uint32_t)(core_random(&tally->seed) % count);
}

static uint32_t
pick_size(struct tally *tally)
{
    uint32_t kind = pick(tally, 4096);
    if (kind < 3400)
        return pick(tally, 400);
    if (kind < 4000)
        return pick(tally, 5000);
    if (kind < 4094)
        return pick(tally, 60000);
    return pick(tally, 600000);
}

static uint64_t
tag_of(const void *block)
{
    return (uintptr_t)block * 0x9E3779B97F4A7C15u;
}

// Contents at both ends: a block that overlaps another one breaks them.
static void
ends_write(void *block, size_t size_bytes)
{
    uint64_t tag = tag_of(block);
    if (size_bytes >= 2 * sizeof tag) {
        memcpy(block, &tag, sizeof tag);
        memcpy((char *)block + size_bytes - sizeof tag, &tag, sizeof tag);
    }
}

static void
ends_check(struct tally *tally, const void *block, size_t size_bytes, uint64_t tag)
{
    if (size_bytes >= 2 * sizeof tag &&
        (memcmp(block, &tag, sizeof tag) != 0 ||
         memcmp((const char *)block + size_bytes - sizeof tag, &tag, sizeof tag) != 0))
        tally->broken++;
}

/* ---- The judge ------------------------------------------------------------------------------ */

static bool
heap_free(struct judged_heap *heap, void *address)
{
    if (heap->object != NULL)
        return heap->object->lpVtbl->Free(heap->object, address) == S_OK;
    return hh_heap_free(heap->heap, address) == HH_OK;
}

static void
must_be_taken(struct tally *tally, enum kind kind, bool taken)
{
    tally->calls[kind]++;
    tally->false_rejects += !taken;
}

static void
must_be_refused(struct tally *tally, enum kind kind, struct judged_heap *heap, bool taken)
{
    tally->calls[kind]++;
    tally->false_accepts += taken;
    if (!taken)
        // relaxed: read after the threads were joined.
        hh_fetch_add_relaxed(&heap->refusals, 1);
}

static void
bad_free(struct tally *tally, enum kind kind, struct judged_heap *heap, void *address)
{
    must_be_refused(tally, kind, heap, heap_free(heap, address));
}

// An address inside a block, not its start.
static void *
inside(struct tally *tally, void *block, size_t size_bytes)
{
    static const size_t steps[] = {1, 8, 16, 32};
    size_t offset = pick(tally, 2) == 0 ? steps[pick(tally, COUNT_OF(steps))]
                                        : 1 + pick(tally, (uint32_t)size_bytes + 1);
    return (char *)block + (offset < size_bytes ? offset : size_bytes > 1 ? size_bytes - 1 : 1);
}

static char static_bytes[MAPPED_BYTES];
static void *mapped_bytes;

// No memory of heaps, whatever other threads do.
static void *
foreign(struct tally *tally)
{
    size_t offset = pick(tally, MAPPED_BYTES / 16) * 16;
    switch (pick(tally, 4)) {
    case 0:
        return static_bytes + offset;
    case 1:
        return (char *)tally + offset % 64;
    case 2:
        return (char *)mapped_bytes + offset;
    default:
        return (void *)(uintptr_t)&foreign;
    }
}

// Outside of user space, or below what can be mapped.
static void *
wild(struct tally *tally)
{
    uint64_t number = core_random(&tally->seed) << 32 ^ core_random(&tally->seed);
    return (void *)(pick(tally, 2) == 0 ? number | (uint64_t)1 << (47 + pick(tally, 17))
                                        : 1 + number % 65535);
}

/* ---- Cells ---------------------------------------------------------------------------------- */

static struct shadow *
shadow_find(struct cell *cell, uintptr_t address)
{
    uint32_t at = (uint32_t)(tag_of((void *)address) >> 40) % SHADOW_ENTRIES;
    while (cell->shadow[at].address != 0 && cell->shadow[at].address != address)
        at = (at + 1) % SHADOW_ENTRIES;
    return &cell->shadow[at];
}

static void
shadow_set(struct cell *cell, uintptr_t address, size_t size_bytes, bool aligned)
{
    struct shadow *entry = shadow_find(cell, address);
    cell->entries_used += entry->address == 0;
    *entry = (struct shadow){address, (uint32_t)size_bytes, true, aligned};
}

// Forget all that is not live.
static void
shadow_renew(struct cell *cell)
{
    static _Thread_local struct shadow kept[CELL_LIVE];
    for (uint32_t i = 0; i < cell->live_count; i++)
        kept[i] = *shadow_find(cell, cell->live[i]);
    memset(cell->shadow, 0, sizeof cell->shadow);
    memset(cell->recent, 0, sizeof cell->recent);
    cell->entries_used = 0;
    for (uint32_t i = 0; i < cell->live_count; i++)
        shadow_set(cell, kept[i].address, kept[i].size_bytes, kept[i].aligned);
}

static bool
shadow_is_live(struct cell *cell, uintptr_t address)
{
    struct shadow *entry = shadow_find(cell, address);
    return entry->address == address && entry->live;
}

static void
cell_enter(struct tally *tally, struct cell *cell, void *block, size_t size_bytes, bool aligned)
{
    if (cell->entries_used > SHADOW_ENTRIES / 2)
        shadow_renew(cell);
    tally->broken += shadow_is_live(cell, (uintptr_t)block); // handed out twice
    ends_write(block, size_bytes);
    shadow_set(cell, (uintptr_t)block, size_bytes, aligned);
    cell->live[cell->live_count++] = (uintptr_t)block;
}

// Takes a live block out of the shadow.
static void *
cell_leave(struct tally *tally, struct cell *cell, struct shadow *was)
{
    uint32_t index = pick(tally, cell->live_count);
    uintptr_t address = cell->live[index];
    struct shadow *entry = shadow_find(cell, address);
    *was = *entry;
    entry->live = false;
    cell->live[index] = cell->live[--cell->live_count];
    cell->recent[cell->recent_next++ % RECENT] = address;
    ends_check(tally, (void *)address, was->size_bytes, tag_of((void *)address));
    return (void *)address;
}

static void
cell_alloc(struct tally *tally, struct cell *cell)
{
    size_t size_bytes = pick_size(tally);
    void *block = NULL;
    bool aligned = cell->heap.object == NULL && pick(tally, 16) == 0;
    if (cell->heap.object != NULL)
        cell->heap.object->lpVtbl->Alloc(cell->heap.object, size_bytes, eTaskCritical, &block);
    else if (aligned)
        block = hh_heap_aligned_alloc(cell->heap.heap, (size_t)16 << pick(tally, 9), size_bytes);
    else
        block = hh_heap_alloc(cell->heap.heap, size_bytes);
    must_be_taken(tally, RIGHT_ALLOC, block != NULL);
    if (block != NULL)
        cell_enter(tally, cell, block, size_bytes, aligned);
}

static void
cell_free(struct tally *tally, struct cell *cell)
{
    struct shadow was;
    void *block = cell_leave(tally, cell, &was);
    if (cell->heap.object == NULL && !was.aligned && pick(tally, 4) == 0)
        must_be_taken(tally, RIGHT_FREE,
                      hh_heap_free_sized(cell->heap.heap, block, was.size_bytes) == HH_OK);
    else
        must_be_taken(tally, RIGHT_FREE, heap_free(&cell->heap, block));
}

static void
cell_realloc(struct tally *tally, struct cell *cell)
{
    struct shadow was;
    size_t size_bytes = pick_size(tally);
    void *block = cell_leave(tally, cell, &was), *moved = NULL;
    hh_status status = hh_heap_realloc(cell->heap.heap, block, size_bytes, &moved);
    must_be_taken(tally, RIGHT_REALLOC, status == HH_OK);
    if (moved == NULL)
        return;
    if (size_bytes >= was.size_bytes)
        ends_check(tally, moved, was.size_bytes, tag_of(block));
    cell_enter(tally, cell, moved, size_bytes, was.aligned);
}

// One bad call on a block that stays live, or on an address that is none.
static void
cell_misuse(struct tally *tally, struct cell *cell)
{
    struct judged_heap *heap = &cell->heap;
    uintptr_t block = cell->live[pick(tally, cell->live_count)];
    size_t size_bytes = shadow_find(cell, block)->size_bytes;
    void *result;
    // Any 16th address around a block: another block, a slot never used, a tail, another slab.
    uintptr_t near = block + (uintptr_t)((int64_t)pick(tally, 1 << 13) - (1 << 12)) * 16;
    switch (pick(tally, 8)) {
    case 0:
    case 1:
        near = cell->recent[pick(tally, RECENT)];
        if (near != 0 && !shadow_is_live(cell, near))
            bad_free(tally, BAD_FREED, heap, (void *)near);
        break;
    case 2:
        bad_free(tally, BAD_INTERIOR, heap, inside(tally, (void *)block, size_bytes));
        break;
    case 3:
        if (!shadow_is_live(cell, near) && near != (uintptr_t)heap->anchor)
            bad_free(tally, BAD_NEAR, heap, (void *)near);
        break;
    case 4:
        result = judged.cells[pick(tally, CELLS)].heap.anchor;
        if (result != heap->anchor)
            bad_free(tally, BAD_OTHER_HEAP, heap, result);
        break;
    case 5:
        bad_free(tally, BAD_FOREIGN, heap, foreign(tally));
        break;
    case 6:
        bad_free(tally, BAD_WILD, heap, wild(tally));
        break;
    default:
        if (pick(tally, 2) == 0)
            must_be_refused(tally, BAD_SIZE_NAMED, heap,
                            hh_heap_free_sized(heap->heap, (void *)block,
                                               hh_heap_usable_size(heap->heap, (void *)block) + 1 +
                                                   pick(tally, 1000)) == HH_OK);
        else
            must_be_refused(tally, BAD_REALLOC, heap,
                            hh_heap_realloc(heap->heap, inside(tally, (void *)block, size_bytes),
                                            pick_size(tally), &result) == HH_OK);
    }
}

static void
cell_step(struct tally *tally, struct cell *cell)
{
    uint32_t kind = pick(tally, 8);
    if (cell->live_count < 16 || (kind < 2 && cell->live_count < CELL_LIVE - 1)) {
        cell_alloc(tally, cell);
    } else if (kind < 4) {
        cell_free(tally, cell);
    } else if (kind < 7) {
        cell_misuse(tally, cell);
    } else if (pick(tally, 2) == 0) {
        cell_realloc(tally, cell);
    } else {
        uintptr_t block = cell->live[pick(tally, cell->live_count)];
        size_t usable_bytes = hh_heap_usable_size(cell->heap.heap, (void *)block);
        must_be_taken(tally, RIGHT_SIZE, usable_bytes >= shadow_find(cell, block)->size_bytes);
    }
}

/* ---- Slots ---------------------------------------------------------------------------------- */

static void
piece_misuse(struct tally *tally, struct piece *piece)
{
    struct judged_heap *own = &judged.shared[piece->heap];
    struct judged_heap *other = &judged.shared[(piece->heap + 1) % SHARED_HEAPS];
    switch (pick(tally, 4)) {
    case 0:
        bad_free(tally, BAD_INTERIOR, own, inside(tally, piece, piece->size_bytes));
        break;
    case 1:
        bad_free(tally, BAD_OTHER_HEAP, other, piece);
        break;
    case 2:
        bad_free(tally, BAD_FOREIGN, own, foreign(tally));
        break;
    default:
        bad_free(tally, BAD_WILD, own, wild(tally));
    }
}

static void
slot_step(struct tally *tally)
{
    uint32_t heap = pick(tally, SHARED_HEAPS);
    uint32_t size_bytes = pick_size(tally) + (uint32_t)sizeof(struct piece);
    struct piece *piece = NULL;
    if (pick(tally, 4) != 0) {
        piece = hh_heap_alloc(judged.shared[heap].heap, size_bytes);
        must_be_taken(tally, RIGHT_ALLOC, piece != NULL);
    }
    if (piece != NULL)
        *piece = (struct piece){size_bytes, heap};
    // order: acq_rel: hands one block's contents over, takes another's.
    piece = hh_exchange_acq_rel(&judged.slots[pick(tally, SLOTS)], piece);
    if (piece == NULL)
        return;
    tally->broken += piece->heap >= SHARED_HEAPS;
    if (pick(tally, 2) == 0)
        piece_misuse(tally, piece);
    must_be_taken(tally, RIGHT_FREE, heap_free(&judged.shared[piece->heap], piece));
}

/* ---- Threads -------------------------------------------------------------------------------- */

static void
tally_add(const struct tally *tally)
{
    pthread_mutex_lock(&judged.total_lock);
    for (int kind = 0; kind < KINDS; kind++)
        judged.total.calls[kind] += tally->calls[kind];
    judged.total.false_accepts += tally->false_accepts;
    judged.total.false_rejects += tally->false_rejects;
    judged.total.broken += tally->broken;
    pthread_mutex_unlock(&judged.total_lock);
}

static void
turn(struct tally *tally)
{
    struct cell *cell = &judged.cells[pick(tally, CELLS)];
    if (pick(tally, 4) == 0) {
        for (int i = 0; i < CALLS_OF_A_TURN; i++)
            slot_step(tally);
        return;
    }
    pthread_mutex_lock(&cell->lock);
    for (int i = 0; i < CALLS_OF_A_TURN; i++)
        cell_step(tally, cell);
    pthread_mutex_unlock(&cell->lock);
    if (pick(tally, 4096) == 0)
        hh_trim();
}

static void *
worker_run(void *argument)
{
    // relaxed: a number of its own for each worker.
    struct tally tally = {.seed = hh_fetch_add_relaxed(&judged.seeds, 1) * 7919};
    // relaxed: only how many are left counts.
    for (int i = 0; i < TURNS_OF_A_WORKER && hh_fetch_sub_relaxed(&judged.turns, 1) > 0; i++)
        turn(&tally);
    tally_add(&tally);
    return argument;
}

// Keeps one worker alive, a new thread each time.
static void *
keeper_run(void *argument)
{
    // relaxed: a few turns more or less.
    while (hh_load_relaxed(&judged.turns) > 0) {
        pthread_t worker;
        if (pthread_create(&worker, NULL, worker_run, argument) == 0)
            pthread_join(worker, NULL);
    }
    return NULL;
}

/* ---- Begin and end -------------------------------------------------------------------------- */

static void
heap_open(struct judged_heap *heap, int number)
{
    IHostMemoryManager *manager;
    if (number % 2 == 0) {
        assert_int_equal(hh_get_memory_manager(&manager), S_OK);
        assert_int_equal(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap->object),
                         S_OK);
        heap->heap = hh_heap_of(heap->object);
    } else {
        assert_int_equal(hh_heap_create(NULL, &heap->heap), HH_OK);
    }
    heap->anchor = hh_heap_alloc(heap->heap, 64);
    assert_non_null(heap->anchor);
}

static void
heap_close(struct judged_heap *heap)
{
    hh_heap_stats stats;
    if (heap->anchor != NULL)
        assert_true(heap_free(heap, heap->anchor));
    assert_int_equal(core_census(heap->heap), 0);
    assert_int_equal(hh_heap_get_stats(heap->heap, &stats), HH_OK);
    // relaxed: the threads were joined.
    assert_int_equal(stats.bad_frees, hh_load_relaxed(&heap->refusals));
    if (heap->object != NULL)
        assert_int_equal(heap->object->lpVtbl->Release(heap->object), 0);
    else if (heap->heap != hh_heap_default())
        assert_int_equal(hh_heap_destroy(heap->heap), HH_OK);
}

static void
all_open(void)
{
    for (int i = 0; i < CELLS; i++) {
        pthread_mutex_init(&judged.cells[i].lock, NULL);
        heap_open(&judged.cells[i].heap, i);
    }
    judged.shared[0].heap = hh_heap_default();
    for (int i = 1; i < SHARED_HEAPS; i++)
        heap_open(&judged.shared[i], i);
    mapped_bytes = mmap(NULL, MAPPED_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapped_bytes != MAP_FAILED);
}

static void
all_blocks_free(struct tally *tally)
{
    struct shadow was;
    for (int slot = 0; slot < SLOTS; slot++) {
        // relaxed: the threads were joined.
        struct piece *piece = hh_load_relaxed(&judged.slots[slot]);
        if (piece != NULL)
            must_be_taken(tally, RIGHT_FREE, heap_free(&judged.shared[piece->heap], piece));
    }
    for (int i = 0; i < CELLS; i++) {
        struct cell *cell = &judged.cells[i];
        while (cell->live_count > 0)
            must_be_taken(tally, RIGHT_FREE, heap_free(&cell->heap, cell_leave(tally, cell, &was)));
    }
    tally_add(tally);
}

static void
all_close(void)
{
    for (int i = 0; i < CELLS; i++)
        heap_close(&judged.cells[i].heap);
    for (int i = 0; i < SHARED_HEAPS; i++)
        heap_close(&judged.shared[i]);
    munmap(mapped_bytes, MAPPED_BYTES);
    hh_trim();
    hhi_run_check();
}

// Prints the total and returns the number of calls.
static uint64_t
total_report(uint64_t took_ms)
{
    const struct tally *total = &judged.total;
    uint64_t calls = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        calls += total->calls[kind];
        print_message("%12llu %s\n", (unsigned long long)total->calls[kind], kind_names[kind]);
        assert_true(total->calls[kind] > 0);
    }
    print_message("%12llu calls judged in %llu ms: %llu false accepts, %llu false rejects, "
                  "%llu broken blocks\n",
                  (unsigned long long)calls, (unsigned long long)(took_ms),
                  (unsigned long long)total->false_accepts,
                  (unsigned long long)total->false_rejects, (unsigned long long)total->broken);
    return calls;
}

static void
right_calls_are_taken_and_bad_ones_refused_in_any_order(void **state)
{
    (void)state;
    unsigned millions = core_setting("HOSTHEAP_JUDGED_MILLIONS", 2);
    unsigned threads = core_setting("HOSTHEAP_STRESS_THREADS", 4);
    pthread_t ids[THREADS_MAX];
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    alarm(SECONDS_AT_LEAST + millions * SECONDS_PER_MILLION);
    hhi_opt.decay_ms = 40;
    struct tally last = {.seed = core_setting("HOSTHEAP_STRESS_SEED", 1)};
    // relaxed (both): before the threads start. A step of a turn is one judged call or more.
    hh_store_relaxed(&judged.seeds, last.seed);
    hh_store_relaxed(&judged.turns, (int64_t)millions * 1000000 / CALLS_OF_A_TURN * 5 / 4);
    all_open();
    uint64_t begin_ms = core_now_ms();
    for (unsigned thread = 0; thread < threads; thread++)
        assert_int_equal(pthread_create(&ids[thread], NULL, keeper_run, NULL), 0);
    for (unsigned thread = 0; thread < threads; thread++)
        assert_int_equal(pthread_join(ids[thread], NULL), 0);
    all_blocks_free(&last);
    uint64_t calls = total_report(core_now_ms() - begin_ms);
    assert_true(calls >= (uint64_t)millions * 1000000);
    assert_int_equal(judged.total.false_accepts, 0);
    assert_int_equal(judged.total.false_rejects, 0);
    assert_int_equal(judged.total.broken, 0);
    all_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_calls_are_taken_and_bad_ones_refused_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
