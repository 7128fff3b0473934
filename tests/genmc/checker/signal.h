// SPDX-License-Identifier: MIT
// genmc/checker/signal.h - what src names and no program here calls.
#ifndef HH_GENMC_SIGNAL_H
#define HH_GENMC_SIGNAL_H
typedef unsigned long sigset_t;
typedef struct {
    int si_code;
    void *si_addr;
} siginfo_t;
struct sigaction {
    int sa_flags;
    void (*sa_handler)(int number);
    void (*sa_sigaction)(int number, siginfo_t *info, void *context);
    sigset_t sa_mask;
};
#define SIG_SETMASK 2
#define SIGSEGV 11
#define SA_SIGINFO 4
#define SA_ONSTACK 8
#define SA_NODEFER 16
#define SIG_DFL ((void (*)(int))0)
#define SIG_IGN ((void (*)(int))1)
int sigfillset(sigset_t *set);
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int sigaction(int number, const struct sigaction *action, struct sigaction *old);
int raise(int number);
#endif
