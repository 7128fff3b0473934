// SPDX-License-Identifier: MIT
// region/address_notice.c - see address_notice.h.
#include "region/address_notice.h"

#include "base/atomic.h"
#include "meta/meta_arena.h"
#include "os/lock.h"

enum { BUCKETS = 256, RECORDS_AT_ONCE = 64 };

struct notice {
    struct notice *next; // in its bucket, or among the free ones
    uintptr_t start;
    size_t size_bytes;
};

// Written under the lock; the counts are read without it.
static struct {
    struct hhi_lock lock;
    struct notice *buckets[BUCKETS];
    struct notice *free;
    _Atomic(size_t) ranges;
    _Atomic(size_t) bytes;
} notices;

static void
notice_count_locked(size_t ranges, size_t bytes)
{
    // relaxed (both): statistics.
    (void)hh_fetch_add_relaxed(&notices.ranges, ranges);
    (void)hh_fetch_add_relaxed(&notices.bytes, bytes);
}

static struct notice **
notice_bucket(uintptr_t start)
{
    // Fibonacci hashing of the page number: mappings often lie at even distances.
    return &notices.buckets[(start >> 12) * 0x9E3779B97F4A7C15u >> 56];
}

// The link that leads to the notice, or the end of its bucket.
static struct notice **
notice_find_locked(uintptr_t start)
{
    struct notice **link = notice_bucket(start);
    while (*link != NULL && (*link)->start != start)
        link = &(*link)->next;
    return link;
}

static struct notice *
notice_take_locked(void)
{
    if (notices.free == NULL) {
        struct notice *fresh = hhi_meta_alloc(RECORDS_AT_ONCE * sizeof *fresh);
        if (fresh == NULL)
            return NULL;
        for (unsigned i = 0; i < RECORDS_AT_ONCE; i++) {
            fresh[i].next = notices.free;
            notices.free = &fresh[i];
        }
    }
    struct notice *taken = notices.free;
    notices.free = taken->next;
    return taken;
}

void
hhi_notice_add(uintptr_t start, size_t size_bytes)
{
    hhi_lock_enter(&notices.lock);
    struct notice **link = notice_find_locked(start);
    struct notice *notice = *link;
    if (notice == NULL && (notice = notice_take_locked()) != NULL) {
        *notice = (struct notice){.start = start};
        *link = notice;
        notice_count_locked(1, 0);
    }
    if (notice != NULL) {
        notice_count_locked(0, size_bytes - notice->size_bytes);
        notice->size_bytes = size_bytes;
    }
    hhi_lock_leave(&notices.lock);
}

bool
hhi_notice_remove(uintptr_t start)
{
    hhi_lock_enter(&notices.lock);
    struct notice **link = notice_find_locked(start);
    struct notice *notice = *link;
    if (notice != NULL) {
        *link = notice->next;
        notice_count_locked((size_t)-1, (size_t)0 - notice->size_bytes);
        notice->next = notices.free;
        notices.free = notice;
    }
    hhi_lock_leave(&notices.lock);
    return notice != NULL;
}

void
hhi_notice_read_stats(struct hhi_notice_stats *stats)
{
    // relaxed (both): statistics.
    stats->ranges = hh_load_relaxed(&notices.ranges);
    stats->bytes = hh_load_relaxed(&notices.bytes);
}

void
hhi_notice_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&notices.lock, step);
}
