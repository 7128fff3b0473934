// SPDX-License-Identifier: MIT
/* misuse/door_host.c - the hosting interface and the native one; see door.h. Contract FR-1. */
#include "door.h"

/* ---- IHostMalloc ---------------------------------------------------------------------------- */

static bool
host_open(struct misuse_heap *heap)
{
    IHostMemoryManager *manager;
    return hh_get_memory_manager(&manager) == S_OK &&
           manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap->object) == S_OK &&
           (heap->native = hh_heap_of(heap->object)) != NULL;
}

static void
host_close(struct misuse_heap *heap)
{
    heap->object->lpVtbl->Release(heap->object);
}

static void *
host_alloc(struct misuse_heap *heap, size_t alignment_bytes, size_t size_bytes)
{
    void *block = NULL;
    (void)alignment_bytes; // there is but one here
    heap->object->lpVtbl->Alloc(heap->object, size_bytes, eTaskCritical, &block);
    return block;
}

static int
host_act_free(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
              const struct misuse_claim *claim)
{
    (void)verb;
    (void)claim;
    switch (heap->object->lpVtbl->Free(heap->object, address)) {
    case S_OK:
        return MISUSE_TAKEN;
    case HOST_E_INVALIDOPERATION:
        return MISUSE_REFUSED;
    default:
        return MISUSE_WRONG;
    }
}

static const struct misuse_verb host_verbs[] = {{"Free", NULL, MISUSE_FREE, host_act_free}};

const struct misuse_door misuse_host_door = {
    "IHostMalloc", host_open, host_close, host_alloc, host_verbs, COUNT_OF(host_verbs),
};

/* ---- The native interface ------------------------------------------------------------------- */

static bool
native_open(struct misuse_heap *heap)
{
    return hh_heap_create(NULL, &heap->native) == HH_OK;
}

static void
native_close(struct misuse_heap *heap)
{
    hh_heap_destroy(heap->native);
}

static void *
native_alloc(struct misuse_heap *heap, size_t alignment_bytes, size_t size_bytes)
{
    return alignment_bytes == 0 ? hh_heap_alloc(heap->native, size_bytes)
                                : hh_heap_aligned_alloc(heap->native, alignment_bytes, size_bytes);
}

static int
native_answer(hh_status status)
{
    if (status == HH_OK)
        return MISUSE_TAKEN;
    return status == HH_E_INVALID_BLOCK ? MISUSE_REFUSED : MISUSE_WRONG;
}

static int
native_act_free(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                const struct misuse_claim *claim)
{
    (void)verb;
    (void)claim;
    return native_answer(hh_heap_free(heap->native, address));
}

static int
native_act_free_sized(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                      const struct misuse_claim *claim)
{
    (void)verb;
    return native_answer(hh_heap_free_sized(heap->native, address, claim->size_bytes));
}

static int
native_realloc(struct misuse_heap *heap, void *address, size_t size_bytes)
{
    void *result = heap;
    int answer = native_answer(hh_heap_realloc(heap->native, address, size_bytes, &result));
    return answer == MISUSE_REFUSED && result != NULL ? MISUSE_WRONG : answer;
}

static int
native_act_realloc(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                   const struct misuse_claim *claim)
{
    (void)verb;
    return native_realloc(heap, address, claim->size_bytes + 100);
}

static int
native_act_realloc_to_nothing(const struct misuse_verb *verb, struct misuse_heap *heap,
                              void *address, const struct misuse_claim *claim)
{
    (void)verb;
    (void)claim;
    return native_realloc(heap, address, 0);
}

static int
native_act_usable_size(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                       const struct misuse_claim *claim)
{
    (void)verb;
    (void)claim;
    return hh_heap_usable_size(heap->native, address) == 0 ? MISUSE_REFUSED : MISUSE_TAKEN;
}

static const struct misuse_verb native_verbs[] = {
    {"hh_heap_free", NULL, MISUSE_FREE, native_act_free},
    {"hh_heap_free_sized", NULL, MISUSE_SIZED, native_act_free_sized},
    {"hh_heap_realloc", NULL, MISUSE_RESIZE, native_act_realloc},
    {"hh_heap_realloc to 0 bytes", NULL, MISUSE_RESIZE, native_act_realloc_to_nothing},
    {"hh_heap_usable_size", NULL, MISUSE_QUERY, native_act_usable_size},
};

const struct misuse_door misuse_native_door = {
    "native", native_open, native_close, native_alloc, native_verbs, COUNT_OF(native_verbs),
};
