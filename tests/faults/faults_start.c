// SPDX-License-Identifier: MIT
/*
 * Every call to the kernel that the library makes from a process's first instruction on fails once, and
 * from there on; so does every thread that is to be created, and every stack for one. What has to hold
 * is said and checked by the program that runs (start.h); that it neither crashes nor hangs is seen here.
 *
 * faults_start LIBRARY PRELOAD|LINKED PROGRAM [ARGUMENT...]
 *
 * The first calls come before any code of a program could be in their way, so the kernel asks a
 * supervisor (seccomp's user notification), which is this program. It refuses the calls whose
 * instruction lies in LIBRARY; those of the dynamic linker and of libc are let through, since both end
 * the process when some of theirs fail. HOSTHEAP_SWEEP=long takes every call; without it a sample.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "faults/start.h"

#ifndef SECCOMP_USER_NOTIF_FLAG_CONTINUE
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
    PROGRAM_SECONDS = 60,
    SHORT_DENSE = 6, // the short form takes calls 1..6, then each time two thirds further
    TEXT_BYTES = 4000,
    ENDED_BY_LINKER = 127,
    EXIT_SKIPPED = 77,
};

enum kind {
    MAP,
    UNMAP,
    PROTECT,
    ADVISE,
    REMAP,
    BARRIER,
    LIMIT,
    SYSINFO,
    RANDOM,
    OPEN,
    CLONE,  // by the library or by libc
    CLONE3, // by libc
    STACK,  // an mmap of libc's
    KINDS
};
static const struct {
    const char *name;
    int number, error;
} kinds[KINDS] = {
    [MAP] = {"mmap", SYS_mmap, ENOMEM},
    [UNMAP] = {"munmap", SYS_munmap, ENOMEM},
    [PROTECT] = {"mprotect", SYS_mprotect, ENOMEM},
    [ADVISE] = {"madvise", SYS_madvise, ENOMEM},
    [REMAP] = {"mremap", SYS_mremap, ENOMEM},
    [BARRIER] = {"membarrier", SYS_membarrier, ENOSYS},
    [LIMIT] = {"prlimit", SYS_prlimit64, EPERM},
    [SYSINFO] = {"sysinfo", SYS_sysinfo, EPERM},
    [RANDOM] = {"getrandom", SYS_getrandom, ENOSYS},
    [OPEN] = {"open", SYS_openat, EMFILE},
    [CLONE] = {"clone", SYS_clone, EAGAIN},
    [CLONE3] = {"clone3", SYS_clone3, EAGAIN},
    [STACK] = {"stack", -1, ENOMEM},
};

static const char *library;
static bool is_preload;
static char **command;

// ---- The filter ---------------------------------------------------------------------------------

// A descriptor on which the kernel asks, -1 where it has no such filter.
static int
filter_install(void)
{
    struct sock_filter code[KINDS + 3];
    unsigned length = 0, asked = COUNT_OF(code) - 1;
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                  (uint32_t)offsetof(struct seccomp_data, nr));
    for (unsigned kind = 0; kind < KINDS; kind++, length++)
        code[length] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)kinds[kind].number,
                                         (uint8_t)(asked - length - 1), 0);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {(unsigned short)length, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

// Passes a descriptor; -1 says that there is none.
static void
descriptor_send(int to, int descriptor)
{
    char has = descriptor >= 0;
    union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    struct iovec part = {&has, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (has) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    start_check(sendmsg(to, &message, 0) == 1);
}

static int
descriptor_receive(int from)
{
    char has = 0;
    int descriptor = -1;
    union control control;
    struct iovec part = {&has, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    start_check(recvmsg(from, &message, MSG_CMSG_CLOEXEC) == 1);
    if (has)
        memcpy(&descriptor, CMSG_DATA(&control.header), sizeof descriptor);
    return descriptor;
}

// ---- Answers ------------------------------------------------------------------------------------

// Which calls fail: the at-th of a kind (from 1; 0 = none), or all from it on.
struct plan {
    enum kind kind;
    unsigned at;
    bool for_ever;
};

static struct {
    bool granted;
    uintptr_t code, code_end; // of the library; 0 before it is mapped
    unsigned seen[KINDS], refused;
} watched;

// The program's children have the library where it has it.
static void
code_find(pid_t process)
{
    char path[64], line[5000], access[8], name[4200];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)process);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4199s", &start, &end, access, name) == 4 &&
            access[2] == 'x' && strcmp(name, library) == 0) {
            watched.code = start;
            watched.code_end = end;
        }
    }
    if (file != NULL)
        fclose(file);
}

static enum kind
kind_of(const struct seccomp_data *call)
{
    unsigned kind = 0;
    while (kind < STACK && kinds[kind].number != call->nr)
        kind++;
    return kind == MAP && (call->args[3] & MAP_STACK) != 0 ? STACK : (enum kind)kind;
}

// Whether the call is one that is counted: the library's, and what libc makes threads of.
static bool
is_swept(const struct seccomp_notif *ask, enum kind kind)
{
    if (watched.code == 0)
        code_find((pid_t)ask->pid);
    uintptr_t at = ask->data.instruction_pointer;
    bool is_ours = at >= watched.code && at < watched.code_end;
    bool makes_thread = kind == CLONE || kind == CLONE3 || kind == STACK;
    return watched.code != 0 && (is_ours || makes_thread);
}

// The error that a call gets, 0 if the kernel is to make it.
static int
call_judge(const struct seccomp_notif *ask, const struct plan *plan)
{
    enum kind kind = kind_of(&ask->data);
    if (watched.granted || !is_swept(ask, kind))
        return 0;
    unsigned nth = ++watched.seen[kind];
    if (plan->at == 0 || kind != plan->kind || nth < plan->at ||
        (nth > plan->at && !plan->for_ever))
        return 0;
    watched.refused++;
    return kinds[kind].error;
}

static void
call_answer(int listener, const struct plan *plan)
{
    struct seccomp_notif ask;
    struct seccomp_notif_resp response;
    memset(&ask, 0, sizeof ask);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &ask) != 0)
        return; // it was interrupted, or has ended
    memset(&response, 0, sizeof response);
    response.id = ask.id;
    bool is_word = ask.data.nr == SYS_membarrier;
    if (is_word && ask.data.args[0] == START_REFUSED) {
        response.val = watched.refused;
    } else if (is_word && ask.data.args[0] == START_GRANT) {
        watched.granted = true;
    } else {
        response.error = -call_judge(&ask, plan);
        response.flags = response.error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

// ---- One run ------------------------------------------------------------------------------------

static void
program_start(int channel, int report)
{
    descriptor_send(channel, filter_install());
    dup2(report, STDOUT_FILENO);
    dup2(report, STDERR_FILENO);
    if (is_preload)
        setenv("LD_PRELOAD", library, 1);
    alarm(PROGRAM_SECONDS);
    execv(command[0], command);
    _exit(126);
}

// Until the process has ended; children of its that are still there go on without answers.
static void
program_serve(pid_t process, int listener, const struct plan *plan)
{
    int end = (int)syscall(SYS_pidfd_open, process, 0);
    start_check(end >= 0);
    struct pollfd ready[2] = {{listener, POLLIN, 0}, {end, POLLIN, 0}};
    while (poll(ready, 2, -1) > 0 && ready[1].revents == 0)
        if ((ready[0].revents & POLLIN) != 0)
            call_answer(listener, plan);
    close(end);
}

// The status with which the program has ended; text: what it wrote.
static int
program_run(const struct plan *plan, char text[TEXT_BYTES])
{
    int channel[2], status = 0;
    int report = memfd_create("report", MFD_CLOEXEC);
    start_check(report >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
    memset(&watched, 0, sizeof watched);
    pid_t process = fork();
    start_check(process >= 0);
    if (process == 0)
        program_start(channel[1], report);
    int listener = descriptor_receive(channel[0]);
    close(channel[0]);
    close(channel[1]);
    if (listener < 0) {
        kill(process, SIGKILL);
        printf("the kernel asks no supervisor here: skipped\n");
        exit(EXIT_SKIPPED);
    }
    program_serve(process, listener, plan);
    close(listener);
    start_check(waitpid(process, &status, 0) == process);
    ssize_t length = pread(report, text, TEXT_BYTES - 1, 0);
    text[length < 0 ? 0 : length] = 0;
    close(report);
    return status;
}

static unsigned runs, refused, ended_by_linker;

static bool
is_right(const struct plan *plan)
{
    char text[TEXT_BYTES];
    int status = program_run(plan, text);
    runs++;
    refused += watched.refused;
    if (status == 0)
        return true;
    // The linker ends a program for which it gets no memory, and says so.
    if (WIFEXITED(status) && WEXITSTATUS(status) == ENDED_BY_LINKER && text[0] != 0 &&
        watched.refused > 0) {
        ended_by_linker++;
        return true;
    }
    fprintf(stderr, "%s %u%s: %u calls refused, ended with status %#x: %s\n",
            kinds[plan->kind].name, plan->at, plan->for_ever ? " and on" : "", watched.refused,
            (unsigned)status, text);
    return false;
}

static unsigned
sweep(enum kind kind, unsigned count, bool is_long)
{
    unsigned bad = 0;
    for (unsigned at = 1; at <= count; at += is_long || at < SHORT_DENSE ? 1 : at * 2 / 3) {
        bad += !is_right(&(struct plan){kind, at, false});
        bad += !is_right(&(struct plan){kind, at, true});
    }
    return bad;
}

int
main(int count, char **arguments)
{
    const char *form = getenv("HOSTHEAP_SWEEP");
    bool is_long = form != NULL && strcmp(form, "long") == 0;
    time_t start = time(NULL);
    start_check(count >= 4);
    library = realpath(arguments[1], NULL);
    is_preload = strcmp(arguments[2], "PRELOAD") == 0;
    command = &arguments[3];
    start_check(library != NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    unsigned seen[KINDS], bad = !is_right(&(struct plan){.at = 0});
    memcpy(seen, watched.seen, sizeof seen);
    start_check(bad > 0 || (seen[MAP] > 0 && seen[PROTECT] > 0));
    for (unsigned kind = 0; kind < KINDS && bad == 0; kind++)
        printf("%s %u ", kinds[kind].name, seen[kind]);
    for (unsigned kind = 0; kind < KINDS; kind++)
        bad += sweep((enum kind)kind, seen[kind], is_long);
    printf("\n%u runs, %u calls refused, %u ended by the dynamic linker, %u wrong, %u s\n", runs,
           refused, ended_by_linker, bad, (unsigned)(time(NULL) - start));
    return bad != 0;
}
