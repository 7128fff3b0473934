// SPDX-License-Identifier: MIT
/*
 * storms/storms_limits.c - limits of the kernel reached, and left again: mappings, a cgroup.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "storms/storms.h"

enum {
    TAKEN_MOST = 4096,
    GROUP_BYTES = 64 << 20,
    LARGE_BYTES = 8 << 20,
    DATA_BYTES = 96 << 20,
    CHILD_SECONDS = 60
};

static void *taken[TAKEN_MOST];

// Takes blocks of all sizes until one is refused, or the table is full. The number of refusals.
static unsigned
take_all(size_t *bytes)
{
    unsigned refused = 0;
    *bytes = 0;
    for (unsigned at = 0; at < TAKEN_MOST && refused < 20; at++) {
        size_t size_bytes = at % 3 == 0 ? 3 << 20 : 1 + at * 77 % 200000;
        errno = 0;
        taken[at] = malloc(size_bytes);
        if (taken[at] == NULL) {
            check(errno == ENOMEM);
            refused++;
        } else {
            unsigned char *block = taken[at]; // memory is not what is short
            block[0] = block[size_bytes - 1] = (unsigned char)at;
            *bytes += size_bytes;
        }
    }
    return refused;
}

static void
give_all(void)
{
    for (unsigned at = 0; at < TAKEN_MOST; at++) {
        check(taken[at] == NULL || *(unsigned char *)taken[at] == (unsigned char)at);
        free(taken[at]);
        taken[at] = NULL;
    }
}

// After the limit: everything is served again.
static void
serve_again(void)
{
    struct churn churn = {.seed = 5};
    for (int step = 0; step < 5000; step++)
        churn_step(&churn);
    churn_end(&churn);
    void *large = malloc(LARGE_BYTES);
    check(large != NULL);
    memset(large, 1, LARGE_BYTES);
    free(large);
}

// ---- Mappings -----------------------------------------------------------------------------------

static size_t
mappings_most(void)
{
    char text[32] = {0};
    int file = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    check(read(file, text, sizeof text - 1) > 0);
    close(file);
    return strtoul(text, NULL, 10);
}

// Splits a mapping page by page until the kernel allows no more, and leaves it a few mappings, each
// split being two: so that a reserve, a commit or what comes after them is refused.
static size_t
mappings_use_up(char *base, size_t pages, unsigned left)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), split = 0;
    for (size_t page = 1; page < pages; page += 2, split++) {
        if (mprotect(base + page * page_bytes, page_bytes, PROT_READ) == 0)
            continue;
        for (; left > 0 && split > 0; left--, split--)
            check(mprotect(base + (page - 2 * left) * page_bytes, page_bytes, PROT_NONE) == 0);
        return split;
    }
    return 0;
}

static int
mappings(const char *argument)
{
    (void)argument;
    size_t most = mappings_most(), page_bytes = (size_t)sysconf(_SC_PAGESIZE), bytes;
    if (most == 0 || most > 1000000)
        return EXIT_SKIPPED;
    size_t pages = 2 * most;
    for (unsigned round = 0; round < storm_count(4, 50); round++) {
        char *base = mmap(NULL, pages * page_bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        check(base != MAP_FAILED);
        size_t split = mappings_use_up(base, pages, round % 4);
        check(split > 0);
        unsigned refused = take_all(&bytes);
        give_all();
        if (round < 4)
            printf("%zu mappings split; %u requests refused, %zu KiB served\n", split, refused,
                   bytes / 1024);
        check(munmap(base, pages * page_bytes) == 0);
        serve_again();
    }
    return 0;
}

// ---- RLIMIT_DATA --------------------------------------------------------------------------------

// What is writable counts, used or not: what the program has freed must not stand in its way.
static int
data(const char *argument)
{
    (void)argument;
    struct rlimit limit;
    size_t bytes;
    check(getrlimit(RLIMIT_DATA, &limit) == 0);
    limit.rlim_cur = DATA_BYTES;
    check(setrlimit(RLIMIT_DATA, &limit) == 0);
    for (unsigned round = 0; round < storm_count(5, 200); round++) {
        unsigned refused = take_all(&bytes);
        check(refused > 0 && bytes > DATA_BYTES / 3);
        give_all();
        serve_again();
        void *most = malloc(DATA_BYTES / 2);
        check(most != NULL);
        free(most);
    }
    return 0;
}

// ---- A cgroup -----------------------------------------------------------------------------------

static bool
file_write(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0)
        close(file);
    return done;
}

// Four times the limit goes through the heap, a third of it at a time.
static void
group_child(const char *folder)
{
    static void *blocks[TAKEN_MOST];
    char number[32];
    snprintf(number, sizeof number, "%d", (int)getpid());
    if (!file_write(folder, "cgroup.procs", number))
        _exit(EXIT_SKIPPED);
    for (unsigned round = 0; round < storm_count(12, 400); round++) {
        size_t size_bytes = (size_t)512 << round % 12;
        unsigned count = (unsigned)(GROUP_BYTES / 3 / size_bytes);
        count = count < TAKEN_MOST ? count : TAKEN_MOST;
        for (unsigned at = 0; at < count; at++) {
            blocks[at] = malloc(size_bytes);
            check(blocks[at] != NULL);
            memset(blocks[at], 1, size_bytes);
        }
        for (unsigned at = 0; at < count; at++)
            free(blocks[at]);
    }
    _exit(0);
}

static int
group(const char *argument)
{
    (void)argument;
    static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    static const char *const limits[] = {"memory.limit_in_bytes", "memory.max"};
    for (unsigned version = 0; version < 2; version++) {
        char folder[128];
        snprintf(folder, sizeof folder, "%s/hostheap-storm-%d", roots[version], (int)getpid());
        if (mkdir(folder, 0755) != 0)
            continue;
        bool limited = file_write(folder, limits[version], "67108864");
        pid_t child = limited ? storm_fork(CHILD_SECONDS) : -1;
        if (child == 0)
            group_child(folder);
        if (child > 0)
            storm_wait(child);
        check(rmdir(folder) == 0);
        if (limited)
            return 0;
    }
    printf("no cgroup of our own can be made here\n");
    return EXIT_SKIPPED;
}

const struct storm limit_storms[] = {
    {"mappings", mappings, 100, 900},
    {"data", data, 60, 600},
    {"cgroup", group, 100, 900},
    {NULL, NULL, 0, 0},
};
