// SPDX-License-Identifier: MIT
// tests/support/host.c - see host.h.

#include "support/host.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

IHostMemoryManager *
test_manager(void)
{
    static IHostMemoryManager *manager;
    if (manager == NULL)
        assert_int_equal(hh_get_memory_manager(&manager), S_OK);
    return manager;
}

IHostMalloc *
test_heap(uint32_t type)
{
    IHostMalloc *heap = NULL;
    IHostMemoryManager *manager = test_manager();
    assert_int_equal(manager->lpVtbl->CreateMalloc(manager, type, &heap), S_OK);
    assert_non_null(heap);
    return heap;
}

void
test_heap_end(IHostMalloc *heap)
{
    assert_int_equal(heap->lpVtbl->Release(heap), 0);
}

void *
test_heap_alloc(IHostMalloc *heap, size_t size_bytes)
{
    void *block = NULL;
    assert_int_equal(heap->lpVtbl->Alloc(heap, size_bytes, eTaskCritical, &block), S_OK);
    assert_non_null(block);
    return block;
}

hh_hresult
test_heap_free(IHostMalloc *heap, void *block)
{
    return heap->lpVtbl->Free(heap, block);
}

bool
test_bytes_are(const void *bytes, int value, size_t size_bytes)
{
    const unsigned char *first = bytes;
    // Equal to the first, and each to the one before it.
    return size_bytes == 0 || (first[0] == value && memcmp(first, first + 1, size_bytes - 1) == 0);
}

bool
test_is_live(const void *block)
{
    hh_block_info info;
    return hh_owns(block, &info) == HH_OK && info.heap != NULL && info.live && info.base == block;
}

struct errand {
    void (*run)(void *);
    void *argument;
};

static void *
errand_run(void *argument)
{
    struct errand *errand = argument;
    errand->run(errand->argument);
    return NULL;
}

void
test_in_thread(void (*run)(void *), void *argument)
{
    struct errand errand = {run, argument};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, errand_run, &errand), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int
test_in_child(int (*run)(void *), void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        _exit(run(argument) & 63);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 64 + WTERMSIG(status);
}
