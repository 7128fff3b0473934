// SPDX-License-Identifier: MIT
// host/host_malloc.c - see host_malloc.h. Source: contract sections 3, 4 and 6.
//
// Nothing the heap does touches errno (os/os.h), so there is none to keep here (GEN-9).

#include "host/host_malloc.h"

#include "base/atomic.h"
#include "heap/heap_fast.h"
#include "heap/limit.h"
#include "host/host_dead.h"
#include "host/hresult.h"
#include "meta/meta_arena.h"

_Static_assert(offsetof(struct hhi_host_malloc, table) == 0, "the table is the interface");
_Static_assert(offsetof(struct hhi_host_malloc, key) == 8, "the picture in host_malloc.h");
_Static_assert(sizeof(struct hhi_host_malloc) == 72, "the picture in host_malloc.h");

static inline struct hhi_host_malloc *
malloc_object(IHostMalloc *self)
{
    return (struct hhi_host_malloc *)self;
}

/* ---- Alloc, DebugAlloc, Free ---------------------------------------------------------------- */

// What Alloc does when this thread's bin can not serve at once.
static HH_SLOW hh_hresult
malloc_alloc_slow(IHostMalloc *self, size_t size_bytes, uint32_t level, void **block)
{
    if (block == NULL)
        return E_POINTER;
    *block = hhi_heap_alloc_slow(malloc_object(self)->heap, size_bytes, hhi_level_of_host(level));
    return *block != NULL ? S_OK : E_OUTOFMEMORY;
}

/*
 * IHostMalloc::Alloc - slot 3
 *
 * size_bytes  any; 0 gives a unique block (AL-2); above PTRDIFF_MAX is E_OUTOFMEMORY (AL-5)
 * level       EMemoryCriticalLevel; other values count as eTaskCritical (GEN-10)
 * block       out; 16-byte aligned, contents undefined; NULL on failure
 * returns     S_OK, E_OUTOFMEMORY, E_POINTER (block NULL)
 * threads     any; no lock and no locked instruction while the thread's slab has a free block
 * source      AL-1..AL-7
 */
static hh_hresult
malloc_alloc(IHostMalloc *self, size_t size_bytes, uint32_t level, void **block)
{
    void *taken;
    if (hh_unlikely(block == NULL) ||
        hh_unlikely(!hhi_heap_alloc_quick(&malloc_object(self)->key, size_bytes, &taken)))
        return malloc_alloc_slow(self, size_bytes, level, block);
    *block = taken;
    return S_OK;
}

/*
 * IHostMalloc::DebugAlloc - slot 4. As Alloc; file (copied, its first 255 bytes; NULL = unknown)
 * and line are what hh_debug_lookup gives back. Source: DA-1, DA-2.
 */
static hh_hresult
malloc_debug_alloc(IHostMalloc *self, size_t size_bytes, uint32_t level, char *file, int line,
                   void **block)
{
    if (hh_unlikely(block == NULL))
        return E_POINTER;
    *block = hhi_heap_alloc_debug(malloc_object(self)->heap, size_bytes, hhi_level_of_host(level),
                                  file, line);
    return *block != NULL ? S_OK : E_OUTOFMEMORY;
}

// Blocks of other threads' slabs, large ones, NULL, and all that must be refused.
static HH_SLOW hh_hresult
malloc_free_slow(IHostMalloc *self, void *block)
{
    // NULL is no refusal there either (FR-2).
    return hhi_hresult_from_refusal(hhi_heap_free_elsewhere(malloc_object(self)->heap, block));
}

/*
 * IHostMalloc::Free - slot 5
 *
 * block    in; any value. NULL: nothing happens, S_OK (DECISION 14)
 * returns  S_OK                     freed
 *          HOST_E_INVALIDOPERATION  not a live block of this object: foreign, interior, already
 *                                   freed, another object's. Nothing has changed.
 * threads  any; no lock and no locked instruction on the thread that allocated the block
 * source   FR-1..FR-6
 */
static hh_hresult
malloc_free(IHostMalloc *self, void *block)
{
    if (hh_likely(hhi_heap_free_quick(&malloc_object(self)->key, block)))
        return S_OK;
    return malloc_free_slow(self, block);
}

static const IHostMallocVtbl malloc_live = {
    .QueryInterface = hhi_host_malloc_query_interface,
    .AddRef = hhi_host_malloc_add_ref,
    .Release = hhi_host_malloc_release,
    .Alloc = malloc_alloc,
    .DebugAlloc = malloc_debug_alloc,
    .Free = malloc_free,
};

/* ---- Life ----------------------------------------------------------------------------------- */

// An ended object, or a new one; nobody else has it. NULL: no memory.
static struct hhi_host_malloc *
malloc_object_take(void)
{
    struct hhi_host_malloc *object;
    for (object = hhi_host_newest(); object != NULL; object = object->next) {
        uint32_t expected = 0;
        // order: acquire [HM-1] the old life is over in all fields.
        if (hh_cas_strong_acquire(&object->taken, &expected, 1))
            return object;
    }
    object = hhi_meta_alloc(sizeof *object);
    if (object == NULL)
        return NULL;
    // relaxed: nobody else knows the object before it is registered.
    hh_store_relaxed(&object->taken, 1);
    // relaxed: as above; until it is given out it answers like the dead.
    hh_store_relaxed(&object->table, &hhi_host_malloc_dead);
    hhi_host_register(object);
    return object;
}

hh_hresult
hhi_host_malloc_create(bool executable, IHostMalloc **out)
{
    // A runtime will ask at process level sooner or later; the reserve must be there before.
    hhi_limit_prepare_reserve();
    struct hh_heap *heap;
    uint32_t flags = HHI_HEAP_HOST | (executable ? (uint32_t)HHI_HEAP_EXECUTABLE : 0);
    hh_status status = hhi_heap_create(flags, 0, 0, "IHostMalloc", &heap);
    if (status != HH_OK)
        return hhi_hresult_from_status(status);
    struct hhi_host_malloc *object = malloc_object_take();
    if (object == NULL) {
        hhi_heap_destroy(heap);
        return E_OUTOFMEMORY;
    }
    object->heap = heap;
    hhi_heap_face(heap, &object->key);
    // relaxed: the object is not given out yet.
    hh_store_relaxed(&object->references.count, 1);
    // order: acquire [HD-2] if a dying thread was here before us we see the dead bit below.
    (void)hh_exchange_acquire(&object->table, &malloc_live);
    if (hhi_host_is_dead()) {
        // relaxed: the object is not given out yet.
        hh_store_relaxed(&object->table, &hhi_host_malloc_dead);
    }
    *out = (IHostMalloc *)object;
    return S_OK;
}

hh_hresult
hhi_host_malloc_query_interface(IHostMalloc *self, const hh_guid *riid, void **ppv)
{
    return hhi_host_query(self, &malloc_object(self)->references, &IID_IHostMalloc, riid, ppv);
}

uint32_t
hhi_host_malloc_add_ref(IHostMalloc *self)
{
    return hhi_references_add(&malloc_object(self)->references);
}

// The last reference is gone: nobody may call the object any more.
static void
malloc_object_end(struct hhi_host_malloc *object)
{
    struct hh_heap *heap = object->heap;
    // A caller that is still here has broken the rules; it is answered like the dead.
    // relaxed: an exchange hands on what a dying thread released with its own [HD-2].
    (void)hh_exchange_relaxed(&object->table, &hhi_host_malloc_dead);
    object->heap = NULL;
    hhi_heap_orphan(heap);
    // order: release [HM-1] the old life is over in all fields.
    hh_store_release(&object->taken, 0);
}

uint32_t
hhi_host_malloc_release(IHostMalloc *self)
{
    struct hhi_host_malloc *object = malloc_object(self);
    bool last = false;
    uint32_t count = hhi_references_drop(&object->references, &last);
    if (last)
        malloc_object_end(object);
    return count;
}

/* ---- Beside the interface ------------------------------------------------------------------- */

hh_heap *
hh_heap_of(IHostMalloc *self)
{
    if (self == NULL)
        return NULL;
    // Another host's object is told by its table; ours stays ours when the process is dead.
    // relaxed: the caller holds a reference, so the fields behind the table are its to read.
    const IHostMallocVtbl *table = hh_load_relaxed(&malloc_object(self)->table);
    if (table != &malloc_live && table != &hhi_host_malloc_dead)
        return NULL;
    return malloc_object(self)->heap;
}

hh_hresult
hh_debug_lookup(const void *block, const char **file, int *line, size_t *size_bytes)
{
    if (file != NULL)
        *file = NULL;
    if (line != NULL)
        *line = 0;
    if (size_bytes != NULL)
        *size_bytes = 0;
    if (file == NULL || line == NULL || size_bytes == NULL)
        return E_POINTER;
    bool found = hhi_heap_debug_lookup(block, file, line, size_bytes);
    return found ? S_OK : HOST_E_INVALIDOPERATION;
}
