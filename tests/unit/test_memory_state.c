// SPDX-License-Identifier: MIT
// unit/test_memory_state.c - Low, Neutral and High under a clock of the test's own (NO-2, NO-3,
// NO-6).
#include "host/memory_state.h"

#include "support/test.h"

#define MIB ((uint64_t)1 << 20)
#define TOTAL (8192 * MIB)
#define LOW_BYTES (256 * MIB) // TOTAL / 32
#define HIGH_BYTES (768 * MIB)

enum { NONE = 0, LOW = eMemoryAvailableLow, NEUTRAL = eMemoryAvailableNeutral };
enum { HIGH = eMemoryAvailableHigh };

static struct hhi_memory_state machine;
static uint64_t now_ms;

static int
start(void **state)
{
    (void)state;
    hhi_memory_state_init(&machine);
    now_ms = 123456;
    return 0;
}

// One step after_ms later.
static uint32_t
step(uint64_t after_ms, uint64_t available_bytes, bool pressure)
{
    now_ms += after_ms;
    struct hhi_memory_reading reading = {now_ms, TOTAL, available_bytes, pressure};
    return hhi_memory_state_step(&machine, &reading);
}

// Calm steps of a second each, up to now + ms, in which nothing is to be sent.
static void
quiet(uint64_t ms, uint64_t available_bytes)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        uint64_t left_ms = end_ms - now_ms;
        assert_int_equal(step(left_ms < 1000 ? left_ms : 1000, available_bytes, false), NONE);
    }
}

// The first notice and its repetition are behind us, and so is the unknown past.
static void
settle(uint64_t available_bytes, uint32_t expected)
{
    assert_int_not_equal(step(0, available_bytes, false), NONE);
    for (unsigned i = 0; i < 40; i++)
        (void)step(1000, available_bytes, false);
    assert_int_equal(machine.state, expected);
}

static void
thresholds_follow_the_total_within_their_bounds(void **state)
{
    (void)state; // [NO-6]
    assert_int_equal(hhi_memory_low_bytes(0), 64 * MIB);
    assert_int_equal(hhi_memory_low_bytes(2048 * MIB), 64 * MIB);
    assert_int_equal(hhi_memory_low_bytes(2048 * MIB + 32), 64 * MIB + 1);
    assert_int_equal(hhi_memory_low_bytes(TOTAL), LOW_BYTES);
    assert_int_equal(hhi_memory_low_bytes(32768 * MIB), 1024 * MIB);
    assert_int_equal(hhi_memory_low_bytes(UINT64_MAX), 1024 * MIB);
}

static void
the_first_step_sends_the_state_and_82_s_later_once_more(void **state)
{
    (void)state; // [NO-2]
    assert_int_equal(step(0, 500 * MIB, false), NEUTRAL);
    quiet(8199, 500 * MIB);
    assert_int_equal(step(1, 500 * MIB, false), NEUTRAL);
    quiet(60000, 500 * MIB);
}

static void
a_new_receiver_is_told_the_state_at_once(void **state)
{
    (void)state; // [NO-1, NO-2]
    settle(500 * MIB, NEUTRAL);
    hhi_memory_state_greet(&machine);
    assert_int_equal(step(10, 500 * MIB, false), NEUTRAL);
    quiet(8199, 500 * MIB);
    assert_int_equal(step(1, 500 * MIB, false), NEUTRAL);
    quiet(20000, 500 * MIB);
    assert_int_equal(step(10, 1, false), LOW);
    hhi_memory_state_greet(&machine);
    assert_int_equal(step(10, 1, false), LOW);
}

static void
low_begins_below_the_threshold_only(void **state)
{
    (void)state; // [NO-6]
    settle(500 * MIB, NEUTRAL);
    assert_int_equal(step(1000, LOW_BYTES, false), NONE);
    assert_int_equal(step(1000, LOW_BYTES - 1, false), LOW);
}

static void
low_begins_with_pressure_however_much_is_available(void **state)
{
    (void)state; // [NO-6, NO-8]
    settle(HIGH_BYTES + 1, HIGH);
    assert_int_equal(step(1000, TOTAL, true), LOW);
}

static void
low_is_repeated_every_82_s_while_it_lasts(void **state)
{
    (void)state; // [NO-3]
    settle(500 * MIB, NEUTRAL);
    assert_int_equal(step(1000, 1, false), LOW);
    for (unsigned i = 0; i < 5; i++) {
        quiet(8199, LOW_BYTES);
        assert_int_equal(step(1, LOW_BYTES, false), LOW);
    }
    // Pressure alone does not shorten it.
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(step(1000, 1, true), NONE);
    assert_int_equal(step(200, 1, true), LOW);
}

static void
low_ends_above_five_quarters_of_the_threshold(void **state)
{
    (void)state; // [NO-6]
    settle(500 * MIB, NEUTRAL);
    assert_int_equal(step(1000, 1, false), LOW);
    assert_int_equal(step(1000, LOW_BYTES + LOW_BYTES / 4, false), NONE);
    assert_int_equal(machine.state, LOW);
    assert_int_equal(step(1000, LOW_BYTES + LOW_BYTES / 4 + 1, false), NEUTRAL);
}

static void
low_by_pressure_ends_after_four_calm_seconds(void **state)
{
    (void)state; // [NO-6]
    settle(500 * MIB, NEUTRAL);
    assert_int_equal(step(1000, 500 * MIB, true), LOW);
    assert_int_equal(step(3000, 500 * MIB, true), NONE);
    quiet(3999, 500 * MIB);
    assert_int_equal(step(1, 500 * MIB, false), NEUTRAL);
}

static void
leaving_low_is_always_told(void **state)
{
    (void)state; // [NO-3]: random weather; a receiver that heard Low hears of its end
    uint32_t seed = 7, heard = NONE, lows = 0, ends = 0;
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint64_t available = ((uint64_t)seed << 8) % (2 * HIGH_BYTES);
        uint32_t sent = step(seed >> 24 << 3, available, (seed & 0xF0) == 0);
        if (sent != NONE) {
            lows += sent == LOW && heard != LOW;
            ends += sent != LOW && heard == LOW;
            heard = sent;
        }
        // What was heard last is what holds.
        assert_int_equal(heard, machine.state);
    }
    assert_true(lows > 1000 && lows - ends <= 1);
}

static void
high_needs_thirty_calm_seconds(void **state)
{
    (void)state; // [NO-6]
    assert_int_equal(step(0, 500 * MIB, false), NEUTRAL);
    assert_int_equal(step(1000, 500 * MIB, true), LOW);
    assert_int_equal(step(4000, 4000 * MIB, false), NEUTRAL);
    quiet(25999, 4000 * MIB);
    assert_int_equal(step(1, 4000 * MIB, false), HIGH);
    quiet(60000, 4000 * MIB);
}

static void
high_is_not_claimed_before_thirty_seconds_were_seen(void **state)
{
    (void)state; // [NO-6]
    assert_int_equal(step(0, 4000 * MIB, false), NEUTRAL);
    assert_int_equal(step(8200, 4000 * MIB, false), NEUTRAL);
    quiet(21799, 4000 * MIB);
    assert_int_equal(step(1, 4000 * MIB, false), HIGH);
}

static void
high_begins_above_its_threshold_and_ends_a_tenth_below(void **state)
{
    (void)state; // [NO-6]
    settle(HIGH_BYTES, NEUTRAL);
    assert_int_equal(step(1000, HIGH_BYTES + 1, false), HIGH);
    quiet(5000, HIGH_BYTES - HIGH_BYTES / 10);
    assert_int_equal(step(1000, HIGH_BYTES - HIGH_BYTES / 10 - 1, false), NEUTRAL);
    quiet(5000, HIGH_BYTES);
    assert_int_equal(step(1000, HIGH_BYTES + 1, false), HIGH);
}

static void
low_can_end_in_high(void **state)
{
    (void)state; // [NO-3, NO-6]
    settle(HIGH_BYTES + 1, HIGH);
    assert_int_equal(step(1000, 1, false), LOW);
    assert_int_equal(step(1000, HIGH_BYTES + 1, false), HIGH);
}

static void
a_smaller_total_moves_the_thresholds(void **state)
{
    (void)state; // [NO-6]: the tightest source may change at any time
    settle(500 * MIB, NEUTRAL);
    struct hhi_memory_reading group = {now_ms + 1000, 1024 * MIB, 100 * MIB, false};
    assert_int_equal(hhi_memory_state_step(&machine, &group), NONE);
    group = (struct hhi_memory_reading){now_ms + 2000, 1024 * MIB, 63 * MIB, false};
    assert_int_equal(hhi_memory_state_step(&machine, &group), LOW);
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup(function, start)
    const struct CMUnitTest tests[] = {
        TEST(thresholds_follow_the_total_within_their_bounds),
        TEST(the_first_step_sends_the_state_and_82_s_later_once_more),
        TEST(a_new_receiver_is_told_the_state_at_once),
        TEST(low_begins_below_the_threshold_only),
        TEST(low_begins_with_pressure_however_much_is_available),
        TEST(low_is_repeated_every_82_s_while_it_lasts),
        TEST(low_ends_above_five_quarters_of_the_threshold),
        TEST(low_by_pressure_ends_after_four_calm_seconds),
        TEST(leaving_low_is_always_told),
        TEST(high_needs_thirty_calm_seconds),
        TEST(high_is_not_claimed_before_thirty_seconds_were_seen),
        TEST(high_begins_above_its_threshold_and_ends_a_tenth_below),
        TEST(low_can_end_in_high),
        TEST(a_smaller_total_moves_the_thresholds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
