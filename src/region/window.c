// SPDX-License-Identifier: MIT
// region/window.c - choosing the window, growing its tables.
#include "region/window.h"

#include "base/bits.h"
#include "os/os.h"
#include "region/region_map.h"

struct hhi_window hhi_window HH_START_STATE;

static struct hhi_region_record tables_record HH_START_STATE; // of the tables, for the region map
static _Atomic size_t covered HH_START_STATE;                 // granules whose tables are writable

enum {
    REGION_OF_NEAR_BYTES = 512,   // of 128 MiB
    TABLE_PIECES_PER_STEP = 2048, // records are committed for 128 MiB of window at a time
    HEAD_PIECES_PER_STEP = 65536, // and the small tables for 4 GiB: most steps are one call
};

// A region of 64 MiB is one entry of the region map.
#define WINDOW_ALIGNMENT ((uintptr_t)64 << 20)
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

// The committed part of the records, and of region_of and heads, which grow from one place.
struct tables_extent {
    uintptr_t records_end, begin, end;
};

static struct tables_extent
tables_extent(size_t limit)
{
    uintptr_t page_bytes = hhi_os_page_bytes(), middle = (uintptr_t)hhi_window.heads;
    size_t records = limit;
    limit = hh_align_up(limit, HEAD_PIECES_PER_STEP);
    if (limit > hhi_window.granules)
        limit = hhi_window.granules;
    return (struct tables_extent){
        hh_align_up((uintptr_t)hhi_window.records + (records << HHI_RECORD_SHIFT), page_bytes),
        hh_align_down(middle - limit / HHI_GRANULES_PER_MIB * sizeof(uint32_t), page_bytes),
        hh_align_up(middle + limit * sizeof(uint32_t), page_bytes)};
}

// What is committed, and what lies between (region_map.h).
static void
tables_part(const struct hhi_region_record *record, uintptr_t page, struct hhi_region_part *part)
{
    // relaxed: only the number is asked for. The kernel made the pages writable before it was stored.
    struct tables_extent extent = tables_extent(hh_load_relaxed(&covered));
    part->guard = false;
    part->committed = page < extent.records_end || (page >= extent.begin && page < extent.end);
    part->end = page < extent.records_end ? extent.records_end
                : page < extent.begin     ? extent.begin
                : page < extent.end       ? extent.end
                                          : record->end;
}

static bool
window_place(size_t window_bytes)
{
    size_t granules = window_bytes >> HHI_GRANULE_SHIFT;
    size_t page_bytes = hhi_os_page_bytes();
    size_t records_bytes = granules << HHI_RECORD_SHIFT;
    size_t region_of_bytes = hh_align_up(
        granules / HHI_GRANULES_PER_MIB * sizeof(uint32_t) + REGION_OF_NEAR_BYTES, page_bytes);
    // The last entries of region_of are the first to be used, and share the page of the first heads.
    size_t heads_at = records_bytes + region_of_bytes + REGION_OF_NEAR_BYTES;
    size_t tables_used = heads_at + granules * sizeof(uint32_t);
    // Whole granules of the region map: nobody else's memory may share one. Where there are addresses
    // enough, whole entries of its upper level: a process then starts without a node of leaves.
    size_t unit_bytes =
        window_bytes >= WINDOW_FLOOR_BYTES ? WINDOW_ALIGNMENT : (size_t)HHI_REGION_GRANULE_BYTES;
    size_t tables_bytes = hh_align_up(tables_used, unit_bytes);
    intptr_t reserved = hhi_os_reserve_readable(tables_bytes + unit_bytes);
    if (reserved < 0)
        return false;
    uintptr_t tables = hh_align_up((uintptr_t)reserved, unit_bytes);
    // Below the tables, as the kernel gives out addresses downwards; above them where it, or a tool
    // like valgrind, begins at the bottom.
    uintptr_t base = tables >= window_bytes + 2 * WINDOW_ALIGNMENT
                         ? hh_align_down(tables, WINDOW_ALIGNMENT) - window_bytes
                         : hh_align_up(tables + tables_bytes, WINDOW_ALIGNMENT);
    hhi_window.records = (char *)tables;
    hhi_window.heads = (_Atomic uint32_t *)((uintptr_t)tables + heads_at);
    tables_record.base = tables;
    tables_record.end = tables + tables_bytes;
    tables_record.kind = HHI_REGION_METADATA;
    tables_record.part = tables_part;
    if (hhi_region_map_insert(&tables_record) != 0) {
        hhi_os_release((void *)reserved, tables_bytes + unit_bytes);
        return false;
    }
    hhi_window.base = base;
    hhi_window.granules = granules;
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

static bool
range_commit(uintptr_t begin, uintptr_t end)
{
    return hhi_os_commit((void *)begin, end - begin, false) == 0;
}

bool
hhi_window_cover(size_t limit)
{
    // relaxed: written under the run lock, which the caller holds.
    size_t from = hh_load_relaxed(&covered);
    if (limit <= from)
        return true;
    limit = hh_align_up(limit, TABLE_PIECES_PER_STEP);
    if (limit > hhi_window.granules)
        limit = hhi_window.granules;
    struct tables_extent old = tables_extent(from), new = tables_extent(limit);
    static size_t half_done
        HH_START_STATE; // under the run lock: a refused try is not made from the first again
    if (half_done != limit && !range_commit(old.records_end, new.records_end))
        return false;
    half_done = limit;
    if ((from == 0 || new.begin != old.begin || new.end != old.end) &&
        !range_commit(new.begin, new.end))
        return false;
    // relaxed: queries look at the number alone, and write to no table.
    hh_store_relaxed(&covered, limit);
    return true;
}
