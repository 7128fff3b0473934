// SPDX-License-Identifier: MIT
/*
 * A block is freed twice in a signal handler that has little stack: the report is written all the same,
 * and the process ends by SIGABRT.
 */
#include <alloca.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "support/plain.h"

enum { STACK_BYTES = 128 * 1024, LEFT_BYTES = 5120 };

static void *volatile block;
static char *stack_low;

// Forbids to write more than LEFT_BYTES below.
static void
frees_twice(int signal_number)
{
    (void)signal_number;
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) - LEFT_BYTES;
    volatile char *skipped = alloca(here % page_bytes + 1);
    skipped[0] = 0;
    check(mprotect(stack_low, here / page_bytes * page_bytes - (uintptr_t)stack_low, PROT_NONE) ==
          0);
    free(block);
    free(block);
}

static void
run_child(int output)
{
    stack_low = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(stack_low != MAP_FAILED);
    stack_t stack = {.ss_sp = stack_low, .ss_size = STACK_BYTES};
    struct sigaction action = {.sa_handler = frees_twice, .sa_flags = SA_ONSTACK};
    check(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    check(dup2(output, STDERR_FILENO) == STDERR_FILENO);
    block = malloc(100);
    raise(SIGUSR1);
    _exit(1);
}

int
main(void)
{
    static char text[4096];
    size_t length = 0;
    ssize_t more;
    int ends[2], status;
    check(dlsym(RTLD_DEFAULT, "hh_trim") != NULL && pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        run_child(ends[1]);
    close(ends[1]);
    while ((more = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)more;
    check(waitpid(child, &status, 0) == child);
    fprintf(stderr, "%s", text);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    check(strstr(text, "freed already") != NULL && strstr(text, "slot before") != NULL);
    return 0;
}
