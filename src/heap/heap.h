// SPDX-License-Identifier: MIT
/*
 * heap/heap.h - heaps as the layers above see them.
 *
 * Layer: heap. May include: base, os, diag, options, meta, rcu, region, slab.
 *
 * A heap is an identity: slabs carry their heap, threads keep one cache per heap they use. The
 * default heap is the one behind malloc in the drop-in. Heap ids start at 1 and are never used
 * again in a process (contract section 16.11).
 *
 * Thread rules: all functions may run on any thread at once, except that hhi_heap_destroy must be
 * alone on its heap.
 */
#ifndef HHI_HEAP_HEAP_H
#define HHI_HEAP_HEAP_H

#include <hostheap/hostheap.h>

#include "base/compiler.h"
#include "heap/limit.h"

// 0 = done; else an hh_bad_block: the address was refused and nothing changed.
typedef unsigned hhi_refusal;

// Bits of hhi_heap_create's flags.
enum {
    HHI_HEAP_EXECUTABLE = 1, // pages are readable, writable and executable
    HHI_HEAP_HOST = 2,       // belongs to an IHostMalloc object: hh_heap_destroy refuses it
};

/*
 * What the fast paths need of a heap to find the calling thread's cache of it: in the heap's record,
 * and copied to where a call begins (an IHostMalloc object). Fixed while the heap exists.
 */
enum {
    HHI_HEAP_ID_STEP = 32
}; // so that some bits of an id are the offset of its struct hhi_recent
#define HHI_HEAP_ID_ENDED UINT64_MAX // of a key whose heap has ended
struct hhi_heap_key {
    uint64_t id; // the heap's number times HHI_HEAP_ID_STEP; never used again
    /*
     * Home: the record of the thread that used the heap first. Who runs it finds its cache here, two
     * dependent memory accesses earlier than by its own record (docs/adr/0034); the others look there.
     * relaxed (all): the fields below home are written and used only by who runs the record that home names,
     * or by who mends it.
     */
    _Atomic(struct hhi_thread *) home; // NULL, or HHI_HOME_CLAIMED: nobody's
    _Atomic(struct hhi_cache *) cache;
    _Atomic(struct hhi_bin *) bins; // as in struct hhi_recent
    _Atomic size_t small_bytes;
};
_Static_assert(sizeof(struct hhi_heap_key) == 40, "with a table before it less than a cache line");
#define HHI_HOME_CLAIMED ((struct hhi_thread *)1)

struct hh_heap *hhi_heap_default(void);
// Keep a copy of the heap's key in *face, until hhi_heap_orphan or hhi_heap_destroy; before the heap is used.
void hhi_heap_face(struct hh_heap *heap, struct hhi_heap_key *face);
// The heap's number: 1, the default heap's, and up.
uint64_t hhi_heap_id(const struct hh_heap *heap);
// HHI_HEAP_* bits it was created with.
uint32_t hhi_heap_flags(const struct hh_heap *heap);

// out is NULL on failure. HH_OK, HH_E_NO_MEMORY, HH_E_ACCESS_DENIED.
hh_status hhi_heap_create(uint32_t flags, size_t soft_bytes, size_t hard_bytes, const char *name,
                          struct hh_heap **out);
// Frees all blocks at once; heap must not be the default one.
void hhi_heap_destroy(struct hh_heap *heap);
// The owner object is gone but its blocks stay readable until the process ends (DECISION 3): every
// later free of one is refused, the pages are kept. Without a live block the heap is destroyed.
void hhi_heap_orphan(struct hh_heap *heap);

// Any size and level. NULL when refused. errno is left alone.
void *hhi_heap_alloc(struct hh_heap *heap, size_t size_bytes, unsigned level);
void *hhi_heap_alloc_zeroed(struct hh_heap *heap, size_t size_bytes, unsigned level);
// alignment_bytes: a power of two, at most 1 GiB.
void *hhi_heap_alloc_aligned(struct hh_heap *heap, size_t alignment_bytes, size_t size_bytes,
                             unsigned level);
// As hhi_heap_alloc, and remembers file (copied, NULL allowed), line and size_bytes.
void *hhi_heap_alloc_debug(struct hh_heap *heap, size_t size_bytes, unsigned level,
                           const char *file, int line);
// block is not NULL.
hhi_refusal hhi_heap_free(struct hh_heap *heap, void *block);
hhi_refusal hhi_heap_free_sized(struct hh_heap *heap, void *block, size_t size_bytes);
// alignment_bytes: as the caller names it, any value.
hhi_refusal hhi_heap_free_aligned(struct hh_heap *heap, void *block, size_t alignment_bytes);
hhi_refusal hhi_heap_free_aligned_sized(struct hh_heap *heap, void *block, size_t alignment_bytes,
                                        size_t size_bytes);
// block is not NULL. *result: the new block, or NULL for no memory (the old one untouched).
hhi_refusal hhi_heap_realloc(struct hh_heap *heap, void *block, size_t size_bytes, unsigned level,
                             void **result);
// *size_bytes: usable size of a live block, else 0 and why it is refused.
hhi_refusal hhi_heap_usable_size(struct hh_heap *heap, const void *block, size_t *size_bytes);
// Why address is no live block of heap (HH_BAD_*), 0 if it is one. Any value. Wait-free.
hhi_refusal hhi_heap_judge(struct hh_heap *heap, const void *address, hh_block_info *info);
// Wait-free, async-signal-safe.
void hhi_heap_owns(const void *address, hh_block_info *info);
// DebugAlloc's record; false if address is not a live block of a host heap.
bool hhi_heap_debug_lookup(const void *address, const char **file, int *line, size_t *size_bytes);

hh_status hhi_heap_set_limits(struct hh_heap *heap, size_t soft_bytes, size_t hard_bytes);

// Bytes given back to the system.
size_t hhi_trim(void);

void hhi_heap_get_stats(struct hh_heap *heap, hh_heap_stats *stats);
void hhi_get_stats(hh_stats *stats);
// Calls visit for each heap that exists; the list is stable meanwhile. visit must not allocate.
void hhi_heap_for_each(void (*visit)(void *arg, struct hh_heap *heap), void *arg);
const char *hhi_heap_name(const struct hh_heap *heap);
hh_status hhi_heap_walk(struct hh_heap *heap,
                        int (*visit)(void *arg, void *block, size_t size_bytes), void *arg);

#endif
