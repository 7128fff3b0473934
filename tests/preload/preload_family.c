// SPDX-License-Identifier: MIT
/* The malloc family: what each function returns, and errno, at the edges. */
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>

#include "support/plain.h"

void *__libc_malloc(size_t size_bytes);
void *__libc_calloc(size_t count, size_t size_bytes);
void *__libc_realloc(void *block, size_t size_bytes);
void *__libc_memalign(size_t alignment_bytes, size_t size_bytes);
void *__libc_valloc(size_t size_bytes);
void *__libc_pvalloc(size_t size_bytes);
void __libc_free(void *block);

PLAIN_FUNCTION(void, cfree, (void *block), (block))
PLAIN_FUNCTION(void, free_sized, (void *block, size_t size_bytes), (block, size_bytes))
PLAIN_FUNCTION(void, free_aligned_sized, (void *block, size_t alignment_bytes, size_t size_bytes),
               (block, alignment_bytes, size_bytes))

// Too large for any heap; volatile, so that the compiler does not warn or fold.
static volatile size_t huge_sizes[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096,
                                       (size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX};
enum { HUGE_SIZES = sizeof huge_sizes / sizeof huge_sizes[0] };

#define check_fails(call, wanted_errno)                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        check((call) == NULL);                                                                     \
        check(errno == (wanted_errno));                                                            \
    } while (0)

static void
check_block(void *block, size_t size_bytes, size_t alignment_bytes)
{
    check(block != NULL);
    check(plain_is_block(block));
    check((uintptr_t)block % alignment_bytes == 0);
    check(malloc_usable_size(block) >= size_bytes);
    memset(block, 0xa5, malloc_usable_size(block));
}

static void
malloc_of_every_small_size_is_aligned_and_large_enough(void)
{
    for (size_t size_bytes = 0; size_bytes < 5000; size_bytes++) {
        errno = EDOM;
        void *block = malloc(size_bytes);
        check_block(block, size_bytes, 16);
        free(block);
        check(errno == EDOM);
    }
    for (size_t size_bytes = 5000; size_bytes < (64u << 20); size_bytes += size_bytes / 3) {
        void *block = malloc(size_bytes);
        check_block(block, size_bytes, 16);
        free(block);
    }
}

static void
malloc_of_zero_bytes_gives_different_blocks(void)
{
    void *first = malloc(0);
    void *second = malloc(0);
    check(first != NULL && second != NULL && first != second);
    free(first);
    free(second);
    free(NULL);
}

static void
impossible_sizes_fail_with_enomem(void)
{
    char *block = malloc(100);
    memset(block, 7, 100);
    for (int i = 0; i < HUGE_SIZES; i++) {
        check_fails(malloc(huge_sizes[i]), ENOMEM);
        check_fails(calloc(1, huge_sizes[i]), ENOMEM);
        check_fails(calloc(huge_sizes[i], 1), ENOMEM);
        check_fails(realloc(block, huge_sizes[i]), ENOMEM);
        check_fails(reallocarray(block, huge_sizes[i], 1), ENOMEM);
        check_fails(aligned_alloc(64, huge_sizes[i]), ENOMEM);
        check_fails(memalign(64, huge_sizes[i]), ENOMEM);
        check_fails(valloc(huge_sizes[i]), ENOMEM);
        check_fails(pvalloc(huge_sizes[i]), ENOMEM);
        void *untouched = &block;
        check(posix_memalign(&untouched, 64, huge_sizes[i]) == ENOMEM && untouched == &block);
    }
    for (int i = 0; i < 100; i++)
        check(block[i] == 7); // a failed realloc leaves the block
    free(block);
}

static void
products_that_overflow_fail_with_enomem(void)
{
    static volatile size_t rows[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32},
        {(size_t)1 << 33, (size_t)1 << 33},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX / 16 + 1, 16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_fails(calloc(rows[i][0], rows[i][1]), ENOMEM);
        check_fails(reallocarray(NULL, rows[i][0], rows[i][1]), ENOMEM);
    }
}

static void
calloc_gives_zeroes_where_rubbish_was(void)
{
    for (size_t size_bytes = 1; size_bytes < (8u << 20); size_bytes += size_bytes / 2 + 1) {
        for (int round = 0; round < 4; round++) {
            void *dirty = malloc(size_bytes);
            memset(dirty, 0xff, size_bytes);
            free(dirty);
            unsigned char *block = calloc(1, size_bytes);
            check(block != NULL);
            for (size_t i = 0; i < size_bytes; i++)
                check(block[i] == 0);
            memset(block, 0xee, malloc_usable_size(block));
            free(block);
        }
    }
    void *empty = calloc(0, 5);
    check_block(empty, 0, 16);
    plain_cfree(empty);
}

static void
realloc_keeps_contents_through_every_size(void)
{
    size_t size_bytes = 1;
    unsigned char *block = realloc(NULL, size_bytes);
    block[0] = 1;
    for (int step = 0; step < 400; step++) {
        size_t wanted_bytes = step % 3 == 2 ? size_bytes / 2 + 1 : size_bytes + size_bytes / 4 + 7;
        if (wanted_bytes > (16u << 20))
            wanted_bytes = 3;
        block = realloc(block, wanted_bytes);
        check(block != NULL && plain_is_block(block));
        size_t kept_bytes = wanted_bytes < size_bytes ? wanted_bytes : size_bytes;
        for (size_t i = 0; i < kept_bytes; i += 1 + kept_bytes / 997)
            check(block[i] == (unsigned char)(i * 7 + 1));
        for (size_t i = 0; i < wanted_bytes; i++)
            block[i] = (unsigned char)(i * 7 + 1);
        size_bytes = wanted_bytes;
    }
}

static void
realloc_to_zero_frees(void)
{
    void *volatile block = malloc(100);
    errno = EDOM;
    check(realloc(block, 0) == NULL);
    check(!plain_is_block(block));
    check(errno == EDOM);
    block = realloc(NULL, 0);
    check_block(block, 0, 16);
    check(reallocarray(block, 0, 8) == NULL);
    check(!plain_is_block(block));
}

static void
aligned_functions_align(void)
{
    void *block = NULL;
    for (size_t alignment = sizeof(void *); alignment <= (4u << 20); alignment *= 2) {
        for (size_t size_bytes = 0; size_bytes < 40000; size_bytes = size_bytes * 3 + 1) {
            errno = EDOM;
            check(posix_memalign(&block, alignment, size_bytes) == 0);
            check(errno == EDOM);
            check_block(block, size_bytes, alignment);
            free(block);
            block = aligned_alloc(alignment, size_bytes);
            check_block(block, size_bytes, alignment);
            plain_free_aligned_sized(block, alignment, size_bytes);
            block = memalign(alignment, size_bytes);
            check_block(block, size_bytes, alignment);
            block = realloc(block, size_bytes + 1);
            check_block(block, size_bytes + 1, 16);
            free(block);
        }
    }
}

static void
aligned_functions_refuse_what_posix_says(void)
{
    void *block = &block;
    static volatile size_t bad_alignments[] = {0, 1, 2, 3, 4, 7, 12, 24, 100, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad_alignments / sizeof bad_alignments[0]; i++) {
        check(posix_memalign(&block, bad_alignments[i], 8) == EINVAL);
        check(block == &block);
    }
    static volatile size_t no_powers[] = {0, 3, 24, 100, SIZE_MAX};
    for (size_t i = 0; i < sizeof no_powers / sizeof no_powers[0]; i++)
        check_fails(aligned_alloc(no_powers[i], 8), EINVAL);
    static volatile size_t too_far[] = {SIZE_MAX, SIZE_MAX / 2 + 2};
    for (size_t i = 0; i < sizeof too_far / sizeof too_far[0]; i++)
        check_fails(memalign(too_far[i], 8), EINVAL);
    static volatile size_t far = (size_t)1 << 62;
    check_fails(memalign(far, 8), ENOMEM);
    check_fails(aligned_alloc(far, 8), ENOMEM);
}

static void
memalign_rounds_odd_alignments_up(void)
{
    static volatile size_t rows[][2] = {{0, 16}, {1, 16}, {24, 32}, {100, 128}, {5000, 8192}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *block = memalign(rows[i][0], 50);
        check_block(block, 50, rows[i][1]);
        free(block);
    }
}

static void
valloc_and_pvalloc_give_whole_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *block = valloc(10);
    check_block(block, 10, page);
    free(block);
    block = pvalloc(0);
    check_block(block, page, page);
    free(block);
    block = pvalloc(page + 1);
    check_block(block, 2 * page, page);
    free(block);
}

static void
sized_frees_accept_every_size_that_was_asked_for(void)
{
    for (size_t size_bytes = 0; size_bytes < (2u << 20); size_bytes += 1 + size_bytes / 37) {
        size_t less_bytes = size_bytes - size_bytes / 5 + 1;
        size_t more_bytes = size_bytes + size_bytes / 9 + 1;
        plain_free_sized(malloc(size_bytes), size_bytes);
        plain_free_sized(calloc(1, size_bytes), size_bytes);
        // A block that shrank or grew in place is known by its new size.
        plain_free_sized(realloc(malloc(size_bytes), less_bytes), less_bytes);
        plain_free_sized(realloc(malloc(size_bytes), more_bytes), more_bytes);
    }
    for (size_t from_bytes = 1; from_bytes < 600; from_bytes++) {
        for (size_t to_bytes = 1; to_bytes < 600; to_bytes += 1 + to_bytes / 4)
            plain_free_sized(realloc(malloc(from_bytes), to_bytes), to_bytes);
    }
    plain_free_sized(NULL, 10);
    plain_free_aligned_sized(NULL, 64, 10);
}

static void
libc_names_are_the_same_heap(void)
{
    void *block = __libc_malloc(10);
    check_block(block, 10, 16);
    block = __libc_realloc(block, 100);
    check_block(block, 100, 16);
    __libc_free(block);
    check_block(block = __libc_calloc(3, 3), 9, 16);
    free(block);
    check_block(block = __libc_memalign(256, 3), 3, 256);
    free(block);
    check_block(block = __libc_valloc(3), 3, 4096);
    free(block);
    check_block(block = __libc_pvalloc(3), 4096, 4096);
    free(block);
    // A libc function that allocates for its caller.
    char *text = strdup("text");
    check(plain_is_block(text));
    free(text);
    check(malloc_usable_size(NULL) == 0);
}

static void
free_keeps_errno_when_it_calls_the_system(void)
{
    for (int i = 0; i < 20; i++) {
        void *block = malloc(100u << 20);
        check(block != NULL);
        memset(block, 1, 10000);
        errno = EDOM;
        free(block);
        check(errno == EDOM);
    }
}

static void
glibc_questions_are_answered_by_this_heap(void)
{
    struct mallinfo2 before = mallinfo2();
    void *large = malloc(50u << 20);
    void *small = malloc(1000);
    struct mallinfo2 after = mallinfo2();
    check(after.uordblks >= before.uordblks + (50u << 20) + 1000);
    check(after.hblks == before.hblks + 1);
    check(after.hblkhd >= before.hblkhd + (50u << 20));
    free(large);
    free(small);
    struct mallinfo2 again = mallinfo2();
    check(again.uordblks == before.uordblks);
    check(again.hblks == before.hblks);
    memset(large = malloc(8u << 20), 1, 8u << 20);
    free(large);
    int trimmed = malloc_trim(0);
    check(trimmed == 0 || trimmed == 1);
    check(mallopt(M_MMAP_THRESHOLD, 100000) == 1);
    check(mallopt(12345, 1) == 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    check((size_t)mallinfo().uordblks == mallinfo2().uordblks);
#pragma GCC diagnostic pop
}

static void
malloc_info_writes_xml(void)
{
    char *text = NULL;
    size_t length_bytes = 0;
    FILE *stream = open_memstream(&text, &length_bytes);
    check(malloc_info(1, stream) == EINVAL);
    check(malloc_info(0, stream) == 0);
    fclose(stream);
    check(strncmp(text, "<malloc version=\"1\">\n", 21) == 0);
    check(strcmp(text + length_bytes - 10, "</malloc>\n") == 0);
    free(text);
}

int
main(void)
{
    malloc_of_every_small_size_is_aligned_and_large_enough();
    malloc_of_zero_bytes_gives_different_blocks();
    impossible_sizes_fail_with_enomem();
    products_that_overflow_fail_with_enomem();
    calloc_gives_zeroes_where_rubbish_was();
    realloc_keeps_contents_through_every_size();
    realloc_to_zero_frees();
    aligned_functions_align();
    aligned_functions_refuse_what_posix_says();
    memalign_rounds_odd_alignments_up();
    valloc_and_pvalloc_give_whole_pages();
    sized_frees_accept_every_size_that_was_asked_for();
    libc_names_are_the_same_heap();
    free_keeps_errno_when_it_calls_the_system();
    glibc_questions_are_answered_by_this_heap();
    malloc_info_writes_xml();
    return 0;
}
