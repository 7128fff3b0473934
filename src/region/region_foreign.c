// SPDX-License-Identifier: MIT
// region/region_foreign.c - see region_foreign.h.
#include "region/region_foreign.h"

#include <errno.h>

#include <hostheap/host_types.h>

#include "region/foreign_guard.h"

// Mappings one change may span, since their access must be known to undo it.
enum { FOREIGN_MAPPINGS_MAX = 256 };

static bool
mapping_is_view(const struct hhi_os_mapping *mapping)
{
    return mapping->file && !mapping->shared;
}

uint32_t
hhi_region_foreign_protection(const struct hhi_os_mapping *mapping)
{
    bool execute = (mapping->access & HHI_ACCESS_EXECUTE) != 0;
    if (mapping->access & HHI_ACCESS_WRITE) {
        if (mapping_is_view(mapping))
            return execute ? PAGE_EXECUTE_WRITECOPY : PAGE_WRITECOPY;
        return execute ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    }
    if (mapping->access & HHI_ACCESS_READ)
        return execute ? PAGE_EXECUTE_READ : PAGE_READONLY;
    return execute ? PAGE_EXECUTE : PAGE_NOACCESS;
}

uint32_t
hhi_region_foreign_protection_at(uintptr_t page, const struct hhi_os_mapping *mapping,
                                 uintptr_t *end)
{
    if (mapping->access == HHI_ACCESS_NONE) {
        uint32_t guard = hhi_foreign_guard_find(page);
        *end = hhi_foreign_guard_run_end(page, *end);
        if (guard != 0)
            return guard;
    }
    return hhi_region_foreign_protection(mapping);
}

uint32_t
hhi_region_foreign_type(const struct hhi_os_mapping *mapping)
{
    if (!mapping->shared && !mapping->file)
        return MEM_PRIVATE;
    bool image = mapping_is_view(mapping) && (mapping->access & HHI_ACCESS_EXECUTE);
    return image ? MEM_IMAGE : MEM_MAPPED;
}

bool
hhi_region_foreign_is_view(uintptr_t page)
{
    struct hhi_os_mapping mapping;
    return hhi_os_find_mapping(page, &mapping) == 0 && mapping.start <= page &&
           mapping_is_view(&mapping);
}

struct foreign_span {
    uintptr_t end;
    unsigned access;
};

static void
foreign_restore(const struct foreign_span *spans, unsigned count, uintptr_t first)
{
    for (unsigned i = 0; i < count; i++) {
        hhi_os_protect((void *)first, spans[i].end - first, spans[i].access);
        first = spans[i].end;
    }
}

// Whether a refused change was made in part: the kernel begins with the first mapping of another access.
static bool
foreign_has_changed(const struct foreign_span *spans, unsigned count, uintptr_t first,
                    unsigned access)
{
    struct hhi_os_mapping mapping;
    for (unsigned i = 0; i < count; first = spans[i++].end)
        if (spans[i].access != access)
            return hhi_os_find_mapping(first, &mapping) != 0 || mapping.start > first ||
                   mapping.access != spans[i].access;
    return false;
}

enum hhi_vm_status
hhi_region_foreign_protect(uintptr_t first, uintptr_t end, uint32_t protection, uint32_t *old)
{
    struct foreign_span spans[FOREIGN_MAPPINGS_MAX];
    struct hhi_os_mapping mapping;
    unsigned count = 0;
    uint32_t before = 0;
    bool copy = (protection & (PAGE_WRITECOPY | PAGE_EXECUTE_WRITECOPY)) != 0;
    for (uintptr_t at = first; at < end; at = mapping.end) {
        int result = hhi_os_find_mapping(at, &mapping);
        if (result != 0 && result != -ENOENT)
            return HHI_VM_NO_LIST;
        if (result == -ENOENT || mapping.start > at)
            return HHI_VM_BAD_STATE;
        if (copy && !mapping_is_view(&mapping))
            return HHI_VM_NOT_ALLOWED;
        if (count == FOREIGN_MAPPINGS_MAX)
            return HHI_VM_NO_MEMORY;
        uintptr_t to = mapping.end < end ? mapping.end : end, ignored = to;
        if (count == 0)
            before = hhi_region_foreign_protection_at(first, &mapping, &ignored);
        spans[count++] = (struct foreign_span){to, mapping.access};
    }
    if ((protection & PAGE_GUARD) && !hhi_foreign_guard_has_room(first, end))
        return HHI_VM_NO_MEMORY;
    int result = hhi_os_protect((void *)first, end - first, hhi_region_access(protection));
    if (result == 0) {
        hhi_foreign_guard_set(first, end, protection);
        *old = before;
        return HHI_VM_OK;
    }
    if (foreign_has_changed(spans, count, first, hhi_region_access(protection)))
        foreign_restore(spans, count, first);
    return result == -ENOMEM ? HHI_VM_NO_MEMORY : HHI_VM_NOT_ALLOWED;
}

bool
hhi_region_foreign_guard_fault(uintptr_t page)
{
    struct hhi_os_mapping mapping;
    uint32_t guard = hhi_foreign_guard_find(page);
    uintptr_t end = page + hhi_os_page_bytes();
    if (guard == 0 || hhi_os_find_mapping(page, &mapping) != 0 || mapping.start > page ||
        mapping.access != HHI_ACCESS_NONE)
        return false;
    if (hhi_os_protect((void *)page, end - page, hhi_region_access(guard & ~PAGE_GUARD)) != 0)
        return false;
    hhi_foreign_guard_set(page, end, 0);
    return true;
}
