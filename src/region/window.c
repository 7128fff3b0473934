// SPDX-License-Identifier: MIT
// region/window.c - choosing the window, growing its tables.
#include "region/window.h"

#include "base/bits.h"
#include "os/os.h"

struct hhi_window hhi_window;

enum {
    GRANULES_PER_MIB = 16,
    TABLE_PIECES_PER_STEP = 2048, // tables are committed for 128 MiB of window at a time
};

#define WINDOW_MIN_BYTES ((size_t)16 << 20)
#define WINDOW_MAX_BYTES ((size_t)1 << 40)
#define WINDOW_FLOOR_BYTES ((size_t)64 << 30)

// How much address space slab memory may ever use: four times the memory, or the limit.
static size_t
window_wanted_bytes(void)
{
    size_t limit_bytes = hhi_os_address_space_limit();
    size_t wanted_bytes = hhi_os_physical_bytes() * 4;
    if (wanted_bytes < WINDOW_FLOOR_BYTES)
        wanted_bytes = WINDOW_FLOOR_BYTES;
    if (wanted_bytes > limit_bytes)
        wanted_bytes = limit_bytes;
    if (wanted_bytes > WINDOW_MAX_BYTES)
        wanted_bytes = WINDOW_MAX_BYTES;
    if (wanted_bytes < WINDOW_MIN_BYTES)
        wanted_bytes = WINDOW_MIN_BYTES;
    return (size_t)1 << hh_log2_ceil(wanted_bytes);
}

static bool
window_place(size_t window_bytes)
{
    size_t granules = window_bytes >> HHI_GRANULE_SHIFT;
    size_t page_bytes = hhi_os_page_bytes();
    size_t records_bytes = granules << HHI_RECORD_SHIFT;
    size_t heads_bytes = hh_align_up(granules * sizeof(uint32_t), page_bytes);
    size_t region_of_bytes =
        hh_align_up(granules / GRANULES_PER_MIB * sizeof(uint32_t), page_bytes);
    intptr_t tables = hhi_os_reserve(NULL, records_bytes + heads_bytes + region_of_bytes);
    if (tables < 0)
        return false;
    uintptr_t base = hh_align_down((uintptr_t)tables, (uintptr_t)2 << 20) - window_bytes;
    if ((uintptr_t)tables < window_bytes + ((uintptr_t)4 << 20)) {
        hhi_os_release((void *)tables, records_bytes + heads_bytes + region_of_bytes);
        return false;
    }
    hhi_window.base = base;
    hhi_window.granules = granules;
    hhi_window.records = (char *)tables;
    hhi_window.heads = (_Atomic uint32_t *)((uintptr_t)tables + records_bytes);
    hhi_window.region_of = (_Atomic uint32_t *)((uintptr_t)tables + records_bytes + heads_bytes);
    return true;
}

bool
hhi_window_init(void)
{
    for (size_t window_bytes = window_wanted_bytes(); window_bytes >= WINDOW_MIN_BYTES;
         window_bytes /= 2)
        if (window_place(window_bytes))
            return true;
    return false;
}

// Commit the part of a table of entries that granules [from, to) fall in.
static bool
table_commit(const void *table, size_t entry_bytes_shifted, size_t from, size_t to)
{
    // entry_bytes_shifted is the size of an entry times 16, for the table with an entry per MiB.
    size_t page_bytes = hhi_os_page_bytes();
    uintptr_t begin = hh_align_down((uintptr_t)table + from * entry_bytes_shifted / 16, page_bytes);
    uintptr_t end = hh_align_up((uintptr_t)table + to * entry_bytes_shifted / 16, page_bytes);
    return hhi_os_commit((void *)begin, end - begin, false) == 0;
}

bool
hhi_window_cover(size_t limit)
{
    // relaxed: written under the run lock, which the caller holds.
    size_t covered = hh_load_relaxed(&hhi_window.granule_limit);
    if (limit <= covered)
        return true;
    limit = hh_align_up(limit, TABLE_PIECES_PER_STEP);
    if (limit > hhi_window.granules)
        limit = hhi_window.granules;
    if (!table_commit(hhi_window.records, HHI_RECORD_BYTES * 16, covered, limit) ||
        !table_commit(hhi_window.heads, sizeof(uint32_t) * 16, covered, limit) ||
        !table_commit(hhi_window.region_of, sizeof(uint32_t), covered, limit))
        return false;
    // order: release [WN-1] publishes the committed tables.
    hh_store_release(&hhi_window.granule_limit, limit);
    return true;
}
