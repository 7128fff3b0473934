// SPDX-License-Identifier: MIT
/*
 * Every shape of address that IHostMalloc::Free must refuse, each in four places: on the thread
 * that allocated, on another thread, after the allocating thread ended, in a forked child. The
 * answer is exactly HOST_E_INVALIDOPERATION, and nothing has changed: the neighbours keep their
 * contents, the block stays live if it was, and can be freed once. Contract FR-1, FR-3, FR-4, FR-6.
 */

#include "support/host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NEIGHBOURS = 32, NEIGHBOUR_BYTES = 64 };

// One attempt: what the allocating thread prepared.
struct attempt {
    const struct shape *shape;
    IHostMalloc *heap;
    IHostMalloc *other_heap; // ended or live, for shapes that need it
    hh_heap *native_heap;
    uint8_t *neighbours[NEIGHBOURS];
    uint8_t *block; // live and to be freed at the end, or NULL
    size_t size_bytes;
    void *address; // what is passed to Free
    void *mapping; // undone at the end
    void *libc_block;
    int outcome; // 0 = as it must be
};

enum outcome {
    AS_IT_MUST_BE,
    NOT_PREPARED,
    WRONG_ANSWER,
    BLOCK_NOT_LIVE,
    CONTENTS_CHANGED,
    LAST_FREE_REFUSED,
    DOUBLE_FREE_TAKEN,
    HANDED_OUT_TWICE,
};

static const char *const outcome_names[] = {
    "as it must be",    "not prepared",      "wrong answer",      "the block is no longer live",
    "contents changed", "last free refused", "double free taken", "block handed out twice",
};

struct shape {
    const char *name;
    // Sets address, and block if one is to stay live. Runs on the allocating thread.
    void (*prepare)(struct attempt *attempt);
    size_t size_bytes; // of the block; 0 = the shape needs none
    ptrdiff_t offset;  // of the address in the block
};

static void *
attempt_alloc(struct attempt *attempt, size_t size_bytes)
{
    void *block = NULL;
    attempt->heap->lpVtbl->Alloc(attempt->heap, size_bytes, eTaskCritical, &block);
    return block;
}

static void
block_at_offset(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    attempt->address = attempt->block + attempt->shape->offset;
}

static void
block_at_last_byte(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    size_t usable_bytes = hh_heap_usable_size(hh_heap_of(attempt->heap), attempt->block);
    attempt->address = attempt->block + usable_bytes - 1;
}

static void
block_freed(struct attempt *attempt)
{
    attempt->address = attempt_alloc(attempt, attempt->shape->size_bytes);
    test_heap_free(attempt->heap, attempt->address);
}

static void
block_freed_before_others(struct attempt *attempt)
{
    void *others[40];
    for (int i = 0; i < 40; i++)
        others[i] = attempt_alloc(attempt, attempt->shape->size_bytes);
    block_freed(attempt);
    for (int i = 0; i < 40; i++)
        test_heap_free(attempt->heap, others[i]);
}

static void *
address_freed(void *argument)
{
    struct attempt *attempt = argument;
    test_heap_free(attempt->heap, attempt->address);
    return NULL;
}

static void
block_freed_by_another_thread(struct attempt *attempt)
{
    attempt->address = attempt_alloc(attempt, attempt->shape->size_bytes);
    pthread_t thread;
    if (pthread_create(&thread, NULL, address_freed, attempt) == 0)
        pthread_join(thread, NULL);
}

static void
block_freed_and_trimmed(struct attempt *attempt)
{
    block_freed(attempt);
    hh_trim();
}

static void
interior_of_freed_block(struct attempt *attempt)
{
    block_freed(attempt);
    attempt->address = (char *)attempt->address + attempt->shape->offset;
}

// A slot of a live slab that was never given out: a class nobody else here uses.
static void
never_allocated_slot(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    size_t step_bytes = hh_heap_usable_size(hh_heap_of(attempt->heap), attempt->block);
    for (int i = -64; i <= 64; i++) {
        uint8_t *slot = attempt->block + i * (ptrdiff_t)step_bytes;
        hh_block_info info;
        hh_owns(slot, &info);
        if (info.heap != NULL && info.base == slot && !info.live) {
            attempt->address = slot;
            return;
        }
    }
}

// Where headers would be if there were any: the start of the block's 64 KiB, 2 MiB, page.
static void
start_of_unit(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    uintptr_t unit_bytes = (uintptr_t)attempt->shape->offset;
    uint8_t *start = (uint8_t *)((uintptr_t)attempt->block & ~(unit_bytes - 1));
    // One byte on if a block happens to start there.
    attempt->address = test_is_live(start) ? start + 1 : start;
}

static void
address_of_the_object(struct attempt *attempt)
{
    attempt->address = attempt->heap;
}

static void
address_of_the_heap_record(struct attempt *attempt)
{
    attempt->address = hh_heap_of(attempt->heap);
}

static void
address_of_the_manager(struct attempt *attempt)
{
    hh_get_memory_manager((IHostMemoryManager **)&attempt->address);
}

static void
block_of_another_object(struct attempt *attempt)
{
    attempt->other_heap = test_heap(MALLOC_THREADSAFE);
    attempt->address = test_heap_alloc(attempt->other_heap, attempt->shape->size_bytes);
}

static void
block_of_an_executable_object(struct attempt *attempt)
{
    attempt->other_heap = test_heap(MALLOC_EXECUTABLE);
    attempt->address = test_heap_alloc(attempt->other_heap, attempt->shape->size_bytes);
}

static void
block_of_an_ended_object(struct attempt *attempt)
{
    block_of_another_object(attempt);
    attempt->other_heap->lpVtbl->Release(attempt->other_heap);
    attempt->other_heap = NULL;
}

static void
block_of_a_native_heap(struct attempt *attempt)
{
    if (hh_heap_create(NULL, &attempt->native_heap) == HH_OK)
        attempt->address = hh_heap_alloc(attempt->native_heap, attempt->shape->size_bytes);
}

static void
block_of_the_default_heap(struct attempt *attempt)
{
    attempt->address = hh_heap_alloc(hh_heap_default(), attempt->shape->size_bytes);
}

static void
block_of_a_destroyed_heap(struct attempt *attempt)
{
    block_of_a_native_heap(attempt);
    hh_heap_destroy(attempt->native_heap);
    attempt->native_heap = NULL;
}

static void
block_of_libc(struct attempt *attempt)
{
    attempt->address = attempt->libc_block = malloc(attempt->shape->size_bytes);
}

static void
address_in_a_mapping(struct attempt *attempt)
{
    attempt->mapping =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    attempt->address = (char *)attempt->mapping + attempt->shape->offset;
}

static void
address_without_access(struct attempt *attempt)
{
    address_in_a_mapping(attempt);
    mprotect(attempt->mapping, 1 << 20, PROT_NONE);
}

static void
address_unmapped(struct attempt *attempt)
{
    address_in_a_mapping(attempt);
    munmap(attempt->mapping, 1 << 20);
    attempt->mapping = NULL;
}

// Still on a live stack when it is used: the frames of main are below all others.
static char *stack_of_main;

static void
address_on_the_stack(struct attempt *attempt)
{
    attempt->address = (void *)((uintptr_t)(stack_of_main + 64) & ~(uintptr_t)63);
}

static char static_data[64] __attribute__((aligned(64)));
static const char constant_data[64] __attribute__((aligned(64))) = "constant";
static _Thread_local char thread_data[64] __attribute__((aligned(64)));

static void
address_of_static_data(struct attempt *attempt)
{
    attempt->address = static_data;
}

static void
address_of_constant_data(struct attempt *attempt)
{
    attempt->address = (void *)(uintptr_t)constant_data;
}

static void
address_of_thread_data(struct attempt *attempt)
{
    attempt->address = thread_data;
}

static void
address_of_a_function(struct attempt *attempt)
{
    attempt->address = (void *)(uintptr_t)&test_in_child;
}

static void
address_from_virtual_alloc(struct attempt *attempt)
{
    IHostMemoryManager *manager = test_manager();
    hh_hresult answer =
        manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE | MEM_COMMIT,
                                      PAGE_READWRITE, eTaskCritical, &attempt->address);
    // Not offered by this build: any address will do, the shape is one of the others then.
    if (answer == E_NOTIMPL)
        attempt->address = static_data;
}

static void
truncated_address(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    attempt->address = (void *)((uintptr_t)attempt->block & UINT32_MAX);
}

static void
tagged_address(struct attempt *attempt)
{
    attempt->block = attempt_alloc(attempt, attempt->shape->size_bytes);
    attempt->address = (void *)((uintptr_t)attempt->block | (uintptr_t)1 << attempt->shape->offset);
}

#define LARGE_BYTES ((size_t)5 << 20)
#define MEDIUM_BYTES ((size_t)200000)

static const struct shape shapes[] = {
    {"one byte into a block", block_at_offset, 64, 1},
    {"eight bytes into a block", block_at_offset, 64, 8},
    {"sixteen bytes into a block", block_at_offset, 64, 16},
    {"forty-eight bytes into a block", block_at_offset, 64, 48},
    {"the last byte of a block", block_at_last_byte, 64, 0},
    {"the end of the requested size, not a block start", block_at_offset, 1040, 1040},
    {"one byte before a block", block_at_offset, 64, -1},
    {"eight bytes before a block", block_at_offset, 64, -8},
    {"sixteen bytes before a block", block_at_offset, 64, -16},
    {"into an empty block", block_at_offset, 0, 8},
    {"into a block of 200000 bytes", block_at_offset, MEDIUM_BYTES, 4096},
    {"the last byte of a block of 200000 bytes", block_at_last_byte, MEDIUM_BYTES, 0},
    {"one byte into a large block", block_at_offset, LARGE_BYTES, 1},
    {"sixteen bytes into a large block", block_at_offset, LARGE_BYTES, 16},
    {"a page into a large block", block_at_offset, LARGE_BYTES, 4096},
    {"65536 bytes into a large block", block_at_offset, LARGE_BYTES, 65536},
    {"2 MiB into a large block", block_at_offset, LARGE_BYTES, 2 << 20},
    {"the last byte of a large block", block_at_last_byte, LARGE_BYTES, 0},
    {"freed already", block_freed, 64, 0},
    {"freed already, empty block", block_freed, 0, 0},
    {"freed already, 1 KiB", block_freed, 1024, 0},
    {"freed already, 200000 bytes", block_freed, MEDIUM_BYTES, 0},
    {"freed already, large", block_freed, LARGE_BYTES, 0},
    {"freed already, other frees since", block_freed_before_others, 64, 0},
    {"freed already by another thread", block_freed_by_another_thread, 64, 0},
    {"freed already by another thread, 200000 bytes", block_freed_by_another_thread, MEDIUM_BYTES,
     0},
    {"freed already by another thread, large", block_freed_by_another_thread, LARGE_BYTES, 0},
    {"freed and given back to the system", block_freed_and_trimmed, 3000, 0},
    {"freed and given back to the system, large", block_freed_and_trimmed, LARGE_BYTES, 0},
    {"into a freed block", interior_of_freed_block, 64, 16},
    {"into a freed large block", interior_of_freed_block, LARGE_BYTES, 65536},
    {"a slot never allocated", never_allocated_slot, 640, 0},
    {"a small slot never allocated", never_allocated_slot, 20, 0},
    {"the start of the block's page", start_of_unit, 64, 4096},
    {"the start of the block's 64 KiB", start_of_unit, 64, 65536},
    {"the start of the block's 2 MiB", start_of_unit, 64, 2 << 20},
    {"the start of the block's 1 GiB", start_of_unit, 64, 1 << 30},
    {"the heap object", address_of_the_object, 0, 0},
    {"the heap's record", address_of_the_heap_record, 0, 0},
    {"the memory manager", address_of_the_manager, 0, 0},
    {"a block of another object", block_of_another_object, 64, 0},
    {"a large block of another object", block_of_another_object, LARGE_BYTES, 0},
    {"a block of an executable object", block_of_an_executable_object, 64, 0},
    {"a block of an ended object", block_of_an_ended_object, 64, 0},
    {"a large block of an ended object", block_of_an_ended_object, LARGE_BYTES, 0},
    {"a block of a native heap", block_of_a_native_heap, 64, 0},
    {"a block of a destroyed heap", block_of_a_destroyed_heap, 64, 0},
    {"a block of the default heap", block_of_the_default_heap, 64, 0},
    {"a block of libc", block_of_libc, 64, 0},
    {"a large block of libc", block_of_libc, LARGE_BYTES, 0},
    {"mapped memory", address_in_a_mapping, 0, 0},
    {"inside mapped memory", address_in_a_mapping, 0, 4096 + 64},
    {"memory without access", address_without_access, 0, 64},
    {"memory unmapped since", address_unmapped, 0, 64},
    {"the stack", address_on_the_stack, 0, 0},
    {"static data", address_of_static_data, 0, 0},
    {"constant data", address_of_constant_data, 0, 0},
    {"thread-local data", address_of_thread_data, 0, 0},
    {"a function", address_of_a_function, 0, 0},
    {"memory of VirtualAlloc", address_from_virtual_alloc, 0, 0},
    {"the lower half of an address", truncated_address, 64, 0},
    {"an address with bit 47 set", tagged_address, 64, 47},
    {"an address with bit 48 set", tagged_address, 64, 48},
    {"an address with bit 56 set", tagged_address, 64, 56},
    {"an address with bit 63 set", tagged_address, 64, 63},
};

/* ---- One attempt ---------------------------------------------------------------------------- */

static void
attempt_prepare(void *argument)
{
    struct attempt *attempt = argument;
    for (int i = 0; i < NEIGHBOURS; i++) {
        attempt->neighbours[i] = attempt_alloc(attempt, NEIGHBOUR_BYTES);
        memset(attempt->neighbours[i], 0x40 + i, NEIGHBOUR_BYTES);
    }
    attempt->shape->prepare(attempt);
    if (attempt->block != NULL)
        memset(attempt->block, 0x99, attempt->shape->size_bytes);
    attempt->outcome = attempt->address == NULL ? NOT_PREPARED : AS_IT_MUST_BE;
}

static bool
attempt_contents_kept(const struct attempt *attempt)
{
    for (int i = 0; i < NEIGHBOURS; i++) {
        for (int k = 0; k < NEIGHBOUR_BYTES; k++) {
            if (attempt->neighbours[i][k] != 0x40 + i)
                return false;
        }
    }
    for (size_t k = 0; attempt->block != NULL && k < attempt->shape->size_bytes; k++) {
        if (attempt->block[k] != 0x99)
            return false;
    }
    return true;
}

// New blocks of the neighbours' class must not lie on live ones.
static bool
attempt_fresh_blocks_are_apart(struct attempt *attempt)
{
    enum { FRESH = 200 };
    uint32_t *fresh[FRESH];
    for (uint32_t i = 0; i < FRESH; i++) {
        fresh[i] = attempt_alloc(attempt, NEIGHBOUR_BYTES);
        *fresh[i] = i;
    }
    bool apart = attempt_contents_kept(attempt);
    for (uint32_t i = 0; i < FRESH; i++) {
        apart = apart && *fresh[i] == i;
        apart = test_heap_free(attempt->heap, fresh[i]) == S_OK && apart;
    }
    return apart;
}

static int
attempt_judge(struct attempt *attempt)
{
    for (int i = 0; i < 3; i++) {
        if (test_heap_free(attempt->heap, attempt->address) != HOST_E_INVALIDOPERATION)
            return WRONG_ANSWER;
    }
    if (!attempt_contents_kept(attempt))
        return CONTENTS_CHANGED;
    if (attempt->block != NULL && !test_is_live(attempt->block))
        return BLOCK_NOT_LIVE;
    if (!attempt_fresh_blocks_are_apart(attempt))
        return HANDED_OUT_TWICE;
    if (attempt->block != NULL && test_heap_free(attempt->heap, attempt->block) != S_OK)
        return LAST_FREE_REFUSED;
    for (int i = 0; i < NEIGHBOURS; i++) {
        if (test_heap_free(attempt->heap, attempt->neighbours[i]) != S_OK)
            return LAST_FREE_REFUSED;
    }
    if (attempt->block != NULL && test_heap_free(attempt->heap, attempt->block) == S_OK)
        return DOUBLE_FREE_TAKEN;
    return AS_IT_MUST_BE;
}

static void
attempt_free(void *argument)
{
    struct attempt *attempt = argument;
    if (attempt->outcome == AS_IT_MUST_BE)
        attempt->outcome = attempt_judge(attempt);
}

static int
attempt_free_in_child(void *argument)
{
    attempt_free(argument);
    return ((struct attempt *)argument)->outcome;
}

static void
attempt_clean(struct attempt *attempt)
{
    if (attempt->other_heap != NULL)
        test_heap_end(attempt->other_heap);
    if (attempt->native_heap != NULL)
        hh_heap_destroy(attempt->native_heap);
    if (attempt->mapping != NULL)
        munmap(attempt->mapping, 1 << 20);
    free(attempt->libc_block);
    test_heap_end(attempt->heap);
}

typedef void place(struct attempt *attempt);

static void
all_shapes_in(place *run)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct attempt attempt = {.shape = &shapes[i], .heap = test_heap(MALLOC_THREADSAFE)};
        run(&attempt);
        if (attempt.outcome != AS_IT_MUST_BE) {
            fail_msg("%s: %s", shapes[i].name,
                     attempt.outcome < (int)COUNT_OF(outcome_names) ? outcome_names[attempt.outcome]
                                                                    : "ended by a signal");
        }
        attempt_clean(&attempt);
    }
}

/* ---- The places ----------------------------------------------------------------------------- */

static void
on_the_same_thread(struct attempt *attempt)
{
    attempt_prepare(attempt);
    attempt_free(attempt);
}

static void
on_another_thread(struct attempt *attempt)
{
    attempt_prepare(attempt);
    test_in_thread(attempt_free, attempt);
}

static void
after_the_owner_s_end(struct attempt *attempt)
{
    test_in_thread(attempt_prepare, attempt);
    attempt_free(attempt);
}

static void
in_a_child(struct attempt *attempt)
{
    attempt_prepare(attempt);
    attempt->outcome = test_in_child(attempt_free_in_child, attempt);
}

static void
bad_frees_on_the_allocating_thread_are_refused(void **state)
{
    (void)state;
    all_shapes_in(on_the_same_thread);
}

static void
bad_frees_on_another_thread_are_refused(void **state)
{
    (void)state;
    all_shapes_in(on_another_thread);
}

static void
bad_frees_after_the_allocating_thread_ended_are_refused(void **state)
{
    (void)state;
    all_shapes_in(after_the_owner_s_end);
}

static void
bad_frees_in_a_forked_child_are_refused(void **state)
{
    (void)state;
    all_shapes_in(in_a_child);
}

int
main(void)
{
    char stack[256] = "";
    stack_of_main = stack;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_frees_on_the_allocating_thread_are_refused),
        cmocka_unit_test(bad_frees_on_another_thread_are_refused),
        cmocka_unit_test(bad_frees_after_the_allocating_thread_ended_are_refused),
        cmocka_unit_test(bad_frees_in_a_forked_child_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
