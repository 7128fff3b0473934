// SPDX-License-Identifier: MIT
// tests/unit/test_slab.c - slabs carved, extended, collected, rebuilt, purged, retired; limbo.
#include "slab/slab.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "options/options.h"
#include "os/os.h"
#include "region/run.h"
#include "slab/guard.h"
#include "support/core.h"

// The slab layer only stores a heap's address.
static struct hh_heap *const some_heap = (struct hh_heap *)(uintptr_t)0x1000;

static struct hhi_slab *
slab_make(unsigned class_index)
{
    uint32_t clean_granules;
    struct hhi_slab *slab = hhi_slab_carve(
        some_heap, class_index, 0, &(struct hhi_tries){.ask = HHI_ASK_MORE}, &clean_granules);
    assert_non_null(slab);
    return slab;
}

static hhi_link *
slab_links(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return hh_load_relaxed(&slab->links);
}

static uint32_t
slab_blocks(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return hh_load_relaxed(&slab->block_count);
}

static unsigned
slab_kind(struct hhi_slab *slab)
{
    // relaxed: the test is the only thread.
    return hh_load_relaxed(&slab->kind);
}

static void
link_set(struct hhi_slab *slab, uint32_t index, uint32_t value)
{
    // relaxed: the test is the only thread.
    hh_store_relaxed(&slab_links(slab)[index], (uint16_t)value);
}

static uint32_t
link_get(struct hhi_slab *slab, uint32_t index)
{
    // relaxed: the test is the only thread.
    return hh_load_relaxed(&slab_links(slab)[index]);
}

// Take the block at *head, as a bin does.
static uint32_t
take(struct hhi_slab *slab, uint32_t *head)
{
    uint32_t index = *head;
    *head = link_get(slab, index);
    link_set(slab, index, HHI_LINK_LIVE);
    return index;
}

// Take all blocks.
static void
take_all(struct hhi_slab *slab)
{
    while (slab->init < slab_blocks(slab)) {
        uint32_t head = hhi_slab_extend(slab, false);
        while (head != HHI_LINK_END)
            take(slab, &head);
    }
}

static void
give_all(struct hhi_slab *slab)
{
    for (uint32_t index = 0; index < slab->init; index++)
        link_set(slab, index, 0);
    hhi_slab_retire(slab);
}

static char *
block_address(struct hhi_slab *slab, uint32_t index)
{
    // relaxed: fixed while carved.
    return (char *)hhi_slab_base(slab) + (size_t)index * hh_load_relaxed(&slab->block_bytes);
}

static void
a_carved_slab_of_each_class_is_found_from_every_address_in_it(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        struct hhi_slab *slab = slab_make(class_index);
        size_t run_bytes = (size_t)hhi_class_granules(class_index) << HHI_GRANULE_SHIFT;
        assert_int_equal(slab_kind(slab), HHI_KIND_SLAB);
        for (size_t offset = 0; offset < run_bytes; offset += 4093) {
            unsigned kind;
            assert_ptr_equal(hhi_slab_find((char *)hhi_slab_base(slab) + offset, &kind), slab);
            assert_int_equal(kind, HHI_KIND_SLAB);
        }
        uint32_t slot, last = slab_blocks(slab) - 1;
        assert_int_equal(hhi_slab_block_at(slab, block_address(slab, last), &slot), last);
        assert_int_equal(hhi_slab_block_at(slab, block_address(slab, last) + 8, &slot), UINT32_MAX);
        assert_int_equal(slot, last);
        assert_int_equal(hhi_slab_block_at(slab, block_address(slab, last + 1) - 1, &slot),
                         UINT32_MAX);
        give_all(slab);
    }
}

static void
extending_hands_out_every_block_once_and_no_more(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        struct hhi_slab *slab = slab_make(class_index);
        uint32_t taken = 0;
        while (slab->init < slab_blocks(slab)) {
            uint32_t head = hhi_slab_extend(slab, false);
            hhi_slab_check(slab, head);
            for (; head != HHI_LINK_END; taken++) {
                assert_int_not_equal(link_get(slab, head), HHI_LINK_LIVE);
                take(slab, &head);
            }
        }
        assert_int_equal(taken, slab_blocks(slab));
        assert_int_equal(hhi_slab_count_live(slab), taken);
        assert_int_not_equal(link_get(slab, taken), HHI_LINK_LIVE); // the tail
        hhi_slab_check(slab, HHI_LINK_END);
        give_all(slab);
    }
}

static void
collecting_takes_marked_blocks_and_no_others(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index += 7) {
        struct hhi_slab *slab = slab_make(class_index);
        take_all(slab);
        uint32_t marked = 0, count = slab_blocks(slab);
        for (uint32_t index = 0; index < count; index++) {
            if (core_random(&seed) % 3 != 0)
                continue;
            link_set(slab, index, HHI_LINK_REMOTE);
            marked++;
        }
        assert_int_equal(hhi_slab_count_live(slab), count - marked);
        assert_int_equal(hhi_slab_collect(slab), marked);
        assert_int_equal(hhi_slab_collect(slab), 0);
        assert_int_equal(hhi_slab_count_live(slab), count - marked);
        hhi_slab_check(slab, HHI_LINK_END);
        for (uint32_t head = slab->freed; marked > 0; marked--)
            take(slab, &head);
        assert_int_equal(hhi_slab_count_live(slab), count);
        slab->freed = HHI_LINK_END;
        give_all(slab);
    }
}

static void
rebuilding_finds_all_blocks_that_are_not_live(void **state)
{
    (void)state;
    struct hhi_slab *slab = slab_make(hhi_class_of(100));
    uint32_t head = hhi_slab_extend(slab, false);
    for (int block = 0; block < 30; block++)
        take(slab, &head);
    link_set(slab, 3, HHI_LINK_REMOTE);
    link_set(slab, 7, 12345); // a link that leads nowhere, as a lost thread may leave it
    hhi_slab_rebuild(slab);
    hhi_slab_check(slab, HHI_LINK_END);
    assert_int_equal(hhi_slab_count_live(slab), 28);
    assert_int_equal(slab->head, HHI_LINK_END);
    give_all(slab);
}

static struct {
    uintptr_t from, to;
    size_t bytes;
    int calls;
} advised;
static int (*kernel_advise)(void *address, size_t size_bytes, int advice);

static int
advise_noted(void *address, size_t size_bytes, int advice)
{
    assert_true((uintptr_t)address >= advised.from &&
                (uintptr_t)address + size_bytes <= advised.to);
    advised.bytes += size_bytes;
    advised.calls++;
    return kernel_advise(address, size_bytes, advice);
}

// Fill all blocks, free some, purge: live blocks keep their contents, what was purged reads as zero.
static void
purge_check(size_t block_bytes, size_t (*purge)(struct hhi_slab *), uint32_t mark)
{
    struct hhi_slab *slab = slab_make(hhi_class_of(block_bytes));
    take_all(slab);
    uint32_t count = slab_blocks(slab);
    for (uint32_t index = 0; index < count; index++)
        core_fill(block_address(slab, index), block_bytes, index + 1);
    // Stretches of any length between live blocks.
    uint64_t seed = block_bytes;
    for (uint32_t index = 0; index < count; index += 1 + core_random(&seed) % 3)
        for (uint64_t free = 1 + core_random(&seed) % (count / 4); free > 0 && index < count;
             free--)
            link_set(slab, index++, mark);
    advised.from = hhi_slab_base(slab);
    advised.to = hhi_slab_base(slab) + (hhi_class_granules(hhi_class_of(block_bytes)) << 16);
    advised.bytes = 0;
    kernel_advise = hhi_os.advise;
    hhi_os.advise = advise_noted;
    size_t purged_bytes = purge(slab);
    hhi_os.advise = kernel_advise;
    assert_int_equal(purged_bytes, advised.bytes);
    size_t zero_bytes = 0;
    for (uint32_t index = 0; index < count; index++) {
        char *block = block_address(slab, index);
        if (link_get(slab, index) == HHI_LINK_LIVE)
            assert_true(core_holds(block, block_bytes, index + 1));
        else if (core_is_zero(block, block_bytes))
            zero_bytes += block_bytes;
    }
    if (block_bytes % 4096 == 0)
        assert_true(purged_bytes > 0 && zero_bytes > 0);
    slab->freed = HHI_LINK_END;
    give_all(slab);
}

static size_t
next_class_bytes(size_t block_bytes)
{
    return block_bytes == HHI_SLAB_MAX_BYTES ? SIZE_MAX
                                             : hhi_class_bytes(hhi_class_of(block_bytes) + 1);
}

static void
a_purge_takes_free_pages_and_leaves_live_blocks(void **state)
{
    (void)state;
    for (size_t block_bytes = 16; block_bytes <= HHI_SLAB_MAX_BYTES;
         block_bytes = next_class_bytes(block_bytes))
        purge_check(block_bytes, hhi_slab_purge_owned, 0);
}

static void
a_purge_of_marked_blocks_leaves_free_and_live_ones(void **state)
{
    (void)state;
    for (size_t block_bytes = 16; block_bytes <= HHI_SLAB_MAX_BYTES;
         block_bytes = next_class_bytes(block_bytes))
        purge_check(block_bytes, hhi_slab_purge_remote, HHI_LINK_REMOTE);
    // Free blocks may be in the owner's hands at any moment: never purged without it.
    struct hhi_slab *slab = slab_make(hhi_class_of(8192));
    take_all(slab);
    link_set(slab, 0, HHI_LINK_END);
    link_set(slab, 1, 0);
    assert_int_equal(hhi_slab_purge_remote(slab), 0);
    give_all(slab);
}

static void
limbo_empty(void)
{
    hhi_limbo_advance(true);
    assert_int_equal(hhi_limbo_granules(), 0);
}

static void
a_retired_slab_is_nobodys_and_comes_back_for_its_own_class(void **state)
{
    (void)state;
    limbo_empty();
    struct hhi_slab *slab = slab_make(5);
    void *address = block_address(slab, 1);
    take_all(slab);
    give_all(slab);
    unsigned kind;
    hhi_slab_find(address, &kind);
    assert_int_equal(kind, HHI_KIND_LIMBO);
    assert_int_equal(hhi_limbo_granules(), 1);
    struct hhi_slab *again = slab_make(5);
    assert_ptr_equal(again, slab);
    assert_int_equal(hhi_slab_count_live(again), 0);
    hhi_slab_check(again, HHI_LINK_END);
    // relaxed: the test is the only thread.
    assert_int_equal(hh_load_relaxed(&again->flags) & HHI_SLAB_CLEAN, 0);
    give_all(again);
    limbo_empty();
    assert_true(hhi_slab_find(address, &kind) == NULL || kind == HHI_KIND_NONE);
    hhi_run_check();
}

static void
a_retired_run_is_not_carved_for_another_class_while_a_section_is_open(void **state)
{
    (void)state;
    static struct hhi_guard guard; // registered for good
    limbo_empty();
    hhi_guard_register(&guard);
    struct hhi_slab *slab = slab_make(5);
    hhi_guard_open(&guard);
    give_all(slab);
    assert_int_equal(hhi_limbo_advance(true), 0);
    assert_int_equal(hhi_limbo_granules(), 1);
    struct hhi_slab *other = slab_make(6);
    assert_ptr_not_equal(other, slab);
    give_all(other);
    assert_ptr_equal(slab_make(5), slab); // its own class may have it
    give_all(slab);
    assert_int_equal(hhi_limbo_advance(true), 0);
    hhi_guard_close(&guard);
    assert_int_equal(hhi_limbo_advance(true), 2);
    // A section of a later epoch does not hold up what was retired before.
    slab = slab_make(5);
    give_all(slab);
    assert_int_not_equal(hhi_guard_advance(), 0);
    hhi_guard_open(&guard);
    assert_int_equal(hhi_limbo_advance(true), 1);
    hhi_guard_close(&guard);
}

// From here on membarrier(2) fails in this process.
static bool
barrier_refuse(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { CHILD_FINE, CHILD_WITHOUT_FILTER = 40 };

static int
retire_without_barrier(void *argument)
{
    (void)argument;
    limbo_empty();
    give_all(slab_make(5));
    if (!barrier_refuse())
        return CHILD_WITHOUT_FILTER;
    if (hhi_guard_advance() != 0)
        return 1;
    if (hhi_limbo_advance(true) != 0)
        return 2;
    return hhi_limbo_granules() == 1 ? CHILD_FINE : 3;
}

static void
a_retired_run_waits_while_the_barrier_fails(void **state)
{
    (void)state;
    if (!hhi_guard_asymmetric)
        skip();
    int result = core_in_child(retire_without_barrier, NULL);
    if (result == CHILD_WITHOUT_FILTER)
        skip();
    assert_int_equal(result, CHILD_FINE);
}

static intptr_t
map_refused(void *address, size_t size_bytes, int protection, int flags)
{
    (void)address, (void)size_bytes, (void)protection, (void)flags;
    return -ENOMEM;
}

static void
limbo_is_given_up_before_memory_is_refused(void **state)
{
    (void)state;
    limbo_empty();
    uint32_t clean;
    struct hhi_slab *slab = slab_make(HHI_CLASSES - 1);
    give_all(slab);
    size_t run_bytes = (size_t)hhi_class_granules(HHI_CLASSES - 1) << HHI_GRANULE_SHIFT;
    intptr_t (*kernel_map)(void *, size_t, int, int) = hhi_os.map;
    hhi_os.map = map_refused;
    // All the address space that there is but for the run in limbo, and then that one.
    struct hhi_slab *hogs[2048];
    unsigned count = 0;
    bool from_limbo = false;
    while (count < 2048 && (hogs[count] = hhi_slab_carve_large(
                                some_heap, run_bytes, 1, false,
                                &(struct hhi_tries){.ask = HHI_ASK_MORE}, &clean)) != NULL)
        from_limbo = from_limbo || hogs[count++] == slab;
    hhi_os.map = kernel_map;
    assert_in_range(count, 1, 2047);
    assert_true(from_limbo);
    while (count > 0)
        hhi_slab_retire_large(hogs[--count]);
    limbo_empty();
}

static void
a_large_block_grows_in_place_and_ends(void **state)
{
    (void)state;
    uint32_t clean;
    struct hhi_slab *slab = hhi_slab_carve_large(some_heap, 300000, 1, false,
                                                 &(struct hhi_tries){.ask = HHI_ASK_MORE}, &clean);
    assert_non_null(slab);
    assert_int_equal(slab_kind(slab), HHI_KIND_LARGE);
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes); // relaxed: the only thread
    assert_int_equal(block_bytes, 5 << 16);
    assert_int_equal(hhi_slab_extend_large(slab, 1 << 20, &clean), 0);
    unsigned kind;
    assert_ptr_equal(hhi_slab_find((char *)hhi_slab_base(slab) + (1 << 20) - 1, &kind), slab);
    void *address = (void *)hhi_slab_base(slab);
    hhi_slab_retire_large(slab);
    assert_true(hhi_slab_find(address, &kind) == NULL || kind == HHI_KIND_NONE);
    hhi_run_check();
}

static void
an_aligned_large_block_is_aligned(void **state)
{
    (void)state;
    for (uint32_t granules = 1; granules <= 1024; granules *= 2) {
        uint32_t clean;
        struct hhi_slab *slab = hhi_slab_carve_large(
            some_heap, 70000, granules, false, &(struct hhi_tries){.ask = HHI_ASK_MORE}, &clean);
        assert_non_null(slab);
        assert_int_equal(hhi_slab_base(slab) % ((uintptr_t)granules << HHI_GRANULE_SHIFT), 0);
        hhi_slab_retire_large(slab);
    }
    hhi_run_check();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_carved_slab_of_each_class_is_found_from_every_address_in_it),
        cmocka_unit_test(extending_hands_out_every_block_once_and_no_more),
        cmocka_unit_test(collecting_takes_marked_blocks_and_no_others),
        cmocka_unit_test(rebuilding_finds_all_blocks_that_are_not_live),
        cmocka_unit_test(a_purge_takes_free_pages_and_leaves_live_blocks),
        cmocka_unit_test(a_purge_of_marked_blocks_leaves_free_and_live_ones),
        cmocka_unit_test(a_retired_slab_is_nobodys_and_comes_back_for_its_own_class),
        cmocka_unit_test(a_retired_run_is_not_carved_for_another_class_while_a_section_is_open),
        cmocka_unit_test(a_retired_run_waits_while_the_barrier_fails),
        cmocka_unit_test(limbo_is_given_up_before_memory_is_refused),
        cmocka_unit_test(a_large_block_grows_in_place_and_ends),
        cmocka_unit_test(an_aligned_large_block_is_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
