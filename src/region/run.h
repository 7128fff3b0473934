// SPDX-License-Identifier: MIT
/*
 * region/run.h - runs of granules: taken, given back, purged.
 *
 * Layer: region. May include: base, os, diag, options, meta, region/window.h.
 *
 * A region is address space reserved at once and committed from its low end as it is used:
 *
 *   region->base                 committed_granules               granules
 *   |##used##|..free..|##used##|..free, dirty..|.................. reserved, no access ........|
 *
 * A granule is used, or free and dirty (it may hold old contents and memory of the system), or
 * free and clean (reads as zero, costs no memory). Dirty granules are retained for the decay time
 * and then purged. The lowest fitting run is always taken, so that the high end empties and whole
 * regions can be released.
 *
 * Huge pages are for memory that is written for the first time, never for what is purged and used
 * again: a region forbids them as a whole, and with huge_pages:on, once the heap is large, allows
 * them for the last step that was committed, while slabs of a heap that fills them are carved:
 *
 *   |##ordinary pages##|##huge pages, forbidden again##|##allowed##|...... reserved ..............|
 *
 * So a region is at most three kernel mappings, the kernel's collector of huge pages (khugepaged)
 * has nothing to undo a purge in, and a small heap never holds a page of 2 MiB for a few blocks,
 * whatever the system's default.
 *
 * Thread rules: any thread; functions take the run lock (rank: run). Pages are purged outside of
 * the lock, while their granules are marked used.
 *
 * Invariants
 *   I1  a granule is free in exactly one region's map or belongs to exactly one run.
 *   I2  dirty implies free; free and not dirty implies that the pages read as zero.
 *   I3  granules at or above committed_granules are free and not dirty.
 *   I4  huge pages are allowed in [huge_from, huge_end) of a region and nowhere else; the range is
 *       empty or ends where the region was committed to last.
 */
#ifndef HHI_REGION_RUN_H
#define HHI_REGION_RUN_H

#include "base/compiler.h"
#include "os/lock.h"

struct hhi_run {
    uint32_t first;          // granule number
    uint32_t count;          // granules
    uint32_t clean_granules; // of these, how many used no memory before
    int refusal;             // where there is no run: -errno with which pages were refused, or 0
    bool addresses_refused;  // where there is none: whether addresses were
    unsigned calls;      // the same: memory calls made, with those of other threads in that moment
    unsigned next_calls; // the same: see struct hhi_tries
};

// What the kernel may be asked for.
enum hhi_run_ask {
    HHI_ASK_MORE,    // address space for later requests as well, else what is needed: a first try
    HHI_ASK_NEEDED,  // what is needed only: a second try, or one that can be done without
    HHI_ASK_NOTHING, // neither addresses nor pages: just this has been refused
};

/*
 * One request for memory, over all of its tries: zero-filled at first, but for its size. Who is refused by the
 * kernel gives memory back and tries again, as far as the request's calls go: those that map, unmap, protect or
 * advise. It may make more where the limits of the process tell that it will be served (docs/adr/0033-*).
 */
struct hhi_tries {
    size_t size_bytes;     // asked for
    enum hhi_run_ask ask;  // what the next try may ask the kernel for
    bool pages, addresses; // what the last try was refused; neither: a record
    bool outside;          // memory that no free run can be made of
    unsigned calls;        // made so far
    unsigned next_calls;   // the next try makes if it is refused, and what comes after it
};
enum { HHI_TRIES_CALLS = 4 };

// What hhi_run_alloc is asked for.
struct hhi_run_request {
    uint32_t count;       // granules, at least 1
    uint32_t alignment;   // the first granule's address is a multiple of that many granules
    bool executable;      // from regions whose pages may hold code
    enum hhi_run_ask ask; // of the kernel
    bool sparse;          // much of it may stay untouched: no reason for huge pages
};

// False when the system or the window has no room. What a refused try has reserved is kept for the next.
bool hhi_run_alloc(const struct hhi_run_request *request, struct hhi_run *run);
// Take the more granules behind a run as well. 0; -EEXIST if they are not free; -errno if their pages
// are refused. *clean_granules as above.
int hhi_run_extend(uint32_t first, uint32_t count, uint32_t more, uint32_t *clean_granules);
// Give granules back. Their contents may be dirty.
void hhi_run_free(uint32_t first, uint32_t count);

#define HHI_RUN_ALL UINT64_MAX // a time at which every decay is over
/*
 * Whether a stamp, the low 32 bits of a time in milliseconds, is decay_ms old at now_ms. It may be up
 * to a minute younger than now_ms, made after the pass that asks had read the clock. The number comes
 * round after 49 days: what is older may look young, but for no longer than that minute and the decay.
 */
static inline bool
hhi_stamp_is_due(uint32_t stamp_ms, uint64_t now_ms, uint32_t decay_ms)
{
    uint32_t age_ms = (uint32_t)now_ms - stamp_ms;
    return now_ms == HHI_RUN_ALL || (age_ms >= decay_ms && age_ms < UINT32_MAX - 60 * 1000);
}

/*
 * Purge what has been free for decay_ms at now_ms (HHI_RUN_ALL: everything) and release regions
 * that are empty. Returns the bytes that were dirty. At most limit_bytes, as near as granules allow.
 */
size_t hhi_run_purge(uint64_t now_ms, uint32_t decay_ms, size_t limit_bytes);

/*
 * Before the kernel's refusal: free ends of regions are made inaccessible, if it was pages, else free regions
 * are released; the largest first. Returns the bytes that were dirty.
 */
size_t hhi_run_give_back(struct hhi_tries *tries);
// A request was refused for good: release what it has reserved if the next is not likely to need as much.
void hhi_run_release_unused(void);

// Whether a region is large enough for so many bytes, if it were free.
bool hhi_run_region_can_hold(size_t size_bytes);

struct hhi_run_stats {
    size_t regions;
    size_t reserved_bytes;
    size_t committed_bytes;
    size_t retained_bytes;
    uint64_t purged_bytes;
};
void hhi_run_read_stats(struct hhi_run_stats *stats);
// Whether huge pages were ever allowed; a relaxed read.
bool hhi_run_had_huge_pages(void);
// Bytes free and dirty now; a relaxed read.
size_t hhi_run_retained_bytes(void);

void hhi_run_fork(enum hhi_fork_step step);
// Walks all regions and checks I1..I3; traps when one does not hold.
void hhi_run_check(void);

#endif
