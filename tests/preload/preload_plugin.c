// SPDX-License-Identifier: MIT
/*
 * Under the drop-in, a library is opened and closed a thousand times while threads allocate: what
 * its constructors and functions allocate is of this heap, also when it is freed after dlclose.
 *
 * usage: preload_plugin library.so
 */
#include <pthread.h>
#include <stdatomic.h>

#include "support/plain.h"

static atomic_int stop;

static void *
churn(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        void *block = malloc(123);
        check(block != NULL);
        free(block);
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t threads[2];
    check(argc == 2);
    for (int t = 0; t < 2; t++)
        check(pthread_create(&threads[t], NULL, churn, NULL) == 0);
    for (int i = 0; i < 1000; i++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            fprintf(stderr, "%s\n", dlerror());
        check(library != NULL);
        char *(*make)(int);
        void *symbol = dlsym(library, "plugin_make");
        memcpy(&make, &symbol, sizeof make);
        char *text = make(i);
        check(plain_is_block(text));
        check(dlclose(library) == 0);
        check(atoi(text) == i);
        free(text);
    }
    atomic_store(&stop, 1);
    for (int t = 0; t < 2; t++)
        check(pthread_join(threads[t], NULL) == 0);
    return 0;
}
