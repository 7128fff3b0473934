// SPDX-License-Identifier: MIT
// checked/stack_note.c - see stack_note.h.
#include "checked/stack_note.h"

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/bits.h"
#include "meta/meta_arena.h"
#include "os/os.h"
#include "os/proc_maps.h"
#include "region/window.h"

enum {
    STACK_BUCKETS = 1 << 14,
    STACK_RANGES = 512,
    STACK_SCAN_WORDS = 384,
    STACK_LOOK_MS_MIN = 10,
    STACK_LOOK_MS_MAX = 1000,
};

static struct {
    struct hhi_os_range ranges[STACK_RANGES]; // executable, ascending
    size_t range_count;
    uintptr_t lowest, span; // of all of them
    uint32_t read_ms;       // when they were read
    uint16_t interval_ms;   // until they are read again
    size_t note_count;
    struct hhi_stack_note *buckets[STACK_BUCKETS];
} stack;

/*
 * The thread's own stack as the kernel had it a moment ago, from the lowest place that was asked about; high
 * 0: not known. Below, the same mapping may go on with somebody else's stack, which may end at any time.
 */
static HH_TLS_INITIAL_EXEC struct {
    uintptr_t high;
    uint32_t pages;                       // below high
    uint32_t inside_ms, outside_ms;       // of the last looks for places in it, and elsewhere
    uint16_t inside_pause, outside_pause; // until the next ones
} stack_own;

// ---- Pace ---------------------------------------------------------------------------------------

// Whether the kernel's list of mappings is to be read now: at once (interval 0), soon again, and later
// and later. Times are the low bits of the clock: static thread-local memory is scarce.
static bool
look_is_due(uint32_t *last_ms, uint16_t *interval_ms, uint32_t now_ms)
{
    if (*interval_ms != 0 && now_ms - *last_ms < *interval_ms)
        return false;
    unsigned next_ms = *interval_ms == 0 ? STACK_LOOK_MS_MIN : 2u * *interval_ms;
    *last_ms = now_ms;
    *interval_ms = (uint16_t)(next_ms < STACK_LOOK_MS_MAX ? next_ms : STACK_LOOK_MS_MAX);
    return true;
}

// ---- Executable mappings ------------------------------------------------------------------------

static void
ranges_read(uint32_t now_ms)
{
    if (!look_is_due(&stack.read_ms, &stack.interval_ms, now_ms))
        return;
    stack.range_count = hhi_os_executable_ranges(stack.ranges, STACK_RANGES);
    // The kernel's page at the top holds no calls of anybody.
    while (stack.range_count > 0 && stack.ranges[stack.range_count - 1].start > UINTPTR_MAX / 2)
        stack.range_count--;
    // Our own code says nothing about the caller.
    for (size_t at = 0; at < stack.range_count; at++)
        if ((uintptr_t)ranges_read - stack.ranges[at].start <
            stack.ranges[at].end - stack.ranges[at].start)
            stack.ranges[at].end = stack.ranges[at].start;
    stack.lowest = stack.range_count == 0 ? 0 : stack.ranges[0].start;
    stack.span =
        stack.range_count == 0 ? 0 : stack.ranges[stack.range_count - 1].end - stack.lowest;
}

static bool
ranges_search(uintptr_t word)
{
    size_t low = 0, high = stack.range_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (word < stack.ranges[middle].start)
            high = middle;
        else if (word > stack.ranges[middle].end) // a call may be the mapping's last instruction
            low = middle + 1;
        else
            return stack.ranges[middle].start != stack.ranges[middle].end;
    }
    return false;
}

// Most words are numbers, addresses of the stack, or of blocks: settled by two comparisons.
static inline bool
ranges_hold(uintptr_t word)
{
    return word - stack.lowest <= stack.span &&
           !hhi_granule_is_inside(hhi_granule_of((const void *)word)) && ranges_search(word);
}

// ---- The stack ----------------------------------------------------------------------------------

// The end of the thread's own stack, if pointer lies in it; else 0.
static uintptr_t
own_stack_end(uintptr_t pointer)
{
    struct hhi_os_range mapping;
    uintptr_t ends[] = {(uintptr_t)pthread_self(), getauxval(AT_RANDOM)};
    if (!hhi_os_mapping_range((const void *)pointer, &mapping))
        return 0;
    for (size_t at = 0; at < 2; at++)
        if (pointer < ends[at] && ends[at] < mapping.end)
            return ends[at];
    return 0;
}

static bool
own_stack_holds(uintptr_t pointer)
{
    return pointer < stack_own.high &&
           (stack_own.high - pointer - 1) / hhi_os_page_bytes() < stack_own.pages;
}

static void
own_stack_look(uintptr_t pointer)
{
    bool inside = own_stack_holds(pointer);
    uintptr_t end = own_stack_end(pointer);
    if (end != 0 || inside) {
        stack_own.high = end;
        stack_own.pages = end == 0 ? 0 : (uint32_t)((end - pointer - 1) / hhi_os_page_bytes()) + 1;
    }
    // It grows as the program runs, so what lies below is looked for at once.
    if (end != 0)
        stack_own.outside_pause = 0;
}

// How far the stack may be read upward from pointer.
static uintptr_t
stack_end(uintptr_t pointer, uint32_t now_ms)
{
    bool due = own_stack_holds(pointer)
                   ? look_is_due(&stack_own.inside_ms, &stack_own.inside_pause, now_ms)
                   : look_is_due(&stack_own.outside_ms, &stack_own.outside_pause, now_ms);
    if (due)
        own_stack_look(pointer);
    if (own_stack_holds(pointer))
        return hh_align_down(stack_own.high, sizeof(uintptr_t));
    return hh_align_up(pointer + 1, hhi_os_page_bytes());
}

HH_READS_ANYTHING static uintptr_t
stack_word(const volatile uintptr_t *word)
{
    return *word;
}

static uint32_t
stack_scan(uintptr_t pointer, uint32_t now_ms, uintptr_t *words)
{
    const volatile uintptr_t *word = (const volatile uintptr_t *)pointer;
    size_t limit = (stack_end(pointer, now_ms) - pointer) / sizeof *word;
    uint32_t count = 0;
    if (limit > STACK_SCAN_WORDS)
        limit = STACK_SCAN_WORDS;
    for (size_t at = 0; at < limit && count < HHI_STACK_NOTE_WORDS; at++) {
        uintptr_t value = stack_word(&word[at]);
        if (ranges_hold(value) && (count == 0 || words[count - 1] != value))
            words[count++] = value;
    }
    return count;
}

// ---- Notes --------------------------------------------------------------------------------------

static uint32_t
note_hash(const uintptr_t *words, uint32_t count)
{
    uint64_t hash = count;
    for (uint32_t at = 0; at < count; at++)
        hash = (hash ^ words[at]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(hash >> 32);
}

const struct hhi_stack_note *
hhi_stack_note_locked(const void *frame)
{
    uintptr_t words[HHI_STACK_NOTE_WORDS];
    uint32_t now_ms = (uint32_t)hhi_os_clock_ms();
    ranges_read(now_ms);
    uint32_t count = stack_scan((uintptr_t)frame, now_ms, words);
    uint32_t hash = note_hash(words, count);
    struct hhi_stack_note **bucket = &stack.buckets[hash % STACK_BUCKETS];
    for (struct hhi_stack_note *note = *bucket; note != NULL; note = note->next)
        if (note->hash == hash && note->count == count &&
            memcmp(note->words, words, count * sizeof words[0]) == 0)
            return note;
    if (stack.note_count == HHI_STACK_NOTES_MAX)
        return NULL;
    struct hhi_stack_note *note = hhi_meta_alloc(sizeof *note + count * sizeof words[0]);
    if (note == NULL)
        return NULL;
    note->hash = hash;
    note->count = count;
    memcpy(note->words, words, count * sizeof words[0]);
    note->next = *bucket;
    *bucket = note;
    stack.note_count++;
    return note;
}
