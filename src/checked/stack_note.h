// SPDX-License-Identifier: MIT
/*
 * checked/stack_note.h - stacks of allocations and frees, each kept once.
 *
 * Layer: checked. May include: base, os, meta, region/window.h.
 *
 * A note is what looks like code among the words on the caller's stack: words that point into
 * executable mappings outside of this library. Libraries are built without frame pointers, and an
 * unwinder may allocate and lock; a report picks the words that follow a call. Old words that a
 * frame left behind may be among them.
 *
 * The stack is read to its end where the end is sure: the thread's own stack, which holds its
 * control block or, on the main thread, what the kernel put there. It is looked at where the thread is,
 * deeper when the thread gets deeper, and again when the look is older than STACK_LOOK_MS_MAX: in the
 * same mapping others may lie below it, and end. On any other stack it is read to the end of the page.
 * A look at every note would be sure always, and costs 3 us of the kernel's.
 *
 * The list of executable mappings is read from /proc/self/maps, again when it is older than
 * STACK_LOOK_MS_MAX; what was loaded since then is missing in notes. Where there is no such list it is
 * asked for no more often.
 *
 * Thread rules: under the lock of checked.h. Notes never change and are never given back; when
 * HHI_STACK_NOTES_MAX of them exist, further stacks are not kept.
 */
#ifndef HHI_CHECKED_STACK_NOTE_H
#define HHI_CHECKED_STACK_NOTE_H

#include "base/compiler.h"

enum { HHI_STACK_NOTE_WORDS = 16, HHI_STACK_NOTES_MAX = 100000 };

struct hhi_stack_note {
    struct hhi_stack_note *next;
    uint32_t hash, count;
    uintptr_t words[];
};

// The caller's stack from a frame on, as __builtin_frame_address tells it: what lies below are the
// library's own frames, and old words in them. NULL: no memory, or too many.
const struct hhi_stack_note *hhi_stack_note_locked(const void *frame);

#endif
