// SPDX-License-Identifier: MIT
/*
 * process/stats_print.c - see stats_print.h.
 *
 * The write callback may allocate, so nothing is held while it runs: the figures of the heaps are
 * taken one at a time into a small record of their own, in batches.
 */
#include "process/stats_print.h"

#include <hostheap/hostheap.h>

#include "diag/diag.h"
#include "heap/heap.h"
#include "options/options.h"

enum { STATS_LINE_BYTES = 256, STATS_NAME_BYTES = 32, STATS_BATCH = 16 };

struct stats_row {
    const char *name;
    const char *label;
    size_t offset_bytes;
};

#define STATS_PROCESS_ROW(field, label)                                                            \
    {                                                                                              \
#field, label, offsetof(hh_stats, field)                                                   \
    }
#define STATS_HEAP_ROW(field, label)                                                               \
    {                                                                                              \
#field, label, offsetof(hh_heap_stats, field)                                              \
    }

static const struct stats_row stats_process_rows[] = {
    STATS_PROCESS_ROW(heaps, "heaps"),
    STATS_PROCESS_ROW(threads, "threads with a cache"),
    STATS_PROCESS_ROW(regions, "regions"),
    STATS_PROCESS_ROW(reserved_bytes, "bytes reserved"),
    STATS_PROCESS_ROW(committed_bytes, "bytes committed"),
    STATS_PROCESS_ROW(retained_bytes, "bytes retained, free"),
    STATS_PROCESS_ROW(metadata_bytes, "bytes of own records"),
    STATS_PROCESS_ROW(purged_bytes, "bytes given back so far"),
    STATS_PROCESS_ROW(system_calls, "system calls for memory"),
    STATS_PROCESS_ROW(acquired_ranges, "ranges the runtime mapped"),
    STATS_PROCESS_ROW(acquired_bytes, "bytes the runtime mapped"),
};

static const struct stats_row stats_heap_rows[] = {
    STATS_HEAP_ROW(live_blocks, "live blocks"),
    STATS_HEAP_ROW(live_bytes, "live bytes"),
    STATS_HEAP_ROW(large_blocks, "of these, large blocks"),
    STATS_HEAP_ROW(large_bytes, "of these, large bytes"),
    STATS_HEAP_ROW(committed_bytes, "bytes committed"),
    STATS_HEAP_ROW(slab_count, "slabs"),
    STATS_HEAP_ROW(slabs_carved, "slabs carved so far"),
    STATS_HEAP_ROW(slabs_retired, "slabs retired so far"),
    STATS_HEAP_ROW(bad_frees, "frees refused"),
    STATS_HEAP_ROW(soft_limit_bytes, "soft limit, bytes"),
    STATS_HEAP_ROW(hard_limit_bytes, "hard limit, bytes"),
};

#define STATS_COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

struct stats_writer {
    void (*write)(void *arg, const char *text, size_t length_bytes);
    void *arg;
    bool json;
};

struct stats_heap_entry {
    uint64_t id;
    char name[STATS_NAME_BYTES];
    hh_heap_stats stats;
};

// The heaps with ids above after, the STATS_BATCH lowest of them, in order.
struct stats_batch {
    uint64_t after;
    size_t count;
    struct stats_heap_entry entries[STATS_BATCH];
};

HH_PRINTF(2, 3)
static void
stats_emit(const struct stats_writer *writer, const char *format, ...)
{
    char line[STATS_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    size_t length_bytes = hhi_diag_vformat(line, sizeof line, format, arguments);
    va_end(arguments);
    writer->write(writer->arg, line, length_bytes);
}

// Every field is a size_t or a uint64_t.
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "a row is 8 bytes");

static unsigned long long
stats_row_value(const struct stats_row *row, const void *record)
{
    uint64_t value;
    __builtin_memcpy(&value, (const char *)record + row->offset_bytes, sizeof value);
    return value;
}

static void
stats_emit_rows(const struct stats_writer *writer, const struct stats_row *rows, size_t count,
                const void *record)
{
    for (size_t i = 0; i < count; i++) {
        unsigned long long value = stats_row_value(&rows[i], record);
        if (writer->json)
            stats_emit(writer, "%s\"%s\":%llu", i == 0 ? "" : ",", rows[i].name, value);
        else
            stats_emit(writer, "  %s: %llu\n", rows[i].label, value);
    }
}

// name as a JSON string body: quotes, backslashes and control characters escaped, the rest as it is.
static void
stats_escape(const char *name, char *escaped)
{
    static const char digits[] = "0123456789abcdef";
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        if (c == '"' || c == '\\') {
            *escaped++ = '\\';
            *escaped++ = (char)c;
        } else if (c < 0x20) {
            __builtin_memcpy(escaped, "\\u00", 4);
            escaped[4] = digits[c >> 4];
            escaped[5] = digits[c & 15];
            escaped += 6;
        } else {
            *escaped++ = (char)c;
        }
    }
    *escaped = '\0';
}

static void
stats_emit_heap(const struct stats_writer *writer, const struct stats_heap_entry *entry, bool first)
{
    char escaped[6 * STATS_NAME_BYTES + 1];
    if (writer->json) {
        stats_escape(entry->name, escaped);
        stats_emit(writer, "%s{\"id\":%llu,\"name\":\"%s\",", first ? "" : ",",
                   (unsigned long long)entry->id, escaped);
    } else {
        stats_emit(writer, "heap %llu %s\n", (unsigned long long)entry->id, entry->name);
    }
    stats_emit_rows(writer, stats_heap_rows, STATS_COUNT(stats_heap_rows), &entry->stats);
    if (writer->json)
        stats_emit(writer, "}");
}

// Keeps the batch sorted; a heap beyond a full batch's last id waits for the next batch.
static void
stats_batch_visit(void *arg, struct hh_heap *heap)
{
    struct stats_batch *batch = arg;
    uint64_t id = hhi_heap_id(heap);
    if (id <= batch->after)
        return;
    size_t place = batch->count;
    while (place > 0 && batch->entries[place - 1].id > id)
        place--;
    if (place == STATS_BATCH)
        return;
    size_t moved = batch->count - place;
    if (batch->count < STATS_BATCH)
        batch->count++;
    else
        moved--;
    struct stats_heap_entry *entry = &batch->entries[place];
    __builtin_memmove(entry + 1, entry, moved * sizeof *entry);
    entry->id = id;
    hhi_diag_format(entry->name, sizeof entry->name, "%s", hhi_heap_name(heap));
    hhi_heap_get_stats(heap, &entry->stats);
}

static void
stats_emit_heaps(const struct stats_writer *writer)
{
    struct stats_batch batch = {.after = 0};
    bool first = true;
    do {
        batch.count = 0;
        hhi_heap_for_each(stats_batch_visit, &batch);
        for (size_t i = 0; i < batch.count; i++) {
            stats_emit_heap(writer, &batch.entries[i], first);
            first = false;
            batch.after = batch.entries[i].id;
        }
    } while (batch.count == STATS_BATCH);
}

static void
stats_emit_json(const struct stats_writer *writer, const hh_stats *stats, bool heaps)
{
    stats_emit(writer, "{\"version\":\"%s\",\"process\":{", hh_version());
    stats_emit_rows(writer, stats_process_rows, STATS_COUNT(stats_process_rows), stats);
    stats_emit(writer, "},\"all\":{");
    stats_emit_rows(writer, stats_heap_rows, STATS_COUNT(stats_heap_rows), &stats->all);
    stats_emit(writer, "}");
    if (heaps) {
        stats_emit(writer, ",\"heaps\":[");
        stats_emit_heaps(writer);
        stats_emit(writer, "]");
    }
    stats_emit(writer, "}\n");
}

static void
stats_emit_text(const struct stats_writer *writer, const hh_stats *stats, bool heaps)
{
    stats_emit(writer, "hostheap %s statistics\nprocess\n", hh_version());
    stats_emit_rows(writer, stats_process_rows, STATS_COUNT(stats_process_rows), stats);
    stats_emit(writer, "all heaps together\n");
    stats_emit_rows(writer, stats_heap_rows, STATS_COUNT(stats_heap_rows), &stats->all);
    if (heaps)
        stats_emit_heaps(writer);
}

static void
stats_write_standard_error(void *arg, const char *text, size_t length_bytes)
{
    (void)arg;
    hhi_diag_write(text, length_bytes);
}

void
hh_stats_print(void (*write)(void *arg, const char *text, size_t length_bytes), void *arg,
               uint32_t flags)
{
    struct stats_writer writer = {write != NULL ? write : stats_write_standard_error, arg,
                                  (flags & HH_STATS_JSON) != 0};
    hh_stats stats;
    hhi_get_stats(&stats);
    if (writer.json)
        stats_emit_json(&writer, &stats, (flags & HH_STATS_HEAPS) != 0);
    else
        stats_emit_text(&writer, &stats, (flags & HH_STATS_HEAPS) != 0);
}

void
hhi_stats_print_at_exit(void)
{
    if (hhi_opt.stats_at_exit)
        hh_stats_print(NULL, NULL, HH_STATS_HEAPS | (hhi_opt.stats_json ? HH_STATS_JSON : 0));
}
