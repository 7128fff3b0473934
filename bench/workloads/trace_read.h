// SPDX-License-Identifier: MIT
/*
 * workloads/trace_read.h - reads a trace (bench/traces/README.md) from memory.
 *
 * A trace that was read can be replayed by anybody: slots are below slot_count, free names a slot
 * that holds a block, malloc, calloc and aligned one that holds none, alignments are at most 1 GiB
 * and sizes below PTRDIFF_MAX.
 */
#ifndef HH_BENCH_TRACE_READ_H
#define HH_BENCH_TRACE_READ_H

#include <stddef.h>
#include <stdint.h>

enum bench_trace_kind {
    BENCH_TRACE_MALLOC,
    BENCH_TRACE_FREE,
    BENCH_TRACE_CALLOC,
    BENCH_TRACE_REALLOC, // of an empty slot: malloc
    BENCH_TRACE_ALIGNED,
};

struct bench_trace_call {
    uint32_t slot;
    uint8_t kind;
    uint8_t shift; // log2 of the alignment
    uint64_t size;
};

struct bench_trace {
    struct bench_trace_call *calls; // from bench_raw
    size_t call_count;
    size_t slot_count;
};

// NULL: read; bench_trace_end gives the memory back. Else what is wrong, and there is none.
const char *bench_trace_read(struct bench_trace *trace, const unsigned char *text, size_t length);
void bench_trace_end(struct bench_trace *trace);

#endif
