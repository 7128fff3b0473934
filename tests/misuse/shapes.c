// SPDX-License-Identifier: MIT
/*
 * misuse/shapes.c - every shape of misuse, one row each; see attempt.h. Contract FR-1, FR-3, FR-4,
 * FR-6, section 6.3.
 */
#include "attempt.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE_BYTES ((size_t)5 << 20)
#define MEDIUM_BYTES ((size_t)200000)
#define WATCHED_BYTES ((size_t)65536)
#define MAPPED_BYTES ((size_t)1 << 20)

// Reasons, for the column why.
#define FOREIGN (1u << HH_BAD_FOREIGN)
#define INTERIOR (1u << HH_BAD_INTERIOR)
#define NOT_LIVE (1u << HH_BAD_NOT_LIVE)
#define OTHER_HEAP (1u << HH_BAD_OTHER_HEAP)
#define SIZE (1u << HH_BAD_SIZE_MISMATCH)
#define ALIGNMENT (1u << HH_BAD_ALIGNMENT_MISMATCH)
// A large block's address when it has been freed: its granules may be kept or gone.
#define GONE (NOT_LIVE | FOREIGN)

/* ---- Inside a block, or beside it ----------------------------------------------------------- */

static void
block_keep(struct misuse_attempt *attempt, void *block, size_t size_bytes)
{
    attempt->block = block;
    attempt->block_bytes = size_bytes < WATCHED_BYTES ? size_bytes : WATCHED_BYTES;
}

static void
block_at_offset(struct misuse_attempt *attempt)
{
    size_t size_bytes = attempt->shape->size_bytes;
    size_t alignment_bytes = attempt->shape->alignment_bytes;
    block_keep(attempt, attempt->door->alloc(&attempt->heap, alignment_bytes, size_bytes),
               size_bytes);
    attempt->address = attempt->block + attempt->shape->offset;
}

static void
block_at_last_byte(struct misuse_attempt *attempt)
{
    block_at_offset(attempt);
    attempt->address =
        attempt->block + hh_heap_usable_size(attempt->heap.native, attempt->block) - 1;
}

static void
block_misaligned(struct misuse_attempt *attempt)
{
    do
        block_at_offset(attempt);
    while ((uintptr_t)attempt->block % attempt->shape->claim.alignment_bytes == 0);
}

// A block between two slots of its size. Sampled blocks, which lie alone, are passed over.
static void
block_among_slots(struct misuse_attempt *attempt)
{
    enum { TRIES = 2000 };
    size_t size_bytes = attempt->shape->size_bytes;
    for (int i = 0; i < TRIES; i++) {
        hh_block_info before, after;
        uint8_t *block = misuse_alloc(attempt, size_bytes);
        size_t step_bytes = hh_heap_usable_size(attempt->heap.native, block);
        hh_owns(block - step_bytes, &before);
        hh_owns(block + step_bytes, &after);
        if (before.base == block - step_bytes && after.base == block + step_bytes) {
            block_keep(attempt, block, size_bytes);
            attempt->address = block + attempt->shape->offset;
            return;
        }
    }
}

static void
slot_never_allocated(struct misuse_attempt *attempt)
{
    block_among_slots(attempt);
    size_t step_bytes = hh_heap_usable_size(attempt->heap.native, attempt->block);
    hh_block_info info;
    for (uint8_t *slot = attempt->block + step_bytes; (uintptr_t)slot % 65536 != 0;
         slot += step_bytes) {
        hh_owns(slot, &info);
        if (info.base != slot)
            return;
        if (!info.live)
            attempt->address = slot; // the last one of all: nobody had it yet
    }
}

// Behind the last block of a slab of 64 KiB, where no block fits any more.
static void
tail_of_a_slab(struct misuse_attempt *attempt)
{
    block_among_slots(attempt);
    size_t step_bytes = hh_heap_usable_size(attempt->heap.native, attempt->block);
    uintptr_t slab = (uintptr_t)attempt->block & ~(uintptr_t)65535;
    attempt->address = (void *)(slab + 65536 / step_bytes * step_bytes + attempt->shape->offset);
    if (65536 % step_bytes <= attempt->shape->offset)
        attempt->outcome = MISUSE_NOT_PREPARED; // it has no tail: this is the next slab
}

// Where headers would be if there were any: the start of the block's page, 64 KiB, 2 MiB, 1 GiB.
static void
start_of_unit(struct misuse_attempt *attempt)
{
    block_among_slots(attempt);
    uint8_t *start = (uint8_t *)((uintptr_t)attempt->block & ~(attempt->shape->offset - 1));
    // One byte on if a block happens to start there.
    attempt->address = misuse_is_live(start) ? start + 1 : start;
}

/* ---- Freed already -------------------------------------------------------------------------- */

static void
address_free(struct misuse_attempt *attempt)
{
    if (!misuse_free(attempt->door, &attempt->heap, attempt->address))
        attempt->outcome = MISUSE_FALSE_REJECT;
}

// A companion of its size stays live, so that the slab stays, too.
static void
block_with_companion(struct misuse_attempt *attempt)
{
    block_at_offset(attempt);
    attempt->address = misuse_alloc(attempt, attempt->shape->size_bytes);
}

static void
block_freed(struct misuse_attempt *attempt)
{
    block_with_companion(attempt);
    address_free(attempt);
    attempt->address = (char *)attempt->address + attempt->shape->offset;
}

// offset: how many blocks of its size are freed after it.
static void
block_freed_before_others(struct misuse_attempt *attempt)
{
    enum { MOST = 10000 };
    static void *others[MOST];
    size_t count = attempt->shape->offset;
    for (size_t i = 0; i < count; i++)
        others[i] = misuse_alloc(attempt, attempt->shape->size_bytes);
    block_keep(attempt, misuse_alloc(attempt, attempt->shape->size_bytes),
               attempt->shape->size_bytes);
    attempt->address = others[count / 2];
    others[count / 2] = misuse_alloc(attempt, attempt->shape->size_bytes);
    address_free(attempt);
    for (size_t i = 0; i < count; i++)
        misuse_free(attempt->door, &attempt->heap, others[i]);
}

static void
block_freed_by_another_thread(struct misuse_attempt *attempt)
{
    block_with_companion(attempt);
    misuse_help(attempt, address_free);
}

static void
address_alloc(struct misuse_attempt *attempt)
{
    attempt->address = misuse_alloc(attempt, attempt->shape->size_bytes);
}

// Another thread's block, freed by this one.
static void
block_of_another_thread_freed(struct misuse_attempt *attempt)
{
    block_at_offset(attempt);
    misuse_help(attempt, address_alloc);
    address_free(attempt);
}

static void
block_freed_and_trimmed(struct misuse_attempt *attempt)
{
    block_freed(attempt);
    hh_trim();
}

static void
block_moved_by_realloc(struct misuse_attempt *attempt)
{
    void *moved = NULL;
    attempt->address = misuse_alloc(attempt, attempt->shape->size_bytes);
    if (hh_heap_realloc(attempt->heap.native, attempt->address, MEDIUM_BYTES, &moved) == HH_OK)
        block_keep(attempt, moved, MEDIUM_BYTES);
}

// Freed, and its memory carved anew for blocks that are not where it was.
static void
memory_serves_anew(struct misuse_attempt *attempt, struct misuse_heap *heap)
{
    enum { BLOCKS = 4000 };
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = misuse_alloc(attempt, attempt->shape->size_bytes);
    for (int i = 0; i < BLOCKS; i++)
        misuse_free(attempt->door, &attempt->heap, blocks[i]);
    hh_trim();
    for (int i = 0; i < BLOCKS; i++) {
        if (hh_heap_alloc(heap->native, attempt->shape->offset) == NULL)
            attempt->outcome = MISUSE_NOT_PREPARED;
    }
    for (int i = BLOCKS / 2; i < BLOCKS; i++) {
        if (!misuse_is_live(blocks[i]))
            attempt->address = blocks[i];
    }
}

static void
memory_serves_another_class(struct misuse_attempt *attempt)
{
    memory_serves_anew(attempt, &attempt->heap);
}

static void
memory_serves_another_heap(struct misuse_attempt *attempt)
{
    struct misuse_heap other = {NULL, NULL};
    if (hh_heap_create(NULL, &other.native) != HH_OK)
        return;
    attempt->native_heap = other.native;
    memory_serves_anew(attempt, &other);
}

static void *
debug_alloc(struct misuse_attempt *attempt)
{
    IHostMalloc *object = attempt->heap.object;
    void *block = NULL;
    char file[] = "file.c";
    attempt->outcome = object == NULL ? MISUSE_NOT_HERE : attempt->outcome;
    if (object != NULL)
        object->lpVtbl->DebugAlloc(object, attempt->shape->size_bytes, eTaskCritical, file, 7,
                                   &block);
    return block;
}

static void
debug_block_freed(struct misuse_attempt *attempt)
{
    block_keep(attempt, debug_alloc(attempt), attempt->shape->size_bytes);
    attempt->address = debug_alloc(attempt);
    if (attempt->outcome == MISUSE_AS_IT_MUST_BE)
        address_free(attempt);
}

static void
debug_block_at_offset(struct misuse_attempt *attempt)
{
    block_keep(attempt, debug_alloc(attempt), attempt->shape->size_bytes);
    attempt->address = attempt->block + attempt->shape->offset;
}

/* ---- Other heaps ---------------------------------------------------------------------------- */

// Whether all threads but this one sleep.
static bool
others_sleep(void)
{
    DIR *tasks = opendir("/proc/self/task");
    bool asleep = tasks != NULL;
    for (struct dirent *task; asleep && (task = readdir(tasks)) != NULL;) {
        char path[300], text[200], state = 'S';
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        int file = open(path, O_RDONLY);
        ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
        close(file);
        text[length < 0 ? 0 : length] = '\0';
        const char *name_end = strrchr(text, ')');
        if (name_end != NULL && atoi(task->d_name) > 0 && atoi(task->d_name) != (int)gettid())
            state = name_end[2];
        asleep = state == 'S';
    }
    if (tasks != NULL)
        closedir(tasks);
    return asleep;
}

/*
 * The memory manager, when all that its start sets going has come to rest: its thread loads a library,
 * which takes memory of the heap that is about to be counted.
 */
static bool
manager_get(IHostMemoryManager **manager)
{
    static bool rested;
    if (hh_get_memory_manager(manager) != S_OK)
        return false;
    for (int turn = 0; turn < 3000 && !rested; turn++) {
        usleep(2000);
        void *library = dlopen("liburcu-bp.so.8", RTLD_LAZY | RTLD_NOLOAD);
        rested = library != NULL && others_sleep();
        if (library != NULL)
            dlclose(library);
    }
    rested = true;
    return true;
}

static void
object_make(struct misuse_attempt *attempt, uint32_t type)
{
    IHostMemoryManager *manager;
    if (manager_get(&manager) &&
        manager->lpVtbl->CreateMalloc(manager, type, &attempt->object) == S_OK)
        attempt->object->lpVtbl->Alloc(attempt->object, attempt->shape->size_bytes, eTaskCritical,
                                       &attempt->address);
}

static void
block_of_another_object(struct misuse_attempt *attempt)
{
    object_make(attempt, MALLOC_THREADSAFE);
}

static void
block_of_an_executable_object(struct misuse_attempt *attempt)
{
    object_make(attempt, MALLOC_EXECUTABLE);
}

static void
block_of_an_ended_object(struct misuse_attempt *attempt)
{
    object_make(attempt, MALLOC_THREADSAFE);
    attempt->object->lpVtbl->Release(attempt->object);
    attempt->object = NULL;
}

static void
block_of_a_native_heap(struct misuse_attempt *attempt)
{
    if (hh_heap_create(NULL, &attempt->native_heap) == HH_OK)
        attempt->address = hh_heap_alloc(attempt->native_heap, attempt->shape->size_bytes);
}

static void
interior_of_a_native_heap_s_block(struct misuse_attempt *attempt)
{
    block_of_a_native_heap(attempt);
    attempt->address = (char *)attempt->address + attempt->shape->offset;
}

static void
block_of_a_destroyed_heap(struct misuse_attempt *attempt)
{
    block_of_a_native_heap(attempt);
    hh_heap_destroy(attempt->native_heap);
    attempt->native_heap = NULL;
}

static void
block_of_the_default_heap(struct misuse_attempt *attempt)
{
    static void *block; // never freed
    if (attempt->heap.native == hh_heap_default())
        attempt->outcome = MISUSE_NOT_HERE;
    else if (block == NULL)
        block = hh_heap_alloc(hh_heap_default(), attempt->shape->size_bytes);
    attempt->address = block;
}

/* ---- Not memory of heaps -------------------------------------------------------------------- */

static void
address_of_the_object(struct misuse_attempt *attempt)
{
    attempt->address = attempt->heap.object;
    if (attempt->heap.object == NULL)
        attempt->outcome = MISUSE_NOT_HERE;
}

static void
address_of_the_heap_record(struct misuse_attempt *attempt)
{
    attempt->address = (char *)attempt->heap.native + attempt->shape->offset;
}

static void
address_of_the_manager(struct misuse_attempt *attempt)
{
    manager_get((IHostMemoryManager **)&attempt->address);
}

// libc's own malloc, also where malloc is ours. Not freed: it is another one's for good.
static void
block_of_libc(struct misuse_attempt *attempt)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *symbol = libc != NULL ? dlsym(libc, "malloc") : NULL;
    static void *small, *large;
    void *(*libc_malloc)(size_t size_bytes);
    if (symbol == NULL)
        return;
    memcpy(&libc_malloc, &symbol, sizeof libc_malloc);
    void **block = attempt->shape->size_bytes < LARGE_BYTES ? &small : &large;
    if (*block == NULL)
        *block = libc_malloc(attempt->shape->size_bytes);
    attempt->address = *block;
}

static void
address_in_a_mapping(struct misuse_attempt *attempt)
{
    void *mapping =
        mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    attempt->mapping = mapping == MAP_FAILED ? NULL : mapping;
    attempt->address = (char *)attempt->mapping + attempt->shape->offset;
}

static void
address_without_access(struct misuse_attempt *attempt)
{
    address_in_a_mapping(attempt);
    mprotect(attempt->mapping, MAPPED_BYTES, PROT_NONE);
}

static void
address_unmapped(struct misuse_attempt *attempt)
{
    address_in_a_mapping(attempt);
    munmap(attempt->mapping, MAPPED_BYTES);
    attempt->mapping = NULL;
}

// Where no slab is yet: behind the last one of the block's region, and further up.
static void
hole_of_the_window(struct misuse_attempt *attempt)
{
    block_among_slots(attempt);
    uintptr_t step_bytes = attempt->shape->offset;
    hh_block_info info;
    for (uintptr_t at = ((uintptr_t)attempt->block & ~(step_bytes - 1)) + step_bytes;
         at < (uintptr_t)attempt->block + 64 * step_bytes; at += step_bytes) {
        hh_owns((void *)at, &info);
        if (info.heap == NULL) {
            attempt->address = (void *)at;
            return;
        }
    }
}

static void
address_on_the_stack(struct misuse_attempt *attempt)
{
    // The attempt itself lies in a frame of main, below all others.
    attempt->address = (void *)(((uintptr_t)attempt + 63) & ~(uintptr_t)63);
}

static char static_data[64] __attribute__((aligned(64)));
static char zeroed_data[1 << 16] __attribute__((aligned(64)));
static const char constant_data[64] __attribute__((aligned(64))) = "constant";
static _Thread_local char thread_data[64] __attribute__((aligned(64)));

static void
address_of_static_data(struct misuse_attempt *attempt)
{
    static_data[0] = 1;
    attempt->address = static_data;
}

static void
address_of_zeroed_data(struct misuse_attempt *attempt)
{
    attempt->address = zeroed_data + 4096;
}

static void
address_of_constant_data(struct misuse_attempt *attempt)
{
    attempt->address = (void *)(uintptr_t)constant_data;
}

static void
address_of_thread_data(struct misuse_attempt *attempt)
{
    attempt->address = thread_data;
}

static void
address_of_a_function(struct misuse_attempt *attempt)
{
    attempt->address = (void *)(uintptr_t)&address_of_thread_data;
}

static void
address_of_the_kernel_s_page(struct misuse_attempt *attempt)
{
    attempt->address = (void *)getauxval(AT_SYSINFO_EHDR);
}

static void
address_from_virtual_alloc(struct misuse_attempt *attempt)
{
    IHostMemoryManager *manager;
    static void *memory; // not freed: the same for all
    if (memory == NULL && manager_get(&manager))
        manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE | MEM_COMMIT,
                                      PAGE_READWRITE, eTaskCritical, &memory);
    attempt->address = memory;
}

static void
truncated_address(struct misuse_attempt *attempt)
{
    block_at_offset(attempt);
    attempt->address = (void *)((uintptr_t)attempt->block & UINT32_MAX);
}

static void
tagged_address(struct misuse_attempt *attempt)
{
    uintptr_t bit = attempt->shape->offset;
    block_keep(attempt, misuse_alloc(attempt, attempt->shape->size_bytes),
               attempt->shape->size_bytes);
    attempt->address = (void *)((uintptr_t)attempt->block ^ (uintptr_t)1 << bit);
}

static void
number(struct misuse_attempt *attempt)
{
    attempt->address = (void *)attempt->shape->offset;
}

/* ---- The rows ------------------------------------------------------------------------------- */

// An address that is no live block of the heap, whatever is done with it.
#define ROW(name, prepare, size_bytes, offset, why)                                                \
    {                                                                                              \
        name, prepare, size_bytes, (uintptr_t)(offset), why, MISUSE_ANY, 0,                        \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }
// A block, and what its caller wrongly believes of its size.
#define SIZE_ROW(name, size_bytes, claimed_bytes)                                                  \
    {                                                                                              \
        name, block_at_offset, size_bytes, 0, SIZE, MISUSE_SIZED | MISUSE_ALIGNED_SIZED, 0,        \
        {                                                                                          \
            claimed_bytes, 16                                                                      \
        }                                                                                          \
    }

const struct misuse_shape misuse_shapes[] = {
    ROW("one byte into a block", block_at_offset, 64, 1, INTERIOR),
    ROW("eight bytes into a block", block_at_offset, 64, 8, INTERIOR),
    ROW("sixteen bytes into a block", block_at_offset, 64, 16, INTERIOR),
    ROW("the middle of a block", block_at_offset, 256, 128, INTERIOR),
    ROW("the last byte of a block", block_at_last_byte, 64, 0, INTERIOR),
    ROW("the end of the requested size", block_at_offset, 1040, 1040, INTERIOR),
    ROW("one byte before a block", block_among_slots, 64, -1, INTERIOR),
    ROW("eight bytes before a block", block_among_slots, 64, -8, INTERIOR),
    ROW("sixteen bytes before a block", block_among_slots, 64, -16, INTERIOR),
    ROW("into an empty block", block_at_offset, 0, 8, INTERIOR),
    ROW("the middle of a block of 20000 bytes", block_at_offset, 20000, 10000, INTERIOR),
    ROW("a page into a block of 200000 bytes", block_at_offset, MEDIUM_BYTES, 4096, INTERIOR),
    ROW("the middle of a block of 200000 bytes", block_at_offset, MEDIUM_BYTES, 100000, INTERIOR),
    ROW("the last byte of a block of 200000 bytes", block_at_last_byte, MEDIUM_BYTES, 0, INTERIOR),
    ROW("one byte into a large block", block_at_offset, LARGE_BYTES, 1, INTERIOR),
    ROW("sixteen bytes into a large block", block_at_offset, LARGE_BYTES, 16, INTERIOR),
    ROW("a page into a large block", block_at_offset, LARGE_BYTES, 4096, INTERIOR),
    ROW("65536 bytes into a large block", block_at_offset, LARGE_BYTES, 65536, INTERIOR),
    ROW("2 MiB into a large block", block_at_offset, LARGE_BYTES, 2 << 20, INTERIOR),
    ROW("the last byte of a large block", block_at_last_byte, LARGE_BYTES, 0, INTERIOR),
    ROW("freed already", block_freed, 64, 0, NOT_LIVE),
    ROW("freed already, empty block", block_freed, 0, 0, NOT_LIVE),
    ROW("freed already, 1 KiB", block_freed, 1024, 0, NOT_LIVE),
    ROW("freed already, 20000 bytes", block_freed, 20000, 0, NOT_LIVE),
    ROW("freed already, 200000 bytes", block_freed, MEDIUM_BYTES, 0, GONE),
    ROW("freed already, 1 MiB", block_freed, 1 << 20, 0, GONE),
    ROW("freed already, 64 MiB", block_freed, 64 << 20, 0, GONE),
    ROW("freed already, one other free since", block_freed_before_others, 64, 1, NOT_LIVE),
    ROW("freed already, 40 other frees since", block_freed_before_others, 64, 40, NOT_LIVE),
    ROW("freed already, 10000 other frees since", block_freed_before_others, 64, 10000, GONE),
    ROW("freed by another thread", block_freed_by_another_thread, 64, 0, NOT_LIVE),
    ROW("200000 bytes freed by another thread", block_freed_by_another_thread, MEDIUM_BYTES, 0,
        GONE),
    ROW("a large block freed by another thread", block_freed_by_another_thread, LARGE_BYTES, 0,
        GONE),
    ROW("freed, allocated by another thread", block_of_another_thread_freed, 64, 0, GONE),
    ROW("freed and given back to the system", block_freed_and_trimmed, 3000, 0, NOT_LIVE),
    ROW("large, freed and given back to the system", block_freed_and_trimmed, LARGE_BYTES, 0, GONE),
    ROW("the old place of a block that moved", block_moved_by_realloc, 64, 0, GONE),
    ROW("freed, its memory serves another class", memory_serves_another_class, 64, 1504,
        GONE | INTERIOR),
    ROW("freed, its memory serves another heap", memory_serves_another_heap, 64, 1504,
        GONE | INTERIOR),
    ROW("into a freed block", block_freed, 64, 16, INTERIOR),
    ROW("into a freed large block", block_freed, LARGE_BYTES, 65536, GONE | INTERIOR),
    ROW("freed already, from DebugAlloc", debug_block_freed, 64, 0, NOT_LIVE),
    ROW("large, freed already, from DebugAlloc", debug_block_freed, LARGE_BYTES, 0, GONE),
    ROW("into a block from DebugAlloc", debug_block_at_offset, 64, 16, INTERIOR),
    ROW("a slot never allocated", slot_never_allocated, 640, 0, NOT_LIVE),
    ROW("a small slot never allocated", slot_never_allocated, 20, 0, NOT_LIVE),
    ROW("the tail of a slab", tail_of_a_slab, 3072, 0, INTERIOR),
    ROW("into the tail of a slab", tail_of_a_slab, 3072, 15, INTERIOR),
    ROW("the start of the block's page", start_of_unit, 64, 4096, INTERIOR | NOT_LIVE),
    ROW("the start of the block's 64 KiB", start_of_unit, 64, 65536, INTERIOR | NOT_LIVE),
    ROW("the start of the block's 2 MiB", start_of_unit, 64, 2 << 20, INTERIOR | GONE | OTHER_HEAP),
    ROW("the start of the block's 1 GiB", start_of_unit, 64, 1 << 30, INTERIOR | GONE | OTHER_HEAP),
    ROW("the heap object", address_of_the_object, 64, 0, FOREIGN),
    ROW("the heap's record", address_of_the_heap_record, 64, 0, FOREIGN),
    ROW("inside the heap's record", address_of_the_heap_record, 64, 64, FOREIGN),
    ROW("the memory manager", address_of_the_manager, 64, 0, FOREIGN),
    ROW("a block of another object", block_of_another_object, 64, 0, OTHER_HEAP),
    ROW("a large block of another object", block_of_another_object, LARGE_BYTES, 0, OTHER_HEAP),
    ROW("a block of an executable object", block_of_an_executable_object, 64, 0, OTHER_HEAP),
    ROW("a block of an ended object", block_of_an_ended_object, 64, 0, OTHER_HEAP | GONE),
    ROW("a large block of an ended object", block_of_an_ended_object, 1 << 20, 0,
        OTHER_HEAP | GONE),
    ROW("a block of a native heap", block_of_a_native_heap, 64, 0, OTHER_HEAP),
    ROW("into a block of a native heap", interior_of_a_native_heap_s_block, 64, 16, INTERIOR),
    ROW("a block of a destroyed heap", block_of_a_destroyed_heap, 64, 0, GONE),
    ROW("a large block of a destroyed heap", block_of_a_destroyed_heap, LARGE_BYTES, 0, GONE),
    ROW("a block of the default heap", block_of_the_default_heap, 64, 0, OTHER_HEAP),
    ROW("a block of libc", block_of_libc, 64, 0, FOREIGN),
    ROW("a large block of libc", block_of_libc, LARGE_BYTES, 0, FOREIGN),
    ROW("mapped memory", address_in_a_mapping, 64, 0, FOREIGN),
    ROW("inside mapped memory", address_in_a_mapping, 64, 4096 + 64, FOREIGN),
    ROW("memory without access", address_without_access, 64, 64, FOREIGN),
    ROW("memory unmapped since", address_unmapped, 64, 64, FOREIGN),
    ROW("a hole of the window, 2 MiB on", hole_of_the_window, 64, 2 << 20, FOREIGN),
    ROW("a hole of the window, 64 MiB on", hole_of_the_window, 64, 64 << 20, FOREIGN),
    ROW("a hole of the window, 16 GiB on", hole_of_the_window, 64, 1ull << 34, FOREIGN),
    ROW("the stack", address_on_the_stack, 64, 0, FOREIGN),
    ROW("static data", address_of_static_data, 64, 0, FOREIGN),
    ROW("zeroed static data", address_of_zeroed_data, 64, 0, FOREIGN),
    ROW("constant data", address_of_constant_data, 64, 0, FOREIGN),
    ROW("thread-local data", address_of_thread_data, 64, 0, FOREIGN),
    ROW("a function", address_of_a_function, 64, 0, FOREIGN),
    ROW("the page of the kernel's fast calls", address_of_the_kernel_s_page, 64, 0, FOREIGN),
    ROW("memory of VirtualAlloc", address_from_virtual_alloc, 64, 0, FOREIGN),
    ROW("the lower half of an address", truncated_address, 64, 0, FOREIGN),
    ROW("an address with bit 46 turned over", tagged_address, 64, 46, FOREIGN),
    ROW("an address with bit 47 set", tagged_address, 64, 47, FOREIGN),
    ROW("an address with bit 48 set", tagged_address, 64, 48, FOREIGN),
    ROW("an address with bit 56 set", tagged_address, 64, 56, FOREIGN),
    ROW("an address with bit 63 set", tagged_address, 64, 63, FOREIGN),
    ROW("1", number, 64, 1, FOREIGN),
    ROW("16", number, 64, 16, FOREIGN),
    ROW("0xFFFF", number, 64, 0xFFFF, FOREIGN),
    ROW("the last page below the limit of user space", number, 64, 0x00007FFFFFFFE000, FOREIGN),
    ROW("the limit of user space", number, 64, 0x00007FFFFFFFF000, FOREIGN),
    ROW("the first non-canonical address", number, 64, 0x0000800000000000, FOREIGN),
    ROW("a non-canonical address", number, 64, 0x8000123456789AB0, FOREIGN),
    ROW("an address of the kernel", number, 64, 0xFFFFFFFF81000000, FOREIGN),
    ROW("the kernel's legacy page", number, 64, 0xFFFFFFFFFF600000, FOREIGN),
    ROW("the last address", number, 64, UINTPTR_MAX, FOREIGN),

    SIZE_ROW("a block of 1000 bytes, named 10", 1000, 10),
    SIZE_ROW("a block of 1000 bytes, named 8", 1000, 8),
    SIZE_ROW("a block of 10 bytes, named 1000", 10, 1000),
    SIZE_ROW("a block of 64 bytes, named 65", 64, 65),
    SIZE_ROW("a block of 200000 bytes, named 64", MEDIUM_BYTES, 64),
    SIZE_ROW("a block of 200000 bytes, named 300000", MEDIUM_BYTES, 300000),
    SIZE_ROW("a block of 3 MiB, named 4 MiB", 3 << 20, 4 << 20),
    SIZE_ROW("a block of 3 MiB, named 65536", 3 << 20, 65536),
    SIZE_ROW("a block of 64 bytes, named PTRDIFF_MAX", 64, PTRDIFF_MAX),
    SIZE_ROW("a block of 64 bytes, named SIZE_MAX", 64, SIZE_MAX),
    {"an aligned block of 64 bytes, named 5000",
     block_at_offset,
     64,
     0,
     SIZE,
     MISUSE_ALIGNED_SIZED,
     64,
     {5000, 64}},
    {"not at the alignment of 64 that is named",
     block_misaligned,
     48,
     0,
     ALIGNMENT,
     MISUSE_ALIGNED | MISUSE_ALIGNED_SIZED,
     0,
     {48, 64}},
    {"not at the alignment of 4096 that is named",
     block_misaligned,
     2000,
     0,
     ALIGNMENT,
     MISUSE_ALIGNED | MISUSE_ALIGNED_SIZED,
     0,
     {2000, 4096}},
    {"an alignment of 0 named",
     block_at_offset,
     48,
     0,
     ALIGNMENT,
     MISUSE_ALIGNED | MISUSE_ALIGNED_SIZED,
     0,
     {48, 0}},
};
const size_t misuse_shape_count = COUNT_OF(misuse_shapes);
