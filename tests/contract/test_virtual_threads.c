// SPDX-License-Identifier: MIT
/*
 * tests/contract/test_virtual_threads.c - many threads, stopped threads, signal handlers, fork.
 */
#include "virtual.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, SLOTS = 16, SLOT_PAGES = 40 };

static atomic_bool done;
static atomic_uintptr_t slots[WORKERS][SLOTS]; // allocations the workers have now, or had

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void
require(bool condition)
{
    if (!condition)
        abort();
}

static void
churn_once(uintptr_t *base, uint64_t *seed)
{
    static const uint32_t protections[] = {PAGE_READWRITE, PAGE_READONLY, PAGE_NOACCESS};
    void *result;
    uint32_t old;
    uintptr_t at = *base + next_random(seed) % SLOT_PAGES * P;
    uint32_t protect = protections[next_random(seed) % 3];
    if (*base == 0) {
        require(virtual_alloc(0, SLOT_PAGES * P, MEM_RESERVE, PAGE_READWRITE, &result) == S_OK);
        *base = (uintptr_t)result;
        return;
    }
    switch (next_random(seed) % 8) {
    case 0:
        require(virtual_free(*base, 0, MEM_RELEASE) == S_OK);
        *base = 0;
        break;
    case 1:
    case 2:
        require(virtual_free(at, P, MEM_DECOMMIT) == S_OK);
        break;
    case 3:
        virtual_protect(at, P, protect, &old);
        break;
    case 4:
        query(at);
        break;
    default:
        require(virtual_alloc(at, P, MEM_COMMIT, protect, &result) == S_OK);
    }
}

static void *
churn(void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    uint64_t seed = me + 1;
    uintptr_t mine[SLOTS] = {0};
    while (!atomic_load(&done)) {
        size_t slot = next_random(&seed) % SLOTS;
        churn_once(&mine[slot], &seed);
        atomic_store(&slots[me][slot], mine[slot]);
    }
    for (size_t slot = 0; slot < SLOTS; slot++) {
        if (mine[slot] != 0)
            require(virtual_free(mine[slot], 0, MEM_RELEASE) == S_OK);
    }
    return NULL;
}

static void
start_workers(pthread_t *workers, void *(*work)(void *))
{
    atomic_store(&done, false);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, work, (void *)(uintptr_t)i), 0);
}

static void
end_workers(pthread_t *workers)
{
    atomic_store(&done, true);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(workers[i], NULL), 0);
}

// ---- All other threads stopped anywhere ----

static atomic_int parked;
static atomic_int release_round;

static void
park(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    int round = atomic_load(&release_round);
    atomic_fetch_add(&parked, 1);
    struct timespec wait = {0, 100000};
    while (atomic_load(&release_round) == round)
        nanosleep(&wait, NULL);
    atomic_fetch_sub(&parked, 1);
    errno = saved_errno;
}

// No printing, no allocation: the parked threads may hold the locks of both.
static bool
answer_is_sane(uintptr_t at)
{
    hh_memory_basic_information info;
    size_t length = 0;
    hh_hresult answer =
        manager->lpVtbl->VirtualQuery(manager, (void *)at, &info, sizeof info, &length);
    if (answer != S_OK || length != sizeof info)
        return false;
    if ((uintptr_t)info.BaseAddress != (at & ~(P - 1)) || info.RegionSize == 0)
        return false;
    return info.State == MEM_COMMIT || info.State == MEM_RESERVE || info.State == MEM_FREE;
}

static bool
walk_is_sane(void)
{
    uintptr_t at = 0;
    while (at < LIMIT) {
        hh_memory_basic_information info;
        size_t length;
        if (!answer_is_sane(at))
            return false;
        manager->lpVtbl->VirtualQuery(manager, (void *)at, &info, sizeof info, &length);
        at += info.RegionSize;
    }
    return at == LIMIT;
}

static bool
queries_work_while_all_are_parked(void)
{
    bool sane = true;
    int local;
    for (size_t i = 0; i < WORKERS; i++) {
        for (size_t slot = 0; slot < SLOTS; slot++) {
            uintptr_t base = atomic_load(&slots[i][slot]);
            for (size_t page = 0; base != 0 && page < SLOT_PAGES; page += 7)
                sane = sane && answer_is_sane(base + page * P);
        }
    }
    sane = sane && answer_is_sane((uintptr_t)&local);
    return sane && walk_is_sane();
}

// [GEN-8] [VQ-8]
static void
queries_finish_while_every_other_thread_is_stopped(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    // It runs a handler only when a thread is back from the kernel, and one that waits there for a
    // lock of a stopped thread never is.
    skip();
#endif
    enum { ROUNDS = 200 };
    pthread_t workers[WORKERS];
    struct sigaction action = {.sa_handler = park, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    start_workers(workers, churn);
    bool sane = true;
    for (int round = 0; round < ROUNDS && sane; round++) {
        usleep(500 + (unsigned)round % 7 * 100);
        for (size_t i = 0; i < WORKERS; i++)
            pthread_kill(workers[i], SIGUSR1);
        while (atomic_load(&parked) != WORKERS)
            sched_yield();
        sane = queries_work_while_all_are_parked();
        atomic_fetch_add(&release_round, 1);
        while (atomic_load(&parked) != 0)
            sched_yield();
    }
    end_workers(workers);
    assert_true(sane);
}

// ---- One instant ----

static uintptr_t shared_base;

static void *
toggle(void *arg)
{
    bool protects = (uintptr_t)arg % 2 == 0;
    while (!atomic_load(&done)) {
        uint32_t old;
        void *result;
        if (protects) {
            virtual_protect(shared_base, 16 * P, PAGE_READONLY, &old);
            virtual_protect(shared_base, 16 * P, PAGE_READWRITE, &old);
        } else {
            require(virtual_free(shared_base, 16 * P, MEM_DECOMMIT) == S_OK);
            require(virtual_alloc(shared_base, 16 * P, MEM_COMMIT, PAGE_EXECUTE_READ, &result) ==
                    S_OK);
        }
    }
    return NULL;
}

// [VQ-7] [D35]
static void
a_query_never_sees_half_of_a_change(void **state)
{
    (void)state;
    pthread_t workers[WORKERS];
    shared_base = must_alloc(0, 32 * P, MEM_RESERVE, PAGE_READWRITE);
    start_workers(workers, toggle);
    uint32_t seen = 0;
    for (int i = 0; i < 20000; i++) {
        hh_memory_basic_information info = query(shared_base + (uintptr_t)i % 16 * P);
        size_t rest = (16 - (size_t)i % 16) * P;
        seen |= info.State == MEM_RESERVE ? 1 : info.Protect << 1;
        if (info.State == MEM_RESERVE)
            assert_int_equal(info.RegionSize, rest + 16 * P);
        else
            assert_int_equal(info.RegionSize, rest);
        assert_int_equal(info.AllocationBase, shared_base);
    }
    end_workers(workers);
    assert_true(
        (seen & ~(1u | PAGE_READONLY << 1 | PAGE_READWRITE << 1 | PAGE_EXECUTE_READ << 1)) == 0);
    must_release(shared_base);
}

// [GEN-6]: any methods by any threads; ends with nothing left over.
static void
threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    pthread_t workers[WORKERS];
    start_workers(workers, churn);
    uintptr_t mine = must_alloc(0, 4 * P, MEM_COMMIT, PAGE_READWRITE);
    for (int i = 0; i < 3000; i++) {
        expect_committed(mine, mine, PAGE_READWRITE, 4 * P, PAGE_READWRITE);
        uintptr_t other = must_alloc(0, P, MEM_COMMIT, PAGE_READWRITE);
        *(volatile char *)other = 1;
        must_release(other);
    }
    end_workers(workers);
    must_release(mine);
}

// ---- In a signal handler, which may interrupt any method ----

static atomic_int handler_runs;
static atomic_int handler_failures;
static uintptr_t handler_base;

static void
query_in_handler(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    bool sane = answer_is_sane(handler_base) && answer_is_sane(handler_base + 5 * P) &&
                answer_is_sane((uintptr_t)&saved_errno) && answer_is_sane(0x10000);
    atomic_fetch_add(&handler_runs, 1);
    if (!sane || errno != saved_errno)
        atomic_fetch_add(&handler_failures, 1);
    errno = saved_errno;
}

// [GEN-8] [GEN-9]
static void
queries_work_in_a_signal_handler(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = query_in_handler, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    handler_base = must_alloc(0, 8 * P, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    uint64_t seed = 5;
    uintptr_t mine[SLOTS] = {0};
    while (atomic_load(&handler_runs) < 300)
        churn_once(&mine[next_random(&seed) % SLOTS], &seed);
    setitimer(ITIMER_REAL, &never, NULL);
    for (size_t slot = 0; slot < SLOTS; slot++) {
        if (mine[slot] != 0)
            must_release(mine[slot]);
    }
    assert_int_equal(atomic_load(&handler_failures), 0);
    must_release(handler_base);
}

// ---- Fork ----

static int
child_sees_its_own_memory(uintptr_t inherited)
{
    hh_memory_basic_information info = query(inherited);
    if (info.State != MEM_COMMIT || info.RegionSize != 2 * P)
        return 1;
    // [FM-1]: a kept descriptor of /proc/self/maps would still show the parent.
    void *page = mmap(NULL, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || query((uintptr_t)page).State != MEM_COMMIT)
        return 2;
    munmap(page, P);
    if (query((uintptr_t)page).State != MEM_FREE)
        return 3;
    void *result;
    if (virtual_alloc(0, 4 * P, MEM_COMMIT, PAGE_READWRITE, &result) != S_OK)
        return 4;
    if (virtual_free((uintptr_t)result, 0, MEM_RELEASE) != S_OK)
        return 5;
    return virtual_free(inherited, 0, MEM_RELEASE) == S_OK ? 0 : 6;
}

// [FM-1] [GEN-6]
static void
the_child_of_a_fork_goes_on_whatever_other_threads_did(void **state)
{
    (void)state;
    enum { FORKS = 60 };
    pthread_t workers[WORKERS];
    uintptr_t inherited = must_alloc(0, 2 * P, MEM_COMMIT, PAGE_READWRITE);
    int local;
    query((uintptr_t)&local);
    start_workers(workers, churn);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(child_sees_its_own_memory(inherited));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    end_workers(workers);
    expect_committed(inherited, inherited, PAGE_READWRITE, 2 * P, PAGE_READWRITE);
    must_release(inherited);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_finish_while_every_other_thread_is_stopped),
        cmocka_unit_test(a_query_never_sees_half_of_a_change),
        cmocka_unit_test(threads_do_not_disturb_each_other),
        cmocka_unit_test(queries_work_in_a_signal_handler),
        cmocka_unit_test(the_child_of_a_fork_goes_on_whatever_other_threads_did),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
