// SPDX-License-Identifier: MIT
// region/foreign_guard.c - see foreign_guard.h.
#include "region/foreign_guard.h"

#include <hostheap/host_types.h>

#include "base/atomic.h"
#include "os/os.h"

#define NOTE_CODE ((uintptr_t)0xFFF)

static struct {
    _Atomic uint32_t used;                           // notes at and above it were never used
    _Atomic uintptr_t notes[HHI_FOREIGN_GUARDS_MAX]; // page and code; 0 = none
} guards;

static uint32_t
notes_used(void)
{
    // relaxed: a note is one word, nothing is read through it.
    return hh_load_relaxed(&guards.used);
}

static uintptr_t
note_load(uint32_t index)
{
    // relaxed: see notes_used.
    return hh_load_relaxed(&guards.notes[index]);
}

uint32_t
hhi_foreign_guard_find(uintptr_t page)
{
    uint32_t used = notes_used();
    for (uint32_t i = 0; i < used; i++) {
        uintptr_t note = note_load(i);
        if ((note & ~NOTE_CODE) == page && note != 0)
            return (uint32_t)(note & NOTE_CODE);
    }
    return 0;
}

uintptr_t
hhi_foreign_guard_run_end(uintptr_t page, uintptr_t to)
{
    uint32_t code = hhi_foreign_guard_find(page);
    uint32_t used = notes_used();
    if (code != 0) {
        do
            page += hhi_os_page_bytes();
        while (page < to && hhi_foreign_guard_find(page) == code);
        return page;
    }
    for (uint32_t i = 0; i < used; i++) {
        uintptr_t noted = note_load(i) & ~NOTE_CODE;
        if (noted > page && noted < to)
            to = noted;
    }
    return to;
}

bool
hhi_foreign_guard_has_room(uintptr_t first, uintptr_t end)
{
    size_t free_notes = HHI_FOREIGN_GUARDS_MAX - notes_used();
    for (uint32_t i = 0; i < notes_used(); i++) {
        uintptr_t page = note_load(i) & ~NOTE_CODE;
        free_notes += page == 0 || (page >= first && page < end);
    }
    return (end - first) / hhi_os_page_bytes() <= free_notes;
}

static void
note_add(uintptr_t note)
{
    uint32_t index = 0, used = notes_used();
    while (index < used && note_load(index) != 0)
        index++;
    // relaxed: see notes_used.
    hh_store_relaxed(&guards.notes[index], note);
    if (index == used)
        hh_store_relaxed(&guards.used, used + 1);
}

void
hhi_foreign_guard_set(uintptr_t first, uintptr_t end, uint32_t protection)
{
    uint32_t used = notes_used();
    for (uint32_t i = 0; i < used; i++) {
        uintptr_t page = note_load(i) & ~NOTE_CODE;
        if (page >= first && page < end)
            // relaxed: see notes_used.
            hh_store_relaxed(&guards.notes[i], 0);
    }
    if (protection & PAGE_GUARD) {
        for (uintptr_t page = first; page < end; page += hhi_os_page_bytes())
            note_add(page | protection);
    }
}
