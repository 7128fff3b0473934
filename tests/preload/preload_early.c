// SPDX-License-Identifier: MIT
/*
 * The heap before main and after it: constructors, TLS destructors, atexit handlers, destructors.
 *
 * The process that judges starts itself as the process that does all this; the last destructor of
 * the latter writes one line, and only what is written counts.
 */
#include <pthread.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <threads.h>

#include "support/plain.h"

static char *constructor_block;
static char *exit_block;
static pthread_key_t thread_key;
static tss_t thread_storage;
static int thread_destructors;
static __thread char *late_block;

// The C++ ABI's thread_local destructors; glibc has it in C.
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

__attribute__((constructor(101))) static void
first_constructor(void)
{
    constructor_block = malloc(1000);
    check(constructor_block != NULL && plain_is_block(constructor_block));
    constructor_block = realloc(constructor_block, 100000);
    memset(constructor_block, 3, 100000);
}

__attribute__((destructor(101))) static void
last_destructor(void)
{
    // After stdio, after all atexit handlers.
    check(exit_block[999] == 9);
    free(exit_block);
    char *block = malloc(50000);
    memset(block, 1, 50000);
    free(block);
    if (getenv("PRELOAD_EARLY_CHILD") != NULL)
        check(write(STDOUT_FILENO, "done\n", 5) == 5);
}

static void
exit_handler(void)
{
    check(constructor_block[99999] == 3);
    free(constructor_block);
    exit_block = malloc(1000);
    memset(exit_block, 9, 1000);
}

// The order of thread-exit actions is not ours to choose: each must find a working heap.
static void
thread_value_destructor(void *value)
{
    char *block = malloc(3000);
    memset(block, 5, 3000);
    free(value);
    free(block);
    if (late_block == NULL)
        late_block = malloc(10); // left behind on purpose
    __atomic_fetch_add(&thread_destructors, 1, __ATOMIC_RELAXED);
    // glibc runs the destructors again as long as a value is set.
    static __thread int rounds;
    if (rounds++ < 3)
        check(pthread_setspecific(thread_key, malloc(64)) == 0);
}

static void *
thread_main(void *arg)
{
    (void)arg;
    check(pthread_setspecific(thread_key, malloc(100)) == 0);
    check(tss_set(thread_storage, malloc(200)) == thrd_success);
    check(__cxa_thread_atexit_impl(thread_value_destructor, malloc(300), __dso_handle) == 0);
    return malloc(400); // freed by another thread after this one has ended
}

static void
run_threads(void)
{
    check(pthread_key_create(&thread_key, thread_value_destructor) == 0);
    check(tss_create(&thread_storage, thread_value_destructor) == thrd_success);
    for (int i = 0; i < 200; i++) {
        pthread_t threads[3];
        for (int t = 0; t < 3; t++)
            check(pthread_create(&threads[t], NULL, thread_main, NULL) == 0);
        for (int t = 0; t < 3; t++) {
            void *left;
            check(pthread_join(threads[t], &left) == 0);
            check(plain_is_block(left));
            free(left);
        }
    }
    check(thread_destructors >= 600 * 3);
}

static void
judge_child(void)
{
    int ends[2];
    check(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        setenv("PRELOAD_EARLY_CHILD", "1", 1);
        dup2(ends[1], STDOUT_FILENO);
        execl("/proc/self/exe", "preload_early", (char *)NULL);
        _exit(100);
    }
    close(ends[1]);
    char text[16] = "";
    check(read(ends[0], text, sizeof text - 1) == 5);
    check(strcmp(text, "done\n") == 0);
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

int
main(void)
{
    check(constructor_block != NULL);
    check(atexit(exit_handler) == 0);
    if (getenv("PRELOAD_EARLY_CHILD") == NULL)
        judge_child();
    else
        run_threads();
    return 0;
}
