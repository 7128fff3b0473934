// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_fork_refused.c - libc has no memory to tell the library of forks when it starts.
 *
 * Until it has, nothing is done that a fork has to know of; it is asked again by the next thread.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomic.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "host/host_load.h"
#include "options/options.h"
#include "region/address_notice.h"
#include "support/core.h"
#include "support/notify.h"

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);

static struct {
    _Atomic uint32_t granted, asked, registered; // asked: only counted while refused
} libc;

// In the place of libc's, from the library's constructor on.
int
pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    // relaxed (all): the test looks after the thread has ended.
    if (hh_load_relaxed(&libc.granted) == 0) {
        hh_fetch_add_relaxed(&libc.asked, 1);
        return ENOMEM;
    }
    hh_fetch_add_relaxed(&libc.registered, 1);
    return __register_atfork(prepare, parent, child, NULL);
}

static uint32_t
asked(void)
{
    // relaxed: see above.
    return hh_load_relaxed(&libc.asked);
}

static void
allocate(void *argument)
{
    (void)argument;
    void *block = core_alloc(hhi_heap_default(), 100);
    assert_int_equal(hhi_heap_free(hhi_heap_default(), block), 0);
}

static int
generation_in_child(void *argument)
{
    (void)argument;
    allocate(NULL);
    // relaxed: the only thread.
    return (int)hh_load_relaxed(&hhi_thread_generation);
}

static void
until_forks_are_watched_the_library_has_no_thread(void **state)
{
    (void)state;
    assert_true(asked() > 0); // by the constructor
    hhi_opt.background = true;
    hhi_sweep_note((size_t)1 << 30);
    assert_false(hhi_sweep_comes());
}

static void
each_new_thread_asks_again(void **state)
{
    (void)state;
    uint32_t before = asked();
    core_in_thread(allocate, NULL);
    assert_true(asked() > before);
}

static void
what_a_fork_would_have_to_know_of_is_refused(void **state)
{
    (void)state;
    struct notify callback;
    struct hhi_notice_stats notices;
    notify_init(&callback);
    assert_int_equal(hhi_host_register_callback(NULL, &callback.object), E_OUTOFMEMORY);
    assert_int_equal(notify_references(&callback), 0);
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    assert_int_equal(hhi_host_acquired_address_space(NULL, (void *)0x10000, 0x1000), S_OK);
    hhi_notice_read_stats(&notices);
    assert_int_equal(notices.ranges, 0);
}

static void
the_next_thread_has_them_watched(void **state)
{
    (void)state;
    uint32_t generation = (uint32_t)generation_in_child(NULL);
    assert_int_equal(core_in_child(generation_in_child, NULL), generation);
    // relaxed (all): see above.
    hh_store_relaxed(&libc.granted, 1);
    core_in_thread(allocate, NULL);
    core_in_thread(allocate, NULL);
    assert_int_equal(hh_load_relaxed(&libc.registered), 1);
    assert_int_equal(core_in_child(generation_in_child, NULL), generation + 1);
}

static void
and_everything_is_served(void **state)
{
    (void)state;
    struct notify callback;
    struct hhi_notice_stats notices;
    notify_init(&callback);
    assert_int_equal(hhi_host_register_callback(NULL, &callback.object), S_OK);
    assert_int_equal(hhi_host_register_callback(NULL, NULL), S_OK);
    assert_true(notify_wait_references(&callback, 0));
    assert_int_equal(hhi_host_acquired_address_space(NULL, (void *)0x10000, 0x1000), S_OK);
    hhi_notice_read_stats(&notices);
    assert_int_equal(notices.ranges, 1);
    assert_int_equal(hhi_host_released_address_space(NULL, (void *)0x10000), S_OK);
    // relaxed: see above.
    assert_int_equal(hh_load_relaxed(&libc.registered), 1); // it knows of no others
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(until_forks_are_watched_the_library_has_no_thread),
        cmocka_unit_test(each_new_thread_asks_again),
        cmocka_unit_test(what_a_fork_would_have_to_know_of_is_refused),
        cmocka_unit_test(the_next_thread_has_them_watched),
        cmocka_unit_test(and_everything_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
