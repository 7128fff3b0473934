// SPDX-License-Identifier: MIT
// unit/test_memory_monitor.c - the monitor thread on a machine of the test's own (NO-1..8, COM-5).
#include "host/memory_monitor.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host_dead.h"
#include "host/host_load.h"
#include "os/os_memload_linux.h"
#include "support/fake_root.h"
#include "support/notify.h"
#include "support/test.h"

enum { LOW = eMemoryAvailableLow, NEUTRAL = eMemoryAvailableNeutral };

static struct fake_root root;
static struct notify first, second;

static void
set_available(unsigned mib)
{
    char text[128];
    snprintf(text, sizeof text, "MemTotal: 8388608 kB\nMemAvailable: %u kB\n", mib * 1024);
    fake_root_write(&root, "/proc/meminfo", text);
}

static int
start_all(void **state)
{
    (void)state;
    fake_root_make(&root);
    set_available(500); // neutral; low is below 256
    fake_root_write(&root, "/proc/self/cgroup", "0::/app\n");
    fake_root_write(&root, "/proc/self/mountinfo", "1 1 0:1 / /m rw - cgroup2 c rw\n");
    fake_root_write(&root, "/m/app/memory.events", "low 0\nhigh 0\nmax 0\noom 0\n");
    hhi_memload_set_root(root.path);
    hhi_monitor_set_poll_ms(50);
    return 0;
}

static int
finish_all(void **state)
{
    (void)state;
    fake_root_remove(&root);
    return 0;
}

static int
start(void **state)
{
    (void)state;
    set_available(500);
    notify_init(&first);
    notify_init(&second);
    return 0;
}

// The objects are used again by the next test: none of them may be in use any more.
static int
finish(void **state)
{
    (void)state;
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_true(notify_wait_references(&second, 0));
    assert_false(first.called_after_end);
    assert_false(second.called_after_end);
    return 0;
}

static void
a_registration_takes_one_reference_and_is_told_the_state_by_another_thread(void **state)
{
    (void)state; // [NO-1, NO-2, NO-4, COM-5]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_int_equal(notify_references(&first), 1);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    assert_false(pthread_equal(first.thread, pthread_self()));
}

static void
low_and_its_end_are_told(void **state)
{
    (void)state; // [NO-3, 16.9]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    set_available(100);
    assert_true(notify_wait_for(&first, LOW, 1));
    set_available(500);
    assert_true(notify_wait_for(&first, NEUTRAL, 2));
}

static void
a_new_callback_replaces_the_old_one_which_is_released(void **state)
{
    (void)state; // [NO-1]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    // Whether the call has ended or not, the reference goes.
    assert_int_equal(hhi_host_register_callback(NULL, &second.object), S_OK);
    assert_true(notify_wait_references(&first, 0));
    assert_true(notify_wait_for(&second, NEUTRAL, 0));
    assert_int_equal(notify_references(&second), 1);
    unsigned calls = notify_calls(&first);
    set_available(100);
    assert_true(notify_wait_for(&second, LOW, 1));
    assert_int_equal(notify_calls(&first), calls);
}

static void
registering_the_same_callback_again_keeps_one_reference(void **state)
{
    (void)state; // [NO-1]
    for (int i = 0; i < 3; i++)
        assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_references(&first, 1));
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    assert_false(first.ended);
}

static void
a_callback_replaced_during_its_call_is_released_after_it(void **state)
{
    (void)state; // [NO-1: Released once no call into it is running]
    first.held = true;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_inside(&first));
    assert_int_equal(hhi_host_register_callback(NULL, &second.object), S_OK); // does not wait
    assert_int_equal(notify_references(&first), 1);
    // The same one again, and away again, while the first call still runs.
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    assert_int_equal(notify_references(&first), 2);
    assert_true(notify_wait_references(&second, 0));
    notify_let_go(&first);
    assert_true(notify_wait_references(&first, 0));
    assert_false(first.called_after_end);
}

static void
register_nobody(struct notify *n)
{
    (void)n;
    (void)hhi_host_register_callback(NULL, NULL);
}

static void
register_second(struct notify *n)
{
    (void)n;
    (void)hhi_host_register_callback(NULL, &second.object);
}

static void
a_callback_may_unregister_itself_from_inside(void **state)
{
    (void)state; // [GEN-7, NO-1]
    first.act = register_nobody;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_references(&first, 1) || first.ended);
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(notify_calls(&first), 1);
    assert_false(first.called_after_end);
}

static void
a_callback_may_register_another_from_inside(void **state)
{
    (void)state; // [NO-1]
    first.act = register_second;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&second, NEUTRAL, 0));
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(notify_calls(&first), 1);
}

static void
a_callback_that_does_not_answer_s_ok_is_dropped(void **state)
{
    (void)state; // [NO-4]
    static const hh_hresult results[] = {HOST_E_CLRNOTAVAILABLE, E_FAIL, S_FALSE};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        notify_init(&first);
        first.result = results[i];
        assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
        assert_true(notify_wait_for(&first, NEUTRAL, 0));
        assert_true(notify_wait_references(&first, 0));
    }
    // Another one is served all the same.
    assert_int_equal(hhi_host_register_callback(NULL, &second.object), S_OK);
    assert_true(notify_wait_for(&second, NEUTRAL, 0));
    set_available(100);
    assert_true(notify_wait_for(&second, LOW, 1));
    assert_int_equal(notify_calls(&first), 1);
}

static void
after_unregistering_no_call_comes_any_more(void **state)
{
    (void)state; // [NO-1, DECISION 41]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    assert_true(notify_wait_references(&first, 0));
    set_available(100);
    // Another one hears of it, so the thread has looked.
    assert_int_equal(hhi_host_register_callback(NULL, &second.object), S_OK);
    assert_true(notify_wait_for(&second, LOW, 0));
    assert_int_equal(notify_calls(&first), 1);
}

static void
a_registration_wakes_the_sleeping_thread(void **state)
{
    (void)state; // [NO-1, MN-1]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    usleep(200000); // by now it most likely sleeps without a timeout
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 1));
}

static void
a_bad_answer_does_not_drop_the_callback_that_came_after(void **state)
{
    (void)state; // [NO-4]
    first.act = register_second;
    first.result = E_FAIL;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&second, NEUTRAL, 0));
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(notify_references(&second), 1);
}

static sigset_t seen_mask;

static void
look_at_mask(struct notify *n)
{
    (void)n;
    pthread_sigmask(SIG_SETMASK, NULL, &seen_mask);
}

static void
no_signal_handler_runs_on_the_monitor_thread(void **state)
{
    (void)state; // [NO-4]
    first.act = look_at_mask;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    register_nobody(NULL);
    assert_true(notify_wait_references(&first, 0));
    assert_int_equal(sigismember(&seen_mask, SIGTERM), 1);
    assert_int_equal(sigismember(&seen_mask, SIGPROF), 1);
}

static void
write_event(struct notify *n)
{
    n->act = NULL;
    fake_root_write(&root, "/m/app/memory.events", "low 0\nhigh 1\nmax 0\noom 0\n");
}

static void
an_event_while_the_first_word_is_sent_is_not_missed(void **state)
{
    (void)state; // [NO-6, NO-8]
    first.act = write_event;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    assert_true(notify_wait_for(&first, LOW, 1));
}

static void
events_of_the_group_mean_low(void **state)
{
    (void)state; // [NO-6, NO-8]
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, NEUTRAL, 0));
    fake_root_write(&root, "/m/app/memory.events", "low 0\nhigh 7\nmax 0\noom 0\n");
    assert_true(notify_wait_for(&first, LOW, 1));
}

static int
child_main(void)
{
    struct notify own;
    // A call into first was running in the parent; here nothing runs.
    notify_init(&own);
    if (hhi_host_register_callback(NULL, &own.object) != S_OK)
        return 1;
    if (!notify_wait_for(&own, NEUTRAL, 0))
        return 2;
    set_available(100);
    if (!notify_wait_for(&own, LOW, 1))
        return 3;
    if (hhi_host_register_callback(NULL, NULL) != S_OK || !notify_wait_references(&own, 0))
        return 4;
    return 0;
}

static void
the_child_of_a_fork_has_no_thread_until_it_registers(void **state)
{
    (void)state; // [NO-4]
    if (HH_TSAN)
        skip(); // it can not follow a new thread that gets the identity of one left in the parent
    first.held = true;
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_inside(&first));
    pid_t child = fork();
    if (child == 0) {
        notify_init(&first); // its lock may have been held
        first.references = 1;
        _exit(child_main());
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    notify_let_go(&first);
}

static void
after_the_dead_state_nobody_is_called(void **state)
{
    (void)state; // [GEN-5]; last: it can not be undone
    set_available(100);
    assert_int_equal(hhi_host_register_callback(NULL, &first.object), S_OK);
    assert_true(notify_wait_for(&first, LOW, 0));
    assert_int_equal(hhi_host_die(), E_FAIL);
    unsigned calls = notify_calls(&first);
    set_available(500);
    usleep(300000); // some looks of the thread, or none if it sleeps
    assert_true(notify_calls(&first) <= calls + 1); // one may have been under way
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        // First: the sources of events are not open yet.
        TEST(an_event_while_the_first_word_is_sent_is_not_missed),
        TEST(a_registration_takes_one_reference_and_is_told_the_state_by_another_thread),
        TEST(low_and_its_end_are_told),
        TEST(a_new_callback_replaces_the_old_one_which_is_released),
        TEST(registering_the_same_callback_again_keeps_one_reference),
        TEST(a_callback_replaced_during_its_call_is_released_after_it),
        TEST(a_callback_may_unregister_itself_from_inside),
        TEST(a_callback_may_register_another_from_inside),
        TEST(a_callback_that_does_not_answer_s_ok_is_dropped),
        TEST(after_unregistering_no_call_comes_any_more),
        TEST(a_registration_wakes_the_sleeping_thread),
        TEST(a_bad_answer_does_not_drop_the_callback_that_came_after),
        TEST(no_signal_handler_runs_on_the_monitor_thread),
        TEST(events_of_the_group_mean_low),
        TEST(the_child_of_a_fork_has_no_thread_until_it_registers),
        TEST(after_the_dead_state_nobody_is_called),
    };
    return cmocka_run_group_tests(tests, start_all, finish_all);
}
