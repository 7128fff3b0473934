// SPDX-License-Identifier: MIT
/*
 * Every shape of address that IHostMalloc::Free and the calls of the native interface must refuse,
 * each in four places: on the thread that allocated, on another thread, after the allocating thread
 * ended, in a forked child. The answer is exactly the documented one, and nothing has changed: the
 * walk finds the same blocks, neighbours keep their contents, the block stays live if it was, and
 * can be freed once. The shapes are in shapes.c. Contract FR-1, FR-3, FR-4, FR-6.
 */
#include "attempt.h"
#include "support/test.h"

static void
all_shapes_in(int place)
{
    static const struct misuse_door *const doors[] = {&misuse_host_door, &misuse_native_door};
    for (size_t i = 0; i < COUNT_OF(doors); i++) {
        struct misuse_counts counts = {0, 0, 0, 0};
        misuse_run_all(doors[i], place, &counts);
        print_message("%s %s: %u shapes, %u attempts, %u refusals, %u failures\n", doors[i]->name,
                      misuse_place_name(place), counts.shapes, counts.attempts, counts.refusals,
                      counts.failures);
        assert_int_equal(counts.failures, 0);
        assert_true(counts.shapes >= 40);
    }
}

static void
bad_frees_on_the_allocating_thread_are_refused(void **state)
{
    (void)state;
    all_shapes_in(MISUSE_SAME_THREAD);
}

static void
bad_frees_on_another_thread_are_refused(void **state)
{
    (void)state;
    all_shapes_in(MISUSE_OTHER_THREAD);
}

static void
bad_frees_after_the_allocating_thread_ended_are_refused(void **state)
{
    (void)state;
    all_shapes_in(MISUSE_OWNER_ENDED);
}

static void
bad_frees_in_a_forked_child_are_refused(void **state)
{
    (void)state;
    all_shapes_in(MISUSE_FORK_CHILD);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_frees_on_the_allocating_thread_are_refused),
        cmocka_unit_test(bad_frees_on_another_thread_are_refused),
        cmocka_unit_test(bad_frees_after_the_allocating_thread_ended_are_refused),
        cmocka_unit_test(bad_frees_in_a_forked_child_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
