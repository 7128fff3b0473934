// SPDX-License-Identifier: MIT
// The same interface through C++ abstract classes with the same slots, as a runtime sees it (ABI-1).

#include <cstring>

extern "C" {
#include "support/host.h"
}

// Not in an unnamed namespace: the compiler would know that no class here implements them.

// The methods in the order of contract section 3, no virtual destructor, nothing else.
struct Unknown {
    virtual int32_t QueryInterface(const hh_guid &riid, void **ppv) = 0;
    virtual uint32_t AddRef() = 0;
    virtual uint32_t Release() = 0;
};

struct Malloc : Unknown {
    virtual int32_t Alloc(size_t size_bytes, EMemoryCriticalLevel level, void **block) = 0;
    virtual int32_t DebugAlloc(size_t size_bytes, EMemoryCriticalLevel level, char *file, int line,
                               void **block) = 0;
    virtual int32_t Free(void *block) = 0;
};

struct Callback : Unknown {
    virtual int32_t OnMemoryNotification(EMemoryAvailable available) = 0;
};

struct Manager : Unknown {
    virtual int32_t CreateMalloc(uint32_t type, Malloc **heap) = 0;
    virtual int32_t VirtualAlloc(void *address, size_t size_bytes, uint32_t type,
                                 uint32_t protection, EMemoryCriticalLevel level,
                                 void **result) = 0;
    virtual int32_t VirtualFree(void *address, size_t size_bytes, uint32_t type) = 0;
    virtual int32_t VirtualQuery(void *address, void *buffer, size_t length_bytes,
                                 size_t *result_bytes) = 0;
    virtual int32_t VirtualProtect(void *address, size_t size_bytes, uint32_t protection,
                                   uint32_t *old) = 0;
    virtual int32_t GetMemoryLoad(uint32_t *load, size_t *available_bytes) = 0;
    virtual int32_t RegisterMemoryNotificationCallback(Callback *callback) = 0;
    virtual int32_t NeedsVirtualAddressSpace(void *start, size_t size_bytes) = 0;
    virtual int32_t AcquiredVirtualAddressSpace(void *start, size_t size_bytes) = 0;
    virtual int32_t ReleasedVirtualAddressSpace(void *start) = 0;
};

struct Control : Unknown {
    virtual int32_t GetHostManager(const hh_guid &riid, void **object) = 0;
    virtual int32_t SetAppDomainManager(uint32_t domain_id, Unknown *manager) = 0;
};

namespace {

Manager *
manager_of_control()
{
    IHostControl *control = nullptr;
    assert_int_equal(hh_get_host_control(&control), S_OK);
    Manager *manager = nullptr;
    Control *door = reinterpret_cast<Control *>(control);
    assert_int_equal(
        door->GetHostManager(IID_IHostMemoryManager, reinterpret_cast<void **>(&manager)), S_OK);
    assert_int_equal(door->SetAppDomainManager(1, nullptr), S_OK);
    door->Release();
    return manager;
}

void
a_class_with_the_same_slots_creates_a_heap_and_uses_it(void **)
{
    Manager *manager = manager_of_control();
    Malloc *heap = nullptr;
    assert_int_equal(manager->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
    void *block = nullptr;
    assert_int_equal(heap->Alloc(100, eAppDomainCritical, &block), S_OK);
    memset(block, 0x5A, 100);
    char file[] = "loader.cpp";
    void *second = nullptr;
    assert_int_equal(heap->DebugAlloc(200, eTaskCritical, file, 17, &second), S_OK);
    assert_ptr_not_equal(block, second);
    assert_int_equal(heap->Free(block), S_OK);
    assert_int_equal(heap->Free(block), HOST_E_INVALIDOPERATION);
    assert_int_equal(heap->Free(second), S_OK);
    assert_int_equal(heap->AddRef(), 2);
    assert_int_equal(heap->Release(), 1);
    assert_int_equal(heap->Release(), 0);
    manager->Release();
}

void
a_class_with_the_same_slots_asks_for_interfaces(void **)
{
    Manager *manager = manager_of_control();
    void *unknown = nullptr;
    assert_int_equal(manager->QueryInterface(IID_IUnknown, &unknown), S_OK);
    assert_ptr_equal(unknown, manager);
    void *heap = &unknown;
    assert_int_equal(manager->QueryInterface(IID_IHostMalloc, &heap), E_NOINTERFACE);
    assert_null(heap);
    manager->Release();
    manager->Release();
}

// The null out-pointer is what tells slots apart: each answers with a code of its own (GEN-3).
void
each_slot_of_the_manager_is_the_method_of_that_name(void **)
{
    Manager *manager = manager_of_control();
    assert_int_equal(manager->CreateMalloc(4, nullptr), E_POINTER);
    assert_int_equal(manager->VirtualAlloc(nullptr, 0, 0, 0, eTaskCritical, nullptr), E_POINTER);
    size_t result_bytes = 77;
    assert_true(manager->VirtualQuery(nullptr, nullptr, 0, &result_bytes) < 0);
    assert_int_equal(result_bytes, 0);
    int32_t protect = manager->VirtualProtect(nullptr, 0, PAGE_READONLY, nullptr);
    assert_true(protect == HH_W_NOACCESS || protect == E_INVALIDARG);
    uint32_t load = 0;
    assert_int_equal(manager->GetMemoryLoad(&load, nullptr), E_POINTER);
    manager->Release();
}

} // namespace

int
main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_with_the_same_slots_creates_a_heap_and_uses_it),
        cmocka_unit_test(a_class_with_the_same_slots_asks_for_interfaces),
        cmocka_unit_test(each_slot_of_the_manager_is_the_method_of_that_name),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
