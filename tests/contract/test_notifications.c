// SPDX-License-Identifier: MIT
// RegisterMemoryNotificationCallback as a host sees it. Contract section 9.2. The state machine, the
// kernel's reports and the thread's every case: tests/unit/test_memory_{state,monitor}.c,
// test_pressure.c. Here the host's own limit makes memory low.

#include "support/host.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/notify.h"

#define MIB ((size_t)1 << 20)

static struct notify first, second;

static hh_hresult
register_callback(struct notify *n)
{
    IHostMemoryManager *manager = test_manager();
    return manager->lpVtbl->RegisterMemoryNotificationCallback(manager, n ? &n->object : NULL);
}

static int
start(void **state)
{
    (void)state;
    notify_init(&first);
    notify_init(&second);
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
    assert_int_equal(register_callback(NULL), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_true(notify_wait_references(&second, 0));
    assert_false(first.called_after_end || second.called_after_end);
    return 0;
}

static bool
monitor_runs(void)
{
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file) != NULL)
            found |= strcmp(name, "hostheap-notify\n") == 0;
        fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return found;
}

// NO-4: no thread for who only allocates or asks for the load. First in this file.
static void
the_thread_is_started_at_the_first_registration_only(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    uint32_t load;
    size_t available;
    assert_int_equal(test_heap_free(heap, test_heap_alloc(heap, 100)), S_OK);
    assert_int_equal(manager->lpVtbl->GetMemoryLoad(manager, &load, &available), S_OK);
    assert_int_equal(register_callback(NULL), S_OK);
    assert_false(monitor_runs());
    assert_int_equal(register_callback(&first), S_OK);
    assert_true(notify_wait_calls(&first, 0));
    assert_true(monitor_runs());
    test_heap_end(heap);
}

// NO-1, COM-5, GEN-7: one reference; the first notice comes from another thread.
static void
a_registered_callback_is_told_the_state(void **state)
{
    (void)state;
    errno = 4711;
    assert_int_equal(register_callback(&first), S_OK);
    assert_int_equal(errno, 4711); // GEN-9
    assert_int_equal(notify_references(&first), 1);
    assert_true(notify_wait_calls(&first, 0));
    assert_false(pthread_equal(first.thread, pthread_self()));
    assert_true(notify_last(&first) >= eMemoryAvailableLow &&
                notify_last(&first) <= eMemoryAvailableHigh);
}

// NO-3, NO-6, ML-4 (d): Low when less than 64 MiB are left, another state when they are there.
static void
low_comes_with_the_limit_and_its_end_is_always_told(void **state)
{
    (void)state;
    assert_int_equal(register_callback(&first), S_OK);
    assert_true(notify_wait_calls(&first, 0));
    // 32 MiB above what is in use is below the low mark of any machine.
    assert_int_equal(hh_set_memory_limits(0, 32 * MIB), HH_OK);
    assert_true(notify_wait_for(&first, eMemoryAvailableLow, 1));
    unsigned calls = notify_calls(&first);
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
    assert_true(notify_wait_calls(&first, calls));
    // Low may be repeated, but its end comes: Neutral, or High after half a minute of calm.
    while (notify_last(&first) == eMemoryAvailableLow)
        assert_true(notify_wait_calls(&first, calls++));
}

// NO-1, DECISION 41: one callback; the second replaces the first, which is released.
static void
a_second_registration_replaces_the_first(void **state)
{
    (void)state;
    assert_int_equal(register_callback(&first), S_OK);
    assert_int_equal(register_callback(&second), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(notify_references(&second), 1);
}

static void
call_the_manager(struct notify *n)
{
    IHostMemoryManager *manager = test_manager();
    uint32_t load;
    size_t available;
    void *memory = NULL;
    bool good = manager->lpVtbl->GetMemoryLoad(manager, &load, &available) == S_OK &&
                manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE | MEM_COMMIT,
                                              PAGE_READWRITE, eTaskCritical, &memory) == S_OK &&
                manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE) == S_OK &&
                manager->lpVtbl->NeedsVirtualAddressSpace(manager, NULL, 65536) == S_OK &&
                register_callback(&second) == S_OK;
    n->result = good ? S_OK : E_FAIL;
}

// GEN-7: under no lock of ours, so every method may be called from inside.
static void
the_manager_can_be_called_from_inside_a_notification(void **state)
{
    (void)state;
    first.act = call_the_manager;
    assert_int_equal(register_callback(&first), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(first.result, S_OK);
    assert_int_equal(notify_references(&second), 1);
}

// NO-4: any answer but S_OK ends it.
static void
a_callback_that_is_not_available_is_dropped(void **state)
{
    (void)state;
    first.result = HOST_E_CLRNOTAVAILABLE;
    assert_int_equal(register_callback(&first), S_OK);
    assert_true(notify_wait_calls(&first, 0));
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(notify_calls(&first), 1);
}

enum { STORM_THREADS = 3, STORM_ROUNDS = 300 };

static void *
storm_body(void *argument)
{
    for (unsigned i = 0; i < STORM_ROUNDS; i++)
        (void)register_callback(i % 3 == 0 ? NULL : i % 2 == 0 ? &first : argument);
    return NULL;
}

// GEN-6, NO-1: registrations from many threads at once lose no reference and none too many.
static void
racing_registrations_keep_the_references_right(void **state)
{
    (void)state;
    pthread_t threads[STORM_THREADS];
    for (int i = 0; i < STORM_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm_body, &second), 0);
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(threads[i], NULL);
    // finish() waits until both counts are 0 and looks for calls after the end.
    assert_int_equal(register_callback(&second), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_true(notify_wait_references(&second, 1));
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(the_thread_is_started_at_the_first_registration_only),
        TEST(a_registered_callback_is_told_the_state),
        TEST(low_comes_with_the_limit_and_its_end_is_always_told),
        TEST(a_second_registration_replaces_the_first),
        TEST(the_manager_can_be_called_from_inside_a_notification),
        TEST(a_callback_that_is_not_available_is_dropped),
        TEST(racing_registrations_keep_the_references_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
