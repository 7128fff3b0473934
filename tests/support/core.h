// SPDX-License-Identifier: MIT
// tests/support/core.h - patterns, threads, child processes and censuses for tests of the core.
#ifndef HH_TESTS_SUPPORT_CORE_H
#define HH_TESTS_SUPPORT_CORE_H

#include <stdbool.h>

#include "heap/heap.h"
#include "support/test.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// A number of the sequence that starts at *seed; at most 31 bits.
uint64_t core_random(uint64_t *seed);

// Write a pattern of tag all over a block: its ends and every 64th byte are marked.
void core_fill(void *block, size_t size_bytes, uint64_t tag);
bool core_holds(const void *block, size_t size_bytes, uint64_t tag);
bool core_is_zero(const void *block, size_t size_bytes);

// A positive number from the environment.
unsigned core_setting(const char *name, unsigned fallback);
uint64_t core_now_ms(void);

// Run on another thread, to its end.
void core_in_thread(void (*run)(void *), void *argument);
// Run in a forked child, at most 60 s: its result (0..63), or 64 + the signal that ended it.
int core_in_child(int (*run)(void *), void *argument);

// Live blocks of a heap as the walk finds them; checks that the statistics say the same.
size_t core_census(struct hh_heap *heap);

// Check condition until it holds, at most 20 s, with short sleeps. False: it never did.
bool core_wait_for(bool (*condition)(void *), void *argument);

// A block of the heap, 0 = plain failure is an error of the test.
void *core_alloc(struct hh_heap *heap, size_t size_bytes);
// A new heap without limits.
struct hh_heap *core_heap(void);

#endif
