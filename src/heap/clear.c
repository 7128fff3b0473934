// SPDX-License-Identifier: MIT
// heap/clear.c - see clear.h.
#include "heap/clear.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "base/atomic.h"
#include "base/bits.h"
#include "os/os.h"

enum {
    STRIDE_BYTES = 256,          // looked at between two branches
    ASK_FROM_BYTES = 256 * 1024, // below it asking the kernel costs as much as looking
    PAGE_LEAST_BYTES = 4096,     // of a page of the system
    PIECE_PAGES = 256,           // it is asked about so many at a time
    SAMPLES = 4,                 // pages looked at before that
    ABSENT_DIVISOR = 8,          // at most so much of a piece is there when it is given back
    USELESS_ASKS = 4,            // after so many in a row smaller blocks are asked about no more,
    ASK_AGAIN = 64,              // but for one in so many
};
// Asks about blocks below ASK_FROM_BYTES, and blocks not asked about, since pages were absent the last time.
static _Atomic uint32_t useless_asks;

#if defined(__x86_64__)
enum {
    KEPT_AVX = 6,                    // of XCR0
    LOOKS_BEFORE = 256,              // pages looked at before the processor is asked what it has
    LOOKS_NARROW = LOOKS_BEFORE + 1, // it has not
    LOOKS_WIDE,
};
static _Atomic uint32_t looks_narrow; // pages so far, or what was found
#endif

// As wide as every processor of the kind has it.
typedef uint64_t clear_vector __attribute__((vector_size(16), may_alias));

HH_FAST bool
stride_is_zero(const char *at)
{
    const clear_vector *line = (const clear_vector *)(const void *)at;
    clear_vector any = line[0];
    for (size_t i = 1; i < STRIDE_BYTES / sizeof *line; i++)
        any |= line[i];
    return (any[0] | any[1]) == 0;
}

// Length of the beginning, in whole strides, that reads as zero. at: a multiple of 16.
static size_t
zeros_length_narrow(const char *at, size_t size_bytes)
{
    size_t length = 0;
    while (length + STRIDE_BYTES <= size_bytes && stride_is_zero(at + length))
        length += STRIDE_BYTES;
    return length;
}

#if defined(__x86_64__)

// The same with vectors of 32 bytes, where the processor has them: 1 MiB that is there and zero in 2.5 us less.
__attribute__((target("avx2"))) static size_t
zeros_length_wide(const char *at, size_t size_bytes)
{
    size_t length = 0;
    for (; length + STRIDE_BYTES <= size_bytes; length += STRIDE_BYTES) {
        const __m256i_u *line = (const __m256i_u *)(const void *)(at + length);
        // Two chains, so that neither waits for the other.
        __m256i even = _mm256_loadu_si256(line), odd = _mm256_loadu_si256(line + 1);
        for (size_t i = 2; i < STRIDE_BYTES / sizeof *line; i += 2) {
            even = _mm256_or_si256(even, _mm256_loadu_si256(line + i));
            odd = _mm256_or_si256(odd, _mm256_loadu_si256(line + i + 1));
        }
        even = _mm256_or_si256(even, odd);
        if (!_mm256_testz_si256(even, even))
            break;
    }
    return length;
}

// Whether there is AVX2, and the system keeps its registers.
static bool
processor_is_wide(void)
{
    unsigned a, b, c, d, kept_low, kept_high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return false;
    __asm__("xgetbv" : "=a"(kept_low), "=d"(kept_high) : "c"(0));
    return (kept_low & KEPT_AVX) == KEPT_AVX && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (b & bit_AVX2) != 0;
}

/*
 * Asked for late. Each question of the processor goes to the host of a virtual machine, and
 * __builtin_cpu_supports asks them all when a process starts, which took 80 us of it.
 */
static bool
look_is_wide(void)
{
    // relaxed (all): who asks twice gets the same answer.
    uint32_t looks = hh_load_relaxed(&looks_narrow);
    if (looks == LOOKS_BEFORE)
        looks = processor_is_wide() ? LOOKS_WIDE : LOOKS_NARROW;
    else if (looks < LOOKS_BEFORE)
        looks++;
    else
        return looks == LOOKS_WIDE;
    hh_store_relaxed(&looks_narrow, looks);
    return looks == LOOKS_WIDE;
}

static size_t
zeros_length(const char *at, size_t size_bytes)
{
    return look_is_wide() ? zeros_length_wide(at, size_bytes) : zeros_length_narrow(at, size_bytes);
}

#else

static size_t
zeros_length(const char *at, size_t size_bytes)
{
    return zeros_length_narrow(at, size_bytes);
}

#endif

// Write zeros to the pages that hold anything else.
static void
clear_used(char *block, size_t size_bytes)
{
    size_t used = SIZE_MAX; // where the pages to be written begin; SIZE_MAX: none
    for (size_t at = 0, length; at < size_bytes; at += length) {
        size_t page_bytes = hhi_os_page_bytes();
        length = page_bytes - ((uintptr_t)(block + at) & (page_bytes - 1));
        if (length > size_bytes - at)
            length = size_bytes - at;
        size_t zeros = zeros_length(block + at, length);
        if (zeros == length && used != SIZE_MAX) {
            memset(block + used, 0, at - used);
            used = SIZE_MAX;
        } else if (zeros != length && used == SIZE_MAX) {
            used = at + zeros;
        }
    }
    if (used != SIZE_MAX)
        memset(block + used, 0, size_bytes - used);
}

// Whether some pages all begin with something else than zero: then hardly any page of them reads as zero.
static bool
looks_used(const char *at, size_t size_bytes)
{
    size_t step = hh_align_down(size_bytes / SAMPLES, hhi_os_page_bytes());
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        if (stride_is_zero(at + sample * step))
            return false;
    }
    return true;
}

/*
 * Give whole pages back if most of them are not there. "Not there" may also be a page that the kernel
 * has written to its swap space: giving back makes that one zero, too, which is why pages are not
 * simply skipped. False: nothing changed, or not all of it.
 */
static bool
clear_absent(char *at, unsigned pages)
{
    unsigned char there[PIECE_PAGES];
    size_t size_bytes = pages * hhi_os_page_bytes();
    if (looks_used(at, size_bytes) || hhi_os_resident(at, size_bytes, there) != 0)
        return false;
    unsigned count = 0;
    for (unsigned page = 0; page < pages; page++)
        count += there[page] & 1;
    return count <= pages / ABSENT_DIVISOR && hhi_os_purge(at, size_bytes) == 0;
}

/*
 * The same for less than ASK_FROM_BYTES, as far as asking has been worth it lately: a buffer of which only the ends
 * were written, once and again. Reading its other pages would be a fault for each, and make them resident where
 * the kernel has no page of zeros. From the first absent page to the last all are given back.
 */
static bool
clear_mostly_absent(char *at, unsigned pages)
{
    unsigned char there[ASK_FROM_BYTES / PAGE_LEAST_BYTES];
    size_t page_bytes = hhi_os_page_bytes();
    // relaxed (all): a hint; threads that count at once may ask a time more or less.
    uint32_t useless = hh_load_relaxed(&useless_asks);
    if (useless >= USELESS_ASKS && useless % ASK_AGAIN != 0) {
        hh_store_relaxed(&useless_asks, useless + 1);
        return false;
    }
    if (hhi_os_resident(at, pages * page_bytes, there) != 0)
        return false;
    unsigned first = pages, end = 0, absent = 0;
    for (unsigned page = 0; page < pages; page++) {
        if ((there[page] & 1) != 0)
            continue;
        first = first < page ? first : page;
        end = page + 1;
        absent++;
    }
    bool useful = absent > pages / 2;
    hh_store_relaxed(&useless_asks, useful ? 0 : useless + 1);
    if (!useful || hhi_os_purge(at + first * page_bytes, (end - first) * page_bytes) != 0)
        return false;
    clear_used(at, first * page_bytes);
    clear_used(at + end * page_bytes, (pages - end) * page_bytes);
    return true;
}

// Of a block below ASK_FROM_BYTES, what lies in whole pages and what does not.
static void
clear_asking(char *at, size_t size_bytes)
{
    size_t page_bytes = hhi_os_page_bytes();
    size_t before = -(uintptr_t)at & (page_bytes - 1);
    size_t whole = size_bytes > before ? hh_align_down(size_bytes - before, page_bytes) : 0;
    if (whole == 0 || !clear_mostly_absent(at + before, (unsigned)(whole / page_bytes))) {
        clear_used(at, size_bytes);
        return;
    }
    clear_used(at, before);
    clear_used(at + before + whole, size_bytes - before - whole);
}

void
hhi_clear(void *block, size_t size_bytes)
{
    char *at = block;
    size_t page_bytes = hhi_os_page_bytes();
    size_t before = -(uintptr_t)at & (page_bytes - 1); // up to the first whole page
    if (size_bytes < ASK_FROM_BYTES) {
        clear_asking(at, size_bytes);
        return;
    }
    clear_used(at, before);
    at += before;
    size_bytes -= before;
    while (size_bytes >= page_bytes) {
        size_t pages =
            size_bytes / page_bytes < PIECE_PAGES ? size_bytes / page_bytes : PIECE_PAGES;
        if (!clear_absent(at, (unsigned)pages))
            clear_used(at, pages * page_bytes);
        at += pages * page_bytes;
        size_bytes -= pages * page_bytes;
    }
    clear_used(at, size_bytes);
}
