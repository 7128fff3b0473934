// SPDX-License-Identifier: MIT
/*
 * bench/broken_allocator.c - a malloc that is wrong on purpose, preloaded by the tests of the
 * driver: fast, and useless. BENCH_BROKEN=crash ends the process after some calls, =twice hands
 * some blocks out twice.
 */
#include <stdlib.h>
#include <string.h>

static _Alignas(16) char broken_memory[64 << 20];
static size_t broken_used;
static size_t broken_calls;

void *
malloc(size_t size)
{
    const char *how = getenv("BENCH_BROKEN");
    size_t step = (size + 15) & ~(size_t)15;
    broken_calls++;
    if (how && strcmp(how, "crash") == 0 && broken_calls > 2000) {
        abort();
    }
    // Blocks of 1000 bytes are those of the row under test; every eighth is handed out twice.
    if (how && strcmp(how, "twice") == 0 && size == 1000 && broken_calls % 8 == 0) {
        step = 0;
    }
    if (broken_used + size > sizeof broken_memory) {
        broken_used = sizeof broken_memory / 2;
    }
    void *block = broken_memory + broken_used;
    broken_used += step;
    return block;
}

void
free(void *block)
{
    (void)block;
}

void *
calloc(size_t count, size_t size)
{
    void *block = malloc(count * size);
    return memset(block, 0, count * size);
}

void *
realloc(void *block, size_t size)
{
    void *result = malloc(size);
    if (block) {
        memmove(result, block, size); // what lies behind the old block is readable too
    }
    return result;
}

void *memalign(size_t alignment, size_t size);

void *
memalign(size_t alignment, size_t size)
{
    char *block = malloc(size + alignment);
    return block + (alignment - (size_t)block % alignment) % alignment;
}
