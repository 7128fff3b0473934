// SPDX-License-Identifier: MIT
/*
 * report_program.c - a program that misuses its heap in the way its argument names, for the texts
 * of reports. Blocks have sizes that nothing else in the process asks for, so that their slots are
 * the same in every run.
 */
#include "support/plain.h"

PLAIN_FUNCTION(void, free_sized, (void *block, size_t size_bytes), (block, size_bytes))
PLAIN_FUNCTION(void, free_aligned_sized, (void *block, size_t alignment_bytes, size_t size_bytes),
               (block, alignment_bytes, size_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))

enum { SIZE = 896, LARGE = 1 << 20 };

static char *volatile first, *volatile block, *volatile last;

static void
make_three(size_t size_bytes)
{
    first = malloc(size_bytes);
    block = malloc(size_bytes);
    last = malloc(size_bytes);
}

static void
double_free(void)
{
    make_three(SIZE);
    free(block);
    free(block);
}

static void
interior(void)
{
    make_three(SIZE);
    free(last);
    free(block + 48);
}

static void
first_slot(void)
{
    make_three(SIZE);
    free(first);
    free(first);
}

static void
realloc_freed(void)
{
    make_three(SIZE);
    free(block);
    first = realloc(block, 2 * SIZE);
}

static void
other_heap(void)
{
    hh_heap_options options = {.struct_size = sizeof options, .name = "second"};
    hh_heap *heap;
    check(plain_hh_heap_create(&options, &heap) == HH_OK);
    block = plain_hh_heap_alloc(heap, SIZE);
    free(block);
}

static void
wrong_size(void)
{
    make_three(SIZE);
    plain_free_sized(block, 100);
}

static void
wrong_alignment(void)
{
    make_three(SIZE);
    plain_free_aligned_sized(block, 4096, SIZE);
}

static void
large_double_free(void)
{
    block = malloc(LARGE);
    free(block);
    free(block);
}

static void
large_interior(void)
{
    block = malloc(LARGE);
    free(block + 4096);
}

static void
foreign(void)
{
    static char bytes[64];
    block = bytes;
    free(block + 16);
}

static const struct {
    const char *name;
    void (*act)(void);
} shapes[] = {
    {"double_free", double_free},         {"interior", interior},
    {"first_slot", first_slot},           {"realloc_freed", realloc_freed},
    {"other_heap", other_heap},           {"wrong_size", wrong_size},
    {"wrong_alignment", wrong_alignment}, {"large_double_free", large_double_free},
    {"large_interior", large_interior},   {"foreign", foreign},
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
