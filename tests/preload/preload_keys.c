// SPDX-License-Identifier: MIT
/*
 * No key for thread-specific data is left when the library starts: it is not told of the ends of threads.
 * Their records are not lost all the same, and each thread is served.
 */
#include <pthread.h>

#include "support/plain.h"

enum { THREADS = 3000, BLOCKS = 50, KEPT_KIB_MOST = 4096 };

static int refused; // how the last key was not to be had

// Before the constructors of libraries, the preloaded one included.
static void
keys_use_up(void)
{
    pthread_key_t key;
    do
        refused = pthread_key_create(&key, NULL);
    while (refused == 0);
}

__attribute__((section(".preinit_array"), used)) static void (*const at_start)(void) = keys_use_up;

static void *
work(void *argument)
{
    char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(16 + i * 100);
        check(blocks[i] != NULL);
        memset(blocks[i], (int)i, 16 + i * 100);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        check(blocks[i][0] == (char)i && blocks[i][15 + i * 100] == (char)i);
        free(blocks[i]);
    }
    return argument;
}

static void
threads_run(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, work, NULL) == 0);
        check(pthread_join(thread, NULL) == 0);
    }
}

static size_t
resident_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    check(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %zu", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

int
main(void)
{
    check(dlsym(RTLD_DEFAULT, "hh_trim") != NULL && refused == EAGAIN);
    threads_run(100);
    size_t before_kib = resident_kib();
    threads_run(THREADS);
    size_t after_kib = resident_kib();
    if (after_kib > before_kib + KEPT_KIB_MOST)
        fprintf(stderr, "%zu KiB resident after %d threads, %zu before\n", after_kib, THREADS,
                before_kib);
    check(after_kib <= before_kib + KEPT_KIB_MOST);
    work(NULL);
    return 0;
}
