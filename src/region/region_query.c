// SPDX-License-Identifier: MIT
// region/region_query.c - see region_query.h.
#include "region/region_query.h"

#include <errno.h>

#include <hostheap/host_types.h>

#include "base/bits.h"
#include "os/os.h"
#include "rcu/rcu.h"
#include "region/region.h"
#include "region/region_foreign.h"
#include "region/region_map.h"
#include "region/run_tree.h"

enum { QUERY_TRIES = 8 };

// ---- Ours: all inside a read section ----

static void
answer_host(const struct hhi_region_record *record, const struct hhi_page_run *root, uintptr_t page,
            struct hhi_region_answer *answer)
{
    size_t page_bytes = hhi_os_page_bytes();
    struct hhi_run_span span = hhi_run_tree_find_visible(root, (page - record->base) / page_bytes);
    uintptr_t end = span.end == UINT64_MAX ? record->end : record->base + span.end * page_bytes;
    *answer = (struct hhi_region_answer){
        .base = page,
        .allocation_base = record->base,
        .size_bytes = end - page,
        .allocation_protect = record->allocation_protect,
        .state = span.code == HHI_RUN_RESERVED ? MEM_RESERVE : MEM_COMMIT,
        .protect = span.code,
        .type = MEM_PRIVATE,
    };
}

static void
answer_slab(const struct hhi_region_record *record, uintptr_t page,
            struct hhi_region_answer *answer)
{
    struct hhi_region_part part = {.end = record->end};
    if (record->part != NULL) {
        record->part(record, page, &part);
    } else {
        uintptr_t committed_end = hhi_region_record_committed(record);
        part.committed = page < committed_end;
        if (part.committed && committed_end < record->end)
            part.end = committed_end;
    }
    uint32_t access =
        record->kind == HHI_REGION_EXECUTABLE ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    *answer = (struct hhi_region_answer){
        .base = page,
        .allocation_base = record->base,
        .size_bytes = part.end - page,
        .allocation_protect = access,
        .state = part.committed ? MEM_COMMIT : MEM_RESERVE,
        .protect = !part.committed ? 0
                   : part.guard    ? PAGE_NOACCESS
                                   : access,
        .type = MEM_PRIVATE,
    };
}

static bool
query_ours(uintptr_t page, struct hhi_region_answer *answer)
{
    struct hhi_region_record *record = hhi_region_map_find(page);
    if (record == NULL || page >= record->end)
        return false;
    // order: acquire [RM-2] reads the run tree; the one instant the answer is of.
    const void *state = hh_load_acquire(&record->state);
    if (state == NULL)
        return false;
    if (record->kind == HHI_REGION_HOST)
        answer_host(record, state, page, answer);
    else
        answer_slab(record, page, answer);
    return true;
}

// ---- Not ours ----

// Start of the nearest region of ours above page, the limit if there is none.
static uintptr_t
next_base(uintptr_t page)
{
    struct hhi_region_record *record = hhi_region_map_next(page);
    return record == NULL ? HHI_ADDRESS_LIMIT : record->base;
}

/*
 * Whether the page is mapped by us and yet free: a tail, or without access in a region on its way
 * in or out. (On its way in it may have access: then its pages are told as the kernel has them, which is
 * what they are going to be.) *end: how far, at most.
 */
static bool
page_is_hidden(uintptr_t page, const struct hhi_os_mapping *mapping, uintptr_t *end)
{
    if (hhi_region_is_tail(page, end))
        return true;
    struct hhi_region_record *record = hhi_region_map_find(page);
    if (record == NULL || hhi_region_map_find_live(record->base) == record)
        return false;
    if (mapping->access != HHI_ACCESS_NONE || mapping->shared || mapping->file)
        return false;
    uintptr_t granules_end = hh_align_up(record->end, HHI_REGION_GRANULE_BYTES);
    *end = granules_end < mapping->end ? granules_end : mapping->end;
    return true;
}

// As hhi_os_find_mapping; above the last mapping it is an empty one at the limit.
static int
find_mapping(uintptr_t address, struct hhi_os_mapping *mapping)
{
    int result = hhi_os_find_mapping(address, mapping);
    if (result == -ENOENT || (result == 0 && mapping->start >= HHI_ADDRESS_LIMIT)) {
        *mapping = (struct hhi_os_mapping){HHI_ADDRESS_LIMIT, HHI_ADDRESS_LIMIT, 0, false, false};
        return 0;
    }
    if (result == 0 && mapping->end > HHI_ADDRESS_LIMIT)
        mapping->end = HHI_ADDRESS_LIMIT;
    return result;
}

// The free run that begins at page: up to a region of ours or what somebody else has mapped.
static int
answer_free(uintptr_t page, struct hhi_region_answer *answer)
{
    uintptr_t limit = next_base(page);
    uintptr_t at = page;
    while (at < limit) {
        struct hhi_os_mapping mapping;
        uintptr_t hidden_end;
        int result = find_mapping(at, &mapping);
        if (result != 0)
            return result;
        if (mapping.start > at)
            at = mapping.start;
        if (at >= limit || !page_is_hidden(at, &mapping, &hidden_end))
            break;
        at = hidden_end;
    }
    *answer = (struct hhi_region_answer){
        .base = page,
        .size_bytes = (at < limit ? at : limit) - page,
        .state = MEM_FREE,
        .protect = PAGE_NOACCESS,
    };
    return 0;
}

// Highest end of a region or tail of ours at or below page, at least from.
static uintptr_t
clip_below(uintptr_t page, uintptr_t from)
{
    size_t page_bytes = hhi_os_page_bytes();
    struct hhi_region_record *record = hhi_region_map_find(page);
    if (record == NULL || hhi_region_map_find_live(record->base) != record)
        record = hhi_region_map_previous(page);
    if (record == NULL)
        return from;
    if (record->end > from)
        from = record->end;
    uintptr_t granules_end = hh_align_up(record->end, HHI_REGION_GRANULE_BYTES);
    for (uintptr_t tail = record->end; tail < granules_end && tail < page; tail += page_bytes) {
        uintptr_t end;
        if (hhi_region_is_tail(tail, &end) && tail + page_bytes > from)
            from = tail + page_bytes;
    }
    return from;
}

// Lowest start of a region or tail of ours above page, at most to.
static uintptr_t
clip_above(uintptr_t page, uintptr_t to)
{
    size_t page_bytes = hhi_os_page_bytes();
    uintptr_t granule_end =
        hh_align_down(page, HHI_REGION_GRANULE_BYTES) + HHI_REGION_GRANULE_BYTES;
    uintptr_t next = next_base(page);
    if (next < to)
        to = next;
    for (uintptr_t tail = page + page_bytes; tail < granule_end && tail < to; tail += page_bytes) {
        uintptr_t end;
        if (hhi_region_is_tail(tail, &end))
            return tail;
    }
    return to;
}

static void
answer_foreign(uintptr_t page, const struct hhi_os_mapping *mapping,
               struct hhi_region_answer *answer)
{
    uintptr_t end = clip_above(page, mapping->end);
    uint32_t protection = hhi_region_foreign_protection_at(page, mapping, &end);
    *answer = (struct hhi_region_answer){
        .base = page,
        .allocation_base = clip_below(page, mapping->start),
        .size_bytes = end - page,
        .allocation_protect = protection,
        .state = MEM_COMMIT,
        .protect = protection,
        .type = hhi_region_foreign_type(mapping),
    };
}

static int
query_others(uintptr_t page, struct hhi_region_answer *answer)
{
    struct hhi_os_mapping mapping;
    uintptr_t hidden_end;
    int result = find_mapping(page, &mapping);
    if (result != 0)
        return result;
    if (mapping.start > page || page_is_hidden(page, &mapping, &hidden_end))
        return answer_free(page, answer);
    answer_foreign(page, &mapping, answer);
    return 0;
}

int
hhi_region_query(uintptr_t address, struct hhi_region_answer *answer)
{
    uintptr_t page = hh_align_down(address, hhi_os_page_bytes());
    int result = 0;
    for (int attempt = 0; attempt < QUERY_TRIES; attempt++) {
        uint64_t version = hhi_region_map_version();
        hhi_rcu_section section = hhi_rcu_enter();
        bool ours = query_ours(page, answer);
        result = ours ? 0 : query_others(page, answer);
        hhi_rcu_leave(section);
        if (ours || version == hhi_region_map_version())
            break;
    }
    return result;
}
