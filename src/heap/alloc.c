// SPDX-License-Identifier: MIT
/*
 * heap/alloc.c - allocation and free off the fast path: larger classes, other threads' blocks,
 * refusals, realloc.
 */
#include <errno.h>
#include <string.h>

#include "heap/clear.h"
#include "heap/debug_blocks.h"
#include "heap/growth.h"
#include "heap/heap.h"
#include "heap/heap_fast.h"
#include "heap/heap_list.h"
#include "heap/inbox.h"
#include "heap/kept_runs.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "os/os.h"

enum {
    ALIGNMENT_MAX_BYTES = 1 << 30,
    /*
     * Large blocks from here on are moved by the kernel, not copied. Each move splits a kernel
     * mapping, and a process may have 65,530: smaller blocks are too many for that.
     */
    MOVE_FROM_BYTES = 4 << 20,
    /*
     * A block that grows beyond this gets granules of its own, where it can go on growing in place.
     * Below, such a run costs more than the copies it saves.
     */
    GROW_IN_RUN_BYTES = 32 << 10,
    /*
     * A few blocks of a heap get one sooner ("early"): what has grown so far mostly grows on, and up to
     * 32 KiB it would be copied three times as often. Only a few, since each takes a granule of address
     * space, and blocks that all begin at granules fall on the same sets of the processor's caches.
     */
    GROW_EARLY_BYTES = 8 << 10,
    GROW_EARLY_MOST = 16,
};

// ---- Allocation ---------------------------------------------------------------------------------

// Whether a block that was just taken reads as zero. A sampled block is of no slab.
static bool
block_is_fresh(const void *block)
{
    unsigned kind;
    const struct hhi_slab *slab = hhi_slab_find(block, &kind);
    return slab != NULL && slab->head_fresh;
}

// A record's cache of a heap, with room for a class. NULL: no memory.
static struct hhi_cache *
cache_ready(struct hhi_thread *thread, struct hh_heap *heap, unsigned class_index, unsigned level)
{
    for (unsigned attempt = 0;; attempt++) {
        struct hhi_cache *cache = hhi_cache_get(thread, heap);
        if (hh_likely(cache != NULL && hhi_cache_reserve(cache, class_index)))
            return cache;
        if (!hhi_limit_retry_record(level, attempt))
            return NULL;
    }
}

// The calling thread's record, or one lent to it. NULL: no memory.
static struct hhi_thread *
thread_ready(unsigned level)
{
    for (unsigned attempt = 0;; attempt++) {
        struct hhi_thread *thread = hhi_thread_get();
        if (hh_likely(thread != NULL) || !hhi_limit_retry_record(level, attempt))
            return thread;
    }
}

// A block of a class from a record's cache. *fresh: it reads as zero.
static void *
class_take(struct hhi_thread *thread, struct hh_heap *heap, unsigned class_index, unsigned level,
           bool *fresh)
{
    struct hhi_cache *cache = cache_ready(thread, heap, class_index, level);
    if (cache == NULL)
        return NULL;
    struct hhi_bin *bin = &cache->bins[class_index];
    void *block;
    if (bin->head < HHI_LINK_END)
        block = hhi_bin_take(bin, bin->head);
    else
        block = hhi_cache_refill(cache, class_index, level);
    *fresh = block != NULL && block_is_fresh(block);
    return block;
}

HH_NOINLINE static void
large_growth_purge(struct hhi_thread *thread, struct hh_heap *heap)
{
    struct hhi_cache *cache = hhi_cache_find(thread, heap);
    if (cache != NULL)
        hhi_growth_purge(cache);
}

// A large block in a kept run, or NULL. size_bytes above hhi_slab_limit_bytes.
static void *
kept_take(struct hh_heap *heap, size_t size_bytes)
{
    size_t granules = (size_bytes + HHI_GRANULE_BYTES - 1) >> HHI_GRANULE_SHIFT;
    return granules <= hhi_window.most_granules ? hhi_kept_run_take(heap, (uint32_t)granules)
                                                : NULL;
}

// Any size; alignment_bytes at most a granule's when size_bytes is served from a slab.
static void *
block_take(struct hh_heap *heap, size_t size_bytes, unsigned level, bool *fresh)
{
    void *kept = size_bytes > hhi_slab_limit_bytes ? kept_take(heap, size_bytes) : NULL;
    if (kept != NULL) {
        *fresh = false;
        return kept;
    }
    struct hhi_thread *thread = thread_ready(level);
    if (thread == NULL)
        return NULL;
    void *block;
    if (size_bytes > hhi_slab_limit_bytes) {
        block = hhi_heap_alloc_large(heap, size_bytes, 1, level, fresh);
        if (block != NULL && hhi_growth_is_due())
            large_growth_purge(thread, heap);
    } else {
        unsigned class_index = hhi_class_of(size_bytes == 0 ? 1 : size_bytes);
        block = class_take(thread, heap, class_index, level, fresh);
    }
    hhi_thread_return(thread);
    return block;
}

void *
hhi_heap_alloc_slow(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    bool fresh;
    struct hhi_cache *cache = hhi_cache_guess(heap);
    if (hh_unlikely(size_bytes - 1 >= hhi_slab_limit_bytes || cache == &hhi_thread_none.main ||
                    !hhi_thread_is_real(hhi_self)))
        return block_take(heap, size_bytes, level, &fresh);
    // A block above the small sizes, or of an empty bin, without the detour by heap and thread.
    unsigned class_index = hhi_class_of(size_bytes);
    if (hh_unlikely(!hhi_cache_reserve(cache, class_index)))
        return block_take(heap, size_bytes, level, &fresh);
    struct hhi_bin *bin = &cache->bins[class_index];
    size_t index = bin->head;
    if (index >= HHI_LINK_END)
        index = size_bytes > HHI_SMALL_MAX_BYTES ? hhi_bin_next(bin) : hhi_bin_freed(bin);
    if (hh_likely(index < HHI_LINK_END))
        return hhi_bin_take(bin, index);
    return hhi_cache_refill(cache, class_index, level);
}

// For a thread without a record.
HH_SLOW static void *
malloc_without_record(size_t size_bytes)
{
    bool fresh;
    // relaxed: set by the start of the process, if at all.
    if (!hhi_process_up() || hh_load_relaxed(&hhi_threads_borrow) != 0)
        return NULL;
    return block_take(&hhi_default_heap, size_bytes, HHI_LEVEL_TASK, &fresh);
}

void *
hhi_malloc_slow(size_t size_bytes)
{
    struct hhi_thread *self = hhi_self;
    if (hh_unlikely(!hhi_thread_is_real(self)))
        return malloc_without_record(size_bytes);
    if (hh_likely(size_bytes - 1 < hhi_slab_limit_bytes)) {
        // A refill, without the detour by heap.
        unsigned class_index = hhi_class_of(size_bytes);
        struct hhi_bin *bin = &self->bins[class_index];
        if (bin->head < HHI_LINK_END)
            return hhi_bin_take(bin, bin->head);
        return hhi_cache_refill(&self->main, class_index, HHI_LEVEL_TASK);
    }
    bool fresh;
    return block_take(&hhi_default_heap, size_bytes, HHI_LEVEL_TASK, &fresh);
}

void *
hhi_heap_alloc(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    return hhi_heap_alloc_fast(heap, size_bytes, level);
}

void *
hhi_heap_alloc_zeroed(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    bool fresh;
    void *block;
    struct hhi_cache *cache = hhi_cache_guess(heap);
    // relaxed: the owner's own.
    uint32_t class_limit = hh_load_relaxed(&cache->class_limit);
    if (!hhi_bins_take_any(cache->bins, class_limit, size_bytes, &fresh, &block))
        block = block_take(heap, size_bytes, level, &fresh);
    if (block == NULL || fresh)
        return block;
    if (size_bytes < HHI_CLEAR_LOOK_BYTES)
        return memset(block, 0, size_bytes);
    hhi_clear(block, size_bytes);
    return block;
}

void *
hhi_heap_alloc_aligned(struct hh_heap *heap, size_t alignment_bytes, size_t size_bytes,
                       unsigned level)
{
    if (size_bytes == 0)
        size_bytes = 1;
    if (alignment_bytes <= HHI_ALIGNMENT_BYTES)
        return hhi_heap_alloc_fast(heap, size_bytes, level);
    if (alignment_bytes > ALIGNMENT_MAX_BYTES || size_bytes > PTRDIFF_MAX)
        return NULL;
    size_t rounded_bytes;
    if (hhi_aligned_class(alignment_bytes, size_bytes, &rounded_bytes) &&
        rounded_bytes <= hhi_slab_limit_bytes)
        return hhi_heap_alloc_fast(heap, rounded_bytes, level);
    struct hhi_thread *thread = thread_ready(level);
    if (thread == NULL)
        return NULL;
    bool fresh;
    void *block = hhi_heap_alloc_large(heap, size_bytes, alignment_bytes, level, &fresh);
    hhi_thread_return(thread);
    return block;
}

// ---- Free ---------------------------------------------------------------------------------------

// A block of any slab of the calling thread; *refusal is set. False: not one of them.
static bool
free_own(struct hhi_thread *self, struct hh_heap *heap, void *block, hhi_refusal *refusal)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    if (slab == NULL || kind != HHI_KIND_SLAB || !hhi_thread_is_real(self))
        return false;
    // relaxed (all): if the owner is this thread's cache, this thread has stored all of it.
    struct hhi_cache *cache = hh_load_relaxed(&slab->owner);
    if (cache == NULL || hh_load_relaxed(&cache->thread) != self ||
        hh_load_relaxed(&slab->heap) != heap)
        return false;
    uint32_t slot, index = hhi_slab_block_at(slab, block, &slot);
    *refusal = HH_BAD_INTERIOR;
    if (index == UINT32_MAX)
        return true;
    hhi_link *link = &hh_load_relaxed(&slab->links)[index];
    *refusal = HH_BAD_NOT_LIVE;
    if (hh_load_relaxed(link) != HHI_LINK_LIVE)
        return true;
    hh_store_relaxed(link, (uint16_t)slab->freed);
    slab->freed = index;
    if (--slab->credit == 0)
        hhi_slab_event(slab);
    *refusal = 0;
    return true;
}

void
hhi_slab_tell(struct hhi_slab *slab, struct hhi_guard *guard)
{
    // order: acquire [SL-3] the owner. Behind the mark it stays by the sequentially consistent load
    // of notice that led here: of the owner, who gives the token back and then looks at the links,
    // and the sweeper, who clears the other bit and then looks, each comes after that load and sees
    // the mark, or before, and this thread sees its bit clear.
    uint32_t notice = hh_fetch_or_acquire(&slab->notice, HHI_NOTICE_GIVEN);
    // relaxed (both): fixed while the section is open.
    size_t run_bytes = (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
    if ((notice & HHI_NOTICE_TOKEN) == 0)
        hhi_inbox_push(hh_load_relaxed(&slab->owner), slab, slab);
    hhi_guard_close(guard);
    if (notice != HHI_NOTICE_GIVEN)
        hhi_sweep_note(run_bytes);
}

// Mark a block of somebody else's slab, and tell its owner. In a guarded section, which may be closed
// afterwards.
static hhi_refusal
free_remote_block(struct hh_heap *heap, struct hhi_slab *slab, void *block, struct hhi_guard *guard)
{
    uint32_t slot, index = hhi_slab_block_at(slab, block, &slot);
    if (index == UINT32_MAX)
        return HH_BAD_INTERIOR;
    // relaxed: fixed while the section is open.
    if ((hh_load_relaxed(&slab->flags) & HHI_SLAB_TRACKED) != 0)
        return hhi_debug_free(heap, slab, index);
    uint16_t live = HHI_LINK_LIVE;
    // order: seq_cst [SL-2] before notice is looked at; release [SL-1].
    if (!hh_cas_strong_seq_cst(&hh_load_relaxed(&slab->links)[index], &live, HHI_LINK_REMOTE))
        return HH_BAD_NOT_LIVE;
    // order: seq_cst [SL-2] after the mark.
    if (hh_load_seq_cst(&slab->notice) != HHI_NOTICE_GIVEN)
        hhi_slab_tell(slab, guard);
    return 0;
}

static hhi_refusal
refuse(struct hh_heap *heap, const void *block, hhi_refusal refusal)
{
    // relaxed: a statistic.
    hh_fetch_add_relaxed(&heap->bad_frees, 1);
    // Another heap's address may still be no live block of that heap: say the nearer truth.
    if (refusal == HH_BAD_OTHER_HEAP) {
        hh_block_info info;
        hhi_refusal judged = hhi_heap_judge(heap, block, &info);
        return judged != 0 ? judged : refusal;
    }
    return refusal;
}

// Take the live mark of a large block. It needs no section: the mark is the heap's name, so what is
// taken is a live block of that heap that begins there, whatever was there a moment ago.
static hhi_refusal
large_end(struct hh_heap *heap, struct hhi_slab *slab, const void *block)
{
    // The record's place fixes where its block begins, whatever the run is used for.
    if ((uintptr_t)block != hhi_slab_base(slab))
        // relaxed: for the answer; judged again where that matters.
        return hh_load_relaxed(&slab->heap) == heap ? HH_BAD_INTERIOR : HH_BAD_OTHER_HEAP;
    if (hhi_slab_large_end(slab, heap))
        return 0;
    // relaxed: for the answer, as above.
    return hh_load_relaxed(&slab->heap) == heap ? HH_BAD_NOT_LIVE : HH_BAD_OTHER_HEAP;
}

static hhi_refusal
free_large(struct hh_heap *heap, struct hhi_slab *slab, const void *block)
{
    hhi_refusal refusal = large_end(heap, slab, block);
    if (refusal != 0)
        return refuse(heap, block, refusal);
    if (hhi_large_is_early(slab))
        hhi_large_early_end(heap, slab);
    if (!hhi_kept_run_put(slab))
        hhi_heap_free_large(slab);
    return 0;
}

// *large: a large block was freed; the caller ends its run after the section.
static hhi_refusal
free_in_section(struct hh_heap *heap, void *block, struct hhi_guard *guard, struct hhi_slab **large)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    if (slab == NULL || (kind != HHI_KIND_SLAB && kind != HHI_KIND_LARGE))
        return HH_BAD_FOREIGN;
    if (kind == HHI_KIND_LARGE) { // not when it was looked at first
        hhi_refusal refusal = large_end(heap, slab, block);
        *large = refusal == 0 ? slab : NULL;
        return refusal;
    }
    // relaxed: fixed while carved.
    return hh_load_relaxed(&slab->heap) == heap ? free_remote_block(heap, slab, block, guard)
                                                : HH_BAD_OTHER_HEAP;
}

// An address of no run: a sampled block, or not ours. Apart, for the sake of the registers below.
HH_NOINLINE static hhi_refusal
free_outside(struct hh_heap *heap, void *block)
{
    hhi_refusal refusal = hhi_sample_free(heap, block);
    return refusal == 0 ? 0 : refuse(heap, block, refusal);
}

hhi_refusal
hhi_heap_free_slow(struct hh_heap *heap, void *block)
{
    hhi_refusal refusal;
    if (block == NULL)
        return 0;
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    if (slab != NULL && kind == HHI_KIND_LARGE)
        return free_large(heap, slab, block);
    if (free_own(hhi_self, heap, block, &refusal))
        return refusal == 0 ? 0 : refuse(heap, block, refusal);
    if (hhi_run_head_of(block) == UINT32_MAX) {
        // relaxed: see where it is stored.
        if (hh_unlikely(hh_load_relaxed(&hhi_sample_pool_made) != 0))
            return free_outside(heap, block);
        return refuse(heap, block, HH_BAD_FOREIGN);
    }
    struct hhi_slab *large = NULL;
    struct hhi_thread *thread = hhi_thread_get();
    // A block can be freed even when there is no memory for the record of a new thread.
    struct hhi_guard *guard = thread != NULL ? &thread->guard : hhi_guard_common_take();
    hhi_guard_open(guard);
    refusal = free_in_section(heap, block, guard, &large);
    hhi_guard_close(guard); // for the second time, if the owner was told
    if (thread == NULL)
        hhi_guard_common_return();
    if (large != NULL && hhi_large_is_early(large))
        hhi_large_early_end(heap, large);
    if (large != NULL)
        hhi_heap_free_large(large);
    hhi_thread_return(thread);
    return refusal == 0 ? 0 : refuse(heap, block, refusal);
}

hhi_refusal
hhi_heap_free_elsewhere(struct hh_heap *heap, void *block)
{
    size_t granule = hhi_granule_of(block);
    if (hh_unlikely(!hhi_granule_is_inside(granule)))
        return hhi_heap_free_slow(heap, block);
    struct hhi_slab *slab = hhi_record_of(granule);
    // relaxed: a first look. Nobody's: most are DebugAlloc's.
    if (hh_load_relaxed(&slab->owner) != &hhi_cache_none &&
        hhi_free_elsewhere(hhi_self, heap, hhi_cache_guess(heap), block, slab, false, 0))
        return 0;
    return hhi_heap_free_slow(heap, block);
}

hhi_refusal
hhi_heap_free(struct hh_heap *heap, void *block)
{
    if (heap == &hhi_default_heap)
        return hhi_free_fast(block);
    return hhi_heap_free_fast(heap, block);
}

/*
 * The largest block that a request of size_bytes can have: its class is at most an eighth larger
 * and at least 16 bytes; a block that was shrunk in place may be twice as large, or 64 bytes.
 */
static size_t
largest_block_for(size_t alignment_bytes, size_t size_bytes)
{
    if (size_bytes > PTRDIFF_MAX / 4)
        return SIZE_MAX;
    size_bytes = hh_align_up(size_bytes > 0 ? size_bytes : 1, alignment_bytes);
    if (size_bytes > HHI_SLAB_MAX_BYTES || alignment_bytes > HHI_GRANULE_BYTES)
        return 2 * hh_align_up(size_bytes, HHI_GRANULE_BYTES);
    return size_bytes <= 32 ? 64 : 2 * size_bytes + HHI_ALIGNMENT_BYTES;
}

// The block stays where it is, whatever size its caller knows it by: size_bytes.
static void
shrunk_set(const void *block, size_t size_bytes)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    if (slab != NULL)
        // relaxed (both): the caller has a live block; this bit is the only one that changes meanwhile.
        hh_store_relaxed(&slab->flags, hh_load_relaxed(&slab->flags) | HHI_SLAB_SHRUNK);
    else
        hhi_sample_shrink(block, size_bytes);
}

// Whether a live block may be larger than it should be for the size it was shrunk to last.
static bool
may_be_shrunk(const void *block)
{
    unsigned kind;
    const struct hhi_slab *slab = hhi_slab_find(block, &kind);
    // relaxed: whoever names the size was told of it by who shrank the block.
    return slab != NULL && (hh_load_relaxed(&slab->flags) & HHI_SLAB_SHRUNK) != 0;
}

// Any alignment_bytes, as the caller of a free may name it.
static hhi_refusal
judge_alignment(struct hh_heap *heap, const void *block, size_t alignment_bytes,
                hh_block_info *info)
{
    hhi_refusal refusal = hhi_heap_judge(heap, block, info);
    if (refusal == 0 &&
        (!hh_is_power_of_two(alignment_bytes) || (uintptr_t)block % alignment_bytes != 0))
        refusal = HH_BAD_ALIGNMENT_MISMATCH;
    return refusal;
}

hhi_refusal
hhi_heap_free_aligned(struct hh_heap *heap, void *block, size_t alignment_bytes)
{
    hh_block_info info;
    hhi_refusal refusal = judge_alignment(heap, block, alignment_bytes, &info);
    // What becomes stale between the check and the free is caught by the free.
    return refusal != 0 ? refuse(heap, block, refusal) : hhi_heap_free(heap, block);
}

hhi_refusal
hhi_heap_free_aligned_sized(struct hh_heap *heap, void *block, size_t alignment_bytes,
                            size_t size_bytes)
{
    hh_block_info info;
    hhi_refusal refusal = judge_alignment(heap, block, alignment_bytes, &info);
    if (refusal == 0 && (size_bytes > info.size_bytes ||
                         (info.size_bytes > largest_block_for(alignment_bytes, size_bytes) &&
                          !may_be_shrunk(block))))
        refusal = HH_BAD_SIZE_MISMATCH;
    return refusal != 0 ? refuse(heap, block, refusal) : hhi_heap_free(heap, block);
}

hhi_refusal
hhi_heap_free_sized(struct hh_heap *heap, void *block, size_t size_bytes)
{
    return hhi_heap_free_aligned_sized(heap, block, HHI_ALIGNMENT_BYTES, size_bytes);
}

// ---- Size --------------------------------------------------------------------------------------

hhi_refusal
hhi_heap_usable_size(struct hh_heap *heap, const void *block, size_t *size_bytes)
{
    *size_bytes = hhi_cache_block_bytes(hhi_cache_guess(heap), block);
    if (*size_bytes != 0)
        return 0;
    hh_block_info info;
    hhi_refusal refusal = hhi_heap_judge(heap, block, &info);
    *size_bytes = refusal == 0 ? info.size_bytes : 0;
    return refusal;
}

// ---- Realloc ------------------------------------------------------------------------------------

// So large may a block that was asked for with size_bytes be (largest_block_for), in one granule.
static size_t
early_bytes(size_t size_bytes)
{
    return 2 * size_bytes < HHI_GRANULE_BYTES ? hh_align_down(2 * size_bytes, HHI_ALIGNMENT_BYTES)
                                              : HHI_GRANULE_BYTES;
}

// Whether a block of the heap may have a granule for itself, without limits or want of addresses.
// Apart, for the sake of the frame of who asks.
HH_NOINLINE static bool
early_is_allowed(struct hh_heap *heap)
{
    struct hhi_budget_reading own, process;
    // relaxed: threads that ask at once may pass the number by one each.
    if (hh_load_relaxed(&heap->early_runs) >= GROW_EARLY_MOST ||
        hhi_slab_limit_bytes != HHI_SLAB_MAX_BYTES)
        return false;
    hhi_budget_read(&heap->budget, &own);
    hhi_limit_read(&process);
    return (own.soft_bytes | own.hard_bytes | process.soft_bytes | process.hard_bytes) == 0;
}

// A block to move to that has a run early. NULL: not to be had.
static void *
early_take(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    bool fresh;
    if (!early_is_allowed(heap))
        return NULL;
    void *block = kept_take(heap, HHI_GRANULE_BYTES);
    if (block == NULL)
        block = hhi_heap_alloc_large(heap, HHI_GRANULE_BYTES, 1,
                                     hhi_level_try(level, HHI_TRY_AT_HAND), &fresh);
    if (block == NULL)
        return NULL;
    struct hhi_slab *slab = hhi_slab_at((uint32_t)hhi_granule_of(block));
    // relaxed (both): nobody else has the block yet; a count publishes nothing.
    hh_store_relaxed(&slab->block_bytes, early_bytes(size_bytes));
    if (hhi_large_is_early(slab)) // one of half a granule has all of it
        hh_fetch_add_relaxed(&heap->early_runs, 1);
    return block;
}

// Another size for a block that is smaller than its run, and stays within it. As hhi_heap_extend_large.
static int
resize_early(struct hh_heap *heap, struct hhi_slab *slab, size_t size_bytes)
{
    int result = -ENOENT;
    hhi_lock_enter(&heap->lock);
    if (hhi_slab_large_end(slab, heap)) {
        if (hhi_large_is_early(slab)) { // else it is another block by now
            result = 0;
            if (early_bytes(size_bytes) == HHI_GRANULE_BYTES)
                hhi_large_early_end(heap, slab);
            else
                // relaxed: published by the mark.
                hh_store_relaxed(&slab->block_bytes, early_bytes(size_bytes));
        }
        hhi_slab_large_begin(slab, heap);
    }
    hhi_lock_leave(&heap->lock);
    return result;
}

// Grow or shrink where it lies, if that can be done. info: the block. 0: done; -ENOMEM: it could grow
// there but for the memory; -EEXIST: it has to move; -ENOENT: another thread has freed it.
static int
resize_in_place(struct hh_heap *heap, const hh_block_info *info, size_t size_bytes, unsigned level)
{
    if (size_bytes <= info->size_bytes)
        // A block more than half unused is better moved, unless it is small.
        return size_bytes >= info->size_bytes / 2 || info->size_bytes <= 64 ? 0 : -EEXIST;
    if (size_bytes > PTRDIFF_MAX - HHI_GRANULE_BYTES)
        return -EEXIST;
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(info->base, &kind);
    if (slab == NULL || kind != HHI_KIND_LARGE)
        return -EEXIST;
    int result = size_bytes <= HHI_GRANULE_BYTES && hhi_large_is_early(slab)
                     ? resize_early(heap, slab, size_bytes)
                     : hhi_heap_extend_large(heap, slab, size_bytes, level);
    return result == 0 || result == -EEXIST || result == -ENOENT ? result : -ENOMEM;
}

/*
 * A block that has to move in order to grow gets a quarter more than it had, if that is more than
 * what was asked for: who grows in small steps comes again, and every move copies everything. Up to
 * the next of four sizes per doubling, whatever it began with: blocks that grow then pass through
 * few classes, and the same ones. Each class they pass through keeps a block of memory. A new class may
 * be served by the next power of two, or above 32 KiB by a granule, which must not be more than twice
 * what was asked for (free_sized).
 */
static size_t
size_to_move_to(size_t old_bytes, size_t size_bytes)
{
    size_t roomy_bytes = old_bytes + old_bytes / 4;
    if (size_bytes >= roomy_bytes || size_bytes <= old_bytes)
        return size_bytes;
    size_t last = roomy_bytes - 1;
    size_t doubling_bytes = (size_t)1 << hh_log2_floor(last);
    // Of two numbers the highest bits differ if and only if this holds.
    if ((last ^ size_bytes) > (last & size_bytes) && roomy_bytes <= HHI_COARSE_MAX_BYTES)
        return doubling_bytes;
    roomy_bytes = hh_align_up(roomy_bytes, doubling_bytes / 4);
    if (hh_unlikely(roomy_bytes > HHI_STEPS_BYTES) && size_bytes <= HHI_STEPS_BYTES)
        return HHI_STEPS_BYTES;
    return roomy_bytes;
}

/*
 * A block to move to. One that is large already is likely to grow on, and has room behind it as a
 * run; it takes whole granules, of the quarter only those, so that its size can be told (free_sized).
 * The two sizes are asked for as one request: a refusal costs few calls.
 */
static void *
move_take(struct hh_heap *heap, size_t old_bytes, size_t size_bytes, unsigned level)
{
    size_t roomy_bytes = size_to_move_to(old_bytes, size_bytes);
    void *moved = NULL;
    if (size_bytes > old_bytes && size_bytes > GROW_IN_RUN_BYTES) {
        roomy_bytes = hh_align_down(roomy_bytes, HHI_GRANULE_BYTES);
        if (roomy_bytes < size_bytes)
            roomy_bytes = size_bytes;
        moved = kept_take(heap, roomy_bytes);
        if (moved == NULL && (roomy_bytes > size_bytes || size_bytes <= hhi_slab_limit_bytes))
            moved = hhi_heap_try_large_first(heap, roomy_bytes, HHI_TRY_LAST, &level);
    } else if (size_bytes > old_bytes && size_bytes > GROW_EARLY_BYTES &&
               (moved = early_take(heap, size_bytes, level)) != NULL) {
        return moved;
    } else if (roomy_bytes != size_bytes) {
        moved = hhi_heap_alloc(heap, roomy_bytes, level);
        level = hhi_level_try(level, HHI_TRY_AT_HAND);
    }
    return moved != NULL ? moved : hhi_heap_alloc(heap, size_bytes, level);
}

static void
contents_move(void *to, void *from, size_t size_bytes)
{
    if (size_bytes >= MOVE_FROM_BYTES && (uintptr_t)to % HHI_GRANULE_BYTES == 0 &&
        (uintptr_t)from % HHI_GRANULE_BYTES == 0) {
        size_t whole_bytes = hh_align_down(size_bytes, hhi_os_page_bytes());
        if (hhi_os_move(from, to, whole_bytes) == 0) {
            memcpy((char *)to + whole_bytes, (char *)from + whole_bytes, size_bytes - whole_bytes);
            return;
        }
    }
    memcpy(to, from, size_bytes);
}

// What takes memory from the kernel is left to hhi_heap_realloc, which can do with less.
HH_NOINLINE static void *
grow_slow(size_t size_bytes)
{
    unsigned level = hhi_level_try(HHI_LEVEL_TASK, HHI_TRY_AT_HAND);
    return hhi_heap_alloc_slow(&hhi_default_heap, size_bytes, level);
}

// What malloc's shortest path has no block for.
HH_NOINLINE static void *
grow_medium(size_t size_bytes)
{
    return size_bytes > HHI_SMALL_MAX_BYTES ? hhi_malloc_medium(size_bytes, grow_slow)
                                            : hhi_malloc_refill(size_bytes, grow_slow);
}

HH_NOINLINE static bool
grow_free_elsewhere(struct hhi_thread *self, void *block)
{
    return hhi_free_elsewhere(self, &hhi_default_heap, &self->main, block,
                              hhi_record_of(hhi_granule_of(block)), false, 0);
}

void *
hhi_malloc_grow(void *block, size_t block_bytes, size_t size_bytes)
{
    if (size_bytes > GROW_EARLY_BYTES &&
        (size_bytes > GROW_IN_RUN_BYTES || early_is_allowed(&hhi_default_heap)))
        return NULL;
    size_t moved_bytes = size_to_move_to(block_bytes, size_bytes);
    void *moved;
    if (hh_unlikely(!hhi_malloc_quick(moved_bytes, &moved)) &&
        hh_unlikely((moved = grow_medium(moved_bytes)) == NULL))
        return NULL;
    memcpy(moved, block, block_bytes);
    struct hhi_thread *self = hhi_self;
    if (hh_likely(hhi_cache_free_local(&self->main, block) || grow_free_elsewhere(self, block)))
        return moved;
    // Another thread freed it meanwhile: what we allocated is nobody's.
    hhi_heap_free(&hhi_default_heap, moved);
    return NULL;
}

hhi_refusal
hhi_heap_realloc(struct hh_heap *heap, void *block, size_t size_bytes, unsigned level,
                 void **result)
{
    hh_block_info info = {.base = block};
    hhi_refusal refusal = 0;
    *result = NULL;
    info.size_bytes = hhi_cache_block_bytes(hhi_cache_guess(heap), block);
    if (info.size_bytes == 0)
        info.size_bytes = hhi_cache_block_bytes_medium(hhi_cache_guess(heap), heap, block);
    if (info.size_bytes == 0)
        refusal = hhi_heap_judge(heap, block, &info);
    if (refusal != 0)
        return refuse(heap, block, refusal);
    int in_place = resize_in_place(heap, &info, size_bytes, level);
    if (in_place == 0) {
        *result = block;
        return 0;
    }
    if (in_place == -ENOENT)
        return refuse(heap, block, HH_BAD_NOT_LIVE);
    // What was refused to the block where it lies is not asked for elsewhere.
    void *moved = in_place == -EEXIST
                      ? move_take(heap, info.size_bytes, size_bytes, level)
                      : hhi_heap_alloc(heap, size_bytes, hhi_level_try(level, HHI_TRY_AT_HAND));
    if (moved == NULL) {
        // Shrinking can always be done: the block is large enough as it is.
        *result = size_bytes <= info.size_bytes ? block : NULL;
        if (*result != NULL)
            shrunk_set(block, size_bytes);
        return 0;
    }
    contents_move(moved, block, size_bytes < info.size_bytes ? size_bytes : info.size_bytes);
    refusal = hhi_heap_free(heap, block);
    if (refusal != 0) {
        // Another thread freed it meanwhile: what we allocated is nobody's.
        hhi_heap_free(heap, moved);
        return refusal;
    }
    *result = moved;
    return 0;
}
