// SPDX-License-Identifier: MIT
// GetMemoryLoad as a host sees it. Contract section 9.1. Made-up machines and groups:
// tests/unit/test_memload.c.

#include "support/host.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static hh_hresult
get_load(uint32_t *load, size_t *available)
{
    IHostMemoryManager *manager = test_manager();
    return manager->lpVtbl->GetMemoryLoad(manager, load, available);
}

static size_t
machine_bytes(void)
{
    struct sysinfo info;
    assert_int_equal(sysinfo(&info), 0);
    return (size_t)info.totalram * info.mem_unit;
}

// ML-1, GEN-2: percent and bytes, both written.
static void
load_is_a_percentage_and_available_fits_the_machine(void **state)
{
    (void)state;
    uint32_t load = 12345;
    size_t available = SIZE_MAX;
    assert_int_equal(get_load(&load, &available), S_OK);
    assert_true(load <= 100);
    assert_true(available <= machine_bytes());
    assert_true(available > 0);
}

// DECISION 38, GEN-2, GEN-3: either pointer NULL is E_POINTER; the other count becomes 0.
static void
a_null_pointer_is_refused(void **state)
{
    (void)state;
    uint32_t load = 7;
    size_t available = 7;
    assert_int_equal(get_load(NULL, &available), E_POINTER);
    assert_int_equal(available, 0);
    assert_int_equal(get_load(&load, NULL), E_POINTER);
    assert_int_equal(load, 0);
    assert_int_equal(get_load(NULL, NULL), E_POINTER);
}

// GEN-9: errno stays, whichever way the answer is found.
static void
errno_is_kept(void **state)
{
    (void)state;
    uint32_t load;
    size_t available;
    for (int i = 0; i < 3; i++) {
        errno = 4711;
        assert_int_equal(get_load(&load, &available), S_OK);
        assert_int_equal(errno, 4711);
        usleep(110000); // past the cache (ML-5)
    }
}

// What the limits count, which is what a limit does not leave.
static size_t
committed_bytes(void)
{
    uint32_t load;
    size_t available;
    assert_int_equal(hh_set_memory_limits(0, 64 * MIB), HH_OK);
    assert_int_equal(get_load(&load, &available), S_OK);
    return 64 * MIB - available;
}

// ML-4 (d): the host's own limit is a source like the others; the smaller of the two counts.
static void
the_limit_of_the_host_is_a_source(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    uint32_t load;
    size_t available;
    void *memory = NULL;
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, MIB, MEM_RESERVE | MEM_COMMIT,
                                                   PAGE_READWRITE, eTaskCritical, &memory),
                     S_OK);
    size_t used = committed_bytes();
    assert_int_equal(hh_set_memory_limits(0, used + 10 * MIB), HH_OK);
    assert_int_equal(get_load(&load, &available), S_OK);
    assert_int_equal(available, 10 * MIB);
    size_t total = used + 10 * MIB;
    assert_int_equal(load, (100 * used + total / 2) / total);
    assert_int_equal(hh_set_memory_limits(used + 5 * MIB, used + 10 * MIB), HH_OK);
    assert_int_equal(get_load(&load, &available), S_OK);
    assert_int_equal(available, 5 * MIB);
    assert_int_equal(hh_set_memory_limits(1, 0), HH_OK); // far below what is in use
    assert_int_equal(get_load(&load, &available), S_OK);
    assert_int_equal(available, 0);
    assert_int_equal(load, 100);
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
    assert_int_equal(get_load(&load, &available), S_OK);
    assert_true(available > 10 * MIB);
    assert_int_equal(manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE), S_OK);
}

// ML-4 (d), 16.6: committed pages count, reserved ones do not.
static void
committing_takes_from_what_the_limit_leaves(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    uint32_t load;
    size_t before, after;
    void *memory = NULL;
    assert_int_equal(hh_set_memory_limits(0, committed_bytes() + 32 * MIB), HH_OK);
    assert_int_equal(get_load(&load, &before), S_OK);
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, 16 * MIB, MEM_RESERVE,
                                                   PAGE_READWRITE, eTaskCritical, &memory),
                     S_OK);
    assert_int_equal(get_load(&load, &after), S_OK);
    assert_int_equal(after, before);
    void *again = NULL;
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, memory, 8 * MIB, MEM_COMMIT,
                                                   PAGE_READWRITE, eTaskCritical, &again),
                     S_OK);
    assert_int_equal(get_load(&load, &after), S_OK);
    assert_int_equal(after, before - 8 * MIB);
    assert_int_equal(manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE), S_OK);
    assert_int_equal(get_load(&load, &after), S_OK);
    assert_int_equal(after, before);
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
}

static bool
answers_sensibly(void)
{
    uint32_t load = 200;
    size_t available = SIZE_MAX;
    return get_load(&load, &available) == S_OK && load <= 100 && available > 0 &&
           available <= machine_bytes();
}

// ML-3: without any file of the kernel sysinfo answers.
static int
child_without_proc(void *argument)
{
    if (chroot(argument) != 0)
        return 1; // not allowed: nothing to show
    for (int i = 3; i < 1000; i++)
        close(i);
    usleep(110000);
    return answers_sensibly() ? 0 : 2;
}

static void
without_proc_it_still_answers(void **state)
{
    (void)state;
    char folder[] = "/tmp/hostheap-empty-XXXXXX";
    assert_non_null(mkdtemp(folder));
    int result = test_in_child(child_without_proc, folder);
    rmdir(folder);
    if (result == 1)
        skip();
    assert_int_equal(result, 0);
}

// ML-3: no descriptor left to open anything with.
static int
child_without_descriptors(void *argument)
{
    (void)argument;
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &none) != 0)
        return 1;
    return answers_sensibly() ? 0 : 2;
}

static void
without_descriptors_it_still_answers(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(child_without_descriptors, NULL), 0);
}

// 16.10: a program that closes everything and opens files of its own in the same places.
static int
child_reusing_descriptors(void *argument)
{
    (void)argument;
    if (!answers_sensibly())
        return 1;
    char name[] = "/tmp/hostheap-false-XXXXXX";
    int false_file = mkstemp(name);
    static const char text[] = "MemTotal: 5 kB\nMemAvailable: 4 kB\n";
    if (false_file < 0 || write(false_file, text, strlen(text)) != (ssize_t)strlen(text))
        return 2;
    unlink(name);
    for (int i = 3; i < 300; i++) {
        if (i != false_file)
            dup2(false_file, i);
    }
    usleep(110000);
    uint32_t load;
    size_t available;
    if (get_load(&load, &available) != S_OK || available <= 5 * 1024)
        return 3;
    for (int i = 3; i < 300; i++) {
        if (fcntl(i, F_GETFD) < 0)
            return 4; // closed behind the program's back
    }
    return 0;
}

static void
descriptors_of_the_program_are_neither_read_nor_closed(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(child_reusing_descriptors, NULL), 0);
}

enum { STOPPED_THREADS = 3, STOP_ROUNDS = 60 };

static struct {
    atomic_bool end;
    atomic_uint stopped;
    atomic_uint round; // threads stopped in an earlier round go on
} stop;

static void
stop_here(int signal_number)
{
    (void)signal_number;
    unsigned round = atomic_load(&stop.round);
    atomic_fetch_add(&stop.stopped, 1);
    while (atomic_load(&stop.round) == round)
        usleep(100);
    atomic_fetch_sub(&stop.stopped, 1);
}

static void *
ask_for_ever(void *argument)
{
    while (!atomic_load(&stop.end)) {
        uint32_t load;
        size_t available;
        (void)get_load(&load, &available);
    }
    return argument;
}

// GEN-8, DECISION 8: a collector calls it with all other threads stopped anywhere. Not in a child:
// the thread sanitizer knows no threads there.
static void
it_answers_while_other_threads_are_stopped_inside_it(void **state)
{
    (void)state;
    pthread_t threads[STOPPED_THREADS];
    signal(SIGUSR1, stop_here);
    for (int i = 0; i < STOPPED_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_ever, NULL), 0);
    for (unsigned round = 0; round < STOP_ROUNDS; round++) {
        usleep(round % 7 * 1000);
        for (int i = 0; i < STOPPED_THREADS; i++)
            pthread_kill(threads[i], SIGUSR1);
        while (atomic_load(&stop.stopped) != STOPPED_THREADS)
            usleep(100);
        // Wherever they stand, and whatever they hold.
        alarm(60);
        assert_true(answers_sensibly());
        alarm(0);
        atomic_fetch_add(&stop.round, 1);
        while (atomic_load(&stop.stopped) != 0)
            usleep(100);
    }
    atomic_store(&stop.end, true);
    for (int i = 0; i < STOPPED_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

// ---- A real group ----

struct group {
    char outer[400], inner[450];
    bool v1;
};

static bool
write_text(const char *folder, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    bool done = descriptor >= 0 && write(descriptor, text, strlen(text)) == (ssize_t)strlen(text);
    if (descriptor >= 0)
        close(descriptor);
    return done;
}

static bool
write_number(const char *folder, const char *name, size_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", number);
    return write_text(folder, name, text);
}

static bool
group_make_at(struct group *group, const char *hierarchy)
{
    snprintf(group->outer, sizeof group->outer, "%s/hostheap-test-%d", hierarchy, getpid());
    snprintf(group->inner, sizeof group->inner, "%s/inner", group->outer);
    if (mkdir(group->outer, 0700) != 0)
        return false;
    if (!group->v1)
        write_text(group->outer, "cgroup.subtree_control", "+memory");
    const char *limit = group->v1 ? "memory.limit_in_bytes" : "memory.max";
    if (mkdir(group->inner, 0700) == 0 && write_number(group->outer, limit, 400 * MIB) &&
        write_number(group->inner, limit, 1000 * MIB))
        return true;
    rmdir(group->inner);
    rmdir(group->outer);
    return false;
}

static bool
group_make(struct group *group)
{
    group->v1 = true;
    if (access("/sys/fs/cgroup/memory/memory.limit_in_bytes", R_OK) == 0)
        return group_make_at(group, "/sys/fs/cgroup/memory");
    group->v1 = false;
    return access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0 &&
           group_make_at(group, "/sys/fs/cgroup");
}

static int
child_in_group(void *argument)
{
    const struct group *group = argument;
    uint32_t load;
    size_t before, after;
    if (!write_number(group->inner, "cgroup.procs", (size_t)getpid()))
        return 1;
    usleep(110000); // what the parent process cached is of its own group
    if (get_load(&load, &before) != S_OK)
        return 2;
    if (before > 400 * MIB)
        return 4; // the parent's limit is the tighter one
    size_t size = 100 * MIB;
    // Filled by the kernel: a sanitizer would fill as much again of its own.
    if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
             0) == MAP_FAILED)
        return 5;
    usleep(110000);
    if (get_load(&load, &after) != S_OK)
        return 6;
    if (after > before - 90 * MIB || after < before - 140 * MIB)
        return 7;
    size_t used = 400 * MIB - after;
    size_t percent = (100 * used + 200 * MIB) / (400 * MIB);
    return load == percent ? 0 : 8;
}

// ML-4 (b), (c): in a group whose parent has the tighter limit, on whichever version is here.
static void
a_real_group_and_its_parent_bind(void **state)
{
    (void)state;
    struct group group;
    if (!group_make(&group))
        skip();
    int result = test_in_child(child_in_group, &group);
    assert_int_equal(rmdir(group.inner), 0);
    assert_int_equal(rmdir(group.outer), 0);
    assert_int_equal(result, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_is_a_percentage_and_available_fits_the_machine),
        cmocka_unit_test(a_null_pointer_is_refused),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(the_limit_of_the_host_is_a_source),
        cmocka_unit_test(committing_takes_from_what_the_limit_leaves),
        cmocka_unit_test(without_proc_it_still_answers),
        cmocka_unit_test(without_descriptors_it_still_answers),
        cmocka_unit_test(descriptors_of_the_program_are_neither_read_nor_closed),
        cmocka_unit_test(it_answers_while_other_threads_are_stopped_inside_it),
        cmocka_unit_test(a_real_group_and_its_parent_bind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
