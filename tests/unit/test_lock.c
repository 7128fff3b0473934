// SPDX-License-Identifier: MIT
// tests/unit/test_lock.c - the small lock excludes, wakes and can be made anew.
#include <pthread.h>
#include <unistd.h>

#include "os/lock.h"
#include "os/os.h"
#include "support/test.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct {
    struct hhi_lock lock;
    uint64_t count; // under lock
    _Atomic uint32_t inside;
    _Atomic uint32_t crowded; // two threads were inside
} shared;

static void *
count_under_lock(void *argument)
{
    for (int round = 0; round < ROUNDS; round++) {
        bool tried = round % 3 == 0 && hhi_lock_try_enter(&shared.lock);
        if (!tried)
            hhi_lock_enter(&shared.lock);
        // relaxed (all): counts by whoever believes to be alone.
        if (hh_fetch_add_relaxed(&shared.inside, 1) != 0)
            hh_store_relaxed(&shared.crowded, 1);
        shared.count++;
        hh_fetch_sub_relaxed(&shared.inside, 1);
        hhi_lock_leave(&shared.lock);
    }
    return argument;
}

static void
threads_under_the_lock_are_alone(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int thread = 0; thread < THREADS; thread++)
        assert_int_equal(pthread_create(&threads[thread], NULL, count_under_lock, NULL), 0);
    for (int thread = 0; thread < THREADS; thread++)
        assert_int_equal(pthread_join(threads[thread], NULL), 0);
    // relaxed: the threads were joined.
    assert_int_equal(hh_load_relaxed(&shared.crowded), 0);
    assert_int_equal(shared.count, (uint64_t)THREADS * ROUNDS);
    assert_int_equal(hh_load_relaxed(&shared.lock.state), 0);
}

static void
a_held_lock_can_not_be_tried(void **state)
{
    (void)state;
    struct hhi_lock lock = {0};
    assert_true(hhi_lock_try_enter(&lock));
    assert_false(hhi_lock_try_enter(&lock));
    hhi_lock_leave(&lock);
    assert_true(hhi_lock_try_enter(&lock));
    hhi_lock_leave(&lock);
}

static void *
enter_and_leave(void *argument)
{
    hhi_lock_enter(argument);
    hhi_lock_leave(argument);
    return argument;
}

static void
a_sleeper_is_woken(void **state)
{
    (void)state;
    struct hhi_lock lock = {0};
    pthread_t sleepers[2];
    hhi_lock_enter(&lock);
    for (int sleeper = 0; sleeper < 2; sleeper++)
        assert_int_equal(pthread_create(&sleepers[sleeper], NULL, enter_and_leave, &lock), 0);
    // relaxed: the mark says that somebody sleeps, or is about to.
    while ((hh_load_relaxed(&lock.state) & HHI_LOCK_SLEEPERS) == 0)
        hhi_os_sleep_ms(1);
    hhi_os_sleep_ms(5);
    hhi_lock_leave(&lock);
    for (int sleeper = 0; sleeper < 2; sleeper++)
        assert_int_equal(pthread_join(sleepers[sleeper], NULL), 0);
}

/*
 * A wake goes to one sleeper, which may not use it: it gives up, or a handler of a signal interrupted it and waits
 * for the other sleeper. The lock is free or has another owner then, and no mark.
 */
static void
a_sleeper_whose_wake_went_elsewhere_looks_again(void **state)
{
    (void)state;
    for (int given_up = 0; given_up < 2; given_up++) {
        struct hhi_lock lock = {0};
        pthread_t sleeper;
        hhi_lock_enter(&lock);
        assert_int_equal(pthread_create(&sleeper, NULL, enter_and_leave, &lock), 0);
        // relaxed (all): see above; as if left, and taken without a mark.
        while ((hh_load_relaxed(&lock.state) & HHI_LOCK_SLEEPERS) == 0)
            hhi_os_sleep_ms(1);
        hhi_os_sleep_ms(20);
        hh_store_relaxed(&lock.state, given_up ? hhi_thread_self() : 0);
        if (given_up) {
            assert_false(hhi_lock_wait(&lock, hhi_thread_self() + 64, 1));
            hhi_lock_leave(&lock);
        }
        assert_int_equal(pthread_join(sleeper, NULL), 0);
    }
}

static void
a_lock_tells_whether_the_thread_holds_it(void **state)
{
    (void)state;
    struct hhi_lock lock = {0};
    assert_false(hhi_lock_is_mine(&lock));
    hhi_lock_enter(&lock);
    assert_true(hhi_lock_is_mine(&lock));
    // relaxed: nobody else uses the lock.
    hh_store_relaxed(&lock.state, hhi_thread_self() + 64);
    assert_false(hhi_lock_is_mine(&lock));
}

static void
a_fork_takes_a_lock_and_both_sides_leave_it(void **state)
{
    (void)state;
    const enum hhi_fork_step ends[] = {HHI_FORK_PARENT, HHI_FORK_CHILD};
    for (int end = 0; end < 2; end++) {
        struct hhi_lock lock = {0};
        hhi_fork_begin();
        hhi_lock_fork(&lock, HHI_FORK_LOOK);
        assert_true(hhi_lock_try_enter(&lock));
        hhi_lock_leave(&lock);
        hhi_lock_fork(&lock, HHI_FORK_TAKE);
        assert_false(hhi_lock_try_enter(&lock));
        hhi_lock_fork(&lock, ends[end]);
        hhi_fork_end(ends[end]);
        assert_true(hhi_lock_try_enter(&lock));
    }
}

static void
forks_nested_too_deep_take_no_locks(void **state)
{
    (void)state;
    struct hhi_lock lock = {0};
    for (unsigned depth = 0; depth <= HHI_LOCK_DEPTH_MOST; depth++)
        hhi_fork_begin();
    hhi_lock_fork(&lock, HHI_FORK_LOOK);
    hhi_lock_fork(&lock, HHI_FORK_TAKE);
    assert_true(hhi_lock_try_enter(&lock));
    hhi_lock_fork(&lock, HHI_FORK_PARENT);
    assert_true(hhi_lock_is_mine(&lock));
    hhi_lock_fork(&lock, HHI_FORK_CHILD);
    assert_true(hhi_lock_is_mine(&lock));
    hhi_lock_leave(&lock);
    for (unsigned depth = 0; depth <= HHI_LOCK_DEPTH_MOST; depth++)
        hhi_fork_end(HHI_FORK_PARENT);
    assert_int_equal(hhi_fork_depth(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_under_the_lock_are_alone),
        cmocka_unit_test(a_held_lock_can_not_be_tried),
        cmocka_unit_test(a_sleeper_is_woken),
        cmocka_unit_test(a_sleeper_whose_wake_went_elsewhere_looks_again),
        cmocka_unit_test(a_lock_tells_whether_the_thread_holds_it),
        cmocka_unit_test(a_fork_takes_a_lock_and_both_sides_leave_it),
        cmocka_unit_test(forks_nested_too_deep_take_no_locks),
    };
    alarm(100); // a hang ends here
    return cmocka_run_group_tests(tests, NULL, NULL);
}
