// SPDX-License-Identifier: MIT
// tests/unit/test_size_class.c - every size has a class that fits; every offset is divided exactly.
#include "slab/size_class.h"
#include "slab/slab.h"
#include "support/test.h"

static void
every_size_has_a_class_that_is_big_enough(void **state)
{
    (void)state;
    for (size_t size = 1; size <= HHI_SLAB_MAX_BYTES; size++) {
        unsigned class_index = hhi_class_of(size);
        assert_true(class_index > HHI_CLASS_NONE && class_index < HHI_CLASSES);
        assert_true(hhi_class_bytes(class_index) >= size);
    }
}

static void
at_most_an_eighth_of_a_block_above_128_bytes_is_unused(void **state)
{
    (void)state;
    for (size_t size = 129; size <= HHI_SLAB_MAX_BYTES; size++) {
        size_t block_bytes = hhi_class_bytes(hhi_class_of(size));
        assert_true((block_bytes - size) * 8 <= block_bytes);
    }
    // Above the largest class a block is rounded up to granules: less than an eighth from 512 KiB on.
    for (size_t size = HHI_SLAB_MAX_BYTES + 1; size <= 1 << 20; size++)
        assert_true(hh_align_up(size, HHI_GRANULE_BYTES) - size < HHI_GRANULE_BYTES);
}

static void
no_smaller_class_would_do_and_classes_grow(void **state)
{
    (void)state;
    for (size_t size = 1; size <= HHI_SLAB_MAX_BYTES; size++) {
        unsigned class_index = hhi_class_of(size);
        assert_true(class_index == 1 || hhi_class_bytes(class_index - 1) < size);
        assert_true(size == 1 || class_index >= hhi_class_of(size - 1));
    }
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++)
        assert_int_equal(hhi_class_of(hhi_class_bytes(class_index)), class_index);
    assert_int_equal(hhi_class_bytes(HHI_CLASSES - 1), HHI_SLAB_MAX_BYTES);
}

static void
blocks_are_multiples_of_the_alignment(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++)
        assert_int_equal(hhi_class_bytes(class_index) % HHI_ALIGNMENT_BYTES, 0);
}

static void
slabs_hold_at_least_eight_blocks_that_fit_a_link(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        size_t slab_bytes = (size_t)hhi_class_granules(class_index) << HHI_GRANULE_SHIFT;
        uint32_t blocks = hhi_class_blocks(class_index);
        assert_in_range(blocks, 8, HHI_LINK_END - 1);
        assert_true((size_t)blocks * hhi_class_bytes(class_index) <= slab_bytes);
        assert_true((size_t)(blocks + 1) * hhi_class_bytes(class_index) > slab_bytes);
        assert_true(hhi_slab_links_bytes(class_index) >= (blocks + 1) * sizeof(uint16_t));
    }
}

static void
offset_check(uint64_t offset, uint64_t size, uint64_t magic)
{
    uint64_t mark, index = hh_divide(offset, magic, &mark);
    if (index != offset / size || (mark < magic) != (offset % size == 0))
        fail_msg("offset %lu in blocks of %lu", (unsigned long)offset, (unsigned long)size);
}

static void
every_offset_of_every_slab_is_divided_exactly(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        uint64_t size = hhi_class_bytes(class_index), magic = hh_divide_magic(size);
        uint64_t slab_bytes = (uint64_t)hhi_class_granules(class_index) << HHI_GRANULE_SHIFT;
        for (uint64_t offset = 0; offset < slab_bytes; offset++)
            offset_check(offset, size, magic);
    }
}

static void
a_new_class_is_served_by_the_next_power_of_two_and_as_well_aligned(void **state)
{
    (void)state;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        unsigned coarse = hhi_class_coarse(class_index);
        uint32_t own_bytes = hhi_class_bytes(class_index), bytes = hhi_class_bytes(coarse);
        assert_int_equal(hhi_class_coarse(coarse), coarse);
        assert_in_range(bytes, own_bytes, own_bytes <= 64 ? 64 : 2 * own_bytes - 1);
        assert_true(bytes == own_bytes || (bytes & (bytes - 1)) == 0);
        // An aligned request relies on the lowest bit of its class' size.
        assert_true((bytes & -bytes) >= (own_bytes & -own_bytes));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_has_a_class_that_is_big_enough),
        cmocka_unit_test(at_most_an_eighth_of_a_block_above_128_bytes_is_unused),
        cmocka_unit_test(no_smaller_class_would_do_and_classes_grow),
        cmocka_unit_test(a_new_class_is_served_by_the_next_power_of_two_and_as_well_aligned),
        cmocka_unit_test(blocks_are_multiples_of_the_alignment),
        cmocka_unit_test(slabs_hold_at_least_eight_blocks_that_fit_a_link),
        cmocka_unit_test(every_offset_of_every_slab_is_divided_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
