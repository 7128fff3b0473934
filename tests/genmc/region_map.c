// SPDX-License-Identifier: MIT
/*
 * region_map.c - a region found is described whole and committed as far as it says, and a version
 * tells whether the map has changed meanwhile (RM-1, RM-2, RM-3, RM-4; region/region_map.h).
 *
 * LEAF: the region needs nodes of its own; else it stands in an entry of the root.
 * Faults: RELAXED_LOADS, RELAXED_STORES.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_LOADS)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(RELAXED_STORES)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#define hhi_meta_alloc proof_meta_alloc
#include "region/region_map.c"

enum { NODES = 3 };
static _Alignas(64) char nodes[NODES][sizeof(struct map_node) + LEAF_ENTRIES * sizeof(uintptr_t)];
static unsigned nodes_made; // under the map's lock
static struct hhi_region_record record, other;
static int contents; // what the state leads to
static int pages;    // committed at last

#define REGION_BYTES (LEAF ? HHI_REGION_GRANULE_BYTES : (uintptr_t)1 << 40)

void *
proof_meta_alloc(size_t size_bytes)
{
    assert(size_bytes <= sizeof nodes[0]);
    struct map_node *node = (struct map_node *)nodes[nodes_made++];
    // relaxed: zeroed, where a reader looks; before there was something else.
    hh_store_relaxed(&node->entries[entry_index(LEVEL_NODE, REGION_BYTES)], 0);
    return node;
}

static void
nodes_dirty(void)
{
    // relaxed (all): before any thread runs.
    hh_store_relaxed(&other.state, &other);
    other.end = UINTPTR_MAX;
    for (int i = 0; i < NODES; i++) {
        struct map_node *node = (struct map_node *)nodes[i];
        hh_store_relaxed(&node->entries[entry_index(LEVEL_NODE, REGION_BYTES)], (uintptr_t)&other);
    }
}

static void *
owner(void *arg)
{
    record.base = REGION_BYTES;
    record.end = 2 * REGION_BYTES;
    record.allocation_protect = 4;
    if (hhi_region_map_prepare(&record) != 0)
        abort();
    contents = 1;
    hhi_region_map_publish(&record, &contents);
    pages = 1;
    hhi_region_record_set_committed(&record, record.base + 4096);
    hhi_region_map_unpublish(&record);
    return arg;
}

static void *
reader(void *arg)
{
    struct hhi_region_record *found = hhi_region_map_find_live(REGION_BYTES);
    if (found != NULL) {
        assert(found == &record);
        assert(found->allocation_protect == 4 && contents == 1);
        if (hhi_region_record_committed(found) != 0)
            assert(pages == 1);
    }
    return arg;
}

// The version says at least that the changes it counts are to be seen.
static void *
asker(void *arg)
{
    uint64_t version = hhi_region_map_version();
    bool live = hhi_region_map_find_live(REGION_BYTES) != NULL;
    assert(version < 2 || !live);
    return arg;
}

int
main(void)
{
    nodes_dirty();
    PROOF_RUN(owner, reader, asker);
    return 0;
}
