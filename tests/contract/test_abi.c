// SPDX-License-Identifier: MIT
// The binary interface: slot offsets, sizes, numbers and interface ids. Contract sections 1 to 3.

#include "support/host.h"

#include <string.h>

// ABI-1: the first member of an object is its table.
_Static_assert(sizeof(IHostMalloc) == 8 && offsetof(IHostMalloc, lpVtbl) == 0, "ABI-1");
_Static_assert(sizeof(IHostMemoryManager) == 8, "ABI-1");
_Static_assert(sizeof(ICLRMemoryNotificationCallback) == 8, "ABI-1");
_Static_assert(sizeof(IHostControl) == 8, "ABI-1");

// ABI-2: slot k lies at byte 8 * k, in the order of the IDL.
#define SLOT(table, method, slot)                                                                  \
    _Static_assert(offsetof(table, method) == 8 * (slot), "ABI-2 " #table "." #method)

SLOT(IHostMallocVtbl, QueryInterface, 0);
SLOT(IHostMallocVtbl, AddRef, 1);
SLOT(IHostMallocVtbl, Release, 2);
SLOT(IHostMallocVtbl, Alloc, 3);
SLOT(IHostMallocVtbl, DebugAlloc, 4);
SLOT(IHostMallocVtbl, Free, 5);
_Static_assert(sizeof(IHostMallocVtbl) == 8 * 6, "ABI-2");

SLOT(IHostMemoryManagerVtbl, QueryInterface, 0);
SLOT(IHostMemoryManagerVtbl, AddRef, 1);
SLOT(IHostMemoryManagerVtbl, Release, 2);
SLOT(IHostMemoryManagerVtbl, CreateMalloc, 3);
SLOT(IHostMemoryManagerVtbl, VirtualAlloc, 4);
SLOT(IHostMemoryManagerVtbl, VirtualFree, 5);
SLOT(IHostMemoryManagerVtbl, VirtualQuery, 6);
SLOT(IHostMemoryManagerVtbl, VirtualProtect, 7);
SLOT(IHostMemoryManagerVtbl, GetMemoryLoad, 8);
SLOT(IHostMemoryManagerVtbl, RegisterMemoryNotificationCallback, 9);
SLOT(IHostMemoryManagerVtbl, NeedsVirtualAddressSpace, 10);
SLOT(IHostMemoryManagerVtbl, AcquiredVirtualAddressSpace, 11);
SLOT(IHostMemoryManagerVtbl, ReleasedVirtualAddressSpace, 12);
_Static_assert(sizeof(IHostMemoryManagerVtbl) == 8 * 13, "ABI-2");

SLOT(ICLRMemoryNotificationCallbackVtbl, QueryInterface, 0);
SLOT(ICLRMemoryNotificationCallbackVtbl, AddRef, 1);
SLOT(ICLRMemoryNotificationCallbackVtbl, Release, 2);
SLOT(ICLRMemoryNotificationCallbackVtbl, OnMemoryNotification, 3);
_Static_assert(sizeof(ICLRMemoryNotificationCallbackVtbl) == 8 * 4, "ABI-2");

SLOT(IHostControlVtbl, QueryInterface, 0);
SLOT(IHostControlVtbl, AddRef, 1);
SLOT(IHostControlVtbl, Release, 2);
SLOT(IHostControlVtbl, GetHostManager, 3);
SLOT(IHostControlVtbl, SetAppDomainManager, 4);
_Static_assert(sizeof(IHostControlVtbl) == 8 * 5, "ABI-2");

// Section 1: widths.
_Static_assert(sizeof(hh_hresult) == 4 && (hh_hresult)-1 < 0, "HRESULT is a signed 32-bit number");
_Static_assert(sizeof(hh_guid) == 16 && _Alignof(hh_guid) == 4, "GUID");
_Static_assert(sizeof(hh_memory_basic_information) == 48, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, AllocationBase) == 8, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, AllocationProtect) == 16, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, PartitionId) == 20, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, RegionSize) == 24, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, State) == 32, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, Protect) == 36, "8.5");
_Static_assert(offsetof(hh_memory_basic_information, Type) == 40, "8.5");

struct number {
    const char *name;
    uint32_t value;
    uint32_t expected;
};

#define NUMBER(name, expected)                                                                     \
    {                                                                                              \
#name, (uint32_t)(name), (expected)                                                        \
    }

// Sections 2.1 to 2.3.
static const struct number numbers[] = {
    NUMBER(S_OK, 0x00000000),
    NUMBER(S_FALSE, 0x00000001),
    NUMBER(E_NOTIMPL, 0x80004001),
    NUMBER(E_NOINTERFACE, 0x80004002),
    NUMBER(E_POINTER, 0x80004003),
    NUMBER(E_FAIL, 0x80004005),
    NUMBER(E_UNEXPECTED, 0x8000FFFF),
    NUMBER(E_ACCESSDENIED, 0x80070005),
    NUMBER(E_OUTOFMEMORY, 0x8007000E),
    NUMBER(E_INVALIDARG, 0x80070057),
    NUMBER(HOST_E_DEADLOCK, 0x80131020),
    NUMBER(HOST_E_INTERRUPTED, 0x80131021),
    NUMBER(HOST_E_INVALIDOPERATION, 0x80131022),
    NUMBER(HOST_E_CLRNOTAVAILABLE, 0x80131023),
    NUMBER(HOST_E_TIMEOUT, 0x80131024),
    NUMBER(HOST_E_NOT_OWNER, 0x80131025),
    NUMBER(HOST_E_ABANDONED, 0x80131026),
    NUMBER(HH_W_INVALID_ADDRESS, 0x800701E7),
    NUMBER(HH_W_NOACCESS, 0x800703E6),
    NUMBER(HH_W_BAD_LENGTH, 0x80070018),
    NUMBER(HH_W_NOT_SUPPORTED, 0x80070032),
    NUMBER(MALLOC_THREADSAFE, 1),
    NUMBER(MALLOC_EXECUTABLE, 2),
    NUMBER(eTaskCritical, 0),
    NUMBER(eAppDomainCritical, 1),
    NUMBER(eProcessCritical, 2),
    NUMBER(eMemoryAvailableLow, 1),
    NUMBER(eMemoryAvailableNeutral, 2),
    NUMBER(eMemoryAvailableHigh, 3),
    NUMBER(MEM_COMMIT, 0x1000),
    NUMBER(MEM_RESERVE, 0x2000),
    NUMBER(MEM_DECOMMIT, 0x4000),
    NUMBER(MEM_RELEASE, 0x8000),
    NUMBER(MEM_FREE, 0x10000),
    NUMBER(MEM_PRIVATE, 0x20000),
    NUMBER(MEM_MAPPED, 0x40000),
    NUMBER(MEM_RESET, 0x80000),
    NUMBER(MEM_TOP_DOWN, 0x100000),
    NUMBER(MEM_WRITE_WATCH, 0x200000),
    NUMBER(MEM_PHYSICAL, 0x400000),
    NUMBER(MEM_IMAGE, 0x1000000),
    NUMBER(MEM_LARGE_PAGES, 0x20000000),
    NUMBER(PAGE_NOACCESS, 0x01),
    NUMBER(PAGE_READONLY, 0x02),
    NUMBER(PAGE_READWRITE, 0x04),
    NUMBER(PAGE_WRITECOPY, 0x08),
    NUMBER(PAGE_EXECUTE, 0x10),
    NUMBER(PAGE_EXECUTE_READ, 0x20),
    NUMBER(PAGE_EXECUTE_READWRITE, 0x40),
    NUMBER(PAGE_EXECUTE_WRITECOPY, 0x80),
    NUMBER(PAGE_GUARD, 0x100),
    NUMBER(PAGE_NOCACHE, 0x200),
    NUMBER(PAGE_WRITECOMBINE, 0x400),
};

// ABI-1, GEN-1: the numbers, as 32-bit values.
static void
every_number_has_the_contract_s_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (numbers[i].value != numbers[i].expected)
            fail_msg("%s is %#x", numbers[i].name, numbers[i].value);
    }
}

struct interface {
    const hh_guid *iid;
    uint8_t bytes[16];
};

// Section 3: the bytes in memory.
static const struct interface interfaces[] = {
    {&IID_IUnknown, {0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}},
    {&IID_IHostMemoryManager,
     {0xD1, 0x98, 0xC6, 0x7B, 0xE3, 0xF9, 0x60, 0x44, 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA,
      0x25}},
    {&IID_IHostMalloc,
     {0x1C, 0x99, 0x31, 0x18, 0x53, 0xCC, 0x31, 0x4A, 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64,
      0x79}},
    {&IID_ICLRMemoryNotificationCallback,
     {0x57, 0x8E, 0xEB, 0x47, 0x46, 0x08, 0x46, 0x45, 0xAF, 0x76, 0x6F, 0x42, 0xFC, 0xFC, 0x26,
      0x49}},
    {&IID_IHostControl,
     {0x3C, 0x07, 0xCA, 0x02, 0x79, 0x70, 0x60, 0x48, 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9,
      0x91}},
};

// COM-1: each id as its bytes lie in memory.
static void
every_interface_id_has_the_contract_s_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(interfaces); i++)
        assert_memory_equal(interfaces[i].iid, interfaces[i].bytes, 16);
}

// ABI-1, ABI-2: the asserts above and here.
static void
every_slot_of_every_table_is_filled(void **state)
{
    (void)state;
    IHostControl *control;
    assert_int_equal(hh_get_host_control(&control), S_OK);
    IHostMalloc *heap = test_heap(MALLOC_THREADSAFE);
    struct {
        const void *table;
        size_t slots;
    } tables[] = {{test_manager()->lpVtbl, 13}, {heap->lpVtbl, 6}, {control->lpVtbl, 5}};
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        for (size_t slot = 0; slot < tables[i].slots; slot++) {
            void *method;
            memcpy(&method, (const char *)tables[i].table + 8 * slot, sizeof method);
            assert_non_null(method); // ABI-1
        }
    }
    test_heap_end(heap);
    control->lpVtbl->Release(control);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_has_the_contract_s_value),
        cmocka_unit_test(every_interface_id_has_the_contract_s_bytes),
        cmocka_unit_test(every_slot_of_every_table_is_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
