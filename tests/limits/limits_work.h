// SPDX-License-Identifier: MIT
/*
 * tests/limits/limits_work.h - a heap in processes that may use little address space, or have no
 * mapping left.
 *
 * Each limit is set in a child that then starts the program anew, since a heap plans its address
 * space when the process starts.
 */
#ifndef HH_TESTS_LIMITS_LIMITS_WORK_H
#define HH_TESTS_LIMITS_LIMITS_WORK_H

#include <stddef.h>

// The heap under test.
struct limits_heap {
    void *(*alloc)(size_t size_bytes);
    void *(*alloc_zeroed)(size_t size_bytes);
    void *(*resize)(void *block, size_t size_bytes); // NULL on failure, the block stays
    int (*free)(void *block);                        // 0 = done
};

// main() of a test. Exit code: 0 = good, 1 = a line on standard error says what is wrong, 77.
int limits_main(int count, char **arguments, const struct limits_heap *heap);

#endif
