// SPDX-License-Identifier: MIT
/* heap/bad_block.c - see bad_block.h. */
#include "heap/bad_block.h"

#include "base/atomic.h"
#include "diag/diag.h"
#include "heap/block_history.h"
#include "heap/block_place.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "os/proc_maps.h"

enum { BAD_BLOCK_TEXT_BYTES = 5000, BAD_BLOCK_LINE_BYTES = 320 };

// What hh_set_bad_free_handler was given. Records never change once they are published, so handler
// and arg always belong together; one is made for each different pair.
struct bad_block_choice {
    struct bad_block_choice *next; // older records
    hh_bad_free_handler handler;   // NULL: abort
    void *arg;
};

static struct bad_block_choice bad_block_abort_choice;
// The choice in force, NULL while the option decides.  [BB-1]
static _Atomic(struct bad_block_choice *) bad_block_current;
// All records made, newest first.  [BB-2]
static _Atomic(struct bad_block_choice *) bad_block_choices;

static const char *
bad_block_reason(hhi_refusal why)
{
    switch (why) {
    case HH_BAD_FOREIGN:
        return "not memory of this heap";
    case HH_BAD_INTERIOR:
        return "inside a block, not at its start";
    case HH_BAD_NOT_LIVE:
        return "not allocated: freed already, or never handed out";
    case HH_BAD_OTHER_HEAP:
        return "a block of another heap";
    case HH_BAD_SIZE_MISMATCH:
        return "the size passed can not be this block's";
    case HH_BAD_ALIGNMENT_MISMATCH:
        return "the alignment passed can not be this block's";
    case HH_BAD_OVERFLOW:
        return "bytes behind the block were written";
    case HH_BAD_UNDERFLOW:
        return "bytes before the block were written: by an underflow, or past the block before";
    case HH_BAD_WRITE_AFTER_FREE:
        return "written after it was freed";
    default:
        return "refused";
    }
}

// Text that grows in a buffer; lines after the first are indented below the prefix.
struct bad_block_text {
    char *buffer;
    size_t capacity_bytes;
    size_t length_bytes;
};

HH_PRINTF(2, 3)
static void
bad_block_add(struct bad_block_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text->length_bytes +=
        hhi_diag_vformat(text->buffer + text->length_bytes,
                         text->capacity_bytes - text->length_bytes, format, arguments);
    va_end(arguments);
}

static void
bad_block_add_remark(struct bad_block_text *text, uintptr_t base)
{
    text->length_bytes +=
        hhi_block_remark(text->buffer + text->length_bytes,
                         text->capacity_bytes - text->length_bytes, (const void *)base);
}

static void
bad_block_add_heap(struct bad_block_text *text, const struct hh_heap *heap)
{
    const char *name = hhi_heap_name(heap);
    bad_block_add(text, "\n  heap: %llu%s%s%s", (unsigned long long)hhi_heap_id(heap),
                  name[0] != '\0' ? " (" : "", name, name[0] != '\0' ? ")" : "");
}

static void
bad_block_add_slot(struct bad_block_text *text, const hh_block_info *info, const void *address)
{
    size_t offset_bytes = (size_t)((uintptr_t)address - (uintptr_t)info->base);
    bad_block_add(text, "\n  slot: %p, %zu bytes, %s", info->base, info->size_bytes,
                  info->live ? "allocated" : "free");
    bad_block_add_remark(text, (uintptr_t)info->base);
    if (offset_bytes != 0)
        bad_block_add(text, "; the address is %zu bytes into it", offset_bytes);
}

static void
bad_block_add_neighbour(struct bad_block_text *text, const char *which,
                        const struct hhi_block_neighbour *neighbour)
{
    if (neighbour->base == 0) {
        bad_block_add(text, "\n  slot %s: none in this slab", which);
        return;
    }
    bad_block_add(text, "\n  slot %s: %p, %s", which, (void *)neighbour->base, neighbour->state);
    bad_block_add_remark(text, neighbour->base);
}

static void
bad_block_add_nearest(struct bad_block_text *text, const struct hhi_block_neighbour *nearest,
                      uintptr_t address)
{
    if (nearest->base == 0)
        return;
    bool above = nearest->base > address;
    bad_block_add(text, "\n  nearest other live block: %p, %zu bytes, %s %zu bytes %s the address",
                  (void *)nearest->base, nearest->size_bytes, above ? "begins" : "ends",
                  above ? nearest->base - address : address - nearest->base - nearest->size_bytes,
                  above ? "behind" : "before");
}

// The slab and what lies around: for addresses that lie in one.
static void
bad_block_add_surroundings(struct bad_block_text *text, const void *address)
{
    struct hhi_block_place place;
    hhi_block_find_place(address, &place);
    if (place.slab != NULL && place.large)
        bad_block_add(text, "\n  class: none, a large block with pages of its own");
    if (place.slab != NULL && !place.large) {
        bad_block_add(text, "\n  class: %zu bytes; slot %u of %u in the slab at %p",
                      place.class_bytes, place.slot + 1, place.slots, (void *)place.slab_base);
        bad_block_add_neighbour(text, "before", &place.before);
        bad_block_add_neighbour(text, "behind", &place.behind);
    }
    bad_block_add_nearest(text, &place.nearest, (uintptr_t)address);
}

static void
bad_block_add_mapping(struct bad_block_text *text, const void *address)
{
    char line[BAD_BLOCK_LINE_BYTES];
    if (hhi_os_describe_mapping(address, line, sizeof line))
        bad_block_add(text, "\n  mapping: %s", line);
    else
        bad_block_add(text, "\n  nothing is mapped there");
}

static void
bad_block_add_place(struct bad_block_text *text, const void *address)
{
    hh_block_info info;
    hhi_heap_owns(address, &info);
    if (info.heap == NULL) {
        bad_block_add_mapping(text, address);
    } else if (info.base != NULL) {
        bad_block_add_slot(text, &info, address);
        bad_block_add_heap(text, info.heap);
    } else {
        bad_block_add_heap(text, info.heap);
        bad_block_add(text, ", outside all of its slots");
    }
    bad_block_add_surroundings(text, address);
}

size_t
hhi_bad_block_describe(char *text, size_t capacity_bytes, const char *function, const void *address,
                       hhi_refusal why, size_t claim)
{
    struct bad_block_text lines = {text, capacity_bytes, 0};
    bad_block_add(&lines, "%s(%p", function, address);
    if (why == HH_BAD_SIZE_MISMATCH)
        bad_block_add(&lines, ", size %zu", claim);
    if (why == HH_BAD_ALIGNMENT_MISMATCH)
        bad_block_add(&lines, ", alignment %zu", claim);
    bad_block_add(&lines, "): %s", bad_block_reason(why));
    if (why == HH_BAD_OVERFLOW || why == HH_BAD_WRITE_AFTER_FREE)
        bad_block_add(&lines, "; the first at offset %zu", claim);
    if (why == HH_BAD_UNDERFLOW)
        bad_block_add(&lines, "; the first %zu bytes before", claim);
    bad_block_add_place(&lines, address);
    lines.length_bytes +=
        hhi_block_history(text + lines.length_bytes, capacity_bytes - lines.length_bytes, address);
    return lines.length_bytes;
}

// Apart, so that its frame is gone when the process is ended: a handler of SIGABRT may have to do with the
// rest of a small stack.
HH_SLOW static void
bad_block_report(const char *function, const void *address, hhi_refusal why, size_t claim,
                 bool fatal)
{
    // Not on the stack, of which a handler may have little; a second report at the same time is short.
    static char whole[BAD_BLOCK_TEXT_BYTES];
    static struct hhi_lock whole_lock;
    char brief[BAD_BLOCK_LINE_BYTES];
    bool mine = hhi_lock_try_enter(&whole_lock);
    char *buffer = mine ? whole : brief;
    // One byte is kept for the line feed.
    struct bad_block_text text = {buffer, (mine ? sizeof whole : sizeof brief) - 1, 0};
    bad_block_add(&text, "hostheap: ");
    text.length_bytes +=
        hhi_bad_block_describe(buffer + text.length_bytes, text.capacity_bytes - text.length_bytes,
                               function, address, why, claim);
    if (fatal)
        bad_block_add(&text, "\n  HOSTHEAP_OPTIONS=bad_free:report goes on instead");
    buffer[text.length_bytes++] = '\n';
    hhi_diag_write(buffer, text.length_bytes);
    if (mine)
        hhi_lock_leave(&whole_lock);
}

void
hhi_bad_block_raise(const char *function, const void *address, hhi_refusal why, size_t claim)
{
    // order: acquire [BB-1] pairs with the setter's release: the record's fields are readable
    const struct bad_block_choice *choice = hh_load_acquire(&bad_block_current);
    if (choice != NULL && choice->handler != NULL) {
        hh_block_info info;
        hhi_heap_owns(address, &info);
        choice->handler(choice->arg, function, address, (hh_bad_block)why, &info);
        return;
    }
    uint32_t policy = choice != NULL ? HHI_BAD_FREE_ABORT : hhi_opt.bad_free;
    if (policy == HHI_BAD_FREE_IGNORE)
        return;
    // "callback" without a handler has nobody to call: as abort.
    bool fatal = policy != HHI_BAD_FREE_REPORT;
    bad_block_report(function, address, why, claim, fatal);
    if (fatal)
        hhi_os_abort();
}

static struct bad_block_choice *
bad_block_find_choice(struct bad_block_choice *first, hh_bad_free_handler handler, const void *arg)
{
    for (; first != NULL; first = first->next) {
        if (first->handler == handler && first->arg == arg)
            return first;
    }
    return NULL;
}

// The record of this pair; NULL when there is no memory for a new one.
static struct bad_block_choice *
bad_block_make_choice(hh_bad_free_handler handler, void *arg)
{
    // order: acquire [BB-2] pairs with the publishing exchange: the list's records are readable
    struct bad_block_choice *first = hh_load_acquire(&bad_block_choices);
    struct bad_block_choice *choice = bad_block_find_choice(first, handler, arg);
    if (choice != NULL)
        return choice;
    choice = hhi_meta_alloc(sizeof *choice);
    if (choice == NULL)
        return NULL;
    choice->handler = handler;
    choice->arg = arg;
    do {
        choice->next = first;
        // order: release [BB-2] publishes the record, and hands on the newer ones before it
    } while (!hh_cas_strong_release(&bad_block_choices, &first, choice));
    return choice;
}

void
hh_set_bad_free_handler(hh_bad_free_handler handler, void *arg)
{
    struct bad_block_choice *choice = &bad_block_abort_choice;
    if (handler != NULL)
        choice = bad_block_make_choice(handler, arg);
    if (choice == NULL) {
        hhi_diag_report("hh_set_bad_free_handler: no memory for its record; nothing changed");
        return;
    }
    // order: release [BB-1] publishes the record's handler and arg
    hh_store_release(&bad_block_current, choice);
}
