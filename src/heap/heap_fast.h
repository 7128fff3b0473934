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
 * The budget is 42 instructions for malloc and free together (tests/codegen).
 */
#ifndef HHI_HEAP_HEAP_FAST_H
#define HHI_HEAP_HEAP_FAST_H

#include <string.h>

#include "heap/clear.h"
#include "heap/heap.h"
#include "heap/thread_cache.h"

// Whether a link says LIVE. relaxed: who asks owns the slab, or wants a first look.
HH_FAST bool
hhi_link_is_live(hhi_link *link)
{
    static_assert(HHI_LINK_LIVE == UINT16_MAX, "all ones");
    return hh_is_ones_relaxed(link);
}

// Cold twins. The first refuses a thread that may have no record of its own (hhi_threads_borrow).
void *hhi_malloc_slow(size_t size_bytes);
/*
 * Grow a block of the default heap by moving it: a live one of block_bytes in a slab that the calling
 * thread owns. NULL: not to be had this way, nothing changed; hhi_heap_realloc knows more.
 */
void *hhi_malloc_grow(void *block, size_t block_bytes, size_t size_bytes);
void *hhi_heap_alloc_slow(struct hh_heap *heap, size_t size_bytes, unsigned level);
hhi_refusal hhi_heap_free_slow(struct hh_heap *heap, void *block);
// Free what is no block of a slab of one granule that the thread owns, but may well be another thread's.
hhi_refusal hhi_heap_free_elsewhere(struct hh_heap *heap, void *block);
// A block of slab was marked, and its owner or the sweeper may have to be told. Closes the section.
void hhi_slab_tell(struct hhi_slab *slab, struct hhi_guard *guard);

HH_FAST void *
hhi_bin_take(struct hhi_bin *bin, size_t index)
{
    hhi_link *links = bin->links;
    HH_OPAQUE(index); // one register for the number and its low half
    // relaxed (both): the owner's own list; marks by others come after the block was handed out.
    bin->head = hh_load_relaxed(&links[index]);
    HH_OPAQUE(links);
    hh_store_relaxed(&links[index], HHI_LINK_LIVE);
    return (void *)(bin->base + (uint32_t)index * bin->block_bytes); // a slab is below 4 GiB
}

// Take a block of the default heap from this thread's bin. False: not to be had at once.
HH_FAST bool
hhi_malloc_quick(size_t size_bytes, void **block)
{
    struct hhi_thread *self = hhi_self;
    if (hh_unlikely(size_bytes > HHI_SMALL_MAX_BYTES))
        return false;
    struct hhi_bin *bin = &self->bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    size_t index = bin->head;
    if (hh_unlikely(index >= HHI_LINK_END))
        return false;
    *block = hhi_bin_take(bin, index);
    return true;
}

// Allocate from the default heap. Exits, called with the same size, constants: medium for sizes above
// the small ones, refill for an empty bin.
HH_FAST void *
hhi_malloc_fast(size_t size_bytes, void *(*medium)(size_t), void *(*refill)(size_t))
{
    struct hhi_thread *self = hhi_self;
    HH_OPAQUE(self); // before the first branch: after it, one instruction less, and slower (0013)
    if (hh_unlikely(size_bytes > HHI_SMALL_MAX_BYTES))
        return medium(size_bytes);
    struct hhi_bin *bin = &self->bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    size_t index = bin->head;
    if (hh_unlikely(index >= HHI_LINK_END))
        return refill(size_bytes);
    return hhi_bin_take(bin, index);
}

/*
 * The blocks of a bin's slab that were freed since its list was taken, when that list is empty: its
 * head, for the bin. HHI_LINK_END: none.
 */
HH_FAST size_t
hhi_bin_freed(const struct hhi_bin *bin)
{
    struct hhi_slab *slab = bin->slab;
    if (hh_unlikely(slab == NULL))
        return HHI_LINK_END;
    size_t index = slab->freed;
    if (hh_likely(index < HHI_LINK_END)) {
        slab->freed = HHI_LINK_END;
        slab->head_fresh = false;
    }
    return index;
}

/*
 * The next block of a bin whose list is empty, from its slab: blocks freed since the list was taken,
 * then one never used. They become the bin's list. HHI_LINK_END: neither, or other threads have freed blocks,
 * which are warmer and come first, or it is time to put memory behind the next blocks never used.
 */
HH_FAST size_t
hhi_bin_next(struct hhi_bin *bin)
{
    size_t index = hhi_bin_freed(bin);
    struct hhi_slab *slab = bin->slab;
    if (hh_likely(index < HHI_LINK_END || slab == NULL))
        return index;
    index = slab->init;
    // relaxed (all): fixed while carved; a first look; the owner's own link.
    bool clean = (hh_load_relaxed(&slab->flags) & HHI_SLAB_CLEAN) != 0;
    if (hh_unlikely(index >= hh_load_relaxed(&slab->block_count) ||
                    hh_load_relaxed(&slab->notice) != 0))
        return HHI_LINK_END;
    if (hh_unlikely(index % HHI_POPULATE_LOOK_BLOCKS == 0) && clean)
        return HHI_LINK_END;
    slab->init = (uint32_t)index + 1;
    slab->head_fresh = clean;
    hh_store_relaxed(&bin->links[index], HHI_LINK_END);
    return index;
}

// Take a small block from bins of all small classes, of which the class's is empty: one that was freed since its list
// was taken, as there is most times. False: not to be had at once.
HH_FAST bool
hhi_bins_take_freed(struct hhi_bin *bins, size_t size_bytes, void **block)
{
    struct hhi_bin *bin = &bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    size_t index = hhi_bin_freed(bin);
    if (hh_unlikely(index >= HHI_LINK_END))
        return false;
    *block = hhi_bin_take(bin, index);
    return true;
}

// Allocate a small block of the default heap whose bin is empty. A leaf, so that it needs no frame;
// slow as in hhi_malloc_medium.
HH_FAST void *
hhi_malloc_refill(size_t size_bytes, void *(*slow)(size_t))
{
    void *block;
    return hh_likely(hhi_bins_take_freed(hhi_self->bins, size_bytes, &block)) ? block
                                                                              : slow(size_bytes);
}

// Take a block of the default heap of a size above the small ones. False: not to be had at once.
HH_FAST bool
hhi_malloc_quick_medium(size_t size_bytes, void **block)
{
    struct hhi_thread *self = hhi_self;
    if (hh_unlikely(size_bytes - 1 >= HHI_STEPS_BYTES && size_bytes > hhi_slab_limit_bytes))
        return false;
    struct hhi_bin *bin = &self->bins[hhi_class_of_medium(size_bytes)];
    HH_OPAQUE(bin); // computed once
    size_t index = bin->head;
    if (index >= HHI_LINK_END) {
        index = hhi_bin_next(bin);
        if (hh_unlikely(index >= HHI_LINK_END))
            return false;
    }
    *block = hhi_bin_take(bin, index);
    return true;
}

/*
 * A block below HHI_CLEAR_LOOK_BYTES from the bins of classes below limit; *fresh: it reads as zero.
 * False: not to be had at once.
 */
HH_FAST bool
hhi_bins_take_any(struct hhi_bin *bins, uint32_t class_limit, size_t size_bytes, bool *fresh,
                  void **block)
{
    static_assert((int)HHI_CLEAR_LOOK_BYTES <= (int)HHI_SMALL_WINDOW_LIMIT_BYTES, "of a slab");
    if (hh_unlikely(size_bytes - 1 >= HHI_CLEAR_LOOK_BYTES - 1))
        return false;
    unsigned class_index = hhi_class_of(size_bytes);
    if (class_limit != HHI_CLASSES && hh_unlikely(class_index >= class_limit))
        return false;
    struct hhi_bin *bin = &bins[class_index];
    size_t index = bin->head;
    if (index >= HHI_LINK_END) {
        index = size_bytes > HHI_SMALL_MAX_BYTES ? hhi_bin_next(bin) : hhi_bin_freed(bin);
        if (hh_unlikely(index >= HHI_LINK_END))
            return false;
    }
    *fresh = hhi_bin_fresh(bin);
    *block = hhi_bin_take(bin, index);
    return true;
}

/*
 * Allocate from the default heap what malloc_fast does not: sizes above the small ones. A leaf, so
 * that it needs no frame; slow for what is not to be had at once.
 */
HH_FAST void *
hhi_malloc_medium(size_t size_bytes, void *(*slow)(size_t))
{
    void *block;
    return hh_likely(hhi_malloc_quick_medium(size_bytes, &block)) ? block : slow(size_bytes);
}

/*
 * *rounded_bytes: the size to allocate so that the block has the alignment, a power of two. All
 * classes that are at or above a multiple of it are multiples of it themselves, since the steps
 * between classes are powers of two, and slabs begin at multiples of a granule. False: not to be had
 * from a class this way.
 */
HH_FAST bool
hhi_aligned_class(size_t alignment_bytes, size_t size_bytes, size_t *rounded_bytes)
{
    *rounded_bytes = (size_bytes + (alignment_bytes - 1)) & -alignment_bytes;
    return hh_likely(alignment_bytes <= HHI_GRANULE_BYTES) &&
           hh_likely(size_bytes - 1 < HHI_SLAB_MAX_BYTES);
}

/*
 * Take a block of any heap from this thread's bin. False: not to be had at once, nothing changed.
 */
HH_FAST bool
hhi_heap_alloc_quick(const struct hhi_heap_key *key, size_t size_bytes, void **block)
{
    struct hhi_thread *self = hhi_self;
    struct hhi_bin *bins;
    // relaxed (all): home's own, so this thread's if home is this thread.
    if (hh_likely(hh_equals_relaxed(&key->home, self))) {
        if (hh_unlikely(size_bytes > hh_load_relaxed(&key->small_bytes)))
            return false;
        bins = hh_load_relaxed(&key->bins);
    } else {
        const struct hhi_recent *recent = hhi_recent_of(self, key);
        if (hh_unlikely(size_bytes > recent->small_bytes || recent->heap_id != key->id))
            return false;
        bins = recent->bins;
    }
    struct hhi_bin *bin = &bins[(size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES];
    size_t index = bin->head;
    if (hh_unlikely(index >= HHI_LINK_END))
        return false;
    *block = hhi_bin_take(bin, index);
    return true;
}

HH_FAST void *
hhi_heap_alloc_fast(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    void *block;
    if (hh_likely(hhi_heap_alloc_quick(&heap->key, size_bytes, &block)))
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
 * Free a block of a one-granule slab that cache owns; slab is the record of the block's granule, which is
 * inside of the window. False: anything else, nothing changed. With sized (a constant) a block whose
 * size may not be size_bytes is "anything else", too.
 */
HH_FAST bool
hhi_cache_free_in_window(struct hhi_cache *cache, void *block, struct hhi_slab *slab, bool sized,
                         size_t size_bytes)
{
    uint16_t offset = (uint16_t)(uintptr_t)block; // slabs of one granule begin where it begins
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
    if (hh_unlikely(!hhi_link_is_live(&links[index])))
        return false;
    HH_OPAQUE(links);
    hh_store_relaxed(&links[index], (uint16_t)slab->freed);
    slab->freed = (uint32_t)index;
    if (hh_unlikely(--slab->credit == 0))
        hhi_slab_event(slab);
    return true;
}

// The same for any address.
HH_FAST bool
hhi_cache_free_checked(struct hhi_cache *cache, void *block, bool sized, size_t size_bytes)
{
    size_t granule = hhi_granule_of(block);
    return hh_likely(hhi_granule_is_inside(granule)) &&
           hhi_cache_free_in_window(cache, block, hhi_record_of(granule), sized, size_bytes);
}

HH_FAST bool
hhi_cache_free_local(struct hhi_cache *cache, void *block)
{
    return hhi_cache_free_checked(cache, block, false, 0);
}

/*
 * Mark a block of a slab of heap that another thread owns, and tell its owner unless it has been told.
 * offset: of the block from the slab's base. near (a constant): the block lies in the granule that the
 * record is of. With sized (a constant) a block whose size may not be size_bytes is "anything else".
 * False: anything else, nothing changed. One locked instruction, and, if the owner knows already, no
 * store but the mark to what other threads read.
 */
HH_FAST bool
hhi_slab_free_remote(struct hhi_slab *slab, struct hh_heap *heap, struct hhi_guard *guard,
                     size_t offset, bool near, bool sized, size_t size_bytes)
{
    if (hh_unlikely(!guard->registered))
        return false;
    hhi_guard_open(guard);
    // order: acquire [SL-5] the fields that describe the run, as long as the section is open.
    // relaxed (others): fixed meanwhile. Blocks of the default heap are never tracked.
    if (hh_likely(
            hh_load_acquire(&slab->kind) == HHI_KIND_SLAB && hh_load_relaxed(&slab->heap) == heap &&
            (heap == &hhi_default_heap ||
             (hh_load_relaxed(&slab->flags) & HHI_SLAB_TRACKED) == 0) &&
            (!sized || hhi_block_size_fits(hh_load_relaxed(&slab->block_bytes), size_bytes)))) {
        uint64_t magic = hh_load_relaxed(&slab->magic);
        uint64_t mark;
        uint64_t index = hh_divide(offset, magic, &mark);
        uint16_t live = HHI_LINK_LIVE;
        // The run's head may have been read before the section began, when another run was there:
        // then the block may lie behind this one. If it is near it lies in it, and index is
        // block_count at most, whose link is never live.
        if (hh_likely(mark < magic) &&
            (near || hh_likely(index < hh_load_relaxed(&slab->block_count))) &&
            // order: seq_cst [SL-2] before notice is looked at; release [SL-1].
            hh_likely(hh_cas_strong_seq_cst(&hh_load_relaxed(&slab->links)[index], &live,
                                            HHI_LINK_REMOTE))) {
            // order: seq_cst [SL-2] after the mark.
            if (hh_unlikely(hh_load_seq_cst(&slab->notice) != HHI_NOTICE_GIVEN))
                hhi_slab_tell(slab, guard);
            else
                hhi_guard_close(guard);
            return true;
        }
    }
    hhi_guard_close(guard);
    return false;
}

/*
 * Free what hhi_cache_free_in_window did not: a block of a slab of the thread's own that has several
 * granules, or one of another thread's slab. cache: the thread's of heap, or one that owns nothing;
 * slab: the record of the block's granule, in the window. With sized (a constant) a block whose size
 * may not be size_bytes is "anything else". False: anything else, nothing changed.
 */
HH_FAST bool
hhi_free_elsewhere(struct hhi_thread *self, struct hh_heap *heap, struct hhi_cache *cache,
                   void *block, struct hhi_slab *slab, bool sized, size_t size_bytes)
{
    // relaxed: a first look. Most times a slab begins in the block's granule: what waits for the mark,
    // and that is all of the next free, need not wait for the run's head to be looked up.
    if (hh_likely(hh_load_relaxed(&slab->kind) == HHI_KIND_SLAB))
        // relaxed: as in hhi_cache_free_checked.
        return !hh_equals_relaxed(&slab->owner, cache) &&
               hhi_slab_free_remote(slab, heap, &self->guard, (uint16_t)(uintptr_t)block, true,
                                    sized, size_bytes);
    size_t granule = hhi_granule_of(block);
    // relaxed (all): as above. 0: no run.
    size_t head = hh_load_relaxed(&hhi_window.heads[granule]);
    if (hh_unlikely(head == 0))
        return false;
    slab = (struct hhi_slab *)(void *)(hhi_window.records + ((head - 1) << HHI_RECORD_SHIFT));
    size_t granules_before = granule - (head - 1);
    if (hh_unlikely(granules_before == 0))
        return false; // what begins here is no slab: a large block
    size_t offset = (granules_before << HHI_GRANULE_SHIFT) + (uintptr_t)block % HHI_GRANULE_BYTES;
    if (!hh_equals_relaxed(&slab->owner, cache))
        return hhi_slab_free_remote(slab, heap, &self->guard, offset, false, sized, size_bytes);
    if (sized && hh_unlikely(!hhi_block_size_fits(hh_load_relaxed(&slab->block_bytes), size_bytes)))
        return false;
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t mark;
    uint64_t index = hh_divide(offset, magic, &mark);
    if (hh_unlikely(mark >= magic))
        return false;
    // In the tail behind the last block index is block_count, whose link is never live.
    hhi_link *links = hh_load_relaxed(&slab->links);
    if (hh_unlikely(!hhi_link_is_live(&links[index])))
        return false;
    hh_store_relaxed(&links[index], (uint16_t)slab->freed);
    slab->freed = (uint32_t)index;
    if (hh_unlikely(--slab->credit == 0))
        hhi_slab_event(slab);
    return true;
}

// Usable size of a live block of a one-granule slab that cache owns; 0: anything else in the window.
HH_FAST size_t
hhi_cache_block_bytes_in_window(struct hhi_cache *cache, const void *block)
{
    size_t granule = hhi_granule_of(block);
    uint16_t offset = (uint16_t)(uintptr_t)block;
    // relaxed (all): as in hhi_cache_free_local.
    struct hhi_slab *slab =
        (struct hhi_slab *)(void *)(hhi_window.records + (granule << HHI_RECORD_SHIFT));
    if (hh_unlikely(!hh_equals_relaxed(&slab->owner, cache)))
        return 0;
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t mark;
    uint64_t index = hh_divide(offset, magic, &mark);
    if (hh_unlikely(mark >= magic) ||
        hh_unlikely(!hhi_link_is_live(&hh_load_relaxed(&slab->links)[index])))
        return 0;
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    if (block_bytes == 0)
        __builtin_unreachable(); // so the caller's test for "anything else" costs nothing here
    return block_bytes;
}

// The same of any address.
HH_FAST size_t
hhi_cache_block_bytes(struct hhi_cache *cache, const void *block)
{
    if (hh_unlikely(!hhi_granule_is_inside(hhi_granule_of(block))))
        return 0;
    return hhi_cache_block_bytes_in_window(cache, block);
}

// Usable size of a live large block of heap; 0: anything else, as below.
HH_FAST size_t
hhi_large_block_bytes(const struct hh_heap *heap, const void *block)
{
    size_t granule = hhi_granule_of(block);
    if (!hhi_granule_is_inside(granule) || (uintptr_t)block % HHI_GRANULE_BYTES != 0)
        return 0;
    struct hhi_slab *slab =
        (struct hhi_slab *)(void *)(hhi_window.records + (granule << HHI_RECORD_SHIFT));
    // order: acquire [SL-6] the run that begins here: nothing else has a heap there.
    // relaxed: fixed while the block is live, but for its owner's realloc.
    return hh_load_acquire(&slab->large_of) == heap ? hh_load_relaxed(&slab->block_bytes) : 0;
}

/*
 * Usable size of a live block of a slab of several granules that cache owns, or of a large block of
 * heap; 0: anything else. A block that another thread frees meanwhile may be answered as it was.
 */
HH_FAST size_t
hhi_cache_block_bytes_medium(struct hhi_cache *cache, const struct hh_heap *heap, const void *block)
{
    size_t granule = hhi_granule_of(block);
    if (!hhi_granule_is_inside(granule))
        return 0;
    // relaxed: as in window.h.
    size_t head = hh_load_relaxed(&hhi_window.heads[granule]);
    if (head == 0)
        return 0;
    struct hhi_slab *slab =
        (struct hhi_slab *)(void *)(hhi_window.records + ((head - 1) << HHI_RECORD_SHIFT));
    // order: acquire [SL-6] a large block's run, when it is live.
    if (hh_load_acquire(&slab->large_of) == heap)
        // relaxed: fixed while the block is live.
        return hhi_slab_base(slab) == (uintptr_t)block ? hh_load_relaxed(&slab->block_bytes) : 0;
    // relaxed (all): as in hhi_free_elsewhere.
    if (hh_load_relaxed(&slab->owner) != cache)
        return 0;
    uint64_t magic = hh_load_relaxed(&slab->magic);
    uint64_t mark;
    uint64_t index = hh_divide((uintptr_t)block - hhi_slab_base(slab), magic, &mark);
    if (mark >= magic || !hhi_link_is_live(&hh_load_relaxed(&slab->links)[index]))
        return 0;
    return hh_load_relaxed(&slab->block_bytes);
}

// The calling thread's cache of a heap, by its key. False: not to be found at once.
HH_FAST bool
hhi_key_cache(struct hhi_thread *self, const struct hhi_heap_key *key, struct hhi_cache **cache)
{
    // relaxed (both): as in hhi_heap_alloc_quick.
    if (hh_likely(hh_equals_relaxed(&key->home, self))) {
        *cache = hh_load_relaxed(&key->cache);
        return true;
    }
    const struct hhi_recent *recent = hhi_recent_of(self, key);
    if (hh_unlikely(recent->heap_id != key->id))
        return false;
    *cache = recent->cache;
    return true;
}

// The calling thread's cache of a heap if it is found at once, else one that owns nothing.
HH_FAST struct hhi_cache *
hhi_cache_guess(const struct hh_heap *heap)
{
    if (heap == &hhi_default_heap)
        return &hhi_self->main;
    struct hhi_cache *cache;
    return hhi_key_cache(hhi_self, &heap->key, &cache) ? cache
                                                       : (struct hhi_cache *)&hhi_thread_none.main;
}

// Free for the default heap. 0 = done.
HH_FAST hhi_refusal
hhi_free_fast(void *block)
{
    if (hh_likely(hhi_cache_free_local(&hhi_self->main, block)))
        return 0;
    return hhi_heap_free_elsewhere(&hhi_default_heap, block);
}

/*
 * Free a block of any heap on the thread whose slab it lies in. False: anything else, NULL too;
 * nothing changed.
 */
HH_FAST bool
hhi_heap_free_quick(const struct hhi_heap_key *key, void *block)
{
    struct hhi_cache *cache;
    return hh_likely(hhi_key_cache(hhi_self, key, &cache)) && hhi_cache_free_local(cache, block);
}

// Free for any heap. 0 = done. block NULL is done, too.
HH_FAST hhi_refusal
hhi_heap_free_fast(struct hh_heap *heap, void *block)
{
    if (hh_likely(hhi_heap_free_quick(&heap->key, block)))
        return 0;
    return hhi_heap_free_elsewhere(heap, block);
}

#endif
