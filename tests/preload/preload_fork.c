// SPDX-License-Identifier: MIT
/*
 * fork in a process whose threads allocate all the time: the child has a working heap, owns what
 * the parent's threads had allocated, and can start threads. 120 forks; a child that hangs is ended
 * by its alarm and fails the test.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "support/plain.h"

enum { CHURNERS = 4, SHARED = 256, FORKS = 120, CHILD_SECONDS = 60 };

static atomic_int stop;
// Blocks that churners hand over to whoever takes them.
static _Atomic(void *) shared[SHARED];

static void *
churn(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&stop)) {
        size_t size_bytes = (size_t)rand_r(&seed) % (rand_r(&seed) % 50 == 0 ? 300000 : 2000);
        void *block = malloc(size_bytes + 1);
        check(block != NULL);
        memset(block, 1, size_bytes > 100 ? 100 : size_bytes);
        free(atomic_exchange(&shared[rand_r(&seed) % SHARED], block));
    }
    return NULL;
}

static void *
child_thread(void *arg)
{
    void *block = malloc(5000);
    check(block != NULL);
    memset(block, 2, 5000);
    free(block);
    free(arg);
    return malloc(30);
}

static void
child_main(void *parents_block)
{
    alarm(CHILD_SECONDS);
    free(parents_block);
    for (int i = 0; i < SHARED; i++)
        free(atomic_exchange(&shared[i], NULL)); // most are of threads that are not here
    for (int i = 0; i < 2000; i++) {
        char *block = malloc((size_t)i * 7 % 3000 + 1);
        check(block != NULL);
        block[0] = 1;
        free(block);
    }
    pthread_t thread;
    void *left;
    check(pthread_create(&thread, NULL, child_thread, malloc(77)) == 0);
    check(pthread_join(thread, &left) == 0);
    free(left);
    exit(0); // with all its handlers
}

int
main(void)
{
    pthread_t churners[CHURNERS];
    for (int i = 0; i < CHURNERS; i++)
        check(pthread_create(&churners[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) {
        void *block = malloc(100);
        pid_t child = fork();
        check(child >= 0);
        if (child == 0)
            child_main(block);
        free(block);
        int status;
        check(waitpid(child, &status, 0) == child);
        check(status == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < CHURNERS; i++)
        check(pthread_join(churners[i], NULL) == 0);
    for (int i = 0; i < SHARED; i++)
        free(atomic_load(&shared[i]));
    return 0;
}
