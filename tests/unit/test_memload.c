// SPDX-License-Identifier: MIT
// unit/test_memload.c - the memory load of made-up machines and groups (contract ML-1..5, 16.10).
#include "os/os_memload_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"
#include "os/os_cgroup_linux.h"
#include "support/fake_root.h"
#include "support/test.h"

#define MIB ((uint64_t)1024 * 1024)
#define MACHINE_BYTES (8192 * MIB) // of the fake machine, of which half is available

#define V1_MOUNT "30 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define V2_MOUNT "31 25 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define V1_UNLIMITED "9223372036854771712\n"

static struct fake_root root;
static struct hhi_memload_files files;
static uint64_t clock_ms;

static int
start(void **state)
{
    (void)state;
    fake_root_make(&root);
    fake_root_write(&root, "/proc/meminfo",
                    "MemTotal:        8388608 kB\nMemFree:          100000 kB\n"
                    "MemAvailable:    4194304 kB\nBuffers:          12 kB\n");
    hhi_memload_init(&files, root.path);
    clock_ms = 5000;
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    hhi_memload_close(&files);
    fake_root_remove(&root);
    return 0;
}

static void
expect_load_at(int line, uint64_t total_bytes, uint64_t available_bytes)
{
    struct hhi_memload load;
    hhi_memload_read(&files, clock_ms, &load);
    if (load.total_bytes != total_bytes || load.available_bytes != available_bytes)
        print_error("line %d: total %llu available %llu\n", line,
                    (unsigned long long)load.total_bytes, (unsigned long long)load.available_bytes);
    assert_int_equal(load.total_bytes, total_bytes);
    assert_int_equal(load.available_bytes, available_bytes);
}
#define expect_load(total, available) expect_load_at(__LINE__, (total), (available))
#define expect_machine_only() expect_load(MACHINE_BYTES, MACHINE_BYTES / 2)

static void
v1_group(const char *folder, uint64_t limit, uint64_t usage, uint64_t inactive)
{
    char name[512], text[256];
    snprintf(name, sizeof name, "%s/memory.limit_in_bytes", folder);
    fake_root_write_number(&root, name, limit);
    snprintf(name, sizeof name, "%s/memory.usage_in_bytes", folder);
    fake_root_write_number(&root, name, usage);
    snprintf(name, sizeof name, "%s/memory.stat", folder);
    snprintf(text, sizeof text,
             "cache 1\ninactive_file 77\ntotal_cache 5\ntotal_inactive_file %llu\n",
             (unsigned long long)inactive);
    fake_root_write(&root, name, text);
}

static void
v2_group(const char *folder, const char *high, const char *max, uint64_t usage, uint64_t inactive)
{
    char name[512], text[256];
    snprintf(name, sizeof name, "%s/memory.high", folder);
    fake_root_write(&root, name, high);
    snprintf(name, sizeof name, "%s/memory.max", folder);
    fake_root_write(&root, name, max);
    snprintf(name, sizeof name, "%s/memory.current", folder);
    fake_root_write_number(&root, name, usage);
    snprintf(name, sizeof name, "%s/memory.stat", folder);
    snprintf(text, sizeof text, "anon 1\ninactive_file_x 3\ninactive_file %llu\nactive_file 9\n",
             (unsigned long long)inactive);
    fake_root_write(&root, name, text);
}

static void
v1_process(const char *group)
{
    char text[512];
    snprintf(text, sizeof text, "5:cpu,cpuacct:/x\n4:memory:%s\n0::/\n", group);
    fake_root_write(&root, "/proc/self/cgroup", text);
    fake_root_write(&root, "/proc/self/mountinfo",
                    "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
                    "29 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" V1_MOUNT);
}

static void
v2_process(const char *group)
{
    char text[512];
    snprintf(text, sizeof text, "0::%s\n", group);
    fake_root_write(&root, "/proc/self/cgroup", text);
    fake_root_write(&root, "/proc/self/mountinfo", V2_MOUNT);
}

static void
percent_is_rounded_and_stays_in_its_range(void **state)
{
    (void)state; // [ML-1, ML-4]
    static const struct {
        uint64_t total, available;
        unsigned percent;
    } rows[] = {
        {1000, 1000, 0},
        {1000, 0, 100},
        {1000, 500, 50},
        {1000, 996, 0},
        {1000, 995, 1},
        {1000, 104, 90},
        {1000, 106, 89},
        {1000, 105, 90},
        {1000, 2000, 0},
        {0, 0, 100},
        {0, 5, 100},
        {UINT64_MAX, 0, 100},
        {UINT64_MAX, UINT64_MAX / 2, 50},
        {3, 2, 33},
        {3, 1, 67},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(hhi_memload_percent(rows[i].total, rows[i].available), rows[i].percent);
}

static void
without_groups_the_machine_answers(void **state)
{
    (void)state; // [ML-4 a]
    expect_machine_only();
    fake_root_write(&root, "/proc/meminfo",
                    "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 2097152 kB\n");
    expect_load(MACHINE_BYTES, 2048 * MIB);
}

static void
garbage_in_meminfo_falls_back_to_sysinfo(void **state)
{
    (void)state; // [ML-3]
    static const char *const garbage[] = {
        "",
        "\n\n\n",
        "MemTotal:\nMemAvailable:\n",
        "MemTotal: x kB\nMemAvailable: 5 kB\n",
        "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
        "MemTotal: 99999999999999999999999 kB\nMemAvailable: 1 kB\n",
        "MemTotal: 8388608 kB\n",
        "no newline at all",
        "MemTotal",
    };
    struct sysinfo info;
    assert_int_equal(sysinfo(&info), 0);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        struct hhi_memload load;
        fake_root_write(&root, "/proc/meminfo", garbage[i]);
        hhi_memload_read(&files, clock_ms, &load);
        assert_int_equal(load.total_bytes, (uint64_t)info.totalram * info.mem_unit);
        assert_true(load.available_bytes > 0 && load.available_bytes <= load.total_bytes);
    }
    // More available than there is.
    fake_root_write(&root, "/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 2000 kB\n");
    expect_load(1000 * 1024, 1000 * 1024);
}

static void
without_any_file_sysinfo_answers(void **state)
{
    (void)state; // [ML-3]
    struct hhi_memload load;
    struct sysinfo info;
    assert_int_equal(sysinfo(&info), 0);
    unlink(fake_root_path(&root, "/proc/meminfo"));
    hhi_memload_read(&files, clock_ms, &load);
    assert_int_equal(load.total_bytes, (uint64_t)info.totalram * info.mem_unit);
    assert_true(load.available_bytes > 0 && load.available_bytes <= load.total_bytes);
}

static void
v1_limit_counts_usage_without_inactive_file_pages(void **state)
{
    (void)state; // [ML-4 c]
    v1_process("/web");
    v1_group("/sys/fs/cgroup/memory/web", 1024 * MIB, 700 * MIB, 200 * MIB);
    expect_load(1024 * MIB, 524 * MIB);
    v1_group("/sys/fs/cgroup/memory/web", 1024 * MIB, 700 * MIB, 900 * MIB);
    expect_load(1024 * MIB, 1024 * MIB);
    v1_group("/sys/fs/cgroup/memory/web", 1024 * MIB, 2000 * MIB, 0);
    expect_load(1024 * MIB, 0);
    fake_root_write(&root, "/sys/fs/cgroup/memory/web/memory.stat", "garbage\n");
    v1_group("/sys/fs/cgroup/memory/web", 1024 * MIB, 600 * MIB, 0);
    expect_load(1024 * MIB, 424 * MIB);
}

static void
v1_values_of_memtotal_or_more_are_no_limit(void **state)
{
    (void)state; // [ML-4 c]
    v1_process("/web");
    v1_group("/sys/fs/cgroup/memory/web", 9223372036854771712u, 7000 * MIB, 0);
    expect_machine_only();
    v1_group("/sys/fs/cgroup/memory/web", MACHINE_BYTES, 7000 * MIB, 0);
    expect_machine_only();
    v1_group("/sys/fs/cgroup/memory/web", MACHINE_BYTES - 4096, 7000 * MIB, 0);
    expect_load(MACHINE_BYTES - 4096, MACHINE_BYTES - 4096 - 7000 * MIB);
}

static void
v1_ancestors_bind_where_they_are_hierarchical(void **state)
{
    (void)state; // [ML-4 c, issue item 4]
    v1_process("/pod/web");
    v1_group("/sys/fs/cgroup/memory/pod/web", 1024 * MIB, 100 * MIB, 0);
    v1_group("/sys/fs/cgroup/memory/pod", 2048 * MIB, 2000 * MIB, 0);
    v1_group("/sys/fs/cgroup/memory", 9223372036854771712u, 3000 * MIB, 0);
    expect_load(2048 * MIB, 48 * MIB);
    fake_root_write(&root, "/sys/fs/cgroup/memory/pod/memory.use_hierarchy", "0\n");
    hhi_memload_close(&files);
    expect_load(1024 * MIB, 924 * MIB);
    fake_root_write(&root, "/sys/fs/cgroup/memory/pod/memory.use_hierarchy", "1\n");
    hhi_memload_close(&files);
    expect_load(2048 * MIB, 48 * MIB);
}

static void
v2_limit_is_the_smaller_of_high_and_max(void **state)
{
    (void)state; // [ML-4 b]
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 600 * MIB, 100 * MIB);
    expect_load(1024 * MIB, 524 * MIB);
    v2_group("/sys/fs/cgroup/app", "536870912\n", "1073741824\n", 600 * MIB, 100 * MIB);
    expect_load(512 * MIB, 12 * MIB);
    v2_group("/sys/fs/cgroup/app", "1073741824\n", "536870912\n", 600 * MIB, 0);
    expect_load(512 * MIB, 0);
    v2_group("/sys/fs/cgroup/app", "max\n", "max\n", 600 * MIB, 0);
    expect_machine_only();
    v2_group("/sys/fs/cgroup/app", "max\n", "0\n", 600 * MIB, 0);
    expect_load(0, 0);
}

static void
v2_every_ancestor_up_to_the_mount_counts(void **state)
{
    (void)state; // [ML-4 b]
    v2_process("/a/b/c/d");
    v2_group("/sys/fs/cgroup/a/b/c/d", "max\n", "1073741824\n", 100 * MIB, 0);
    v2_group("/sys/fs/cgroup/a/b/c", "max\n", "max\n", 100 * MIB, 0);
    v2_group("/sys/fs/cgroup/a", "max\n", "2147483648\n", 1900 * MIB, 50 * MIB);
    expect_load(2048 * MIB, 198 * MIB); // nothing at all in b
    v2_group("/sys/fs/cgroup", "max\n", "536870912\n", 500 * MIB, 0);
    hhi_memload_close(&files);
    expect_load(512 * MIB, 12 * MIB);
}

static void
deep_groups_count_nearest_first(void **state)
{
    (void)state; // [ML-4 b, HHI_MEMLOAD_GROUPS_MAX]
    char group[300] = "", folder[400];
    for (int i = 0; i < 40; i++)
        strcat(group, "/g");
    v2_process(group);
    snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", group);
    for (size_t length = strlen(folder); length > strlen("/sys/fs/cgroup"); length -= 2) {
        folder[length] = '\0';
        v2_group(folder, "max\n", "max\n", MIB, 0);
    }
    snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", group);
    v2_group(folder, "max\n", "1073741824\n", 24 * MIB, 0);
    expect_load(1024 * MIB, 1000 * MIB);
    assert_int_equal(files.group_count, HHI_MEMLOAD_GROUPS_MAX);
}

static void
of_equal_sources_the_fuller_one_answers(void **state)
{
    (void)state; // [ML-4: the tightest]
    v2_process("/app/inner");
    v2_group("/sys/fs/cgroup/app/inner", "max\n", "1073741824\n", 924 * MIB, 0);
    v2_group("/sys/fs/cgroup/app", "max\n", "209715200\n", 100 * MIB, 0);
    expect_load(200 * MIB, 100 * MIB);
}

static void
hybrid_machines_take_the_hierarchy_that_has_the_controller(void **state)
{
    (void)state; // [ML-4, M8]
    v1_process("/job");
    fake_root_write(&root, "/proc/self/mountinfo",
                    "33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" V1_MOUNT);
    fake_root_write(&root, "/sys/fs/cgroup/unified/cgroup.procs", "1\n");
    v1_group("/sys/fs/cgroup/memory/job", 256 * MIB, 56 * MIB, 0);
    expect_load(256 * MIB, 200 * MIB);
    // Both: the tighter one.
    fake_root_write(&root, "/proc/self/cgroup", "4:memory:/job\n0::/app\n");
    v2_group("/sys/fs/cgroup/unified/app", "max\n", "134217728\n", 28 * MIB, 0);
    hhi_memload_close(&files);
    expect_load(128 * MIB, 100 * MIB);
}

static void
a_container_sees_its_group_at_the_mount(void **state)
{
    (void)state; // [ML-4: paths through mountinfo]
    v1_group("/cg roup/web", 512 * MIB, 12 * MIB, 0);
    v1_group("/cg roup", 512 * MIB, 112 * MIB, 0);
    fake_root_write(&root, "/proc/self/cgroup", "4:cpu,memory:/docker/abc/web\n");
    fake_root_write(&root, "/proc/self/mountinfo",
                    "30 25 0:27 /docker/ab /elsewhere rw - cgroup cgroup rw,cpu,memory\n"
                    "30 25 0:27 /docker/abc /cg\\040roup rw - cgroup cgroup rw,cpu,memory\n"
                    "30 25 0:27 /other /other rw - cgroup cgroup rw,cpu,memory\n");
    expect_load(512 * MIB, 400 * MIB);
    // A mount that does not hold the path stands for the group itself.
    fake_root_write(&root, "/proc/self/mountinfo",
                    "30 25 0:27 /other /cg\\040roup rw - cgroup cgroup rw,cpu,memory\n");
    hhi_memload_close(&files);
    expect_load(512 * MIB, 400 * MIB);
}

static void
the_mount_that_shows_most_of_the_path_is_taken(void **state)
{
    (void)state; // [ML-4]
    fake_root_write(&root, "/proc/self/cgroup", "0::/a/bb\n");
    static const char *const orders[] = {
        "1 1 0:1 / /m/top rw - cgroup2 c rw\n1 1 0:1 /a /m/a rw - cgroup2 c rw\n",
        "1 1 0:1 /a /m/a rw - cgroup2 c rw\n1 1 0:1 / /m/top rw - cgroup2 c rw\n",
        "1 1 0:1 /a /m/a rw - cgroup2 c rw\n1 1 0:1 /a/b /m/z rw - cgroup2 c rw\n",
        "1 1 0:1 /z /m/z rw - cgroup2 c rw\n1 1 0:1 /a /m/a rw a:1 b:2 - cgroup2 c rw\n",
    };
    v2_group("/m/a/bb", "max\n", "104857600\n", 0, 0);
    v2_group("/m/top/a/bb", "max\n", "52428800\n", 0, 0);
    v2_group("/m/z", "max\n", "1048576\n", 0, 0);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        fake_root_write(&root, "/proc/self/mountinfo", orders[i]);
        hhi_memload_close(&files);
        expect_load(100 * MIB, 100 * MIB);
    }
}

static void
lines_of_any_length_and_shape_are_survived(void **state)
{
    (void)state; // [ML-3]
    static char text[20000];
    size_t length = 0;
    length += (size_t)sprintf(text, "1 2 3\n\n - \n1 2 0:3 / /x rw\n1 2 0:3 / /x rw -\n");
    length += (size_t)sprintf(text + length, "22 1 0:20 / /overlay rw - overlay o rw,x 1 ");
    memset(text + length, 'x', 9000);
    length += 9000;
    sprintf(text + length, " 1 0:1 / /bad rw - cgroup2 c rw\n%s", V2_MOUNT);
    fake_root_write(&root, "/proc/self/mountinfo", text);
    memset(text, 'y', 5000);
    sprintf(text + 5000, "\n::\n:\n0\n0:\n0::\n0:x:/no\n0::/app");
    fake_root_write(&root, "/proc/self/cgroup", text);
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824", 24 * MIB, 0);
    expect_load(1024 * MIB, 1000 * MIB);
}

// The kernel writes "\\134" for a backslash; what is no such number stands for itself.
static void
only_octal_numbers_in_a_mount_are_escapes(void **state)
{
    (void)state; // [ML-4: paths through mountinfo]
    static const struct {
        const char *written, *meant;
    } rows[] = {{"/m\\134x", "/m\\x"},  {"/m\\040\\011", "/m \t"}, {"/m\\", "/m\\"},
                {"/m\\0", "/m\\0"},     {"/m\\08", "/m\\08"},      {"/m\\048", "/m\\048"},
                {"/m\\080", "/m\\080"}, {"/m\\400", "/m\\400"},    {"/m\\/1", "/m\\/1"},
                {"/m\\0/1", "/m\\0/1"}, {"/m\\00/", "/m\\00/"}};
    struct hhi_cgroup group;
    char text[200];
    fake_root_write(&root, "/proc/self/cgroup", "0::/app\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "1 1 0:1 / %s rw - cgroup2 c rw\n", rows[i].written);
        fake_root_write(&root, "/proc/self/mountinfo", text);
        assert_true(hhi_cgroup_find(root.path, false, &group));
        snprintf(text, sizeof text, "%s%s/app", root.path, rows[i].meant);
        assert_string_equal(group.path, text);
    }
}

// A name of so many bytes, in folders as long as they may be.
static void
long_name(char *name, size_t length)
{
    for (size_t at = 0; at < length; at++)
        name[at] = at % 200 == 0 ? '/' : 'n';
    name[length] = '\0';
}

static void
a_group_whose_path_is_too_long_is_not_found(void **state)
{
    (void)state; // [ML-3]
    static char group_name[2048], point[2048], text[8192];
    struct hhi_cgroup group;
    struct hhi_kept_file file;
    long_name(group_name, 1100);
    v2_process("/app");
    snprintf(text, sizeof text, "0::%s\n", group_name);
    fake_root_write(&root, "/proc/self/cgroup", text);
    assert_false(hhi_cgroup_find(root.path, false, &group));
    expect_machine_only();

    // Either the mount alone, or the group in it, is too long; another mount of it may do.
    long_name(group_name, 900);
    for (size_t length = 1200; length <= 2047; length += 847) {
        long_name(point, length);
        for (int shorter = 0; shorter < 2; shorter++) {
            snprintf(text, sizeof text, "0::%s\n", group_name);
            fake_root_write(&root, "/proc/self/cgroup", text);
            snprintf(text, sizeof text, "1 1 0:1 / %s rw - cgroup2 c rw\n%s", point,
                     shorter ? V2_MOUNT : "");
            fake_root_write(&root, "/proc/self/mountinfo", text);
            assert_int_equal(hhi_cgroup_find(root.path, false, &group), shorter);
        }
    }
    assert_int_equal(group.length, strlen(root.path) + strlen("/sys/fs/cgroup") + 900);

    // So long that no file's name fits behind it.
    long_name(point, sizeof group.path - 900 - 10 - strlen(root.path));
    snprintf(text, sizeof text, "1 1 0:1 / %s rw - cgroup2 c rw\n", point);
    fake_root_write(&root, "/proc/self/mountinfo", text);
    assert_true(hhi_cgroup_find(root.path, false, &group));
    assert_false(hhi_cgroup_open(&group, "memory.events", O_RDONLY, &file));
    assert_int_equal(file.descriptor, -1);
    assert_int_equal(group.length, sizeof group.path - 10);
    hhi_memload_close(&files);
    expect_machine_only();
}

static void
garbage_in_group_files_is_no_limit(void **state)
{
    (void)state; // [ML-3]
    static const char *const garbage[] = {"",
                                          "\n",
                                          "-1\n",
                                          "maximum\n",
                                          "12x\n",
                                          "x",
                                          " 5\n",
                                          "99999999999999999999999999\n",
                                          "18446744073709551616\n"};
    v2_process("/app");
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        v2_group("/sys/fs/cgroup/app", garbage[i], garbage[i], 1, 0);
        hhi_memload_close(&files);
        expect_machine_only();
    }
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 1, 0);
    fake_root_write(&root, "/sys/fs/cgroup/app/memory.current", "lots\n");
    hhi_memload_close(&files);
    expect_machine_only();
}

static void
limits_set_and_lifted_later_are_seen(void **state)
{
    (void)state; // [ML-4]
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "max\n", 100 * MIB, 0);
    expect_machine_only();
    fake_root_write(&root, "/sys/fs/cgroup/app/memory.max", "1073741824\n");
    expect_load(1024 * MIB, 924 * MIB);
    fake_root_write(&root, "/sys/fs/cgroup/app/memory.max", "max\n");
    expect_machine_only();
}

static void
a_process_moved_to_another_group_is_found_there(void **state)
{
    (void)state; // [ML-4, HHI_MEMLOAD_MOVED_MS]
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 100 * MIB, 0);
    v2_group("/sys/fs/cgroup/new", "max\n", "536870912\n", 100 * MIB, 0);
    expect_load(1024 * MIB, 924 * MIB);
    v2_process("/new");
    clock_ms += HHI_MEMLOAD_MOVED_MS;
    expect_load(512 * MIB, 412 * MIB);
}

static void
closed_and_reused_descriptors_never_give_a_wrong_answer(void **state)
{
    (void)state; // [16.10]
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 100 * MIB, 0);
    fake_root_write(&root, "/false", "MemTotal: 7 kB\nMemAvailable: 3 kB\ninactive_file 1\n");
    fake_root_write(&root, "/number", "4096\n");
    expect_load(1024 * MIB, 924 * MIB);
    struct hhi_kept_file *kept[] = {&files.meminfo, &files.groups[0].limit, &files.groups[0].high,
                                    &files.groups[0].usage, &files.groups[0].stat};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        int descriptor = kept[i]->descriptor;
        assert_true(descriptor > 2);
        assert_int_equal(close(descriptor), 0);
        expect_load(1024 * MIB, 924 * MIB);
    }
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        int descriptor = kept[i]->descriptor;
        int other = open(fake_root_path(&root, i == 0 || i == 4 ? "/false" : "/number"),
                         O_RDONLY | O_CLOEXEC);
        assert_int_equal(dup2(other, descriptor), descriptor);
        expect_load(1024 * MIB, 924 * MIB);
        assert_true(fcntl(descriptor, F_GETFD) >= 0); // the program's, so it stays open
        close(descriptor);
        close(other);
    }
}

static void
the_standard_descriptors_are_never_taken(void **state)
{
    (void)state; // [16.10]
    int saved = dup(0);
    close(0);
    expect_machine_only();
    assert_int_equal(fcntl(0, F_GETFD), -1);
    assert_int_equal(fcntl(files.meminfo.descriptor, F_GETFD), FD_CLOEXEC);
    assert_int_equal(dup2(saved, 0), 0);
    close(saved);
}

static void
closing_leaves_no_descriptor_open(void **state)
{
    (void)state; // [16.10]
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 100 * MIB, 0);
    expect_load(1024 * MIB, 924 * MIB);
    int descriptor = files.groups[0].stat.descriptor;
    assert_true(descriptor > 2);
    hhi_memload_close(&files);
    assert_int_equal(fcntl(descriptor, F_GETFD), -1);
    for (int i = 3; i < 200; i++)
        assert_true(fcntl(i, F_GETFD) == -1 || i < 100);
}

static void
the_child_of_a_fork_opens_its_own(void **state)
{
    (void)state; // [ML-4] descriptors are opened anew after fork
    v2_process("/app");
    v2_group("/sys/fs/cgroup/app", "max\n", "1073741824\n", 100 * MIB, 0);
    v2_group("/sys/fs/cgroup/child", "max\n", "536870912\n", 100 * MIB, 0);
    expect_load(1024 * MIB, 924 * MIB);
    v2_process("/child"); // where the child finds itself, long before the next regular look
    pid_t child = fork();
    if (child == 0) {
        struct hhi_memload load;
        hhi_memload_read(&files, clock_ms, &load);
        _exit(load.total_bytes == 512 * MIB && files.process_id == getpid() ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_load(1024 * MIB, 924 * MIB);
}

static void
the_process_answer_is_cached_but_not_for_long(void **state)
{
    (void)state; // [ML-5, GEN-9]
    struct hhi_memload load;
    hhi_memload_set_root(root.path);
    errno = 4711;
    hhi_memload_now(&load);
    assert_int_equal(errno, 4711);
    assert_int_equal(load.available_bytes, MACHINE_BYTES / 2);
    fake_root_write(&root, "/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1024 kB\n");
    uint64_t changed_ms = hhi_os_clock_ms();
    hhi_os_sleep_ms(HHI_MEMLOAD_CACHE_MS);
    while (hhi_os_clock_ms() - changed_ms < HHI_MEMLOAD_CACHE_MS)
        hhi_os_sleep_ms(5);
    hhi_memload_now(&load);
    assert_int_equal(load.available_bytes, MIB);
    hhi_memload_set_root("");
}

struct stopped {
    _Atomic(pid_t) thread_id; // set before the question
    _Atomic(bool) done;       // set after it
    struct hhi_memload load;
};

// Opens the fake /proc/self/cgroup, a pipe without a writer, and stays there.
static void *
stopped_body(void *arg)
{
    struct stopped *stopped = arg;
    hh_store_release(&stopped->thread_id, hhi_os_thread_id()); // order: release [TS-1] about to ask
    hhi_memload_now(&stopped->load);
    hh_store_release(&stopped->done, true); // order: release [TS-2] the answer
    return NULL;
}

static void
wait_until_asleep(struct stopped *stopped)
{
    char name[64], text[256] = "";
    while (hh_load_acquire(&stopped->thread_id) == 0) // order: acquire [TS-1] about to ask
        hhi_os_sleep_ms(1);
    // order: acquire [TS-1] about to ask
    snprintf(name, sizeof name, "/proc/self/task/%d/stat", hh_load_acquire(&stopped->thread_id));
    do {
        hhi_os_sleep_ms(1);
        int descriptor = open(name, O_RDONLY | O_CLOEXEC);
        ssize_t length = read(descriptor, text, sizeof text - 1);
        close(descriptor);
        assert_true(length > 0);
        text[length] = '\0';
    } while (strstr(text, ") S") == NULL);
}

static void
a_thread_stopped_inside_a_question_blocks_nobody(void **state)
{
    (void)state; // [GEN-8, DECISION 8]
    struct stopped stopped = {0};
    struct hhi_memload load;
    pthread_t thread;
    char pipe_path[128];
    hhi_memload_set_root(root.path);
    fake_root_write(&root, "/proc/self/mountinfo", "");
    strcpy(pipe_path, fake_root_path(&root, "/proc/self/pipe"));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(link(pipe_path, fake_root_path(&root, "/proc/self/cgroup")), 0);
    assert_int_equal(pthread_create(&thread, NULL, stopped_body, &stopped), 0);
    wait_until_asleep(&stopped);
    unlink(fake_root_path(&root, "/proc/self/cgroup"));
    hhi_memload_now(&load);
    assert_int_equal(load.available_bytes, MACHINE_BYTES / 2);
    pid_t child = fork(); // that thread does not come along
    if (child == 0) {
        hhi_memload_now(&load);
        _exit(load.available_bytes == MACHINE_BYTES / 2 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(hh_load_acquire(&stopped.done)); // order: acquire [TS-2] the answer
    int writer = open(pipe_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(writer >= 0);
    close(writer);
    pthread_join(thread, NULL);
    assert_int_equal(stopped.load.available_bytes, MACHINE_BYTES / 2);
    hhi_memload_set_root("");
}

enum { ASKERS = 4, QUESTIONS = 400 };
static _Atomic(unsigned) wrong_answers;

static void *
asker_body(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < QUESTIONS; i++) {
        struct hhi_memload load;
        hhi_memload_now(&load);
        // Total and available always belong together: half is available in both worlds.
        if (load.total_bytes != 2 * load.available_bytes || load.total_bytes < MIB)
            (void)hh_fetch_add_relaxed(&wrong_answers, 1u); // relaxed: read after the threads ended
        hhi_os_sleep_ms(i % 4 == 0);
    }
    return NULL;
}

static void
threads_that_ask_at_once_get_answers_of_one_instant(void **state)
{
    (void)state; // [GEN-6, MLC-1]
    pthread_t askers[ASKERS];
    hhi_memload_set_root(root.path);
    for (unsigned i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&askers[i], NULL, asker_body, NULL), 0);
    fake_root_write(&root, "/proc/meminfo.2", "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\n");
    char other[128];
    strcpy(other, fake_root_path(&root, "/proc/meminfo.2"));
    assert_int_equal(rename(other, fake_root_path(&root, "/proc/meminfo")), 0);
    for (unsigned i = 0; i < ASKERS; i++)
        pthread_join(askers[i], NULL);
    // relaxed: the threads have ended.
    assert_int_equal(hh_load_relaxed(&wrong_answers), 0);
    hhi_memload_set_root("");
}

static void
this_machine_answers_sensibly(void **state)
{
    (void)state; // [ML-1..4]
    struct hhi_memload load;
    hhi_memload_set_root("");
    hhi_memload_now(&load);
    assert_true(load.total_bytes > 16 * MIB);
    assert_true(load.available_bytes <= load.total_bytes);
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(percent_is_rounded_and_stays_in_its_range),
        TEST(without_groups_the_machine_answers),
        TEST(garbage_in_meminfo_falls_back_to_sysinfo),
        TEST(without_any_file_sysinfo_answers),
        TEST(v1_limit_counts_usage_without_inactive_file_pages),
        TEST(v1_values_of_memtotal_or_more_are_no_limit),
        TEST(v1_ancestors_bind_where_they_are_hierarchical),
        TEST(v2_limit_is_the_smaller_of_high_and_max),
        TEST(v2_every_ancestor_up_to_the_mount_counts),
        TEST(deep_groups_count_nearest_first),
        TEST(of_equal_sources_the_fuller_one_answers),
        TEST(hybrid_machines_take_the_hierarchy_that_has_the_controller),
        TEST(a_container_sees_its_group_at_the_mount),
        TEST(the_mount_that_shows_most_of_the_path_is_taken),
        TEST(lines_of_any_length_and_shape_are_survived),
        TEST(only_octal_numbers_in_a_mount_are_escapes),
        TEST(a_group_whose_path_is_too_long_is_not_found),
        TEST(garbage_in_group_files_is_no_limit),
        TEST(limits_set_and_lifted_later_are_seen),
        TEST(a_process_moved_to_another_group_is_found_there),
        TEST(closed_and_reused_descriptors_never_give_a_wrong_answer),
        TEST(the_standard_descriptors_are_never_taken),
        TEST(closing_leaves_no_descriptor_open),
        TEST(the_child_of_a_fork_opens_its_own),
        TEST(the_process_answer_is_cached_but_not_for_long),
        TEST(a_thread_stopped_inside_a_question_blocks_nobody),
        TEST(threads_that_ask_at_once_get_answers_of_one_instant),
        TEST(this_machine_answers_sensibly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
