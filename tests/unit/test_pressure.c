// SPDX-License-Identifier: MIT
// unit/test_pressure.c - the kernel's reports of pressure, from made-up files (NO-7, NO-8, 16.10).
#include "os/os_pressure_linux.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/os.h"
#include "support/fake_root.h"
#include "support/test.h"

#define V1_MOUNT "30 25 0:27 / /m1 rw,relatime - cgroup cgroup rw,memory\n"
#define V2_MOUNT "31 25 0:28 / /m2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define TRIGGER "some 150000 2000000" // and its NUL

static struct fake_root root;
static struct hhi_pressure pressure;

static int
start(void **state)
{
    (void)state;
    fake_root_make(&root);
    fake_root_write(&root, "/proc/self/cgroup", "4:memory:/job\n0::/app\n");
    fake_root_write(&root, "/proc/self/mountinfo", V1_MOUNT V2_MOUNT);
    hhi_pressure_init(&pressure, root.path);
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    hhi_pressure_close(&pressure);
    fake_root_remove(&root);
    return 0;
}

static void
read_file(const char *name, char *text, size_t size_bytes)
{
    int descriptor = open(fake_root_path(&root, name), O_RDONLY | O_CLOEXEC);
    ssize_t length = read(descriptor, text, size_bytes - 1);
    close(descriptor);
    assert_true(length >= 0);
    text[length] = '\0';
}

static void
without_any_source_a_wait_ends_at_its_time(void **state)
{
    (void)state; // [NO-7: missing PSI]
    uint64_t before_ms = hhi_os_clock_ms();
    assert_false(hhi_pressure_wait(&pressure, 50));
    assert_true(hhi_os_clock_ms() - before_ms >= 40); // the coarse clock
    assert_int_equal(pressure.psi.descriptor, -1);
    assert_int_equal(pressure.level.descriptor, -1);
}

static void
the_trigger_is_written_with_its_end_to_the_machine_file(void **state)
{
    (void)state; // [NO-7]
    char text[64];
    fake_root_write(&root, "/proc/pressure/memory", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_true(pressure.psi.descriptor > 2);
    read_file("/proc/pressure/memory", text, sizeof text);
    assert_string_equal(text, TRIGGER);
    assert_int_equal(lseek(pressure.psi.descriptor, 0, SEEK_CUR), sizeof TRIGGER);
}

static void
the_group_has_a_trigger_of_its_own(void **state)
{
    (void)state; // [NO-7]
    char text[64];
    fake_root_write(&root, "/proc/pressure/memory", "");
    fake_root_write(&root, "/m2/app/memory.pressure", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    read_file("/proc/pressure/memory", text, sizeof text);
    assert_string_equal(text, "");
    read_file("/m2/app/memory.pressure", text, sizeof text);
    assert_string_equal(text, TRIGGER);
}

static void
the_kernel_of_this_machine_takes_the_trigger(void **state)
{
    (void)state; // [NO-7, M9]
    if (access("/proc/pressure/memory", R_OK | W_OK) != 0)
        skip();
    hhi_pressure_init(&pressure, "");
    (void)hhi_pressure_wait(&pressure, 0);
    assert_true(pressure.psi.descriptor > 2);
}

static void
events_that_matter_are_reported_once(void **state)
{
    (void)state; // [NO-6, NO-8]
    static const struct {
        const char *text;
        bool reported;
    } rows[] = {
        {"low 0\nhigh 3\nmax 1\noom 0\noom_kill 0\n", false}, // what was before
        {"low 0\nhigh 3\nmax 1\noom 0\noom_kill 0\n", false},
        {"low 9\nhigh 3\nmax 1\noom 0\noom_kill 0\n", false},
        {"low 9\nhigh 4\nmax 1\noom 0\noom_kill 0\n", true},
        {"low 9\nhigh 4\nmax 1\noom 0\noom_kill 0\n", false},
        {"low 9\nhigh 4\nmax 2\noom 0\noom_kill 0\n", true},
        {"low 9\nhigh 4\nmax 2\noom 1\noom_kill 1\n", true},
        {"low 9\nhigh 4\nmax 2\noom 1\noom_kill 2\n", false},
        {"garbage\n", false},
        {"low 9\nhigh 0\nmax 0\noom 0\noom_kill 0\n", false}, // counts of another group
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_root_write(&root, "/m2/app/memory.events", rows[i].text);
        assert_int_equal(hhi_pressure_wait(&pressure, 0), rows[i].reported);
    }
}

static void
v1_levels_come_through_an_eventfd(void **state)
{
    (void)state; // [NO-6]
    char text[64], level[32];
    int event_descriptor = -1, level_descriptor = -1;
    fake_root_write(&root, "/m1/job/memory.pressure_level", "");
    fake_root_write(&root, "/m1/job/cgroup.event_control", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    read_file("/m1/job/cgroup.event_control", text, sizeof text);
    assert_int_equal(sscanf(text, "%d %d %31s", &event_descriptor, &level_descriptor, level), 3);
    assert_string_equal(level, "medium");
    assert_int_equal(event_descriptor, pressure.level.descriptor);
    assert_true(level_descriptor > 2);
    assert_int_equal(eventfd_write(event_descriptor, 3), 0);
    assert_true(hhi_pressure_wait(&pressure, 10000));
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_int_equal(eventfd_write(event_descriptor, 1), 0);
    assert_true(hhi_pressure_wait(&pressure, 10000));
}

static void
a_group_without_event_control_keeps_no_eventfd(void **state)
{
    (void)state; // [NO-6]
    fake_root_write(&root, "/m1/job/memory.pressure_level", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_int_equal(pressure.level.descriptor, -1);
}

static void
descriptors_the_program_took_are_left_alone(void **state)
{
    (void)state; // [16.10]
    fake_root_write(&root, "/m1/job/memory.pressure_level", "");
    fake_root_write(&root, "/m1/job/cgroup.event_control", "");
    fake_root_write(&root, "/m2/app/memory.events", "high 1\n");
    fake_root_write(&root, "/proc/pressure/memory", "");
    fake_root_write(&root, "/other", "high 99\n");
    assert_false(hhi_pressure_wait(&pressure, 0));
    int theirs[] = {pressure.level.descriptor, pressure.events.descriptor, pressure.psi.descriptor};
    int event = eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK);
    int other = open(fake_root_path(&root, "/other"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup2(event, theirs[0]), theirs[0]);
    assert_int_equal(dup2(other, theirs[1]), theirs[1]);
    assert_int_equal(dup2(other, theirs[2]), theirs[2]);
    for (int i = 0; i < 3; i++)
        assert_false(hhi_pressure_wait(&pressure, 0));
    hhi_pressure_close(&pressure);
    eventfd_t count = 0;
    assert_int_equal(eventfd_read(theirs[0], &count), 0); // nobody has read it
    assert_int_equal(count, 5);
    for (int i = 0; i < 3; i++)
        assert_int_equal(close(theirs[i]), 0);
    close(event);
    close(other);
}

static void
closed_descriptors_end_no_wait_early(void **state)
{
    (void)state; // [16.10]
    fake_root_write(&root, "/proc/pressure/memory", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_int_equal(close(pressure.psi.descriptor), 0);
    uint64_t before_ms = hhi_os_clock_ms();
    assert_false(hhi_pressure_wait(&pressure, 50));
    assert_true(hhi_os_clock_ms() - before_ms >= 40);
}

static void
what_was_lost_is_looked_for_again(void **state)
{
    (void)state; // [16.10, HHI_PRESSURE_REOPEN_MS]
    fake_root_write(&root, "/proc/pressure/memory", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_int_equal(close(pressure.psi.descriptor), 0);
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_int_equal(pressure.psi.descriptor, -1);
    pressure.opened_ms -= HHI_PRESSURE_REOPEN_MS; // as if that time had passed
    assert_false(hhi_pressure_wait(&pressure, 0));
    assert_true(pressure.psi.descriptor > 2);
}

// Sources are closed and opened anew: what they had to tell is told.
static void
events_before_a_new_look_are_not_missed(void **state)
{
    (void)state; // [NO-8] [16.10, HHI_PRESSURE_REOPEN_MS]
    fake_root_write(&root, "/proc/pressure/memory", "");
    fake_root_write(&root, "/m2/app/memory.events", "high 1\n");
    fake_root_write(&root, "/m1/job/memory.pressure_level", "");
    fake_root_write(&root, "/m1/job/cgroup.event_control", "");
    assert_false(hhi_pressure_wait(&pressure, 0));
    for (int source = 0; source < 2; source++) {
        uint64_t one = 1;
        assert_int_equal(close(pressure.psi.descriptor), 0);
        assert_false(hhi_pressure_wait(&pressure, 0));
        if (source == 0)
            fake_root_write(&root, "/m2/app/memory.events", "high 2\n");
        else
            assert_int_equal(write(pressure.level.descriptor, &one, sizeof one), sizeof one);
        pressure.opened_ms -= HHI_PRESSURE_REOPEN_MS;
        hhi_pressure_open(&pressure);
        assert_true(pressure.psi.descriptor > 2);
        assert_true(hhi_pressure_wait(&pressure, 0));
        assert_false(hhi_pressure_wait(&pressure, 0));
    }
}

static void
a_moved_process_watches_its_new_group(void **state)
{
    (void)state; // [NO-8]
    fake_root_write(&root, "/m2/app/memory.events", "high 1\n");
    fake_root_write(&root, "/m2/new/memory.events", "high 50\n");
    assert_false(hhi_pressure_wait(&pressure, 0));
    fake_root_write(&root, "/proc/self/cgroup", "4:memory:/job\n0::/new\n");
    pressure.opened_ms -= HHI_PRESSURE_REOPEN_MS;
    assert_false(hhi_pressure_wait(&pressure, 0)); // 50 is not news
    fake_root_write(&root, "/m2/new/memory.events", "high 51\n");
    assert_true(hhi_pressure_wait(&pressure, 0));
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(without_any_source_a_wait_ends_at_its_time),
        TEST(the_trigger_is_written_with_its_end_to_the_machine_file),
        TEST(the_group_has_a_trigger_of_its_own),
        TEST(the_kernel_of_this_machine_takes_the_trigger),
        TEST(events_that_matter_are_reported_once),
        TEST(v1_levels_come_through_an_eventfd),
        TEST(a_group_without_event_control_keeps_no_eventfd),
        TEST(descriptors_the_program_took_are_left_alone),
        TEST(closed_descriptors_end_no_wait_early),
        TEST(what_was_lost_is_looked_for_again),
        TEST(events_before_a_new_look_are_not_missed),
        TEST(a_moved_process_watches_its_new_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
