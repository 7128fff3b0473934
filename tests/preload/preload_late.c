// SPDX-License-Identifier: MIT
/*
 * The library's first starts are refused, since no address space is left when its constructor runs: all
 * requests are refused then, and served when there is some. What the program has set meanwhile stays. To be
 * run with an option hard_limit of 1 GiB.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "support/plain.h"

PLAIN_FUNCTION(hh_status, hh_set_memory_limits, (size_t soft_bytes, size_t hard_bytes),
               (soft_bytes, hard_bytes))
PLAIN_FUNCTION(hh_status, hh_get_stats, (hh_stats * stats), (stats))

enum { HARD_BYTES = 256 << 20 };

// As much as is in use, or no limit.
static void
limit_address_space(bool limited)
{
    char text[32] = "";
    struct rlimit limit;
    int file = open("/proc/self/statm", O_RDONLY);
    check(file >= 0 && read(file, text, sizeof text - 1) > 0 && close(file) == 0);
    check(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = limited ? (rlim_t)strtoul(text, NULL, 10) * 4096 : limit.rlim_max;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void
before_all_constructors(void)
{
    limit_address_space(true);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(void) = before_all_constructors;

int
main(void)
{
    static char *blocks[100];
    hh_stats stats;
    errno = 0;
    check(malloc(100) == NULL && errno == ENOMEM);
    check(calloc(1, 1000000) == NULL && errno == ENOMEM);
    free(NULL);
    check(plain_hh_set_memory_limits(0, HARD_BYTES) == HH_OK);
    check(malloc(100) == NULL);
    limit_address_space(false);
    for (size_t at = 0; at < sizeof blocks / sizeof blocks[0]; at++) {
        blocks[at] = malloc(at * 5000);
        check(blocks[at] != NULL);
        memset(blocks[at], (int)at, at * 5000);
    }
    check(plain_hh_get_stats(&stats) == HH_OK && stats.all.hard_limit_bytes == HARD_BYTES);
    check(malloc(2 * (size_t)HARD_BYTES) == NULL);
    for (size_t at = 0; at < sizeof blocks / sizeof blocks[0]; at++)
        free(blocks[at]);
    return 0;
}
