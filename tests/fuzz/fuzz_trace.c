// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz_trace.c - the reader of the benchmarks' traces on any bytes, and the replay of what it
 * takes: slots must be as trace_read.h promises, every free taken, contents kept, nothing left.
 * An input without the traces' first line gets one.
 */
#include "fuzz.h"

#include <string.h>

#include <hostheap/hostheap.h>

#include "../../bench/bench.h"
#include "../../bench/workloads/trace_read.h"

enum { TEXT_BYTES = 1 << 16, BLOCK_BYTES_MAX = 1 << 20 };

static const char magic[] = "hostheap trace 1\n";
static hh_heap *heap;

// What the reader takes its own memory from.
void *
bench_raw(size_t size_bytes)
{
    fuzz_check(size_bytes > 0 && size_bytes <= (size_t)TEXT_BYTES * 64);
    return calloc(1, size_bytes);
}

void
bench_raw_free(void *memory, size_t size_bytes)
{
    (void)size_bytes;
    free(memory);
}

static void
replay_call(void **block, const struct bench_trace_call *call)
{
    // Larger ones would only take time.
    size_t size_bytes = call->size < BLOCK_BYTES_MAX ? call->size : BLOCK_BYTES_MAX;
    if (call->kind == BENCH_TRACE_FREE) {
        fuzz_check(*block != NULL && hh_heap_free(heap, *block) == HH_OK);
        *block = NULL;
        return;
    }
    fuzz_check(call->size <= PTRDIFF_MAX && call->shift <= 30);
    fuzz_check(call->kind == BENCH_TRACE_REALLOC || *block == NULL);
    if (call->kind == BENCH_TRACE_REALLOC)
        fuzz_check(hh_heap_realloc(heap, *block, size_bytes, block) == HH_OK);
    else if (call->kind == BENCH_TRACE_ALIGNED)
        *block = hh_heap_aligned_alloc(heap, (size_t)1 << call->shift % 21, size_bytes);
    else
        *block = hh_heap_alloc(heap, size_bytes);
    fuzz_check(*block != NULL);
    if (size_bytes > 0)
        ((volatile char *)*block)[size_bytes - 1] = 1;
}

static void
replay(const struct bench_trace *trace)
{
    hh_heap_stats stats;
    void **blocks = calloc(trace->slot_count, sizeof *blocks);
    fuzz_check(blocks != NULL);
    for (size_t i = 0; i < trace->call_count; i++) {
        fuzz_check(trace->calls[i].slot < trace->slot_count);
        replay_call(&blocks[trace->calls[i].slot], &trace->calls[i]);
    }
    for (size_t slot = 0; slot < trace->slot_count; slot++)
        fuzz_check(hh_heap_free(heap, blocks[slot]) == HH_OK);
    free(blocks);
    fuzz_check(hh_heap_get_stats(heap, &stats) == HH_OK && stats.live_blocks == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char text[TEXT_BYTES + sizeof magic];
    size_t head = 0;
    struct bench_trace trace;
    if (heap == NULL)
        fuzz_check(hh_heap_create(NULL, &heap) == HH_OK);
    if (size > TEXT_BYTES)
        return 0;
    if (size < sizeof magic || memcmp(data, magic, 4) != 0) {
        head = sizeof magic - 1;
        memcpy(text, magic, head);
    }
    memcpy(text + head, data, size);
    // A copy of exactly its size, so that a sanitizer sees what reads beyond.
    unsigned char *exact = malloc(head + size);
    fuzz_check(exact != NULL || head + size == 0);
    memcpy(exact, text, head + size);
    if (bench_trace_read(&trace, exact, head + size) == NULL) {
        replay(&trace);
        bench_trace_end(&trace);
    }
    free(exact);
    return 0;
}
