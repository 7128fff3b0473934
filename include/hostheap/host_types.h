// SPDX-License-Identifier: MIT
/*
 * hostheap/host_types.h - the names and numbers of the hosting contract on Linux.
 *
 * Everything here has the value and the width the contract gives it. A name that another header
 * of the program has defined already is left alone.
 */
#ifndef HOSTHEAP_HOST_TYPES_H
#define HOSTHEAP_HOST_TYPES_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t hh_hresult; /* HRESULT: negative = failure; only S_OK is success */

/* GUID: 16 bytes, d1..d3 in native byte order. */
typedef struct hh_guid {
    uint32_t d1;
    uint16_t d2, d3;
    uint8_t d4[8];
} hh_guid;

#ifndef S_OK
#define S_OK ((hh_hresult)0)
#endif
#ifndef S_FALSE
#define S_FALSE ((hh_hresult)1)
#endif
#ifndef E_NOTIMPL
#define E_NOTIMPL ((hh_hresult)0x80004001u)
#define E_NOINTERFACE ((hh_hresult)0x80004002u)
#define E_POINTER ((hh_hresult)0x80004003u)
#define E_FAIL ((hh_hresult)0x80004005u)
#define E_UNEXPECTED ((hh_hresult)0x8000FFFFu)
#define E_ACCESSDENIED ((hh_hresult)0x80070005u)
#define E_OUTOFMEMORY ((hh_hresult)0x8007000Eu)
#define E_INVALIDARG ((hh_hresult)0x80070057u)
#endif
#ifndef HOST_E_INVALIDOPERATION
#define HOST_E_DEADLOCK ((hh_hresult)0x80131020u)
#define HOST_E_INTERRUPTED ((hh_hresult)0x80131021u)
#define HOST_E_INVALIDOPERATION ((hh_hresult)0x80131022u)
#define HOST_E_CLRNOTAVAILABLE ((hh_hresult)0x80131023u)
#define HOST_E_TIMEOUT ((hh_hresult)0x80131024u)
#define HOST_E_NOT_OWNER ((hh_hresult)0x80131025u)
#define HOST_E_ABANDONED ((hh_hresult)0x80131026u)
#endif

/* Win32 errors as HRESULTs, as VirtualAlloc and its kin answer them. */
#define HH_W_INVALID_ADDRESS ((hh_hresult)0x800701E7u) /* ERROR_INVALID_ADDRESS, 487 */
#define HH_W_NOACCESS ((hh_hresult)0x800703E6u)        /* ERROR_NOACCESS, 998 */
#define HH_W_BAD_LENGTH ((hh_hresult)0x80070018u)      /* ERROR_BAD_LENGTH, 24 */
#define HH_W_NOT_SUPPORTED ((hh_hresult)0x80070032u)   /* ERROR_NOT_SUPPORTED, 50 */

#ifndef MALLOC_THREADSAFE
/* MALLOC_TYPE, flags of CreateMalloc */
#define MALLOC_THREADSAFE 0x1u
#define MALLOC_EXECUTABLE 0x2u
#endif

/* EMemoryCriticalLevel: what the runtime loses if the request fails. Passed as uint32_t. */
enum EMemoryCriticalLevel { eTaskCritical = 0, eAppDomainCritical = 1, eProcessCritical = 2 };

/* EMemoryAvailable, argument of OnMemoryNotification. Passed as uint32_t. */
enum EMemoryAvailable {
    eMemoryAvailableLow = 1,
    eMemoryAvailableNeutral = 2,
    eMemoryAvailableHigh = 3
};

#ifndef MEM_COMMIT
#define MEM_COMMIT 0x00001000u
#define MEM_RESERVE 0x00002000u
#define MEM_DECOMMIT 0x00004000u
#define MEM_RELEASE 0x00008000u
#define MEM_FREE 0x00010000u
#define MEM_PRIVATE 0x00020000u
#define MEM_MAPPED 0x00040000u
#define MEM_RESET 0x00080000u
#define MEM_TOP_DOWN 0x00100000u
#define MEM_WRITE_WATCH 0x00200000u
#define MEM_PHYSICAL 0x00400000u
#define MEM_IMAGE 0x01000000u
#define MEM_LARGE_PAGES 0x20000000u
#endif
#ifndef PAGE_NOACCESS
#define PAGE_NOACCESS 0x01u
#define PAGE_READONLY 0x02u
#define PAGE_READWRITE 0x04u
#define PAGE_WRITECOPY 0x08u
#define PAGE_EXECUTE 0x10u
#define PAGE_EXECUTE_READ 0x20u
#define PAGE_EXECUTE_READWRITE 0x40u
#define PAGE_EXECUTE_WRITECOPY 0x80u
#define PAGE_GUARD 0x100u
#define PAGE_NOCACHE 0x200u
#define PAGE_WRITECOMBINE 0x400u
#endif

/* MEMORY_BASIC_INFORMATION in its 64-bit form: 48 bytes, alignment 8. */
typedef struct hh_memory_basic_information {
    void *BaseAddress;          /*  0 */
    void *AllocationBase;       /*  8 */
    uint32_t AllocationProtect; /* 16 */
    uint16_t PartitionId;       /* 20, written as 0 */
    uint16_t pad0;              /* 22, written as 0 */
    size_t RegionSize;          /* 24 */
    uint32_t State;             /* 32 */
    uint32_t Protect;           /* 36 */
    uint32_t Type;              /* 40 */
    uint32_t pad1;              /* 44, written as 0 */
} hh_memory_basic_information;

#endif
