// SPDX-License-Identifier: MIT
/*
 * storms/storms_fork.c - processes: forked while threads churn, ended while threads churn.
 */
#include "storms/storms.h"

enum { FORKS = 60, FORKS_LONG = 2000, ENDS = 20, ENDS_LONG = 500, SHARED = 2000, STEPS = 300 };

static unsigned char *shared[SHARED]; // the parent's blocks

static void *
child_thread(void *argument)
{
    static struct churn churn;
    churn.seed = *(unsigned *)argument;
    for (int step = 0; step < STEPS; step++)
        churn_step(&churn);
    churn_end(&churn);
    return argument;
}

// Allocates, frees blocks of the parent, starts a thread.
static void
child_run(unsigned number)
{
    pthread_t thread;
    child_thread(&number);
    for (unsigned at = number % 4; at < SHARED; at += 4) {
        check(shared[at][0] == (unsigned char)at);
        free(shared[at]);
    }
    check(pthread_create(&thread, NULL, child_thread, &number) == 0);
    check(pthread_join(thread, NULL) == 0);
    child_thread(&number);
    _exit(0);
}

static int
fork_run(const char *argument)
{
    static struct churners churners;
    (void)argument;
    for (unsigned at = 0; at < SHARED; at++) {
        shared[at] = malloc(16 + at * 3);
        check(shared[at] != NULL);
        shared[at][0] = (unsigned char)at;
    }
    churners_start(&churners, CHURNERS / 2);
    unsigned forks = storm_count(FORKS, FORKS_LONG);
    for (unsigned number = 0; number < forks; number++) {
        pid_t child = storm_fork(30);
        if (child == 0)
            child_run(number);
        storm_wait(child);
    }
    churners_stop(&churners);
    printf("%u forks\n", forks);
    return 0;
}

// ---- Ends ---------------------------------------------------------------------------------------

static void *at_end;

static void
allocate_at_end(void)
{
    free(at_end);
    struct churn churn = {.seed = 3};
    for (int step = 0; step < STEPS; step++)
        churn_step(&churn);
    churn_end(&churn);
}

static void *
churn_for_ever(void *argument)
{
    struct churn churn = {.seed = (uintptr_t)argument};
    for (;;)
        churn_step(&churn);
    return NULL;
}

// exit() with handlers that allocate, while detached threads churn on.
static int
ends_run(const char *argument)
{
    (void)argument;
    unsigned ends = storm_count(ENDS, ENDS_LONG);
    for (unsigned number = 0; number < ends; number++) {
        pid_t child = storm_fork(30);
        if (child == 0) {
            pthread_t thread;
            at_end = malloc(500);
            check(atexit(allocate_at_end) == 0);
            for (uintptr_t i = 1; i <= 3; i++) {
                check(pthread_create(&thread, NULL, churn_for_ever, (void *)i) == 0);
                check(pthread_detach(thread) == 0);
            }
            usleep(number % 7 * 500);
            exit(0);
        }
        storm_wait(child);
    }
    printf("%u processes ended\n", ends);
    return 0;
}

const struct storm fork_storms[] = {
    {"fork", fork_run, 100, 1800},
    {"ends", ends_run, 100, 900},
    {NULL, NULL, 0, 0},
};
