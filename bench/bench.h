// SPDX-License-Identifier: MIT
/*
 * bench/bench.h - what a workload sees: an allocator, a row, and helpers that never allocate.
 *
 * A workload is plain C and does not know which allocator serves it. Everything it needs for
 * itself (arrays of pointers, permutations) comes from bench_raw, so that the memory figures of a
 * row are those of the allocator and of a constant.
 *
 * Life of a row in one process: setup, one verifying repetition, the timed repetitions, teardown,
 * then the figures. Every repetition does the same work, so its checksum is the same for every
 * allocator. Only in the verifying repetition do workloads read the contents of the blocks they
 * free: in the timed ones a free must be able to leave a cold block untouched.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_allocator {
    const char *name;
    void *(*malloc)(size_t size_bytes);
    void *(*calloc)(size_t count, size_t size_bytes);
    void *(*realloc)(void *block, size_t size_bytes);
    void *(*aligned)(size_t alignment_bytes, size_t size_bytes);
    void (*free)(void *block);
};

struct bench_pool;
struct bench_run;

// What a row's figure is.
enum bench_kind {
    BENCH_TIME,    // nanoseconds per operation
    BENCH_LATENCY, // percentiles, in values
    BENCH_MEMORY,  // resident memory, in values; the time means nothing
};

enum {
    BENCH_QUICK = 1,    // part of the quick set
    BENCH_HOSTHEAP = 2, // needs the native interface
    BENCH_DROP_IN = 8,  // calls a function of the malloc family that has no twin elsewhere
    BENCH_WALL = 4,     // judged by wall time although it has one thread
};

struct bench_row {
    const char *name;
    enum bench_kind kind;
    unsigned flags;
    unsigned threads;
    uint64_t operations; // per repetition; a time row divides by it; 0: setup says how many
    size_t size;         // meaning: the workload's
    size_t count;        // meaning: the workload's
    void (*setup)(struct bench_run *run);
    void (*repeat)(struct bench_run *run);
    void (*teardown)(struct bench_run *run);
};

struct bench_family {
    const char *name;
    const struct bench_row *rows;
    size_t row_count;
};

struct bench_value {
    const char *name;
    double value;
};

struct bench_run {
    const struct bench_allocator *allocator;
    const struct bench_row *row;
    struct bench_pool *pool; // row->threads workers if that is more than 1
    void *state;             // the workload's
    uint64_t operations;     // row->operations, or what setup found
    bool verify;             // read the contents back into checksum
    uint64_t checksum;       // of the verifying repetition
    uint64_t repetition;     // counts from 0
    long faults;             // page faults of the timed repetitions
    double own_ns;           // set by repeat when only part of it counts; processor time
    struct bench_value values[24];
    size_t value_count;
};

extern const struct bench_family *const bench_families[];
extern const size_t bench_family_count;

// ---- allocators.c
// "malloc", "native" or "vtable"; NULL if the process has no such allocator.
const struct bench_allocator *bench_allocator_open(const char *name);
// Path of the object that malloc, or for the other two the native interface, comes from.
const char *bench_allocator_object(const char *name);

// ---- support.c
// Zeroed pages of our own, all of them touched. Ends the process when there are none.
void *bench_raw(size_t size_bytes);
void bench_raw_free(void *memory, size_t size_bytes);
double bench_now_ns(void);
// Processor time of the calling thread.
double bench_cpu_ns(void);
// Ends the process with a message; a failure must never look like a fast row.
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void bench_value_add(struct bench_run *run, const char *name, double value);
// Random permutation of 0..count-1, from bench_raw.
uint32_t *bench_permutation(uint32_t count, uint64_t seed);
// 65536 sizes from bench_raw; the same for every allocator.
enum bench_mix {
    BENCH_MIX_SMALL, // uniform, 16..271
    BENCH_MIX_LOG,   // log-uniform, 16..4095
    BENCH_MIX_REAL,  // steps as counted in ordinary programs: most below 128, some up to 64 KiB
};
#define BENCH_MIX_COUNT 65536u
const uint32_t *bench_sizes(enum bench_mix mix);

struct bench_memory {
    long rss_kib;      // resident now
    long anon_kib;     // of it anonymous: without the program's and the libraries' text
    long peak_rss_kib; // highest so far
    long mappings;     // lines of the maps file
};
// Page faults of the process so far.
long bench_faults(void);
void bench_memory_read(struct bench_memory *memory);
void bench_sleep_ms(unsigned ms);
// Marks in a system call trace; strace shows them, nothing else does.
void bench_mark(unsigned number);

// ---- pool.c
struct bench_pool *bench_pool_start(unsigned threads);
// Runs work(arg, i) on worker i for all workers at once and returns when all are done.
void bench_pool_run(struct bench_pool *pool, void (*work)(void *arg, unsigned worker), void *arg);
void bench_pool_end(struct bench_pool *pool);
// A plain thread with an 64 KiB stack, placed on a processor by its number.
typedef void *bench_thread_function(void *arg);
unsigned long bench_thread_start(bench_thread_function *function, void *arg, unsigned number);
void bench_thread_join(unsigned long thread);
// One step of waiting: first spins, then lets another thread run.
void bench_wait_step(unsigned *steps);

static inline uint64_t
bench_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

// Writes into a block at its two ends, which is what the verifying repetition looks for.
static inline void
bench_fill(void *block, size_t size_bytes, uint64_t tag)
{
    volatile unsigned char *bytes = (volatile unsigned char *)block;
    bytes[0] = (unsigned char)tag;
    bytes[size_bytes - 1] = (unsigned char)tag;
}

// The least a program does with a new block.
static inline void
bench_touch(void *block, uint64_t tag)
{
    *(volatile unsigned char *)block = (unsigned char)tag;
}

// Adds to the row's checksum, from any thread.
void bench_check_sum(struct bench_run *run, uint64_t term);
// Ends the process unless both ends still hold the tag; adds to the checksum.
void bench_check(struct bench_run *run, const void *block, size_t size_bytes, uint64_t tag);

#ifdef __cplusplus
}
#endif

#endif
