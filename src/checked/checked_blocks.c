// SPDX-License-Identifier: MIT
// checked/checked_blocks.c - records, slabs, placement; blocks begin, rest and end. See checked.h.
#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "checked/canary.h"
#include "checked/checked.h"
#include "heap/debug_blocks.h"
#include "heap/heap_list.h"
#include "heap/sample.h"
#include "heap/sweep.h"
#include "meta/meta_arena.h"
#include "os/os.h"

enum {
    CHECKED_READY_BYTES = 16 * 1024,
    CHECKED_READY_BLOCKS = 16,    // made ready at a time, at least: the choice a placement has
    CHECKED_LARGE_GUARDS = 16384, // each costs kernel mappings, of which there are 65,530
};

// Under hhi_checked_lock.
static struct {
    uint64_t serials;
    uint32_t large_guards; // large blocks with a range without access
    struct hhi_checked_slab *spare[HHI_CLASSES + 1];
    struct hhi_slab *closed; // large runs of ended heaps, to which the kernel would give no access
} checked;

// ---- Records ------------------------------------------------------------------------------------

static struct hhi_checked_slab *
checked_owner(const struct hhi_slab *slab)
{
    return (struct hhi_checked_slab *)(void *)slab->records;
}

// Where the system has no memory, records of another class that were given back, and are enough.
static struct hhi_checked_slab **
owner_find_spare(size_t size_bytes)
{
    for (unsigned home = 0; home <= HHI_CHECKED_LARGE; home++)
        if (checked.spare[home] != NULL && checked.spare[home]->size_bytes >= size_bytes)
            return &checked.spare[home];
    return NULL;
}

// Records for a slab of a class, or for a large block. NULL: no memory.
static struct hhi_checked_slab *
owner_take_locked(unsigned class_index)
{
    struct hhi_checked_slab *owner = NULL, **spare = &checked.spare[class_index];
    uint32_t count = class_index == HHI_CHECKED_LARGE ? 1 : hhi_class_blocks(class_index);
    size_t records_bytes = sizeof *owner + count * sizeof owner->records[0];
    size_t size_bytes = records_bytes + count * sizeof owner->free[0];
    if (*spare == NULL) {
        owner = hhi_meta_alloc(size_bytes);
        if (owner == NULL && (spare = owner_find_spare(size_bytes)) == NULL)
            return NULL;
    }
    unsigned home = class_index;
    if (owner == NULL) {
        owner = *spare;
        *spare = owner->next_spare;
        home = owner->home;
        size_bytes = owner->size_bytes;
        memset(owner, 0, records_bytes);
    }
    owner->home = home;
    owner->size_bytes = size_bytes;
    owner->count = count;
    owner->free = (uint16_t *)(void *)((char *)owner + records_bytes);
    return owner;
}

static void
owner_give_locked(struct hhi_slab *slab)
{
    struct hhi_checked_slab *owner = checked_owner(slab);
    owner->next_spare = checked.spare[owner->home];
    checked.spare[owner->home] = owner;
    slab->records = NULL;
}

bool
hhi_checked_find_locked(const void *address, struct hhi_checked_place *place)
{
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(address, &kind);
    if (slab == NULL || (kind != HHI_KIND_SLAB && kind != HHI_KIND_LARGE) || slab->records == NULL)
        return false;
    struct hhi_checked_slab *owner = checked_owner(slab);
    uint32_t slot = 0;
    place->large = kind == HHI_KIND_LARGE;
    if (!place->large)
        hhi_slab_block_at(slab, address, &slot);
    if (slot >= owner->count)
        return false;
    place->slab = slab;
    place->owner = owner;
    place->index = slot;
    place->record = &owner->records[slot];
    // relaxed: fixed while carved.
    place->slot_bytes = hh_load_relaxed(&slab->block_bytes);
    place->base = hhi_slab_base(slab) + slot * place->slot_bytes;
    return true;
}

static void
record_begin_locked(struct hhi_checked_record *record, const struct hhi_checked_request *request)
{
    *record = (struct hhi_checked_record){
        .serial = ++checked.serials,
        .size_bytes = request->size_bytes,
        .file = request->file,
        .line = request->line,
        .known = request->known,
        .allocated = hhi_stack_note_locked(request->frame),
        .allocated_thread = (uint32_t)hhi_os_thread_id(),
        .state = HHI_CHECKED_LIVE,
        .alignment_log2 =
            request->alignment_bytes == 0 ? 0 : (uint8_t)hh_log2_floor(request->alignment_bytes),
    };
}

// ---- Lists of slabs: tracked[class] have free blocks, tracked[0] are to be retired -------------

static void
list_push_locked(struct hhi_slab *slab, unsigned class_index)
{
    // relaxed: fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    slab->previous = NULL;
    slab->next = heap->tracked[class_index];
    if (slab->next != NULL)
        slab->next->previous = slab;
    heap->tracked[class_index] = slab;
    checked_owner(slab)->list =
        class_index == HHI_CLASS_NONE ? HHI_CHECKED_ENDED : HHI_CHECKED_TRACKED;
}

static void
list_remove_locked(struct hhi_slab *slab)
{
    struct hhi_checked_slab *owner = checked_owner(slab);
    // relaxed (both): fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&slab->heap);
    unsigned class_index =
        owner->list == HHI_CHECKED_ENDED ? HHI_CLASS_NONE : hh_load_relaxed(&slab->class_index);
    if (owner->list == HHI_CHECKED_NOWHERE)
        return;
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        heap->tracked[class_index] = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
    slab->next = slab->previous = NULL;
    owner->list = HHI_CHECKED_NOWHERE;
}

// Access to a large block's run for whoever gets its pages next. False: the kernel refuses.
static bool
run_open_locked(const struct hhi_slab *slab)
{
    // relaxed (both): fixed while carved.
    bool executable = (hh_load_relaxed(&slab->flags) & HHI_SLAB_EXECUTABLE) != 0;
    if (hhi_os_commit((void *)hhi_slab_base(slab), hh_load_relaxed(&slab->block_bytes),
                      executable) != 0)
        return false;
    checked.large_guards--;
    return true;
}

// Retire the runs that a heap's end could not, as far as the kernel gives access now.
static void
checked_retire_closed(void)
{
    for (;;) {
        hhi_lock_enter(&hhi_checked_lock);
        struct hhi_slab *slab = checked.closed;
        if (slab != NULL && run_open_locked(slab))
            checked.closed = slab->next;
        else
            slab = NULL;
        hhi_lock_leave(&hhi_checked_lock);
        if (slab == NULL)
            return;
        hhi_slab_retire_large(slab);
    }
}

// Retire what has become empty of a heap (C4).
static void
heap_retire_ended(struct hh_heap *heap)
{
    for (;;) {
        hhi_lock_enter(&hhi_checked_lock);
        struct hhi_slab *slab = heap->tracked[HHI_CLASS_NONE];
        if (slab != NULL) {
            list_remove_locked(slab);
            owner_give_locked(slab);
        }
        hhi_lock_leave(&hhi_checked_lock);
        if (slab == NULL)
            return;
        // relaxed: fixed while carved.
        if (hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE)
            hhi_heap_free_large(slab);
        else
            hhi_heap_retire_slab(slab); // it has no owner, its token was never given
    }
}

// Of this heap and of the default one.
static void
checked_retire_ended(struct hh_heap *heap)
{
    checked_retire_closed();
    heap_retire_ended(heap);
    if (heap != &hhi_default_heap)
        heap_retire_ended(&hhi_default_heap);
}

// Of all heaps: one that is not used now may have what another asks for.
static void
checked_retire_all_ended(void)
{
    checked_retire_closed();
    hhi_sweep_exclude(); // no heap leaves the list
    for (struct hh_heap *heap = hhi_heap_first(); heap != NULL; heap = hhi_heap_next(heap))
        heap_retire_ended(heap);
    hhi_sweep_admit();
}

bool
hhi_debug_forget_locked(struct hhi_slab *slab)
{
    bool open = true;
    hhi_lock_enter(&hhi_checked_lock);
    if (slab->records != NULL) {
        // relaxed: fixed while carved.
        bool large = hh_load_relaxed(&slab->kind) == HHI_KIND_LARGE;
        // Pages at rest are not counted as data (RLIMIT_DATA), so there may be no room for them now.
        open = !large || !checked_owner(slab)->records[0].guarded || run_open_locked(slab);
        list_remove_locked(slab);
        owner_give_locked(slab);
    }
    if (!open) {
        // relaxed (both): questions about its addresses find a block that has ended, of either heap.
        hh_store_relaxed(&slab->large_of, NULL);
        hh_store_relaxed(&slab->heap, &hhi_default_heap);
        slab->next = checked.closed;
        checked.closed = slab;
    }
    hhi_lock_leave(&hhi_checked_lock);
    return open;
}

// ---- Blocks of slabs ----------------------------------------------------------------------------

// A slab with records, in the list of its class. False: no memory.
static bool
checked_carve(struct hh_heap *heap, unsigned class_index, unsigned level)
{
    struct hhi_slab *slab = hhi_heap_carve(heap, class_index, true, level);
    if (slab == NULL)
        return false;
    hhi_lock_enter(&hhi_checked_lock);
    struct hhi_checked_slab *owner =
        hhi_heap_track_locked(heap) ? owner_take_locked(class_index) : NULL;
    if (owner != NULL) {
        slab->records = (struct hhi_debug_record *)(void *)owner;
        slab->init = owner->count;
        list_push_locked(slab, class_index);
    }
    hhi_lock_leave(&hhi_checked_lock);
    if (owner == NULL)
        hhi_heap_retire_slab(slab);
    return owner != NULL;
}

// Make more of a slab's blocks ready, so that there is a choice among free ones.
static void
blocks_ready_locked(struct hhi_checked_slab *owner, size_t slot_bytes)
{
    uint32_t more = (uint32_t)(CHECKED_READY_BYTES / slot_bytes);
    more = more < CHECKED_READY_BLOCKS ? CHECKED_READY_BLOCKS : more;
    while (more-- > 0 && owner->ready < owner->count)
        owner->free[owner->free_count++] = (uint16_t)owner->ready++;
}

// The number of a free block of the slab, chosen at random; the slab leaves its list with the last.
static uint32_t
block_choose_locked(struct hhi_slab *slab, size_t slot_bytes)
{
    struct hhi_checked_slab *owner = checked_owner(slab);
    if (owner->free_count < CHECKED_READY_BLOCKS / 2)
        blocks_ready_locked(owner, slot_bytes);
    uint32_t at = hhi_checked_random_below_locked(owner->free_count);
    uint32_t index = owner->free[at];
    owner->free[at] = owner->free[--owner->free_count];
    owner->used++;
    if (owner->free_count == 0 && owner->ready == owner->count)
        list_remove_locked(slab);
    return index;
}

static void *
small_take_locked(struct hhi_slab *slab, const struct hhi_checked_request *request)
{
    // relaxed (all): fixed while carved; links change under the lock.
    size_t slot_bytes = hh_load_relaxed(&slab->block_bytes);
    uint32_t index = block_choose_locked(slab, slot_bytes);
    struct hhi_checked_record *records = checked_owner(slab)->records;
    uintptr_t base = hhi_slab_base(slab) + index * slot_bytes;
    record_begin_locked(&records[index], request);
    hhi_canary_fill(base + request->size_bytes, base + slot_bytes);
    if (index > 0 && records[index - 1].state == HHI_CHECKED_FREE)
        hhi_canary_fill(base - HHI_CHECKED_CANARY_BYTES, base); // C1
    hh_store_relaxed(&hh_load_relaxed(&slab->links)[index], HHI_LINK_LIVE);
    return (void *)base;
}

static void *
small_take(const struct hhi_checked_request *request, size_t total_bytes)
{
    unsigned class_index = hhi_class_of(total_bytes);
    for (;;) {
        void *block = NULL;
        hhi_lock_enter(&hhi_checked_lock);
        struct hhi_slab *slab = request->heap->tracked[class_index];
        if (slab != NULL)
            block = small_take_locked(slab, request);
        hhi_lock_leave(&hhi_checked_lock);
        if (block != NULL && request->zeroed)
            memset(block, 0, request->size_bytes);
        if (block != NULL || !checked_carve(request->heap, class_index, request->level))
            return block;
    }
}

// ---- Large blocks -------------------------------------------------------------------------------

// Where access ends behind a large block of that size.
static size_t
large_guard_at(size_t size_bytes)
{
    return hh_align_up(size_bytes == 0 ? 1 : size_bytes, hhi_os_page_bytes());
}

// Take access from a part of a large block's run. What the kernel refuses may have been done in part, so
// the run is to be opened in either case. False: refused, or too many are guarded.
static bool
large_close_locked(const struct hhi_checked_place *place, uintptr_t from, size_t size_bytes)
{
    if (!place->record->guarded) {
        if (checked.large_guards == CHECKED_LARGE_GUARDS)
            return false;
        place->record->guarded = true;
        checked.large_guards++;
    }
    return hhi_os_protect((void *)from, size_bytes, HHI_ACCESS_NONE) == 0;
}

// Canary behind a large block, no access behind that.
static void
large_guard_locked(const struct hhi_checked_place *place)
{
    size_t guard_at = large_guard_at(place->record->size_bytes);
    (void)large_close_locked(place, place->base + guard_at, place->slot_bytes - guard_at);
    hhi_canary_fill(place->base + place->record->size_bytes, place->base + guard_at);
}

// Give a large block's run its access back, before others can get its pages or its size changes.
static bool
large_open_locked(const struct hhi_checked_place *place)
{
    if (!place->record->guarded)
        return true;
    if (!run_open_locked(place->slab))
        return false;
    place->record->guarded = false;
    return true;
}

static void *
large_take(const struct hhi_checked_request *request)
{
    bool zeroed;
    size_t alignment_bytes = request->alignment_bytes == 0 ? 1 : request->alignment_bytes;
    void *block = hhi_heap_alloc_large(request->heap,
                                       large_guard_at(request->size_bytes) + hhi_os_page_bytes(),
                                       alignment_bytes, request->level, &zeroed);
    if (block == NULL)
        return NULL;
    unsigned kind;
    struct hhi_slab *slab = hhi_slab_find(block, &kind);
    HH_CHECK(slab != NULL); // the block is live
    hhi_lock_enter(&hhi_checked_lock);
    struct hhi_checked_slab *owner =
        hhi_heap_track_locked(request->heap) ? owner_take_locked(HHI_CHECKED_LARGE) : NULL;
    if (owner != NULL) {
        struct hhi_checked_place place;
        slab->records = (struct hhi_debug_record *)(void *)owner;
        HH_CHECK(hhi_checked_find_locked(block, &place));
        record_begin_locked(place.record, request);
        large_guard_locked(&place);
    }
    hhi_lock_leave(&hhi_checked_lock);
    if (owner == NULL) {
        // relaxed: nobody was given the block.
        hh_store_relaxed(&slab->large_of, NULL);
        hhi_heap_free_large(slab);
        return NULL;
    }
    if (request->zeroed && !zeroed)
        memset(block, 0, request->size_bytes);
    return block;
}

// A large block's memory while it rests: none. Uses fault. What the kernel refuses stays unseen.
static void
large_rest_locked(const struct hhi_checked_place *place)
{
    if (large_close_locked(place, place->base, place->slot_bytes))
        (void)hhi_os_purge((void *)place->base, place->slot_bytes); // locked pages stay
}

// ---- Sampled blocks: no record here, see heap/sample.h ------------------------------------------

// What a sampled block leaves of its page, on one side or both, is canary.
static void
sampled_fill(uintptr_t base, size_t size_bytes)
{
    hhi_canary_fill(hh_align_down(base, hhi_os_page_bytes()), base);
    hhi_canary_fill(base + size_bytes, hh_align_up(base + size_bytes, hhi_os_page_bytes()));
}

// Under no lock, but the page is nobody else's: whoever ends the block looks.
static void
sampled_look(void *findings, uintptr_t base, size_t size_bytes)
{
    uintptr_t page = hh_align_down(base, hhi_os_page_bytes());
    uintptr_t first =
        hhi_canary_check(base + size_bytes, hh_align_up(base + size_bytes, hhi_os_page_bytes()));
    if (first != 0)
        hhi_checked_add(findings, HH_BAD_OVERFLOW, base, first - base);
    first = hhi_canary_check(page, base);
    if (first != 0)
        hhi_checked_add(findings, HH_BAD_UNDERFLOW, base, base - first);
}

static void *
sampled_take(const struct hhi_checked_request *request)
{
    if (request->size_bytes == 0 || request->alignment_bytes > HHI_ALIGNMENT_BYTES ||
        request->known)
        return NULL;
    void *block = hhi_sample_take_bytes(request->heap, request->size_bytes);
    if (block != NULL)
        sampled_fill((uintptr_t)block, request->size_bytes);
    return block;
}

static hhi_refusal
sampled_end_block(struct hh_heap *heap, void *block, const char *function)
{
    struct hhi_checked_findings findings = {.function = function};
    hhi_refusal refusal = hhi_sample_free_looked(heap, block, sampled_look, &findings);
    hhi_checked_raise(&findings);
    return refusal;
}

// ---- Allocation ---------------------------------------------------------------------------------

static void *
checked_take_once(const struct hhi_checked_request *request)
{
    size_t alignment_bytes = request->alignment_bytes;
    size_t total_bytes = request->size_bytes + HHI_CHECKED_CANARY_BYTES;
    if (alignment_bytes > HHI_ALIGNMENT_BYTES)
        total_bytes = hh_align_up(total_bytes, alignment_bytes);
    if (total_bytes > hhi_slab_limit_bytes || alignment_bytes > HHI_GRANULE_BYTES)
        return large_take(request);
    return small_take(request, total_bytes);
}

// Everything that rests is let go: a request comes first.
static void
quarantine_give_up(void)
{
    bool done;
    do {
        struct hhi_checked_findings findings = {.function = "malloc"};
        hhi_lock_enter(&hhi_checked_lock);
        done = hhi_quarantine_empty_locked(&findings);
        hhi_lock_leave(&hhi_checked_lock);
        hhi_checked_raise(&findings);
    } while (!done);
    checked_retire_all_ended();
}

void *
hhi_checked_take(struct hhi_checked_request *request)
{
    request->frame = __builtin_frame_address(0);
    if (!hhi_checked_start() || request->size_bytes > PTRDIFF_MAX - HHI_GRANULE_BYTES ||
        request->alignment_bytes > (size_t)1 << 30)
        return NULL;
    void *block = sampled_take(request);
    if (block == NULL)
        block = checked_take_once(request);
    if (block == NULL) {
        quarantine_give_up();
        block = checked_take_once(request);
    }
    return block;
}

// ---- Verification -------------------------------------------------------------------------------

void
hhi_checked_add(struct hhi_checked_findings *findings, hhi_refusal why, uintptr_t base,
                size_t claim)
{
    if (findings->count < HHI_CHECKED_FINDINGS)
        findings->items[findings->count++] = (struct hhi_checked_finding){why, base, claim};
}

void
hhi_checked_verify_locked(const struct hhi_checked_place *place,
                          struct hhi_checked_findings *findings)
{
    struct hhi_checked_record *record = place->record;
    uintptr_t end = place->base + place->slot_bytes, first = 0;
    hhi_refusal why = HH_BAD_OVERFLOW;
    if (record->damaged || findings->count == HHI_CHECKED_FINDINGS)
        return;
    if (record->state == HHI_CHECKED_LIVE) {
        if (place->large)
            end = place->base + large_guard_at(record->size_bytes);
        first = hhi_canary_check(place->base + record->size_bytes, end);
    } else if (record->state == HHI_CHECKED_RESTING && !place->large) {
        why = HH_BAD_WRITE_AFTER_FREE;
        first = hhi_junk_check(place->base, end - HHI_CHECKED_CANARY_BYTES);
        if (first == 0)
            first = hhi_canary_check(end - HHI_CHECKED_CANARY_BYTES, end);
    }
    if (first == 0)
        return;
    record->damaged = true;
    hhi_checked_add(findings, why, place->base, first - place->base);
}

// The canary in front of a block of a slab, which its other neighbour may have written too.
static void
verify_front_locked(const struct hhi_checked_place *place, struct hhi_checked_findings *findings)
{
    uintptr_t from = place->base - HHI_CHECKED_CANARY_BYTES;
    if (place->large || place->index == 0 || place->record[-1].damaged)
        return;
    uintptr_t first = hhi_canary_check(from, place->base);
    if (first == 0)
        return;
    place->record->damaged = true;
    hhi_checked_add(findings, HH_BAD_UNDERFLOW, place->base, place->base - first);
    hhi_canary_fill(from, place->base); // told once
}

// ---- Free ---------------------------------------------------------------------------------------

static hhi_refusal
claim_judge(const struct hhi_checked_claim *claim, const struct hhi_checked_record *record)
{
    if (claim == NULL)
        return 0;
    size_t alignment_bytes = (size_t)1 << record->alignment_log2;
    // Up to what every block has, alignments are not told apart.
    bool odd = claim->aligned && !hh_is_power_of_two(claim->alignment_bytes);
    bool other = claim->alignment_bytes > HHI_ALIGNMENT_BYTES
                     ? claim->alignment_bytes != alignment_bytes
                     : alignment_bytes > HHI_ALIGNMENT_BYTES;
    if (odd || (claim->aligned && other))
        return HH_BAD_ALIGNMENT_MISMATCH;
    return claim->sized && claim->size_bytes != record->size_bytes ? HH_BAD_SIZE_MISMATCH : 0;
}

static void
block_end_locked(const struct hhi_checked_place *place, const void *frame,
                 struct hhi_checked_findings *findings)
{
    struct hhi_checked_record *record = place->record;
    record->state = HHI_CHECKED_RESTING;
    record->freed = hhi_stack_note_locked(frame);
    record->freed_thread = (uint32_t)hhi_os_thread_id();
    if (place->large) {
        // relaxed: under the lock, and its run is not free yet.
        hh_store_relaxed(&place->slab->large_of, NULL);
    } else {
        // relaxed (both): fixed while carved; links change under the lock.
        hh_store_relaxed(&hh_load_relaxed(&place->slab->links)[place->index], 0);
    }
    if (record->damaged)
        return; // it stays as it was found, for ever
    if (place->large) {
        large_rest_locked(place);
    } else {
        uintptr_t end = place->base + place->slot_bytes;
        hhi_junk_fill(place->base, end - HHI_CHECKED_CANARY_BYTES);
    }
    hhi_quarantine_put_locked(place, findings);
}

static hhi_refusal
checked_end_locked(struct hh_heap *heap, void *block, const struct hhi_checked_claim *claim,
                   const void *frame, struct hhi_checked_findings *findings)
{
    struct hhi_checked_place place;
    hh_block_info info;
    hhi_refusal refusal = hhi_heap_judge(heap, block, &info);
    if (refusal != 0)
        return refusal;
    if (!hhi_checked_find_locked(block, &place) || place.record->state != HHI_CHECKED_LIVE)
        return HH_BAD_NOT_LIVE;
    refusal = claim_judge(claim, place.record);
    if (refusal != 0)
        return refusal;
    hhi_checked_verify_locked(&place, findings);
    verify_front_locked(&place, findings);
    block_end_locked(&place, frame, findings);
    hhi_quarantine_shrink_locked(hhi_quarantine_budget(), findings);
    return 0;
}

hhi_refusal
hhi_checked_refuse(struct hh_heap *heap, hhi_refusal refusal)
{
    // relaxed: a statistic.
    if (refusal != 0)
        hh_fetch_add_relaxed(&heap->bad_frees, 1);
    return refusal;
}

hhi_refusal
hhi_checked_end(struct hh_heap *heap, void *block, const struct hhi_checked_claim *claim,
                const char *function)
{
    (void)hhi_checked_start();
    if (hhi_sample_contains(block)) {
        hh_block_info info;
        hhi_refusal refusal = hhi_heap_judge(heap, block, &info);
        struct hhi_checked_record asked = {.size_bytes = info.size_bytes};
        if (refusal == 0)
            refusal = claim_judge(claim, &asked);
        if (refusal == 0)
            refusal = sampled_end_block(heap, block, function);
        return hhi_checked_refuse(heap, refusal);
    }
    struct hhi_checked_findings findings = {.function = function};
    hhi_lock_enter(&hhi_checked_lock);
    hhi_refusal refusal =
        checked_end_locked(heap, block, claim, __builtin_frame_address(0), &findings);
    bool ended =
        heap->tracked[HHI_CLASS_NONE] != NULL || hhi_default_heap.tracked[HHI_CLASS_NONE] != NULL;
    hhi_lock_leave(&hhi_checked_lock);
    if (ended)
        checked_retire_ended(heap);
    hhi_checked_raise(&findings);
    return hhi_checked_refuse(heap, refusal);
}

bool
hhi_checked_release_locked(const struct hhi_checked_place *place)
{
    struct hhi_checked_slab *owner = place->owner;
    if (place->large) {
        if (!large_open_locked(place))
            return false;
        place->record->state = HHI_CHECKED_FREE;
        list_push_locked(place->slab, HHI_CLASS_NONE);
        return true;
    }
    place->record->state = HHI_CHECKED_FREE;
    owner->free[owner->free_count++] = (uint16_t)place->index;
    // relaxed: fixed while carved.
    if (owner->list == HHI_CHECKED_NOWHERE)
        list_push_locked(place->slab, hh_load_relaxed(&place->slab->class_index));
    // One slab of each class is kept for the next block.
    if (--owner->used == 0 && (place->slab->next != NULL || place->slab->previous != NULL)) {
        list_remove_locked(place->slab);
        list_push_locked(place->slab, HHI_CLASS_NONE);
    }
    return true;
}

// ---- Sizes --------------------------------------------------------------------------------------

bool
hhi_checked_size(const void *block, size_t *size_bytes)
{
    struct hhi_checked_place place;
    hhi_lock_enter(&hhi_checked_lock);
    bool found = hhi_checked_find_locked(block, &place) && place.base == (uintptr_t)block;
    if (found)
        *size_bytes = place.record->size_bytes;
    hhi_lock_leave(&hhi_checked_lock);
    return found;
}

bool
hhi_checked_resize(const struct hh_heap *heap, const void *block, size_t size_bytes,
                   const char *function)
{
    struct hhi_checked_findings findings = {.function = function};
    struct hhi_checked_place place;
    bool done = false;
    hhi_lock_enter(&hhi_checked_lock);
    // Judged before without the lock: it may be another's by now.
    // relaxed: fixed while carved.
    if (hhi_checked_find_locked(block, &place) && place.large && place.base == (uintptr_t)block &&
        hh_load_relaxed(&place.slab->heap) == heap && place.record->state == HHI_CHECKED_LIVE &&
        size_bytes > hhi_slab_limit_bytes && size_bytes >= place.slot_bytes / 2 &&
        size_bytes <= place.slot_bytes - hhi_os_page_bytes()) {
        hhi_checked_verify_locked(&place, &findings);
        done = large_open_locked(&place);
        if (done) {
            place.record->size_bytes = size_bytes;
            large_guard_locked(&place);
        }
    }
    hhi_lock_leave(&hhi_checked_lock);
    hhi_checked_raise(&findings);
    return done;
}

// ---- Fork ---------------------------------------------------------------------------------------

void
hhi_debug_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&hhi_checked_lock, step);
}
