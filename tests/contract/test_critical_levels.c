// SPDX-License-Identifier: MIT
// Who gets the last memory: SEC-10 (DECISION 45), 16.6, GEN-10. The policy step by
// step: tests/unit/test_limit.c.

#include "support/host.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

enum { LEVELS = 3, ODD_LEVEL = 3 };

static hh_hresult
commit(size_t size, uint32_t level, void **memory)
{
    IHostMemoryManager *manager = test_manager();
    *memory = memory;
    hh_hresult answer = manager->lpVtbl->VirtualAlloc(manager, NULL, size, MEM_RESERVE | MEM_COMMIT,
                                                      PAGE_READWRITE, level, memory);
    // GEN-2: nothing on failure.
    assert_true(answer == S_OK ? *memory != NULL : *memory == NULL);
    return answer;
}

static void
release(void *memory)
{
    IHostMemoryManager *manager = test_manager();
    assert_int_equal(manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE), S_OK);
}

// What the limits count now: what they do not leave.
static size_t
committed_bytes(void)
{
    IHostMemoryManager *manager = test_manager();
    uint32_t load;
    size_t available;
    assert_int_equal(hh_set_memory_limits(0, 512 * MIB), HH_OK);
    assert_int_equal(manager->lpVtbl->GetMemoryLoad(manager, &load, &available), S_OK);
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
    return 512 * MIB - available;
}

// Limits that leave so much; 0 = no such limit. Retained memory is given back before.
static void
leave(size_t soft_bytes, size_t hard_bytes)
{
    (void)hh_trim();
    size_t used = committed_bytes();
    assert_int_equal(hh_set_memory_limits(soft_bytes != 0 ? used + soft_bytes : 0,
                                          hard_bytes != 0 ? used + hard_bytes : 0),
                     HH_OK);
}

static int
no_limits(void **state)
{
    (void)state;
    return hh_set_memory_limits(0, 0) == HH_OK ? 0 : -1;
}

// SEC-10: no limit is set by default, and then the level changes nothing.
static void
without_limits_every_level_is_served(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    for (uint32_t level = 0; level <= ODD_LEVEL; level++) {
        void *memory, *block = NULL;
        assert_int_equal(commit(64 * MIB, level, &memory), S_OK);
        assert_int_equal(heap->lpVtbl->Alloc(heap, 64 * MIB, level, &block), S_OK);
        assert_int_equal(test_heap_free(heap, block), S_OK);
        release(memory);
    }
    test_heap_end(heap);
}

// VA-7, SEC-10, DECISION 45, column "soft limit reached".
static void
over_the_soft_limit_only_task_level_is_refused(void **state)
{
    (void)state;
    void *memory;
    leave(2 * MIB, 0);
    assert_int_equal(commit(2 * MIB + 64 * KIB, eTaskCritical, &memory), E_OUTOFMEMORY);
    assert_int_equal(commit(2 * MIB + 64 * KIB, eAppDomainCritical, &memory), S_OK);
    void *more;
    assert_int_equal(commit(64 * KIB, eProcessCritical, &more), S_OK);
    assert_int_equal(commit(64 * KIB, eTaskCritical, &(void *){NULL}), E_OUTOFMEMORY);
    release(more);
    release(memory);
    assert_int_equal(commit(2 * MIB, eTaskCritical, &memory), S_OK);
    release(memory);
}

// VA-7, SEC-10, DECISION 45, column "hard limit": only process level passes it, by the reserve of 1 MiB.
static void
over_the_hard_limit_only_process_level_is_served_from_the_reserve(void **state)
{
    (void)state;
    void *full, *memory, *rest;
    leave(0, 2 * MIB);
    assert_int_equal(commit(2 * MIB, eTaskCritical, &full), S_OK);
    assert_int_equal(commit(64 * KIB, eTaskCritical, &memory), E_OUTOFMEMORY);
    assert_int_equal(commit(64 * KIB, eAppDomainCritical, &memory), E_OUTOFMEMORY);
    assert_int_equal(commit(64 * KIB, eProcessCritical, &memory), S_OK);
    assert_int_equal(commit(MIB - 64 * KIB, eProcessCritical, &rest), S_OK);
    assert_int_equal(commit(64 * KIB, eProcessCritical, &(void *){NULL}), E_OUTOFMEMORY);
    // Refilled later: as soon as memory was given back.
    release(rest);
    assert_int_equal(commit(MIB - 64 * KIB, eProcessCritical, &rest), S_OK);
    release(rest);
    release(memory);
    release(full);
}

// The same rows for Alloc and DebugAlloc, which ask for slabs and large blocks.
static void
alloc_follows_the_same_rows(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    leave(4 * MIB, 8 * MIB);
    static const struct {
        size_t size;
        hh_hresult answers[LEVELS];
    } rows[] = {
        {3 * MIB, {S_OK, S_OK, S_OK}},
        {6 * MIB, {E_OUTOFMEMORY, S_OK, S_OK}},
        {8 * MIB + 512 * KIB, {E_OUTOFMEMORY, E_OUTOFMEMORY, S_OK}},
        {10 * MIB, {E_OUTOFMEMORY, E_OUTOFMEMORY, E_OUTOFMEMORY}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (uint32_t level = 0; level < LEVELS; level++) {
            for (unsigned debug = 0; debug < 2; debug++) {
                void *block = &block;
                hh_hresult answer =
                    debug ? heap->lpVtbl->DebugAlloc(heap, rows[i].size, level, "f.c", 3, &block)
                          : heap->lpVtbl->Alloc(heap, rows[i].size, level, &block);
                assert_int_equal(answer, rows[i].answers[level]);
                assert_true((answer == S_OK) == (block != NULL));
                assert_int_equal(test_heap_free(heap, block), S_OK);
            }
        }
    }
    test_heap_end(heap);
}

// SEC-10: small blocks meet the limit too, and blocks that exist stay.
static void
small_blocks_meet_the_limit(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    leave(0, 2 * MIB);
    void *last = NULL;
    size_t count = 0;
    for (void *block; heap->lpVtbl->Alloc(heap, 1000, eTaskCritical, &block) == S_OK; count++) {
        memset(block, 0x3C, 1000);
        *(void **)block = last;
        last = block;
        assert_true(count < 4000);
    }
    assert_true(count > 1000); // most of the 2 MiB
    assert_int_equal(hh_set_memory_limits(0, 0), HH_OK);
    while (last != NULL) {
        void *next = *(void **)last;
        assert_int_equal(((unsigned char *)last)[999], 0x3C);
        assert_int_equal(test_heap_free(heap, last), S_OK);
        last = next;
        count--;
    }
    assert_int_equal(count, 0);
    test_heap_end(heap);
}

// GEN-10, DECISION 10: unknown levels are task level.
static void
odd_levels_are_task_level(void **state)
{
    (void)state;
    static const uint32_t odd[] = {3, 4, 0x80000000, UINT32_MAX};
    void *memory;
    leave(2 * MIB, 0);
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        assert_int_equal(commit(3 * MIB, odd[i], &memory), E_OUTOFMEMORY);
        assert_int_equal(commit(MIB, odd[i], &memory), S_OK);
        release(memory);
    }
}

// 16.6: committed pages are counted, reserved ones are not; decommit makes room.
static void
committed_pages_count_and_reserved_ones_do_not(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    void *memory = NULL, *again = NULL;
    leave(0, 2 * MIB);
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, 64 * MIB, MEM_RESERVE,
                                                   PAGE_READWRITE, eTaskCritical, &memory),
                     S_OK);
    for (unsigned i = 0; i < 3; i++) {
        // Committing twice counts once.
        for (unsigned twice = 0; twice < 2; twice++)
            assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, memory, 2 * MIB, MEM_COMMIT,
                                                           PAGE_READWRITE, eTaskCritical, &again),
                             S_OK);
        void *behind = (char *)memory + 2 * MIB;
        assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, behind, 4096, MEM_COMMIT,
                                                       PAGE_READWRITE, eTaskCritical, &again),
                         E_OUTOFMEMORY);
        assert_int_equal(manager->lpVtbl->VirtualFree(manager, memory, 2 * MIB, MEM_DECOMMIT),
                         S_OK);
    }
    release(memory);
}

// 16.6: retained free memory counts, and is purged before a request is refused.
static void
retained_memory_is_purged_before_a_request_is_refused(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    // The last two are no level, but what the library itself uses for requests that are not to purge.
    static const uint32_t levels[] = {eTaskCritical, eAppDomainCritical, eProcessCritical,
                                      UINT32_MAX,    0x5A5A00,           0x5A5B00};
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        uint32_t level = levels[i];
        void *memory;
        leave(0, 32 * MIB);
        void *block = test_heap_alloc(heap, 30 * MIB);
        memset(block, 1, 30 * MIB);
        assert_int_equal(test_heap_free(heap, block), S_OK);
        assert_int_equal(commit(31 * MIB, level, &memory), S_OK);
        release(memory);
    }
    test_heap_end(heap);
}

// SEC-10: a failed process-critical request does not set the dead state of GEN-5.
static void
a_failed_process_critical_request_is_not_the_end(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    void *memory, *block = &block;
    leave(0, 2 * MIB);
    assert_int_equal(commit(64 * MIB, eProcessCritical, &memory), E_OUTOFMEMORY);
    assert_int_equal(heap->lpVtbl->Alloc(heap, 64 * MIB, eProcessCritical, &block), E_OUTOFMEMORY);
    assert_int_equal(commit(MIB, eTaskCritical, &memory), S_OK);
    release(memory);
    assert_int_equal(test_heap_free(heap, test_heap_alloc(heap, 100)), S_OK);
    test_heap_end(heap);
}

static void *to_release; // written before ready is posted

static void *
release_body(void *ready)
{
    sem_wait(ready);
    usleep(5000);
    release(to_release);
    return NULL;
}

// SEC-10, DECISION 45: process level may wait up to 50 ms for others to give memory back. Whether it does so
// in time is up to the scheduler: either answer is right, and nothing is lost.
static void
process_level_survives_a_race_with_a_release(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        void *memory;
        pthread_t thread;
        sem_t ready;
        assert_int_equal(sem_init(&ready, 0, 0), 0);
        // Before the limit is reached: a thread takes memory, too.
        assert_int_equal(pthread_create(&thread, NULL, release_body, &ready), 0);
        leave(0, 4 * MIB);
        size_t before = committed_bytes();
        leave(0, 4 * MIB);
        assert_int_equal(commit(4 * MIB, eTaskCritical, &to_release), S_OK);
        assert_int_equal(sem_post(&ready), 0);
        hh_hresult answer = commit(3 * MIB, eProcessCritical, &memory);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(sem_destroy(&ready), 0);
        assert_true(answer == S_OK || answer == E_OUTOFMEMORY);
        if (answer == S_OK)
            release(memory);
        assert_int_equal(committed_bytes(), before);
    }
}

// hh_set_memory_limits: soft above hard is refused and changes nothing.
static void
limits_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    void *memory;
    leave(0, 2 * MIB);
    assert_int_equal(hh_set_memory_limits(2, 1), HH_E_INVALID_ARGUMENT);
    assert_int_equal(commit(2 * MIB, eTaskCritical, &memory), S_OK);
    release(memory);
    assert_int_equal(commit(4 * MIB, eTaskCritical, &memory), E_OUTOFMEMORY);
}

// [8.2 row 8] comes before [8.2 row 9]: where something stands, no limit is the reason.
static void
a_reserve_over_something_is_an_invalid_address_above_the_limits_too(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    void *taken, *memory;
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, NULL, 8 * MIB, MEM_RESERVE,
                                                   PAGE_READWRITE, eTaskCritical, &taken),
                     S_OK);
    leave(MIB, 2 * MIB);
    for (uint32_t level = 0; level <= ODD_LEVEL; level++) {
        memory = &memory;
        assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, taken, 4 * MIB,
                                                       MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                       level, &memory),
                         HH_W_INVALID_ADDRESS);
        assert_null(memory);
    }
    release(taken);
    // Free now: then the limit is the reason.
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, taken, 4 * MIB,
                                                   MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                   eTaskCritical, &memory),
                     E_OUTOFMEMORY);
    assert_int_equal(manager->lpVtbl->VirtualAlloc(manager, taken, 4 * MIB, MEM_RESERVE,
                                                   PAGE_READWRITE, eTaskCritical, &memory),
                     S_OK);
    release(memory);
}

// ---- The kernel's limit ----

static size_t
address_space_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (size_t)pages * 4096;
}

static int
child_without_address_space(void *argument)
{
    (void)argument;
    IHostMemoryManager *manager = test_manager();
    IHostMalloc *heap = NULL;
    void *memory = NULL;
    // The reserve is there from the first CreateMalloc on.
    if (manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap) != S_OK)
        return 1;
    if (commit(64 * KIB, eTaskCritical, &memory) != S_OK) // what the first one needs besides
        return 2;
    size_t size = address_space_bytes();
    struct rlimit limit = {size, size};
    if (size == 0 || setrlimit(RLIMIT_AS, &limit) != 0)
        return 3;
    if (commit(512 * KIB, eTaskCritical, &memory) != E_OUTOFMEMORY)
        return 4;
    if (commit(512 * KIB, eAppDomainCritical, &memory) != E_OUTOFMEMORY)
        return 5;
    if (commit(512 * KIB, eProcessCritical, &memory) != S_OK)
        return 6;
    memset(memory, 1, 512 * KIB);
    // It was given up once; half of it is left over, but not this much.
    void *more;
    if (commit(2 * MIB, eProcessCritical, &more) != E_OUTOFMEMORY)
        return 7;
    return 0;
}

/*
 * SEC-10, DECISION 45: against the kernel the reserve is a mapping that is given up. First in this file, so
 * that nothing but CreateMalloc has asked for it. The manager is asked for before the fork: with it
 * comes the reclaimer's thread, which maps and unmaps what the child would take for its own, and which liburcu
 * ends the process for if it registers under the limit. The child has no such thread.
 */
static void
the_reserve_serves_process_level_when_the_kernel_refuses(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // their shadow memory does not live with RLIMIT_AS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    skip();
#endif
#endif
    (void)test_manager();
    assert_int_equal(test_in_child(child_without_address_space, NULL), 0);
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_teardown(function, no_limits)
    const struct CMUnitTest tests[] = {
        TEST(the_reserve_serves_process_level_when_the_kernel_refuses),
        TEST(without_limits_every_level_is_served),
        TEST(over_the_soft_limit_only_task_level_is_refused),
        TEST(over_the_hard_limit_only_process_level_is_served_from_the_reserve),
        TEST(alloc_follows_the_same_rows),
        TEST(small_blocks_meet_the_limit),
        TEST(odd_levels_are_task_level),
        TEST(committed_pages_count_and_reserved_ones_do_not),
        TEST(retained_memory_is_purged_before_a_request_is_refused),
        TEST(a_failed_process_critical_request_is_not_the_end),
        TEST(process_level_survives_a_race_with_a_release),
        TEST(limits_that_contradict_each_other_are_refused),
        TEST(a_reserve_over_something_is_an_invalid_address_above_the_limits_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
