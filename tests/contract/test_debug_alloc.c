// SPDX-License-Identifier: MIT
// IHostMalloc::DebugAlloc and hh_debug_lookup. Contract section 6.2, section 16.7.

#include "support/host.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static IHostMalloc *heap;

static int
heap_make(void **state)
{
    (void)state;
    heap = test_heap(MALLOC_THREADSAFE);
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    test_heap_end(heap);
    return 0;
}

static void *
debug_alloc(size_t size_bytes, char *file, int line)
{
    void *block = NULL;
    assert_int_equal(heap->lpVtbl->DebugAlloc(heap, size_bytes, eTaskCritical, file, line, &block),
                     S_OK);
    assert_non_null(block);
    return block;
}

static void
assert_lookup(const void *block, const char *file, int line, size_t size_bytes)
{
    const char *found_file = "unset";
    int found_line = -77;
    size_t found_size_bytes = 77;
    assert_int_equal(hh_debug_lookup(block, &found_file, &found_line, &found_size_bytes), S_OK);
    if (file == NULL)
        assert_null(found_file);
    else
        assert_string_equal(found_file, file);
    assert_int_equal(found_line, line);
    assert_int_equal(found_size_bytes, size_bytes);
}

static void
assert_lookup_refused(const void *address)
{
    const char *file = "unset";
    int line = -77;
    size_t size_bytes = 77;
    assert_int_equal(hh_debug_lookup(address, &file, &line, &size_bytes), HOST_E_INVALIDOPERATION);
    assert_null(file); // GEN-2
    assert_int_equal(line, 0);
    assert_int_equal(size_bytes, 0);
}

struct record {
    char *file;
    int line;
    size_t size_bytes;
};

static const struct record records[] = {
    {"a.cpp", 1, 1},
    {"a.cpp", 2, 100},
    {"dir/b.cpp", 0, 0},
    {"", 5, 33},
    {NULL, 9, 64},
    {"a.cpp", -1, 48},
    {"a.cpp", INT_MAX, 500},
    {"a.cpp", INT_MIN, 70000},
    {"large.cpp", 12, 3000001},
};

// DA-1, DA-2: the requested size, the string, the line; for every kind of block.
static void
lookup_gives_back_what_debug_alloc_was_told(void **state)
{
    (void)state;
    void *blocks[COUNT_OF(records)];
    for (size_t i = 0; i < COUNT_OF(records); i++)
        blocks[i] = debug_alloc(records[i].size_bytes, records[i].file, records[i].line);
    for (size_t i = 0; i < COUNT_OF(records); i++) {
        const struct record *row = &records[i];
        assert_lookup(blocks[i], row->file, row->line, row->size_bytes);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0); // AL-3
        memset(blocks[i], 0xEE, row->size_bytes);
        assert_lookup(blocks[i], row->file, row->line, row->size_bytes);
    }
    for (size_t i = 0; i < COUNT_OF(records); i++) {
        assert_int_equal(test_heap_free(heap, blocks[i]), S_OK); // DA-1: freed by Free
        assert_lookup_refused(blocks[i]);
        assert_int_equal(test_heap_free(heap, blocks[i]), HOST_E_INVALIDOPERATION);
    }
}

// DA-2: the string's lifetime is not promised.
static void
the_file_name_is_copied(void **state)
{
    (void)state;
    char *name = strdup("short-lived.cpp");
    void *block = debug_alloc(40, name, 3);
    memset(name, 'x', strlen(name));
    free(name);
    assert_lookup(block, "short-lived.cpp", 3, 40);
    assert_int_equal(test_heap_free(heap, block), S_OK);
}

// DA-2: the first 255 bytes are kept.
static void
a_long_file_name_is_cut(void **state)
{
    (void)state;
    char name[2000];
    static const size_t lengths[] = {254, 255, 256, 1999};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        memset(name, 'n', sizeof name);
        name[lengths[i]] = '\0';
        void *block = debug_alloc(40, name, 3);
        name[lengths[i] < 255 ? lengths[i] : 255] = '\0';
        assert_lookup(block, name, 3, 40);
        assert_int_equal(test_heap_free(heap, block), S_OK);
    }
}

// Section 16.7: a live block without a record.
static void
lookup_of_a_plain_block_gives_its_usable_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 5000, 2000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = test_heap_alloc(heap, sizes[i]);
        assert_lookup(block, NULL, 0, hh_heap_usable_size(hh_heap_of(heap), block));
        assert_int_equal(test_heap_free(heap, block), S_OK);
    }
}

// A record belongs to one life of a block: the next one does not inherit it.
static void
a_record_ends_with_its_block(void **state)
{
    (void)state;
    void *marked[64], *later[2048], *plain[2048];
    for (int i = 0; i < 64; i++)
        marked[i] = debug_alloc(80, "first-life.cpp", i);
    for (int i = 0; i < 64; i++)
        assert_int_equal(test_heap_free(heap, marked[i]), S_OK);
    int reused = 0;
    for (size_t i = 0; i < COUNT_OF(later); i++) {
        later[i] = debug_alloc(76, NULL, 5);
        assert_lookup(later[i], NULL, 5, 76);
        plain[i] = test_heap_alloc(heap, 80);
        assert_lookup(plain[i], NULL, 0, hh_heap_usable_size(hh_heap_of(heap), plain[i]));
        for (int k = 0; k < 64; k++)
            reused += later[i] == marked[k] || plain[i] == marked[k];
    }
    assert_true(reused > 0);
    for (size_t i = 0; i < COUNT_OF(later); i++) {
        assert_int_equal(test_heap_free(heap, later[i]), S_OK);
        assert_int_equal(test_heap_free(heap, plain[i]), S_OK);
    }
}

static void
lookup_of_anything_else_is_refused(void **state)
{
    (void)state;
    char *block = debug_alloc(100, "here.cpp", 1);
    int local;
    hh_heap *native;
    assert_int_equal(hh_heap_create(NULL, &native), HH_OK);
    void *native_block = hh_heap_alloc(native, 100);
    const void *others[] = {
        NULL,
        block + 1,
        block + 16,
        block + 99,
        &local,
        &heap,
        heap,
        native_block, // a live block, but of no IHostMalloc
        (void *)1,
        (void *)0x8000000000000000,
        (void *)UINTPTR_MAX,
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_lookup_refused(others[i]);
    assert_int_equal(test_heap_free(heap, block), S_OK);
    assert_lookup_refused(block);
    assert_int_equal(hh_heap_destroy(native), HH_OK);
}

static void
lookup_without_an_out_pointer_is_e_pointer(void **state)
{
    (void)state;
    void *block = debug_alloc(100, "here.cpp", 1);
    const char *file = "unset";
    int line = 5;
    size_t size_bytes = 5;
    assert_int_equal(hh_debug_lookup(block, NULL, &line, &size_bytes), E_POINTER);
    assert_int_equal(hh_debug_lookup(block, &file, NULL, &size_bytes), E_POINTER);
    assert_int_equal(hh_debug_lookup(block, &file, &line, NULL), E_POINTER);
    assert_int_equal(hh_debug_lookup(block, NULL, NULL, NULL), E_POINTER);
    assert_null(file);
    assert_int_equal(line, 0);
    assert_int_equal(size_bytes, 0);
    assert_int_equal(test_heap_free(heap, block), S_OK);
}

struct request {
    const char *rule;
    size_t size_bytes;
    uint32_t level;
    hh_hresult expected;
};

// DA-1: as Alloc in all respects.
static const struct request requests[] = {
    {"AL-2", 0, eTaskCritical, S_OK},
    {"AL-1", 1, eAppDomainCritical, S_OK},
    {"AL-1", 65536, eProcessCritical, S_OK},
    {"GEN-10", 64, 0xFFFFFFFF, S_OK},
    {"AL-5", SIZE_MAX, eTaskCritical, E_OUTOFMEMORY},
    {"AL-5", SIZE_MAX - 15, eProcessCritical, E_OUTOFMEMORY},
    {"AL-5", (size_t)PTRDIFF_MAX + 1, eTaskCritical, E_OUTOFMEMORY},
};

static void
debug_alloc_answers_as_alloc_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        const struct request *row = &requests[i];
        void *block = &block;
        hh_hresult answer =
            heap->lpVtbl->DebugAlloc(heap, row->size_bytes, row->level, "f", 1, &block);
        if (answer != row->expected)
            fail_msg("row %zu (%s): %#x", i, row->rule, (unsigned)answer);
        if (answer == S_OK)
            assert_int_equal(test_heap_free(heap, block), S_OK);
        else
            assert_null(block);
        assert_int_equal(heap->lpVtbl->DebugAlloc(heap, row->size_bytes, row->level, "f", 1, NULL),
                         E_POINTER);
    }
}

// Many records at once, freed by another thread, look-ups in between.
static void
half_of_the_records_freed(void *argument)
{
    void **blocks = argument;
    for (int i = 0; i < 2000; i += 2)
        assert_int_equal(test_heap_free(heap, blocks[i]), S_OK);
}

static void
records_of_many_blocks_are_kept_apart(void **state)
{
    (void)state;
    static void *blocks[2000];
    char name[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "file-%d.cpp", i % 100);
        blocks[i] = debug_alloc((size_t)i, name, i);
    }
    test_in_thread(half_of_the_records_freed, blocks);
    for (int i = 1; i < 2000; i += 2) {
        snprintf(name, sizeof name, "file-%d.cpp", i % 100);
        assert_lookup(blocks[i], name, i, (size_t)i);
        assert_int_equal(test_heap_free(heap, blocks[i]), S_OK);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_gives_back_what_debug_alloc_was_told),
        cmocka_unit_test(the_file_name_is_copied),
        cmocka_unit_test(a_long_file_name_is_cut),
        cmocka_unit_test(lookup_of_a_plain_block_gives_its_usable_size),
        cmocka_unit_test(a_record_ends_with_its_block),
        cmocka_unit_test(lookup_of_anything_else_is_refused),
        cmocka_unit_test(lookup_without_an_out_pointer_is_e_pointer),
        cmocka_unit_test(debug_alloc_answers_as_alloc_does),
        cmocka_unit_test(records_of_many_blocks_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, heap_make, heap_end);
}
