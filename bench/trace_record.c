// SPDX-License-Identifier: MIT
/*
 * bench/trace_record.c - a preloaded object that writes down what a program asks of malloc.
 *
 * LD_PRELOAD=libbench_trace.so BENCH_TRACE_OUT=FILE BENCH_TRACE_EVENTS=N program
 *
 * Writes records of 24 bytes to FILE.<pid>, at most N of them; scripts/bench trace turns them into
 * the short form that the replay reads (bench/traces/README.md). A forked child is not recorded, a
 * program that is started is. Events of several threads are in the order in which they got the
 * lock; blocks of the time before the first call are unknown and their frees are left out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum trace_kind { TRACE_MALLOC, TRACE_FREE, TRACE_CALLOC, TRACE_REALLOC, TRACE_ALIGNED };

struct trace_event {
    uint64_t what; // kind in the low 8 bits, log2 of the alignment in the next 8, then the size
    uint64_t before;
    uint64_t after;
};

static void *(*trace_malloc)(size_t);
static void (*trace_free)(void *);
static void *(*trace_calloc)(size_t, size_t);
static void *(*trace_realloc)(void *, size_t);
static void *(*trace_memalign)(size_t, size_t);

static struct trace_event trace_buffer[4096];
static size_t trace_count;
static uint64_t trace_left;
static atomic_flag trace_lock = ATOMIC_FLAG_INIT;
static int trace_file = -1;
static _Thread_local int trace_depth __attribute__((tls_model("initial-exec")));

// dlsym may ask for memory before it has told us where malloc is; it never gets it back.
static _Alignas(16) char trace_early[65536];
static size_t trace_early_used;

static void *
trace_early_alloc(size_t size)
{
    size_t at = trace_early_used;
    trace_early_used += (size + 15) & ~(size_t)15;
    if (trace_early_used > sizeof trace_early) {
        abort();
    }
    return trace_early + at;
}

static int
trace_is_early(const void *block)
{
    return (const char *)block >= trace_early &&
           (const char *)block < trace_early + sizeof trace_early;
}

static void
trace_flush(void)
{
    size_t bytes = trace_count * sizeof trace_buffer[0];
    if (trace_file >= 0 && write(trace_file, trace_buffer, bytes) != (ssize_t)bytes) {
        trace_file = -1;
    }
    trace_count = 0;
}

static void
trace_note(enum trace_kind kind, unsigned shift, size_t size, const void *before, const void *after)
{
    while (atomic_flag_test_and_set_explicit(&trace_lock, memory_order_acquire)) {
    }
    if (trace_file >= 0 && trace_left > 0) {
        trace_left--;
        trace_buffer[trace_count++] =
            (struct trace_event){(uint64_t)kind | (uint64_t)shift << 8 | (uint64_t)size << 16,
                                 (uint64_t)(uintptr_t)before, (uint64_t)(uintptr_t)after};
        if (trace_count == sizeof trace_buffer / sizeof trace_buffer[0] || trace_left == 0) {
            trace_flush();
        }
    }
    atomic_flag_clear_explicit(&trace_lock, memory_order_release);
}

static void
trace_forked(void)
{
    trace_file = -1;
    trace_count = 0;
    atomic_flag_clear(&trace_lock);
}

static void
trace_find(void)
{
    trace_depth++;
    *(void **)&trace_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&trace_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&trace_free = dlsym(RTLD_NEXT, "free");
    *(void **)&trace_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&trace_memalign = dlsym(RTLD_NEXT, "memalign");
    trace_depth--;
}

__attribute__((constructor)) static void
trace_begin(void)
{
    char path[4096];
    const char *base = getenv("BENCH_TRACE_OUT");
    const char *events = getenv("BENCH_TRACE_EVENTS");
    if (!trace_malloc) {
        trace_find();
    }
    if (!base) {
        return;
    }
    trace_left = events ? strtoull(events, NULL, 10) : 1000000;
    snprintf(path, sizeof path, "%s.%d", base, (int)getpid());
    pthread_atfork(NULL, NULL, trace_forked);
    trace_file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

__attribute__((destructor)) static void
trace_end(void)
{
    trace_flush();
}

void *
malloc(size_t size)
{
    if (!trace_malloc) {
        if (trace_depth) {
            return trace_early_alloc(size);
        }
        trace_find();
    }
    void *block = trace_malloc(size);
    trace_note(TRACE_MALLOC, 0, size, NULL, block);
    return block;
}

void
free(void *block)
{
    if (!block || trace_is_early(block)) {
        return;
    }
    trace_note(TRACE_FREE, 0, 0, block, NULL); // before: another thread may get the address at once
    trace_free(block);
}

void *
calloc(size_t count, size_t size)
{
    if (!trace_calloc) {
        if (trace_depth) {
            return trace_early_alloc(count * size);
        }
        trace_find();
    }
    void *block = trace_calloc(count, size);
    trace_note(TRACE_CALLOC, 0, count * size, NULL, block);
    return block;
}

void *
realloc(void *block, size_t size)
{
    if (!trace_realloc) {
        trace_find();
    }
    void *after = trace_realloc(block, size);
    trace_note(TRACE_REALLOC, 0, size, block, after);
    return after;
}

void *
memalign(size_t alignment, size_t size)
{
    if (!trace_memalign) {
        trace_find();
    }
    void *block = trace_memalign(alignment, size);
    trace_note(TRACE_ALIGNED, (unsigned)__builtin_ctzll(alignment), size, NULL, block);
    return block;
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int
posix_memalign(void **result, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    if (!block) {
        return ENOMEM;
    }
    *result = block;
    return 0;
}
