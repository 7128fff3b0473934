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
    uintptr_t next, end;                     // the rest of the newest chunk; under lock
    _Atomic size_t mapped_bytes;             // written under lock, read by anyone
    _Atomic(struct hhi_meta_chunk *) oldest; // [MA-1]
    struct hhi_meta_chunk *newest;           // under lock
    bool refused;                            // a chunk, the last time; under lock
} meta HH_START_STATE;

/*
 * A chunk whose granule of HHI_META_ALIGNMENT nobody shares: what the alignment leaves on both sides stays
 * mapped, unused, which spares one or two calls. 0 without memory.
 */
static uintptr_t
chunk_map(size_t size_bytes)
{
    uintptr_t own_bytes = hh_align_up(size_bytes, HHI_META_ALIGNMENT);
    intptr_t start = hhi_os_map_private(own_bytes + HHI_META_ALIGNMENT - hhi_os_page_bytes());
    return start < 0 ? 0 : hh_align_up((uintptr_t)start, HHI_META_ALIGNMENT);
}

static void
chunk_link(uintptr_t base, size_t size_bytes)
{
    struct hhi_meta_chunk *chunk = (struct hhi_meta_chunk *)base;
    chunk->size_bytes = size_bytes;
    _Atomic(struct hhi_meta_chunk *) *link =
        meta.newest == NULL ? &meta.oldest : &meta.newest->newer;
    meta.newest = chunk;
    // order: release [MA-1] publishes the chunk's header.
    hh_store_release(link, chunk);
}

const struct hhi_meta_chunk *
hhi_meta_next_chunk(const struct hhi_meta_chunk *chunk)
{
    // order: acquire [MA-1] reads the next chunk's header.
    return chunk == NULL ? hh_load_acquire(&meta.oldest) : hh_load_acquire(&chunk->newer);
}

static bool
meta_grow(size_t size_bytes)
{
    // relaxed: written under the lock that is held.
    size_t mapped_bytes = hh_load_relaxed(&meta.mapped_bytes);
    size_t needed_bytes = hh_align_up(size_bytes + HH_CACHE_LINE_BYTES + HHI_META_OVERREAD_BYTES,
                                      hhi_os_page_bytes());
    size_t chunk_bytes = mapped_bytes == 0 ? META_FIRST_CHUNK_BYTES : META_CHUNK_BYTES;
    if (chunk_bytes < needed_bytes || meta.refused)
        chunk_bytes = needed_bytes;
    uintptr_t chunk = chunk_map(chunk_bytes);
    if (chunk == 0 && chunk_bytes > needed_bytes) {
        // A small address space may refuse a whole chunk and still have what is needed. That is asked
        // for at once the next time: each refusal costs its requests one call, not two.
        chunk_bytes = needed_bytes;
        chunk = chunk_map(chunk_bytes);
    }
    meta.refused = chunk == 0;
    if (chunk == 0)
        return false;
    // relaxed: a statistic.
    hh_store_relaxed(&meta.mapped_bytes, mapped_bytes + chunk_bytes);
    chunk_link(chunk, chunk_bytes);
    meta.next = chunk + HH_CACHE_LINE_BYTES;
    meta.end = chunk + chunk_bytes - HHI_META_OVERREAD_BYTES;
    return true;
}

void *
hhi_meta_alloc_two(size_t size_bytes, size_t cold_bytes, void **cold)
{
    size_bytes = hh_align_up(size_bytes, HH_CACHE_LINE_BYTES);
    cold_bytes = hh_align_up(cold_bytes, HH_CACHE_LINE_BYTES);
    uintptr_t record = 0;
    hhi_lock_enter(&meta.lock);
    if (meta.end - meta.next >= size_bytes + cold_bytes || meta_grow(size_bytes + cold_bytes)) {
        record = meta.next;
        meta.next += size_bytes;
        meta.end -= cold_bytes;
        *cold = (void *)meta.end;
    }
    hhi_lock_leave(&meta.lock);
    return (void *)record;
}

void *
hhi_meta_alloc(size_t size_bytes)
{
    void *nothing;
    return hhi_meta_alloc_two(size_bytes, 0, &nothing);
}

void *
hhi_meta_alloc_cold(size_t size_bytes)
{
    void *cold = NULL;
    return hhi_meta_alloc_two(0, size_bytes, &cold) == NULL ? NULL : cold;
}

size_t
hhi_meta_bytes(void)
{
    // relaxed: a statistic.
    return hh_load_relaxed(&meta.mapped_bytes);
}

void
hhi_meta_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&meta.lock, step);
}
