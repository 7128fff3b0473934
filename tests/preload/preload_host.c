// SPDX-License-Identifier: MIT
/*
 * A program under the drop-in becomes a host: liburcu is loaded then and not before, and the records
 * of its regions are used again.
 */
#include "support/plain.h"

#include <time.h>

#include <hostheap/host_memory.h>

PLAIN_FUNCTION(hh_hresult, hh_get_memory_manager, (IHostMemoryManager * *manager), (manager))
PLAIN_FUNCTION(hh_status, hh_get_stats, (hh_stats * stats), (stats))

enum { REGIONS = 20000, ROUNDS = 10, WAIT_MS = 20000 };

static int
liburcu_is_loaded(void)
{
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    check(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, "liburcu-bp") != NULL;
    fclose(maps);
    return found;
}

static void
wait_a_moment(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static size_t
metadata_bytes(void)
{
    hh_stats stats;
    check(plain_hh_get_stats(&stats) == HH_OK);
    return stats.metadata_bytes;
}

static void
regions_come_and_go(IHostMemoryManager *manager)
{
    for (int i = 0; i < REGIONS; i++) {
        void *region = NULL;
        check(manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_NOACCESS,
                                            eTaskCritical, &region) == S_OK);
        check(manager->lpVtbl->VirtualFree(manager, region, 0, MEM_RELEASE) == S_OK);
        if (i % 1000 == 0)
            wait_a_moment();
    }
}

int
main(void)
{
    check(!liburcu_is_loaded());
    IHostMemoryManager *manager;
    check(plain_hh_get_memory_manager(&manager) == S_OK);
    for (int waited = 0; !liburcu_is_loaded(); waited++) {
        check(waited < WAIT_MS);
        wait_a_moment();
    }
    // A region's record is 64 bytes: never used again, these would take 12 MiB.
    regions_come_and_go(manager);
    size_t before = metadata_bytes();
    for (int round = 1; round < ROUNDS; round++)
        regions_come_and_go(manager);
    check(metadata_bytes() - before <= (size_t)6 << 20);
    return 0;
}
