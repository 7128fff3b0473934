// SPDX-License-Identifier: MIT
// region/region_map.c - see region_map.h.
#include "region/region_map.h"

#include <errno.h>

#include "base/bits.h"
#include "base/check.h"
#include "meta/meta_arena.h"
#include "os/lock.h"

enum { LEVEL_ROOT, LEVEL_UPPER, LEVEL_NODE, LEVEL_LEAF };

#define ROOT_ENTRIES ((unsigned)(((HHI_ADDRESS_LIMIT - 1) >> 40) + 1))
#define NODE_ENTRIES 128u
#define LEAF_ENTRIES 1024u
#define ENTRY_NODE ((uintptr_t)1) // tag: the entry leads to a node

static const unsigned level_shift[] = {40, 33, 26, 16};
static const unsigned level_entries[] = {ROOT_ENTRIES, NODE_ENTRIES, NODE_ENTRIES, LEAF_ENTRIES};

struct map_node {
    _Alignas(HH_CACHE_LINE_BYTES) _Atomic uint32_t used; // I4
    _Atomic uintptr_t entries[];                         // [RM-1]
};

static struct {
    struct hhi_lock lock;
    _Atomic uint64_t version;                // [RM-3]
    _Atomic uintptr_t entries[ROOT_ENTRIES]; // [RM-1]
} map HH_START_STATE;

static unsigned
entry_index(unsigned level, uintptr_t address)
{
    HH_ASSERT(level <= LEVEL_LEAF);
    return (unsigned)(address >> level_shift[level]) & (level_entries[level] - 1);
}

static bool
entry_is_node(uintptr_t entry)
{
    return (entry & ENTRY_NODE) != 0;
}

static struct map_node *
entry_node(uintptr_t entry)
{
    return (struct map_node *)(entry - ENTRY_NODE);
}

static uintptr_t
entry_load(_Atomic uintptr_t *entry)
{
    // order: acquire [RM-1] a node's entries, a record's fields.
    return hh_load_acquire(entry);
}

static bool
record_is_live(struct hhi_region_record *record)
{
    // order: acquire [RM-2] whether the region exists.
    return hh_load_acquire(&record->state) != NULL;
}

// ---- Writers: all under the lock ----

// What a walk over a record's entries does.
enum map_act { ACT_CLAIM, ACT_SET, ACT_CLEAR };

static uintptr_t
record_granules_end(const struct hhi_region_record *record)
{
    return hh_align_up(record->end, HHI_REGION_GRANULE_BYTES);
}

static int
entry_grow(_Atomic uintptr_t *entry, unsigned level)
{
    HH_ASSERT(level <= LEVEL_LEAF);
    struct map_node *node =
        hhi_meta_alloc(sizeof(struct map_node) + level_entries[level] * sizeof(_Atomic uintptr_t));
    if (node == NULL)
        return -ENOMEM;
    // order: release [RM-1] publishes the node's zeroed entries.
    hh_store_release(entry, (uintptr_t)node + ENTRY_NODE);
    return 0;
}

/*
 * Apply act to the entries of one level that [first, end) needs; end is exclusive and in the range
 * the entries cover. Adds to *stored the records stored, minus those cleared.
 */
static int
map_walk(_Atomic uintptr_t *entries, unsigned level, uintptr_t first, uintptr_t end,
         struct hhi_region_record *record, enum map_act act, uint32_t *stored)
{
    HH_ASSERT(level <= LEVEL_LEAF);
    uintptr_t span = (uintptr_t)1 << level_shift[level];
    for (uintptr_t from = first, to; from < end; from = to) {
        to = hh_align_down(from, span) + span;
        if (to > end)
            to = end;
        _Atomic uintptr_t *entry = &entries[entry_index(level, from)];
        uintptr_t value = entry_load(entry);
        if (!entry_is_node(value) && to - from == span) {
            if (act == ACT_CLAIM && value != 0)
                return -EEXIST;
            if (act == ACT_CLAIM)
                continue;
            *stored += act == ACT_SET ? 1 : (uint32_t)-1;
            // order: release [RM-1] publishes the record's fields.
            hh_store_release(entry, act == ACT_SET ? (uintptr_t)record : 0);
            continue;
        }
        if (!entry_is_node(value)) {
            if (value != 0)
                return -EEXIST;
            int result = entry_grow(entry, level + 1);
            if (result != 0)
                return result;
            value = entry_load(entry);
        }
        struct map_node *node = entry_node(value);
        uint32_t below = 0;
        int result = map_walk(node->entries, level + 1, from, to, record, act, &below);
        // relaxed: writers are alone; readers only skip what is empty, and a record that was
        // inserted before a reader began is counted for it.
        hh_store_relaxed(&node->used, hh_load_relaxed(&node->used) + below);
        if (result != 0)
            return result;
        *stored += below;
    }
    return 0;
}

int
hhi_region_map_prepare(struct hhi_region_record *record)
{
    uint32_t stored = 0;
    uintptr_t end = record_granules_end(record);
    HH_ASSERT(record->base % HHI_REGION_GRANULE_BYTES == 0 && record->base < record->end);
    hhi_lock_enter(&map.lock);
    // relaxed: read by nobody before the entries are stored.
    hh_store_relaxed(&record->state, NULL);
    int result = map_walk(map.entries, LEVEL_ROOT, record->base, end, record, ACT_CLAIM, &stored);
    if (result == 0)
        map_walk(map.entries, LEVEL_ROOT, record->base, end, record, ACT_SET, &stored);
    hhi_lock_leave(&map.lock);
    return result;
}

static void
map_change_state(struct hhi_region_record *record, const void *state)
{
    hhi_lock_enter(&map.lock);
    // order: release [RM-2] publishes what state points to.
    hh_store_release(&record->state, state);
    // order: release [RM-3] the change is before it.
    hh_fetch_add_release(&map.version, 1);
    hhi_lock_leave(&map.lock);
}

void
hhi_region_map_publish(struct hhi_region_record *record, const void *state)
{
    map_change_state(record, state);
}

void
hhi_region_map_unpublish(struct hhi_region_record *record)
{
    map_change_state(record, NULL);
}

void
hhi_region_map_withdraw(struct hhi_region_record *record)
{
    uint32_t stored = 0;
    hhi_lock_enter(&map.lock);
    map_walk(map.entries, LEVEL_ROOT, record->base, record_granules_end(record), record, ACT_CLEAR,
             &stored);
    hhi_lock_leave(&map.lock);
}

int
hhi_region_map_insert(struct hhi_region_record *record)
{
    int result = hhi_region_map_prepare(record);
    if (result == 0)
        hhi_region_map_publish(record, record);
    return result;
}

void
hhi_region_map_remove(struct hhi_region_record *record)
{
    hhi_region_map_unpublish(record);
    hhi_region_map_withdraw(record);
}

// ---- Readers ----

struct hhi_region_record *
hhi_region_map_find(uintptr_t address)
{
    if (address >> level_shift[LEVEL_ROOT] >= ROOT_ENTRIES)
        return NULL;
    uintptr_t value = entry_load(&map.entries[entry_index(LEVEL_ROOT, address)]);
    for (unsigned level = LEVEL_UPPER; entry_is_node(value); level++)
        value = entry_load(&entry_node(value)->entries[entry_index(level, address)]);
    return (struct hhi_region_record *)value;
}

struct hhi_region_record *
hhi_region_map_find_live(uintptr_t address)
{
    struct hhi_region_record *record = hhi_region_map_find(address);
    if (record == NULL || address >= record->end || !record_is_live(record))
        return NULL;
    return record;
}

// A published record in an entry, NULL if the entry has none or it is node. beyond: not this one.
static struct hhi_region_record *
entry_live(uintptr_t value, const struct hhi_region_record *beyond)
{
    struct hhi_region_record *record = (struct hhi_region_record *)value;
    if (value == 0 || record == beyond || !record_is_live(record))
        return NULL;
    return record;
}

static bool
node_is_empty(struct map_node *node)
{
    // relaxed: see map_walk.
    return hh_load_relaxed(&node->used) == 0;
}

// The nearest published record at or above address (up) or at or below it, in these entries.
static struct hhi_region_record *
map_search(_Atomic uintptr_t *entries, unsigned level, uintptr_t address, bool up,
           const struct hhi_region_record *beyond)
{
    HH_ASSERT(level <= LEVEL_LEAF);
    int count = (int)level_entries[level];
    bool first = true;
    for (int i = (int)entry_index(level, address); i >= 0 && i < count; i += up ? 1 : -1) {
        uintptr_t value = entry_load(&entries[i]);
        struct hhi_region_record *found;
        if (entry_is_node(value)) {
            struct map_node *node = entry_node(value);
            // In the entry of address the search begins inside; in all others at the near end.
            uintptr_t from = first ? address : (up ? 0 : UINTPTR_MAX);
            found =
                node_is_empty(node) ? NULL : map_search(node->entries, level + 1, from, up, beyond);
        } else {
            found = entry_live(value, beyond);
        }
        if (found != NULL)
            return found;
        first = false;
    }
    return NULL;
}

struct hhi_region_record *
hhi_region_map_next(uintptr_t address)
{
    if (address >= HHI_ADDRESS_LIMIT)
        return NULL;
    return map_search(map.entries, LEVEL_ROOT, address, true, hhi_region_map_find(address));
}

struct hhi_region_record *
hhi_region_map_previous(uintptr_t address)
{
    if (address >= HHI_ADDRESS_LIMIT)
        return NULL;
    return map_search(map.entries, LEVEL_ROOT, address, false, hhi_region_map_find(address));
}

uint64_t
hhi_region_map_version(void)
{
    // order: acquire [RM-3] what follows sees the map as of this version or later.
    return hh_load_acquire(&map.version);
}

void
hhi_region_map_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&map.lock, step);
}
