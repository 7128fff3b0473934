// SPDX-License-Identifier: MIT
/*
 * A process with little address space takes all there is, in blocks of several sizes: each function
 * of the family then fails with ENOMEM, nothing is lost, and after the frees all works again. Starts
 * itself under RLIMIT_AS of 32 MiB to 1 GiB.
 */
#include <malloc.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support/plain.h"

// Takes blocks until there are no more, chained through their first words; counts them.
static void *
take_all(size_t size_bytes, size_t *count)
{
    void **newest = NULL;
    void **block;
    *count = 0;
    errno = 0;
    while ((block = malloc(size_bytes)) != NULL) {
        *block = newest;
        newest = block;
        ++*count;
    }
    check(errno == ENOMEM);
    return newest;
}

static size_t
give_all(void *newest)
{
    size_t count = 0;
    while (newest != NULL) {
        void *next = *(void **)newest;
        free(newest);
        newest = next;
        count++;
    }
    return count;
}

static void
check_every_function_fails(size_t size_bytes)
{
    void *result = &result;
    errno = 0;
    check(calloc(1, size_bytes) == NULL && errno == ENOMEM);
    errno = 0;
    check(aligned_alloc(64, size_bytes) == NULL && errno == ENOMEM);
    errno = 0;
    check(valloc(size_bytes) == NULL && errno == ENOMEM);
    check(posix_memalign(&result, 64, size_bytes) == ENOMEM && result == &result);
}

static int
exhaust_main(void)
{
    static const size_t sizes[] = {48, 3000, 40000, 1 << 20, 5 << 20};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t count;
            char *keeper = malloc(1000);
            check(keeper != NULL);
            memset(keeper, 7, 1000);
            void *newest = take_all(sizes[i], &count);
            check(count > 0);
            check_every_function_fails(64 << 20);
            errno = 0;
            check(realloc(keeper, 1 << 30) == NULL && errno == ENOMEM);
            for (int byte = 0; byte < 1000; byte++)
                check(keeper[byte] == 7);
            check(give_all(newest) == count);
            free(keeper);
        }
        void *again = malloc(2 << 20);
        check(again != NULL);
        free(again);
    }
    return 0;
}

static void
run_limited(size_t limit_bytes)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        struct rlimit limit = {limit_bytes, limit_bytes};
        check(setrlimit(RLIMIT_AS, &limit) == 0);
        execl("/proc/self/exe", "preload_exhaust", "exhaust", (char *)NULL);
        _exit(100);
    }
    int status;
    check(waitpid(child, &status, 0) == child);
    if (status != 0)
        fprintf(stderr, "with %zu bytes of address space: status 0x%x\n", limit_bytes,
                (unsigned)status);
    check(status == 0);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "exhaust") == 0)
        return exhaust_main();
    for (size_t limit_bytes = (size_t)32 << 20; limit_bytes <= (size_t)1 << 30; limit_bytes *= 2)
        run_limited(limit_bytes);
    return 0;
}
