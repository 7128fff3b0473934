// SPDX-License-Identifier: MIT
/*
 * misuse/door.h - the three ways into a heap, each with the calls that are given an address.
 *
 * A door's heap serves one attempt. Answers are brought to one form here, and only the documented
 * one is accepted: a status beside it, a result that is not NULL, an errno that is not EINVAL or a
 * report with the wrong name is MISUSE_WRONG.
 */
#ifndef HH_TESTS_MISUSE_DOOR_H
#define HH_TESTS_MISUSE_DOOR_H

#include <stdbool.h>
#include <stddef.h>

#include <hostheap/host_memory.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// An answer: one of these, or the hh_bad_block of a refusal.
enum {
    MISUSE_TAKEN = 0,    // the call did what it does to a live block
    MISUSE_REFUSED = 29, // refused; this door does not say why
    MISUSE_UNHEARD = 30, // the call gives nothing back, and nobody listens to its report
    MISUSE_WRONG = 31,   // none of these
};

// Kinds of calls, as bits.
enum {
    MISUSE_FREE = 1,
    MISUSE_SIZED = 2,         // a free that names the size
    MISUSE_ALIGNED = 4,       // a free that names the alignment
    MISUSE_ALIGNED_SIZED = 8, // a free that names both
    MISUSE_RESIZE = 16,
    MISUSE_QUERY = 32,
    MISUSE_ANY = 63,
};

// What the caller of a free names.
struct misuse_claim {
    size_t size_bytes;
    size_t alignment_bytes;
};

struct misuse_heap {
    IHostMalloc *object; // NULL behind the other doors
    hh_heap *native;     // behind every door
};

struct misuse_verb {
    const char *name;
    const char *report_name; // as reports have it; NULL: this door makes none
    unsigned kind;
    int (*act)(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
               const struct misuse_claim *claim);
};

struct misuse_door {
    const char *name;
    bool (*open)(struct misuse_heap *heap);
    void (*close)(struct misuse_heap *heap);
    void *(*alloc)(struct misuse_heap *heap, size_t alignment_bytes, size_t size_bytes);
    const struct misuse_verb *verbs; // the first is the plain free
    size_t verb_count;
};

extern const struct misuse_door misuse_host_door;   // IHostMalloc
extern const struct misuse_door misuse_native_door; // hh_heap_...
extern const struct misuse_door misuse_malloc_door; // the malloc family of the drop-in

// Install the handler of bad frees: from then on the malloc family's answers say why.
void misuse_malloc_listen(void);

// Free by the door's plain free. False: refused.
bool misuse_free(const struct misuse_door *door, struct misuse_heap *heap, void *block);

#endif
