// SPDX-License-Identifier: MIT
/*
 * misuse/attempt.h - one shape of misuse, tried through one door, by one call, in one place.
 *
 * The place says which threads are at work: the one that prepares may be the one that misuses,
 * another one, one that has ended, or the parent of a child that misuses. Threads that are needed
 * are started before the preparation, so that nothing is allocated between it and the call: else
 * the block just freed could have been given out again.
 */
#ifndef HH_TESTS_MISUSE_ATTEMPT_H
#define HH_TESTS_MISUSE_ATTEMPT_H

#include <stdint.h>

#include "door.h"

enum { MISUSE_NEIGHBOURS = 32, MISUSE_NEIGHBOUR_BYTES = 64 };

enum misuse_place {
    MISUSE_SAME_THREAD,
    MISUSE_OTHER_THREAD,
    MISUSE_OWNER_ENDED,
    MISUSE_FORK_CHILD,
    MISUSE_PLACES,
};

enum misuse_outcome {
    MISUSE_AS_IT_MUST_BE,
    MISUSE_NOT_HERE, // the shape does not exist behind this door
    MISUSE_NOT_PREPARED,
    MISUSE_FALSE_ACCEPT,
    MISUSE_FALSE_REJECT,
    MISUSE_WRONG_ANSWER,
    MISUSE_WRONG_REASON,
    MISUSE_NOT_COUNTED,
    MISUSE_CENSUS_CHANGED,
    MISUSE_CONTENTS_CHANGED,
    MISUSE_BLOCK_NOT_LIVE,
    MISUSE_HANDED_OUT_TWICE,
    MISUSE_ENDED_BY_A_SIGNAL,
    MISUSE_OUTCOMES,
};
const char *misuse_outcome_name(int outcome);
const char *misuse_place_name(int place);

struct misuse_attempt {
    const struct misuse_shape *shape;
    const struct misuse_door *door;
    const struct misuse_verb *verb;
    int place;
    int repeats; // of the call that is refused
    struct misuse_heap heap;
    uint8_t *neighbours[MISUSE_NEIGHBOURS];
    struct misuse_hand *helper; // while it is prepared, if the shape wants one
    // Set by the preparation.
    uint8_t *block;      // live, and to be freed at the end, or NULL
    size_t block_bytes;  // of its contents that are watched
    void *address;       // what is passed to the call
    IHostMalloc *object; // to be released, destroyed, unmapped at the end
    hh_heap *native_heap;
    void *mapping;
    int outcome;
    int answer; // the last one
};

struct misuse_shape {
    const char *name;
    // Sets address, and block if one is to stay live; outcome if it can not be. Runs on the
    // allocating thread.
    void (*prepare)(struct misuse_attempt *attempt);
    size_t size_bytes;      // of the block
    uintptr_t offset;       // of the address in it, or what prepare makes of it
    unsigned why;           // reasons that may be given, as bits 1 << hh_bad_block
    unsigned kinds;         // calls that misuse it
    size_t alignment_bytes; // of the block, 0 = as it comes
    // What a caller names who names something; alignment 0: nothing in particular.
    struct misuse_claim claim;
};

extern const struct misuse_shape misuse_shapes[];
extern const size_t misuse_shape_count;

// Run on the helper thread, to its end.
void misuse_help(struct misuse_attempt *attempt, void (*run)(struct misuse_attempt *attempt));
// A block of the attempt's heap.
void *misuse_alloc(struct misuse_attempt *attempt, size_t size_bytes);
// Whether a live block starts there.
bool misuse_is_live(const void *address);
bool misuse_free(const struct misuse_door *door, struct misuse_heap *heap, void *block);

// door, verb, shape, place and repeats are set; the rest is zero. Returns the outcome.
int misuse_attempt_run(struct misuse_attempt *attempt);

// Attempts of one door in one place: every shape by every call that misuses it.
struct misuse_counts {
    unsigned shapes, attempts, refusals, failures;
};
void misuse_run_all(const struct misuse_door *door, int place, struct misuse_counts *counts);

#endif
