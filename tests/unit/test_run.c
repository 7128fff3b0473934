// SPDX-License-Identifier: MIT
// tests/unit/test_run.c - runs of granules: taken, extended, given back, purged; refusals of the OS.
#include "region/run.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/bits.h"
#include "options/options.h"
#include "os/os.h"
#include "region/window.h"
#include "support/core.h"

enum { MIB_GRANULES = 16, REGION_GRANULES = 1024 };

static struct hhi_os kernel;

// What the fake kernel refuses. A count of 0: the next call is refused; negative: none is.
static struct {
    int map_in, unmap_in, protect_in, advise_in;
    size_t largest_map_bytes; // 0 = any
    uintptr_t taken_from;     // 0 = nothing; else all addresses from here on are somebody's
} refuse;

static bool
refused(int *in)
{
    return *in >= 0 && (*in)-- == 0;
}

static intptr_t
fake_map(void *address, size_t size_bytes, int protection, int flags)
{
    if (refused(&refuse.map_in) ||
        (refuse.largest_map_bytes != 0 && size_bytes > refuse.largest_map_bytes))
        return -ENOMEM;
    if (refuse.taken_from != 0 && (uintptr_t)address + size_bytes > refuse.taken_from)
        return -EEXIST;
    return kernel.map(address, size_bytes, protection, flags);
}

// What is refused may have been done in part.
static int
fake_unmap(void *address, size_t size_bytes)
{
    return refused(&refuse.unmap_in) ? -ENOMEM : kernel.unmap(address, size_bytes);
}

static int
fake_protect(void *address, size_t size_bytes, int protection)
{
    if (!refused(&refuse.protect_in))
        return kernel.protect(address, size_bytes, protection);
    size_t part_bytes = hh_align_down(size_bytes / 2, hhi_os_page_bytes());
    return part_bytes != 0 && kernel.protect(address, part_bytes, protection) != 0 ? -EINVAL
                                                                                   : -ENOMEM;
}

static int
fake_advise(void *address, size_t size_bytes, int advice)
{
    return refused(&refuse.advise_in) ? -EINVAL : kernel.advise(address, size_bytes, advice);
}

static void
refuse_nothing(void)
{
    refuse.map_in = refuse.unmap_in = refuse.protect_in = refuse.advise_in = -1;
    refuse.largest_map_bytes = 0;
    refuse.taken_from = 0;
}

static int
kernel_replace(void **state)
{
    (void)state;
    kernel = hhi_os;
    refuse_nothing();
    hhi_os.map = fake_map;
    hhi_os.unmap = fake_unmap;
    hhi_os.protect = fake_protect;
    hhi_os.advise = fake_advise;
    return 0;
}

static bool
run_try(uint32_t count, uint32_t alignment, bool executable, struct hhi_run *run)
{
    struct hhi_run_request request = {count, alignment, executable, HHI_ASK_MORE, false};
    return hhi_run_alloc(&request, run);
}

static struct hhi_run
run_take(uint32_t count)
{
    struct hhi_run run;
    assert_true(run_try(count, 1, false, &run));
    assert_int_equal(run.count, count);
    hhi_run_check();
    return run;
}

static void
run_give(struct hhi_run run)
{
    hhi_run_free(run.first, run.count);
    hhi_run_check();
}

static char *
run_bytes(struct hhi_run run)
{
    return (char *)hhi_granule_address(run.first);
}

static size_t
run_size(struct hhi_run run)
{
    return (size_t)run.count << HHI_GRANULE_SHIFT;
}

// Give everything back, so that each test starts with what the last one left: nothing.
static int
all_back(void **state)
{
    (void)state;
    refuse_nothing();
    hhi_opt.huge_pages = false;
    hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
    return 0;
}

static struct hhi_run_stats
figures(void)
{
    struct hhi_run_stats stats;
    hhi_run_read_stats(&stats);
    return stats;
}

static void
a_random_history_keeps_runs_apart(void **state)
{
    (void)state;
    enum { RUNS = 64, STEPS = 4000 };
    struct hhi_run runs[RUNS] = {{0}};
    uint64_t seed = 5;
    for (int step = 0; step < STEPS; step++) {
        struct hhi_run *run = &runs[core_random(&seed) % RUNS];
        if (run->count != 0) {
            assert_true(core_holds(run_bytes(*run), run_size(*run), run->first));
            hhi_run_free(run->first, run->count);
            run->count = 0;
        } else {
            uint32_t alignment = 1u << core_random(&seed) % 6;
            uint32_t count = 1 + (uint32_t)(core_random(&seed) % (step % 10 == 0 ? 100 : 6));
            assert_true(run_try(count, alignment, false, run));
            uintptr_t bytes = (uintptr_t)alignment << HHI_GRANULE_SHIFT;
            assert_int_equal((uintptr_t)run_bytes(*run) % bytes, 0);
            if (run->clean_granules == count)
                assert_true(core_is_zero(run_bytes(*run), 4096));
            core_fill(run_bytes(*run), run_size(*run), run->first);
        }
        if (step % 50 == 0)
            hhi_run_purge(HHI_RUN_ALL, 0, (size_t)(core_random(&seed) % 64) << 16);
        if (step % 16 == 0)
            hhi_run_check();
    }
    for (int at = 0; at < RUNS; at++)
        if (runs[at].count != 0)
            run_give(runs[at]);
    assert_int_equal(hhi_run_retained_bytes(), figures().retained_bytes);
}

static void
a_run_grows_into_free_granules_only(void **state)
{
    (void)state;
    uint32_t clean;
    struct hhi_run first = run_take(2), second = run_take(2);
    assert_int_equal(second.first, first.first + 2);
    assert_int_equal(hhi_run_extend(first.first, 2, 1, &clean), -EEXIST);
    run_give(second);
    assert_int_equal(hhi_run_extend(first.first, 2, 3, &clean), 0);
    assert_int_equal(clean, 1); // two were used before, the third never
    hhi_run_check();
    assert_int_equal(hhi_run_extend(first.first, 5, REGION_GRANULES, &clean), -EEXIST);
    assert_int_equal(hhi_run_extend(first.first, 5, UINT32_MAX - 3, &clean), -EEXIST);
    run_give((struct hhi_run){.first = first.first, .count = 5});
}

static void
the_lowest_fitting_run_is_taken(void **state)
{
    (void)state;
    struct hhi_run runs[6];
    for (int at = 0; at < 6; at++)
        runs[at] = run_take(4);
    run_give(runs[1]);
    run_give(runs[3]);
    assert_int_equal(run_take(4).first, runs[1].first);
    assert_int_equal(run_take(3).first, runs[3].first);
    assert_true(run_take(2).first > runs[5].first);
    hhi_run_free(runs[0].first, 2 * 4);
    hhi_run_free(runs[2].first, 4 + 3);
    hhi_run_free(runs[4].first, 2 * 4 + 2);
    hhi_run_check();
}

static void
freed_granules_are_retained_until_purged_and_read_as_zero_afterwards(void **state)
{
    (void)state;
    struct hhi_run run = run_take(10);
    memset(run_bytes(run), 0x5A, run_size(run));
    uint64_t purged_bytes = figures().purged_bytes;
    run_give(run);
    assert_int_equal(figures().retained_bytes, run_size(run));
    assert_int_equal(run_take(4).clean_granules, 0);
    hhi_run_free(run.first, 4);
    assert_int_equal(hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX), run_size(run));
    assert_int_equal(figures().retained_bytes, 0);
    assert_int_equal(figures().purged_bytes - purged_bytes, run_size(run));
    hhi_run_check();
    run = run_take(10);
    assert_int_equal(run.clean_granules, 10);
    assert_true(core_is_zero(run_bytes(run), run_size(run)));
    run_give(run);
}

static void
only_what_is_old_enough_is_purged(void **state)
{
    (void)state;
    struct hhi_run run = run_take(8);
    uint64_t now_ms = hhi_os_clock_ms();
    run_give(run);
    assert_int_equal(hhi_run_purge(now_ms, 60000, SIZE_MAX), 0);
    assert_int_equal(hhi_run_purge(now_ms + 120000, 60000, SIZE_MAX), run_size(run));
    assert_int_equal(hhi_run_purge(now_ms + 120000, 60000, SIZE_MAX), 0);
}

static void
a_purge_stops_at_its_limit(void **state)
{
    (void)state;
    struct hhi_run run = run_take(64);
    run_give(run);
    size_t purged_bytes = hhi_run_purge(HHI_RUN_ALL, 0, (size_t)16 << HHI_GRANULE_SHIFT);
    assert_in_range(purged_bytes >> HHI_GRANULE_SHIFT, 16, 17);
    hhi_run_check();
    assert_int_equal(figures().retained_bytes, run_size(run) - purged_bytes);
}

static void
what_can_not_be_purged_stays_retained(void **state)
{
    (void)state;
    struct hhi_run run = run_take(8);
    memset(run_bytes(run), 1, run_size(run));
    run_give(run);
    refuse.advise_in = 0;
    assert_int_equal(hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX), 0);
    hhi_run_check();
    assert_int_equal(figures().retained_bytes, run_size(run));
    assert_int_equal(run_take(8).clean_granules, 0);
    run_give(run);
    assert_int_equal(hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX), run_size(run));
}

static void
executable_runs_lie_in_regions_of_their_own(void **state)
{
    (void)state;
    struct hhi_run plain = run_take(1), code;
    if (!run_try(1, 1, true, &code))
        skip(); // the system refuses such pages
    unsigned char *bytes = (unsigned char *)run_bytes(code);
    bytes[0] = 0xC3; // ret, on x86
#if defined(__x86_64__)
    ((void (*)(void))(uintptr_t)bytes)();
#endif
    struct hhi_os_mapping mapping;
    assert_int_equal(hhi_os_find_mapping((uintptr_t)run_bytes(plain), &mapping), 0);
    assert_int_equal(mapping.access & HHI_ACCESS_EXECUTE, 0);
    assert_int_equal(hhi_os_find_mapping((uintptr_t)bytes, &mapping), 0);
    assert_int_not_equal(mapping.access & HHI_ACCESS_EXECUTE, 0);
    run_give(code);
    run_give(plain);
}

// A request larger than any region so far: a region of its own.
static uint32_t
more_than_any_region(void)
{
    return (uint32_t)(figures().reserved_bytes >> HHI_GRANULE_SHIFT) + REGION_GRANULES;
}

static void
empty_regions_go_back_but_for_one(void **state)
{
    (void)state;
    struct hhi_run small = run_take(1), large = run_take(more_than_any_region());
    memset(run_bytes(large), 1, 4096);
    assert_true(figures().regions >= 2);
    run_give(small);
    run_give(large);
    hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
    assert_int_equal(figures().regions, 1);
    assert_int_equal(mincore((void *)hhi_granule_address(large.first + large.count - 1), 4096,
                             (unsigned char[1]){0}),
                     -1); // not mapped
    run_give(run_take(large.count));
}

// What is mapped by others between regions, or where one would be, is stepped over and kept.
static void
foreign_mappings_in_the_window_are_stepped_over(void **state)
{
    (void)state;
    enum { FOREIGN = 5 };
    char *foreign[FOREIGN];
    struct hhi_run runs[FOREIGN];
    uint32_t count = more_than_any_region();
    struct hhi_run probe = run_take(count);
    uint32_t next = probe.first + count;
    for (int at = 0; at < FOREIGN; at++) {
        uint32_t granule = next + (uint32_t)at * (count + 3 * MIB_GRANULES) + 5;
        foreign[at] = mmap((void *)hhi_granule_address(granule), 4096, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_ptr_equal(foreign[at], (void *)hhi_granule_address(granule));
        memset(foreign[at], 0x77, 4096);
    }
    for (int at = 0; at < FOREIGN; at++) {
        runs[at] = run_take(count);
        memset(run_bytes(runs[at]), 0x11,
               run_size(runs[at]) < (8 << 20) ? run_size(runs[at]) : 8 << 20);
        for (int other = 0; other < FOREIGN; other++)
            assert_true(foreign[other] + 4096 <= run_bytes(runs[at]) ||
                        foreign[other] >= run_bytes(runs[at]) + run_size(runs[at]));
    }
    for (int at = 0; at < FOREIGN; at++) {
        for (int byte = 0; byte < 4096; byte++)
            assert_int_equal(foreign[at][byte], 0x77);
        run_give(runs[at]);
        munmap(foreign[at], 4096);
    }
    run_give(probe);
}

// A library loaded inside the window, say. One of the four regions stays reserved when all are empty.
static void
released_addresses_serve_when_all_above_is_foreign(void **state)
{
    (void)state;
    enum { REGIONS = 4 };
    struct hhi_run runs[REGIONS];
    uint32_t count = (uint32_t)hhi_window.most_granules / 32; // larger than any released before
    if (hhi_window.most_granules << HHI_GRANULE_SHIFT < (size_t)16 << 30)
        skip();
    for (int at = 0; at < REGIONS; at++) {
        runs[at] = run_take(count);
        assert_true(at == 0 || runs[at].first == runs[at - 1].first + count);
    }
    for (int at = 0; at < REGIONS; at++)
        run_give(runs[at]);
    hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
    refuse.taken_from = hhi_granule_address(runs[REGIONS - 1].first + count);
    struct hhi_run larger = run_take(count + MIB_GRANULES);
    assert_true(larger.first + larger.count <= runs[REGIONS - 1].first + count);
    refuse_nothing();
    run_give(larger);
}

static void
a_region_is_as_large_as_the_system_grants(void **state)
{
    (void)state;
    struct hhi_run hold = run_take(1); // the region kept stays in use
    uint32_t rest = (uint32_t)(figures().reserved_bytes >> HHI_GRANULE_SHIFT) - 1;
    uint32_t clean;
    assert_int_equal(hhi_run_extend(hold.first, 1, rest, &clean), 0); // all of it
    size_t reserved_bytes = figures().reserved_bytes;
    refuse.largest_map_bytes = (size_t)5 << 20;
    struct hhi_run run = run_take(3);
    size_t grown_bytes = figures().reserved_bytes - reserved_bytes;
    assert_in_range(grown_bytes, 1 << 20, 5 << 20);
    struct hhi_run refused_run;
    assert_false(run_try(6 * MIB_GRANULES, 1, false, &refused_run));
    hhi_run_check();
    refuse_nothing();
    run_give(run_take(6 * MIB_GRANULES));
    run_give(run);
    run_give((struct hhi_run){.first = hold.first, .count = rest + 1});
}

/*
 * Every call of a request for a region of its own is refused in turn, until the request needs no
 * more calls than were let through.
 */
static void
refusal_sweep(int *refused_in)
{
    for (int let_through = 0;; let_through++) {
        hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
        struct hhi_run_stats before = figures();
        uint32_t count = more_than_any_region() + (uint32_t)let_through * MIB_GRANULES;
        struct hhi_run run;
        refuse_nothing();
        *refused_in = let_through;
        bool done = run_try(count, 1, false, &run);
        bool was_refused = *refused_in < 0;
        refuse_nothing();
        hhi_run_check();
        if (done) {
            memset(run_bytes(run), 3, run_size(run) < 4096 * 16 ? run_size(run) : 4096 * 16);
            run_give(run);
        } else {
            assert_true(was_refused);
            // A region reserved in vain may be kept, but nothing is used or retained for it.
            assert_int_equal(figures().retained_bytes, before.retained_bytes);
            run_give(run_take(count)); // it works again
        }
        if (!was_refused)
            return;
        assert_true(let_through < 100);
    }
}

static void
a_refused_map_call_leaves_nothing_behind(void **state)
{
    (void)state;
    refusal_sweep(&refuse.map_in);
}

static void
a_refused_protect_call_leaves_nothing_behind(void **state)
{
    (void)state;
    refusal_sweep(&refuse.protect_in);
}

static void
a_refused_commit_of_an_extension_changes_nothing(void **state)
{
    (void)state;
    struct hhi_run run = run_take(1);
    uint32_t clean = 77;
    refuse.protect_in = 0;
    assert_int_equal(hhi_run_extend(run.first, 1, 512, &clean), -ENOMEM);
    hhi_run_check();
    refuse_nothing();
    assert_int_equal(hhi_run_extend(run.first, 1, 512, &clean), 0);
    run_give((struct hhi_run){.first = run.first, .count = 513});
}

// Pages were refused, so a region's free end is to be given up, which is refused, too.
static void
a_free_end_that_is_not_taken_back_is_whole_again(void **state)
{
    (void)state;
    struct hhi_run low = run_take(1), high = run_take(256);
    run_give(high);
    struct hhi_tries tries = {.size_bytes = run_size(high), .pages = true, .next_calls = 1};
    memset(run_bytes(high), 5, run_size(high));
    refuse.map_in = 0;
    assert_true(hhi_run_give_back(&tries) > 0);
    assert_true(refuse.map_in < 0);
    assert_int_equal(tries.calls, 2);
    hhi_run_check();
    struct hhi_run again = run_take(256);
    assert_int_equal(again.first, high.first);
    assert_int_equal(run_bytes(again)[run_size(again) - 1], 0);
    memset(run_bytes(again), 1, run_size(again));
    run_give(again);
    run_give(low);
}

static void
what_does_not_fit_the_window_is_refused(void **state)
{
    (void)state;
    struct hhi_run run;
    assert_false(run_try((uint32_t)hhi_window.most_granules + 1, 1, false, &run));
    assert_false(run_try(UINT32_MAX, 1, false, &run));
    hhi_run_check();
}

// A buffer that grows leaves gaps too small for its next size; together they must serve it.
static void
addresses_of_released_regions_are_used_again(void **state)
{
    (void)state;
    size_t window_bytes = hhi_window.most_granules << HHI_GRANULE_SHIFT;
    uint32_t count = (uint32_t)(hhi_window.most_granules / 256), step = count / 16;
    if (window_bytes < (size_t)16 << 30)
        skip();
    for (int round = 0; round < 160; round++) {
        struct hhi_run run;
        assert_true(run_try(count, 1, false, &run));
        memset(run_bytes(run), 1, 4096);
        run_give(run);
        hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX);
        count += step;
    }
}

// Where huge pages are allowed and forbidden, as the kernel was told.
static struct {
    char state[3 * REGION_GRANULES]; // per granule from first on: 'n' never told, 'a', 'f'
    uint32_t first;
    int allowed_calls;
} huge;

static int
huge_advise(void *address, size_t size_bytes, int advice)
{
    if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) {
        uint32_t at = (uint32_t)hhi_granule_of(address), count = (uint32_t)(size_bytes >> 16);
        huge.allowed_calls += advice == MADV_HUGEPAGE;
        for (uint32_t granule = at; granule < at + count; granule++)
            if (granule >= huge.first && granule < huge.first + sizeof huge.state)
                huge.state[granule - huge.first] = advice == MADV_HUGEPAGE ? 'a' : 'f';
    }
    return fake_advise(address, size_bytes, advice);
}

static uint32_t
huge_allowed(uint32_t *first)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < sizeof huge.state; at++)
        if (huge.state[at] == 'a' && count++ == 0)
            *first = huge.first + at;
    return count;
}

static void
huge_begin(void)
{
    memset(huge.state, 'n', sizeof huge.state);
    huge.first = 0;
    huge.allowed_calls = 0;
    hhi_opt.huge_pages = true;
    hhi_os.advise = huge_advise;
}

// Take runs until total granules are in use; returns how many runs.
static size_t
runs_take(struct hhi_run *taken, uint32_t each, uint32_t total)
{
    size_t count = 0;
    for (uint32_t sum = 0; sum < total; sum += each) {
        assert_true(run_try(each, 1, false, &taken[count]));
        if (count++ == 0)
            huge.first = (uint32_t)hh_align_down(taken[0].first, REGION_GRANULES);
    }
    return count;
}

static void
runs_give(const struct hhi_run *taken, size_t count)
{
    for (size_t at = 0; at < count; at++)
        hhi_run_free(taken[at].first, taken[at].count);
    hhi_run_check();
    hhi_os.advise = fake_advise;
}

static struct hhi_run many[3 * REGION_GRANULES];

static void
a_large_heap_gets_huge_pages_for_its_newest_step_only(void **state)
{
    (void)state;
    huge_begin();
    size_t small = runs_take(many, 4, REGION_GRANULES);
    assert_int_equal(huge.allowed_calls, 0);
    size_t count = small;
    for (int step = 0; step < 12; step++) {
        for (int run = 0; run < 8; run++)
            assert_true(run_try(4, 1, false, &many[count++]));
        uint32_t first = 0;
        assert_int_equal(huge_allowed(&first), 32);
        assert_int_equal(first % 32, 0);
        assert_in_range(many[count - 1].first, first, first + 28);
        hhi_run_check();
    }
    assert_int_equal(huge.allowed_calls, 12);
    runs_give(many, count);
}

static void
large_blocks_and_code_get_no_huge_pages(void **state)
{
    (void)state;
    huge_begin();
    size_t count = runs_take(many, 4, REGION_GRANULES + 32);
    int before = huge.allowed_calls;
    assert_true(before > 0);
    struct hhi_run large = run_take(600), code;
    assert_true(run_try(40, 1, true, &code));
    assert_int_equal(huge.allowed_calls, before);
    uint32_t first = 0;
    huge_allowed(&first);
    assert_true(first + 32 <= large.first || first >= large.first + 600);
    run_give(large);
    run_give(code);
    runs_give(many, count);
}

static void
slabs_of_small_heaps_get_no_huge_pages(void **state)
{
    (void)state;
    huge_begin();
    struct hhi_run_request request = {.count = 1, .alignment = 1, .sparse = true};
    size_t count = runs_take(many, 4, REGION_GRANULES);
    for (int run = 0; run < 200; run++)
        assert_true(hhi_run_alloc(&request, &many[count++]));
    assert_int_equal(huge.allowed_calls, 0);
    runs_give(many, count);
}

static void
the_option_and_a_refusal_keep_huge_pages_away(void **state)
{
    (void)state;
    huge_begin();
    hhi_opt.huge_pages = false;
    size_t count = runs_take(many, 4, REGION_GRANULES + 128);
    assert_int_equal(huge.allowed_calls, 0);
    hhi_opt.huge_pages = true;
    refuse.advise_in = 1;
    for (int run = 0; run < 16; run++)
        assert_true(run_try(4, 1, false, &many[count++]));
    runs_give(many, count);
}

// What a huge page brought along and nobody used goes back, and is not purged a second time.
static void
the_unused_part_of_a_huge_page_is_given_back_once(void **state)
{
    (void)state;
    huge_begin();
    size_t count = runs_take(many, 4, REGION_GRANULES + 36);
    uint32_t first = 0;
    assert_int_equal(huge_allowed(&first), 32);
    memset(run_bytes(many[count - 1]), 1, run_size(many[count - 1]));
    struct hhi_run_stats before, after;
    hhi_run_read_stats(&before);
    assert_int_equal(hhi_run_purge(HHI_RUN_ALL, 0, SIZE_MAX), 0); // nothing was dirty
    assert_int_equal(huge_allowed(&first), 0);
    hhi_run_check();
    hhi_run_read_stats(&after);
    assert_int_equal(before.purged_bytes, after.purged_bytes);
    unsigned char resident[32 * 16];
    uint32_t used = many[count - 1].first;
    assert_int_equal(mincore((char *)hhi_granule_address(used + 4), (size_t)28 << 16, resident), 0);
    for (size_t page = 0; page < (size_t)28 * 16; page++)
        assert_int_equal(resident[page] & 1, 0);
    struct hhi_run next = run_take(8);
    assert_int_equal(next.clean_granules, 8);
    run_give(next);
    runs_give(many, count);
}

// ---- Before a refusal by the kernel ----

static struct hhi_tries
tries_of(size_t size_bytes, bool pages)
{
    return (struct hhi_tries){
        .size_bytes = size_bytes, .pages = pages, .addresses = !pages, .next_calls = 1};
}

static void
regions_that_lie_side_by_side_go_back_in_one_call(void **state)
{
    (void)state;
    struct hhi_run runs[3];
    for (int i = 0; i < 3; i++)
        runs[i] = run_take(REGION_GRANULES);
    size_t regions = figures().regions;
    for (int i = 0; i < 3; i++)
        run_give(runs[i]);
    struct hhi_tries tries = tries_of((size_t)1 << 30, false);
    uint64_t before = hhi_os_calls_now();
    assert_int_equal(hhi_run_give_back(&tries), 3 * run_size(runs[0]));
    assert_true(figures().regions < regions);
    // Two of the three have the third beside them, wherever earlier tests left gaps.
    assert_true(hhi_os_calls_now() - before <= 2);
    assert_int_equal(hhi_os_calls_now() - before, tries.calls);
    assert_int_equal(figures().retained_bytes, 0);
    hhi_run_check();
    for (int i = 0; i < 3; i++) {
        runs[i] = run_take(REGION_GRANULES);
        assert_int_equal(runs[i].clean_granules, REGION_GRANULES);
        assert_int_equal(run_bytes(runs[i])[run_size(runs[i]) - 1], 0);
    }
    for (int i = 0; i < 3; i++)
        run_give(runs[i]);
}

static void
refused_pages_are_made_up_for_by_a_free_end(void **state)
{
    (void)state;
    struct hhi_run used = run_take(40), end = run_take(REGION_GRANULES - 40);
    memset(run_bytes(used), 2, run_size(used));
    memset(run_bytes(end), 1, run_size(end));
    run_give(end);
    size_t committed = figures().committed_bytes;
    struct hhi_tries tries = tries_of((size_t)64 << 20, true);
    // But for the step of pages that the used run ends in.
    assert_true(hhi_run_give_back(&tries) + ((size_t)2 << 20) >= run_size(end));
    assert_true(figures().committed_bytes + run_size(end) <= committed + ((size_t)2 << 20));
    assert_int_equal(run_bytes(used)[run_size(used) - 1], 2);
    hhi_run_check();
    end = run_take(REGION_GRANULES - 40);
    assert_true(end.clean_granules + 32 >= end.count);
    assert_int_equal(run_bytes(end)[run_size(end) / 2] | run_bytes(end)[run_size(end) - 1], 0);
    run_give(end);
    run_give(used);
}

static void
a_request_gives_back_as_much_as_its_calls_allow_or_all_that_a_limit_asks_for(void **state)
{
    (void)state;
    run_give(run_take(REGION_GRANULES));
    struct hhi_tries tries = tries_of((size_t)1 << 20, false);
    tries.calls = HHI_TRIES_CALLS - tries.next_calls;
    assert_int_equal(hhi_run_give_back(&tries), 0);
    assert_int_equal(tries.calls, HHI_TRIES_CALLS - tries.next_calls);
    struct rlimit none, limit;
    assert_int_equal(getrlimit(RLIMIT_AS, &none), 0);
    limit = (struct rlimit){(rlim_t)64 << 40, none.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    tries.size_bytes = (size_t)1 << 40; // more than there is to give back
    assert_int_equal(hhi_run_give_back(&tries), 0);
    tries.size_bytes = (size_t)1 << 20;
    assert_true(hhi_run_give_back(&tries) > 0);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    assert_int_equal(tries.calls, 0); // the next try makes them anew
    assert_int_equal(figures().retained_bytes, 0);
    hhi_run_check();
}

static void
what_the_kernel_does_not_take_back_stays_as_it_was(void **state)
{
    (void)state;
    struct hhi_run run = run_take(REGION_GRANULES);
    memset(run_bytes(run), 7, run_size(run));
    run_give(run);
    struct hhi_run_stats before = figures();
    for (int pages = 0; pages < 2; pages++) {
        struct hhi_tries tries = tries_of((size_t)1 << 20, pages != 0);
        refuse.map_in = refuse.unmap_in = refuse.advise_in = 0;
        assert_int_equal(hhi_run_give_back(&tries), 0);
        refuse_nothing();
        assert_int_equal(figures().regions, before.regions);
        assert_int_equal(figures().committed_bytes, before.committed_bytes);
        assert_int_equal(figures().retained_bytes, before.retained_bytes);
        hhi_run_check();
    }
    assert_int_equal(run_take(REGION_GRANULES).first, run.first);
    assert_int_equal(run_bytes(run)[run_size(run) - 1], 7);
    run_give(run);
}

#define RUN_TEST(f) cmocka_unit_test_setup_teardown(f, all_back, all_back)

static void
a_stamp_is_due_after_the_decay_also_weeks_later(void **state)
{
    (void)state;
    const uint32_t day_ms = 24 * 60 * 60 * 1000;
    // Also where the low 32 bits of the clock begin anew.
    const uint64_t made_ms[] = {5, 1000000, UINT32_MAX - (uint64_t)10, (uint64_t)77 << 32};
    for (size_t i = 0; i < COUNT_OF(made_ms); i++) {
        uint32_t stamp_ms = (uint32_t)made_ms[i];
        assert_true(hhi_stamp_is_due(stamp_ms, HHI_RUN_ALL, 1000));
        assert_true(hhi_stamp_is_due(stamp_ms, made_ms[i], 0));
        assert_false(hhi_stamp_is_due(stamp_ms, made_ms[i] + 999, 1000));
        assert_true(hhi_stamp_is_due(stamp_ms, made_ms[i] + 1000, 1000));
        assert_false(hhi_stamp_is_due(stamp_ms, made_ms[i] - 1, 0));
        for (uint64_t days = 1; days <= 49; days++)
            assert_true(hhi_stamp_is_due(stamp_ms, made_ms[i] + days * day_ms, day_ms));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stamp_is_due_after_the_decay_also_weeks_later),
        RUN_TEST(
            a_refused_commit_of_an_extension_changes_nothing), // the first: needs a fresh region
        RUN_TEST(a_large_heap_gets_huge_pages_for_its_newest_step_only),
        RUN_TEST(large_blocks_and_code_get_no_huge_pages),
        RUN_TEST(slabs_of_small_heaps_get_no_huge_pages),
        RUN_TEST(the_option_and_a_refusal_keep_huge_pages_away),
        RUN_TEST(the_unused_part_of_a_huge_page_is_given_back_once),
        RUN_TEST(a_run_grows_into_free_granules_only),
        RUN_TEST(the_lowest_fitting_run_is_taken),
        RUN_TEST(freed_granules_are_retained_until_purged_and_read_as_zero_afterwards),
        RUN_TEST(only_what_is_old_enough_is_purged),
        RUN_TEST(a_purge_stops_at_its_limit),
        RUN_TEST(what_can_not_be_purged_stays_retained),
        RUN_TEST(executable_runs_lie_in_regions_of_their_own),
        RUN_TEST(a_region_is_as_large_as_the_system_grants),
        RUN_TEST(empty_regions_go_back_but_for_one),
        RUN_TEST(foreign_mappings_in_the_window_are_stepped_over),
        RUN_TEST(released_addresses_serve_when_all_above_is_foreign),
        RUN_TEST(a_refused_map_call_leaves_nothing_behind),
        RUN_TEST(a_refused_protect_call_leaves_nothing_behind),
        RUN_TEST(a_free_end_that_is_not_taken_back_is_whole_again),
        RUN_TEST(what_does_not_fit_the_window_is_refused),
        RUN_TEST(a_random_history_keeps_runs_apart),
        RUN_TEST(addresses_of_released_regions_are_used_again),
        RUN_TEST(regions_that_lie_side_by_side_go_back_in_one_call),
        RUN_TEST(refused_pages_are_made_up_for_by_a_free_end),
        RUN_TEST(a_request_gives_back_as_much_as_its_calls_allow_or_all_that_a_limit_asks_for),
        RUN_TEST(what_the_kernel_does_not_take_back_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, kernel_replace, NULL);
}
