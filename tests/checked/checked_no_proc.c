// SPDX-License-Identifier: MIT
/*
 * checked_no_proc.c - the checked library where there is no /proc: it finds no list of mappings, and does
 * not ask for it at each call.
 */
#include "support/plain.h"

#if defined(__x86_64__)

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { TURNS = 20000, ASKED_MOST = 2000 };

static volatile sig_atomic_t asked;

// Every openat is refused as of a file that is not there.
static void
on_open(int signal_number, siginfo_t *info, void *raw)
{
    (void)signal_number;
    (void)info;
    asked++;
    ((ucontext_t *)raw)->uc_mcontext.gregs[REG_RAX] = -ENOENT;
}

static bool
opens_refused(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    struct sigaction action = {.sa_sigaction = on_open, .sa_flags = SA_SIGINFO};
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// At most every 10 ms for each of two purposes, so 2,000 take 10 s; each call asking makes 40,000.
int
main(void)
{
    check(dlsym(RTLD_DEFAULT, "hh_check_blocks") != NULL);
    alarm(100);
    if (!opens_refused())
        return EXIT_SKIPPED;
    for (int turn = 0; turn < TURNS; turn++) {
        char *block = malloc(100);
        check(block != NULL);
        memset(block, turn, 100);
        free(block);
    }
    if (asked > ASKED_MOST)
        fprintf(stderr, "the list of mappings was asked for %d times in %d calls\n", (int)asked,
                2 * TURNS);
    check(asked <= ASKED_MOST);
    return 0;
}

#else

int
main(void)
{
    return EXIT_SKIPPED;
}

#endif
