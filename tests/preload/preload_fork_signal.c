// SPDX-License-Identifier: MIT
/*
 * A handler that forks interrupts a fork, in a process with one thread and in one with others that
 * allocate: both forks come to their end. A hang is ended by a timer and fails the test.
 *
 * Each fork is interrupted once, at a time that varies: a timer that goes on ticking comes again before
 * the handler is done, once forks are slow, and the interrupted fork gets no further. Where the tick
 * meets the C library's part of the fork, the handler does not fork: libc may hold its lock of the list
 * of handlers there, and a second fork of the same thread waits for it for ever, whatever malloc is.
 */
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

#include "support/plain.h"

enum { FORKS = 300, DELAYS = 50, DELAY_STEP_US = 13, SECONDS = 120 };

static volatile sig_atomic_t forking;            // the thread is between call and return of fork
static volatile sig_atomic_t handled, in_a_fork; // forks by the handler; of them, within a fork
static atomic_int stop;
static uintptr_t code_start, code_end; // of the drop-in

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

static bool
interrupted_library(void *raw)
{
#if defined(__x86_64__)
    uintptr_t at = (uintptr_t)((ucontext_t *)raw)->uc_mcontext.gregs[REG_RIP];
    return at >= code_start && at < code_end;
#else
    (void)raw; // not known: no fork within a fork
    return false;
#endif
}

static void
handler_forks(int signal_number, siginfo_t *info, void *raw)
{
    int saved_errno = errno;
    (void)signal_number, (void)info;
    if (forking && !interrupted_library(raw))
        return;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    wait_for(child);
    handled++;
    in_a_fork += forking;
    errno = saved_errno;
}

static void
tick_after(suseconds_t delay_us)
{
    struct itimerval tick = {{0, 0}, {0, delay_us}};
    check(setitimer(ITIMER_REAL, &tick, NULL) == 0);
}

// The thread that gets the signals holds no lock of the heap but those of its fork.
static void
forks_are_interrupted(void)
{
    handled = in_a_fork = 0;
    for (int i = 0; i < FORKS; i++) {
        tick_after(1 + i % DELAYS * DELAY_STEP_US);
        forking = 1;
        pid_t child = fork();
        forking = 0;
        if (child == 0)
            _exit(0);
        wait_for(child);
    }
    tick_after(0);
    check(handled > 0);
#if defined(__x86_64__)
    check(in_a_fork > 0);
#endif
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

static int
code_find(struct dl_phdr_info *info, size_t size_bytes, void *inside)
{
    (void)size_bytes;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
        if (part->p_type == PT_LOAD && (uintptr_t)inside >= start && (uintptr_t)inside < end) {
            code_start = start;
            code_end = end;
            return 1;
        }
    }
    return 0;
}

int
main(void)
{
    struct sigaction action = {.sa_sigaction = handler_forks, .sa_flags = SA_RESTART | SA_SIGINFO};
    void *symbol = dlsym(RTLD_DEFAULT, "hh_trim");
    check(symbol != NULL && dl_iterate_phdr(code_find, symbol) == 1);
    check(sigaction(SIGALRM, &action, NULL) == 0);
    bound_set();
    free(malloc(100));
    forks_are_interrupted();
    thread_start(churn);
    forks_are_interrupted();
    atomic_store(&stop, 1);
    return 0;
}
