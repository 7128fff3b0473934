// SPDX-License-Identifier: MIT
// tests/unit/test_rcu.c - read sections, retired records, the reclaimer, fork.
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rcu/rcu.h"
#include "support/test.h"

enum { RECORD_BYTES = 64, FLUSH_MS = 20000, CHILD_LOST = 2 };

struct record {
    struct hhi_rcu_link link;
    uint64_t value; // a record in use is full of one value
    uint64_t copy;
};

static struct hhi_rcu_pool pool = {.record_bytes = RECORD_BYTES};
static _Atomic(struct record *) published;
static _Atomic(bool) done;

static struct record *
take_record(uint64_t value)
{
    struct record *record = hhi_rcu_pool_take(&pool);
    assert_non_null(record);
    record->value = value;
    record->copy = value;
    return record;
}

static void
replace_record(uint64_t value)
{
    // order: acq_rel, as the region code does under its lock.
    struct record *old = hh_exchange_acq_rel(&published, take_record(value));
    if (old != NULL)
        hhi_rcu_pool_retire(&pool, old);
}

static void
a_record_put_back_is_taken_again(void **state)
{
    (void)state;
    struct record *first = take_record(1);
    hhi_rcu_pool_put(&pool, first);
    assert_ptr_equal(take_record(2), first);
    hhi_rcu_pool_put(&pool, first);
}

static void
a_retired_record_comes_back_after_a_grace_period(void **state)
{
    (void)state;
    struct hhi_rcu_stats before, after;
    hhi_rcu_get_stats(&before);
    for (uint64_t i = 0; i < 3000; i++)
        replace_record(i);
    assert_true(hhi_rcu_flush(FLUSH_MS));
    hhi_rcu_get_stats(&after);
    assert_int_equal(after.reclaimed, after.retired);
    assert_true(after.grace_periods > before.grace_periods);
    uint64_t made = after.made;
    for (uint64_t i = 0; i < 2000; i++)
        replace_record(i);
    hhi_rcu_get_stats(&after);
    assert_int_equal(after.made, made);
}

// Waits until the reclaimer has come as far as it can.
static void
sleep_ms(unsigned milliseconds)
{
    usleep(milliseconds * 1000);
}

static void
nothing_is_reclaimed_inside_a_section_begun_before(void **state)
{
    (void)state;
    assert_true(hhi_rcu_flush(FLUSH_MS));
    replace_record(7);
    hhi_rcu_section section = hhi_rcu_enter();
    // order: acquire, the record's contents.
    struct record *seen = hh_load_acquire(&published);
    for (uint64_t i = 100; i < 1000; i++)
        replace_record(i);
    assert_false(hhi_rcu_flush(100));
    assert_int_equal(seen->value, 7);
    assert_int_equal(seen->copy, 7);
    hhi_rcu_leave(section);
    assert_true(hhi_rcu_flush(FLUSH_MS));
}

static void
sections_beyond_all_records_hold_up_reclaiming_too(void **state)
{
    (void)state;
    enum { MANY = 200 };
    hhi_rcu_section sections[MANY];
    struct hhi_rcu_stats before, after;
    assert_true(hhi_rcu_flush(FLUSH_MS));
    hhi_rcu_get_stats(&before);
    for (int i = 0; i < MANY; i++)
        sections[i] = hhi_rcu_enter();
    hhi_rcu_get_stats(&after);
    assert_true(after.guests - before.guests >= MANY - 64);
    replace_record(1);
    replace_record(2);
    for (int i = 0; i < MANY; i++) {
        assert_false(hhi_rcu_flush(i % 50 == 0 ? 20 : 0));
        hhi_rcu_leave(sections[i]);
    }
    assert_true(hhi_rcu_flush(FLUSH_MS));
}

static void *
read_for_ever(void *unused)
{
    (void)unused;
    // relaxed: only an end mark.
    while (!hh_load_relaxed(&done)) {
        hhi_rcu_section outer = hhi_rcu_enter();
        // order: acquire, the record's contents.
        struct record *record = hh_load_acquire(&published);
        hhi_rcu_section inner = hhi_rcu_enter();
        for (int i = 0; i < 20; i++)
            assert_int_equal(record->value, record->copy);
        hhi_rcu_leave(inner);
        hhi_rcu_leave(outer);
    }
    return NULL;
}

static void
readers_never_meet_a_record_in_reuse(void **state)
{
    (void)state;
    enum { READERS = 3, REPLACEMENTS = 40000 };
    pthread_t readers[READERS];
    struct hhi_rcu_stats before, after;
    replace_record(1);
    hhi_rcu_get_stats(&before);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_for_ever, NULL), 0);
    for (uint64_t i = 0; i < REPLACEMENTS; i++) {
        replace_record(i);
        hhi_rcu_poke();
        if (i % 2000 == 0)
            assert_true(hhi_rcu_flush(FLUSH_MS));
    }
    // relaxed: only an end mark.
    hh_store_relaxed(&done, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_true(hhi_rcu_flush(FLUSH_MS));
    hhi_rcu_get_stats(&after);
    assert_int_equal(after.reclaimed, after.retired);
    // Between two flushes at most 2000 are retired; the pool needs no more than that and some.
    assert_true(after.made - before.made < 6000);
}

static void *
keep_replacing(void *unused)
{
    (void)unused;
    // relaxed: only an end mark.
    for (uint64_t i = 0; !hh_load_relaxed(&done); i++) {
        replace_record(i);
        hhi_rcu_poke();
        if (i % 512 == 0)
            sleep_ms(1);
    }
    return NULL;
}

static int
child_works(void)
{
    // relaxed: the child is alone.
    hh_store_relaxed(&done, true);
    for (uint64_t i = 0; i < 2000; i++) {
        struct record *record = hhi_rcu_pool_take(&pool);
        if (record == NULL)
            return 1;
        hhi_rcu_pool_retire(&pool, record);
    }
    struct hhi_rcu_stats stats;
    hhi_rcu_get_stats(&stats);
    if (stats.lost)
        return CHILD_LOST;
    return hhi_rcu_flush(FLUSH_MS) ? 0 : 3;
}

static void
a_child_of_fork_reclaims_with_a_reclaimer_of_its_own(void **state)
{
    (void)state;
#if HH_TSAN
    skip(); // the sanitizer allows no thread in the child of a process with threads
#endif
    unsigned lost = 0;
    for (int round = 0; round < 20; round++) {
        // relaxed: only an end mark.
        hh_store_relaxed(&done, false);
        pthread_t readers[2], writer;
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&readers[i], NULL, read_for_ever, NULL), 0);
        assert_int_equal(pthread_create(&writer, NULL, keep_replacing, NULL), 0);
        sleep_ms(5);
        hhi_rcu_fork(HHI_FORK_TAKE);
        pid_t child = fork();
        hhi_rcu_fork(child == 0 ? HHI_FORK_CHILD : HHI_FORK_PARENT);
        if (child == 0)
            _exit(child_works());
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        // relaxed: only an end mark.
        hh_store_relaxed(&done, true);
        for (int i = 0; i < 2; i++)
            pthread_join(readers[i], NULL);
        pthread_join(writer, NULL);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == CHILD_LOST)
            lost++; // the reclaimer was starved in the gate for as long as a fork waits for it
        else
            assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_in_range(lost, 0, 10);
}

static void
a_record_that_a_vanished_thread_had_only_counted_is_not_waited_for(void **state)
{
    (void)state;
#if HH_TSAN
    skip(); // the sanitizer allows no thread in the child of a process with threads
#endif
    // relaxed: no other thread retires anything. As if one did, and came no farther.
    hh_fetch_add_relaxed(&pool.retired_count, 1);
    hhi_rcu_fork(HHI_FORK_TAKE);
    pid_t child = fork();
    hhi_rcu_fork(child == 0 ? HHI_FORK_CHILD : HHI_FORK_PARENT);
    if (child == 0)
        _exit(child_works());
    hh_fetch_sub_relaxed(&pool.retired_count, 1); // relaxed: as above
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void
a_section_begun_before_fork_may_end_in_the_child(void **state)
{
    (void)state;
    hhi_rcu_section section = hhi_rcu_enter();
    hhi_rcu_fork(HHI_FORK_TAKE);
    pid_t child = fork();
    hhi_rcu_fork(child == 0 ? HHI_FORK_CHILD : HHI_FORK_PARENT);
    hhi_rcu_leave(section);
#if !HH_TSAN
    if (child == 0)
        _exit(child_works());
#else
    if (child == 0)
        _exit(0);
#endif
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(hhi_rcu_flush(FLUSH_MS));
}

static int
add_pool(void **state)
{
    (void)state;
    hhi_rcu_pool_add(&pool);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_put_back_is_taken_again),
        cmocka_unit_test(a_retired_record_comes_back_after_a_grace_period),
        cmocka_unit_test(nothing_is_reclaimed_inside_a_section_begun_before),
        cmocka_unit_test(sections_beyond_all_records_hold_up_reclaiming_too),
        cmocka_unit_test(readers_never_meet_a_record_in_reuse),
        cmocka_unit_test(a_child_of_fork_reclaims_with_a_reclaimer_of_its_own),
        cmocka_unit_test(a_record_that_a_vanished_thread_had_only_counted_is_not_waited_for),
        cmocka_unit_test(a_section_begun_before_fork_may_end_in_the_child),
    };
    return cmocka_run_group_tests(tests, add_pool, NULL);
}
