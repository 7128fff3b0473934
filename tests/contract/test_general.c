// SPDX-License-Identifier: MIT
// Rules for every method as far as heaps go. Contract section 5. The dead state (GEN-5) needs an
// inner function: tests/unit/test_host_dead.c.

#include "support/host.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// GEN-1: whatever comes in, S_OK is the only answer with the success sign.
static void
no_method_answers_a_positive_value(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    static const size_t sizes[] = {0, 1, 100, 100000, SIZE_MAX, (size_t)PTRDIFF_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (uint32_t level = 0; level < 5; level++) {
            void *block = NULL;
            assert_true(heap->lpVtbl->Alloc(heap, sizes[i], level, &block) <= 0);
            assert_true(test_heap_free(heap, block) <= 0);
            assert_true(test_heap_free(heap, block) <= 0);
            assert_true(heap->lpVtbl->DebugAlloc(heap, sizes[i], level, "f", 1, &block) <= 0);
            assert_true(test_heap_free(heap, block) <= 0);
        }
    }
    test_heap_end(heap);
}

// GEN-4, DECISION 6: a host that neither waits nor locks for its callers never says so.
static bool
is_a_waiting_answer(hh_hresult answer)
{
    return answer == HOST_E_TIMEOUT || answer == HOST_E_NOT_OWNER || answer == HOST_E_ABANDONED;
}

enum { BUSY_THREADS = 6, BUSY_SLOTS = 512 };

static struct busy {
    IHostMalloc *heap;
    _Atomic(void *) slots[BUSY_SLOTS];
    atomic_bool stop;
    atomic_uint faults;
} busy;

// Swaps blocks with the other threads through the slots; every block carries its size twice.
static void
busy_step(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    size_t size_bytes = 16 + (*random >> 33) % 700;
    size_t *block = NULL;
    hh_hresult answer =
        busy.heap->lpVtbl->Alloc(busy.heap, size_bytes, eTaskCritical, (void **)&block);
    if (answer != S_OK || is_a_waiting_answer(answer)) {
        atomic_fetch_add(&busy.faults, 1);
        return;
    }
    block[0] = block[1] = size_bytes;
    size_t *old = atomic_exchange(&busy.slots[(*random >> 20) % BUSY_SLOTS], block);
    if (old == NULL)
        return;
    if (old[0] != old[1] || test_heap_free(busy.heap, old) != S_OK)
        atomic_fetch_add(&busy.faults, 1);
}

static void *
busy_run(void *argument)
{
    uint64_t random = (uintptr_t)argument * 977 + 1;
    while (!atomic_load_explicit(&busy.stop, memory_order_relaxed))
        busy_step(&random);
    return NULL;
}

static void *
busy_run_some(void *argument)
{
    uint64_t random = (uintptr_t)argument * 977 + 1;
    for (int i = 0; i < 30000; i++)
        busy_step(&random);
    return NULL;
}

static void
busy_start(pthread_t *threads, void *(*run)(void *))
{
    memset(&busy, 0, sizeof busy);
    busy.heap = test_heap(MALLOC_THREADSAFE);
    for (uintptr_t t = 0; t < BUSY_THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, run, (void *)t), 0);
}

static void
busy_end(pthread_t *threads, uint64_t bad_frees)
{
    for (int t = 0; t < BUSY_THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    for (int i = 0; i < BUSY_SLOTS; i++)
        assert_int_equal(test_heap_free(busy.heap, busy.slots[i]), S_OK);
    assert_int_equal(atomic_load(&busy.faults), 0);
    hh_heap_stats stats;
    assert_int_equal(hh_heap_get_stats(hh_heap_of(busy.heap), &stats), HH_OK);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.bad_frees, bad_frees);
    test_heap_end(busy.heap);
}

// GEN-6: any threads at once, and blocks freed by others than their allocators.
static void
threads_share_a_heap_and_each_other_s_blocks(void **state)
{
    (void)state;
    pthread_t threads[BUSY_THREADS];
    busy_start(threads, busy_run_some);
    busy_end(threads, 0);
}

/* ---- GEN-9: errno ----------------------------------------------------------------------------- */

static void
errno_is_kept_by_every_method(void **state)
{
    (void)state;
    IHostMemoryManager *manager = test_manager();
    IHostControl *control;
    assert_int_equal(hh_get_host_control(&control), S_OK);
    enum { MARK = 12345 };
#define KEEPS_ERRNO(call)                                                                          \
    do {                                                                                           \
        errno = MARK;                                                                              \
        (void)(call);                                                                              \
        if (errno != MARK)                                                                         \
            fail_msg("errno is %d after %s", errno, #call);                                        \
    } while (0)
    for (int round = 0; round < 3; round++) {
        IHostMalloc *heap;
        void *out, *blocks[3];
        uint32_t load;
        size_t size_bytes;
        hh_memory_basic_information information;
        const char *file;
        int line;
        KEEPS_ERRNO(manager->lpVtbl->CreateMalloc(manager, 3, &heap));
        KEEPS_ERRNO(manager->lpVtbl->CreateMalloc(manager, 9, (IHostMalloc **)&out));
        KEEPS_ERRNO(heap->lpVtbl->QueryInterface(heap, &IID_IHostControl, &out));
        for (size_t i = 0; i < 3; i++)
            KEEPS_ERRNO(heap->lpVtbl->Alloc(heap, (size_t)100 << 8 * i, 0, &blocks[i]));
        KEEPS_ERRNO(heap->lpVtbl->Alloc(heap, SIZE_MAX, 2, &out));
        KEEPS_ERRNO(heap->lpVtbl->Alloc(heap, (size_t)1 << 46, 2, &out));
        KEEPS_ERRNO(heap->lpVtbl->DebugAlloc(heap, 50, 0, "f", 2, &out));
        KEEPS_ERRNO(hh_debug_lookup(out, &file, &line, &size_bytes));
        KEEPS_ERRNO(heap->lpVtbl->Free(heap, out));
        KEEPS_ERRNO(heap->lpVtbl->Free(heap, out));
        for (size_t i = 0; i < 3; i++)
            KEEPS_ERRNO(heap->lpVtbl->Free(heap, blocks[i]));
        KEEPS_ERRNO(heap->lpVtbl->Free(heap, (void *)UINTPTR_MAX));
        KEEPS_ERRNO(hh_trim());
        KEEPS_ERRNO(heap->lpVtbl->Release(heap));
        KEEPS_ERRNO(manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_READWRITE,
                                                  0, &out));
        KEEPS_ERRNO(
            manager->lpVtbl->VirtualAlloc(manager, out, 4096, MEM_COMMIT, PAGE_READWRITE, 0, &out));
        KEEPS_ERRNO(manager->lpVtbl->VirtualProtect(manager, out, 4096, PAGE_READONLY, &load));
        KEEPS_ERRNO(manager->lpVtbl->VirtualQuery(manager, out, &information, sizeof information,
                                                  &size_bytes));
        KEEPS_ERRNO(manager->lpVtbl->VirtualQuery(manager, &information, &information,
                                                  sizeof information, &size_bytes));
        KEEPS_ERRNO(manager->lpVtbl->VirtualFree(manager, out, 0, MEM_RELEASE));
        KEEPS_ERRNO(manager->lpVtbl->VirtualFree(manager, (void *)8, 0, MEM_RELEASE));
        KEEPS_ERRNO(manager->lpVtbl->GetMemoryLoad(manager, &load, &size_bytes));
        KEEPS_ERRNO(manager->lpVtbl->NeedsVirtualAddressSpace(manager, NULL, 4096));
        KEEPS_ERRNO(manager->lpVtbl->AcquiredVirtualAddressSpace(manager, (void *)4096, 4096));
        KEEPS_ERRNO(manager->lpVtbl->ReleasedVirtualAddressSpace(manager, (void *)4096));
        KEEPS_ERRNO(control->lpVtbl->GetHostManager(control, &IID_IHostMemoryManager, &out));
        manager->lpVtbl->Release(manager);
    }
    control->lpVtbl->Release(control);
}

/* ---- GEN-8: suspended threads ----------------------------------------------------------------- */

enum { STOP_SIGNAL = SIGUSR1, STOP_ROUNDS = 100 };

static struct {
    sem_t stopped;
    atomic_uint round; // a stopped thread goes on when this has changed
} stop;

static void
moment_slept(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void
stop_here(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    unsigned round = atomic_load(&stop.round);
    sem_post(&stop.stopped);
    while (atomic_load(&stop.round) == round)
        moment_slept();
    errno = saved_errno;
}

static void
semaphore_wait(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        assert_int_equal(errno, EINTR);
}

// DECISION 8: Alloc and Free's fast paths and GetMemoryLoad finish while all other threads stand
// at any instruction, inside the heap too. An alarm ends the process if they do not.
static void
alloc_and_free_finish_while_the_other_threads_are_stopped(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    // It runs a handler only when a thread is back from the kernel, and one that waits there for a
    // lock of a stopped thread never is.
    skip();
#endif
    struct sigaction action = {.sa_handler = stop_here, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(STOP_SIGNAL, &action, NULL), 0);
    sem_init(&stop.stopped, 0, 0);
    pthread_t threads[BUSY_THREADS];
    busy_start(threads, busy_run);
    // What the fast path needs: a slab of this thread with free blocks.
    void *warm[64];
    for (int i = 0; i < 64; i++)
        warm[i] = test_heap_alloc(busy.heap, 64);
    for (int i = 0; i < 64; i += 2)
        assert_int_equal(test_heap_free(busy.heap, warm[i]), S_OK);
    IHostMemoryManager *manager = test_manager();
    for (int round = 0; round < STOP_ROUNDS; round++) {
        for (int t = 0; t < BUSY_THREADS; t++)
            pthread_kill(threads[t], STOP_SIGNAL);
        for (int t = 0; t < BUSY_THREADS; t++)
            semaphore_wait(&stop.stopped);
        alarm(30);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(test_heap_free(busy.heap, test_heap_alloc(busy.heap, 64)), S_OK);
        assert_int_equal(test_heap_free(busy.heap, warm), HOST_E_INVALIDOPERATION);
        uint32_t load;
        size_t available_bytes;
        (void)manager->lpVtbl->GetMemoryLoad(manager, &load, &available_bytes);
        alarm(0);
        atomic_fetch_add(&stop.round, 1);
        moment_slept();
    }
    atomic_store(&busy.stop, true);
    for (int i = 1; i < 64; i += 2)
        assert_int_equal(test_heap_free(busy.heap, warm[i]), S_OK);
    busy_end(threads, STOP_ROUNDS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_method_answers_a_positive_value),
        cmocka_unit_test(threads_share_a_heap_and_each_other_s_blocks),
        cmocka_unit_test(errno_is_kept_by_every_method),
        cmocka_unit_test(alloc_and_free_finish_while_the_other_threads_are_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
