// SPDX-License-Identifier: MIT
/*
 * heap/heap_fast.h - what runs on every call: straight-line, one exit to a cold twin.
 *
 * Layer: heap. May include: base, slab, heap/thread_cache.h.
 *
 * malloc takes a block from the bin of its class: the bin holds all that is needed, the slab's
 * record is not touched. free finds the record by arithmetic, compares the owner (which settles
 * thread and heap in one), turns the offset into a block number by one multiplication that also
 * tells whether a block starts there, and looks whether that block is live. None of it reads or
 * writes the block.
 *
 * The budget is 46 instructions for malloc and free together (tests/codegen).
 */
#ifndef HHI_HEAP_HEAP_FAST_H
#define HHI_HEAP_HEAP_FAST_H

#include "heap/heap.h"
#include "heap/thread_cache.h"

// Cold twins.
void *hhi_malloc_slow(size_t size_bytes);
void *hhi_heap_alloc_slow(struct hh_heap *heap, size_t size_bytes, unsigned level);
hhi_refusal hhi_heap_free_slow(struct hh_heap *heap, void *block);

HH_FAST void *
hhi_bin_take(struct hhi_bin *bin, size_t index)
{
    hhi_link *links = bin->links;
    // relaxed (both): the owner's own list; marks by others come after the block was handed out.
    bin->head = hh_load_relaxed(&links[index]);
    HH_OPAQUE(links);
    hh_store_relaxed(&links[index], HHI_LINK_LIVE);
    return (void *)(bin->base + (uint32_t)index * bin->block_bytes); // a slab is below 4 GiB
}

// Allocate from the default heap. slow: the exit, called with the same size; a constant.
HH_FAST void *
hhi_malloc_fast(size_t size_bytes, void *(*slow)(size_t))
{
    struct hhi_thread *self = hhi_self;
    if (hh_unlikely(size_bytes > HHI_SMALL_MAX_BYTES))
        return slow(size_bytes);
    struct hhi_bin *bin =
        &self->main.bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    size_t index = bin->head;
    if (hh_unlikely(index >= HHI_LINK_END))
        return slow(size_bytes);
    return hhi_bin_take(bin, index);
}

/*
 * Take a block of any heap from this thread's bin. False: not to be had at once, nothing changed.
 */
HH_FAST bool
hhi_heap_alloc_quick(struct hh_heap *heap, size_t size_bytes, void **block)
{
    struct hhi_cache *cache = hhi_self->recent[heap->id % HHI_RECENT_CACHES];
    // relaxed: written by this thread but for the end of a heap, which the caller excludes.
    if (hh_unlikely(size_bytes > HHI_SMALL_MAX_BYTES ||
                    hh_load_relaxed(&cache->heap_id) != heap->id))
        return false;
    struct hhi_bin *bin =
        &cache->bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    uint32_t index = bin->head;
    if (hh_unlikely(index >= HHI_LINK_END))
        return false;
    *block = hhi_bin_take(bin, index);
    return true;
}

HH_FAST void *
hhi_heap_alloc_fast(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    void *block;
    if (hh_likely(hhi_heap_alloc_quick(heap, size_bytes, &block)))
        return block;
    return hhi_heap_alloc_slow(heap, size_bytes, level);
}

/*
 * Whether a block of block_bytes was surely asked for with size_bytes, or shrunk to it in place. If
 * not, it may have been all the same: hhi_heap_free_aligned_sized knows.
 */
HH_FAST bool
hhi_block_size_fits(size_t block_bytes, size_t size_bytes)
{
    return size_bytes <= block_bytes && block_bytes / 2 <= size_bytes;
}

/*
 * Free a block of a one-granule slab that cache owns. False: anything else, nothing changed. With
 * sized (a constant) a block whose size may not be size_bytes is "anything else", too.
 */
HH_FAST bool
hhi_cache_free_checked(struct hhi_cache *cache, void *block, bool sized, size_t size_bytes)
{
    uint16_t offset = (uint16_t)(uintptr_t)block; // slabs of one granule begin where it begins
    size_t granule = hhi_granule_of(block);
    if (hh_unlikely(granule >= hhi_window.granules))
        return false;
    struct hhi_slab *slab =
        (struct hhi_slab *)(void *)(hhi_window.records + (granule << HHI_RECORD_SHIFT));
    // relaxed (all): equal to this cache only if this thread stored it, and what else it stored.
    if (hh_unlikely(!hh_equals_relaxed(&slab->owner, cache)))
        return false;
    if (sized && hh_unlikely(!hhi_block_size_fits(hh_load_relaxed(&slab->block_bytes), size_bytes)))
        return false;
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t mark;
    uint64_t index = hh_divide(offset, magic, &mark);
    if (hh_unlikely(mark >= magic))
        return false;
    hhi_link *links = hh_load_relaxed(&slab->links);
    if (hh_unlikely(hh_load_relaxed(&links[index]) != HHI_LINK_LIVE))
        return false;
    HH_OPAQUE(links);
    hh_store_relaxed(&links[index], (uint16_t)slab->freed);
    slab->freed = (uint32_t)index;
    if (hh_unlikely(--slab->credit == 0))
        hhi_slab_event(slab);
    return true;
}

HH_FAST bool
hhi_cache_free_local(struct hhi_cache *cache, void *block)
{
    return hhi_cache_free_checked(cache, block, false, 0);
}

// Usable size of a live block of a one-granule slab that cache owns; 0: anything else.
HH_FAST size_t
hhi_cache_block_bytes(struct hhi_cache *cache, const void *block)
{
    size_t granule = hhi_granule_of(block);
    // relaxed (all): as in hhi_cache_free_local.
    if (granule >= hhi_window.granules)
        return 0;
    struct hhi_slab *slab =
        (struct hhi_slab *)(void *)(hhi_window.records + (granule << HHI_RECORD_SHIFT));
    if (hh_load_relaxed(&slab->owner) != cache)
        return 0;
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t mark;
    uint64_t index = hh_divide((uintptr_t)block % HHI_GRANULE_BYTES, magic, &mark);
    if (mark >= magic || hh_load_relaxed(&hh_load_relaxed(&slab->links)[index]) != HHI_LINK_LIVE)
        return 0;
    return hh_load_relaxed(&slab->block_bytes);
}

// The calling thread's cache of a heap if it is found at once, else one that owns nothing.
HH_FAST struct hhi_cache *
hhi_cache_guess(const struct hh_heap *heap)
{
    if (heap == &hhi_default_heap)
        return &hhi_self->main;
    struct hhi_cache *cache = hhi_self->recent[heap->id % HHI_RECENT_CACHES];
    // relaxed: as in hhi_heap_alloc_fast.
    return hh_load_relaxed(&cache->heap_id) == heap->id ? cache : &hhi_thread_none.main;
}

// Free for the default heap. 0 = done.
HH_FAST hhi_refusal
hhi_free_fast(void *block)
{
    if (hh_likely(hhi_cache_free_local(&hhi_self->main, block)))
        return 0;
    return hhi_heap_free_slow(&hhi_default_heap, block);
}

/*
 * Free a block of any heap on the thread whose slab it lies in. False: anything else, NULL too;
 * nothing changed.
 */
HH_FAST bool
hhi_heap_free_quick(struct hh_heap *heap, void *block)
{
    struct hhi_cache *cache = hhi_self->recent[heap->id % HHI_RECENT_CACHES];
    // relaxed: as in hhi_heap_alloc_quick.
    return hh_likely(hh_load_relaxed(&cache->heap_id) == heap->id &&
                     hhi_cache_free_local(cache, block));
}

// Free for any heap. 0 = done. block NULL is done, too.
HH_FAST hhi_refusal
hhi_heap_free_fast(struct hh_heap *heap, void *block)
{
    if (hh_likely(hhi_heap_free_quick(heap, block)))
        return 0;
    return hhi_heap_free_slow(heap, block);
}

#endif
