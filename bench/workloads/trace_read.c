// SPDX-License-Identifier: MIT
/* workloads/trace_read.c - see trace_read.h. */
#include "trace_read.h"

#include <stdbool.h>
#include <string.h>

#include "../bench.h"

enum { SHIFT_MAX = 30 };

struct trace_reader {
    const unsigned char *at;
    const unsigned char *end;
    const char *damage;
};

// Seven bits per byte, lowest first; the high bit says that more follow.
static uint64_t
reader_number(struct trace_reader *reader)
{
    uint64_t number = 0;
    for (unsigned shift = 0; reader->at < reader->end && shift < 64; shift += 7) {
        unsigned char byte = *reader->at++;
        if (shift == 63 && byte > 1) {
            break;
        }
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return number;
        }
    }
    reader->damage = "a number does not end, or is too large";
    return 0;
}

static void
reader_call(struct trace_reader *reader, struct bench_trace_call *call, size_t slot_count)
{
    uint64_t first = reader_number(reader);
    uint64_t slot = first / 8;
    call->kind = first % 8;
    call->slot = (uint32_t)slot;
    call->size = call->kind == BENCH_TRACE_FREE ? 0 : reader_number(reader);
    uint64_t shift = call->kind == BENCH_TRACE_ALIGNED ? reader_number(reader) : 0;
    call->shift = (uint8_t)shift;
    if (slot >= slot_count || call->kind > BENCH_TRACE_ALIGNED || shift > SHIFT_MAX ||
        call->size > PTRDIFF_MAX) {
        reader->damage = "a call is none";
    }
}

// Whether a call finds its slot as it must; afterwards the slot is as the call leaves it.
static bool
slot_follow(unsigned char *live, const struct bench_trace_call *call)
{
    bool fits =
        call->kind == BENCH_TRACE_REALLOC || live[call->slot] == (call->kind == BENCH_TRACE_FREE);
    live[call->slot] = call->kind != BENCH_TRACE_FREE;
    return fits;
}

static void
reader_calls(struct trace_reader *reader, struct bench_trace *trace)
{
    unsigned char *live = bench_raw(trace->slot_count);
    for (size_t i = 0; i < trace->call_count && !reader->damage; i++) {
        reader_call(reader, &trace->calls[i], trace->slot_count);
        if (!reader->damage && !slot_follow(live, &trace->calls[i])) {
            reader->damage = "a slot is not as its call needs it";
        }
    }
    bench_raw_free(live, trace->slot_count);
}

const char *
bench_trace_read(struct bench_trace *trace, const unsigned char *text, size_t length)
{
    static const char magic[] = "hostheap trace 1\n";
    struct trace_reader reader = {text, text + length, NULL};
    if (length < sizeof magic - 1 || memcmp(text, magic, sizeof magic - 1) != 0) {
        return "not a trace";
    }
    reader.at += sizeof magic - 1;
    uint64_t slots = reader_number(&reader);
    uint64_t calls = reader_number(&reader);
    // A call takes a byte or more, a slot is of use to a call: nothing larger is asked memory for.
    if (reader.damage || calls == 0 || calls > length || slots == 0 || slots > calls) {
        return "the numbers of slots and calls are not right";
    }
    trace->slot_count = slots;
    trace->call_count = calls;
    trace->calls = bench_raw(calls * sizeof *trace->calls);
    reader_calls(&reader, trace);
    if (reader.damage) {
        bench_trace_end(trace);
    }
    return reader.damage;
}

void
bench_trace_end(struct bench_trace *trace)
{
    bench_raw_free(trace->calls, trace->call_count * sizeof *trace->calls);
}
