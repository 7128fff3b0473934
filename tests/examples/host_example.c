// SPDX-License-Identifier: MIT
/*
 * host_example.c - the first program to read: a host that puts its memory on hostheap.
 *
 *     cc host_example.c $(pkg-config --cflags --libs hostheap) -lpthread -o host_example
 *
 * 1. Ask for the memory manager, and let it make a heap. A heap is an IHostMalloc object: a struct
 *    whose first member points at a table of functions, the layout a runtime written in C++ calls.
 * 2. Allocate and free from several threads, also blocks of one another.
 * 3. Free what must not be freed, and see that it is noticed and changes nothing.
 * 4. Use the plain C interface on the same heap, for what IHostMalloc lacks.
 * 5. Read the statistics.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hostheap/host_memory.h>

enum { THREADS = 4, BLOCKS = 100000, KEPT = 1000 };

// End the program if something that must work does not.
static void
must(int worked, const char *what)
{
    if (!worked) {
        fprintf(stderr, "host_example: %s\n", what);
        exit(1);
    }
}

/* ---- 1. The manager and a heap ---------------------------------------------------------------- */

static IHostMalloc *
heap_create(void)
{
    // One manager per process. It comes with a reference, as every object from a function does.
    IHostMemoryManager *manager;
    must(hh_get_memory_manager(&manager) == S_OK, "no memory manager");

    // Only S_OK is success; everything else is a reason.
    IHostMalloc *heap;
    hh_hresult result = manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap);
    must(result == S_OK, "no heap");

    manager->lpVtbl->Release(manager);
    return heap;
}

/* ---- 2. Several threads ----------------------------------------------------------------------- */

struct worker {
    IHostMalloc *heap;
    unsigned seed;
    char *kept[KEPT]; // blocks that the main thread will free
};

static void *
worker_run(void *argument)
{
    struct worker *worker = argument;
    IHostMalloc *heap = worker->heap;
    for (int i = 0; i < BLOCKS; i++) {
        worker->seed = worker->seed * 1103515245 + 12345;
        size_t size_bytes = 16 + worker->seed / 65536 % 1000;
        // The level says what the program would lose if this request failed.
        void *block;
        hh_hresult result = heap->lpVtbl->Alloc(heap, size_bytes, eTaskCritical, &block);
        must(result == S_OK, "out of memory");
        memset(block, 0xA5, size_bytes);
        // Keep the newest; free the one that had its place. Free says whether that was right.
        char **place = &worker->kept[i % KEPT];
        must(heap->lpVtbl->Free(heap, *place) == S_OK, "a good free was refused");
        *place = block;
    }
    return NULL;
}

static void
threads_share(IHostMalloc *heap)
{
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t].heap = heap;
        workers[t].seed = t + 1;
        must(pthread_create(&threads[t], NULL, worker_run, &workers[t]) == 0, "no thread");
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    // The threads are gone; their blocks live on and are freed here.
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < KEPT; i++)
            must(heap->lpVtbl->Free(heap, workers[t].kept[i]) == S_OK, "a good free was refused");
    }
    printf("%d threads made and freed %d blocks; %d of them were freed by another thread\n\n",
           THREADS, THREADS * BLOCKS, THREADS * KEPT);
}

/* ---- 3. Frees that must not be ---------------------------------------------------------------- */

static void
free_and_tell(IHostMalloc *heap, const char *what, void *address)
{
    hh_hresult result = heap->lpVtbl->Free(heap, address);
    const char *answer = result == S_OK                      ? "S_OK"
                         : result == HOST_E_INVALIDOPERATION ? "HOST_E_INVALIDOPERATION"
                                                             : "something else";
    printf("  Free(%-28s) = 0x%08X %s\n", what, (unsigned)result, answer);
}

static void
bad_frees_are_caught(IHostMalloc *heap)
{
    // DebugAlloc is Alloc that remembers where it was called.
    char file[] = __FILE__;
    void *out;
    must(heap->lpVtbl->DebugAlloc(heap, 100, eTaskCritical, file, __LINE__, &out) == S_OK,
         "out of memory");
    char *block = out;
    strcpy(block, "still here");

    char on_the_stack[64];
    void *of_libc = malloc(100);
    printf("frees that must not be, and one that may:\n");
    free_and_tell(heap, "16 bytes into a block", block + 16);
    free_and_tell(heap, "an address on the stack", on_the_stack);
    free_and_tell(heap, "a block of libc's malloc", of_libc);
    free_and_tell(heap, "any number", (void *)0x123456789ABCDEF0);
    free(of_libc);

    const char *origin;
    int line;
    size_t size_bytes;
    must(hh_debug_lookup(block, &origin, &line, &size_bytes) == S_OK, "the block was lost");
    printf("  the block of %zu bytes, allocated in line %d, is %s\n", size_bytes, line, block);

    free_and_tell(heap, "the block", block);
    free_and_tell(heap, "the same block again", block);
    printf("\n");
}

/* ---- 4. The same heap in plain C -------------------------------------------------------------- */

static void
plain_c(IHostMalloc *heap)
{
    hh_heap *native = hh_heap_of(heap);
    char *text = hh_heap_calloc(native, 1, 32);
    must(text != NULL, "out of memory");
    void *grown;
    must(hh_heap_realloc(native, text, 5000, &grown) == HH_OK && grown != NULL, "out of memory");
    printf("a block of 32 bytes was grown to 5000, and has %zu\n",
           hh_heap_usable_size(native, grown));

    // A budget of its own: above it the heap says no, and the rest of the process goes on.
    must(hh_heap_set_limits(native, 0, 64 << 20) == HH_OK, "no limit");
    void *block;
    hh_hresult result = heap->lpVtbl->Alloc(heap, 1 << 30, eTaskCritical, &block);
    printf("a block of 1 GiB under a limit of 64 MiB: %s\n\n",
           result == E_OUTOFMEMORY ? "E_OUTOFMEMORY" : "unexpected");
    must(hh_heap_free(native, grown) == HH_OK, "a good free was refused");
}

/* ---- 5. Statistics ---------------------------------------------------------------------------- */

static void
text_write(void *file, const char *text, size_t length_bytes)
{
    fwrite(text, 1, length_bytes, file);
}

int
main(void)
{
    IHostMalloc *heap = heap_create();
    threads_share(heap);
    bad_frees_are_caught(heap);
    plain_c(heap);

    // Of all heaps together, and of each. The text comes in pieces, to whom we like.
    hh_stats_print(text_write, stdout, HH_STATS_HEAPS);

    // The last reference: the object ends.
    heap->lpVtbl->Release(heap);
    return 0;
}
