// SPDX-License-Identifier: MIT
// tests/support/host.h - the memory manager, its heaps, other threads and child processes for tests.
#ifndef HH_TESTS_SUPPORT_HOST_H
#define HH_TESTS_SUPPORT_HOST_H

#include <stdbool.h>

#include <hostheap/host_memory.h>

#include "support/test.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// The manager; the reference is kept until the process ends.
IHostMemoryManager *test_manager(void);
// A new heap, made with CreateMalloc(type).
IHostMalloc *test_heap(uint32_t type);
// Release the only reference.
void test_heap_end(IHostMalloc *heap);

// A block of task level, which must be there.
void *test_heap_alloc(IHostMalloc *heap, size_t size_bytes);
// The plain answer of IHostMalloc::Free.
hh_hresult test_heap_free(IHostMalloc *heap, void *block);

// Whether all bytes have this value.
bool test_bytes_are(const void *bytes, int value, size_t size_bytes);
// Whether block is a live block that starts there, as hh_owns says.
bool test_is_live(const void *block);

// Run on another thread, to its end.
void test_in_thread(void (*run)(void *), void *argument);
// Run in a forked child, at most 60 s. Its result (0..63), or 64 + the signal that ended it.
int test_in_child(int (*run)(void *), void *argument);

#endif
