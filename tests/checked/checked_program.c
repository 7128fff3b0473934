// SPDX-License-Identifier: MIT
/*
 * checked_program.c - misuse that only the checked library sees, one shape per argument, for the
 * texts of its reports (run_reports.py). Written bytes are even: no byte of a canary is.
 */
#include <alloca.h>
#include <pthread.h>

#include "checked/front.h"

PLAIN_FUNCTION(size_t, hh_check_blocks, (void), ())
PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_free, (hh_heap * heap, void *block), (heap, block))

enum { SIZE = 700, LARGE = 1000000, LARGE_PAGES = 1 << 20 };

static volatile char *block;

// Two calls deep, so that a report has something to show.
__attribute__((noinline)) static void
take(size_t size_bytes)
{
    block = malloc(size_bytes);
    check(block != NULL);
}

__attribute__((noinline)) static void
give(void)
{
    free((void *)block);
}

static void
overflow_by_1(void)
{
    take(SIZE);
    block[SIZE] = 0;
    give();
}

static void
overflow_by_8(void)
{
    take(SIZE);
    for (int at = 0; at < 8; at++)
        block[SIZE + at] = 'B';
    give();
}

static void
overflow_of_whole_class(void)
{
    take(688); // with the canary exactly its class
    block[688] = 'B';
    give();
}

static void
overflow_of_empty(void)
{
    take(0);
    block[0] = 'B';
    give();
}

static void
overflow_seen_by_realloc(void)
{
    take(SIZE);
    block[SIZE + 3] = 0;
    block = realloc((void *)block, 2 * SIZE);
}

static void
overflow_never_freed(void)
{
    take(SIZE);
    block[SIZE] = 0;
}

static void
overflow_on_demand(void)
{
    take(SIZE);
    block[SIZE + 1] = 0;
    plain_hh_check_blocks();
}

// The slot before is looked at: with many blocks all but the first of a slab have one.
static void
underflow_by_1(void)
{
    for (int turn = 0; turn < 40; turn++)
        take(SIZE);
    hh_block_info info;
    do {
        take(SIZE);
        plain_owns((const char *)block - 1, &info);
    } while (info.base == NULL || info.heap == NULL);
    block[-1] = 'B';
    give();
}

static void
write_after_free_at_exit(void)
{
    take(SIZE);
    give();
    block[10] = 'B';
}

static void
write_after_free_by_age(void)
{
    take(SIZE);
    give();
    block[0] = 'B';
    for (int turn = 0; turn < 10000; turn++)
        free(malloc(SIZE));
}

static void
write_after_realloc(void)
{
    take(SIZE);
    volatile char *moved = realloc((void *)block, SIZE + 1);
    check(moved != block);
    block[SIZE - 1] = 'B';
    plain_hh_check_blocks();
}

static void
large_overflow(void)
{
    take(LARGE); // ends inside a page
    block[LARGE] = 0;
    give();
}

static void
large_overflow_seen_by_realloc(void)
{
    take(LARGE);
    block[LARGE + 1] = 0;
    block = realloc((void *)block, LARGE + 20); // stays where it is
}

static void
large_overflow_into_guard(void)
{
    take(LARGE_PAGES);
    block[LARGE_PAGES] = 'B';
}

static void
large_read_after_free(void)
{
    take(LARGE);
    give();
    check(block[5] != 1); // faults
}

static void
heap_overflow(void)
{
    hh_heap_options options = {.struct_size = sizeof options, .name = "second"};
    hh_heap *heap;
    check(plain_hh_heap_create(&options, &heap) == HH_OK);
    block = plain_hh_heap_alloc(heap, SIZE);
    block[SIZE] = 0;
    check(plain_hh_heap_free(heap, (void *)block) == HH_OK);
}

#ifndef HH_CHECKED_NATIVE // frees that are refused: the native calls answer and say nothing

PLAIN_FUNCTION(void, free_sized, (void *given, size_t size_bytes), (given, size_bytes))
PLAIN_FUNCTION(void, free_aligned_sized, (void *given, size_t alignment_bytes, size_t size_bytes),
               (given, alignment_bytes, size_bytes))

static void
double_free(void)
{
    take(SIZE);
    give();
    give();
}

static void *
thread_give(void *unused)
{
    give();
    return unused;
}

static void
double_free_first_by_thread(void)
{
    pthread_t thread;
    take(SIZE);
    check(pthread_create(&thread, NULL, thread_give, NULL) == 0);
    check(pthread_join(thread, NULL) == 0);
    give();
}

static void
double_free_after_rest(void)
{
    take(SIZE);
    volatile char *freed = block;
    give();
    // Out of quarantine by now, and with luck not used again: sizes differ.
    for (int turn = 0; turn < 10000; turn++)
        free(malloc(3000));
    block = freed;
    give();
}

static void
realloc_freed(void)
{
    take(SIZE);
    give();
    block = realloc((void *)block, 2 * SIZE);
}

static void
usable_size_of_freed(void)
{
    take(SIZE);
    give();
    size_t (*volatile usable)(void *);
    void *symbol = dlsym(RTLD_DEFAULT, "malloc_usable_size");
    memcpy((void *)&usable, &symbol, sizeof symbol);
    check(usable((void *)block) == 0);
}

static void
interior(void)
{
    take(SIZE);
    free((void *)(block + 16));
}

static void
wrong_size(void)
{
    take(SIZE);
    plain_free_sized((void *)block, SIZE - 1); // of the same class
}

static void
wrong_alignment(void)
{
    block = aligned_alloc(64, SIZE);
    plain_free_aligned_sized((void *)block, 128, SIZE);
}

static void
large_double_free(void)
{
    take(LARGE);
    give();
    give();
}

#endif

__attribute__((noinline)) static void
take_from_next_page(void)
{
    volatile char room[1024];
    room[0] = 0;
    take(SIZE + (size_t)room[0]);
}

// The stack has grown by much since it was looked at, and who called lies on another page of it.
static void
overflow_from_deep_stack(void)
{
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t above = (uintptr_t)__builtin_frame_address(0) - 512;
    free(malloc(SIZE));
    volatile char *skipped = alloca((5 << 20) + above % page_bytes);
    skipped[0] = 0;
    take_from_next_page();
    block[SIZE] = 0;
    give();
}

static const struct {
    const char *name;
    void (*act)(void);
} shapes[] = {
    {"overflow_by_1", overflow_by_1},
    {"overflow_by_8", overflow_by_8},
    {"overflow_of_whole_class", overflow_of_whole_class},
    {"overflow_of_empty", overflow_of_empty},
    {"overflow_seen_by_realloc", overflow_seen_by_realloc},
    {"overflow_never_freed", overflow_never_freed},
    {"overflow_on_demand", overflow_on_demand},
    {"overflow_from_deep_stack", overflow_from_deep_stack},
    {"underflow_by_1", underflow_by_1},
    {"write_after_free_at_exit", write_after_free_at_exit},
    {"write_after_free_by_age", write_after_free_by_age},
    {"write_after_realloc", write_after_realloc},
    {"large_overflow", large_overflow},
    {"large_overflow_seen_by_realloc", large_overflow_seen_by_realloc},
    {"large_overflow_into_guard", large_overflow_into_guard},
    {"large_read_after_free", large_read_after_free},
    {"heap_overflow", heap_overflow},
#ifndef HH_CHECKED_NATIVE
    {"double_free", double_free},
    {"double_free_first_by_thread", double_free_first_by_thread},
    {"double_free_after_rest", double_free_after_rest},
    {"realloc_freed", realloc_freed},
    {"usable_size_of_freed", usable_size_of_freed},
    {"interior", interior},
    {"wrong_size", wrong_size},
    {"wrong_alignment", wrong_alignment},
    {"large_double_free", large_double_free},
#endif
};

int
main(int argc, char **argv)
{
    alarm(60);
    for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++) {
        if (argc == 2 && strcmp(argv[1], shapes[shape].name) == 0) {
            shapes[shape].act();
            return 0;
        }
        if (argc == 1)
            puts(shapes[shape].name);
    }
    return argc == 1 ? 0 : 2;
}
