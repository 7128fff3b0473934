// SPDX-License-Identifier: MIT
// tests/limits/limits_work.c - a heap in processes that may use little address space, or have no
// mapping left.
#include "limits/limits_work.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECES = 20000, PIECE_BYTES = 65536 - 64, MAPPINGS = 200000, CHILD_SECONDS = 60 };

static const struct limits_heap *heap;
static void *pieces[PIECES];

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// Small blocks of all sizes, zeroed ones, resized ones.
static void
work_small(void)
{
    enum { BLOCKS = 1000 };
    static char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = i % 3 == 0 ? heap->alloc_zeroed(i) : heap->alloc(i);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], (int)i & 0xFF, i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        char *moved = heap->resize(blocks[i], 2 * i + 1);
        EXPECT(moved != NULL);
        for (size_t k = 0; k < i; k++)
            EXPECT((unsigned char)moved[k] == (i & 0xFF));
        EXPECT(heap->free(moved) == 0);
    }
}

// Pieces until there are no more, or bytes are reached. All are written to.
static size_t
pieces_take(size_t bytes)
{
    size_t count = 0;
    while (count < PIECES && count * PIECE_BYTES < bytes) {
        errno = 0;
        pieces[count] = heap->alloc(PIECE_BYTES);
        if (pieces[count] == NULL)
            break;
        memset(pieces[count], (int)count & 0xFF, PIECE_BYTES);
        count++;
    }
    return count;
}

static void
pieces_give(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes = pieces[i];
        for (size_t k = 0; k < PIECE_BYTES; k += 1000)
            EXPECT(bytes[k] == (i & 0xFF));
        EXPECT(heap->free(pieces[i]) == 0);
    }
}

static void *
work_thread(void *argument)
{
    for (int round = 0; round < 200; round++) {
        char *small = heap->alloc(100), *large = heap->alloc(20000);
        EXPECT(small != NULL && large != NULL);
        memset(large, 7, 20000);
        EXPECT(heap->free(small) == 0 && heap->free(large) == 0);
    }
    return argument;
}

static void
work_threads(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    for (int round = 0; round < 10; round++) {
        pthread_t threads[2];
        for (int thread = 0; thread < 2; thread++)
            EXPECT(pthread_create(&threads[thread], &attributes, work_thread, NULL) == 0);
        for (int thread = 0; thread < 2; thread++)
            EXPECT(pthread_join(threads[thread], NULL) == 0);
    }
}

// A quarter of the address space must be there for blocks, twice; then all that there is, and again.
static void
work_under(size_t limit_bytes)
{
    work_small();
    work_threads();
    size_t wanted_bytes = limit_bytes / 4 < (size_t)256 << 20 ? limit_bytes / 4 : (size_t)256 << 20;
    for (int round = 0; round < 2; round++) {
        size_t count = pieces_take(wanted_bytes);
        EXPECT(count * PIECE_BYTES >= wanted_bytes);
        pieces_give(count);
    }
    void *large =
        heap->alloc(limit_bytes / 8 < (size_t)64 << 20 ? limit_bytes / 8 : (size_t)64 << 20);
    EXPECT(large != NULL && heap->free(large) == 0);
    EXPECT(heap->alloc(limit_bytes) == NULL);
    if (limit_bytes > (size_t)256 << 20)
        return;
    size_t most = pieces_take(SIZE_MAX);
    EXPECT(most < PIECES);
    work_small();
    pieces_give(most);
    size_t again = pieces_take(SIZE_MAX);
    EXPECT(again + again / 16 + 4 >= most);
    pieces_give(again);
    work_small();
    work_threads();
}

// No mapping can be made any more; some are given back; all is as before.
static void
work_without_mappings(void)
{
    static void *mappings[MAPPINGS];
    size_t count = 0;
    work_small();
    while (count < MAPPINGS) {
        // Neighbours differ, so that the kernel does not join them.
        int access = count % 2 == 0 ? PROT_NONE : PROT_READ;
        mappings[count] = mmap(NULL, 4096, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mappings[count] == MAP_FAILED)
            break;
        count++;
    }
    if (count == MAPPINGS)
        _exit(77);
    size_t taken = pieces_take((size_t)512 << 20);
    static const size_t sizes[] = {1000, 300000, 5000000, (size_t)100 << 20, (size_t)3 << 30};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *block = heap->alloc(sizes[i]); // or NULL
        if (block == NULL)
            continue;
        memset(block, 1, 1000);
        char *moved = heap->resize(block, 2 * sizes[i]);
        EXPECT(heap->free(moved == NULL ? block : moved) == 0);
    }
    pieces_give(taken);
    for (size_t i = 0; i < count; i++)
        EXPECT(munmap(mappings[i], 4096) == 0);
    taken = pieces_take((size_t)128 << 20);
    EXPECT(taken * PIECE_BYTES >= (size_t)128 << 20);
    pieces_give(taken);
    work_small();
    work_threads();
}

// Start this program anew under a limit (0: none), and wait. False: it failed.
static bool
child_passes(const char *name, size_t limit_bytes, char **arguments)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char text[32];
        struct rlimit limit = {limit_bytes, limit_bytes};
        char *child_arguments[] = {arguments[0], (char *)name, text, NULL};
        snprintf(text, sizeof text, "%zu", limit_bytes);
        if (limit_bytes != 0 && setrlimit(RLIMIT_AS, &limit) != 0)
            _exit(77);
        alarm(CHILD_SECONDS);
        execv("/proc/self/exe", child_arguments);
        _exit(1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77))
        return true;
    fprintf(stderr, "%s, %zu MiB of address space: %s %d\n", name, limit_bytes >> 20,
            WIFEXITED(status) ? "exit code" : "signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return false;
}

int
limits_main(int count, char **arguments, const struct limits_heap *tested)
{
    static const size_t limits_mib[] = {32, 64, 256, 2048, 16384};
    bool good = true;
    heap = tested;
    if (count == 3 && strcmp(arguments[1], "address_space") == 0) {
        work_under(strtoul(arguments[2], NULL, 10));
        return 0;
    }
    if (count == 3 && strcmp(arguments[1], "mappings") == 0) {
        work_without_mappings();
        return 0;
    }
    for (size_t i = 0; i < sizeof limits_mib / sizeof limits_mib[0]; i++)
        good = child_passes("address_space", limits_mib[i] << 20, arguments) && good;
    good = child_passes("mappings", 0, arguments) && good;
    return good ? 0 : 1;
}
