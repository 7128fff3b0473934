// SPDX-License-Identifier: MIT
/*
 * workloads/replay.c - the calls of real programs, in their order, by one thread.
 *
 * Reason: invented mixes flatter whoever invented them. Traces are recorded by the drop-in; their
 * form is described in bench/traces/README.md. Every block is written at both ends when it is made,
 * nothing else the program did is repeated. What is live at the end of a trace is freed, which is
 * part of the time.
 */
#include "../bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum replay_kind {
    REPLAY_MALLOC,
    REPLAY_FREE,
    REPLAY_CALLOC,
    REPLAY_REALLOC,
    REPLAY_ALIGNED,
};

struct replay_call {
    uint32_t slot;
    uint8_t kind;
    uint8_t shift; // log2 of the alignment
    uint64_t size;
};

struct replay_state {
    struct replay_call *calls;
    size_t call_count;
    void **blocks;
    uint64_t *sizes;
    size_t slot_count;
};

struct replay_reader {
    const unsigned char *at;
    const unsigned char *end;
};

// Seven bits per byte, lowest first; the high bit says that more follow.
static uint64_t
replay_number(struct replay_reader *reader)
{
    uint64_t number = 0;
    for (unsigned shift = 0; reader->at < reader->end && shift < 64; shift += 7) {
        unsigned char byte = *reader->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return number;
        }
    }
    bench_fail("the trace ends in the middle of a number");
}

static void
replay_decode(struct replay_state *state, struct replay_reader *reader)
{
    state->slot_count = replay_number(reader);
    state->call_count = replay_number(reader);
    state->calls = bench_raw(state->call_count * sizeof *state->calls);
    for (size_t i = 0; i < state->call_count; i++) {
        struct replay_call *call = &state->calls[i];
        uint64_t first = replay_number(reader);
        call->kind = first % 8;
        call->slot = (uint32_t)(first / 8);
        call->size = call->kind == REPLAY_FREE ? 0 : replay_number(reader);
        call->shift = call->kind == REPLAY_ALIGNED ? (uint8_t)replay_number(reader) : 0;
        if (call->slot >= state->slot_count || call->kind > REPLAY_ALIGNED) {
            bench_fail("the trace is damaged at call %zu", i);
        }
    }
}

static void
replay_setup(struct bench_run *run)
{
    static const char magic[] = "hostheap trace 1\n";
    char path[4096];
    struct stat status;
    const char *folder = getenv("BENCH_TRACES");
    snprintf(path, sizeof path, "%s/%s.trace", folder ? folder : ".", run->row->name + 6);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0) {
        bench_fail("cannot open %s", path);
    }
    size_t length = (size_t)status.st_size;
    const unsigned char *text = mmap(NULL, length, PROT_READ, MAP_PRIVATE, file, 0);
    if (text == MAP_FAILED || length < sizeof magic || memcmp(text, magic, sizeof magic - 1) != 0) {
        bench_fail("%s is not a trace", path);
    }
    close(file);
    struct replay_state *state = bench_raw(sizeof *state);
    struct replay_reader reader = {text + sizeof magic - 1, text + length};
    replay_decode(state, &reader);
    run->operations = state->call_count;
    munmap((void *)text, length);
    state->blocks = bench_raw(state->slot_count * sizeof *state->blocks);
    state->sizes = bench_raw(state->slot_count * sizeof *state->sizes);
    run->state = state;
}

static void
replay_take(struct bench_run *run, struct replay_state *state, const struct replay_call *call)
{
    const struct bench_allocator *a = run->allocator;
    size_t size = call->size ? call->size : 1;
    void **block = &state->blocks[call->slot];
    switch (call->kind) {
    case REPLAY_MALLOC:
        *block = a->malloc(size);
        break;
    case REPLAY_CALLOC:
        *block = a->calloc(1, size);
        break;
    case REPLAY_ALIGNED:
        *block = a->aligned((size_t)1 << call->shift, size);
        break;
    default:
        if (run->verify && *block) {
            bench_check(run, *block, state->sizes[call->slot], call->slot);
        }
        *block = a->realloc(*block, size);
        break;
    }
    if (!*block) {
        bench_fail("no memory for %zu bytes", size);
    }
    bench_fill(*block, size, call->slot);
    state->sizes[call->slot] = size;
}

static void
replay_drop(struct bench_run *run, struct replay_state *state, uint32_t slot)
{
    if (run->verify) {
        bench_check(run, state->blocks[slot], state->sizes[slot], slot);
    }
    run->allocator->free(state->blocks[slot]);
    state->blocks[slot] = NULL;
}

static void
replay_repeat(struct bench_run *run)
{
    struct replay_state *state = run->state;
    for (size_t i = 0; i < state->call_count; i++) {
        const struct replay_call *call = &state->calls[i];
        if (call->kind == REPLAY_FREE) {
            replay_drop(run, state, call->slot);
        } else {
            replay_take(run, state, call);
        }
    }
    for (uint32_t slot = 0; slot < state->slot_count; slot++) {
        if (state->blocks[slot]) {
            replay_drop(run, state, slot);
        }
    }
}

static void
replay_teardown(struct bench_run *run)
{
    struct replay_state *state = run->state;
    bench_raw_free(state->calls, state->call_count * sizeof *state->calls);
    bench_raw_free(state->blocks, state->slot_count * sizeof *state->blocks);
    bench_raw_free(state->sizes, state->slot_count * sizeof *state->sizes);
    bench_raw_free(state, sizeof *state);
}

#define REPLAY(program, quick)                                                                     \
    {                                                                                              \
        .name = "trace/" program, .flags = quick, .threads = 1, .setup = replay_setup,             \
        .repeat = replay_repeat, .teardown = replay_teardown                                       \
    }

static const struct bench_row replay_rows[] = {
    REPLAY("redis", BENCH_QUICK),
    REPLAY("python", BENCH_QUICK),
    REPLAY("gcc", 0),
    REPLAY("sqlite", 0),
    REPLAY("lua", 0),
    REPLAY("perl", BENCH_QUICK),
    REPLAY("mono", 0),
    REPLAY("own", BENCH_QUICK),
};

const struct bench_family bench_replay = {"replay", replay_rows,
                                          sizeof replay_rows / sizeof replay_rows[0]};
