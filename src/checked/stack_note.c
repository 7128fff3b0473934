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
    STACK_GROWTH_BYTES = 1 << 20, // the main stack may have grown by so much since it was looked at
    STACK_RANGES_MS_MIN = 10,
    STACK_RANGES_MS_MAX = 1000,
};

static struct {
    struct hhi_os_range ranges[STACK_RANGES]; // executable, ascending
    size_t range_count;
    uintptr_t lowest, span; // of all of them
    uint64_t ranges_ms;     // when they were read
    uint64_t interval_ms;   // until they are read again
    size_t note_count;
    struct hhi_stack_note *buckets[STACK_BUCKETS];
} stack;

// The thread's own stack as far as it is known to stay; high 0: not looked at yet.
static HH_TLS_INITIAL_EXEC struct {
    uintptr_t low, high;
} stack_own;

// ---- Executable mappings ------------------------------------------------------------------------

static void
ranges_read(void)
{
    uint64_t now_ms = hhi_os_clock_ms();
    if (stack.range_count != 0 && now_ms - stack.ranges_ms < stack.interval_ms)
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
    stack.ranges_ms = now_ms;
    stack.interval_ms = stack.interval_ms == 0 ? STACK_RANGES_MS_MIN : 2 * stack.interval_ms;
    if (stack.interval_ms > STACK_RANGES_MS_MAX)
        stack.interval_ms = STACK_RANGES_MS_MAX;
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

static void
own_stack_look(uintptr_t pointer)
{
    struct hhi_os_range mapping;
    uintptr_t ends[] = {(uintptr_t)pthread_self(), getauxval(AT_RANDOM)};
    if (!hhi_os_mapping_range((const void *)pointer, &mapping))
        return;
    for (size_t at = 0; at < 2; at++) {
        if (pointer < ends[at] && ends[at] < mapping.end) {
            stack_own.low = mapping.start;
            stack_own.high = ends[at];
        }
    }
}

// How far the stack may be read upward from pointer.
static uintptr_t
stack_end(uintptr_t pointer)
{
    bool unknown = stack_own.high == 0;
    bool grown = pointer < stack_own.low && stack_own.low - pointer < STACK_GROWTH_BYTES;
    if (unknown || grown)
        own_stack_look(pointer);
    if (pointer >= stack_own.low && pointer < stack_own.high)
        return hh_align_down(stack_own.high, sizeof(uintptr_t));
    return hh_align_up(pointer + 1, hhi_os_page_bytes());
}

HH_READS_ANYTHING static uintptr_t
stack_word(const volatile uintptr_t *word)
{
    return *word;
}

static uint32_t
stack_scan(uintptr_t pointer, uintptr_t *words)
{
    const volatile uintptr_t *word = (const volatile uintptr_t *)pointer;
    size_t limit = (stack_end(pointer) - pointer) / sizeof *word;
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
    ranges_read();
    uint32_t count = stack_scan((uintptr_t)frame, words);
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
