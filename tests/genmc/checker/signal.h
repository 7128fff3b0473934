// SPDX-License-Identifier: MIT
// genmc/checker/signal.h - what src names and no program here calls.
typedef unsigned long sigset_t;
#define SIG_SETMASK 2
int sigfillset(sigset_t *set);
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
