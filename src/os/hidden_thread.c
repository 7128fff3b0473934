// SPDX-License-Identifier: MIT
/*
 * os/hidden_thread.c - a thread libc does not know.
 *
 * Why not pthread_create: it allocates; it makes __libc_single_threaded false for good, which slows
 * every lock of stdio; and a program whose main thread ends with pthread_exit would never end.
 * The thread points its thread register at a zeroed stub, so that a stack-protector canary or a
 * stray errno lands in memory of its own.
 */
#include "os/os.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "os/syscall.h"

#if HH_TSAN || !defined(__x86_64__)

// The sanitizer must see the thread start; other processors have no entry code yet.
#include <pthread.h>

struct hidden_start {
    void (*run)(void *);
    void *arg;
};

static void *
hidden_entry(void *raw)
{
    struct hidden_start start = *(struct hidden_start *)raw;
    start.run(start.arg);
    return NULL;
}

int
hhi_os_start_hidden_thread(void (*run)(void *arg), void *arg)
{
    static struct hidden_start start; // one such thread at a time
    start = (struct hidden_start){run, arg};
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int result = pthread_create(&thread, &attributes, hidden_entry, &start);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -result;
}

#else

enum { HIDDEN_STACK_BYTES = 64 * 1024, HIDDEN_STUB_BYTES = 8 * 1024 };

// Laid out at the low end of the mapping; the stack grows down to it from the high end.
struct hidden_stub {
    char before[HIDDEN_STUB_BYTES]; // where negative offsets from the thread register fall
    void *self;                     // fs:0 must hold its own address
    char after[HIDDEN_STUB_BYTES - sizeof(void *)];
};

/*
 * clone(2) in assembly: the child comes back on an empty stack, where no compiled frame can
 * return. run and arg are the two top words of the new stack.
 */
static long
hidden_clone(unsigned long flags, void *stack_top, void *tls)
{
    long result;
    register long r10 __asm__("r10") = 0;
    register void *r8 __asm__("r8") = tls;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "pop %%rax\n\t" // run
                     "pop %%rdi\n\t" // arg
                     "call *%%rax\n\t"
                     "mov %[exit], %%eax\n\t"
                     "xor %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "0"((long)SYS_clone), "D"(flags), "S"(stack_top), "d"(0L), "r"(r10),
                       "r"(r8), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

int
hhi_os_start_hidden_thread(void (*run)(void *arg), void *arg)
{
    // Two stacks by turns, kept for the life of the process: the last thread may still be in the
    // few instructions after its run.
    static struct hidden_stub *stubs[2];
    static unsigned turn;
    size_t size_bytes = sizeof(struct hidden_stub) + HIDDEN_STACK_BYTES;
    turn ^= 1;
    if (stubs[turn] == NULL) {
        intptr_t memory = hhi_os_map_private(size_bytes);
        if (memory < 0)
            return (int)memory;
        stubs[turn] = (struct hidden_stub *)memory;
        stubs[turn]->self = &stubs[turn]->self;
    }
    struct hidden_stub *stub = stubs[turn];
    void **top = (void **)((uintptr_t)stub + size_bytes);
    *--top = arg;
    *--top = (void *)run;
    uint64_t old = hhi_os_block_signals();
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SYSVSEM | CLONE_SETTLS;
    long thread = hidden_clone(flags, top, &stub->self);
    hhi_os_restore_signals(old);
    return thread < 0 ? (int)thread : 0;
}

#endif
