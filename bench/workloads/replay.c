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
#include "trace_read.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct replay_state {
    struct bench_trace trace;
    void **blocks;
    uint64_t *sizes;
};

static void
replay_setup(struct bench_run *run)
{
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
    if (text == MAP_FAILED) {
        bench_fail("cannot read %s", path);
    }
    close(file);
    struct replay_state *state = bench_raw(sizeof *state);
    const char *damage = bench_trace_read(&state->trace, text, length);
    if (damage) {
        bench_fail("%s: %s", path, damage);
    }
    run->operations = state->trace.call_count;
    munmap((void *)text, length);
    state->blocks = bench_raw(state->trace.slot_count * sizeof *state->blocks);
    state->sizes = bench_raw(state->trace.slot_count * sizeof *state->sizes);
    run->state = state;
}

static void
replay_take(struct bench_run *run, struct replay_state *state, const struct bench_trace_call *call)
{
    const struct bench_allocator *a = run->allocator;
    size_t size = call->size ? call->size : 1;
    void **block = &state->blocks[call->slot];
    switch (call->kind) {
    case BENCH_TRACE_MALLOC:
        *block = a->malloc(size);
        break;
    case BENCH_TRACE_CALLOC:
        *block = a->calloc(1, size);
        break;
    case BENCH_TRACE_ALIGNED:
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
    for (size_t i = 0; i < state->trace.call_count; i++) {
        const struct bench_trace_call *call = &state->trace.calls[i];
        if (call->kind == BENCH_TRACE_FREE) {
            replay_drop(run, state, call->slot);
        } else {
            replay_take(run, state, call);
        }
    }
    for (uint32_t slot = 0; slot < state->trace.slot_count; slot++) {
        if (state->blocks[slot]) {
            replay_drop(run, state, slot);
        }
    }
}

static void
replay_teardown(struct bench_run *run)
{
    struct replay_state *state = run->state;
    bench_raw_free(state->blocks, state->trace.slot_count * sizeof *state->blocks);
    bench_raw_free(state->sizes, state->trace.slot_count * sizeof *state->sizes);
    bench_trace_end(&state->trace);
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
