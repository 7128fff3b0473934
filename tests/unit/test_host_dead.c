// SPDX-License-Identifier: MIT
/*
 * The dead state: after E_FAIL every method but QueryInterface, AddRef and Release answers
 * HOST_E_CLRNOTAVAILABLE, with out-parameters as on failure (GEN-5, DECISION 7). It is for ever,
 * so every test but the last runs in a child process. In unit/ because only hhi_host_die brings it about.
 */

#include "host/host_dead.h"
#include "host/host_malloc.h"
#include "support/host.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// In a child there is no cmocka: say what is wrong and leave.
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void *const junk = (void *)0x5A5A5A5A;

static IHostMalloc *heap;
static IHostControl *control;
static void *block;

static void
everything_made(void)
{
    heap = test_heap(MALLOC_THREADSAFE);
    block = test_heap_alloc(heap, 100);
    assert_int_equal(hh_get_host_control(&control), S_OK);
}

static int
heap_is_dead(void *argument)
{
    (void)argument;
    void *out = junk;
    EXPECT(heap->lpVtbl->Alloc(heap, 16, eTaskCritical, &out) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL); // GEN-2
    out = junk;
    EXPECT(heap->lpVtbl->Alloc(heap, SIZE_MAX, eProcessCritical, &out) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL);
    EXPECT(heap->lpVtbl->Alloc(heap, 16, eTaskCritical, NULL) == HOST_E_CLRNOTAVAILABLE);
    out = junk;
    EXPECT(heap->lpVtbl->DebugAlloc(heap, 16, eTaskCritical, "f", 1, &out) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL);
    EXPECT(heap->lpVtbl->DebugAlloc(heap, 16, 0, "f", 1, NULL) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(heap->lpVtbl->Free(heap, block) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(heap->lpVtbl->Free(heap, NULL) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(heap->lpVtbl->Free(heap, junk) == HOST_E_CLRNOTAVAILABLE);
    return 0;
}

static int
manager_is_dead(void *argument)
{
    (void)argument;
    IHostMemoryManager *manager = test_manager();
    const IHostMemoryManagerVtbl *table = manager->lpVtbl;
    void *out = junk;
    EXPECT(table->CreateMalloc(manager, 1, (IHostMalloc **)&out) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL);
    EXPECT(table->CreateMalloc(manager, 1, NULL) == HOST_E_CLRNOTAVAILABLE);
    out = junk;
    EXPECT(table->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_READWRITE, 0, &out) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL);
    EXPECT(table->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE, PAGE_READWRITE, 0, NULL) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(table->VirtualFree(manager, junk, 0, MEM_RELEASE) == HOST_E_CLRNOTAVAILABLE);
    hh_memory_basic_information information, untouched;
    memset(&information, 0x11, sizeof information);
    memset(&untouched, 0x11, sizeof untouched);
    size_t size_bytes = 7;
    EXPECT(table->VirtualQuery(manager, block, &information, sizeof information, &size_bytes) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(size_bytes == 0);
    EXPECT(table->VirtualQuery(manager, block, &information, sizeof information, NULL) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(memcmp(&information, &untouched, sizeof information) == 0); // GEN-2
    uint32_t number = 99;
    EXPECT(table->VirtualProtect(manager, block, 1, PAGE_READWRITE, &number) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(number == PAGE_NOACCESS); // PR-9, section 16.2
    EXPECT(table->VirtualProtect(manager, block, 1, PAGE_READWRITE, NULL) ==
           HOST_E_CLRNOTAVAILABLE);
    number = 99;
    size_bytes = 7;
    EXPECT(table->GetMemoryLoad(manager, &number, &size_bytes) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(number == 0 && size_bytes == 0);
    EXPECT(table->GetMemoryLoad(manager, NULL, NULL) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(table->RegisterMemoryNotificationCallback(manager, NULL) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(table->NeedsVirtualAddressSpace(manager, NULL, 4096) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(table->AcquiredVirtualAddressSpace(manager, junk, 4096) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(table->ReleasedVirtualAddressSpace(manager, junk) == HOST_E_CLRNOTAVAILABLE);
    return 0;
}

static int
control_is_dead(void *argument)
{
    (void)argument;
    void *out = junk;
    EXPECT(control->lpVtbl->GetHostManager(control, &IID_IHostMemoryManager, &out) ==
           HOST_E_CLRNOTAVAILABLE);
    EXPECT(out == NULL);
    EXPECT(control->lpVtbl->GetHostManager(control, NULL, NULL) == HOST_E_CLRNOTAVAILABLE);
    EXPECT(control->lpVtbl->SetAppDomainManager(control, 1, NULL) == HOST_E_CLRNOTAVAILABLE);
    return 0;
}

// QueryInterface, AddRef and Release go on as before; so does what lies beside the interfaces.
static int
identity_survives(void *argument)
{
    (void)argument;
    IHostMemoryManager *manager = test_manager();
    void *out;
    EXPECT(manager->lpVtbl->QueryInterface(manager, &IID_IUnknown, &out) == S_OK);
    EXPECT(out == manager);
    EXPECT(manager->lpVtbl->Release(manager) == 1);
    EXPECT(heap->lpVtbl->QueryInterface(heap, &IID_IHostMalloc, &out) == S_OK && out == heap);
    EXPECT(heap->lpVtbl->AddRef(heap) == 3);
    EXPECT(heap->lpVtbl->Release(heap) == 2);
    EXPECT(heap->lpVtbl->Release(heap) == 1);
    EXPECT(heap->lpVtbl->QueryInterface(heap, &IID_IHostControl, &out) == E_NOINTERFACE);
    EXPECT(control->lpVtbl->QueryInterface(control, &IID_IHostControl, &out) == S_OK);
    EXPECT(control->lpVtbl->Release(control) == 1);
    EXPECT(hh_heap_of(heap) != NULL);
    EXPECT(test_is_live(block));
    EXPECT(memcmp(block, &(uint64_t){0x0102030405060708}, 8) == 0);
    EXPECT(heap->lpVtbl->Release(heap) == 0);
    EXPECT(memcmp(block, &(uint64_t){0x0102030405060708}, 8) == 0);
    IHostMemoryManager *again;
    EXPECT(hh_get_memory_manager(&again) == S_OK && again == manager);
    return 0;
}

static int
die_and_look(void *look)
{
    memcpy(block, &(uint64_t){0x0102030405060708}, 8);
    errno = 4321;
    EXPECT(!hhi_host_is_dead());
    EXPECT(hhi_host_die() == E_FAIL);
    EXPECT(hhi_host_is_dead());
    EXPECT(hhi_host_die() == E_FAIL);
    EXPECT(errno == 4321); // GEN-9
    int (*function)(void *);
    memcpy(&function, &look, sizeof function);
    return function(NULL);
}

static void
assert_dead(int (*look)(void *))
{
    void *argument;
    memcpy(&argument, &look, sizeof argument);
    assert_int_equal(test_in_child(die_and_look, argument), 0);
}

static void
every_method_of_a_heap_answers_clr_not_available(void **state)
{
    (void)state;
    assert_dead(heap_is_dead);
}

static void
every_method_of_the_manager_answers_clr_not_available(void **state)
{
    (void)state;
    assert_dead(manager_is_dead);
}

static void
every_method_of_the_control_answers_clr_not_available(void **state)
{
    (void)state;
    assert_dead(control_is_dead);
}

static void
identity_and_blocks_survive_death(void **state)
{
    (void)state;
    assert_dead(identity_survives);
}

// Ended objects, objects used again and many live ones: death reaches them all.
static int
die_with_many_heaps(void *argument)
{
    (void)argument;
    IHostMalloc *heaps[40];
    for (int i = 0; i < 40; i++)
        heaps[i] = test_heap(MALLOC_THREADSAFE);
    for (int i = 0; i < 40; i += 3)
        heaps[i]->lpVtbl->Release(heaps[i]);
    for (int i = 0; i < 40; i += 6)
        heaps[i] = test_heap(MALLOC_THREADSAFE);
    hhi_host_die();
    for (int i = 0; i < 40; i++) {
        void *out = junk;
        EXPECT(heaps[i]->lpVtbl->Alloc(heaps[i], 1, 0, &out) == HOST_E_CLRNOTAVAILABLE);
        EXPECT(out == NULL);
    }
    return 0;
}

static void
death_reaches_every_heap(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(die_with_many_heaps, NULL), 0);
}

// A CreateMalloc that was entered before death and goes on after it, on a new object and on one
// used again, must not bring a living heap into the world.
static int
create_after_death(void *argument)
{
    (void)argument;
    heap->lpVtbl->Release(heap);
    hhi_host_die();
    for (int i = 0; i < 5; i++) {
        IHostMalloc *late = NULL;
        EXPECT(hhi_host_malloc_create(false, &late) == S_OK);
        void *out = junk;
        EXPECT(late->lpVtbl->Alloc(late, 1, 0, &out) == HOST_E_CLRNOTAVAILABLE);
        EXPECT(out == NULL);
    }
    return 0;
}

static void
a_heap_made_while_dying_is_dead(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(create_after_death, NULL), 0);
}

/* ---- Threads at work when it happens ---------------------------------------------------------- */

enum { WORKERS = 4 };

static atomic_bool over;

// The table is read as a caller's machine code reads it: one load of one word.
static const IHostMallocVtbl *
table_of(IHostMalloc *object)
{
    return __atomic_load_n(&object->lpVtbl, __ATOMIC_RELAXED);
}

static bool
is_alive_or_dead_answer(hh_hresult answer)
{
    return answer == S_OK || answer == HOST_E_CLRNOTAVAILABLE;
}

static void *
worker_run(void *argument)
{
    (void)argument;
    IHostMemoryManager *manager = test_manager();
    bool dead_seen = false;
    for (;;) {
        bool last_round = atomic_load(&over);
        void *own = junk;
        hh_hresult answer = table_of(heap)->Alloc(heap, 48, eTaskCritical, &own);
        EXPECT(is_alive_or_dead_answer(answer));
        EXPECT((answer == S_OK) == (own != NULL));
        EXPECT(!dead_seen || answer != S_OK); // no way back
        dead_seen = dead_seen || answer != S_OK;
        answer = table_of(heap)->Free(heap, own);
        EXPECT(is_alive_or_dead_answer(answer));

        const IHostMemoryManagerVtbl *table = __atomic_load_n(&manager->lpVtbl, __ATOMIC_RELAXED);
        IHostMalloc *fresh = NULL;
        answer = table->CreateMalloc(manager, 1, &fresh);
        EXPECT(is_alive_or_dead_answer(answer));
        if (answer == S_OK) {
            answer = table_of(fresh)->Alloc(fresh, 48, eTaskCritical, &own);
            EXPECT(is_alive_or_dead_answer(answer));
            if (last_round)
                EXPECT(answer == HOST_E_CLRNOTAVAILABLE);
            table_of(fresh)->Release(fresh);
        }
        if (last_round) {
            EXPECT(dead_seen);
            return NULL;
        }
    }
}

// The last test: it happens in this process, since the thread sanitizer does not follow the threads
// of a child whose parent had threads of its own.
static void
threads_at_work_see_death_and_no_way_back(void **state)
{
    (void)state;
    pthread_t threads[WORKERS];
    for (int t = 0; t < WORKERS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, worker_run, NULL), 0);
    usleep(20000);
    assert_int_equal(hhi_host_die(), E_FAIL);
    atomic_store(&over, true);
    for (int t = 0; t < WORKERS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
}

static int
fixture_make(void **state)
{
    (void)state;
    everything_made();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_of_a_heap_answers_clr_not_available),
        cmocka_unit_test(every_method_of_the_manager_answers_clr_not_available),
        cmocka_unit_test(every_method_of_the_control_answers_clr_not_available),
        cmocka_unit_test(identity_and_blocks_survive_death),
        cmocka_unit_test(death_reaches_every_heap),
        cmocka_unit_test(a_heap_made_while_dying_is_dead),
        cmocka_unit_test(threads_at_work_see_death_and_no_way_back),
    };
    return cmocka_run_group_tests(tests, fixture_make, NULL);
}
