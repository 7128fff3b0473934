// SPDX-License-Identifier: MIT
/*
 * checked/checked_report.c - what the checked library knows of a block, for reports; the check of all
 * blocks. In the checked library this file stands for heap/block_history.c.
 */
#include <stdlib.h>

#include "base/bits.h"
#include "checked/checked.h"
#include "diag/diag.h"
#include "heap/bad_block.h"
#include "heap/block_history.h"
#include "heap/sample_report.h"
#include "heap/stack_text.h"
#include "os/os.h"

enum { REPORT_HISTORY_FRAMES = 8, REPORT_LOCK_MS = 1000 };

// A copy of an address's record, so that nothing is written under the lock.
struct report_block {
    struct hhi_checked_record record;
    uintptr_t base;
    size_t slot_bytes;
    uint64_t heap_id;
    bool large;
};

static void
report_copy_locked(const struct hhi_checked_place *place, struct report_block *block)
{
    // relaxed: fixed while carved.
    struct hh_heap *heap = hh_load_relaxed(&place->slab->heap);
    *block = (struct report_block){*place->record, place->base, place->slot_bytes,
                                   heap == NULL ? 0 : hhi_heap_id(heap), place->large};
}

static bool
report_find(const void *address, struct report_block *block)
{
    struct hhi_checked_place place;
    hhi_lock_enter(&hhi_checked_lock);
    bool found = hhi_checked_find_locked(address, &place) && place.record->serial != 0;
    if (found)
        report_copy_locked(&place, block);
    hhi_lock_leave(&hhi_checked_lock);
    return found;
}

// ---- History ------------------------------------------------------------------------------------

static size_t
report_event(char *text, size_t capacity_bytes, const char *what, uint32_t thread,
             const struct hhi_stack_note *stack)
{
    size_t length_bytes =
        hhi_diag_format(text, capacity_bytes, "\n  %s by thread %u", what, thread);
    if (stack == NULL)
        return length_bytes + hhi_diag_format(text + length_bytes, capacity_bytes - length_bytes,
                                              ", its stack was not kept");
    return length_bytes + hhi_stack_text(text + length_bytes, capacity_bytes - length_bytes,
                                         stack->words, stack->count, REPORT_HISTORY_FRAMES);
}

static size_t
report_record(char *text, size_t capacity_bytes, const struct hhi_checked_record *record)
{
    size_t length_bytes = report_event(text, capacity_bytes, "allocated", record->allocated_thread,
                                       record->allocated);
    if (record->state != HHI_CHECKED_LIVE)
        length_bytes += report_event(text + length_bytes, capacity_bytes - length_bytes, "freed",
                                     record->freed_thread, record->freed);
    return length_bytes + hhi_diag_format(text + length_bytes, capacity_bytes - length_bytes,
                                          "\n  allocation %llu under seed %u",
                                          (unsigned long long)record->serial, hhi_checked_seed);
}

size_t
hhi_block_history(char *text, size_t capacity_bytes, const void *address)
{
    struct report_block block;
    if (report_find(address, &block))
        return report_record(text, capacity_bytes, &block.record);
    return hhi_sample_history(text, capacity_bytes, address);
}

size_t
hhi_block_remark(char *text, size_t capacity_bytes, const void *base)
{
    struct report_block block;
    if (!report_find(base, &block))
        return hhi_diag_format(text, capacity_bytes, "%s", "");
    return hhi_diag_format(text, capacity_bytes, ", %zu asked for%s", block.record.size_bytes,
                           block.record.state == HHI_CHECKED_RESTING ? ", in quarantine" : "");
}

size_t
hhi_block_usable_bytes(const void *base, size_t slot_bytes)
{
    size_t size_bytes = slot_bytes;
    hhi_checked_size(base, &size_bytes);
    return size_bytes;
}

size_t
hhi_blocks_usable_bytes(struct hhi_slab *slab, size_t slots_bytes)
{
    struct hhi_checked_place place;
    size_t size_bytes = 0;
    hhi_lock_enter(&hhi_checked_lock);
    bool found = hhi_checked_find_locked((const void *)hhi_slab_base(slab), &place);
    for (uint32_t index = 0; found && index < place.owner->count; index++)
        if (place.owner->records[index].state == HHI_CHECKED_LIVE)
            size_bytes += place.owner->records[index].size_bytes;
    hhi_lock_leave(&hhi_checked_lock);
    return found ? size_bytes : slots_bytes;
}

// ---- Faults -------------------------------------------------------------------------------------

// As report_find in a signal handler, which may have interrupted whoever holds the lock.
static bool
fault_find(const void *address, struct report_block *block)
{
    struct hhi_checked_place place;
    for (unsigned waited = 0; !hhi_lock_try_enter(&hhi_checked_lock); waited++) {
        if (waited == REPORT_LOCK_MS)
            return false;
        hhi_os_sleep_ms(1);
    }
    bool found = hhi_checked_find_locked(address, &place);
    if (found)
        report_copy_locked(&place, block);
    hhi_lock_leave(&hhi_checked_lock);
    return found && block->large && block->record.serial != 0;
}

// A program may have its own reasons to take access to a live block's pages away: that is not misuse.
bool
hhi_block_fault(const void *address)
{
    struct report_block block;
    if (!fault_find(address, &block) || !block.record.guarded)
        return false;
    size_t pages_bytes = hh_align_up(block.record.size_bytes, hhi_os_page_bytes());
    return block.record.state != HHI_CHECKED_LIVE || (uintptr_t)address - block.base >= pages_bytes;
}

size_t
hhi_block_fault_text(char *text, size_t capacity_bytes, const char *access, const void *address)
{
    struct report_block block;
    uint32_t thread = (uint32_t)hhi_os_thread_id();
    if (!fault_find(address, &block))
        return hhi_diag_format(text, capacity_bytes,
                               "hostheap: %s %p in a large block by thread %u\n", access, address,
                               thread);
    bool ended = block.record.state != HHI_CHECKED_LIVE;
    size_t offset_bytes = (uintptr_t)address - block.base, size_bytes = block.record.size_bytes;
    bool behind = offset_bytes >= size_bytes;
    size_t length_bytes = hhi_diag_format(
        text, capacity_bytes,
        "hostheap: %s: %s %p by thread %u\n  block: %p, %zu bytes, heap %llu; the address is %zu "
        "bytes %s",
        ended ? "use after free" : "overflow", access, address, thread, (void *)block.base,
        size_bytes, (unsigned long long)block.heap_id,
        behind ? offset_bytes - size_bytes : offset_bytes, behind ? "past its end" : "into it");
    length_bytes +=
        report_record(text + length_bytes, capacity_bytes - length_bytes, &block.record);
    return length_bytes + hhi_diag_format(text + length_bytes, capacity_bytes - length_bytes, "\n");
}

// ---- All blocks ---------------------------------------------------------------------------------

void
hhi_checked_raise(const struct hhi_checked_findings *findings)
{
    for (unsigned at = 0; at < findings->count; at++) {
        const struct hhi_checked_finding *finding = &findings->items[at];
        hhi_bad_block_raise(findings->function, (const void *)finding->base, finding->why,
                            finding->claim);
    }
}

static void
check_run_locked(struct hhi_slab *slab, struct hhi_checked_findings *findings)
{
    struct hhi_checked_place place;
    if (!hhi_checked_find_locked((const void *)hhi_slab_base(slab), &place))
        return;
    for (uint32_t index = 0; index < place.owner->count; index++) {
        place.index = index;
        place.record = &place.owner->records[index];
        hhi_checked_verify_locked(&place, findings);
        place.base += place.slot_bytes;
    }
}

static void
check_heap(void *argument, struct hh_heap *heap)
{
    struct hhi_checked_findings *findings = argument;
    hhi_lock_enter(&heap->lock); // no run of the heap is retired meanwhile
    for (struct hhi_slab *slab = heap->runs; slab != NULL; slab = slab->heap_next) {
        hhi_lock_enter(&hhi_checked_lock);
        check_run_locked(slab, findings);
        hhi_lock_leave(&hhi_checked_lock);
    }
    hhi_lock_leave(&heap->lock);
}

size_t
hhi_blocks_check(const char *function)
{
    struct hhi_checked_findings findings;
    size_t total = 0;
    do {
        findings = (struct hhi_checked_findings){.function = function};
        hhi_heap_for_each(check_heap, &findings);
        hhi_checked_raise(&findings);
        total += findings.count;
    } while (findings.count == HHI_CHECKED_FINDINGS);
    return total;
}

// What was damaged and never freed, or written after its free, is told at the end of the process.
__attribute__((destructor)) static void
check_at_exit(void)
{
    hhi_blocks_check("exit");
}
