// SPDX-License-Identifier: MIT
// host/host_virtual.c - see host_virtual.h. Arguments and answers; the work is in region/.

#include "host/host_virtual.h"

#include <string.h>

#include "base/bits.h"
#include "heap/heap.h"
#include "os/os.h"
#include "region/region.h"
#include "region/region_foreign.h"
#include "region/region_query.h"

#define LOWEST_ADDRESS ((uintptr_t)0x10000)

_Static_assert(sizeof(hh_memory_basic_information) == 48, "contract 8.5");

static uintptr_t
page_down(uintptr_t address)
{
    return hh_align_down(address, hhi_os_page_bytes());
}

static uintptr_t
page_up(uintptr_t address)
{
    return hh_align_up(address, hhi_os_page_bytes());
}

// PG-1 to PG-4.
static bool
protection_is_valid(uint32_t protection)
{
    uint32_t base = protection & ~PAGE_GUARD;
    switch (base) {
    case PAGE_NOACCESS:
        return base == protection; // PG-3
    case PAGE_READONLY:
    case PAGE_READWRITE:
    case PAGE_EXECUTE:
    case PAGE_EXECUTE_READ:
    case PAGE_EXECUTE_READWRITE:
        return true;
    default:
        return false;
    }
}

// ---- VirtualAlloc ----

// Rows 2 to 7.
static bool
alloc_arguments_are_valid(uintptr_t address, size_t size_bytes, uint32_t type, uint32_t protection)
{
    if (type & ~(MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_TOP_DOWN))
        return false;
    if (!(type & (MEM_COMMIT | MEM_RESERVE | MEM_RESET)))
        return false;
    if ((type & MEM_RESET) && type != MEM_RESET)
        return false;
    if (!protection_is_valid(protection) || size_bytes == 0)
        return false;
    if (address != 0 && address < LOWEST_ADDRESS)
        return false;
    return address < HHI_ADDRESS_LIMIT && size_bytes <= HHI_ADDRESS_LIMIT - address;
}

static hh_hresult
alloc_result(enum hhi_vm_status status)
{
    switch (status) {
    case HHI_VM_OK:
        return S_OK;
    case HHI_VM_BAD_STATE:
        return HH_W_INVALID_ADDRESS;
    default:
        return E_OUTOFMEMORY;
    }
}

// A refusal by the kernel is tried again as the level allows (section 10).
static bool
alloc_try_again(enum hhi_vm_status status, uint32_t level, unsigned attempt,
                struct hhi_tries *tries)
{
    return status == HHI_VM_NO_MEMORY && hhi_limit_retry(level, attempt, tries);
}

static hh_hresult
alloc_reserve(uintptr_t address, size_t size_bytes, bool commit, uint32_t protection,
              uint32_t level, void **result)
{
    uintptr_t base = 0;
    size_t charge_bytes = 0;
    if (commit) {
        uintptr_t from = hh_align_down(address, HHI_REGION_GRANULE_BYTES);
        charge_bytes = page_up(address + size_bytes) - from;
        if (!hhi_limit_charge(charge_bytes, level)) // row 9, unless row 8 holds
            return address == 0 || hhi_region_place_is_free(address, size_bytes)
                       ? E_OUTOFMEMORY
                       : HH_W_INVALID_ADDRESS;
    }
    enum hhi_vm_status status;
    struct hhi_tries tries = {.size_bytes = size_bytes, .outside = true};
    unsigned attempt = 0;
    do {
        status = hhi_region_reserve(address, size_bytes, protection, commit, &base, &tries);
    } while (alloc_try_again(status, level, attempt++, &tries));
    if (status == HHI_VM_OK) {
        *result = (void *)base;
        hhi_limit_refill_reserve();
    } else if (commit) {
        hhi_limit_discharge(charge_bytes);
    }
    return alloc_result(status);
}

/*
 * The charge is made outside the regions' lock, since it may purge and wait; what has to be charged
 * is known only under it. So: ask, charge, do; once more if pages were decommitted in between.
 */
static hh_hresult
alloc_commit(uintptr_t address, size_t size_bytes, uint32_t protection, uint32_t level,
             void **result)
{
    uintptr_t first = page_down(address), end = page_up(address + size_bytes);
    size_t charged_bytes = 0;
    struct hhi_tries tries = {.size_bytes = size_bytes, .outside = true};
    unsigned attempt = 0;
    enum hhi_vm_status status;
    for (;;) {
        size_t bytes = charged_bytes;
        status = hhi_region_commit(first, end, protection, &bytes, &tries);
        if (status == HHI_VM_CHARGE_MORE) {
            if (!hhi_limit_charge(bytes - charged_bytes, level)) {
                status = HHI_VM_NOT_ALLOWED;
                break;
            }
            charged_bytes = bytes;
        } else if (!alloc_try_again(status, level, attempt++, &tries)) {
            if (status == HHI_VM_OK && bytes < charged_bytes) {
                hhi_limit_discharge(charged_bytes - bytes);
                charged_bytes = bytes;
            }
            break;
        }
    }
    if (status == HHI_VM_OK) {
        *result = (void *)first;
        hhi_limit_refill_reserve();
    } else if (charged_bytes != 0) {
        hhi_limit_discharge(charged_bytes);
    }
    return alloc_result(status);
}

// Only pages that lie wholly inside are given up (DECISION 27).
static hh_hresult
alloc_reset(uintptr_t address, size_t size_bytes, void **result)
{
    uintptr_t end = address + size_bytes;
    if (address == 0)
        return HH_W_INVALID_ADDRESS; // DECISION 26
    enum hhi_vm_status status =
        hhi_region_reset(page_down(address), page_up(end), page_up(address), page_down(end));
    if (status == HHI_VM_OK)
        *result = (void *)page_down(address);
    return alloc_result(status);
}

hh_hresult
hhi_host_virtual_alloc(IHostMemoryManager *self, void *address, size_t size_bytes,
                       uint32_t allocation_type, uint32_t protection, uint32_t level, void **result)
{
    (void)self;
    uintptr_t at = (uintptr_t)address;
    if (result == NULL)
        return E_POINTER;
    *result = NULL;
    if (!alloc_arguments_are_valid(at, size_bytes, allocation_type, protection))
        return E_INVALIDARG;
    bool commit = (allocation_type & MEM_COMMIT) != 0;
    level = hhi_level_of_host(level);
    if (allocation_type & MEM_RESET)
        return alloc_reset(at, size_bytes, result);
    if ((allocation_type & MEM_RESERVE) || at == 0)
        return alloc_reserve(at, size_bytes, commit, protection, level, result);
    return alloc_commit(at, size_bytes, protection, level, result);
}

// ---- VirtualFree ----

hh_hresult
hhi_host_virtual_free(IHostMemoryManager *self, void *address, size_t size_bytes,
                      uint32_t free_type)
{
    (void)self;
    enum hhi_vm_status status;
    size_t freed_bytes = 0;
    if (free_type == MEM_RELEASE && size_bytes == 0)
        status = hhi_region_release((uintptr_t)address, &freed_bytes);
    else if (free_type == MEM_DECOMMIT)
        status = hhi_region_decommit((uintptr_t)address, size_bytes, &freed_bytes);
    else
        return E_INVALIDARG;
    if (freed_bytes != 0)
        hhi_limit_discharge(freed_bytes);
    switch (status) {
    case HHI_VM_OK:
        return S_OK;
    case HHI_VM_NOT_FIRST:
        return HH_W_INVALID_ADDRESS;
    case HHI_VM_BAD_RANGE:
        return E_INVALIDARG;
    case HHI_VM_NO_MEMORY:
        return E_OUTOFMEMORY;
    default:
        return HOST_E_INVALIDOPERATION;
    }
}

// ---- VirtualQuery ----

hh_hresult
hhi_host_virtual_query(IHostMemoryManager *self, void *address, void *buffer, size_t length_bytes,
                       size_t *result_bytes)
{
    (void)self;
    struct hhi_region_answer answer;
    if (result_bytes == NULL)
        return E_POINTER;
    *result_bytes = 0;
    if (buffer == NULL)
        return HH_W_NOACCESS;
    if (length_bytes < sizeof(hh_memory_basic_information))
        return HH_W_BAD_LENGTH;
    if ((uintptr_t)address >= HHI_ADDRESS_LIMIT)
        return E_INVALIDARG;
    if (hhi_region_query((uintptr_t)address, &answer) != 0)
        return HH_W_NOT_SUPPORTED;
    hh_memory_basic_information information = {
        .BaseAddress = (void *)answer.base,
        .AllocationBase = (void *)answer.allocation_base,
        .AllocationProtect = answer.allocation_protect,
        .RegionSize = answer.size_bytes,
        .State = answer.state,
        .Protect = answer.protect,
        .Type = answer.type,
    };
    memcpy(buffer, &information, sizeof information);
    *result_bytes = sizeof information;
    return S_OK;
}

// ---- VirtualProtect ----

// Private file mappings, which are never ours, may be put back to copy-on-write (PR-5).
static bool
protection_fits(uint32_t protection, uintptr_t address)
{
    if (protection == PAGE_WRITECOPY || protection == PAGE_EXECUTE_WRITECOPY)
        return address < HHI_ADDRESS_LIMIT && hhi_region_foreign_is_view(page_down(address));
    return protection_is_valid(protection);
}

static hh_hresult
protect_result(enum hhi_vm_status status)
{
    switch (status) {
    case HHI_VM_OK:
        return S_OK;
    case HHI_VM_SLAB:
        return HOST_E_INVALIDOPERATION;
    case HHI_VM_NO_MEMORY:
        return E_OUTOFMEMORY;
    case HHI_VM_NOT_ALLOWED:
        return E_INVALIDARG;
    case HHI_VM_NO_LIST:
        return HH_W_NOT_SUPPORTED;
    default:
        return HH_W_INVALID_ADDRESS;
    }
}

hh_hresult
hhi_host_virtual_protect(IHostMemoryManager *self, void *address, size_t size_bytes,
                         uint32_t protection, uint32_t *old_protection)
{
    (void)self;
    uintptr_t at = (uintptr_t)address;
    if (old_protection != NULL)
        *old_protection = PAGE_NOACCESS; // PR-9
    if (!protection_fits(protection, at))
        return E_INVALIDARG;
    if (old_protection == NULL)
        return HH_W_NOACCESS;
    if (size_bytes == 0 || at >= HHI_ADDRESS_LIMIT || size_bytes > HHI_ADDRESS_LIMIT - at)
        return E_INVALIDARG;
    uint32_t old;
    enum hhi_vm_status status =
        hhi_region_protect(page_down(at), page_up(at + size_bytes), protection, &old);
    if (status == HHI_VM_OK)
        *old_protection = old;
    return protect_result(status);
}

int
hh_guard_fault(const void *address)
{
    return hhi_region_guard_fault((uintptr_t)address) ? 1 : 0;
}
