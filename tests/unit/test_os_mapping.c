// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_os_mapping.c - the kernel's list of mappings: both ways of asking agree, and the
 * kept descriptor is never trusted blindly. [FM-1] [16.10]
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host_virtual.h"
#include "os/os.h"
#include "support/test.h"

enum { CLOSED_BELOW = 400 };

static struct hhi_os real;
static bool query_refused;  // PROCMAP_QUERY answers as on older kernels
static bool open_refused;   // as without /proc, or without descriptors
static size_t read_at_most; // bytes one read gives
static unsigned queries;

static int
test_control(int descriptor, unsigned long request, void *argument)
{
    queries++;
    return query_refused ? -ENOTTY : real.control(descriptor, request, argument);
}

static int
test_open(const char *path)
{
    return open_refused ? -EMFILE : real.open(path);
}

static ssize_t
test_read(int descriptor, void *buffer, size_t size_bytes)
{
    if (read_at_most != 0 && size_bytes > read_at_most)
        size_bytes = read_at_most;
    return real.read(descriptor, buffer, size_bytes);
}

static void
expect_found(uintptr_t page, unsigned access, bool shared, bool file)
{
    struct hhi_os_mapping mapping;
    assert_int_equal(hhi_os_find_mapping(page, &mapping), 0);
    assert_true(mapping.start <= page && page < mapping.end);
    assert_int_equal(mapping.access, access);
    assert_int_equal(mapping.shared, shared);
    assert_int_equal(mapping.file, file);
}

static void
expect_all_kinds(void)
{
    static const struct {
        int protection, flags;
        unsigned access;
        bool shared, file;
    } rows[] = {
        {PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0, false, false},
        {PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, HHI_ACCESS_READ, false, false},
        {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, HHI_ACCESS_READ | HHI_ACCESS_WRITE,
         true, true},
        {PROT_READ | PROT_EXEC, MAP_PRIVATE, HHI_ACCESS_READ | HHI_ACCESS_EXECUTE, false, true},
        {PROT_READ, MAP_SHARED, HHI_ACCESS_READ, true, true},
    };
    int file = open("/proc/self/exe", O_RDONLY);
    assert_true(file >= 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *pages = mmap(NULL, 3 * 4096, rows[i].protection, rows[i].flags,
                           rows[i].flags & MAP_ANONYMOUS ? -1 : file, 0);
        assert_ptr_not_equal(pages, MAP_FAILED);
        expect_found((uintptr_t)pages + 4096, rows[i].access, rows[i].shared, rows[i].file);
        munmap(pages, 3 * 4096);
        struct hhi_os_mapping mapping;
        int result = hhi_os_find_mapping((uintptr_t)pages + 4096, &mapping);
        assert_true(result == -ENOENT || mapping.start > (uintptr_t)pages + 4096);
    }
    close(file);
}

static void
every_kind_of_mapping_is_told_by_the_query(void **state)
{
    (void)state;
    expect_all_kinds();
    unsigned before = queries;
    struct hhi_os_mapping mapping;
    hhi_os_find_mapping(0, &mapping);
    assert_int_equal(queries, before + 1);
}

// The closed number is the program's; it may be given to another file at once.
static void
a_kept_descriptor_that_was_closed_or_reused_is_replaced(void **state)
{
    (void)state;
    int local;
    for (int reuse = 0; reuse < 3; reuse++) {
        expect_found((uintptr_t)&local, HHI_ACCESS_READ | HHI_ACCESS_WRITE, false, false);
        for (int descriptor = 3; descriptor < CLOSED_BELOW; descriptor++)
            close(descriptor);
        int other = -1;
        if (reuse > 0) {
            other = open(reuse == 1 ? "/proc/self/maps" : "/dev/null", O_RDONLY);
            for (int descriptor = other + 1; descriptor < CLOSED_BELOW / 2; descriptor++)
                dup2(other, descriptor);
        }
        expect_all_kinds();
        for (int descriptor = 3; descriptor < CLOSED_BELOW && reuse > 0; descriptor++)
            close(descriptor);
    }
}

static int
child_finds_its_own(void)
{
    char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct hhi_os_mapping mapping;
    if (hhi_os_find_mapping((uintptr_t)page, &mapping) != 0)
        return 1;
    return mapping.start <= (uintptr_t)page && mapping.shared ? 0 : 2;
}

static void
the_child_of_a_fork_is_not_shown_the_parent(void **state)
{
    (void)state;
    int local;
    expect_found((uintptr_t)&local, HHI_ACCESS_READ | HHI_ACCESS_WRITE, false, false);
    for (int round = 0; round < 10; round++) {
        pid_t child = fork();
        if (child == 0)
            _exit(child_finds_its_own());
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    expect_all_kinds();
}

// The next file of a program gets the lowest free number, as POSIX promises: what is kept is not there.
static int
child_opens_as_before(void)
{
    int local;
    struct hhi_os_mapping mapping;
    close(STDIN_FILENO);
    if (hhi_os_find_mapping((uintptr_t)&local, &mapping) != 0)
        return 1;
    return open("/dev/null", O_RDONLY) == STDIN_FILENO ? 0 : 2;
}

static void
the_kept_descriptor_takes_no_number_that_a_program_expects(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(child_opens_as_before());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// DECISION 36
static void
without_the_list_foreign_queries_are_not_supported_and_ours_work(void **state)
{
    (void)state;
    hh_memory_basic_information info;
    size_t length = 5;
    void *ours;
    uint32_t old;
    assert_int_equal(hhi_host_virtual_alloc(NULL, NULL, 4096, MEM_COMMIT, PAGE_READWRITE, 0, &ours),
                     S_OK);
    for (int descriptor = 3; descriptor < CLOSED_BELOW; descriptor++)
        close(descriptor);
    open_refused = true;
    assert_int_equal(hhi_host_virtual_query(NULL, &info, &info, sizeof info, &length),
                     HH_W_NOT_SUPPORTED);
    assert_int_equal(length, 0);
    assert_int_equal(hhi_host_virtual_query(NULL, ours, &info, sizeof info, &length), S_OK);
    assert_int_equal(info.State, MEM_COMMIT);
    assert_int_equal(hhi_host_virtual_protect(NULL, ours, 1, PAGE_READONLY, &old), S_OK);
    assert_int_equal(hhi_host_virtual_protect(NULL, &info, 1, PAGE_READWRITE, &old),
                     HH_W_NOT_SUPPORTED);
    assert_int_equal(old, PAGE_NOACCESS);
    open_refused = false;
    assert_int_equal(hhi_host_virtual_query(NULL, &info, &info, sizeof info, &length), S_OK);
    assert_int_equal(hhi_host_virtual_free(NULL, ours, 0, MEM_RELEASE), S_OK);
}

// From here on the query is refused for good, as on kernels before 6.11.
static void
every_kind_of_mapping_is_told_by_the_text(void **state)
{
    (void)state;
    query_refused = true;
    static const size_t pieces[] = {0, 1, 7, 100, 511};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        read_at_most = pieces[i];
        expect_all_kinds();
    }
    read_at_most = 0;
    unsigned before = queries;
    expect_all_kinds();
    assert_int_equal(queries, before);
}

static void
the_walk_by_text_reaches_the_end(void **state)
{
    (void)state;
    uintptr_t at = 0;
    struct hhi_os_mapping mapping;
    size_t mappings = 0;
    while (hhi_os_find_mapping(at, &mapping) == 0) {
        assert_true(mapping.end > at && mapping.start < mapping.end);
        at = mapping.end;
        mappings++;
    }
    assert_true(mappings > 5);
}

static int
install(void **state)
{
    (void)state;
    real = hhi_os;
    hhi_os.control = test_control;
    hhi_os.open = test_open;
    hhi_os.read = test_read;
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_mapping_is_told_by_the_query),
        cmocka_unit_test(a_kept_descriptor_that_was_closed_or_reused_is_replaced),
        cmocka_unit_test(the_child_of_a_fork_is_not_shown_the_parent),
        cmocka_unit_test(the_kept_descriptor_takes_no_number_that_a_program_expects),
        cmocka_unit_test(without_the_list_foreign_queries_are_not_supported_and_ours_work),
        cmocka_unit_test(every_kind_of_mapping_is_told_by_the_text),
        cmocka_unit_test(the_walk_by_text_reaches_the_end),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
