// SPDX-License-Identifier: MIT
/* misuse/attempt.c - see attempt.h. "Nothing has changed" is judged here: contract FR-1, FR-4. */
#include "attempt.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRESH_BLOCKS = 200, CHILD_SECONDS = 60, REPEATS = 3 };

static const char *const outcome_names[MISUSE_OUTCOMES] = {
    "as it must be",
    "not behind this door",
    "not prepared",
    "FALSE ACCEPT",
    "FALSE REJECT",
    "wrong answer",
    "wrong reason",
    "not counted as a bad free",
    "the walk of the heap finds other blocks",
    "contents changed",
    "the block is no longer live",
    "a block was handed out twice",
    "ended by a signal",
};

static const char *const place_names[MISUSE_PLACES] = {
    "on the same thread",
    "on another thread",
    "after the owner's end",
    "in a forked child",
};

const char *
misuse_outcome_name(int outcome)
{
    return outcome_names[outcome < MISUSE_OUTCOMES ? outcome : MISUSE_ENDED_BY_A_SIGNAL];
}

const char *
misuse_place_name(int place)
{
    return place_names[place];
}

/* ---- Threads that wait to be told what to do ------------------------------------------------ */

struct misuse_hand {
    pthread_t thread;
    sem_t told, done;
    void (*run)(struct misuse_attempt *attempt); // NULL: end
    struct misuse_attempt *attempt;
};

static void *
hand_main(void *argument)
{
    struct misuse_hand *hand = argument;
    for (;;) {
        while (sem_wait(&hand->told) != 0) {
        }
        if (hand->run == NULL)
            return NULL;
        hand->run(hand->attempt);
        sem_post(&hand->done);
    }
}

static bool
hand_start(struct misuse_hand *hand, struct misuse_attempt *attempt)
{
    hand->attempt = attempt;
    sem_init(&hand->told, 0, 0);
    sem_init(&hand->done, 0, 0);
    return pthread_create(&hand->thread, NULL, hand_main, hand) == 0;
}

static void
hand_do(struct misuse_hand *hand, void (*run)(struct misuse_attempt *attempt))
{
    hand->run = run;
    sem_post(&hand->told);
    while (sem_wait(&hand->done) != 0) {
    }
}

static void
hand_end(struct misuse_hand *hand)
{
    hand->run = NULL;
    sem_post(&hand->told);
    pthread_join(hand->thread, NULL);
    sem_destroy(&hand->told);
    sem_destroy(&hand->done);
}

void
misuse_help(struct misuse_attempt *attempt, void (*run)(struct misuse_attempt *attempt))
{
    hand_do(attempt->helper, run);
}

/* ---- The heap before and after -------------------------------------------------------------- */

void *
misuse_alloc(struct misuse_attempt *attempt, size_t size_bytes)
{
    return attempt->door->alloc(&attempt->heap, 0, size_bytes);
}

bool
misuse_is_live(const void *address)
{
    hh_block_info info;
    return hh_owns(address, &info) == HH_OK && info.heap != NULL && info.live &&
           info.base == address;
}

bool
misuse_free(const struct misuse_door *door, struct misuse_heap *heap, void *block)
{
    struct misuse_claim none = {0, 0};
    int answer = door->verbs[0].act(&door->verbs[0], heap, block, &none);
    return answer == MISUSE_TAKEN || (answer == MISUSE_UNHEARD && !misuse_is_live(block));
}

struct census {
    size_t blocks, bytes;
    uintptr_t sum; // of the addresses: the same blocks, not only as many
    uint64_t bad_frees;
};

static int
census_visit(void *argument, void *block, size_t size_bytes)
{
    struct census *census = argument;
    census->blocks++;
    census->bytes += size_bytes;
    census->sum += (uintptr_t)block;
    return 0;
}

// False: the walk and the statistics do not agree.
static bool
census_take(const struct misuse_attempt *attempt, struct census *census)
{
    hh_heap_stats stats;
    *census = (struct census){0, 0, 0, 0};
    if (hh_heap_walk(attempt->heap.native, census_visit, census) != HH_OK ||
        hh_heap_get_stats(attempt->heap.native, &stats) != HH_OK)
        return false;
    census->bad_frees = stats.bad_frees;
    return stats.live_blocks == census->blocks && stats.live_bytes == census->bytes;
}

static bool
bytes_are(const uint8_t *bytes, int value, size_t size_bytes)
{
    // Equal to the first, and each to the one before it.
    return size_bytes == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

static bool
attempt_contents_kept(const struct misuse_attempt *attempt)
{
    for (int i = 0; i < MISUSE_NEIGHBOURS; i++) {
        if (!bytes_are(attempt->neighbours[i], 0x40 + i, MISUSE_NEIGHBOUR_BYTES))
            return false;
    }
    return attempt->block == NULL || bytes_are(attempt->block, 0x99, attempt->block_bytes);
}

// New blocks of the neighbours' class must lie neither on live ones nor on each other.
static bool
attempt_fresh_blocks_are_apart(struct misuse_attempt *attempt)
{
    uint32_t *fresh[FRESH_BLOCKS];
    for (uint32_t i = 0; i < FRESH_BLOCKS; i++) {
        fresh[i] = misuse_alloc(attempt, MISUSE_NEIGHBOUR_BYTES);
        memset(fresh[i], 0xF0, MISUSE_NEIGHBOUR_BYTES);
        *fresh[i] = i;
    }
    bool apart = attempt_contents_kept(attempt);
    for (uint32_t i = 0; i < FRESH_BLOCKS; i++) {
        apart = apart && *fresh[i] == i;
        apart = misuse_free(attempt->door, &attempt->heap, fresh[i]) && apart;
    }
    return apart;
}

/* ---- One attempt ---------------------------------------------------------------------------- */

static void
attempt_prepare(struct misuse_attempt *attempt)
{
    for (int i = 0; i < MISUSE_NEIGHBOURS; i++) {
        attempt->neighbours[i] = misuse_alloc(attempt, MISUSE_NEIGHBOUR_BYTES);
        memset(attempt->neighbours[i], 0x40 + i, MISUSE_NEIGHBOUR_BYTES);
    }
    attempt->shape->prepare(attempt);
    if (attempt->outcome == MISUSE_AS_IT_MUST_BE && attempt->address == NULL)
        attempt->outcome = MISUSE_NOT_PREPARED;
    if (attempt->block != NULL)
        memset(attempt->block, 0x99, attempt->block_bytes);
}

// What the caller names: for an address that is no block, what would be right if it were.
static struct misuse_claim
attempt_claim(const struct misuse_attempt *attempt)
{
    struct misuse_claim claim = attempt->shape->claim;
    if (claim.alignment_bytes == 0 && claim.size_bytes == 0)
        claim = (struct misuse_claim){attempt->shape->size_bytes, 16};
    return claim;
}

static int
attempt_call(struct misuse_attempt *attempt)
{
    struct misuse_claim claim = attempt_claim(attempt);
    for (int i = 0; i < attempt->repeats; i++) {
        int answer = attempt->verb->act(attempt->verb, &attempt->heap, attempt->address, &claim);
        attempt->answer = answer;
        if (answer == MISUSE_TAKEN)
            return MISUSE_FALSE_ACCEPT;
        if (answer == MISUSE_WRONG)
            return MISUSE_WRONG_ANSWER;
        if (answer < MISUSE_REFUSED && (attempt->shape->why & 1u << answer) == 0)
            return MISUSE_WRONG_REASON;
    }
    return MISUSE_AS_IT_MUST_BE;
}

// Nothing has changed, and the heap goes on as before.
static int
attempt_judge_heap(struct misuse_attempt *attempt)
{
    if (!attempt_contents_kept(attempt))
        return MISUSE_CONTENTS_CHANGED;
    if (attempt->block != NULL && !misuse_is_live(attempt->block))
        return MISUSE_BLOCK_NOT_LIVE;
    if (!attempt_fresh_blocks_are_apart(attempt))
        return MISUSE_HANDED_OUT_TWICE;
    if (attempt->block != NULL && !misuse_free(attempt->door, &attempt->heap, attempt->block))
        return MISUSE_FALSE_REJECT;
    for (int i = 0; i < MISUSE_NEIGHBOURS; i++) {
        if (!misuse_free(attempt->door, &attempt->heap, attempt->neighbours[i]))
            return MISUSE_FALSE_REJECT;
    }
    if (attempt->repeats > 1 && attempt->block != NULL &&
        misuse_free(attempt->door, &attempt->heap, attempt->block))
        return MISUSE_FALSE_ACCEPT;
    return MISUSE_AS_IT_MUST_BE;
}

static int
attempt_judge(struct misuse_attempt *attempt)
{
    struct census before, after;
    if (!census_take(attempt, &before))
        return MISUSE_NOT_PREPARED;
    int outcome = attempt_call(attempt);
    if (outcome != MISUSE_AS_IT_MUST_BE)
        return outcome;
    if (!census_take(attempt, &after) || before.blocks != after.blocks ||
        before.bytes != after.bytes || before.sum != after.sum)
        return MISUSE_CENSUS_CHANGED;
    // A question is no bad free, and realloc answers by what it finds before it frees.
    if ((attempt->verb->kind & (MISUSE_RESIZE | MISUSE_QUERY)) == 0 &&
        after.bad_frees - before.bad_frees != (uint64_t)attempt->repeats)
        return MISUSE_NOT_COUNTED;
    return attempt_judge_heap(attempt);
}

static void
attempt_misuse(struct misuse_attempt *attempt)
{
    if (attempt->outcome == MISUSE_AS_IT_MUST_BE)
        attempt->outcome = attempt_judge(attempt);
}

static void
attempt_misuse_in_child(struct misuse_attempt *attempt)
{
    if (attempt->outcome != MISUSE_AS_IT_MUST_BE)
        return;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        attempt_misuse(attempt);
        _exit(attempt->outcome);
    }
    int status;
    attempt->outcome = MISUSE_ENDED_BY_A_SIGNAL;
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status))
        attempt->outcome = WEXITSTATUS(status);
}

static void
attempt_in_its_place(struct misuse_attempt *attempt)
{
    struct misuse_hand helper, other;
    bool two = attempt->place == MISUSE_OTHER_THREAD || attempt->place == MISUSE_OWNER_ENDED;
    if (!hand_start(&helper, attempt) || (two && !hand_start(&other, attempt)))
        abort();
    attempt->helper = &helper;
    if (attempt->place == MISUSE_OWNER_ENDED) {
        hand_do(&other, attempt_prepare);
        hand_end(&other);
    } else {
        attempt_prepare(attempt);
    }
    hand_end(&helper);
    if (attempt->place == MISUSE_OTHER_THREAD) {
        hand_do(&other, attempt_misuse);
        hand_end(&other);
    } else if (attempt->place == MISUSE_FORK_CHILD) {
        attempt_misuse_in_child(attempt);
    } else {
        attempt_misuse(attempt);
    }
}

int
misuse_attempt_run(struct misuse_attempt *attempt)
{
    if (!attempt->door->open(&attempt->heap))
        return MISUSE_NOT_PREPARED;
    attempt_in_its_place(attempt);
    if (attempt->object != NULL)
        attempt->object->lpVtbl->Release(attempt->object);
    if (attempt->native_heap != NULL)
        hh_heap_destroy(attempt->native_heap);
    if (attempt->mapping != NULL)
        munmap(attempt->mapping, 1 << 20);
    attempt->door->close(&attempt->heap);
    return attempt->outcome;
}

static void
run_one(struct misuse_attempt *attempt, struct misuse_counts *counts)
{
    int outcome = misuse_attempt_run(attempt);
    if (outcome == MISUSE_NOT_HERE)
        return;
    counts->attempts++;
    if (outcome == MISUSE_AS_IT_MUST_BE) {
        counts->refusals += REPEATS;
        return;
    }
    counts->failures++;
    fprintf(stderr, "%s, %s of %s %s: %s (answer %d)\n", attempt->door->name, attempt->verb->name,
            attempt->shape->name, misuse_place_name(attempt->place), misuse_outcome_name(outcome),
            attempt->answer);
}

void
misuse_run_all(const struct misuse_door *door, int place, struct misuse_counts *counts)
{
    for (size_t shape = 0; shape < misuse_shape_count; shape++) {
        unsigned attempts = counts->attempts;
        for (size_t verb = 0; verb < door->verb_count; verb++) {
            struct misuse_attempt attempt = {
                .shape = &misuse_shapes[shape],
                .door = door,
                .verb = &door->verbs[verb],
                .place = place,
                .repeats = REPEATS,
            };
            if ((attempt.shape->kinds & attempt.verb->kind) != 0)
                run_one(&attempt, counts);
        }
        counts->shapes += counts->attempts != attempts;
    }
}
