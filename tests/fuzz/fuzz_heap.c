// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz_heap.c - allocation traces: three heaps, three threads that the input schedules, and a
 * shadow of every live block. One thread runs at a time and hands over where the input says so, so
 * that a run is the same each time, yet blocks are freed by others, owners end, heaps end.
 *
 * Checked: no two live blocks overlap, contents stay, calloc gives zeros, a live block is always
 * taken, anything else always refused, questions are answered as the shadow has it, and in the end
 * the walk finds what is live.
 */
#include "fuzz.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <hostheap/host_memory.h>

#include "options/options.h"
#include "region/run.h"

enum {
    HEAPS = 3,
    THREADS = 3,
    BLOCKS = 192,
    DEAD = 32,
    LIVE_BYTES_MAX = 24 << 20,
    MARKED_BYTES = 1024,
    OPERATIONS_MAX = 4000,
};

struct block {
    uint8_t *address;
    size_t size_bytes;
    uint8_t heap, tag;
    bool unnamed; // its size must not be named: aligned, or shrunk in place for want of memory
};

static struct {
    struct fuzz_input input;
    IHostMalloc *object; // of heap 0
    hh_heap *heaps[HEAPS];
    bool limited[HEAPS];
    struct block blocks[BLOCKS];
    unsigned count;
    size_t live_bytes;
    uintptr_t dead[DEAD];
    unsigned dead_next;
    uint8_t next_tag;
    unsigned operations;
} fuzz;

/* ---- The shadow ----------------------------------------------------------------------------- */

static size_t
pick_size(void)
{
    uint32_t byte = fuzz_byte(&fuzz.input);
    if (byte < 128)
        return byte * 8;
    if (byte < 192)
        return (byte - 127) * 257;
    if (byte < 240)
        return (byte - 191) * 5001;
    return (byte - 239) * (size_t)70001;
}

static size_t
marked(size_t size_bytes)
{
    return size_bytes < MARKED_BYTES ? size_bytes : MARKED_BYTES;
}

// The first and the last bytes carry the tag.
static void
block_mark(const struct block *block)
{
    size_t length = marked(block->size_bytes);
    memset(block->address, block->tag, length);
    memset(block->address + block->size_bytes - length, block->tag, length);
}

static void
bytes_check(const uint8_t *bytes, uint8_t value, size_t length)
{
    for (size_t i = 0; i < length; i++)
        fuzz_check(bytes[i] == value);
}

static void
block_check(const struct block *block)
{
    hh_block_info info;
    size_t length = marked(block->size_bytes);
    bytes_check(block->address, block->tag, length);
    bytes_check(block->address + block->size_bytes - length, block->tag, length);
    fuzz_check(hh_owns(block->address, &info) == HH_OK);
    fuzz_check(info.base == block->address && info.live && info.heap == fuzz.heaps[block->heap]);
    fuzz_check(info.size_bytes >= block->size_bytes);
}

static struct block *
shadow_find(uint32_t heap, uintptr_t address)
{
    for (unsigned i = 0; i < fuzz.count; i++)
        if ((uintptr_t)fuzz.blocks[i].address == address && fuzz.blocks[i].heap == heap)
            return &fuzz.blocks[i];
    return NULL;
}

static void
shadow_enter(void *address, size_t size_bytes, uint32_t heap, bool unnamed)
{
    uintptr_t begin = (uintptr_t)address, end = begin + (size_bytes > 0 ? size_bytes : 1);
    fuzz_check(begin % 16 == 0);
    for (unsigned i = 0; i < fuzz.count; i++) {
        uintptr_t other = (uintptr_t)fuzz.blocks[i].address;
        size_t other_bytes = fuzz.blocks[i].size_bytes;
        fuzz_check(end <= other || other + (other_bytes > 0 ? other_bytes : 1) <= begin);
    }
    struct block *block = &fuzz.blocks[fuzz.count++];
    *block = (struct block){address, size_bytes, (uint8_t)heap, ++fuzz.next_tag, unnamed};
    fuzz.live_bytes += size_bytes;
    block_mark(block);
}

// The block is no longer live; its place is filled from the end.
static struct block
shadow_leave(struct block *block)
{
    struct block was = *block;
    fuzz.dead[fuzz.dead_next++ % DEAD] = (uintptr_t)was.address;
    fuzz.live_bytes -= was.size_bytes;
    *block = fuzz.blocks[--fuzz.count];
    return was;
}

static struct block *
pick_block(void)
{
    return fuzz.count == 0 ? NULL : &fuzz.blocks[fuzz_byte(&fuzz.input) % fuzz.count];
}

// Any address: freed before, in or near a live block, any number.
static uintptr_t
pick_address(void)
{
    uint32_t kind = fuzz_byte(&fuzz.input) % 8;
    struct block *block = pick_block();
    uintptr_t base = block != NULL ? (uintptr_t)block->address : (uintptr_t)&fuzz;
    switch (kind) {
    case 0:
    case 1:
        return fuzz.dead[fuzz_byte(&fuzz.input) % DEAD];
    case 2:
        return base + fuzz_byte(&fuzz.input);
    case 3:
        return base + (uintptr_t)((int64_t)fuzz_short(&fuzz.input) - 32768) * 16;
    case 4:
        return base & ~(((uintptr_t)1 << fuzz_byte(&fuzz.input) % 40) - 1);
    case 5:
        return base ^ (uintptr_t)1 << fuzz_byte(&fuzz.input) % 64;
    case 6:
        return (uintptr_t)&fuzz + fuzz_byte(&fuzz.input) * 8;
    default:
        return fuzz_long(&fuzz.input);
    }
}

/* ---- Calls ---------------------------------------------------------------------------------- */

// Which allocating call; returns NULL where a limit may have refused.
static void *
block_take(uint32_t heap, uint32_t how, size_t size_bytes, size_t alignment_bytes)
{
    void *block = NULL;
    char file[] = "fuzz.c";
    if (alignment_bytes != 0)
        block = hh_heap_aligned_alloc(fuzz.heaps[heap], alignment_bytes, size_bytes);
    else if (how == 0 && heap == 0)
        fuzz.object->lpVtbl->DebugAlloc(fuzz.object, size_bytes, how, file, 1, &block);
    else if (heap == 0)
        fuzz.object->lpVtbl->Alloc(fuzz.object, size_bytes, how, &block);
    else if (how % 2 == 0)
        block = hh_heap_calloc(fuzz.heaps[heap], 1, size_bytes);
    else
        block = hh_heap_alloc(fuzz.heaps[heap], size_bytes);
    fuzz_check(block != NULL || fuzz.limited[heap]);
    if (block != NULL && alignment_bytes == 0 && heap != 0 && how % 2 == 0)
        bytes_check(block, 0, size_bytes);
    return block;
}

static void
op_alloc(bool aligned)
{
    uint32_t how = fuzz_byte(&fuzz.input), heap = how % HEAPS;
    size_t size_bytes = pick_size();
    size_t alignment_bytes = aligned ? (size_t)1 << fuzz_byte(&fuzz.input) % 18 : 0;
    if (fuzz.count == BLOCKS || fuzz.live_bytes + size_bytes > LIVE_BYTES_MAX)
        return;
    void *block = block_take(heap, how / HEAPS % 4, size_bytes, alignment_bytes);
    fuzz_check(alignment_bytes == 0 || (uintptr_t)block % alignment_bytes == 0);
    if (block != NULL)
        shadow_enter(block, size_bytes, heap, alignment_bytes > 16);
}

static bool
address_free(uint32_t heap, uintptr_t address)
{
    if (heap != 0)
        return hh_heap_free(fuzz.heaps[heap], (void *)address) == HH_OK;
    hh_hresult answer = fuzz.object->lpVtbl->Free(fuzz.object, (void *)address);
    fuzz_check(answer == S_OK || answer == HOST_E_INVALIDOPERATION);
    return answer == S_OK;
}

static void
op_free_block(void)
{
    struct block *block = pick_block();
    if (block == NULL)
        return;
    block_check(block);
    struct block was = shadow_leave(block);
    hh_heap *heap = fuzz.heaps[was.heap];
    if (!was.unnamed && was.tag % 4 == 0)
        fuzz_check(hh_heap_free_sized(heap, was.address, was.size_bytes) == HH_OK);
    else
        fuzz_check(address_free(was.heap, (uintptr_t)was.address));
}

static void
op_free_address(void)
{
    uint32_t heap = fuzz_byte(&fuzz.input) % HEAPS;
    uintptr_t address = pick_address();
    struct block *block = shadow_find(heap, address);
    fuzz_check(address_free(heap, address) == (block != NULL || address == 0));
    if (block != NULL)
        shadow_leave(block);
}

static void
op_realloc(void)
{
    struct block *block = pick_block();
    size_t size_bytes = pick_size();
    void *moved = &fuzz;
    if (block == NULL || fuzz.live_bytes + size_bytes > LIVE_BYTES_MAX)
        return;
    block_check(block);
    hh_status status = hh_heap_realloc(fuzz.heaps[block->heap], block->address, size_bytes, &moved);
    if (status != HH_OK) {
        fuzz_check(status == HH_E_NO_MEMORY && moved == NULL && fuzz.limited[block->heap]);
        block_check(block);
        return;
    }
    struct block was = shadow_leave(block);
    size_t kept_bytes = size_bytes < was.size_bytes ? size_bytes : was.size_bytes;
    bytes_check(moved, was.tag, marked(kept_bytes));
    if (kept_bytes == was.size_bytes)
        bytes_check((uint8_t *)moved + kept_bytes - marked(kept_bytes), was.tag,
                    marked(kept_bytes));
    shadow_enter(moved, size_bytes, was.heap,
                 moved == was.address && (was.unnamed || fuzz.limited[was.heap]));
}

static void
op_bad_realloc(void)
{
    uint32_t heap = fuzz_byte(&fuzz.input) % HEAPS;
    uintptr_t address = pick_address();
    void *moved = &fuzz;
    if (address == 0 || shadow_find(heap, address) != NULL)
        return;
    fuzz_check(hh_heap_realloc(fuzz.heaps[heap], (void *)address, pick_size(), &moved) ==
               HH_E_INVALID_BLOCK);
    fuzz_check(moved == NULL);
}

static void
op_ask(void)
{
    uint32_t heap = fuzz_byte(&fuzz.input) % HEAPS;
    uintptr_t address = pick_address();
    struct block *block = shadow_find(heap, address);
    hh_block_info info;
    size_t usable_bytes = hh_heap_usable_size(fuzz.heaps[heap], (void *)address);
    fuzz_check(block != NULL ? usable_bytes >= block->size_bytes : usable_bytes == 0);
    fuzz_check(hh_owns((void *)address, &info) == HH_OK);
    fuzz_check(block == NULL || info.live);
    fuzz_check(info.base == NULL || (address >= (uintptr_t)info.base &&
                                     address - (uintptr_t)info.base < info.size_bytes));
}

static void
op_bad_size(void)
{
    struct block *block = pick_block();
    if (block == NULL)
        return;
    hh_heap *heap = fuzz.heaps[block->heap];
    size_t usable_bytes = hh_heap_usable_size(heap, block->address);
    fuzz_check(
        hh_heap_free_sized(heap, block->address, usable_bytes + 1 + fuzz_short(&fuzz.input)) ==
        HH_E_INVALID_BLOCK);
}

static int
census_visit(void *argument, void *block, size_t size_bytes)
{
    uint32_t *count = argument;
    (void)block;
    (void)size_bytes;
    ++*count;
    return 0;
}

static void
op_census(void)
{
    for (uint32_t heap = 0; heap < HEAPS; heap++) {
        uint32_t walked = 0, live = 0;
        hh_heap_stats stats;
        fuzz_check(hh_heap_walk(fuzz.heaps[heap], census_visit, &walked) == HH_OK);
        fuzz_check(hh_heap_get_stats(fuzz.heaps[heap], &stats) == HH_OK);
        for (unsigned i = 0; i < fuzz.count; i++)
            live += fuzz.blocks[i].heap == heap;
        fuzz_check(walked == live && stats.live_blocks == live);
    }
}

// A native heap ends with all its blocks, and another one takes its place.
static void
op_heap_renew(void)
{
    uint32_t heap = 1 + fuzz_byte(&fuzz.input) % (HEAPS - 1);
    fuzz_check(hh_heap_destroy(fuzz.heaps[heap]) == HH_OK);
    for (unsigned i = fuzz.count; i > 0; i--)
        if (fuzz.blocks[i - 1].heap == heap)
            shadow_leave(&fuzz.blocks[i - 1]);
    fuzz_check(hh_heap_create(NULL, &fuzz.heaps[heap]) == HH_OK);
    fuzz.limited[heap] = false;
}

static void
op_limit(void)
{
    uint32_t heap = fuzz_byte(&fuzz.input) % HEAPS;
    size_t limit_bytes = (size_t)fuzz_byte(&fuzz.input) << 16;
    fuzz_check(hh_heap_set_limits(fuzz.heaps[heap], 0, limit_bytes) == HH_OK);
    fuzz.limited[heap] = limit_bytes != 0;
}

/* ---- Threads -------------------------------------------------------------------------------- */

enum baton { BATON_ON, BATON_SWITCH, BATON_END };

// Carries out one operation; what becomes of the thread that did.
static enum baton
operation(uint32_t *next_thread)
{
    uint32_t op = fuzz_byte(&fuzz.input);
    if (op < 70)
        op_alloc(false);
    else if (op < 84)
        op_alloc(true);
    else if (op < 134)
        op_free_block();
    else if (op < 164)
        op_free_address();
    else if (op < 184)
        op_realloc();
    else if (op < 194)
        op_bad_realloc();
    else if (op < 206)
        op_ask();
    else if (op < 212)
        op_bad_size();
    else if (op < 216)
        op_census();
    else if (op < 219)
        op_heap_renew();
    else if (op < 222)
        hh_trim();
    else if (op < 226)
        op_limit();
    else {
        *next_thread = op % THREADS;
        return op < 250 ? BATON_SWITCH : BATON_END;
    }
    return BATON_ON;
}

static struct worker {
    pthread_t thread;
    bool started;
    sem_t turn;
} workers[THREADS];
static sem_t baton_back;
static enum baton baton_left;
static uint32_t baton_next;

static void *
worker_main(void *argument)
{
    struct worker *worker = argument;
    enum baton left;
    do {
        while (sem_wait(&worker->turn) != 0) {
        }
        left = BATON_ON;
        while (left == BATON_ON && fuzz_more(&fuzz.input) && fuzz.operations++ < OPERATIONS_MAX)
            left = operation(&baton_next);
        baton_left = left;
        sem_post(&baton_back);
    } while (left != BATON_END);
    return NULL;
}

static void
worker_run(struct worker *worker)
{
    if (!worker->started) {
        sem_init(&worker->turn, 0, 0);
        fuzz_check(pthread_create(&worker->thread, NULL, worker_main, worker) == 0);
        worker->started = true;
    }
    sem_post(&worker->turn);
    while (sem_wait(&baton_back) != 0) {
    }
    if (baton_left == BATON_END) {
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

/* ---- One input ------------------------------------------------------------------------------ */

static void
heaps_open(void)
{
    IHostMemoryManager *manager;
    static bool first = true;
    if (first) {
        first = false;
        fuzz_check(hh_heap_default() != NULL);
        hhi_opt.background = false; // no thread but those that the input schedules
        sem_init(&baton_back, 0, 0);
    }
    fuzz_check(hh_get_memory_manager(&manager) == S_OK);
    fuzz_check(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &fuzz.object) == S_OK);
    fuzz.heaps[0] = hh_heap_of(fuzz.object);
    for (int heap = 1; heap < HEAPS; heap++)
        fuzz_check(hh_heap_create(NULL, &fuzz.heaps[heap]) == HH_OK);
}

static void
heaps_close(void)
{
    op_census();
    while (fuzz.count > 0) {
        block_check(&fuzz.blocks[0]);
        struct block was = shadow_leave(&fuzz.blocks[0]);
        fuzz_check(address_free(was.heap, (uintptr_t)was.address));
    }
    op_census();
    fuzz_check(fuzz.object->lpVtbl->Release(fuzz.object) == 0);
    for (int heap = 1; heap < HEAPS; heap++)
        fuzz_check(hh_heap_destroy(fuzz.heaps[heap]) == HH_OK);
    hhi_run_check();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&fuzz, 0, sizeof fuzz);
    fuzz.input = (struct fuzz_input){data, data + size};
    heaps_open();
    baton_next = 0;
    while (fuzz_more(&fuzz.input) && fuzz.operations < OPERATIONS_MAX)
        worker_run(&workers[baton_next % THREADS]);
    heaps_close();
    return 0;
}
