// SPDX-License-Identifier: MIT
// bench/support.c - memory, sizes and figures for the workloads; nothing here calls malloc.
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void
bench_fail(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    if (length > (int)sizeof text - 2) {
        length = (int)sizeof text - 2;
    }
    text[length] = '\n';
    if (write(2, text, (size_t)length + 1) < 0) {
        abort();
    }
    _exit(3);
}

void *
bench_raw(size_t size_bytes)
{
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        bench_fail("no memory for the benchmark itself: %zu bytes", size_bytes);
    }
    return memory;
}

void
bench_raw_free(void *memory, size_t size_bytes)
{
    if (munmap(memory, size_bytes) != 0) {
        bench_fail("munmap of the benchmark's own memory failed");
    }
}

double
bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

double
bench_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

void
bench_sleep_ms(unsigned ms)
{
    struct timespec rest = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0) {
    }
}

void
bench_mark(unsigned number)
{
    // No such prctl exists: the kernel answers EINVAL and changes nothing.
    prctl(0x48480000 + (int)number, 0, 0, 0, 0);
}

void
bench_value_add(struct bench_run *run, const char *name, double value)
{
    if (run->value_count == sizeof run->values / sizeof run->values[0]) {
        bench_fail("too many values in one row");
    }
    run->values[run->value_count++] = (struct bench_value){name, value};
}

uint32_t *
bench_permutation(uint32_t count, uint64_t seed)
{
    uint32_t *order = bench_raw(count * sizeof *order);
    uint64_t random = seed | 1;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(bench_random(&random) % (i + 1));
        uint32_t other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    return order;
}

// Sizes as they were counted in compilers, interpreters and servers: weight per thousand.
static const struct {
    uint32_t size;
    uint32_t weight;
} size_steps[] = {
    {8, 40},   {16, 150}, {24, 120}, {32, 170},  {40, 80},   {48, 100},  {64, 110}, {80, 45},
    {96, 40},  {128, 45}, {160, 20}, {224, 20},  {320, 15},  {512, 15},  {1000, 9}, {1024, 6},
    {2048, 6}, {4096, 4}, {8192, 2}, {16384, 1}, {32768, 1}, {65000, 1},
};

static uint32_t
size_real(uint64_t random)
{
    uint32_t at = (uint32_t)(random % 1000);
    for (size_t i = 0; i < sizeof size_steps / sizeof size_steps[0]; i++) {
        if (at < size_steps[i].weight) {
            return size_steps[i].size;
        }
        at -= size_steps[i].weight;
    }
    return 32;
}

const uint32_t *
bench_sizes(enum bench_mix mix)
{
    uint32_t *sizes = bench_raw(BENCH_MIX_COUNT * sizeof *sizes);
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < BENCH_MIX_COUNT; i++) {
        uint64_t r = bench_random(&random) >> 8;
        switch (mix) {
        case BENCH_MIX_SMALL:
            sizes[i] = 16 + (uint32_t)(r % 256);
            break;
        case BENCH_MIX_LOG: {
            uint32_t base = 16u << (r % 8);
            sizes[i] = base + (uint32_t)((r >> 8) % base);
            break;
        }
        case BENCH_MIX_REAL:
            sizes[i] = size_real(r);
            break;
        }
    }
    return sizes;
}

// The number after key in a file of /proc, -1 if there is none.
static long
memory_field(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static long
memory_lines(const char *path)
{
    static char buffer[65536];
    long lines = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t got; file >= 0 && (got = read(file, buffer, sizeof buffer)) > 0;) {
        for (ssize_t i = 0; i < got; i++) {
            lines += buffer[i] == '\n';
        }
    }
    if (file >= 0) {
        close(file);
    }
    return lines;
}

void
bench_memory_read(struct bench_memory *memory)
{
    static char text[8192];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file >= 0 ? read(file, text, sizeof text - 1) : 0;
    if (length <= 0) {
        bench_fail("cannot read /proc/self/status");
    }
    close(file);
    text[length] = '\0';
    memory->rss_kib = memory_field(text, "VmRSS:");
    memory->anon_kib = memory_field(text, "RssAnon:");
    memory->peak_rss_kib = memory_field(text, "VmHWM:");
    memory->mappings = memory_lines("/proc/self/maps");
}

long
bench_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

void
bench_check_sum(struct bench_run *run, uint64_t term)
{
    // Workers may be here at once; the sum does not depend on their order.
    __atomic_fetch_add(&run->checksum, term, __ATOMIC_RELAXED);
}

void
bench_check(struct bench_run *run, const void *block, size_t size_bytes, uint64_t tag)
{
    const volatile unsigned char *bytes = block;
    if (bytes[0] != (unsigned char)tag || bytes[size_bytes - 1] != (unsigned char)tag) {
        bench_fail("%s: block %p of %zu bytes lost its contents", run->row->name, block,
                   size_bytes);
    }
    bench_check_sum(run, bytes[0] + size_bytes);
}
