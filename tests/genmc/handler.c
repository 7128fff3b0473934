// SPDX-License-Identifier: MIT
/*
 * handler.c - a handler for bad frees is called with the argument it was set with (BB-1), and who sets
 * one finds the records that others have made (BB-2; heap/bad_block.h).
 *
 * Faults: RELAXED_SET.
 */
#include "proof.h"

#if defined(RELAXED_SET)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#define hhi_heap_owns proof_heap_owns
#define hhi_meta_alloc proof_meta_alloc
#define hhi_opt proof_opt
#include "heap/bad_block.c"

struct hhi_options proof_opt;

static struct bad_block_choice made[4];
static _Atomic unsigned made_count;
static int first, second;

void
proof_heap_owns(const void *address, hh_block_info *info)
{
    (void)address;
    info->heap = NULL;
    info->base = NULL;
    info->size_bytes = 0;
    info->live = false;
}

void *
proof_meta_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return &made[hh_fetch_add_relaxed(&made_count, 1)];
}

static void
handle_first(void *arg, const char *function, const void *address, hh_bad_block why,
             const hh_block_info *info)
{
    (void)function, (void)address, (void)why, (void)info;
    assert(arg == &first);
}

static void
handle_second(void *arg, const char *function, const void *address, hh_bad_block why,
              const hh_block_info *info)
{
    (void)function, (void)address, (void)why, (void)info;
    assert(arg == &second);
}

static void *
set_first(void *arg)
{
    hh_set_bad_free_handler(handle_first, &first);
    return arg;
}

static void *
set_both(void *arg)
{
    hh_set_bad_free_handler(handle_second, &second);
    hh_set_bad_free_handler(handle_first, &first);
    return arg;
}

static void *
raiser(void *arg)
{
    // relaxed: without a handler it would go on to the option.
    if (hh_load_relaxed(&bad_block_current) != NULL)
        hhi_bad_block_raise("free", NULL, HH_BAD_FOREIGN, 0);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        hh_store_relaxed(&bad_block_current, NULL);
        hh_store_relaxed(&bad_block_choices, NULL);
        hh_store_relaxed(&made_count, 0);
        PROOF_RUN(set_first, set_both, raiser);
    }
    return 0;
}
