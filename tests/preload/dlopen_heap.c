// SPDX-License-Identifier: MIT
/*
 * A program that runs on libc's heap opens one of our libraries at run time: a thousand times, with
 * threads that lived before, and from threads. Its heaps work, and its malloc family does not
 * disturb the program's.
 *
 * usage: dlopen_heap library.so
 */
#include <pthread.h>
#include <stdbool.h>

#include "support/plain.h"

static const char *path;
static pthread_barrier_t opened;

struct library {
    void *handle;
    hh_status (*create)(const hh_heap_options *options, hh_heap **heap);
    hh_status (*destroy)(hh_heap *heap);
    void *(*alloc)(hh_heap *heap, size_t size_bytes);
    hh_status (*free_block)(hh_heap *heap, void *block);
};

static void
library_find(const struct library *library, const char *name, void *function)
{
    void *symbol = dlsym(library->handle, name);
    check(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

static void
library_open(struct library *library)
{
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library->handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    check(library->handle != NULL);
    library_find(library, "hh_heap_create", &library->create);
    library_find(library, "hh_heap_destroy", &library->destroy);
    library_find(library, "hh_heap_alloc", &library->alloc);
    library_find(library, "hh_heap_free", &library->free_block);
}

static void
library_use(void)
{
    struct library library;
    hh_heap *heap;
    library_open(&library);
    check(library.create(NULL, &heap) == HH_OK);
    char *block = library.alloc(heap, 1000);
    check(block != NULL);
    memset(block, 1, 1000);
    check(library.free_block(heap, block) == HH_OK);
    check(library.free_block(heap, block) == HH_E_INVALID_BLOCK);
    void *foreign = malloc(100); // of libc
    check(library.free_block(heap, foreign) == HH_E_INVALID_BLOCK);
    free(foreign);
    check(library.destroy(heap) == HH_OK);
    check(dlclose(library.handle) == 0);
}

// Alive before the library was opened.
static void *
early_thread(void *arg)
{
    (void)arg;
    pthread_barrier_wait(&opened);
    for (int i = 0; i < 50; i++)
        library_use();
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t threads[3];
    check(argc == 2);
    path = argv[1];
    check(pthread_barrier_init(&opened, NULL, 4) == 0);
    for (int t = 0; t < 3; t++)
        check(pthread_create(&threads[t], NULL, early_thread, NULL) == 0);
    for (int i = 0; i < 1000; i++)
        library_use();
    pthread_barrier_wait(&opened);
    for (int t = 0; t < 3; t++)
        check(pthread_join(threads[t], NULL) == 0);
    return 0;
}
