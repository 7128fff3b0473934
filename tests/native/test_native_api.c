// SPDX-License-Identifier: MIT
/* hostheap.h: the native interface. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hostheap/hostheap.h>

#include "support/test.h"

static hh_heap *heap;

static int
make_heap(void **state)
{
    (void)state;
    return hh_heap_create(NULL, &heap) == HH_OK ? 0 : -1;
}

static int
end_heap(void **state)
{
    (void)state;
    return hh_heap_destroy(heap) == HH_OK ? 0 : -1;
}

// ---- Heaps

static void
create_with_wrong_arguments_makes_nothing(void **state)
{
    (void)state;
    hh_heap *made = heap;
    hh_heap_options options = {.struct_size = sizeof options};
    assert_int_equal(hh_heap_create(&options, NULL), HH_E_INVALID_ARGUMENT);
    options.flags = 0x80;
    assert_int_equal(hh_heap_create(&options, &made), HH_E_INVALID_ARGUMENT);
    assert_null(made);
    options.flags = 0;
    options.struct_size = 8;
    assert_int_equal(hh_heap_create(&options, &made), HH_E_INVALID_ARGUMENT);
    options.struct_size = sizeof options;
    options.soft_limit_bytes = 2;
    options.hard_limit_bytes = 1;
    assert_int_equal(hh_heap_create(&options, &made), HH_E_INVALID_ARGUMENT);
}

static void
destroy_refuses_null_and_the_default_heap(void **state)
{
    (void)state;
    assert_int_equal(hh_heap_destroy(NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_destroy(hh_heap_default()), HH_E_INVALID_ARGUMENT);
}

static void
destroy_frees_all_blocks_at_once(void **state)
{
    (void)state;
    hh_heap *doomed;
    hh_stats before, after;
    assert_int_equal(hh_get_stats(&before), HH_OK);
    assert_int_equal(hh_heap_create(NULL, &doomed), HH_OK);
    void *small = hh_heap_alloc(doomed, 100);
    void *large = hh_heap_alloc(doomed, 3 << 20);
    for (int i = 0; i < 10000; i++)
        assert_non_null(hh_heap_alloc(doomed, 200));
    assert_int_equal(hh_heap_destroy(doomed), HH_OK);
    assert_int_equal(hh_get_stats(&after), HH_OK);
    assert_int_equal(after.all.live_blocks, before.all.live_blocks);
    assert_int_equal(after.heaps, before.heaps);
    assert_int_equal(hh_heap_free(heap, small), HH_E_INVALID_BLOCK);
    assert_int_equal(hh_heap_free(heap, large), HH_E_INVALID_BLOCK);
}

// ---- Blocks

static void
calloc_refuses_overflow_and_gives_zeroes(void **state)
{
    (void)state;
    volatile size_t many = SIZE_MAX / 2;
    assert_null(hh_heap_calloc(heap, many, 3));
    for (size_t size_bytes = 1; size_bytes < 100000; size_bytes *= 3) {
        char *dirty = hh_heap_alloc(heap, size_bytes);
        memset(dirty, 1, size_bytes);
        assert_int_equal(hh_heap_free(heap, dirty), HH_OK);
        char *block = hh_heap_calloc(heap, 1, size_bytes);
        for (size_t i = 0; i < size_bytes; i++)
            assert_int_equal(block[i], 0);
        assert_int_equal(hh_heap_free(heap, block), HH_OK);
    }
}

static void
sizes_out_of_range_give_null_and_keep_errno(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX};
    errno = EDOM;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        volatile size_t size_bytes = sizes[i];
        assert_null(hh_heap_alloc(heap, size_bytes));
        assert_null(hh_heap_aligned_alloc(heap, 64, size_bytes));
    }
    assert_int_equal(errno, EDOM);
}

static void
aligned_alloc_aligns_and_refuses_odd_alignments(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= (1 << 22); alignment *= 2) {
        void *block = hh_heap_aligned_alloc(heap, alignment, 100);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % (alignment < 16 ? 16 : alignment), 0);
        assert_int_equal(hh_heap_free(heap, block), HH_OK);
    }
    static volatile size_t wrong[] = {0, 3, 48, ((size_t)1 << 30) + 1, (size_t)1 << 31};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_null(hh_heap_aligned_alloc(heap, wrong[i], 100));
}

static void
realloc_answers_each_case_as_documented(void **state)
{
    (void)state;
    void *block = NULL;
    assert_int_equal(hh_heap_realloc(heap, NULL, 10, NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_realloc(heap, NULL, 10, &block), HH_OK);
    strcpy(block, "contents");
    assert_int_equal(hh_heap_realloc(heap, block, 100000, &block), HH_OK);
    assert_string_equal(block, "contents");
    void *failed = &failed;
    volatile size_t too_large = PTRDIFF_MAX;
    assert_int_equal(hh_heap_realloc(heap, block, too_large, &failed), HH_E_NO_MEMORY);
    assert_null(failed);
    assert_string_equal(block, "contents");
    assert_int_equal(hh_heap_realloc(heap, block, 0, &block), HH_OK);
    assert_non_null(block); // size 0 does not free
    assert_int_equal(hh_heap_free(heap, block), HH_OK);
    assert_int_equal(hh_heap_realloc(heap, block, 10, &failed), HH_E_INVALID_BLOCK);
    assert_null(failed);
}

static void
free_sized_refuses_a_size_that_can_not_be(void **state)
{
    (void)state;
    void *block = hh_heap_alloc(heap, 1000);
    assert_int_equal(hh_heap_free_sized(heap, block, 10), HH_E_INVALID_BLOCK);
    assert_int_equal(hh_heap_free_sized(heap, block, 100000), HH_E_INVALID_BLOCK);
    assert_int_equal(hh_heap_free_sized(heap, block, 1000), HH_OK);
    assert_int_equal(hh_heap_free_sized(heap, block, 1000), HH_E_INVALID_BLOCK);
    assert_int_equal(hh_heap_free_sized(heap, NULL, 1), HH_OK);
}

static void
a_block_belongs_to_its_heap_alone(void **state)
{
    (void)state;
    hh_heap *other;
    hh_block_info info;
    assert_int_equal(hh_heap_create(NULL, &other), HH_OK);
    char *block = hh_heap_alloc(heap, 100);
    assert_int_equal(hh_heap_free(other, block), HH_E_INVALID_BLOCK);
    assert_int_equal(hh_heap_usable_size(other, block), 0);
    assert_true(hh_heap_usable_size(heap, block) >= 100);
    assert_int_equal(hh_owns(block + 50, NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_owns(block + 50, &info), HH_OK);
    assert_ptr_equal(info.heap, heap);
    assert_ptr_equal(info.base, block);
    assert_int_equal(info.live, 1);
    assert_int_equal(hh_heap_free(heap, block), HH_OK);
    assert_int_equal(hh_owns(block, &info), HH_OK);
    assert_int_equal(info.live, 0);
    assert_int_equal(hh_owns(&info, &info), HH_OK);
    assert_null(info.heap);
    assert_int_equal(hh_heap_destroy(other), HH_OK);
}

// ---- Limits

static void
hard_limit_of_a_heap_holds_until_it_is_lifted(void **state)
{
    (void)state;
    assert_int_equal(hh_heap_set_limits(heap, 2, 1), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_set_limits(NULL, 0, 0), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_set_memory_limits(2, 1), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_set_limits(heap, 0, 4 << 20), HH_OK);
    assert_null(hh_heap_alloc(heap, 8 << 20));
    assert_int_equal(hh_heap_set_limits(heap, 0, 0), HH_OK);
    void *block = hh_heap_alloc(heap, 8 << 20);
    assert_non_null(block);
    assert_int_equal(hh_heap_free(heap, block), HH_OK);
}

// ---- Statistics

struct walk {
    size_t blocks, bytes, most;
};

static int
walk_visit(void *arg, void *block, size_t size_bytes)
{
    struct walk *walk = arg;
    assert_int_equal(hh_heap_usable_size(heap, block), size_bytes);
    walk->blocks++;
    walk->bytes += size_bytes;
    return walk->blocks == walk->most;
}

static void
walk_and_statistics_agree(void **state)
{
    (void)state;
    void *blocks[500];
    struct walk walk = {0};
    hh_heap_stats stats;
    for (size_t i = 0; i < 500; i++)
        blocks[i] = hh_heap_alloc(heap, i * i);
    assert_int_equal(hh_heap_walk(heap, walk_visit, &walk), HH_OK);
    assert_int_equal(hh_heap_get_stats(heap, &stats), HH_OK);
    assert_int_equal(walk.blocks, 500);
    assert_int_equal(stats.live_blocks, 500);
    assert_int_equal(stats.live_bytes, walk.bytes);
    walk = (struct walk){.most = 7};
    assert_int_equal(hh_heap_walk(heap, walk_visit, &walk), HH_OK);
    assert_int_equal(walk.blocks, 7);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(hh_heap_free(heap, blocks[i]), HH_OK);
    assert_int_equal(hh_heap_get_stats(heap, &stats), HH_OK);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.live_bytes, 0);
    assert_int_equal(hh_heap_walk(heap, NULL, NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_walk(NULL, walk_visit, NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_get_stats(heap, NULL), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_heap_get_stats(NULL, &stats), HH_E_INVALID_ARGUMENT);
    assert_int_equal(hh_get_stats(NULL), HH_E_INVALID_ARGUMENT);
}

struct printed {
    char text[200000];
    size_t length_bytes;
};

// Allocates, as a program's writer may.
static void
print_append(void *arg, const char *text, size_t length_bytes)
{
    struct printed *printed = arg;
    void *block = hh_heap_alloc(heap, 100);
    assert_true(printed->length_bytes + length_bytes < sizeof printed->text);
    memcpy(printed->text + printed->length_bytes, text, length_bytes);
    printed->length_bytes += length_bytes;
    printed->text[printed->length_bytes] = '\0';
    assert_int_equal(hh_heap_free(heap, block), HH_OK);
}

static size_t
count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        count++;
    return count;
}

static void
statistics_list_every_heap_by_name_in_order(void **state)
{
    (void)state;
    static struct printed printed;
    hh_heap *heaps[40];
    for (int i = 0; i < 40; i++) {
        char name[40];
        snprintf(name, sizeof name, "heap \"%02d\" \\ \t end", i);
        hh_heap_options options = {.struct_size = sizeof options, .name = name};
        assert_int_equal(hh_heap_create(&options, &heaps[i]), HH_OK);
    }
    printed.length_bytes = 0;
    hh_stats_print(print_append, &printed, HH_STATS_JSON | HH_STATS_HEAPS);
    const char *last = printed.text;
    for (int i = 0; i < 40; i++) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "\"name\":\"heap \\\"%02d\\\" \\\\ \\u0009 end\"", i);
        last = strstr(last, wanted);
        assert_non_null(last);
    }
    hh_stats stats;
    assert_int_equal(hh_get_stats(&stats), HH_OK);
    assert_int_equal(count_of(printed.text, "{\"id\":"), stats.heaps);
    assert_int_equal(count_of(printed.text, "{"), count_of(printed.text, "}"));
    printed.length_bytes = 0;
    hh_stats_print(print_append, &printed, 0);
    assert_int_equal(count_of(printed.text, "live blocks: "), 1);
    for (int i = 0; i < 40; i++)
        assert_int_equal(hh_heap_destroy(heaps[i]), HH_OK);
}

static void
trim_gives_back_what_was_used(void **state)
{
    (void)state;
    char *block = hh_heap_alloc(heap, 32 << 20);
    memset(block, 1, 32 << 20);
    assert_int_equal(hh_heap_free(heap, block), HH_OK);
    hh_stats before, after;
    hh_get_stats(&before);
    size_t given_bytes = hh_trim();
    hh_get_stats(&after);
    // A purge by the background may have been first.
    assert_true(after.retained_bytes < (1u << 20));
    assert_true(given_bytes > 0 || after.purged_bytes >= (32u << 20));
}

static void
handler_unused(void *arg, const char *function, const void *address, hh_bad_block why,
               const hh_block_info *info)
{
    (void)arg;
    (void)function;
    (void)address;
    (void)why;
    (void)info;
    fail();
}

static void
handlers_set_again_cost_no_memory(void **state)
{
    (void)state;
    static int first, second;
    hh_stats before, after;
    hh_set_bad_free_handler(handler_unused, &first);
    hh_set_bad_free_handler(handler_unused, &second);
    hh_get_stats(&before);
    for (int i = 0; i < 100000; i++) {
        hh_set_bad_free_handler(handler_unused, i % 2 == 0 ? &first : &second);
        hh_set_bad_free_handler(NULL, NULL);
    }
    hh_get_stats(&after);
    assert_int_equal(after.metadata_bytes, before.metadata_bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(create_with_wrong_arguments_makes_nothing, make_heap,
                                        end_heap),
        cmocka_unit_test(destroy_refuses_null_and_the_default_heap),
        cmocka_unit_test_setup_teardown(destroy_frees_all_blocks_at_once, make_heap, end_heap),
        cmocka_unit_test_setup_teardown(calloc_refuses_overflow_and_gives_zeroes, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(sizes_out_of_range_give_null_and_keep_errno, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(aligned_alloc_aligns_and_refuses_odd_alignments, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(realloc_answers_each_case_as_documented, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(free_sized_refuses_a_size_that_can_not_be, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(a_block_belongs_to_its_heap_alone, make_heap, end_heap),
        cmocka_unit_test_setup_teardown(hard_limit_of_a_heap_holds_until_it_is_lifted, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(walk_and_statistics_agree, make_heap, end_heap),
        cmocka_unit_test_setup_teardown(statistics_list_every_heap_by_name_in_order, make_heap,
                                        end_heap),
        cmocka_unit_test_setup_teardown(trim_gives_back_what_was_used, make_heap, end_heap),
        cmocka_unit_test(handlers_set_again_cost_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
