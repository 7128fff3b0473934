// SPDX-License-Identifier: MIT
// region/region.c - see region.h.
#include "region/region.h"

#include <errno.h>

#include <hostheap/host_types.h>

#include "base/bits.h"
#include "base/check.h"
#include "meta/meta_arena.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/region_foreign.h"
#include "region/run_tree.h"

static struct {
    struct hhi_lock lock;
    bool ready;                   // under the lock
    struct hhi_rcu_link *zombies; // released, but the kernel would not unmap them; under the lock
    // Below it the next allocation anywhere is tried, since the kernel gives out addresses downwards; 0:
    // the kernel is asked for a place. Under the lock.
    uintptr_t hint;
} regions;

_Static_assert(sizeof(struct hhi_region) == HH_CACHE_LINE_BYTES, "what a query reads is one line");

static struct hhi_rcu_pool region_pool HH_START_STATE = {.record_bytes = sizeof(struct hhi_region)};

#define PLACE_HUGE_BYTES ((uintptr_t)2 << 20)
enum { PLACES_LOST_MOST = 32 }; // to others, before an allocation is refused

static size_t
page_bytes(void)
{
    return hhi_os_page_bytes();
}

static void
regions_enter(void)
{
    hhi_lock_enter(&regions.lock);
    if (hh_likely(regions.ready))
        return;
    regions.ready = true;
    hhi_run_tree_init(hhi_os_random());
    hhi_rcu_pool_add(&region_pool);
}

// Leaves, and lets what was retired be reclaimed.
static void
regions_leave(void)
{
    hhi_lock_leave(&regions.lock);
    hhi_rcu_poke();
}

struct hhi_region *
hhi_region_of(struct hhi_region_record *record)
{
    return hh_container_of(record, struct hhi_region, record);
}

unsigned
hhi_region_access(uint32_t protection)
{
    if (protection & PAGE_GUARD)
        return HHI_ACCESS_NONE;
    switch (protection & 0xFF) {
    case PAGE_READONLY:
        return HHI_ACCESS_READ;
    case PAGE_READWRITE:
    case PAGE_WRITECOPY:
        return HHI_ACCESS_READ | HHI_ACCESS_WRITE;
    case PAGE_EXECUTE: // DECISION 22
    case PAGE_EXECUTE_READ:
        return HHI_ACCESS_READ | HHI_ACCESS_EXECUTE;
    case PAGE_EXECUTE_READWRITE:
    case PAGE_EXECUTE_WRITECOPY:
        return HHI_ACCESS_READ | HHI_ACCESS_WRITE | HHI_ACCESS_EXECUTE;
    default:
        return HHI_ACCESS_NONE;
    }
}

static const struct hhi_page_run *
region_root(const struct hhi_region *region)
{
    // relaxed: written under the lock, which is held.
    return hh_load_relaxed(&region->record.state);
}

// Make an edited tree the region's, for readers without the lock.
static void
tree_publish(struct hhi_region *region, struct hhi_run_edit *edit)
{
    // order: release [RM-2] publishes the tree.
    hh_store_release(&region->record.state, (const void *)edit->root);
    hhi_run_edit_commit(edit);
}

static uint64_t
region_page(const struct hhi_region *region, uintptr_t address)
{
    return (address - region->record.base) / page_bytes();
}

// The host allocation that holds address, NULL if none. Under the lock, so it stays.
static struct hhi_region *
region_at(uintptr_t address)
{
    struct hhi_region_record *record = hhi_region_map_find_live(address);
    if (record == NULL || record->kind != HHI_REGION_HOST)
        return NULL;
    return hhi_region_of(record);
}

// ---- Reserve ----

static uintptr_t
granules_end(uintptr_t end)
{
    uintptr_t up = hh_align_up(end, HHI_REGION_GRANULE_BYTES);
    return up > HHI_ADDRESS_LIMIT ? HHI_ADDRESS_LIMIT : up;
}

/*
 * Unmap an allocation and its tail. Each page is unmapped once, since somebody else may map it the
 * moment it is free. False: nothing was unmapped.
 */
static bool
region_unmap(const struct hhi_region *region)
{
    uintptr_t page = page_bytes();
    unsigned k = 0;
    while (region->tail_pages >> k & 1)
        k++;
    size_t size_bytes = region->record.end - region->record.base + k * page;
    if (hhi_os_release((void *)region->record.base, size_bytes) != 0)
        return false;
    for (; region->tail_pages >> k != 0; k++) {
        if (region->tail_pages >> k & 1)
            hhi_os_release((void *)(region->record.end + k * page), page);
    }
    return true;
}

/*
 * Enter the metadata arena's new chunks into the region map, so that queries call them ours. They
 * can not enter themselves, since the map's nodes lie in them. A chunk without memory for its
 * record waits for the next time.
 */
static void
chunks_publish(void)
{
    static const struct hhi_meta_chunk *last; // entered; under the lock
    const struct hhi_meta_chunk *chunk;
    while ((chunk = hhi_meta_next_chunk(last)) != NULL) {
        struct hhi_region_record *record = hhi_meta_alloc(sizeof *record);
        if (record == NULL)
            return;
        record->base = (uintptr_t)chunk;
        record->end = record->base + chunk->size_bytes;
        record->kind = HHI_REGION_METADATA;
        hhi_region_record_set_committed(record, record->end);
        if (hhi_region_map_insert(record) != 0)
            return;
        last = chunk;
    }
}

// Take the tail as far as nobody stands there.
static void
tail_take(struct hhi_region *region)
{
    uintptr_t page = page_bytes();
    uintptr_t end = region->record.end;
    unsigned count = (unsigned)((granules_end(end) - end) / page);
    region->tail_pages = 0;
    if (count == 0)
        return;
    intptr_t result = hhi_os_reserve((void *)end, count * page);
    if (result >= 0)
        region->tail_pages = (1u << count) - 1;
    for (unsigned k = 0; k < count && result == -EEXIST; k++) {
        if (hhi_os_reserve((void *)(end + k * page), page) >= 0)
            region->tail_pages |= 1u << k;
    }
}

// Enter a region into the map, unpublished. 0; -EBUSY: something of ours is there; -ENOMEM.
static int
region_enter(struct hhi_region *region, uintptr_t base, size_t size_bytes)
{
    region->record.base = base;
    region->record.end = base + size_bytes;
    region->tail_pages = 0;
    int result = hhi_region_map_prepare(&region->record);
    return result == -EEXIST ? -EBUSY : result;
}

/*
 * Map the pages of a region that was entered, with their access, so that nothing has to be undone when the kernel
 * refuses; then it is in the map no more. Until it is published a query finds what the kernel shows: pages without
 * access count as free, the others are told as they are going to be. 0 or -errno.
 */
static int
region_map(struct hhi_region *region, unsigned access)
{
    size_t size_bytes = region->record.end - region->record.base, tail_bytes = 0;
    if (access == HHI_ACCESS_NONE && region->anywhere) // then the tail comes with the pages
        tail_bytes = granules_end(region->record.end) - region->record.end;
    intptr_t found = hhi_os_map_at((void *)region->record.base, size_bytes + tail_bytes, access);
    if (found < 0) {
        hhi_region_map_withdraw(&region->record);
        return (int)found;
    }
    region->tail_pages = (1u << tail_bytes / page_bytes()) - 1;
    if (tail_bytes == 0)
        tail_take(region);
    return 0;
}

// Large places begin where a huge page can, as those do that the kernel chooses.
static uintptr_t
place_alignment(size_t taken_bytes)
{
    return taken_bytes >= PLACE_HUGE_BYTES ? PLACE_HUGE_BYTES : HHI_REGION_GRANULE_BYTES;
}

static uintptr_t
place_below(uintptr_t end, size_t taken_bytes)
{
    return hh_align_down(end - taken_bytes, place_alignment(taken_bytes));
}

static struct hhi_region *
host_record(uint32_t protection, bool anywhere)
{
    struct hhi_region *region = hhi_rcu_pool_take(&region_pool);
    if (region == NULL)
        return NULL;
    region->record.kind = HHI_REGION_HOST;
    region->record.allocation_protect = protection;
    region->record.part = NULL;
    region->anywhere = anywhere;
    return region;
}

// Another record for another place: a query may have met this one in the map.
static struct hhi_region *
host_record_another(struct hhi_region *region)
{
    uint32_t protection = region->record.allocation_protect;
    hhi_rcu_pool_retire(&region_pool, region);
    return host_record(protection, true);
}

// Where the kernel has room. It is kept from others while the map grows, and from then on for no longer.
// -EEXIST: somebody else has mapped something there meanwhile, and the record was in the map.
static int
region_map_found(struct hhi_region *region, size_t size_bytes, unsigned access)
{
    size_t taken_bytes = hh_align_up(size_bytes, HHI_REGION_GRANULE_BYTES);
    size_t found_bytes = taken_bytes + place_alignment(taken_bytes) - page_bytes();
    intptr_t found = hhi_os_reserve(NULL, found_bytes);
    if (found < 0)
        return found == -EEXIST ? -ENOMEM : (int)found;
    uintptr_t base = place_below((uintptr_t)found + found_bytes, taken_bytes);
    regions.hint = base + taken_bytes; // for the next try, if this one is refused in spite of it
    int result = region_enter(region, base, size_bytes);
    bool released = hhi_os_release((void *)found, found_bytes) == 0;
    if (result != 0 || released)
        return result != 0 ? result : region_map(region, access);
    // What can not be unmapped is used as it is.
    region->tail_pages = (1u << (taken_bytes - size_bytes) / page_bytes()) - 1;
    if (access != HHI_ACCESS_NONE)
        result = hhi_os_protect((void *)base, size_bytes, access);
    if (result != 0)
        hhi_region_map_withdraw(&region->record);
    return result;
}

static enum hhi_vm_status
region_map_anywhere(struct hhi_region **region, size_t size_bytes, unsigned access)
{
    size_t taken_bytes = hh_align_up(size_bytes, HHI_REGION_GRANULE_BYTES);
    int result = -EBUSY;
    if (regions.hint > taken_bytes + PLACE_HUGE_BYTES)
        result = region_enter(*region, place_below(regions.hint, taken_bytes), size_bytes);
    if (result == 0) {
        result = region_map(*region, access);
        if (result == -EEXIST)
            *region = host_record_another(*region);
        if (*region == NULL)
            return HHI_VM_NO_MEMORY;
    }
    if (result == -EBUSY || result == -EEXIST) {
        regions.hint = 0;
        result = region_map_found(*region, size_bytes, access);
    }
    // Other threads of the process map, too, and get the highest place that is free.
    for (unsigned lost = 1; result == -EEXIST && lost < PLACES_LOST_MOST; lost++) {
        *region = host_record_another(*region);
        if (*region == NULL)
            return HHI_VM_NO_MEMORY;
        result = region_map_found(*region, size_bytes, access);
    }
    if (result != 0)
        return HHI_VM_NO_MEMORY;
    regions.hint = (*region)->record.base;
    return HHI_VM_OK;
}

// Whether a region that queries see holds an address of [first, end), whole granules but for the end.
static bool
range_is_taken(uintptr_t first, uintptr_t end)
{
    const struct hhi_region_record *next = hhi_region_map_next(first);
    return hhi_region_map_find_live(first) != NULL || (next != NULL && next->base < end);
}

static enum hhi_vm_status
region_map_there(struct hhi_region *region, uintptr_t base, uintptr_t end, unsigned access)
{
    int result = region_enter(region, base, end - base);
    if (result == 0)
        result = region_map(region, access);
    if (result == 0)
        return HHI_VM_OK;
    if (result == -EBUSY) // what waits to be unmapped counts as free, and is only not to be had
        return range_is_taken(base, end) ? HHI_VM_BAD_STATE : HHI_VM_NO_MEMORY;
    return result == -EEXIST || result == -EPERM ? HHI_VM_BAD_STATE : HHI_VM_NO_MEMORY;
}

static void
zombie_add(struct hhi_region *region)
{
    struct hhi_rcu_link **link = &regions.zombies;
    while (*link != NULL)
        link = &(*link)->next;
    region->link.next = NULL;
    *link = &region->link;
}

// Try again to unmap what the kernel would not, until it would not again: the next time another one is first.
static void
zombies_bury(void)
{
    while (regions.zombies != NULL) {
        struct hhi_region *region = hh_container_of(regions.zombies, struct hhi_region, link);
        regions.zombies = region->link.next;
        if (!region_unmap(region)) {
            zombie_add(region);
            return;
        }
        hhi_region_map_withdraw(&region->record);
        hhi_rcu_pool_retire(&region_pool, region);
    }
}

// Whether something that the kernel would not unmap lies in [first, end), when it was asked again.
static bool
zombies_stay(uintptr_t first, uintptr_t end)
{
    zombies_bury();
    for (struct hhi_rcu_link *link = regions.zombies; link != NULL; link = link->next) {
        const struct hhi_region *region = hh_container_of(link, struct hhi_region, link);
        if (region->record.base < end && region->record.end > first)
            return true;
    }
    return false;
}

bool
hhi_region_bury_within(uintptr_t first, uintptr_t end)
{
    regions_enter();
    bool stay = zombies_stay(first, end);
    regions_leave();
    return !stay;
}

/*
 * The end of a region that is in the map and not published, or no longer. Where the map limit forbids to
 * cut the range out of a larger mapping it stays there, emptied, until zombies_bury succeeds: a record
 * that left the map before its range would leave the address to the kernel's refusals for ever.
 */
static void
region_bury(struct hhi_region *region)
{
    if (!region_unmap(region)) {
        void *start = (void *)region->record.base;
        size_t size_bytes = region->record.end - region->record.base;
        hhi_os_protect(start, size_bytes, HHI_ACCESS_NONE);
        hhi_os_purge(start, size_bytes);
        zombie_add(region);
        return;
    }
    uintptr_t end = granules_end(region->record.end);
    if (region->anywhere && end > regions.hint)
        regions.hint = end; // the highest place that is free, as the kernel would have it
    hhi_region_map_withdraw(&region->record);
    hhi_rcu_pool_retire(&region_pool, region);
}

enum hhi_vm_status
hhi_region_reserve(uintptr_t address, size_t size_bytes, uint32_t protection, bool commit,
                   uintptr_t *base, struct hhi_tries *tries)
{
    uintptr_t page = page_bytes();
    uint32_t code = commit ? protection : HHI_RUN_RESERVED;
    enum hhi_vm_status status = HHI_VM_NO_MEMORY;
    regions_enter();
    uint64_t calls = hhi_os_calls_now();
    zombies_bury();
    struct hhi_region *region = host_record(protection, address == 0);
    if (region != NULL) {
        unsigned access = hhi_region_access(code);
        uintptr_t down = hh_align_down(address, HHI_REGION_GRANULE_BYTES);
        status = address == 0 ? region_map_anywhere(&region, hh_align_up(size_bytes, page), access)
                              : region_map_there(region, down,
                                                 hh_align_up(address + size_bytes, page), access);
    }
    if (status == HHI_VM_OK) {
        hhi_region_map_publish(&region->record, hhi_run_tree_single(code));
        *base = region->record.base;
        chunks_publish();
    } else if (region != NULL) {
        // A query may have met the record in the map, unpublished as it was: retired, not freed.
        hhi_rcu_pool_retire(&region_pool, region);
    }
    tries->calls += (unsigned)(hhi_os_calls_now() - calls);
    tries->next_calls = 1;
    tries->addresses = !commit;
    regions_leave();
    return status;
}

bool
hhi_region_place_is_free(uintptr_t address, size_t size_bytes)
{
    regions_enter();
    zombies_bury();
    struct hhi_region *region = host_record(PAGE_NOACCESS, false);
    enum hhi_vm_status status = HHI_VM_NO_MEMORY;
    if (region != NULL) {
        status = region_map_there(region, hh_align_down(address, HHI_REGION_GRANULE_BYTES),
                                  hh_align_up(address + size_bytes, page_bytes()), HHI_ACCESS_NONE);
        if (status == HHI_VM_OK)
            region_bury(region);
        else
            hhi_rcu_pool_retire(&region_pool, region);
    }
    regions_leave();
    return status != HHI_VM_BAD_STATE;
}

// ---- Pages of one allocation ----

// The allocation that holds all of [first, end), NULL if none does.
static struct hhi_region *
region_around(uintptr_t first, uintptr_t end)
{
    struct hhi_region *region = region_at(first);
    return region != NULL && end <= region->record.end ? region : NULL;
}

// Bytes of [first, end) that are committed.
static size_t
committed_bytes(const struct hhi_region *region, uint64_t first, uint64_t end)
{
    const struct hhi_page_run *root = region_root(region);
    uint64_t pages = 0;
    while (first < end) {
        struct hhi_run_span span = hhi_run_tree_find_visible(root, first);
        uint64_t to = span.end < end ? span.end : end;
        if (span.code != HHI_RUN_RESERVED)
            pages += to - first;
        first = to;
    }
    return pages * page_bytes();
}

static void *
page_address(const struct hhi_region *region, uint64_t page)
{
    return (void *)(region->record.base + page * page_bytes());
}

/*
 * Whether a refused change of access was made in part: the kernel begins with the first pages that have another,
 * so those tell. Stale pages do not: theirs is not known.
 */
static bool
access_has_changed(const struct hhi_region *region, uint64_t first, uint64_t end, unsigned access)
{
    while (first < end) {
        struct hhi_run_span span = hhi_run_tree_find(region_root(region), first);
        unsigned before = span.code == HHI_RUN_STALE ? access : hhi_region_access(span.code);
        uintptr_t at = (uintptr_t)page_address(region, first);
        struct hhi_os_mapping mapping;
        if (before != access)
            return hhi_os_find_mapping(at, &mapping) != 0 || mapping.start > at ||
                   mapping.access != before;
        first = span.end;
    }
    return false;
}

// Give the pages [first, end) the access their runs say: after a change that failed half way.
static void
access_restore(const struct hhi_region *region, uint64_t first, uint64_t end)
{
    while (first < end) {
        struct hhi_run_span span = hhi_run_tree_find_visible(region_root(region), first);
        uint64_t to = span.end < end ? span.end : end;
        hhi_os_protect(page_address(region, first), (to - first) * page_bytes(),
                       hhi_region_access(span.code));
        first = to;
    }
}

// Drop contents; pages end without access if they had to be replaced. Locked pages refuse to be
// purged, but can be replaced (VF-4).
static bool
pages_empty(const struct hhi_region *region, uint64_t first, uint64_t end)
{
    void *address = page_address(region, first);
    size_t size_bytes = (end - first) * page_bytes();
    return hhi_os_purge(address, size_bytes) == 0 || hhi_os_replace(address, size_bytes) == 0;
}

// Make stale pages in [first, end) zero before they are committed; by hand if all else fails.
static bool
stale_empty(const struct hhi_region *region, uint64_t first, uint64_t end)
{
    while (first < end) {
        struct hhi_run_span span = hhi_run_tree_find(region_root(region), first);
        uint64_t to = span.end < end ? span.end : end;
        if (span.code == HHI_RUN_STALE && !pages_empty(region, first, to)) {
            char *bytes = page_address(region, first);
            size_t size_bytes = (to - first) * page_bytes();
            if (hhi_os_protect(bytes, size_bytes, HHI_ACCESS_READ | HHI_ACCESS_WRITE) != 0)
                return false;
            __builtin_memset(bytes, 0, size_bytes);
        }
        first = to;
    }
    return true;
}

static enum hhi_vm_status
status_of_protect(int result)
{
    return result == -EACCES || result == -EPERM ? HHI_VM_NOT_ALLOWED : HHI_VM_NO_MEMORY;
}

// New states for [first, end): the kernel's access first, then the tree; all of it or nothing.
static enum hhi_vm_status
region_change(struct hhi_region *region, uint64_t first, uint64_t end, uint32_t protection)
{
    struct hhi_run_edit edit;
    uint64_t pages = region_page(region, region->record.end);
    if (!hhi_run_edit_begin(&edit, region_root(region), first, end, pages, protection)) {
        hhi_run_edit_abort(&edit);
        return HHI_VM_NO_MEMORY;
    }
    unsigned access = hhi_region_access(protection);
    int result = hhi_os_protect(page_address(region, first), (end - first) * page_bytes(), access);
    if (result != 0) {
        hhi_run_edit_abort(&edit);
        if (access_has_changed(region, first, end, access))
            access_restore(region, first, end);
        return status_of_protect(result);
    }
    tree_publish(region, &edit);
    return HHI_VM_OK;
}

enum hhi_vm_status
hhi_region_commit(uintptr_t first, uintptr_t end, uint32_t protection, size_t *new_bytes,
                  struct hhi_tries *tries)
{
    enum hhi_vm_status status = HHI_VM_BAD_STATE;
    regions_enter();
    uint64_t calls = hhi_os_calls_now();
    struct hhi_region *region = region_around(first, end);
    if (region != NULL) {
        uint64_t from = region_page(region, first), to = region_page(region, end);
        size_t needed_bytes = end - first - committed_bytes(region, from, to);
        bool charged = needed_bytes <= *new_bytes;
        *new_bytes = needed_bytes;
        status = HHI_VM_CHARGE_MORE;
        if (charged)
            status = stale_empty(region, from, to) ? region_change(region, from, to, protection)
                                                   : HHI_VM_NO_MEMORY;
    }
    // The next try makes as many, but for a chunk of metadata of another size.
    tries->next_calls = (unsigned)(hhi_os_calls_now() - calls);
    tries->calls += tries->next_calls;
    tries->pages = true;
    regions_leave();
    return status;
}

enum hhi_vm_status
hhi_region_reset(uintptr_t reach_first, uintptr_t reach_end, uintptr_t first, uintptr_t end)
{
    regions_enter();
    struct hhi_region *region = region_around(reach_first, reach_end);
    for (uintptr_t at = first, to; region != NULL && at < end; at = to) {
        struct hhi_run_span span =
            hhi_run_tree_find_visible(region_root(region), region_page(region, at));
        to = span.end == UINT64_MAX ? end : (uintptr_t)page_address(region, span.end);
        if (to > end)
            to = end;
        // Refused for locked pages: then they keep their bytes, which is allowed.
        if (span.code != HHI_RUN_RESERVED)
            hhi_os_reset((void *)at, to - at);
    }
    regions_leave();
    return region != NULL ? HHI_VM_OK : HHI_VM_BAD_STATE;
}

// ---- Decommit and release ----

static bool
in_first_page(const struct hhi_region *region, uintptr_t address)
{
    return address - region->record.base < page_bytes();
}

// The contents of pages are thrown away, and they lose their access. The code that says so.
static uint32_t
pages_throw_away(void *address, size_t size_bytes)
{
    bool clean = hhi_os_protect(address, size_bytes, HHI_ACCESS_NONE) == 0;
    if (hhi_os_purge(address, size_bytes) != 0)
        clean = hhi_os_replace(address, size_bytes) == 0;
    return clean ? HHI_RUN_RESERVED : HHI_RUN_STALE;
}

static enum hhi_vm_status
region_decommit_pages(struct hhi_region *region, uint64_t first, uint64_t end)
{
    struct hhi_run_edit hidden, stale;
    const struct hhi_page_run *root = region_root(region);
    uint64_t pages = region_page(region, region->record.end);
    void *address = page_address(region, first);
    size_t size_bytes = (end - first) * page_bytes();
    if (first == 0 && end == pages) { // needs no memory to be described
        const struct hhi_page_run *single =
            hhi_run_tree_single(pages_throw_away(address, size_bytes));
        // relaxed: the word says all. That the old tree is unpublished its retirement hands on.
        hh_store_relaxed(&region->record.state, (const void *)single);
        hhi_run_tree_retire(root);
        return HHI_VM_OK;
    }
    // Both outcomes are prepared first: afterwards nothing can fail.
    bool ready = hhi_run_edit_begin(&hidden, root, first, end, pages, HHI_RUN_RESERVED);
    hhi_run_edit_abort(&hidden);
    if (!ready)
        return HHI_VM_NO_MEMORY;
    uint32_t code = pages_throw_away(address, size_bytes);
    // The nodes that the first attempt gave back are enough: both edits take the same paths.
    ready = hhi_run_edit_begin(&stale, root, first, end, pages, code);
    HH_CHECK(ready);
    tree_publish(region, &stale);
    return HHI_VM_OK;
}

enum hhi_vm_status
hhi_region_decommit(uintptr_t address, size_t size_bytes, size_t *freed_bytes)
{
    enum hhi_vm_status status = HHI_VM_NOT_OURS;
    *freed_bytes = 0;
    regions_enter();
    struct hhi_region *region = region_at(address);
    if (region != NULL) {
        uintptr_t end = region->record.end;
        if (size_bytes == 0)
            status = in_first_page(region, address) ? HHI_VM_OK : HHI_VM_NOT_FIRST;
        else
            status = size_bytes <= end - address ? HHI_VM_OK : HHI_VM_BAD_RANGE;
        if (size_bytes != 0 && status == HHI_VM_OK)
            end = hh_align_up(address + size_bytes, page_bytes());
        if (status == HHI_VM_OK) {
            uint64_t from = region_page(region, address), to = region_page(region, end);
            *freed_bytes = committed_bytes(region, from, to);
            if (*freed_bytes != 0)
                status = region_decommit_pages(region, from, to);
            if (status != HHI_VM_OK)
                *freed_bytes = 0;
        }
    }
    regions_leave();
    return status;
}

/*
 * From the unpublishing on queries call the range free. Until it is unmapped the kernel still shows
 * it, without access: that is how they know it from what somebody else maps there afterwards
 * (region_query.c).
 */
static void
region_end(struct hhi_region *region, bool committed)
{
    const struct hhi_page_run *root = region_root(region);
    size_t size_bytes = region->record.end - region->record.base;
    if (committed)
        hhi_os_protect((void *)region->record.base, size_bytes, HHI_ACCESS_NONE);
    hhi_region_map_unpublish(&region->record);
    hhi_run_tree_retire(root);
    region_bury(region);
}

enum hhi_vm_status
hhi_region_release(uintptr_t address, size_t *freed_bytes)
{
    enum hhi_vm_status status = HHI_VM_NOT_OURS;
    *freed_bytes = 0;
    regions_enter();
    struct hhi_region *region = region_at(address);
    if (region != NULL) {
        status = in_first_page(region, address) ? HHI_VM_OK : HHI_VM_NOT_FIRST;
        if (status == HHI_VM_OK) {
            *freed_bytes = committed_bytes(region, 0, region_page(region, region->record.end));
            region_end(region, *freed_bytes != 0);
        }
    }
    regions_leave();
    return status;
}

// ---- Protect ----

static bool
range_touches(uintptr_t first, uintptr_t end, bool host)
{
    struct hhi_region_record *record = hhi_region_map_find_live(first);
    if (record == NULL)
        record = hhi_region_map_next(first);
    for (; record != NULL && record->base < end; record = hhi_region_map_next(record->base)) {
        if ((record->kind == HHI_REGION_HOST) == host && record->end > first)
            return true;
    }
    return false;
}

// Whether a page of [first, end), which touches no region, is a tail page of ours, which counts as
// free: then it is in the granule of first, and the region that ends there lies below.
static bool
range_has_tail(uintptr_t first, uintptr_t end)
{
    uintptr_t ignored;
    uintptr_t granule_end = granules_end(first + 1);
    for (uintptr_t page = first; page < end && page < granule_end; page += page_bytes()) {
        if (hhi_region_is_tail(page, &ignored))
            return true;
    }
    return false;
}

static enum hhi_vm_status
region_protect_host(struct hhi_region *region, uintptr_t first, uintptr_t end, uint32_t protection,
                    uint32_t *old)
{
    uint64_t from = region_page(region, first), to = region_page(region, end);
    if (committed_bytes(region, from, to) != end - first)
        return HHI_VM_BAD_STATE;
    uint32_t before = hhi_run_tree_find(region_root(region), from).code;
    enum hhi_vm_status status = region_change(region, from, to, protection);
    if (status == HHI_VM_OK)
        *old = before;
    return status;
}

enum hhi_vm_status
hhi_region_protect(uintptr_t first, uintptr_t end, uint32_t protection, uint32_t *old)
{
    enum hhi_vm_status status;
    regions_enter();
    struct hhi_region *region = region_at(first);
    if (range_touches(first, end, false))
        status = HHI_VM_SLAB;
    else if (region != NULL && end <= region->record.end)
        status = region_protect_host(region, first, end, protection, old);
    else if (region != NULL || range_touches(first, end, true) || range_has_tail(first, end) ||
             zombies_stay(first, end))
        status = HHI_VM_BAD_STATE;
    else
        status = hhi_region_foreign_protect(first, end, protection, old);
    regions_leave();
    return status;
}

bool
hhi_region_guard_fault(uintptr_t address)
{
    bool was_guard = false;
    uintptr_t first = hh_align_down(address, page_bytes());
    regions_enter();
    struct hhi_region *region = region_at(first);
    if (region == NULL) {
        was_guard = hhi_region_foreign_guard_fault(first);
    } else {
        uint64_t page = region_page(region, first);
        uint32_t code = hhi_run_tree_find(region_root(region), page).code;
        was_guard = (code & PAGE_GUARD) != 0 &&
                    region_change(region, page, page + 1, code & ~PAGE_GUARD) == HHI_VM_OK;
    }
    regions_leave();
    return was_guard;
}

bool
hhi_region_is_tail(uintptr_t page, uintptr_t *end)
{
    struct hhi_region_record *record = hhi_region_map_find(page);
    if (record == NULL || record->kind != HHI_REGION_HOST || page < record->end)
        return false;
    struct hhi_region *region = hhi_region_of(record);
    if (region_root(region) == NULL)
        return false;
    unsigned k = (unsigned)((page - record->end) / page_bytes());
    if (!(region->tail_pages >> k & 1))
        return false;
    while (region->tail_pages >> k & 1)
        k++;
    *end = record->end + k * page_bytes();
    return true;
}

void
hhi_region_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&regions.lock, step);
}
