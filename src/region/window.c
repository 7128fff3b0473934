// SPDX-License-Identifier: MIT
// region/window.c - choosing the window, growing its tables.
#include "region/window.h"

#include <errno.h>

#include "base/bits.h"
#include "meta/meta_arena.h"
#include "os/os.h"
#include "region/region_map.h"

struct hhi_window hhi_window HH_START_STATE;

// Written once, but for what is said otherwise.
static struct {
    uintptr_t reserved_end;          // readable to here; under the run lock
    _Atomic size_t covered;          // granules whose tables are writable
    struct hhi_region_record first;  // for the region map
    struct hhi_region_record *spare; // a record that could not be used; under the run lock
} tables HH_START_STATE;

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
// Of the records, at least: 8 GiB of window.
#define FIRST_RECORDS_BYTES ((size_t)16 << 20)
// Nothing of ours below: there programs and other libraries place what they want at fixed addresses.
#define WINDOW_LOWEST ((uintptr_t)16 << 30)

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
    // Not granules, which grows: what was committed once would seem to have reached farther.
    if (limit > hhi_window.most_granules)
        limit = hhi_window.most_granules;
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
    struct tables_extent extent = tables_extent(hh_load_relaxed(&tables.covered));
    uintptr_t records = (uintptr_t)hhi_window.records;
    uintptr_t end = page < extent.begin         ? extent.begin
                    : page < extent.end         ? extent.end
                    : page < records            ? records
                    : page < extent.records_end ? extent.records_end
                                                : record->end;
    part->guard = false;
    part->committed = (page >= extent.begin && page < extent.end) ||
                      (page >= records && page < extent.records_end);
    part->end = end < record->end ? end : record->end;
}

// Where the tables of a window lie in them, and how large they are.
struct tables_shape {
    size_t heads_at, records_at, used_bytes;
    size_t unit_bytes; // they begin and end at multiples of it
};

static struct tables_shape
tables_shape(size_t window_bytes)
{
    size_t granules = window_bytes >> HHI_GRANULE_SHIFT, page_bytes = hhi_os_page_bytes();
    size_t region_of_bytes = hh_align_up(
        granules / HHI_GRANULES_PER_MIB * sizeof(uint32_t) + REGION_OF_NEAR_BYTES, page_bytes);
    struct tables_shape shape;
    // The last entries of region_of are the first to be used, and share the page of the first heads.
    shape.heads_at = region_of_bytes + REGION_OF_NEAR_BYTES;
    shape.records_at = hh_align_up(shape.heads_at + granules * sizeof(uint32_t), page_bytes);
    shape.used_bytes = shape.records_at + (granules << HHI_RECORD_SHIFT);
    // Whole granules of the region map: nobody else's memory may share one. Where there are addresses
    // enough, whole entries of its upper level: a process then starts without a node of leaves.
    shape.unit_bytes =
        window_bytes >= WINDOW_FLOOR_BYTES ? WINDOW_ALIGNMENT : (size_t)HHI_REGION_GRANULE_BYTES;
    return shape;
}

static bool
record_insert(struct hhi_region_record *record, uintptr_t base, uintptr_t end)
{
    record->base = base;
    record->end = end;
    record->kind = HHI_REGION_METADATA;
    record->part = tables_part;
    return hhi_region_map_insert(record) == 0;
}

// The tables are readable to this address.
static void
tables_reach(uintptr_t end)
{
    size_t granules = (end - (uintptr_t)hhi_window.records) >> HHI_RECORD_SHIFT;
    tables.reserved_end = end;
    // relaxed: see hhi_granule_is_inside.
    hh_store_relaxed(&hhi_window.granules,
                     granules < hhi_window.most_granules ? granules : hhi_window.most_granules);
}

// Tables at start, of which reserved_bytes are reserved, for a window at base. False without memory.
static bool
window_set(uintptr_t start, size_t reserved_bytes, uintptr_t base, size_t window_bytes)
{
    struct tables_shape shape = tables_shape(window_bytes);
    hhi_window.heads = (_Atomic uint32_t *)(start + shape.heads_at);
    hhi_window.records = (char *)start + shape.records_at;
    hhi_window.most_granules = window_bytes >> HHI_GRANULE_SHIFT;
    if (!record_insert(&tables.first, start, start + reserved_bytes))
        return false;
    hhi_window.base = base;
    tables_reach(start + reserved_bytes);
    return true;
}

/*
 * A large window lies right below this library, its tables right below it, of which only the first are
 * reserved. The kernel gives out addresses downwards, so what others map meets the window's far end first, and
 * the rest of the tables when the window is full. 0 or -errno; -EEXIST: something lies there.
 */
static int
window_place_below(size_t window_bytes)
{
    struct tables_shape shape = tables_shape(window_bytes);
    uintptr_t top = hh_align_down((uintptr_t)&hhi_window, WINDOW_ALIGNMENT);
    size_t whole_bytes = hh_align_up(shape.used_bytes, shape.unit_bytes);
    size_t first_bytes = hh_align_up(shape.records_at + FIRST_RECORDS_BYTES, shape.unit_bytes);
    if (window_bytes < WINDOW_FLOOR_BYTES || top < window_bytes + whole_bytes + WINDOW_LOWEST)
        return -EEXIST;
    uintptr_t base = top - window_bytes, start = base - whole_bytes;
    intptr_t reserved = hhi_os_reserve_readable((void *)start, first_bytes);
    if (reserved < 0)
        return (int)reserved;
    if (window_set(start, first_bytes, base, window_bytes))
        return 0;
    hhi_os_release((void *)start, first_bytes);
    return -ENOMEM;
}

// Anywhere else the tables are reserved whole.
static bool
window_place_anywhere(size_t window_bytes)
{
    struct tables_shape shape = tables_shape(window_bytes);
    size_t whole_bytes = hh_align_up(shape.used_bytes, shape.unit_bytes);
    intptr_t reserved = hhi_os_reserve_readable(NULL, whole_bytes + shape.unit_bytes);
    if (reserved < 0)
        return false;
    uintptr_t start = hh_align_up((uintptr_t)reserved, shape.unit_bytes);
    // Below the tables, as the kernel gives out addresses downwards; above them where it, or a tool
    // like valgrind, begins at the bottom.
    uintptr_t base = start >= window_bytes + 2 * WINDOW_ALIGNMENT
                         ? hh_align_down(start, WINDOW_ALIGNMENT) - window_bytes
                         : hh_align_up(start + whole_bytes, WINDOW_ALIGNMENT);
    if (window_set(start, whole_bytes, base, window_bytes))
        return true;
    hhi_os_release((void *)reserved, whole_bytes + shape.unit_bytes);
    return false;
}

static bool
window_place(size_t window_bytes)
{
    int result = window_place_below(window_bytes);
    return result == 0 || (result == -EEXIST && window_place_anywhere(window_bytes));
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

// Tables for granules below limit, readable.
static bool
tables_reserve(size_t limit)
{
    uintptr_t from = tables.reserved_end;
    uintptr_t needed_end = (uintptr_t)hhi_window.records + (limit << HHI_RECORD_SHIFT);
    if (needed_end <= from)
        return true;
    uintptr_t end = hh_align_up(needed_end, WINDOW_ALIGNMENT);
    if (tables.spare == NULL)
        tables.spare = hhi_meta_alloc(sizeof *tables.spare);
    if (tables.spare == NULL || hhi_os_reserve_readable((void *)from, end - from) < 0)
        return false;
    if (!record_insert(tables.spare, from, end)) {
        hhi_os_release((void *)from, end - from);
        return false;
    }
    tables.spare = NULL;
    tables_reach(end);
    return true;
}

bool
hhi_window_cover(size_t limit)
{
    // relaxed: written under the run lock, which the caller holds.
    size_t from = hh_load_relaxed(&tables.covered);
    if (limit <= from)
        return true;
    limit = hh_align_up(limit, TABLE_PIECES_PER_STEP);
    if (limit > hhi_window.most_granules)
        limit = hhi_window.most_granules;
    if (!tables_reserve(limit))
        return false;
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
    hh_store_relaxed(&tables.covered, limit);
    return true;
}
