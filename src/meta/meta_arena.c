// SPDX-License-Identifier: MIT
// meta/meta_arena.c - memory for the library's own records.
#include "meta/meta_arena.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "os/lock.h"
#include "os/os.h"

// The first chunk is small, for small programs; later ones are larger, for fewer mappings.
enum { META_FIRST_CHUNK_BYTES = 128 * 1024, META_CHUNK_BYTES = 1024 * 1024 };

static struct {
    struct hhi_lock lock;
    uintptr_t next, end;         // the rest of the newest chunk; under lock
    _Atomic size_t mapped_bytes; // written under lock, read by anyone
} meta;

static bool
meta_grow(size_t size_bytes)
{
    // relaxed: written under the lock that is held.
    size_t mapped_bytes = hh_load_relaxed(&meta.mapped_bytes);
    size_t needed_bytes = hh_align_up(size_bytes, hhi_os_page_bytes());
    size_t chunk_bytes = mapped_bytes == 0 ? META_FIRST_CHUNK_BYTES : META_CHUNK_BYTES;
    if (chunk_bytes < needed_bytes)
        chunk_bytes = needed_bytes;
    intptr_t chunk = hhi_os_map_private(chunk_bytes);
    if (chunk < 0 && chunk_bytes > needed_bytes) {
        // A small address space may refuse a whole chunk and still have what is needed.
        chunk_bytes = needed_bytes;
        chunk = hhi_os_map_private(chunk_bytes);
    }
    if (chunk < 0)
        return false;
    // relaxed: a statistic.
    hh_store_relaxed(&meta.mapped_bytes, mapped_bytes + chunk_bytes);
    meta.next = (uintptr_t)chunk;
    meta.end = meta.next + chunk_bytes;
    return true;
}

void *
hhi_meta_alloc(size_t size_bytes)
{
    size_bytes = hh_align_up(size_bytes, HH_CACHE_LINE_BYTES);
    void *record = NULL;
    hhi_lock_enter(&meta.lock);
    if (meta.end - meta.next >= size_bytes || meta_grow(size_bytes)) {
        record = (void *)meta.next;
        meta.next += size_bytes;
    }
    hhi_lock_leave(&meta.lock);
    return record;
}

size_t
hhi_meta_bytes(void)
{
    // relaxed: a statistic.
    return hh_load_relaxed(&meta.mapped_bytes);
}

void
hhi_meta_fork_prepare(void)
{
    hhi_lock_enter(&meta.lock);
}

void
hhi_meta_fork_done(bool child)
{
    if (child)
        hhi_lock_reset(&meta.lock);
    else
        hhi_lock_leave(&meta.lock);
}
