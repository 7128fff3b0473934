// SPDX-License-Identifier: MIT
/*
 * A C program under the drop-in, for faults_start.c: the malloc family, also before any constructor;
 * wrong frees; threads; a fork.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "faults/start.h"
#include "support/plain.h"

PLAIN_FUNCTION(hh_heap *, hh_heap_default, (void), ())
PLAIN_FUNCTION(hh_status, hh_heap_free, (hh_heap * heap, void *block), (heap, block))
PLAIN_FUNCTION(size_t, hh_trim, (void), ())
PLAIN_FUNCTION(hh_status, hh_get_stats, (hh_stats * stats), (stats))

enum { BLOCKS = 48, THREADS = 3 };

static void *
block_get(unsigned i, size_t size_bytes)
{
    void *block = NULL;
    int result = 0;
    errno = 0;
    switch (i % 4) {
    case 0:
        block = malloc(size_bytes);
        break;
    case 1:
        block = calloc(1, size_bytes);
        for (size_t at = 0; block != NULL && at < size_bytes; at += 61)
            start_check(((char *)block)[at] == 0);
        break;
    case 2:
        block = memalign((size_t)16 << i % 11, size_bytes);
        break;
    default:
        result = posix_memalign(&block, (size_t)16 << i % 7, size_bytes);
        start_check((result == 0) == (block != NULL));
        errno = result;
    }
    start_served_or(block != NULL, errno == ENOMEM);
    return block;
}

// Wrong frees are refused, and change nothing. alone: nobody else may be given the block meanwhile.
static void
block_frees(unsigned char *block, unsigned mark, bool alone)
{
    hh_heap *heap = plain_hh_heap_default();
    start_check(plain_hh_heap_free(heap, block + 1) == HH_E_INVALID_BLOCK);
    start_check(block[0] == mark && block[15] == mark);
    start_check(plain_hh_heap_free(heap, block) == HH_OK);
    start_check(!alone || plain_hh_heap_free(heap, block) == HH_E_INVALID_BLOCK);
}

static void
use_blocks(bool alone)
{
    unsigned char *blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size_bytes = i < 42 ? 16 + i * i * 8 : (size_t)i * 9000;
        blocks[i] = block_get(i, size_bytes);
        if (blocks[i] != NULL)
            memset(blocks[i], (int)i, size_bytes);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        errno = 0;
        unsigned char *moved = blocks[i] == NULL ? NULL : realloc(blocks[i], 5000 + i);
        start_served_or(moved != NULL || blocks[i] == NULL, errno == ENOMEM);
        if (moved != NULL)
            blocks[i] = moved;
        start_check(blocks[i] == NULL || (blocks[i][0] == i && blocks[i][15] == i));
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL && i % 8 == 0)
            block_frees(blocks[i], i, alone);
        else
            free(blocks[i]);
    }
    int mine = 0; // whatever happened: nobody else's memory is taken for a block
    start_check(plain_hh_heap_free(plain_hh_heap_default(), &mine) == HH_E_INVALID_BLOCK);
}

static void *
use_on_thread(void *unused)
{
    use_blocks(false);
    return unused;
}

static void
use_threads(void)
{
    pthread_t threads[THREADS];
    bool started[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        int error = pthread_create(&threads[i], NULL, use_on_thread, NULL);
        start_served_or(error == 0, error == EAGAIN || error == ENOMEM);
        started[i] = error == 0;
    }
    for (unsigned i = 0; i < THREADS; i++)
        start_check(!started[i] || pthread_join(threads[i], NULL) == 0);
}

static void
use_fork(void)
{
    pid_t child = fork();
    start_served_or(child >= 0, errno == EAGAIN || errno == ENOMEM);
    if (child == 0) {
        use_blocks(true);
        use_threads();
        _exit(0);
    }
    int status = 0;
    start_check(child < 0 || (waitpid(child, &status, 0) == child && status == 0));
}

// Unused memory, and time for the sweeper to start.
static void
use_sweeper(void)
{
    for (unsigned i = 0; i < 3; i++) {
        errno = 0;
        void *block = malloc((size_t)3 << 20);
        start_served_or(block != NULL, errno == ENOMEM);
        if (block != NULL)
            memset(block, 1, (size_t)3 << 20);
        free(block);
    }
    start_served_or(plain_hh_trim() != SIZE_MAX, true);
}

// Before the constructors of libraries, the drop-in's included.
static void
use_early(void)
{
    errno = 0;
    char *block = malloc(40);
    start_served_or(block != NULL, errno == ENOMEM);
    free(block);
}

__attribute__((section(".preinit_array"), used)) static void (*const at_start)(void) = use_early;

int
main(void)
{
    hh_stats stats;
    for (unsigned round = 0; round < 2; round++) {
        use_blocks(true);
        use_threads();
        use_fork();
        use_sweeper();
        start_check(plain_hh_get_stats(&stats) == HH_OK);
        start_grant();
    }
    return 0;
}
