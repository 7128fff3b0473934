// SPDX-License-Identifier: MIT
/*
 * A handler that forks interrupts a fork, in a process with one thread and in one with others that
 * allocate: both forks come to their end. A hang is ended by a timer and fails the test.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "support/plain.h"

enum { FORKS = 60, TICK_US = 300, SECONDS = 120 };

static volatile sig_atomic_t handled;
static atomic_int stop;

static void
wait_for(pid_t child)
{
    int status;
    pid_t ended;
    check(child > 0);
    do
        ended = waitpid(child, &status, 0);
    while (ended == -1 && errno == EINTR);
    check(ended == child && status == 0);
}

static void
handler_forks(int signal_number)
{
    int saved_errno = errno;
    (void)signal_number;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    wait_for(child);
    handled++;
    errno = saved_errno;
}

static void
ticks_set(suseconds_t tick_us)
{
    struct itimerval ticks = {{0, tick_us}, {0, tick_us}};
    check(setitimer(ITIMER_REAL, &ticks, NULL) == 0);
}

// The thread that gets the signals holds no lock of the heap but those of its fork.
static void
forks_are_interrupted(void)
{
    handled = 0;
    ticks_set(TICK_US);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        wait_for(child);
    }
    ticks_set(0);
    check(handled > 0);
}

static void *
churn(void *arg)
{
    while (!atomic_load(&stop)) {
        void *block = malloc(100000);
        check(block != NULL);
        free(block);
    }
    return arg;
}

// A hang is ended by a signal of its own: SIGALRM is the tick.
static void
bound_set(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec bound = {{0, 0}, {SECONDS, 0}};
    timer_t timer;
    check(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    check(timer_settime(timer, 0, &bound, NULL) == 0);
}

static void
thread_start(void *(*run)(void *))
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    check(pthread_create(&thread, NULL, run, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int
main(void)
{
    struct sigaction action = {.sa_handler = handler_forks, .sa_flags = SA_RESTART};
    check(sigaction(SIGALRM, &action, NULL) == 0);
    bound_set();
    free(malloc(100));
    forks_are_interrupted();
    thread_start(churn);
    forks_are_interrupted();
    atomic_store(&stop, 1);
    return 0;
}
