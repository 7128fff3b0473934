// SPDX-License-Identifier: MIT
/*
 * A block is freed twice in a signal handler that has little stack: the report is written all the same,
 * and the process ends by SIGABRT. A handler of that signal on the same stack has room, too: 8 KiB do
 * where a signal's frame takes 3,376 bytes (AVX-512). The program is bound when it starts: the first
 * call of a function by name takes as much again for the processor's registers.
 */
#include <alloca.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "support/plain.h"

#ifdef HH_COVERAGE // counts are written before the end, on the same stack
enum { COUNTS_BYTES = 64 * 1024 };
#else
enum { COUNTS_BYTES = 0 };
#endif
enum {
    STACK_BYTES = 256 * 1024,
    LEFT_BYTES = 5120 + COUNTS_BYTES,
    FRAME_BYTES = 3376, // of a signal, if the kernel does not say
    OWN_BYTES = 8192 - 2 * FRAME_BYTES + COUNTS_BYTES,
    END_STATUS = 7,
};

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

// The handler runs on size_bytes of stack, below which nothing may be accessed.
static void
run_on_stack(void (*handler)(int), size_t size_bytes)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    stack_low = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(stack_low != MAP_FAILED && mprotect(stack_low, page_bytes, PROT_NONE) == 0);
    stack_low += page_bytes;
    stack_t stack = {.ss_sp = stack_low, .ss_size = size_bytes};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    check(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    block = malloc(100);
    raise(SIGUSR1);
    _exit(1);
}

static void
run_without_handler_of_abort(void)
{
    run_on_stack(frees_twice, STACK_BYTES / 2);
}

static void
only_frees_twice(int signal_number)
{
    (void)signal_number;
    free(block);
    free(block);
}

static void
ends_well(int signal_number)
{
    (void)signal_number;
    _exit(END_STATUS);
}

static void
run_with_handler_of_abort(void)
{
    size_t frame_bytes = getauxval(AT_MINSIGSTKSZ);
    struct sigaction action = {.sa_handler = ends_well, .sa_flags = SA_ONSTACK};
    check(sigaction(SIGABRT, &action, NULL) == 0);
    run_on_stack(only_frees_twice, 2 * (frame_bytes == 0 ? FRAME_BYTES : frame_bytes) + OWN_BYTES);
}

// The status with which a child ends that has written a whole report.
static int
run_child(void (*run)(void))
{
    static char text[4096];
    size_t length = 0;
    ssize_t more;
    int ends[2], status;
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
        run();
    }
    close(ends[1]);
    while ((more = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)more;
    close(ends[0]);
    text[length] = 0;
    check(waitpid(child, &status, 0) == child);
    fprintf(stderr, "%s", text);
    check(strstr(text, "freed already") != NULL && strstr(text, "slot before") != NULL);
    return status;
}

int
main(void)
{
    check(dlsym(RTLD_DEFAULT, "hh_trim") != NULL);
    int status = run_child(run_without_handler_of_abort);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = run_child(run_with_handler_of_abort);
    check(WIFEXITED(status) && WEXITSTATUS(status) == END_STATUS);
    return 0;
}
