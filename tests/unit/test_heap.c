// SPDX-License-Identifier: MIT
// tests/unit/test_heap.c - blocks of one heap on one thread: allocated, resized, freed, counted.
#include "heap/heap.h"

#include <errno.h>
#include <string.h>

#include "heap/thread_cache.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

static struct hh_heap *heap;

static int
heap_make(void **state)
{
    (void)state;
    heap = core_heap();
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_heap_destroy(heap);
    hhi_run_check();
    return 0;
}

static void
give(void *block)
{
    assert_int_equal(hhi_heap_free(heap, block), 0);
}

static size_t
usable(void *block)
{
    size_t size_bytes;
    assert_int_equal(hhi_heap_usable_size(heap, block, &size_bytes), 0);
    return size_bytes;
}

static void
caches_check(void)
{
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    if (cache != NULL)
        hhi_cache_check(cache);
    hhi_run_check();
}

static void
blocks_of_all_sizes_are_apart_aligned_and_big_enough(void **state)
{
    (void)state;
    enum { BLOCKS = 1500 };
    static char *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = i < 1100 ? (size_t)i : (size_t)(i - 1099) * 1499;
        blocks[i] = core_alloc(heap, sizes[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(usable(blocks[i]) >= sizes[i]);
        core_fill(blocks[i], usable(blocks[i]), (uint64_t)i + 1);
    }
    assert_int_equal(core_census(heap), BLOCKS);
    caches_check();
    for (int i = 0; i < BLOCKS; i++) {
        assert_true(core_holds(blocks[i], usable(blocks[i]), (uint64_t)i + 1));
        give(blocks[i]);
    }
    assert_int_equal(core_census(heap), 0);
    caches_check();
}

static void
blocks_of_size_zero_are_distinct(void **state)
{
    (void)state;
    void *first = core_alloc(heap, 0), *second = core_alloc(heap, 0);
    assert_ptr_not_equal(first, second);
    assert_true(usable(first) >= 1);
    give(first);
    give(second);
}

static void
sizes_that_can_not_be_are_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX,    SIZE_MAX - 65536,    (size_t)PTRDIFF_MAX + 1,
                                   PTRDIFF_MAX, PTRDIFF_MAX - 65536, (size_t)1 << 50};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_null(hhi_heap_alloc(heap, sizes[i], HHI_LEVEL_PROCESS));
        assert_null(hhi_heap_alloc_zeroed(heap, sizes[i], HHI_LEVEL_TASK));
        assert_null(hhi_heap_alloc_aligned(heap, 64, sizes[i], HHI_LEVEL_TASK));
        assert_null(hhi_heap_alloc_aligned(heap, 1 << 20, sizes[i], HHI_LEVEL_TASK));
        char *block = core_alloc(heap, 100);
        void *moved = block;
        core_fill(block, 100, 1);
        assert_int_equal(hhi_heap_realloc(heap, block, sizes[i], HHI_LEVEL_TASK, &moved), 0);
        assert_null(moved);
        assert_true(core_holds(block, 100, 1));
        give(block);
    }
}

// Dirty memory of every kind, then zeroed blocks from it.
static void
zeroed_round(size_t size_bytes, int blocks, bool trim)
{
    char *held[64];
    for (int i = 0; i < blocks; i++) {
        held[i] = core_alloc(heap, size_bytes);
        memset(held[i], 0xEE, usable(held[i]));
    }
    for (int i = 0; i < blocks; i++)
        give(held[i]);
    if (trim)
        hhi_trim();
    for (int i = 0; i < blocks; i++) {
        held[i] = hhi_heap_alloc_zeroed(heap, size_bytes, HHI_LEVEL_TASK);
        assert_non_null(held[i]);
        assert_true(core_is_zero(held[i], size_bytes));
        memset(held[i], 0xDD, usable(held[i]));
        if (i % 2 == 1)
            give(held[i]);
    }
    for (int i = 0; i < blocks; i += 2)
        give(held[i]);
}

static void
zeroed_blocks_are_zero_whatever_was_there_before(void **state)
{
    (void)state;
    for (size_t size_bytes = 1; size_bytes <= 1 << 20; size_bytes = size_bytes * 5 / 4 + 7)
        for (int round = 0; round < 6; round++)
            zeroed_round(size_bytes, round < 3 ? 5 : 40, round % 3 == 2);
    caches_check();
}

static void
zeroed_blocks_of_a_slab_partly_used_are_zero(void **state)
{
    (void)state;
    // Blocks never handed out and blocks used before, in turn, from the same slabs.
    uint64_t seed = 9;
    char *held[300] = {0};
    for (int step = 0; step < 30000; step++) {
        int at = (int)(core_random(&seed) % 300);
        if (held[at] != NULL) {
            give(held[at]);
            held[at] = NULL;
            continue;
        }
        size_t size_bytes = at < 200 ? 48 : at < 290 ? 4000 : 70000;
        held[at] = hhi_heap_alloc_zeroed(heap, size_bytes, HHI_LEVEL_TASK);
        assert_non_null(held[at]);
        assert_true(core_is_zero(held[at], size_bytes));
        memset(held[at], 0xAB, usable(held[at]));
        if (step % 3000 == 0)
            hhi_trim();
    }
    for (int at = 0; at < 300; at++)
        if (held[at] != NULL)
            give(held[at]);
}

static void
aligned_blocks_are_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 40000, 300000, 2000000};
    for (size_t alignment = 1; alignment <= (size_t)1 << 30; alignment *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char *block = hhi_heap_alloc_aligned(heap, alignment, sizes[i], HHI_LEVEL_TASK);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % alignment, 0);
            assert_int_equal((uintptr_t)block % 16, 0);
            assert_true(usable(block) >= sizes[i]);
            core_fill(block, usable(block), alignment);
            give(block);
        }
    }
    assert_null(hhi_heap_alloc_aligned(heap, (size_t)1 << 31, 1, HHI_LEVEL_TASK));
    assert_int_equal(core_census(heap), 0);
    caches_check();
}

static void
resizing_keeps_contents(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,     1,      16,     17,     200,     1024,    1025,   9000,
                                   65536, 262144, 262145, 400000, 1 << 20, 3 << 20, 9 << 20};
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        for (size_t to = 0; to < COUNT_OF(sizes); to++) {
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            char *block = core_alloc(heap, sizes[from]);
            void *moved;
            core_fill(block, kept, from * 100 + to);
            assert_int_equal(hhi_heap_realloc(heap, block, sizes[to], HHI_LEVEL_TASK, &moved), 0);
            assert_non_null(moved);
            assert_true(usable(moved) >= sizes[to]);
            assert_true(core_holds(moved, kept, from * 100 + to));
            memset(moved, 1, sizes[to]);
            assert_int_equal(core_census(heap), 1);
            give(moved);
        }
    }
    assert_int_equal(core_census(heap), 0);
    caches_check();
}

static void
a_large_block_grows_where_it_lies(void **state)
{
    (void)state;
    char *block = core_alloc(heap, 1 << 20);
    core_fill(block, 1 << 20, 5);
    for (size_t size_bytes = 2 << 20; size_bytes <= (size_t)16 << 20; size_bytes += 1 << 20) {
        void *moved;
        assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &moved), 0);
        assert_ptr_equal(moved, block);
        block[size_bytes - 1] = 1;
    }
    assert_true(core_holds(block, 1 << 20, 5));
    give(block);
}

static void
a_block_that_grows_beyond_32_kib_seldom_moves(void **state)
{
    (void)state;
    char *block = core_alloc(heap, 32768);
    core_fill(block, 32768, 9);
    int moves = 0;
    for (size_t size_bytes = 32768 + 16384; size_bytes <= (size_t)3 << 20; size_bytes += 16384) {
        void *moved;
        assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &moved), 0);
        moves += moved != block;
        block = moved;
        block[size_bytes - 1] = 1;
    }
    assert_true(moves <= 3);
    assert_true(core_holds(block, 32768, 9));
    give(block);
}

// However much room it was given.
static void
a_block_that_grew_is_freed_with_the_size_it_grew_to(void **state)
{
    (void)state;
    for (size_t old_bytes = 16; old_bytes < 400000; old_bytes = old_bytes * 9 / 8 + 3) {
        void *block = core_alloc(heap, old_bytes);
        for (size_t more = 0; more < 3; more++) {
            size_t size_bytes = usable(block) + 1 + usable(block) * more / 7;
            void *moved;
            assert_int_equal(hhi_heap_realloc(heap, block, size_bytes, HHI_LEVEL_TASK, &moved), 0);
            assert_int_equal(hhi_heap_free_sized(heap, moved, size_bytes), 0);
            block = core_alloc(heap, old_bytes);
        }
        give(block);
    }
}

// From a class that has slabs of its own to one whose first blocks come from those of a larger one.
static void
a_block_may_grow_to_a_new_class_and_be_freed_with_its_size(void **state)
{
    (void)state;
    for (size_t old_bytes = 16; old_bytes <= 2048; old_bytes += 16) {
        struct hh_heap *fresh;
        assert_int_equal(hhi_heap_create(0, 0, 0, "fresh", &fresh), HH_OK);
        void *block = NULL, *moved;
        size_t had_bytes;
        for (int i = 0; i < 33; i++)
            block = hhi_heap_alloc(fresh, old_bytes, HHI_LEVEL_TASK);
        assert_int_equal(hhi_heap_usable_size(fresh, block, &had_bytes), 0);
        assert_int_equal(hhi_heap_realloc(fresh, block, had_bytes + 1, HHI_LEVEL_TASK, &moved), 0);
        assert_int_equal(hhi_heap_free_sized(fresh, moved, had_bytes + 1), 0);
        hhi_heap_destroy(fresh);
    }
}

static intptr_t (*kernel_remap)(void *, size_t, size_t, int, void *);
static unsigned remaps;
static bool remap_refused;

static intptr_t
remap_counted(void *address, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    remaps++;
    return remap_refused ? -ENOMEM : kernel_remap(address, old_bytes, new_bytes, flags, target);
}

// A block that has to move is moved by the kernel, or copied where the kernel can not.
static void
a_large_block_in_the_way_is_moved_without_copying(void **state)
{
    (void)state;
    kernel_remap = hhi_os.remap;
    hhi_os.remap = remap_counted;
    for (int refused = 0; refused < 2; refused++) {
        remap_refused = refused;
        char *block = core_alloc(heap, (4 << 20) + 100), *neighbour = core_alloc(heap, 1 << 20);
        core_fill(block, (4 << 20) + 100, 6);
        core_fill(neighbour, 1 << 20, 7);
        void *moved;
        remaps = 0;
        assert_int_equal(hhi_heap_realloc(heap, block, 9 << 20, HHI_LEVEL_TASK, &moved), 0);
        assert_ptr_not_equal(moved, block);
        assert_int_equal(remaps, 1);
        assert_true(core_holds(moved, (4 << 20) + 100, 6));
        memset((char *)moved + (4 << 20), 3, 5 << 20);
        assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
        assert_true(core_holds(neighbour, 1 << 20, 7));
        // What was left behind can be used again.
        char *again = core_alloc(heap, 4 << 20);
        memset(again, 2, 4 << 20);
        give(again);
        give(moved);
        give(neighbour);
    }
    hhi_os.remap = kernel_remap;
}

static void
a_resize_that_is_refused_leaves_the_block(void **state)
{
    (void)state;
    assert_int_equal(hhi_heap_set_limits(heap, 0, 8 << 20), HH_OK);
    char *block = core_alloc(heap, 3 << 20);
    core_fill(block, 3 << 20, 8);
    void *moved;
    assert_int_equal(hhi_heap_realloc(heap, block, 20 << 20, HHI_LEVEL_TASK, &moved), 0);
    assert_null(moved);
    assert_true(core_holds(block, 3 << 20, 8));
    give(block);
}

static void
a_free_with_a_size_checks_it(void **state)
{
    (void)state;
    for (size_t size_bytes = 0; size_bytes <= 400000; size_bytes = size_bytes * 9 / 8 + 1) {
        void *block = core_alloc(heap, size_bytes);
        assert_int_equal(hhi_heap_free_sized(heap, block, usable(block) + 1), HH_BAD_SIZE_MISMATCH);
        if (usable(block) > 64 && usable(block) <= 65535)
            assert_int_equal(hhi_heap_free_sized(heap, block, usable(block) / 4),
                             HH_BAD_SIZE_MISMATCH);
        assert_int_equal(core_census(heap), 1);
        assert_int_equal(hhi_heap_free_sized(heap, block, size_bytes), 0);
        assert_int_not_equal(hhi_heap_free_sized(heap, block, size_bytes), 0);
        block = hhi_heap_alloc_aligned(heap, 256, size_bytes, HHI_LEVEL_TASK);
        assert_int_equal(hhi_heap_free_sized(heap, block, usable(block)), 0);
    }
}

// What has no memory to move to stays as large as it was.
static void
a_block_that_could_not_shrink_is_freed_with_the_size_it_shrank_to(void **state)
{
    (void)state;
    static const size_t sizes[] = {1000, 8000, 30000, 200000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = core_alloc(heap, sizes[i]), *moved;
        assert_int_equal(hhi_heap_free_sized(heap, block, 20), HH_BAD_SIZE_MISMATCH);
        assert_int_equal(hhi_heap_set_limits(heap, 0, 1), 0);
        assert_int_equal(hhi_heap_realloc(heap, block, 20, HHI_LEVEL_TASK, &moved), 0);
        assert_int_equal(hhi_heap_set_limits(heap, 0, 0), 0);
        assert_ptr_equal(moved, block);
        assert_int_equal(hhi_heap_free_sized(heap, block, usable(block) + 1), HH_BAD_SIZE_MISMATCH);
        assert_int_equal(hhi_heap_free_sized(heap, block, 20), 0);
        assert_int_equal(core_census(heap), 0);
    }
}

static void
a_free_with_an_alignment_checks_it(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= 1 << 20; alignment *= 4) {
        char *block = hhi_heap_alloc_aligned(heap, alignment, 100, HHI_LEVEL_TASK);
        size_t lie = alignment;
        while ((uintptr_t)block % lie == 0)
            lie *= 2;
        assert_int_equal(hhi_heap_free_aligned_sized(heap, block, lie, 100),
                         HH_BAD_ALIGNMENT_MISMATCH);
        assert_int_equal(hhi_heap_free_aligned_sized(heap, block, alignment, 100), 0);
    }
}

static void
an_address_is_judged_by_what_lies_there(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 48, 1000, 1500, 20000, 200000, 600000};
    hh_block_info info;
    struct hh_heap *other = core_heap();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *block = core_alloc(heap, sizes[i]);
        size_t size_bytes = usable(block);
        for (size_t offset = 0; offset < size_bytes; offset += size_bytes / 16) {
            hhi_heap_owns(block + offset, &info);
            assert_ptr_equal(info.heap, heap);
            assert_ptr_equal(info.base, block);
            assert_int_equal(info.size_bytes, size_bytes);
            assert_int_equal(info.live, 1);
            assert_int_equal(hhi_heap_judge(heap, block + offset, &info),
                             offset == 0 ? 0 : HH_BAD_INTERIOR);
        }
        assert_int_equal(hhi_heap_judge(other, block, &info), HH_BAD_OTHER_HEAP);
        assert_int_equal(hhi_heap_free(other, block), HH_BAD_OTHER_HEAP);
        void *neighbour = core_alloc(heap, sizes[i]);
        give(block);
        assert_int_equal(hhi_heap_judge(heap, block, &info), HH_BAD_NOT_LIVE);
        assert_int_equal(info.live, 0);
        give(neighbour);
    }
    static const uintptr_t wild[] = {1, 8, 4096, 0x7fffffffffff, UINTPTR_MAX, (uintptr_t)1 << 63};
    for (size_t i = 0; i < COUNT_OF(wild); i++) {
        assert_int_equal(hhi_heap_judge(heap, (void *)wild[i], &info), HH_BAD_FOREIGN);
        assert_null(info.heap);
    }
    hhi_heap_destroy(other);
}

static void
refused_frees_are_counted(void **state)
{
    (void)state;
    hh_heap_stats stats;
    char *block = core_alloc(heap, 100), *large = core_alloc(heap, 1 << 20);
    assert_int_equal(hhi_heap_free(heap, block + 16), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(heap, large + 65536), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(heap, &stats), HH_BAD_FOREIGN);
    give(block);
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
    give(large);
    assert_int_equal(hhi_heap_free(heap, large), HH_BAD_NOT_LIVE);
    hhi_trim();
    assert_int_equal(hhi_heap_free(heap, large), HH_BAD_FOREIGN);
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.bad_frees, 6);
    assert_int_equal(stats.live_blocks, 0);
}

static void
the_first_blocks_of_classes_close_to_each_other_lie_in_one_slab(void **state)
{
    (void)state;
    void *blocks[16];
    hh_heap_stats stats;
    // Sixteen classes between 512 and 1024 bytes.
    for (size_t i = 0; i < 16; i++)
        blocks[i] = core_alloc(heap, 528 + 16 * i);
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.slab_count, 1);
    for (size_t i = 0; i < 16; i++) {
        assert_in_range(usable(blocks[i]), 528 + 16 * i, 1024);
        give(blocks[i]);
    }
    caches_check();
}

static void
a_class_that_is_asked_for_often_has_slabs_of_its_own(void **state)
{
    (void)state;
    void *blocks[8];
    size_t first = 0, last = 0;
    // None is freed: then it stays in the other's (test_guests.c).
    for (size_t i = 0; i < hhi_class_coarse_blocks(hhi_class_of(528)) + 1; i++) {
        blocks[i] = core_alloc(heap, 528);
        last = usable(blocks[i]);
        first = i == 0 ? last : first;
    }
    assert_int_equal(first, 1024);
    assert_int_equal(last, 528);
    for (size_t i = 0; i < hhi_class_coarse_blocks(hhi_class_of(528)) + 1; i++)
        give(blocks[i]);
    caches_check();
}

static void
the_first_zeroed_blocks_of_a_class_read_as_zero(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        // A block of the class that serves it, dirty; the next is never used.
        char *block = core_alloc(heap, 1024);
        core_fill(block, 1024, 7);
        give(block);
        char *zeroed = hhi_heap_alloc_zeroed(heap, 528, HHI_LEVEL_TASK), *next;
        next = hhi_heap_alloc_zeroed(heap, 530, HHI_LEVEL_TASK);
        for (int k = 0; k < 528; k++)
            assert_int_equal(zeroed[k] | next[k], 0);
        memset(zeroed, 1, 528);
        memset(next, 1, 528);
        give(zeroed);
        give(next);
    }
}

static bool
is_large(const void *block)
{
    unsigned kind;
    return hhi_slab_find(block, &kind) != NULL && kind == HHI_KIND_LARGE;
}

static void
the_first_block_of_a_class_above_32_kib_is_a_run(void **state)
{
    (void)state;
    enum { SIZE = 32 * 1024 + 1 }; // half of its run at least, for a free with the size
    char *dirty = core_alloc(heap, 700000), *first, *second;
    core_fill(dirty, 700000, 3);
    give(dirty);
    first = hhi_heap_alloc_zeroed(heap, SIZE, HHI_LEVEL_TASK);
    second = core_alloc(heap, SIZE);
    assert_true(is_large(first));
    assert_false(is_large(second));
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(first[i], 0);
    assert_int_equal(hhi_heap_free_sized(heap, first, SIZE), 0);
    assert_int_equal(hhi_heap_free_sized(heap, second, SIZE), 0);
    caches_check();
}

static void
figures_follow_what_is_done(void **state)
{
    (void)state;
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.slab_count + stats.live_blocks + stats.committed_bytes, 0);
    void *small[100], *large = core_alloc(heap, 700000);
    size_t small_bytes = 0;
    for (int i = 0; i < 100; i++) {
        small[i] = core_alloc(heap, 1000);
        small_bytes += usable(small[i]);
    }
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.live_blocks, 101);
    assert_int_equal(stats.large_blocks, 1);
    assert_int_equal(stats.large_bytes, usable(large));
    assert_int_equal(stats.live_bytes, small_bytes + usable(large));
    assert_true(stats.committed_bytes >= stats.live_bytes);
    assert_int_equal(stats.slabs_carved - stats.slabs_retired, stats.slab_count);
    give(large);
    for (int i = 0; i < 100; i++)
        give(small[i]);
    hhi_trim();
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.live_blocks + stats.slab_count + stats.committed_bytes, 0);
    assert_int_equal(stats.slabs_carved, stats.slabs_retired);
}

static int
stop_after_three(void *arg, void *block, size_t size_bytes)
{
    (void)block, (void)size_bytes;
    return ++*(int *)arg == 3;
}

static void
a_walk_ends_when_it_is_told_to(void **state)
{
    (void)state;
    int visits = 0;
    for (int i = 0; i < 10; i++)
        core_alloc(heap, (size_t)i * 3000);
    assert_int_equal(hhi_heap_walk(heap, stop_after_three, &visits), HH_OK);
    assert_int_equal(visits, 3);
}

static void
a_hard_limit_holds_and_frees_make_room(void **state)
{
    (void)state;
    hh_heap_stats stats;
    assert_int_equal(hhi_heap_set_limits(heap, 0, 4 << 20), HH_OK);
    void *held[100];
    int count = 0;
    while (count < 100 && (held[count] = hhi_heap_alloc(heap, 200000, HHI_LEVEL_DOMAIN)) != NULL)
        count++;
    assert_in_range(count, 8, 20);
    hhi_heap_get_stats(heap, &stats);
    assert_true(stats.committed_bytes <= 4 << 20);
    while (count > 0)
        give(held[--count]);
    hhi_trim();
    void *block = core_alloc(heap, 2 << 20);
    give(block);
    assert_int_equal(hhi_heap_set_limits(heap, 2, 1), HH_E_INVALID_ARGUMENT);
}

static void
above_a_soft_limit_only_critical_requests_are_served(void **state)
{
    (void)state;
    assert_int_equal(hhi_heap_set_limits(heap, 1 << 20, 8 << 20), HH_OK);
    assert_null(hhi_heap_alloc(heap, 2 << 20, HHI_LEVEL_TASK));
    void *block = hhi_heap_alloc(heap, 2 << 20, HHI_LEVEL_DOMAIN);
    assert_non_null(block);
    assert_null(hhi_heap_alloc(heap, 300000, HHI_LEVEL_TASK));
    give(block);
    give(core_alloc(heap, 300000));
}

static void
debug_records_say_where_a_block_was_allocated(void **state)
{
    (void)state;
    struct hh_heap *host;
    assert_int_equal(hhi_heap_create(HHI_HEAP_HOST, 0, 0, "host", &host), HH_OK);
    void *blocks[200];
    const char *file;
    int line;
    size_t size_bytes;
    for (int i = 0; i < 200; i++) {
        char name[20] = "file_0.c";
        name[5] = (char)('0' + i % 10);
        size_t wanted = i % 50 == 49 ? 400000 : (size_t)i * 20;
        blocks[i] = hhi_heap_alloc_debug(host, wanted, HHI_LEVEL_TASK, name, i);
        assert_non_null(blocks[i]);
        memset(name, 'x', sizeof name - 1);
    }
    for (int i = 0; i < 200; i++) {
        char name[20] = "file_0.c";
        name[5] = (char)('0' + i % 10);
        assert_true(hhi_heap_debug_lookup(blocks[i], &file, &line, &size_bytes));
        assert_string_equal(file, name);
        assert_int_equal(line, i);
        assert_int_equal(size_bytes, i % 50 == 49 ? 400000 : i * 20);
        assert_int_equal(hhi_heap_free(host, blocks[i]), 0);
        assert_int_not_equal(hhi_heap_free(host, blocks[i]), 0);
        assert_false(hhi_heap_debug_lookup(blocks[i], &file, &line, &size_bytes));
    }
    assert_int_equal(core_census(host), 0);
    hhi_heap_destroy(host);
}

// The kernel refuses, at every call in turn: requests are refused, nothing is lost, then it works.
static struct hhi_os kernel;
static int refuse_in;

// From the call number refuse_in on everything is refused; negative: nothing.
static bool
refused_now(void)
{
    if (refuse_in > 0)
        refuse_in--;
    else if (refuse_in == 0)
        return true;
    return false;
}

static intptr_t
map_refusing(void *address, size_t size_bytes, int protection, int flags)
{
    return refused_now() ? -ENOMEM : kernel.map(address, size_bytes, protection, flags);
}

static int
protect_refusing(void *address, size_t size_bytes, int protection)
{
    return refused_now() ? -ENOMEM : kernel.protect(address, size_bytes, protection);
}

static void
every_refusal_of_the_kernel_is_survived(void **state)
{
    (void)state;
    enum { BLOCKS = 60 };
    unsigned trials_refused = 0;
    kernel = hhi_os;
    hhi_os.map = map_refusing;
    hhi_os.protect = protect_refusing;
    for (int let_through = 0; let_through < 30; let_through++) {
        struct hh_heap *trial = core_heap();
        void *blocks[BLOCKS];
        bool refused = false;
        refuse_in = let_through;
        for (int i = 0; i < BLOCKS; i++) {
            size_t size_bytes = i % 3 == 0 ? (size_t)8 << 20 : (size_t)i * 1000;
            blocks[i] = hhi_heap_alloc(trial, size_bytes, HHI_LEVEL_TASK);
            if (blocks[i] != NULL)
                core_fill(blocks[i], i * 1000 < 4096 ? 16 : 4096, (uint64_t)i);
            refused = refused || blocks[i] == NULL;
        }
        refuse_in = -1;
        hhi_run_check();
        size_t live = 0;
        for (int i = 0; i < BLOCKS; i++)
            live += blocks[i] != NULL;
        assert_int_equal(core_census(trial), live);
        for (int i = 0; i < BLOCKS; i++) {
            if (blocks[i] == NULL)
                continue;
            assert_true(core_holds(blocks[i], i * 1000 < 4096 ? 16 : 4096, (uint64_t)i));
            assert_int_equal(hhi_heap_free(trial, blocks[i]), 0);
        }
        void *block = core_alloc(trial, 8 << 20);
        assert_int_equal(hhi_heap_free(trial, block), 0);
        hhi_heap_destroy(trial);
        hhi_trim();
        if (!refused)
            break;
        trials_refused++;
    }
    hhi_os = kernel;
    assert_true(trials_refused >= 2);
}

#define HEAP_TEST(f) cmocka_unit_test_setup_teardown(f, heap_make, heap_end)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HEAP_TEST(blocks_of_all_sizes_are_apart_aligned_and_big_enough),
        HEAP_TEST(blocks_of_size_zero_are_distinct),
        HEAP_TEST(sizes_that_can_not_be_are_refused),
        HEAP_TEST(zeroed_blocks_are_zero_whatever_was_there_before),
        HEAP_TEST(zeroed_blocks_of_a_slab_partly_used_are_zero),
        HEAP_TEST(aligned_blocks_are_aligned),
        HEAP_TEST(resizing_keeps_contents),
        HEAP_TEST(a_large_block_grows_where_it_lies),
        HEAP_TEST(a_block_that_grows_beyond_32_kib_seldom_moves),
        HEAP_TEST(a_block_that_grew_is_freed_with_the_size_it_grew_to),
        HEAP_TEST(a_large_block_in_the_way_is_moved_without_copying),
        HEAP_TEST(a_resize_that_is_refused_leaves_the_block),
        HEAP_TEST(a_free_with_a_size_checks_it),
        HEAP_TEST(a_block_that_could_not_shrink_is_freed_with_the_size_it_shrank_to),
        HEAP_TEST(a_free_with_an_alignment_checks_it),
        HEAP_TEST(an_address_is_judged_by_what_lies_there),
        HEAP_TEST(refused_frees_are_counted),
        HEAP_TEST(the_first_blocks_of_classes_close_to_each_other_lie_in_one_slab),
        HEAP_TEST(a_class_that_is_asked_for_often_has_slabs_of_its_own),
        HEAP_TEST(the_first_zeroed_blocks_of_a_class_read_as_zero),
        HEAP_TEST(the_first_block_of_a_class_above_32_kib_is_a_run),
        HEAP_TEST(figures_follow_what_is_done),
        HEAP_TEST(a_walk_ends_when_it_is_told_to),
        HEAP_TEST(a_hard_limit_holds_and_frees_make_room),
        HEAP_TEST(above_a_soft_limit_only_critical_requests_are_served),
        HEAP_TEST(a_block_may_grow_to_a_new_class_and_be_freed_with_its_size),
        HEAP_TEST(debug_records_say_where_a_block_was_allocated),
        HEAP_TEST(every_refusal_of_the_kernel_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
