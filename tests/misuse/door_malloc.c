// SPDX-License-Identifier: MIT
/* misuse/door_malloc.c - the malloc family and operator delete; see door.h. Contract FR-1. */
#include "door.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

// C23's, and operator delete by the names the linker knows.
void free_sized(void *block, size_t size_bytes);
void free_aligned_sized(void *block, size_t alignment_bytes, size_t size_bytes);
void cfree(void *block);
void _ZdlPv(void *block);
void _ZdaPv(void *block);
void _ZdlPvm(void *block, size_t size_bytes);
void _ZdaPvm(void *block, size_t size_bytes);
void _ZdlPvSt11align_val_t(void *block, size_t alignment_bytes);
void _ZdaPvSt11align_val_t(void *block, size_t alignment_bytes);
void _ZdlPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes);
void _ZdaPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment_bytes);

static bool
malloc_open(struct misuse_heap *heap)
{
    heap->native = hh_heap_default();
    return true;
}

static void
malloc_close(struct misuse_heap *heap)
{
    (void)heap;
}

static void *
malloc_alloc(struct misuse_heap *heap, size_t alignment_bytes, size_t size_bytes)
{
    (void)heap;
    return alignment_bytes == 0 ? malloc(size_bytes) : memalign(alignment_bytes, size_bytes);
}

// ---- What the handler heard of the call that is being made. One call at a time.

static bool listening;
static int calls, reason;
static bool report_right;
static const char *expected_name;
static const void *expected_address;

static void
malloc_hear(void *arg, const char *function, const void *address, hh_bad_block why,
            const hh_block_info *info)
{
    calls++;
    reason = (int)why;
    report_right = arg == &calls && info != NULL && address == expected_address &&
                   strcmp(function, expected_name) == 0;
}

void
misuse_malloc_listen(void)
{
    listening = true;
    hh_set_bad_free_handler(malloc_hear, &calls);
}

static void
malloc_expect(const struct misuse_verb *verb, const void *address)
{
    calls = 0;
    expected_name = verb->report_name;
    expected_address = address;
    errno = 0;
}

// A call that gives nothing back: what the handler heard.
static int
malloc_answer(void)
{
    if (!listening)
        return MISUSE_UNHEARD;
    if (calls == 0)
        return errno == 0 ? MISUSE_TAKEN : MISUSE_WRONG;
    return calls == 1 && report_right && errno == 0 ? reason : MISUSE_WRONG;
}

// A resizing call: besides, NULL and EINVAL.
static int
malloc_answer_null(const void *result)
{
    if (result != NULL)
        return calls == 0 ? MISUSE_TAKEN : MISUSE_WRONG;
    if (errno != EINVAL)
        return errno == 0 && calls == 0 ? MISUSE_TAKEN : MISUSE_WRONG;
    errno = 0;
    int answer = malloc_answer();
    return answer == MISUSE_TAKEN ? MISUSE_WRONG : answer;
}

// ---- The calls

// Defines act_<verb>, which makes the call with p = the address and c = the claim.
#define MALLOC_FREE_VERB(name, call)                                                               \
    static int act_##name(const struct misuse_verb *verb, struct misuse_heap *heap, void *p,       \
                          const struct misuse_claim *c)                                            \
    {                                                                                              \
        (void)heap;                                                                                \
        (void)c;                                                                                   \
        malloc_expect(verb, p);                                                                    \
        call;                                                                                      \
        return malloc_answer();                                                                    \
    }

MALLOC_FREE_VERB(free, free(p))
MALLOC_FREE_VERB(cfree, cfree(p))
MALLOC_FREE_VERB(delete, _ZdlPv(p))
MALLOC_FREE_VERB(delete_array, _ZdaPv(p))
MALLOC_FREE_VERB(free_sized, free_sized(p, c->size_bytes))
MALLOC_FREE_VERB(delete_sized, _ZdlPvm(p, c->size_bytes))
MALLOC_FREE_VERB(delete_array_sized, _ZdaPvm(p, c->size_bytes))
MALLOC_FREE_VERB(delete_aligned, _ZdlPvSt11align_val_t(p, c->alignment_bytes))
MALLOC_FREE_VERB(delete_array_aligned, _ZdaPvSt11align_val_t(p, c->alignment_bytes))
MALLOC_FREE_VERB(free_aligned_sized, free_aligned_sized(p, c->alignment_bytes, c->size_bytes))
MALLOC_FREE_VERB(delete_aligned_sized, _ZdlPvmSt11align_val_t(p, c->size_bytes, c->alignment_bytes))
MALLOC_FREE_VERB(delete_array_aligned_sized,
                 _ZdaPvmSt11align_val_t(p, c->size_bytes, c->alignment_bytes))

static int
act_realloc(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
            const struct misuse_claim *claim)
{
    (void)heap;
    malloc_expect(verb, address);
    return malloc_answer_null(realloc(address, claim->size_bytes + 100));
}

static int
act_realloc_to_nothing(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                       const struct misuse_claim *claim)
{
    (void)heap;
    (void)claim;
    malloc_expect(verb, address);
    return malloc_answer_null(realloc(address, 0));
}

static int
act_reallocarray(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                 const struct misuse_claim *claim)
{
    (void)heap;
    malloc_expect(verb, address);
    return malloc_answer_null(reallocarray(address, claim->size_bytes + 100, 3));
}

static int
act_usable_size(const struct misuse_verb *verb, struct misuse_heap *heap, void *address,
                const struct misuse_claim *claim)
{
    (void)heap;
    (void)claim;
    malloc_expect(verb, address);
    size_t size_bytes = malloc_usable_size(address);
    int answer = malloc_answer();
    return (size_bytes == 0) == (answer != MISUSE_TAKEN) ? answer : MISUSE_WRONG;
}

static const struct misuse_verb malloc_verbs[] = {
    {"free", "free", MISUSE_FREE, act_free},
    {"cfree", "free", MISUSE_FREE, act_cfree},
    {"operator delete", "free", MISUSE_FREE, act_delete},
    {"operator delete[]", "free", MISUSE_FREE, act_delete_array},
    {"free_sized", "free_sized", MISUSE_SIZED, act_free_sized},
    {"operator delete with size", "operator delete", MISUSE_SIZED, act_delete_sized},
    {"operator delete[] with size", "operator delete[]", MISUSE_SIZED, act_delete_array_sized},
    {"operator delete with alignment", "operator delete", MISUSE_ALIGNED, act_delete_aligned},
    {"operator delete[] with alignment", "operator delete[]", MISUSE_ALIGNED,
     act_delete_array_aligned},
    {"free_aligned_sized", "free_aligned_sized", MISUSE_ALIGNED_SIZED, act_free_aligned_sized},
    {"operator delete with both", "operator delete", MISUSE_ALIGNED_SIZED,
     act_delete_aligned_sized},
    {"operator delete[] with both", "operator delete[]", MISUSE_ALIGNED_SIZED,
     act_delete_array_aligned_sized},
    {"realloc", "realloc", MISUSE_RESIZE, act_realloc},
    {"realloc to 0 bytes", "realloc", MISUSE_RESIZE, act_realloc_to_nothing},
    {"reallocarray", "reallocarray", MISUSE_RESIZE, act_reallocarray},
    {"malloc_usable_size", "malloc_usable_size", MISUSE_QUERY, act_usable_size},
};

const struct misuse_door misuse_malloc_door = {
    "malloc", malloc_open, malloc_close, malloc_alloc, malloc_verbs, COUNT_OF(malloc_verbs),
};
