// SPDX-License-Identifier: MIT
/*
 * region/window.h - where slab memory lies, and the tables that describe it.
 *
 * Layer: region. May include: base, os, diag, options, meta.
 *
 * All slab memory of the process lies in one window of address space. The window is not reserved:
 * it is a range of addresses in which regions are reserved one by one, and where a foreign mapping
 * stands in the way it is stepped over. The window is divided into granules of 64 KiB, numbered
 * from 0; whatever is known of an address is found from its granule number alone:
 *
 *             window.base                                                    + most_granules * 64 KiB
 *   | tables  | region 0 (64 MiB) | region 1 | foreign | region 2 | ... not reserved yet ...        |
 *       |      <-- granule 0, 1, 2 ...
 *       v
 *   tables:
 *     region_of     4 bytes per MiB:     1 + index of the region; downwards from heads
 *     heads         4 bytes per granule: 1 + first granule of the run this one belongs to; 0 = none
 *     records     128 bytes per granule: what the slab layer knows of the run that starts here
 *
 *   | region_of | heads | records                     |        not reserved yet        | window
 *   |<--------- readable: to granules, at first 64 MiB ------->|<- in steps of 64 MiB ->|
 *   writable as far as regions reach
 *
 * The tables cost memory only where it is used, and address space as regions come: an address space limit
 * that is set when the process runs counts what is reserved. Address arithmetic replaces a look-up: granule =
 * (address - base) >> 16, total for any 64-bit value.
 *
 * Below granules the tables can be read at any time; where no region reaches yet they read as zero, without
 * costing memory. So the only limit to a granule number is granules, which only grows, before the first
 * region beyond is made.
 *
 * Thread rules: hhi_window is written once, before any other thread is in the library; granules later, under
 * the run lock. heads is written by the holder of the run lock or by the only owner of the run, and read by
 * anyone.
 * A head orders nothing: it leads to a record, which exists for ever, and whose kind (SL-5) or live mark
 * (SL-6, slab.h) says what it describes.
 */
#ifndef HHI_REGION_WINDOW_H
#define HHI_REGION_WINDOW_H

#include "base/atomic.h"
#include "base/compiler.h"

enum {
    HHI_GRANULE_SHIFT = 16,
    HHI_GRANULE_BYTES = 1 << HHI_GRANULE_SHIFT,
    HHI_GRANULES_PER_MIB = 16,
    HHI_RECORD_SHIFT = 7,
    HHI_RECORD_BYTES = 1 << HHI_RECORD_SHIFT,
};

// A cache line of its own: every malloc and free reads it, and what lay behind it would be written.
struct hhi_window {
    uintptr_t base;          // 0 before hhi_window_init
    _Atomic size_t granules; // whose tables can be read; 0 before hhi_window_init
    char *records;           // HHI_RECORD_BYTES each
    _Atomic uint32_t *heads; // what lies below it is region_of
    size_t most_granules;    // size of the window
} __attribute__((aligned(HH_CACHE_LINE_BYTES)));
// Hidden where it is declared, too: its fields are then addressed without a detour.
extern struct hhi_window hhi_window __attribute__((visibility("hidden")));

// Choose the window and reserve its first tables. False if the system has not even room for these.
bool hhi_window_init(void);
// Make the tables writable for granules below limit. False: no memory. Caller holds the run lock.
bool hhi_window_cover(size_t limit);

static inline uintptr_t
hhi_granule_address(uint32_t granule)
{
    return hhi_window.base + ((uintptr_t)granule << HHI_GRANULE_SHIFT);
}

/*
 * Granule number of any address; any number above those of the window if it is outside.
 */
HH_FAST size_t
hhi_granule_of(const void *address)
{
    return ((uintptr_t)address - hhi_window.base) >> HHI_GRANULE_SHIFT;
}

// Whether a granule may have a block, and so the tables of it be read.
HH_FAST bool
hhi_granule_is_inside(size_t granule)
{
    // relaxed: what it lets read was there before it was stored, and orders nothing (above). It was stored before
    // any block beyond the old limit was given to somebody, so whoever has such a block sees it.
    return hh_is_below_relaxed(&hhi_window.granules, granule);
}

// First granule of the run that holds address, or UINT32_MAX.
static inline uint32_t
hhi_run_head_of(const void *address)
{
    size_t granule = hhi_granule_of(address);
    if (!hhi_granule_is_inside(granule))
        return UINT32_MAX;
    // relaxed: see above.
    return hh_load_relaxed(&hhi_window.heads[granule]) - 1;
}

// The entry of region_of for the MiB of a granule. Under the run lock.
static inline _Atomic uint32_t *
hhi_region_of_granule(uint32_t granule)
{
    return hhi_window.heads - 1 - granule / HHI_GRANULES_PER_MIB;
}

static inline void *
hhi_record_of(size_t granule)
{
    return hhi_window.records + (granule << HHI_RECORD_SHIFT);
}

#endif
