// SPDX-License-Identifier: MIT
/*
 * hostheap/host_memory.h - the hosting interfaces IHostMalloc, IHostMemoryManager,
 * ICLRMemoryNotificationCallback and IHostControl, laid out as the contract demands.
 *
 * An object is a struct whose first member points at a constant table of functions; every function
 * takes the object as its first argument. A C++ abstract class with the same methods in the same
 * order and no virtual destructor has the same layout. Slot k lies at byte 8 * k.
 *
 * Common to all methods: only S_OK is success. On success every out-parameter is written; on
 * failure pointers become NULL and counts 0. errno is left as it was. After E_FAIL every method
 * but QueryInterface, AddRef and Release answers HOST_E_CLRNOTAVAILABLE.
 */
#ifndef HOSTHEAP_HOST_MEMORY_H
#define HOSTHEAP_HOST_MEMORY_H

#include <hostheap/host_types.h>
#include <hostheap/hostheap.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Interface ids. */
extern HH_API const hh_guid IID_IUnknown;                       /* 00000000-0000-0000-C000-...46 */
extern HH_API const hh_guid IID_IHostMemoryManager;             /* 7BC698D1-F9E3-4460-... */
extern HH_API const hh_guid IID_IHostMalloc;                    /* 1831991C-CC53-4A31-... */
extern HH_API const hh_guid IID_ICLRMemoryNotificationCallback; /* 47EB8E57-0846-4546-... */
extern HH_API const hh_guid IID_IHostControl;                   /* 02CA073C-7079-4860-... */

typedef struct IHostMalloc IHostMalloc;
typedef struct IHostMemoryManager IHostMemoryManager;
typedef struct ICLRMemoryNotificationCallback ICLRMemoryNotificationCallback;
typedef struct IHostControl IHostControl;

/* IHostMalloc: one heap. Slots 0..5. */
typedef struct IHostMallocVtbl {
    hh_hresult (*QueryInterface)(IHostMalloc *self, const hh_guid *riid, void **ppv);
    uint32_t (*AddRef)(IHostMalloc *self);
    uint32_t (*Release)(IHostMalloc *self);
    hh_hresult (*Alloc)(IHostMalloc *self, size_t cbSize, uint32_t level, void **ppMem);
    hh_hresult (*DebugAlloc)(IHostMalloc *self, size_t cbSize, uint32_t level, char *file, int line,
                             void **ppMem);
    hh_hresult (*Free)(IHostMalloc *self, void *pMem);
} IHostMallocVtbl;

struct IHostMalloc {
    const IHostMallocVtbl *lpVtbl;
};

/* ICLRMemoryNotificationCallback: made by the runtime, called by us. Slots 0..3. */
typedef struct ICLRMemoryNotificationCallbackVtbl {
    hh_hresult (*QueryInterface)(ICLRMemoryNotificationCallback *self, const hh_guid *riid,
                                 void **ppv);
    uint32_t (*AddRef)(ICLRMemoryNotificationCallback *self);
    uint32_t (*Release)(ICLRMemoryNotificationCallback *self);
    hh_hresult (*OnMemoryNotification)(ICLRMemoryNotificationCallback *self, uint32_t available);
} ICLRMemoryNotificationCallbackVtbl;

struct ICLRMemoryNotificationCallback {
    const ICLRMemoryNotificationCallbackVtbl *lpVtbl;
};

/* IHostMemoryManager: the process's memory manager. Slots 0..12. */
typedef struct IHostMemoryManagerVtbl {
    hh_hresult (*QueryInterface)(IHostMemoryManager *self, const hh_guid *riid, void **ppv);
    uint32_t (*AddRef)(IHostMemoryManager *self);
    uint32_t (*Release)(IHostMemoryManager *self);
    hh_hresult (*CreateMalloc)(IHostMemoryManager *self, uint32_t mallocType,
                               IHostMalloc **ppMalloc);
    hh_hresult (*VirtualAlloc)(IHostMemoryManager *self, void *addr, size_t size,
                               uint32_t allocType, uint32_t protect, uint32_t level, void **ppMem);
    hh_hresult (*VirtualFree)(IHostMemoryManager *self, void *addr, size_t size, uint32_t freeType);
    hh_hresult (*VirtualQuery)(IHostMemoryManager *self, void *addr, void *buffer, size_t length,
                               size_t *pResult);
    hh_hresult (*VirtualProtect)(IHostMemoryManager *self, void *addr, size_t size,
                                 uint32_t newProtect, uint32_t *pOld);
    hh_hresult (*GetMemoryLoad)(IHostMemoryManager *self, uint32_t *pLoad, size_t *pAvail);
    hh_hresult (*RegisterMemoryNotificationCallback)(IHostMemoryManager *self,
                                                     ICLRMemoryNotificationCallback *cb);
    hh_hresult (*NeedsVirtualAddressSpace)(IHostMemoryManager *self, void *start, size_t size);
    hh_hresult (*AcquiredVirtualAddressSpace)(IHostMemoryManager *self, void *start, size_t size);
    hh_hresult (*ReleasedVirtualAddressSpace)(IHostMemoryManager *self, void *start);
} IHostMemoryManagerVtbl;

struct IHostMemoryManager {
    const IHostMemoryManagerVtbl *lpVtbl;
};

/* IHostControl: the door through which a runtime asks for the manager. Slots 0..4. */
typedef struct IHostControlVtbl {
    hh_hresult (*QueryInterface)(IHostControl *self, const hh_guid *riid, void **ppv);
    uint32_t (*AddRef)(IHostControl *self);
    uint32_t (*Release)(IHostControl *self);
    hh_hresult (*GetHostManager)(IHostControl *self, const hh_guid *riid, void **ppObject);
    hh_hresult (*SetAppDomainManager)(IHostControl *self, uint32_t domainId, void *pUnk);
} IHostControlVtbl;

struct IHostControl {
    const IHostControlVtbl *lpVtbl;
};

/*
 * The process's one memory manager.
 *
 * manager  out; carries one reference for the caller; must not be NULL
 * returns  S_OK; E_POINTER (manager NULL); E_OUTOFMEMORY (the library could not start)
 * note     the manager outlives every reference; Release never ends it. In the child of a fork ask
 *          for it again, or register a callback: else descriptions of what VirtualFree releases there
 *          are not reclaimed (some 190 bytes each), since that takes a thread
 * source   contract COM-4, COM-6
 */
HH_API hh_hresult hh_get_memory_manager(IHostMemoryManager **manager);

/*
 * A ready IHostControl that hands out the memory manager. As hh_get_memory_manager.
 *
 * source   contract COM-7
 */
HH_API hh_hresult hh_get_host_control(IHostControl **control);

/*
 * The heap behind an IHostMalloc, for what the interface lacks: size query, realloc, zeroed and
 * aligned allocation, limits, statistics. Blocks of both doors are the same blocks.
 *
 * malloc_object  in; made by CreateMalloc and not ended
 * returns        the heap, valid as long as the object; NULL if malloc_object is NULL or none of
 *                ours. It can not be destroyed through hh_heap_destroy.
 */
HH_API hh_heap *hh_heap_of(IHostMalloc *malloc_object);

/*
 * What DebugAlloc remembered of a live block.
 *
 * block       in; any value
 * file        out; the file name, valid until the process ends; NULL if none is known
 * line        out; the line, 0 if none is known
 * size_bytes  out; the size that was asked for, or the usable size if no record exists
 * returns     S_OK for a live block of an IHostMalloc; HOST_E_INVALIDOPERATION for any other
 *             address (outputs NULL, 0, 0); E_POINTER if an out-pointer is NULL
 * source      contract DA-2
 */
HH_API hh_hresult hh_debug_lookup(const void *block, const char **file, int *line,
                                  size_t *size_bytes);

/*
 * For a host's SIGSEGV handler: take the first touch of a guard page as Windows does. If the page
 * that holds address was given PAGE_GUARD by VirtualAlloc or VirtualProtect (which takes other
 * owners' pages too, a thread's stack for one), the guard is cleared and the protection under it takes effect.
 *
 * address  in; the faulting address (si_addr); any value
 * returns  1 if it was a guard page: return from the handler and the instruction runs again;
 *          0 if not, also when another thread cleared the guard a moment before (VirtualQuery then
 *          says what the page is now)
 * threads  any; made for the handler of a fault in the caller's own code. It takes a lock that
 *          VirtualAlloc, VirtualFree and VirtualProtect hold for the length of their system calls;
 *          never call it from a signal that can interrupt one of these on the same thread
 * note     no handler is installed by the library
 * source   contract PG-7
 */
HH_API int hh_guard_fault(const void *address);

#ifdef __cplusplus
}
#endif

#endif
