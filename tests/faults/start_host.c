// SPDX-License-Identifier: MIT
/*
 * A program linked with the library, for faults_start.c. start_host native: heaps and blocks through
 * hostheap.h. start_host manager: IHostMemoryManager, its heaps, its virtual memory, its threads.
 */
#include <dirent.h>
#include <hostheap/host_memory.h>
#include <hostheap/hostheap.h>
#include <pthread.h>
#include <stdlib.h>

#include "faults/start.h"

enum { HEAPS = 4, BLOCKS = 40, RANGE_BYTES = 5 * 65536, RANGES = 6 };

// ---- hostheap.h ---------------------------------------------------------------------------------

static void
native_block(hh_heap *heap, hh_heap *other, size_t size_bytes)
{
    unsigned char *block = hh_heap_alloc(heap, size_bytes);
    start_served_or(block != NULL, true);
    if (block == NULL)
        return;
    memset(block, 5, size_bytes);
    void *moved = NULL;
    hh_status status = hh_heap_realloc(heap, block, size_bytes * 3, &moved);
    start_served_or(status == HH_OK, status == HH_E_NO_MEMORY && moved == NULL);
    if (status == HH_OK)
        block = moved;
    start_check(block[0] == 5 && block[size_bytes - 1] == 5);
    start_check(other == heap || hh_heap_free(other, block) == HH_E_INVALID_BLOCK);
    start_check(hh_heap_free(heap, block + 1) == HH_E_INVALID_BLOCK);
    start_check(hh_heap_free(heap, block) == HH_OK);
    start_check(hh_heap_free(heap, block) == HH_E_INVALID_BLOCK);
}

static void
native_zeroed(hh_heap *heap, size_t size_bytes)
{
    unsigned char *block = hh_heap_calloc(heap, 1, size_bytes);
    start_served_or(block != NULL, true);
    for (size_t at = 0; block != NULL && at < size_bytes; at += 61)
        start_check(block[at] == 0);
    start_check(hh_heap_free(heap, block) == HH_OK);
}

static void *
native_blocks(void *heap)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size_bytes = i < 36 ? 16 + i * i * 16 : (size_t)i * 10000;
        native_block(heap, hh_heap_default(), size_bytes);
        native_zeroed(heap, size_bytes);
    }
    return NULL;
}

// Runs in a thread, or without one where there is none to be had.
static void
on_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, argument);
    start_served_or(error == 0, error == EAGAIN || error == ENOMEM);
    if (error != 0)
        run(argument);
    else
        start_check(pthread_join(thread, NULL) == 0);
}

static void
native_round(void)
{
    int mine = 0;
    start_check(hh_heap_free(hh_heap_default(), &mine) == HH_E_INVALID_BLOCK);
    native_block(hh_heap_default(), hh_heap_default(), 100);
    for (unsigned i = 0; i < HEAPS; i++) {
        hh_heap_options options = {.struct_size = sizeof options,
                                   .flags = i == 3 ? HH_HEAP_EXECUTABLE : 0};
        hh_heap *heap = NULL;
        hh_status status = hh_heap_create(&options, &heap);
        start_served_or(status == HH_OK,
                        heap == NULL &&
                            (status == HH_E_NO_MEMORY || (i == 3 && status == HH_E_ACCESS_DENIED)));
        if (status != HH_OK)
            continue;
        on_thread(native_blocks, heap);
        native_blocks(heap);
        start_check(hh_heap_destroy(heap) == HH_OK);
    }
    hh_stats stats;
    hh_trim();
    start_check(hh_get_stats(&stats) == HH_OK && (!start_granted || stats.heaps == 1));
}

// ---- IHostMemoryManager -------------------------------------------------------------------------

static bool
host_served(hh_hresult result)
{
    start_served_or(result == S_OK, result == E_OUTOFMEMORY);
    return result == S_OK;
}

// What a range is. VirtualQuery never needs memory; of what is not ours it asks the kernel.
static void
range_is(IHostMemoryManager *manager, void *address, uint32_t state, uint32_t protection)
{
    hh_memory_basic_information info;
    size_t written = 0;
    hh_hresult result =
        manager->lpVtbl->VirtualQuery(manager, address, &info, sizeof info, &written);
    start_served_or(result == S_OK, state == MEM_FREE && result == HH_W_NOT_SUPPORTED);
    if (result == S_OK)
        start_check(written == sizeof info && info.State == state &&
                    (state != MEM_COMMIT || info.Protect == protection));
}

static void
manager_range(IHostMemoryManager *manager)
{
    const IHostMemoryManagerVtbl *calls = manager->lpVtbl;
    void *base = NULL, *committed = NULL;
    uint32_t old = 0;
    if (!host_served(calls->VirtualAlloc(manager, NULL, RANGE_BYTES, MEM_RESERVE, PAGE_READWRITE,
                                         eTaskCritical, &base)))
        return;
    range_is(manager, base, MEM_RESERVE, 0);
    if (host_served(calls->VirtualAlloc(manager, base, 65536, MEM_COMMIT, PAGE_READWRITE,
                                        eTaskCritical, &committed))) {
        memset(committed, 1, 65536);
        range_is(manager, base, MEM_COMMIT, PAGE_READWRITE);
        if (host_served(calls->VirtualProtect(manager, base, 4096, PAGE_READONLY, &old)))
            range_is(manager, base, MEM_COMMIT, PAGE_READONLY);
        start_check(((char *)base)[65535] == 1);
    }
    while (!host_served(calls->VirtualFree(manager, base, 0, MEM_RELEASE)))
        start_grant(); // nothing is lost: it is released when the kernel gives again
    range_is(manager, base, MEM_FREE, 0);
}

static void
manager_heap(IHostMemoryManager *manager)
{
    IHostMalloc *heap = NULL;
    if (!host_served(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap)))
        return;
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size_bytes = i < 36 ? 16 + i * i * 16 : (size_t)i * 10000;
        void *block = NULL;
        if (!host_served(heap->lpVtbl->Alloc(heap, size_bytes, eTaskCritical, &block)))
            continue;
        memset(block, 7, size_bytes);
        start_check(heap->lpVtbl->Free(heap, (char *)block + 1) == HOST_E_INVALIDOPERATION);
        start_check(heap->lpVtbl->Free(heap, block) == S_OK);
    }
    start_check(heap->lpVtbl->Release(heap) == 0);
}

static uint32_t
note_reference(ICLRMemoryNotificationCallback *self)
{
    (void)self;
    return 1;
}

static hh_hresult
note_event(ICLRMemoryNotificationCallback *self, uint32_t available)
{
    (void)self, (void)available;
    return S_OK;
}

static hh_hresult
note_query(ICLRMemoryNotificationCallback *self, const hh_guid *riid, void **object)
{
    (void)self, (void)riid;
    *object = NULL;
    return E_NOINTERFACE;
}

static const ICLRMemoryNotificationCallbackVtbl note_table = {
    .QueryInterface = note_query,
    .AddRef = note_reference,
    .Release = note_reference,
    .OnMemoryNotification = note_event,
};
static ICLRMemoryNotificationCallback note = {&note_table};

static unsigned
thread_count(void)
{
    unsigned count = 0;
    DIR *threads = opendir("/proc/self/task");
    start_check(threads != NULL);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(threads);
    return count;
}

static void *
manager_use(void *raw)
{
    IHostMemoryManager *manager = raw;
    for (unsigned i = 0; i < RANGES; i++)
        manager_range(manager);
    manager_heap(manager);
    return NULL;
}

static void
manager_round(void)
{
    IHostMemoryManager *manager = NULL;
    uint32_t percent;
    size_t available;
    start_check(hh_get_memory_manager(&manager) == S_OK);
    // The reclaimer is there, if not since the first time.
    start_check(!start_granted || thread_count() > 1);
    start_check(manager->lpVtbl->GetMemoryLoad(manager, &percent, &available) == S_OK);
    manager_use(manager);
    on_thread(manager_use, manager);
    host_served(manager->lpVtbl->RegisterMemoryNotificationCallback(manager, &note));
    host_served(manager->lpVtbl->RegisterMemoryNotificationCallback(manager, NULL));
}

int
main(int count, char **arguments)
{
    start_check(count == 2);
    for (unsigned round = 0; round < 2; round++) {
        if (strcmp(arguments[1], "native") == 0)
            native_round();
        else
            manager_round();
        start_grant();
    }
    return 0;
}
