// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_critical.c - blocks of every size, asked for as process-critical while the kernel refuses (SEC-10,
 * DECISION 45): the reserve is given up for them, and they wait.
 */
#include <errno.h>

#include "base/atomic.h"
#include "heap/debug_blocks.h"
#include "heap/limit.h"
#include "heap/thread_cache.h"
#include "meta/meta_arena.h"
#include "options/options.h"
#include "os/os.h"
#include "support/core.h"

enum { LAST_CLASS_BYTES = 256000 };

// The kernel, which refuses memory until the reserve was given up and so many waits are over.
static struct {
    struct hhi_os real;
    bool refuses;
    unsigned waits_left;
    unsigned given_up, waits;
    uint64_t now_ms;
} kernel;

static void *
reserve_map(size_t size_bytes)
{
    (void)size_bytes;
    return kernel.refuses ? NULL : &kernel;
}

static void
kernel_relents(void)
{
    kernel.refuses = kernel.refuses && (kernel.given_up == 0 || kernel.waits_left > 0);
}

static void
reserve_unmap(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
    kernel.given_up++;
    kernel_relents();
}

static void
reserve_wait(unsigned ms)
{
    kernel.now_ms += ms;
    kernel.waits++;
    kernel.waits_left -= kernel.waits_left > 0;
    kernel_relents();
}

static uint64_t
reserve_now_ms(void)
{
    return kernel.now_ms;
}

static const struct hhi_limit_system reserve_system = {reserve_map, reserve_unmap, reserve_wait,
                                                       reserve_now_ms};

static int
refused(void)
{
    // relaxed: a count.
    hh_fetch_add_relaxed(&hhi_os_calls, 1);
    return -ENOMEM;
}

static int
refusing_protect(void *address, size_t size_bytes, int protection)
{
    return kernel.refuses ? refused() : kernel.real.protect(address, size_bytes, protection);
}

static intptr_t
refusing_map(void *address, size_t size_bytes, int protection, int flags)
{
    return kernel.refuses ? refused() : kernel.real.map(address, size_bytes, protection, flags);
}

static struct hh_heap *others;

// Take all that the kernel does not have to give.
static void
use_up(struct hh_heap *heap)
{
    static const size_t sizes[] = {300000, 65536, 4096, 64};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        while (hhi_heap_alloc(heap, sizes[i], HHI_LEVEL_TASK) != NULL)
            continue;
}

static void
use_up_records(void)
{
    while (hhi_meta_alloc(64) != NULL)
        continue;
}

// The reserve is there, and memory is refused from now on.
static void
kernel_begins(unsigned waits)
{
    kernel.refuses = false;
    kernel.now_ms += 10 * HHI_LIMIT_REFILL_MS;
    hhi_limit_refill_reserve();
    kernel.given_up = kernel.waits = 0;
    kernel.waits_left = waits;
    kernel.refuses = true;
}

static bool debug; // whether blocks are asked for by DebugAlloc

static void *
ask(struct hh_heap *heap, size_t size_bytes, unsigned level)
{
    return debug ? hhi_heap_alloc_debug(heap, size_bytes, level, __FILE__, __LINE__)
                 : hhi_heap_alloc(heap, size_bytes, level);
}

static void
one_is_served(struct hh_heap *heap, size_t size_bytes, unsigned waits)
{
    kernel_begins(waits);
    use_up(others);
    void *block = ask(heap, size_bytes, HHI_LEVEL_PROCESS);
    if (block == NULL)
        print_error("%zu bytes, %u waits: refused, reserve given up %u times\n", size_bytes,
                    kernel.waits, kernel.given_up);
    assert_non_null(block);
    assert_int_equal(kernel.given_up, 1);
    assert_int_equal(kernel.waits, waits);
    kernel.refuses = false;
    core_fill(block, size_bytes, size_bytes);
}

// with_records: the heap has some for all classes, so the kernel is asked for the block alone.
static void
every_size_is_served_in(bool with_records, unsigned waits)
{
    static const size_t sizes[] = {16,    700,    3000,   9000,   20000,  33000,
                                   48000, 100000, 200000, 300000, 3000000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct hh_heap *heap = core_heap(); // in which the class is new
        if (with_records)
            core_fill(ask(heap, LAST_CLASS_BYTES, HHI_LEVEL_TASK), LAST_CLASS_BYTES, i);
        one_is_served(heap, sizes[i], waits);
        kernel.refuses = true;
        while (ask(heap, sizes[i], HHI_LEVEL_DOMAIN) != NULL)
            continue;
        one_is_served(heap, sizes[i], waits);
        hhi_heap_destroy(heap);
    }
}

static void
every_size_is_served(unsigned waits)
{
    others = core_heap();
    every_size_is_served_in(false, waits);
    every_size_is_served_in(true, waits);
    hhi_heap_destroy(others);
    hhi_trim();
}

static void
a_block_of_every_size_is_served_from_the_reserve(void **state)
{
    (void)state;
    every_size_is_served(0);
}

static void
a_block_of_every_size_is_waited_for(void **state)
{
    (void)state;
    every_size_is_served(1);
    every_size_is_served(3);
}

static void
a_debug_block_of_every_size_is_served_too(void **state)
{
    (void)state;
    debug = true;
    every_size_is_served(0);
    every_size_is_served(2);
    // Nor is there memory for the heap's lists of such blocks.
    struct hh_heap *heap = core_heap();
    kernel_begins(0);
    use_up_records();
    void *block = ask(heap, 700, HHI_LEVEL_PROCESS);
    assert_non_null(block);
    assert_int_equal(kernel.given_up, 1);
    kernel.refuses = false;
    hhi_heap_destroy(heap);
    debug = false;
}

static struct {
    struct hh_heap *heap;
    void *block;
} first;

static void
take_first(void *argument)
{
    (void)argument;
    first.block = hhi_heap_alloc(first.heap, 700, HHI_LEVEL_PROCESS);
}

// Nothing is left for the thread's record, either.
static void
the_first_block_of_a_thread_is_served_too(void **state)
{
    (void)state;
    others = core_heap();
    first.heap = core_heap();
    kernel_begins(0);
    while (hhi_orphan_take() != NULL)
        continue;
    use_up(others);
    use_up_records();
    core_in_thread(take_first, NULL);
    assert_non_null(first.block);
    assert_int_equal(kernel.given_up, 1);
    kernel.refuses = false;
}

static int
begin(void **state)
{
    (void)state;
    hhi_opt.decay_ms = HHI_DECAY_OFF; // nobody purges but the test
    hhi_limit_set_system(&reserve_system);
    hhi_limit_prepare_reserve();
    kernel.real = hhi_os;
    hhi_os.protect = refusing_protect;
    hhi_os.map = refusing_map;
    return 0;
}

static int
end(void **state)
{
    (void)state;
    hhi_os = kernel.real;
    (void)hhi_limit_release_reserve();
    hhi_limit_set_system(NULL);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_of_every_size_is_served_from_the_reserve),
        cmocka_unit_test(a_block_of_every_size_is_waited_for),
        cmocka_unit_test(a_debug_block_of_every_size_is_served_too),
        cmocka_unit_test(the_first_block_of_a_thread_is_served_too),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
