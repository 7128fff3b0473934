// SPDX-License-Identifier: MIT
/*
 * meta/meta_arena.h - memory for the library's own records.
 *
 * Layer: meta. May include: base, os, diag.
 *
 * Records are handed out from private mappings, apart from all blocks, and are never given back to
 * the system: what once was a record of a kind stays one, so a late reader never meets unmapped
 * memory. Owners of records keep free lists of their own.
 *
 * Thread rules: any thread; takes a lock (rank: meta, the last); not in signal handlers.
 *
 * Memory ordering
 *   MA-1  link to a chunk: the thread that mapped it -> readers of the list: its header.
 */
#ifndef HHI_META_META_ARENA_H
#define HHI_META_META_ARENA_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "os/lock.h"

/*
 * So much memory that can be read follows every record, though it may be another record's: a late
 * reader may combine the address of one array with the length of another.
 */
enum { HHI_META_OVERREAD_BYTES = 16 * 1024 };

// size_bytes zeroed bytes, aligned to a cache line; NULL when the system has none.
void *hhi_meta_alloc(size_t size_bytes);
// The same for what most programs never write, so that it lies apart from what they do.
void *hhi_meta_alloc_cold(size_t size_bytes);
// Both at once, or nothing: size_bytes, and at *cold cold_bytes that most programs never write. NULL: no
// memory, *cold as before.
void *hhi_meta_alloc_two(size_t size_bytes, size_t cold_bytes, void **cold);
// Bytes taken from the system so far.
size_t hhi_meta_bytes(void);
/*
 * The arena's chunks, for those who must know which addresses are the library's. A chunk begins at
 * a multiple of HHI_META_ALIGNMENT and has the addresses up to the next multiple to itself.
 */
#define HHI_META_ALIGNMENT ((uintptr_t)65536)

struct hhi_meta_chunk {
    size_t size_bytes;                      // this header included
    _Atomic(struct hhi_meta_chunk *) newer; // written once [MA-1]
};
// The chunk mapped after that one; after NULL: the first. NULL: there is none yet. Any thread.
const struct hhi_meta_chunk *hhi_meta_next_chunk(const struct hhi_meta_chunk *chunk);

// Around fork: hold the lock while the process is copied.
void hhi_meta_fork(enum hhi_fork_step step);

#endif
