// SPDX-License-Identifier: MIT
// tests/support/fault.c - see fault.h.
#include "support/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

const char *const fault_names[FAULT_KINDS] = {"mmap",    "munmap", "mprotect",
                                              "madvise", "mremap", "membarrier"};

static struct {
    atomic_bool armed;
    struct fault_plan plan; // fixed while armed
    atomic_uint seen[FAULT_KINDS];
    atomic_uint failed;
} fault;

#if defined(__x86_64__)

static const int numbers[FAULT_KINDS] = {SYS_mmap,    SYS_munmap, SYS_mprotect,
                                         SYS_madvise, SYS_mremap, SYS_membarrier};

// Initial-exec: the handler must not allocate.
static _Thread_local struct {
    unsigned calls;
    char letters[FAULT_TRACE]; // of the last calls, by number
} here __attribute__((tls_model("initial-exec")));

static bool
call_fails(unsigned kind)
{
    if (!atomic_load(&fault.armed))
        return false;
    unsigned nth = atomic_fetch_add(&fault.seen[kind], 1) + 1;
    if (fault.plan.at == 0 || kind != (unsigned)fault.plan.kind)
        return false;
    return nth == fault.plan.at || (fault.plan.for_ever && nth > fault.plan.at);
}

static void
on_sigsys(int signal_number, siginfo_t *info, void *raw)
{
    (void)signal_number;
    greg_t *registers = ((ucontext_t *)raw)->uc_mcontext.gregs;
    int saved_errno = errno;
    unsigned kind = 0;
    while (kind < FAULT_KINDS && numbers[kind] != info->si_syscall)
        kind++;
    bool fails = call_fails(kind);
    if (kind != FAULT_BARRIER)
        here.letters[here.calls++ % FAULT_TRACE] = (fails ? "MUPAR" : "mupar")[kind];
    if (fails) {
        atomic_fetch_add(&fault.failed, 1);
        registers[REG_RAX] = -fault.plan.error;
    } else {
        long result =
            syscall(info->si_syscall, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                    registers[REG_R10], registers[REG_R8], registers[REG_R9]);
        registers[REG_RAX] = result == -1 ? -errno : result;
    }
    errno = saved_errno;
}

/*
 * In place of libc's: the library's reclaimer blocks all signals, and a blocked SIGSYS ends the
 * process.
 */
int
pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t some;
    if (set != NULL && how != SIG_UNBLOCK) {
        some = *set;
        sigdelset(&some, SIGSYS);
        set = &some;
    }
    return sigprocmask(how, set, old) == 0 ? 0 : errno;
}

struct code_range {
    uintptr_t inside, start, end;
};

static int
code_find(struct dl_phdr_info *info, size_t size, void *raw)
{
    (void)size;
    struct code_range *range = raw;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0 && range->inside >= start &&
            range->inside < end) {
            range->start = start;
            range->end = end;
            return 1;
        }
    }
    return 0;
}

#define LOAD_WORD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define DATA(field) offsetof(struct seccomp_data, field)
#define JUMP(test, value, yes, no)                                                                 \
    BPF_JUMP(BPF_JMP | BPF_##test | BPF_K, (uint32_t)(value), (yes), (no))

bool
fault_install(const void *symbol)
{
    struct code_range range = {.inside = (uintptr_t)symbol};
    if (dl_iterate_phdr(code_find, &range) == 0 || range.start >> 32 != (range.end - 1) >> 32)
        return false;
    struct sock_filter code[] = {
        LOAD_WORD(DATA(instruction_pointer) + 4),
        JUMP(JEQ, range.start >> 32, 0, 11),
        LOAD_WORD(DATA(instruction_pointer)),
        JUMP(JGE, range.start, 0, 9),
        JUMP(JGT, range.end - 1, 8, 0),
        LOAD_WORD(DATA(nr)),
        JUMP(JEQ, SYS_mmap, 5, 0),
        JUMP(JEQ, SYS_munmap, 4, 0),
        JUMP(JEQ, SYS_mprotect, 3, 0),
        JUMP(JEQ, SYS_madvise, 2, 0),
        JUMP(JEQ, SYS_mremap, 1, 0),
        JUMP(JEQ, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

unsigned
fault_calls_here(void)
{
    return here.calls;
}

void
fault_trace(unsigned since, char *text, size_t size_bytes)
{
    unsigned count = here.calls - since < FAULT_TRACE ? here.calls - since : FAULT_TRACE;
    size_t length = 0;
    for (; count > 0 && length + 1 < size_bytes; count--)
        text[length++] = here.letters[(here.calls - count) % FAULT_TRACE];
    text[length] = 0;
}

#else // no way yet to make the call for the library

bool
fault_install(const void *symbol)
{
    (void)symbol;
    return false;
}

unsigned
fault_calls_here(void)
{
    return 0;
}

void
fault_trace(unsigned since, char *text, size_t size_bytes)
{
    (void)since, (void)size_bytes;
    text[0] = 0;
}

#endif

void
fault_arm(const struct fault_plan *plan)
{
    fault.plan = *plan;
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        atomic_store(&fault.seen[kind], 0);
    atomic_store(&fault.failed, 0);
    atomic_store(&fault.armed, true);
}

void
fault_disarm(void)
{
    atomic_store(&fault.armed, false);
}

unsigned
fault_seen(enum fault_kind kind)
{
    return atomic_load(&fault.seen[kind]);
}

unsigned
fault_failed(void)
{
    return atomic_load(&fault.failed);
}
