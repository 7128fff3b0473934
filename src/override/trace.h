// SPDX-License-Identifier: MIT
/*
 * override/trace.h - HOSTHEAP_OPTIONS=trace:PATH, a record of what the program asks of malloc.
 *
 * Layer: override. May include: base, os, diag, options, heap, process.
 *
 * The calls go to PATH.<process id>, in the order in which they took effect, as records of 24 bytes
 * (bench/traces/README.md). While it records, no thread has a cache of its own
 * (hhi_threads_borrow), so every call leaves the fast path, and the slow ones of malloc answer as if
 * there were no memory. Only there, and in the slow path of free and realloc, is hhi_trace_on asked:
 * the fast paths do not know of it, and a refill is not longer either.
 *
 * It begins when the process does, before any thread has a cache. A child of fork does not record
 * and goes on as any program. It ends, too, after trace_calls calls and when the file can not be
 * written; that is reported.
 *
 * Progress: blocking while on; the lock is held while a full buffer is written, taken with no other
 * lock held, and held over a fork. Nothing allocates, errno is kept.
 */
#ifndef HHI_OVERRIDE_TRACE_H
#define HHI_OVERRIDE_TRACE_H

#include "base/atomic.h"
#include "base/compiler.h"

// 1: recording. Hidden, to be compared in place.
extern _Atomic uint8_t hhi_tracing __attribute__((visibility("hidden")));

HH_FAST bool
hhi_trace_on(void)
{
    // relaxed: who sees the end late finds it under the lock.
    return hh_unlikely(hh_load_relaxed(&hhi_tracing) != 0);
}

// A block was allocated; NULL: it was not.
void hhi_trace_malloc(const void *block, size_t size_bytes);
void hhi_trace_calloc(const void *block, size_t size_bytes);
void hhi_trace_aligned(const void *block, size_t alignment_bytes, size_t size_bytes);
// A block is about to be freed: noted before, for afterwards another thread may have the address.
void hhi_trace_free(const void *block);
/*
 * A realloc is about to give block up, and has given result: NULL with a size other than 0 means
 * that block is what it was.
 */
void hhi_trace_realloc_begin(const void *block);
void hhi_trace_realloc_end(const void *result, size_t size_bytes);

#endif
