// SPDX-License-Identifier: MIT
/*
 * The reclaimer's thread is given next to nothing: address space that ends somewhere in its stack, in
 * liburcu's code or in liburcu's memory; no key for thread-specific data; keys whose values need memory.
 * liburcu ends a process that it can not register in, so it must not be asked. The process goes on, and
 * when there is enough again what is retired is reclaimed.
 *
 * Each run is a child process of its own. Linked with the library, or with the drop-in, which loads liburcu
 * for the reclaimer: there with the argument "nokeys", too.
 */
#include <hostheap/host_memory.h>
#include <hostheap/hostheap.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "faults/start.h"
#include "support/settle.h"

enum {
    CHILD_SECONDS = 60,
    STACK_BYTES = 1 << 20,
    STEP_BYTES = 8 * 1024,
    STEPS = 24,
    KEYS_BEFORE = 40, // the values of the first 32 need no memory
    ROUNDS = 60,
    RANGES = 600, // more than the retired descriptions that wake the reclaimer
};

static IHostMemoryManager *manager;

static size_t
address_space_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    start_check(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void
limit_address_space(rlim_t bytes)
{
    struct rlimit limit;
    start_check(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = bytes;
    start_check(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void
ranges_churn(void)
{
    for (unsigned i = 0; i < RANGES; i++) {
        void *base = NULL;
        start_check(manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_READWRITE,
                                                  eTaskCritical, &base) == S_OK);
        start_check(manager->lpVtbl->VirtualFree(manager, base, 0, MEM_RELEASE) == S_OK);
    }
}

static size_t
metadata_bytes(void)
{
    hh_stats stats;
    start_check(hh_get_stats(&stats) == HH_OK);
    return stats.metadata_bytes;
}

// Descriptions are used again in the end: rounds come in which the library needs no more memory for them.
static void
reclaims(void)
{
    unsigned calm = 0;
    start_check(hh_get_memory_manager(&manager) == S_OK);
    for (unsigned round = 0; calm < 3 && round < ROUNDS; round++) {
        size_t before = metadata_bytes();
        for (unsigned i = 0; i < 4; i++) {
            ranges_churn();
            usleep(6000);
        }
        calm = metadata_bytes() == before ? calm + 1 : 0;
    }
    start_check(calm == 3);
}

// Address space that ends room_bytes after what there is; the reclaimer's stack is STACK_BYTES of it.
static void
with_room(size_t room_bytes, unsigned keys)
{
    pthread_key_t key;
    for (unsigned i = 0; i < keys; i++)
        start_check(pthread_key_create(&key, NULL) == 0);
    limit_address_space(address_space_bytes() + room_bytes);
    start_check(hh_get_memory_manager(&manager) == S_OK);
    usleep(10000);
    limit_address_space(RLIM_INFINITY);
    reclaims();
}

static void
without_keys(void)
{
    pthread_key_t keys[2048];
    unsigned count = 0;
    while (count < 2048 && pthread_key_create(&keys[count], NULL) == 0)
        count++;
    start_check(hh_get_memory_manager(&manager) == S_OK);
    settle_reclaimer();
    ranges_churn();
    for (unsigned i = 0; i < count; i++)
        start_check(pthread_key_delete(keys[i]) == 0);
    reclaims();
}

static bool
is_right(bool no_keys, size_t room_bytes, unsigned keys)
{
    int status = 0;
    pid_t child = fork();
    start_check(child >= 0);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        if (no_keys)
            without_keys();
        else
            with_room(room_bytes, keys);
        _exit(0);
    }
    start_check(waitpid(child, &status, 0) == child);
    if (status != 0)
        fprintf(stderr, "%zu KiB of address space left, %s: ended with status %#x\n",
                room_bytes / 1024,
                no_keys    ? "no key"
                : keys > 0 ? "40 keys taken"
                           : "keys enough",
                (unsigned)status);
    return status == 0;
}

int
main(int count, char **arguments)
{
    unsigned bad = 0;
    pthread_attr_t attributes;
    start_check(pthread_attr_init(&attributes) == 0);
    start_check(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    start_check(pthread_setattr_default_np(&attributes) == 0);
    hh_heap_destroy(NULL); // the library is up
    if (count > 1 && strcmp(arguments[1], "nokeys") == 0)
        return !is_right(true, 0, 0);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t room_bytes = STACK_BYTES - STEP_BYTES + step * STEP_BYTES;
        bad += !is_right(false, room_bytes, step % 2 == 0 ? 0 : KEYS_BEFORE);
    }
    printf("%u of %u runs wrong\n", bad, (unsigned)STEPS);
    return bad != 0;
}
