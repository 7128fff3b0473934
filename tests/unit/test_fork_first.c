// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_fork_first.c - what comes while a fork is under way, and what its child goes on with.
 *
 * A handler of fork that is registered before the library's runs after it: in the middle of the fork.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hostheap/host_memory.h>

#include "base/atomic.h"
#include "base/check.h"
#include "os/lock.h"
#include "os/os.h"
#include "process/process.h"
#include "support/core.h"

enum { WAIT_MS = 300 };

static struct {
    _Atomic uint32_t armed, came, leaves;
    pthread_t thread;
    struct hhi_lock lock;
} late;

static void
late_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&late.lock, step);
}

// A module's first use: its lock is to be known to forks, then it is taken.
static void *
late_come(void *argument)
{
    HH_CHECK(hhi_process_watch_forks_first(late_fork)); // not the thread that cmocka knows
    hhi_lock_enter(&late.lock);
    // relaxed (all): flags.
    hh_store_relaxed(&late.came, 1);
    while (hh_load_relaxed(&late.leaves) == 0)
        hhi_os_sleep_ms(1);
    hhi_lock_leave(&late.lock);
    return argument;
}

static void
in_the_middle_of_a_fork(void)
{
    // relaxed (both): flags.
    if (hh_load_relaxed(&late.armed) == 0)
        return;
    hh_store_relaxed(&late.armed, 0);
    if (pthread_create(&late.thread, NULL, late_come, NULL) != 0)
        _exit(1);
    for (int ms = 0; ms < WAIT_MS && hh_load_relaxed(&late.came) == 0; ms++)
        hhi_os_sleep_ms(1);
}

// Before the library's constructor, which has the same priority and comes later in the link. If not, the fork
// waits for the lock without end, and the test fails.
__attribute__((constructor(101))) static void
register_early(void)
{
    (void)pthread_atfork(in_the_middle_of_a_fork, NULL, NULL);
}

static int
lock_is_usable(void *argument)
{
    (void)argument;
    hhi_lock_enter(&late.lock);
    hhi_lock_leave(&late.lock);
    return 0;
}

static void
a_module_that_comes_in_the_middle_leaves_the_child_no_lock(void **state)
{
    (void)state;
    // relaxed (all): flags.
    hh_store_relaxed(&late.armed, 1);
    assert_int_equal(core_in_child(lock_is_usable, NULL), 0);
    assert_int_equal(hh_load_relaxed(&late.armed), 0); // it was in the middle
    hh_store_relaxed(&late.leaves, 1);
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    assert_int_equal(hh_load_relaxed(&late.came), 1);
    assert_int_equal(core_in_child(lock_is_usable, NULL), 0);
}

// ---- Children that go on with a host's objects --------------------------------------------------

static IHostMemoryManager *manager;

static size_t
metadata_bytes(void)
{
    hh_stats stats;
    assert_int_equal(hh_get_stats(&stats), HH_OK);
    return stats.metadata_bytes;
}

static int
reserve_and_release(void *argument)
{
    enum { ROUNDS = 40000, GROWS_BYTES = 3 << 20 }; // each makes some 190 bytes
    ICLRMemoryNotificationCallback *none = NULL;
    (void)argument;
    if (manager->lpVtbl->RegisterMemoryNotificationCallback(manager, none) != S_OK)
        return 2;
    size_t before_bytes = metadata_bytes();
    for (int round = 0; round < ROUNDS; round++) {
        void *base, *part;
        if (manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_READWRITE,
                                          eTaskCritical, &base) != S_OK ||
            manager->lpVtbl->VirtualAlloc(manager, (char *)base + 8192, 4096, MEM_COMMIT,
                                          PAGE_READWRITE, eTaskCritical, &part) != S_OK ||
            manager->lpVtbl->VirtualFree(manager, base, 0, MEM_RELEASE) != S_OK)
            return 3;
    }
    return metadata_bytes() > before_bytes + GROWS_BYTES ? 1 : 0;
}

static void
a_child_that_registers_again_reclaims_descriptions(void **state)
{
    (void)state;
    assert_int_equal(hh_get_memory_manager(&manager), S_OK);
    assert_int_equal(reserve_and_release(NULL), 0);
    assert_int_equal(core_in_child(reserve_and_release, NULL), 0);
}

static _Atomic uint32_t call_ended; // 1 + the child's status

static uint32_t
count_reference(ICLRMemoryNotificationCallback *self)
{
    (void)self;
    return 1;
}

// The child's one thread, which goes on in the library: the callback is dropped there.
static uint32_t
drop_reference(ICLRMemoryNotificationCallback *self)
{
    (void)self;
    // relaxed: a flag.
    if (hh_load_relaxed(&late.armed) == 2)
        _exit(0);
    return 1;
}

static hh_hresult
call_forks(ICLRMemoryNotificationCallback *self, uint32_t available)
{
    (void)self, (void)available;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        // relaxed: a flag.
        hh_store_relaxed(&late.armed, 2);
        alarm(20);
        return E_FAIL;
    }
    if (child > 0)
        (void)waitpid(child, &status, 0);
    // relaxed: a flag.
    hh_store_relaxed(&call_ended, 1 + (uint32_t)status);
    return S_OK;
}

static bool
call_has_ended(void *argument)
{
    (void)argument;
    // relaxed: a flag.
    return hh_load_relaxed(&call_ended) != 0;
}

static void
a_callback_may_fork_and_fail_in_the_child(void **state)
{
    static const ICLRMemoryNotificationCallbackVtbl table = {
        .AddRef = count_reference, .Release = drop_reference, .OnMemoryNotification = call_forks};
    ICLRMemoryNotificationCallback callback = {&table};
    (void)state;
    assert_int_equal(manager->lpVtbl->RegisterMemoryNotificationCallback(manager, &callback), S_OK);
    assert_true(core_wait_for(call_has_ended, NULL));
    assert_int_equal(manager->lpVtbl->RegisterMemoryNotificationCallback(manager, NULL), S_OK);
    // relaxed: a flag.
    assert_int_equal(hh_load_relaxed(&call_ended), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_that_comes_in_the_middle_leaves_the_child_no_lock),
        cmocka_unit_test(a_child_that_registers_again_reclaims_descriptions),
        cmocka_unit_test(a_callback_may_fork_and_fail_in_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
