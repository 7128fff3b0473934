// SPDX-License-Identifier: MIT
// tests/unit/test_clear.c - used memory reads as zero afterwards, and what was not used stays away.
// The source itself, so that both ways to look for zeros run on one processor.
#include "heap/clear.c"

#include <errno.h>
#include <sys/mman.h>

#include "heap/heap.h"
#include "os/os.h"
#include "support/core.h"

enum { PAGE = 4096, ROOM = 8 << 20 };

static struct hhi_os kernel;
static char *room;

static int
room_map(void **state)
{
    (void)state;
    kernel = hhi_os;
    intptr_t at = hhi_os_map_private(ROOM);
    assert_true(at > 0);
    room = (char *)at;
    return 0;
}

static int
room_end(void **state)
{
    (void)state;
    hhi_os = kernel;
    return hhi_os_release(room, ROOM);
}

static unsigned
pages_there(const char *at, size_t size_bytes)
{
    unsigned char there[ROOM / PAGE];
    unsigned count = 0;
    assert_int_equal(mincore((void *)at, size_bytes, there), 0);
    for (size_t page = 0; page < size_bytes / PAGE; page++)
        count += there[page] & 1;
    return count;
}

static bool
is_zero(const char *at, size_t size_bytes)
{
    while (size_bytes > 0 && *at == 0) {
        at++;
        size_bytes--;
    }
    return size_bytes == 0;
}

static int
resident_refused(void *address, size_t size_bytes, unsigned char *pages)
{
    (void)address;
    (void)size_bytes;
    (void)pages;
    return -ENOSYS;
}

// As if the kernel had written every page to swap space.
static int
resident_none(void *address, size_t size_bytes, unsigned char *pages)
{
    (void)address;
    memset(pages, 0, size_bytes / PAGE);
    return 0;
}

static int
advise_refused(void *address, size_t size_bytes, int advice)
{
    (void)address;
    (void)size_bytes;
    (void)advice;
    return -EINVAL;
}

// Sizes and places of blocks: whole pages, parts of them, below and above where the kernel is asked.
static const size_t sizes[] = {
    16,
    1000,
    32 * 1024,
    32 * 1024 + 1,
    73 * 1024,
    255 << 10,
    (256 << 10) - 1,
    256 << 10,
    (1 << 20) + 4099,
    (3 << 20) + 65,
};
static const size_t starts[] = {64, PAGE, PAGE + 16, 2 * PAGE - 48};

// One byte in each of some places is not zero; nothing around the block may change.
static void
clear_everywhere(void)
{
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t p = 0; p < sizeof starts / sizeof starts[0]; p++) {
            char *block = room + starts[p];
            for (size_t step = 1; step < 64; step = step * 5 + 2) {
                for (size_t at = step - 1; at < sizes[s]; at += step * 911)
                    block[at] = 'x';
                block[sizes[s] - 1] = 'y';
                block[-1] = block[sizes[s]] = 'z';
                hhi_clear(block, sizes[s]);
                assert_true(is_zero(block, sizes[s]));
                assert_int_equal(block[-1], 'z');
                assert_int_equal(block[sizes[s]], 'z');
                block[-1] = block[sizes[s]] = 0;
            }
        }
    }
}

static void
a_block_of_any_size_and_place_reads_as_zero_and_nothing_beside_it_changes(void **state)
{
    (void)state;
    clear_everywhere();
}

static void
each_byte_counts(void)
{
    size_t size_bytes = 16 * STRIDE_BYTES;
    assert_int_equal(zeros_length(room, size_bytes), size_bytes);
    for (size_t at = 0; at < size_bytes; at++) {
        room[at] = (char)0x80;
        assert_int_equal(zeros_length(room, size_bytes), hh_align_down(at, STRIDE_BYTES));
        // From any 16 bytes on, and never beyond the end.
        size_t length = size_bytes - 2 * STRIDE_BYTES;
        bool inside = at >= 16 && at < 16 + length;
        assert_int_equal(zeros_length(room + 16, length + STRIDE_BYTES - 1),
                         inside ? hh_align_down(at - 16, STRIDE_BYTES) : length);
        room[at] = 0;
    }
}

static void
each_byte_counts_on_any_processor(void **state)
{
    (void)state;
#if defined(__x86_64__)
    looks_narrow = LOOKS_NARROW;
    each_byte_counts();
    clear_everywhere();
    looks_narrow = LOOKS_BEFORE;
    each_byte_counts();
    assert_int_equal(looks_narrow, processor_is_wide() ? LOOKS_WIDE : LOOKS_NARROW);
    looks_narrow = 0;
#endif
    each_byte_counts();
}

static void
it_does_so_without_the_kernels_help(void **state)
{
    (void)state;
    hhi_os.resident = resident_refused;
    clear_everywhere();
    hhi_os.resident = kernel.resident;
    hhi_os.advise = advise_refused;
    clear_everywhere();
}

static void
pages_that_only_seem_to_be_away_are_cleared_too(void **state)
{
    (void)state;
    hhi_os.resident = resident_none;
    clear_everywhere();
}

static void
pages_never_used_stay_away(void **state)
{
    (void)state;
    room[3 * PAGE] = room[700 * PAGE] = 1;
    hhi_clear(room, 4 << 20);
    assert_int_equal(pages_there(room, 4 << 20), 0); // the two were given back with the others
}

// Memory locked by the program refuses to be given back.
static void
pages_that_are_not_given_back_are_cleared_where_they_are(void **state)
{
    (void)state;
    for (size_t size_bytes = 64 << 10; size_bytes <= (1 << 20); size_bytes *= 4) {
        for (int block = 0; block < 66; block++) { // in one of them pages are asked about
            hhi_os_purge(room, ROOM);
            room[0] = room[5 * PAGE + 300] = room[size_bytes - 1] = room[size_bytes] = 1;
            hhi_os.advise = advise_refused;
            hhi_clear(room, size_bytes);
            hhi_os.advise = kernel.advise;
            assert_true(is_zero(room, size_bytes));
            assert_int_equal(room[size_bytes], 1);
        }
    }
}

static unsigned asked;

static int
resident_counted(void *address, size_t size_bytes, unsigned char *pages)
{
    asked++;
    return kernel.resident(address, size_bytes, pages);
}

static void
a_buffer_used_at_both_ends_is_not_read(void **state)
{
    (void)state;
    for (size_t size_bytes = 32 << 10; size_bytes < (256 << 10); size_bytes += 9 * 1024) {
        // Some were used whole before: it is asked all the same, in time.
        for (int block = 0; block < 8; block++) {
            memset(room, 1, size_bytes);
            hhi_clear(room, size_bytes);
        }
        unsigned there = 0;
        for (int block = 0; block < 66; block++) {
            hhi_os_purge(room, ROOM);
            room[0] = room[size_bytes - 1] = 1;
            hhi_clear(room, size_bytes);
            assert_true(is_zero(room, PAGE) && room[size_bytes - 1] == 0);
            there = pages_there(room, hh_align_up(size_bytes, PAGE));
        }
        assert_true(there <= 3);
    }
}

static void
buffers_used_whole_are_seldom_asked_about(void **state)
{
    (void)state;
    hhi_os.resident = resident_counted;
    asked = 0;
    for (int block = 0; block < 1280; block++) {
        memset(room, 1, 64 << 10);
        hhi_clear(room, 64 << 10);
        assert_true(is_zero(room, 64 << 10));
    }
    assert_true(asked >= 1280 / 64 - 1 && asked <= 1280 / 64 + 5);
}

static void
pages_that_were_only_read_are_not_written(void **state)
{
    (void)state;
    for (size_t page = 0; page < 512; page++)
        assert_int_equal(((volatile char *)room)[page * PAGE], 0); // the kernel's page of zeros
    assert_int_equal(mprotect(room, 512 * PAGE, PROT_READ), 0);
    hhi_clear(room, 512 * PAGE); // a write would end the test
    assert_int_equal(mprotect(room, 512 * PAGE, PROT_READ | PROT_WRITE), 0);
}

static void
a_large_zeroed_block_that_is_hardly_used_stays_small(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (int turn = 0; turn < 4; turn++) {
        char *block = hhi_heap_alloc_zeroed(heap, 4 << 20, HHI_LEVEL_TASK);
        assert_non_null(block);
        assert_true(pages_there(block, 4 << 20) < 16);
        block[0] = block[(1 << 20) + 5] = block[(4 << 20) - 1] = 'x';
        assert_int_equal(hhi_heap_free(heap, block), 0);
    }
    hhi_heap_destroy(heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_block_of_any_size_and_place_reads_as_zero_and_nothing_beside_it_changes, room_map,
            room_end),
        cmocka_unit_test_setup_teardown(each_byte_counts_on_any_processor, room_map, room_end),
        cmocka_unit_test_setup_teardown(it_does_so_without_the_kernels_help, room_map, room_end),
        cmocka_unit_test_setup_teardown(pages_that_only_seem_to_be_away_are_cleared_too, room_map,
                                        room_end),
        cmocka_unit_test_setup_teardown(pages_that_are_not_given_back_are_cleared_where_they_are,
                                        room_map, room_end),
        cmocka_unit_test_setup_teardown(pages_never_used_stay_away, room_map, room_end),
        cmocka_unit_test_setup_teardown(a_buffer_used_at_both_ends_is_not_read, room_map, room_end),
        cmocka_unit_test_setup_teardown(buffers_used_whole_are_seldom_asked_about, room_map,
                                        room_end),
        cmocka_unit_test_setup_teardown(pages_that_were_only_read_are_not_written, room_map,
                                        room_end),
        cmocka_unit_test(a_large_zeroed_block_that_is_hardly_used_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
