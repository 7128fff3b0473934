// SPDX-License-Identifier: MIT
/*
 * chunks.c - whoever walks the arena's chunks finds their headers filled (MA-1; meta/meta_arena.h).
 *
 * Fault: RELAXED_LINK.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_LINK)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#include "meta/meta_arena.c"

static struct hhi_meta_chunk chunks[2];

// Two chunks, linked as hhi_meta_alloc does it, under the lock.
static void *
grower(void *arg)
{
    hhi_lock_enter(&meta.lock);
    chunk_link((uintptr_t)&chunks[0], 1);
    chunk_link((uintptr_t)&chunks[1], 2);
    hhi_lock_leave(&meta.lock);
    return arg;
}

static void *
walker(void *arg)
{
    size_t expected_bytes = 1;
    const struct hhi_meta_chunk *chunk = hhi_meta_next_chunk(NULL);
    for (; chunk != NULL; chunk = hhi_meta_next_chunk(chunk))
        assert(chunk->size_bytes == expected_bytes++);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        meta.newest = NULL;
        hh_store_relaxed(&meta.oldest, NULL);
        for (int i = 0; i < 2; i++)
            hh_store_relaxed(&chunks[i].newer, NULL);
        PROOF_RUN(grower, walker, walker);
    }
    return 0;
}
