// SPDX-License-Identifier: MIT
// workloads/shaped.c - blocks that must be zero, aligned, or large.
#include "../bench.h"

/*
 * calloc. Reason: a block of fresh pages is zero already, a used one is not; an allocator that
 * knows which saves the clearing. 16 blocks live at a time, the program reads each cache line.
 */
static void
shaped_zero_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    unsigned char *blocks[16];
    size_t size = run->row->size;
    uint64_t sum = 0;
    for (uint64_t round = 0; round < run->row->operations / 16; round++) {
        for (unsigned i = 0; i < 16; i++) {
            blocks[i] = a->calloc(1, size);
            for (size_t at = 0; at < size; at += 4096) {
                sum += blocks[i][at];
            }
            sum += blocks[i][size - 1];
            bench_fill(blocks[i], size, 0xff);
        }
        for (unsigned i = 0; i < 16; i++) {
            a->free(blocks[i]);
        }
    }
    if (sum != 0) {
        bench_fail("calloc gave memory that was not zero");
    }
    if (run->verify) {
        bench_check_sum(run, run->row->operations * size);
    }
}

/*
 * Aligned blocks. Reason: vector code, page buffers, and C++ types with alignas. row->count is the
 * alignment; 64 blocks live at a time.
 */
static void
shaped_aligned_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    void *blocks[64];
    size_t alignment = run->row->count;
    for (uint64_t round = 0; round < run->row->operations / 64; round++) {
        for (size_t i = 0; i < 64; i++) {
            size_t size = run->row->size + i * 8;
            blocks[i] = a->aligned(alignment, size);
            if ((uintptr_t)blocks[i] % alignment != 0) {
                bench_fail("block is not aligned to %zu", alignment);
            }
            bench_touch(blocks[i], i);
            if (run->verify) {
                bench_fill(blocks[i], size, i);
            }
        }
        for (size_t i = 0; i < 64; i++) {
            if (run->verify) {
                bench_check(run, blocks[i], run->row->size + i * 8, i);
            }
            a->free(blocks[i]);
        }
    }
}

/*
 * Large blocks, every page written once. Reason: images, matrices, file buffers. What counts is
 * whether the pages are kept for the next block or fetched from the system each time.
 */
static void
shaped_large_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    size_t size = run->row->size;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        unsigned char *block = a->malloc(size);
        for (size_t at = 0; at < size; at += 4096) {
            ((volatile unsigned char *)block)[at] = (unsigned char)i;
        }
        bench_fill(block, size, i);
        if (run->verify) {
            bench_check(run, block, size, i);
        }
        a->free(block);
    }
}

// Eight live blocks of 1 to 4 MiB, replaced at random.
static void
shaped_mixed_repeat(struct bench_run *run)
{
    const struct bench_allocator *a = run->allocator;
    unsigned char *blocks[8] = {0};
    size_t sizes[8] = {0};
    uint64_t random = 2718281;
    for (uint64_t i = 0; i < run->row->operations; i++) {
        uint64_t r = bench_random(&random) >> 6;
        size_t at = r % 8;
        if (run->verify && blocks[at]) {
            bench_check(run, blocks[at], sizes[at], at);
        }
        a->free(blocks[at]);
        sizes[at] = ((size_t)1 << 20) + (r >> 8) % ((size_t)3 << 20);
        blocks[at] = a->malloc(sizes[at]);
        for (size_t page = 0; page < sizes[at]; page += 4096) {
            ((volatile unsigned char *)blocks[at])[page] = (unsigned char)i;
        }
        bench_fill(blocks[at], sizes[at], at);
    }
    for (size_t at = 0; at < 8; at++) {
        a->free(blocks[at]);
    }
}

#define ZERO(bytes, total, quick)                                                                  \
    {                                                                                              \
        .name = "calloc/" #bytes, .flags = quick, .threads = 1, .operations = total,               \
        .size = bytes, .repeat = shaped_zero_repeat                                                \
    }
#define ALIGNED(align, bytes, total, quick)                                                        \
    {                                                                                              \
        .name = "aligned-" #align "/" #bytes, .flags = quick, .threads = 1, .operations = total,   \
        .size = bytes, .count = align, .repeat = shaped_aligned_repeat                             \
    }
#define LARGE(label, bytes, total, quick)                                                          \
    {                                                                                              \
        .name = "large/" label, .flags = quick, .threads = 1, .operations = total, .size = bytes,  \
        .repeat = shaped_large_repeat                                                              \
    }

static const struct bench_row shaped_rows[] = {
    ZERO(64, 160000, BENCH_QUICK),
    ZERO(1024, 80000, 0),
    ZERO(4096, 64000, BENCH_QUICK),
    ZERO(65536, 3200, 0),
    ZERO(1048576, 160, 0),
    ALIGNED(64, 24, 128000, BENCH_QUICK),
    ALIGNED(64, 640, 128000, 0),
    ALIGNED(4096, 4096, 32000, BENCH_QUICK),
    ALIGNED(65536, 1000, 6400, 0),
    LARGE("64KiB", (size_t)64 << 10, 20000, 0),
    LARGE("256KiB", (size_t)256 << 10, 6000, 0),
    LARGE("1MiB", (size_t)1 << 20, 1000, BENCH_QUICK),
    LARGE("2MiB", (size_t)2 << 20, 500, 0),
    LARGE("4MiB", (size_t)4 << 20, 200, BENCH_QUICK),
    LARGE("16MiB", (size_t)16 << 20, 30, 0),
    LARGE("64MiB", (size_t)64 << 20, 4, 0),
    {.name = "large-mixed/1-4MiB",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 200,
     .repeat = shaped_mixed_repeat},
};

const struct bench_family bench_shaped = {"shaped", shaped_rows,
                                          sizeof shaped_rows / sizeof shaped_rows[0]};
