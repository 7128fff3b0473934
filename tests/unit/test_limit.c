// SPDX-License-Identifier: MIT
// unit/test_limit.c - budgets, critical levels and the emergency reserve (contract section 10, 16.6, GEN-10).

#include "heap/limit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "support/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

static struct {
    unsigned purges;
    size_t purge_yields; // what one purge gives back, once
    unsigned waits, waited_ms;
    size_t wait_yields; // what somebody else gives back during the first wait
    unsigned maps, unmaps;
    bool map_fails;
    uint64_t now_ms;
    struct hhi_budget *heap_budget; // where the yields are counted, beside the process
} fake;

static char fake_reserve[HHI_LIMIT_RESERVE_BYTES];

static size_t
fake_purge(struct hhi_tries *tries)
{
    (void)tries;
    size_t bytes = fake.purge_yields;
    fake.purges++;
    fake.purge_yields = 0;
    if (bytes != 0)
        hhi_budget_discharge(fake.heap_budget, bytes);
    return bytes;
}

static void *
fake_map(size_t size_bytes)
{
    assert_int_equal(size_bytes, HHI_LIMIT_RESERVE_BYTES);
    if (fake.map_fails)
        return NULL;
    fake.maps++;
    return fake_reserve;
}

static void
fake_unmap(void *address, size_t size_bytes)
{
    assert_ptr_equal(address, fake_reserve);
    assert_int_equal(size_bytes, HHI_LIMIT_RESERVE_BYTES);
    fake.unmaps++;
}

static void
fake_wait(unsigned ms)
{
    fake.waits++;
    fake.waited_ms += ms;
    if (fake.wait_yields != 0) {
        hhi_budget_discharge(fake.heap_budget, fake.wait_yields);
        fake.wait_yields = 0;
    }
}

static uint64_t
fake_now_ms(void)
{
    return fake.now_ms;
}

static const struct hhi_limit_system fake_system = {fake_map, fake_unmap, fake_wait, fake_now_ms};

static size_t
committed(void)
{
    struct hhi_budget_reading reading;
    hhi_limit_read(&reading);
    return reading.committed_bytes;
}

static int
start(void **state)
{
    (void)state;
    uint64_t later_ms = fake.now_ms + 1000000; // what an earlier test gave up may come back
    memset(&fake, 0, sizeof fake);
    fake.now_ms = later_ms;
    hhi_limit_set_system(&fake_system);
    hhi_limit_set_purge(fake_purge);
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    assert_int_equal(hhi_set_memory_limits(0, 0), HH_OK);
    hhi_limit_discharge(committed());
    // Leave no reserve behind: the next test's mappings count from zero.
    (void)hhi_limit_release_reserve();
    hhi_limit_set_purge(NULL);
    return 0;
}

static void
nothing_is_mapped_for_who_never_sets_a_limit_or_asks_at_process_level(void **state)
{
    (void)state; // First in this file: the reserve has never been wanted. [SEC-10]
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_TASK));
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_DOMAIN));
    hhi_limit_refill_reserve();
    assert_int_equal(fake.maps, 0);
    hhi_limit_prepare_reserve();
    assert_int_equal(fake.maps, 1);
    hhi_limit_prepare_reserve();
    assert_int_equal(fake.maps, 1);
}

static void
without_limits_everything_is_served_at_every_level_and_counted(void **state)
{
    (void)state; // [SEC-10: no limit is set by default]
    for (unsigned level = 0; level < 5; level++)
        assert_true(hhi_limit_charge(1000 * MIB, level));
    assert_int_equal(committed(), 5000 * MIB);
    assert_int_equal(fake.purges, 0);
    hhi_limit_discharge(5000 * MIB);
    assert_int_equal(committed(), 0);
}

static void
over_the_soft_limit_only_task_level_is_refused(void **state)
{
    (void)state; // [DECISION 45, AL table: over the soft limit, level 0]
    assert_int_equal(hhi_set_memory_limits(MIB, 0), HH_OK);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_TASK));
    assert_false(hhi_limit_charge(1, HHI_LEVEL_TASK));
    assert_int_equal(fake.waits, 0);
    assert_int_equal(committed(), MIB);
    assert_true(hhi_limit_charge(1, HHI_LEVEL_DOMAIN));
    assert_true(hhi_limit_charge(1, HHI_LEVEL_PROCESS));
    assert_int_equal(committed(), MIB + 2);
    assert_int_equal(fake.waits, 0);
}

static void
unknown_levels_count_as_task(void **state)
{
    (void)state; // [GEN-10]
    assert_int_equal(hhi_set_memory_limits(MIB, 0), HH_OK);
    assert_false(hhi_limit_charge(MIB + 1, 3));
    assert_false(hhi_limit_charge(MIB + 1, UINT32_MAX));
    assert_true(hhi_limit_charge(MIB, UINT32_MAX));
}

static void
over_the_hard_limit_domain_level_purges_once_and_fails_without_waiting(void **state)
{
    (void)state; // [DECISION 45]
    assert_int_equal(hhi_set_memory_limits(0, MIB), HH_OK);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_TASK));
    assert_false(hhi_limit_charge(KIB, HHI_LEVEL_DOMAIN));
    assert_int_equal(fake.purges, 1);
    assert_int_equal(fake.waits, 0);
    assert_int_equal(committed(), MIB);
}

static void
retained_memory_is_purged_before_any_level_is_refused(void **state)
{
    (void)state; // [16.6]
    assert_int_equal(hhi_set_memory_limits(0, MIB), HH_OK);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_TASK));
    for (unsigned level = 0; level < 3; level++) {
        fake.purge_yields = 4 * KIB;
        assert_true(hhi_limit_charge(4 * KIB, level));
        assert_int_equal(fake.purges, level + 1);
        assert_int_equal(committed(), MIB);
    }
    assert_int_equal(fake.waits, 0);
}

static void
process_level_may_pass_the_hard_limit_by_the_reserve_and_no_further(void **state)
{
    (void)state; // [DECISION 45: default 1 MiB]
    assert_int_equal(hhi_set_memory_limits(0, 4 * MIB), HH_OK);
    assert_true(hhi_limit_charge(4 * MIB, HHI_LEVEL_TASK));
    assert_true(hhi_limit_charge(MIB - 1, HHI_LEVEL_PROCESS));
    assert_int_equal(fake.waits, 0);
    assert_true(hhi_limit_charge(1, HHI_LEVEL_PROCESS));
    assert_int_equal(committed(), 5 * MIB);
    assert_false(hhi_limit_charge(1, HHI_LEVEL_PROCESS));
    assert_int_equal(fake.waits, 3);
    assert_true(fake.waited_ms <= 50);
    assert_int_equal(committed(), 5 * MIB);
}

static void
the_overdraft_is_there_again_once_the_count_has_fallen(void **state)
{
    (void)state; // [DECISION 45: refilled later]
    assert_int_equal(hhi_set_memory_limits(0, 4 * MIB), HH_OK);
    assert_true(hhi_limit_charge(5 * MIB, HHI_LEVEL_PROCESS));
    assert_false(hhi_limit_charge(MIB, HHI_LEVEL_PROCESS));
    hhi_limit_discharge(MIB);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_PROCESS));
}

static void
the_overdraft_serves_process_level_only(void **state)
{
    (void)state; // [DECISION 45]
    assert_int_equal(hhi_set_memory_limits(0, 4 * MIB), HH_OK);
    assert_true(hhi_limit_charge(5 * MIB, HHI_LEVEL_PROCESS));
    assert_false(hhi_limit_charge(1, HHI_LEVEL_DOMAIN));
    assert_false(hhi_limit_charge(1, HHI_LEVEL_TASK));
}

static void
process_level_is_served_when_memory_comes_back_during_the_wait(void **state)
{
    (void)state; // [DECISION 45: retry up to 3 times]
    assert_int_equal(hhi_set_memory_limits(0, MIB), HH_OK);
    assert_true(hhi_limit_charge(2 * MIB, HHI_LEVEL_PROCESS));
    fake.wait_yields = KIB;
    assert_true(hhi_limit_charge(KIB, HHI_LEVEL_PROCESS));
    assert_int_equal(fake.waits, 1);
}

static void
a_request_above_the_limit_itself_is_refused_at_once_at_every_level(void **state)
{
    (void)state; // [DECISION 45]
    assert_int_equal(hhi_set_memory_limits(0, MIB), HH_OK);
    assert_false(hhi_limit_charge(MIB + 1, HHI_LEVEL_TASK));
    assert_false(hhi_limit_charge(MIB + 1, HHI_LEVEL_DOMAIN));
    assert_false(hhi_limit_charge(2 * MIB + 1, HHI_LEVEL_PROCESS));
    assert_false(hhi_limit_charge(SIZE_MAX, HHI_LEVEL_PROCESS));
    assert_int_equal(fake.purges, 0);
    assert_int_equal(fake.waits, 0);
    assert_int_equal(committed(), 0);
}

static void
limits_above_each_other_are_refused_and_change_nothing(void **state)
{
    (void)state; // [hh_set_memory_limits]
    assert_int_equal(hhi_set_memory_limits(MIB, 2 * MIB), HH_OK);
    assert_int_equal(hhi_set_memory_limits(3 * MIB, 2 * MIB), HH_E_INVALID_ARGUMENT);
    struct hhi_budget_reading reading;
    hhi_limit_read(&reading);
    assert_int_equal(reading.soft_bytes, MIB);
    assert_int_equal(reading.hard_bytes, 2 * MIB);
    assert_int_equal(hhi_set_memory_limits(2 * MIB, 2 * MIB), HH_OK);
    assert_int_equal(hhi_set_memory_limits(3 * MIB, 0), HH_OK);
    assert_int_equal(hhi_set_memory_limits(0, SIZE_MAX), HH_OK);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_PROCESS));
}

static void
a_limit_below_the_count_refuses_growth_until_the_count_has_fallen(void **state)
{
    (void)state; // [hh_heap_set_limits: what is allocated already stays]
    assert_true(hhi_limit_charge(8 * MIB, HHI_LEVEL_TASK));
    assert_int_equal(hhi_set_memory_limits(0, 4 * MIB), HH_OK);
    assert_false(hhi_limit_charge(1, HHI_LEVEL_TASK));
    assert_false(hhi_limit_charge(1, HHI_LEVEL_PROCESS));
    hhi_limit_discharge(5 * MIB);
    assert_true(hhi_limit_charge(MIB, HHI_LEVEL_TASK));
    assert_false(hhi_limit_charge(1, HHI_LEVEL_TASK));
}

static void
a_charge_must_fit_the_heap_and_the_process_and_fails_without_trace(void **state)
{
    (void)state; // [limit.h I2, I3]
    struct hhi_budget heap_budget = {0};
    struct hhi_budget_reading reading;
    fake.heap_budget = &heap_budget;
    assert_int_equal(hhi_budget_set(&heap_budget, 0, 2 * MIB), HH_OK);
    assert_int_equal(hhi_set_memory_limits(0, 3 * MIB), HH_OK);
    assert_true(hhi_budget_charge(&heap_budget, 2 * MIB, HHI_LEVEL_TASK));
    assert_false(hhi_budget_charge(&heap_budget, 1, HHI_LEVEL_TASK));
    assert_int_equal(committed(), 2 * MIB);
    hhi_budget_discharge(&heap_budget, MIB);
    assert_true(hhi_limit_charge(2 * MIB, HHI_LEVEL_TASK));
    assert_false(hhi_budget_charge(&heap_budget, MIB, HHI_LEVEL_TASK));
    hhi_budget_read(&heap_budget, &reading);
    assert_int_equal(reading.committed_bytes, MIB);
    assert_int_equal(committed(), 3 * MIB);
    fake.purge_yields = MIB;
    assert_true(hhi_budget_charge(&heap_budget, MIB, HHI_LEVEL_TASK));
    hhi_budget_read(&heap_budget, &reading);
    assert_int_equal(reading.committed_bytes, MIB);
}

static void
kernel_refusals_follow_the_same_steps(void **state)
{
    (void)state; // [DECISION 45: hard limit or kernel ENOMEM]
    hhi_limit_prepare_reserve();
    hhi_limit_refill_reserve();
    fake.purges = fake.unmaps = 0;
    struct hhi_tries tries = {.size_bytes = 100};
    for (unsigned level = HHI_LEVEL_TASK; level <= HHI_LEVEL_DOMAIN; level++) {
        assert_true(hhi_limit_retry(level, 0, &tries));
        assert_false(hhi_limit_retry(level, 1, &tries));
    }
    assert_int_equal(fake.purges, 2);
    assert_int_equal(fake.unmaps, 0);
    unsigned attempt = 0;
    while (hhi_limit_retry(HHI_LEVEL_PROCESS, attempt, &tries))
        attempt++;
    assert_int_equal(attempt, 5);
    assert_int_equal(fake.unmaps, 1);
    assert_int_equal(fake.waits, 3);
    assert_true(fake.waited_ms <= 50);
}

static void
a_request_without_calls_left_is_refused_but_for_process_level(void **state)
{
    (void)state;
    hhi_limit_prepare_reserve();
    hhi_limit_refill_reserve();
    struct hhi_tries tries = {.size_bytes = 100, .calls = 3, .next_calls = 1};
    assert_true(hhi_limit_retry(HHI_LEVEL_TASK, 0, &tries));
    tries.next_calls = 2;
    for (unsigned level = HHI_LEVEL_TASK; level <= HHI_LEVEL_DOMAIN; level++)
        assert_false(hhi_limit_retry(level, 0, &tries));
    assert_true(hhi_limit_retry(HHI_LEVEL_PROCESS, 0, &tries));
    assert_int_equal(tries.calls, 3);
    assert_true(hhi_limit_retry(HHI_LEVEL_PROCESS, 1, &tries));
    assert_int_equal(tries.calls, 1); // the reserve's own
    tries.calls = 4;
    assert_true(hhi_limit_retry(HHI_LEVEL_PROCESS, 2, &tries));
    assert_int_equal(tries.calls, 0);
}

static void
the_reserve_is_given_up_once_and_refilled_later(void **state)
{
    (void)state; // [DECISION 45: refilled later]
    hhi_limit_prepare_reserve();
    hhi_limit_refill_reserve();
    assert_int_equal(fake.maps, 1);
    assert_true(hhi_limit_release_reserve());
    assert_false(hhi_limit_release_reserve());
    assert_int_equal(fake.unmaps, 1);
    hhi_limit_refill_reserve();
    assert_int_equal(fake.maps, 1);
    fake.now_ms += HHI_LIMIT_REFILL_MS;
    // Not by a charge: the request may be refused yet.
    assert_true(hhi_limit_charge(1, HHI_LEVEL_TASK));
    assert_int_equal(fake.maps, 1);
    fake.map_fails = true;
    hhi_limit_refill_reserve();
    fake.map_fails = false;
    hhi_limit_refill_reserve();
    hhi_limit_refill_reserve();
    assert_int_equal(fake.maps, 2);
    assert_true(hhi_limit_release_reserve());
}

static void
the_real_system_maps_waits_and_keeps_errno(void **state)
{
    (void)state; // [GEN-9]
    hhi_limit_set_system(NULL);
    hhi_limit_prepare_reserve();
    errno = 4711;
    hhi_limit_refill_reserve();
    assert_true(hhi_limit_release_reserve());
    struct hhi_tries tries = {.size_bytes = 100};
    assert_true(hhi_limit_retry(HHI_LEVEL_PROCESS, 2, &tries));
    assert_int_equal(errno, 4711);
}

enum { RACE_THREADS = 4, RACE_ROUNDS = 20000 };

static struct hhi_budget race_budget;
static _Atomic(unsigned) race_excesses;

static void *
race_body(void *arg)
{
    size_t held = 0;
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (unsigned round = 0; round < RACE_ROUNDS; round++) {
        seed = seed * 1664525u + 1013904223u;
        size_t bytes = (seed >> 16) % (64 * KIB) + 1;
        if (hhi_budget_charge(&race_budget, bytes, HHI_LEVEL_DOMAIN))
            held += bytes;
        struct hhi_budget_reading reading;
        hhi_limit_read(&reading);
        if (reading.committed_bytes > MIB)
            (void)hh_fetch_add_relaxed(&race_excesses, 1u); // relaxed: read after the threads ended
        if ((seed & 0x300) == 0) {
            hhi_budget_discharge(&race_budget, held);
            held = 0;
        }
    }
    hhi_budget_discharge(&race_budget, held);
    return NULL;
}

static void
racing_charges_never_pass_the_limit_and_end_at_zero(void **state)
{
    (void)state; // [limit.h I1, I2]
    pthread_t threads[RACE_THREADS];
    struct hhi_budget_reading reading;
    hhi_limit_set_purge(NULL);
    assert_int_equal(hhi_set_memory_limits(0, MIB), HH_OK);
    for (unsigned i = 0; i < RACE_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_body, (void *)(uintptr_t)(i + 1)),
                         0);
    for (unsigned i = 0; i < RACE_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    // relaxed: the threads have ended.
    assert_int_equal(hh_load_relaxed(&race_excesses), 0);
    hhi_budget_read(&race_budget, &reading);
    assert_int_equal(reading.committed_bytes, 0);
    assert_int_equal(committed(), 0);
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_mapped_for_who_never_sets_a_limit_or_asks_at_process_level),
        TEST(without_limits_everything_is_served_at_every_level_and_counted),
        TEST(over_the_soft_limit_only_task_level_is_refused),
        TEST(unknown_levels_count_as_task),
        TEST(over_the_hard_limit_domain_level_purges_once_and_fails_without_waiting),
        TEST(retained_memory_is_purged_before_any_level_is_refused),
        TEST(process_level_may_pass_the_hard_limit_by_the_reserve_and_no_further),
        TEST(the_overdraft_is_there_again_once_the_count_has_fallen),
        TEST(the_overdraft_serves_process_level_only),
        TEST(process_level_is_served_when_memory_comes_back_during_the_wait),
        TEST(a_request_above_the_limit_itself_is_refused_at_once_at_every_level),
        TEST(limits_above_each_other_are_refused_and_change_nothing),
        TEST(a_limit_below_the_count_refuses_growth_until_the_count_has_fallen),
        TEST(a_charge_must_fit_the_heap_and_the_process_and_fails_without_trace),
        TEST(kernel_refusals_follow_the_same_steps),
        TEST(a_request_without_calls_left_is_refused_but_for_process_level),
        TEST(the_reserve_is_given_up_once_and_refilled_later),
        TEST(the_real_system_maps_waits_and_keeps_errno),
        TEST(racing_charges_never_pass_the_limit_and_end_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
