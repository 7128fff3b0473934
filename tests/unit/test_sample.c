// SPDX-License-Identifier: MIT
// tests/unit/test_sample.c - sampled blocks: what they are, what is refused, what is reported.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/sample.h"
#include "heap/sample_report.h"
#include "heap/thread_cache.h"
#include "os/os.h"
#include "support/core.h"

enum { PASSED_ON = 42, PAGE = 4096, REPORT_BYTES = 8192 };

// The library's handler. cmocka has one of its own during each test.
static struct sigaction library_action;

// What was there before the library's handler: it must get every fault.
static void
fault_passed_on(int number)
{
    (void)number;
    _exit(PASSED_ON);
}

// Mappings of the pool's size, none of them accessible yet.
static int
pools_mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    int found = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx", &start, &end) == 2)
            found += end - start == (2 * HHI_SAMPLE_SLOTS + 1) * (unsigned long)PAGE;
    }
    fclose(maps);
    return found;
}

// First of all tests: nothing has switched sampling on yet.
static void
nothing_is_mapped_while_sampling_is_off(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (int block = 0; block < 5000; block++)
        assert_false(hhi_sample_contains(core_alloc(heap, 64)));
    assert_int_equal(pools_mapped(), 0);
    hhi_heap_destroy(heap);

    struct sigaction action = {.sa_handler = fault_passed_on};
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    assert_true(hhi_sample_start(1));
    assert_int_equal(pools_mapped(), 1);
    assert_int_equal(sigaction(SIGSEGV, NULL, &library_action), 0);
}

// A sampled block of the heap; all others that came before it are left to the heap's end.
static void *
sampled(struct hh_heap *heap, size_t size_bytes)
{
    for (int tries = 0; tries < 100000; tries++) {
        void *block = core_alloc(heap, size_bytes);
        if (hhi_sample_contains(block))
            return block;
    }
    fail_msg("no block of %zu bytes was sampled", size_bytes);
    return NULL;
}

// A sampled block that ends, or begins, where its page does.
static char *
sampled_at(struct hh_heap *heap, size_t size_bytes, bool at_end)
{
    for (;;) {
        void *block = sampled(heap, size_bytes);
        if (((uintptr_t)block % PAGE != 0) == at_end)
            return block;
    }
}

static void
a_sampled_block_touches_an_edge_of_its_page_and_is_whole(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (size_t size_bytes = 16; size_bytes <= 4096; size_bytes += size_bytes / 3 / 16 * 16 + 16) {
        char *block = sampled(heap, size_bytes);
        size_t usable_bytes;
        assert_int_equal(hhi_heap_usable_size(heap, block, &usable_bytes), 0);
        assert_true(usable_bytes >= size_bytes);
        assert_true((uintptr_t)block % PAGE == 0 || ((uintptr_t)block + usable_bytes) % PAGE == 0);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_true(core_is_zero(block, usable_bytes));
        core_fill(block, usable_bytes, 7);
        assert_true(core_holds(block, usable_bytes, 7));
        assert_int_equal(hhi_heap_free(heap, block), 0);
    }
    hhi_heap_destroy(heap);
}

static void
aligned_blocks_are_aligned_when_sampled_too(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (size_t alignment = 32; alignment <= 4096; alignment *= 2) {
        int seen = 0;
        for (int tries = 0; tries < 100000 && seen < 4; tries++) {
            void *block = hhi_heap_alloc_aligned(heap, alignment, alignment / 2, HHI_LEVEL_TASK);
            assert_int_equal((uintptr_t)block % alignment, 0);
            seen += hhi_sample_contains(block);
            assert_int_equal(hhi_sample_contains(block) ? hhi_heap_free(heap, block) : 0, 0);
        }
        assert_int_equal(seen, 4);
    }
    hhi_heap_destroy(heap);
}

static void
blocks_larger_than_a_page_and_executable_ones_are_not_sampled(void **state)
{
    (void)state;
    struct hh_heap *heap, *large = core_heap();
    assert_int_equal(hhi_heap_create(HHI_HEAP_EXECUTABLE, 0, 0, NULL, &heap), HH_OK);
    for (int block = 0; block < 3000; block++) {
        assert_false(hhi_sample_contains(core_alloc(heap, 64)));
        assert_false(hhi_sample_contains(core_alloc(large, PAGE + 1)));
    }
    hhi_heap_destroy(heap);
    hhi_heap_destroy(large);
}

static void
realloc_moves_a_sampled_block_with_its_contents(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled(heap, 200);
    void *moved;
    memset(block, 'r', 200);
    assert_int_equal(hhi_heap_realloc(heap, block, 150, HHI_LEVEL_TASK, &moved), 0);
    assert_ptr_equal(moved, block);
    assert_int_equal(hhi_heap_realloc(heap, block, 3000, HHI_LEVEL_TASK, &moved), 0);
    assert_ptr_not_equal(moved, block);
    for (int at = 0; at < 200; at++)
        assert_int_equal(((char *)moved)[at], 'r');
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
    assert_int_equal(hhi_heap_realloc(heap, block, 10, HHI_LEVEL_TASK, &moved), HH_BAD_NOT_LIVE);
    hhi_heap_destroy(heap);
}

static void
wrong_frees_of_a_sampled_block_are_refused_with_their_reason(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap(), *other = core_heap();
    char *block = sampled_at(heap, 256, true);
    hh_heap_stats stats;
    assert_int_equal(hhi_heap_free(heap, block + 16), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(heap, block + 1), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(heap, block - 16), HH_BAD_INTERIOR);
    assert_int_equal(hhi_heap_free(heap, block + 256), HH_BAD_FOREIGN);
    assert_int_equal(hhi_heap_free(other, block), HH_BAD_OTHER_HEAP);
    assert_int_equal(hhi_heap_free_sized(heap, block, 1000), HH_BAD_SIZE_MISMATCH);
    assert_int_equal(hhi_heap_free_sized(heap, block, 256), 0);
    assert_int_equal(hhi_heap_free(heap, block), HH_BAD_NOT_LIVE);
    assert_int_equal(hhi_heap_free(heap, block + 16), HH_BAD_INTERIOR);
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(stats.bad_frees, 7);
    hhi_heap_destroy(heap);
    hhi_heap_destroy(other);
}

static void
figures_and_walks_count_sampled_blocks(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled(heap, 100);
    size_t before = core_census(heap);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    assert_int_equal(core_census(heap), before - 1);
    hhi_heap_destroy(heap);
}

static void
a_heap_that_ends_takes_its_sampled_blocks_with_it(void **state)
{
    (void)state;
    // More blocks than there are slots: they come back from every heap that ends.
    for (int round = 0; round < 10; round++) {
        struct hh_heap *heap = core_heap();
        char *block = NULL;
        for (int count = 0; count < 50; count++)
            block = sampled(heap, 48);
        hhi_heap_destroy(heap);
        heap = core_heap();
        assert_int_equal(hhi_heap_free(heap, block), HH_BAD_FOREIGN);
        hhi_heap_destroy(heap);
    }
}

static void
a_slot_is_zero_again_and_rests_before_it_is_used_again(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    for (int round = 0; round < 1000; round++) {
        char *block = hhi_sample_take(heap, hhi_class_of(4096));
        assert_non_null(block);
        assert_true(core_is_zero(block, 4096));
        memset(block, 0xAA, 4096);
        assert_int_equal(hhi_sample_free(heap, block), 0);
        for (int later = 0; round % 100 == 0 && later < HHI_SAMPLE_SLOTS / 4; later++) {
            char *next = hhi_sample_take(heap, hhi_class_of(4096));
            assert_ptr_not_equal(next, block);
            assert_int_equal(hhi_sample_free(heap, next), 0);
        }
    }
    hhi_heap_destroy(heap);
}

static void
an_empty_pool_means_ordinary_blocks(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    int taken = 0;
    while (hhi_sample_take(heap, 1) != NULL)
        taken++;
    assert_int_equal(taken, HHI_SAMPLE_SLOTS - HHI_SAMPLE_SLOTS / 4);
    for (int block = 0; block < 2000; block++)
        assert_false(hhi_sample_contains(core_alloc(heap, 64)));
    hhi_heap_destroy(heap);
}

static int
protect_refused(void *address, size_t size_bytes, int protection)
{
    (void)address, (void)size_bytes, (void)protection;
    return -ENOMEM;
}

static void
a_kernel_that_refuses_costs_the_sample_only(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    unsigned class_index = hhi_class_of(64);
    int (*protect)(void *, size_t, int) = hhi_os.protect;
    char *block = hhi_sample_take(heap, class_index);
    assert_non_null(block);
    hhi_os.protect = protect_refused;
    for (int tries = 0; tries < 2 * HHI_SAMPLE_SLOTS; tries++)
        assert_null(hhi_sample_take(heap, class_index));
    memset(block, 1, 64);
    assert_int_equal(hhi_sample_free(heap, block), 0);
    assert_int_equal(hhi_sample_free(heap, block), HH_BAD_NOT_LIVE);
    hhi_os.protect = protect;
    for (int round = 0; round < 2 * HHI_SAMPLE_SLOTS; round++) {
        block = hhi_sample_take(heap, class_index);
        assert_true(core_is_zero(block, 64));
        assert_int_equal(hhi_sample_free(heap, block), 0);
    }
    hhi_heap_destroy(heap);
}

// ---- Faults -------------------------------------------------------------------------------------

static char report[REPORT_BYTES];

// Runs misuse in a child whose report goes to report; the child must end in fault_passed_on.
static void
assert_reported(void (*misuse)(void *), void *argument)
{
    int ends[2], status;
    size_t length = 0;
    ssize_t count;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        sigaction(SIGSEGV, &library_action, NULL);
        alarm(60);
        misuse(argument);
        _exit(0);
    }
    close(ends[1]);
    while ((count = read(ends[0], report + length, sizeof report - 1 - length)) > 0)
        length += (size_t)count;
    close(ends[0]);
    report[length] = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), PASSED_ON);
}

static void
assert_report_has(const char *text)
{
    if (strstr(report, text) == NULL)
        fail_msg("\"%s\" is not in the report:\n%s", text, report);
}

static void
assert_report_has_address(const char *format, const void *address)
{
    char text[200];
    snprintf(text, sizeof text, format, address);
    assert_report_has(text);
}

static void
read_byte(void *address)
{
    (void)*(volatile char *)address;
}

static void
write_byte(void *address)
{
    *(volatile char *)address = 1;
}

static void
a_read_after_the_free_is_reported_with_both_histories(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled(heap, 128);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    assert_reported(read_byte, block + 5);
    assert_report_has("hostheap: use after free: ");
    assert_report_has_address("block: %p, 128 bytes", block);
    assert_report_has("the address is 5 bytes into it");
    char text[100];
    snprintf(text, sizeof text, "\n  allocated by thread %d\n    0x", hhi_os_thread_id());
    assert_report_has(text);
    snprintf(text, sizeof text, "\n  freed by thread %d\n    0x", hhi_os_thread_id());
    assert_report_has(text);
    assert_report_has("unit_test_sample");
    hhi_heap_destroy(heap);
}

static void
an_overflow_and_an_underflow_are_reported(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled_at(heap, 80, true);
    assert_reported(write_byte, block + 82);
    assert_report_has("hostheap: overflow: ");
    assert_report_has_address("block: %p, 80 bytes", block);
    assert_report_has("the address is 2 bytes past its end");
#if defined(__x86_64__)
    assert_report_has("write to ");
#endif
    assert_null(strstr(report, "freed by"));

    block = sampled_at(heap, 80, false);
    assert_reported(read_byte, block - 3);
    assert_report_has("hostheap: underflow: ");
    assert_report_has_address("block: %p, 80 bytes", block);
    assert_report_has("the address is 3 bytes before it");
#if defined(__x86_64__)
    assert_report_has("read of ");
#endif
    hhi_heap_destroy(heap);
}

static void
a_fault_elsewhere_is_passed_on_without_a_word(void **state)
{
    (void)state;
    intptr_t page = hhi_os_reserve(NULL, PAGE);
    assert_true(page > 0);
    assert_reported(read_byte, (void *)page);
    assert_string_equal(report, "");
    hhi_os_release((void *)page, PAGE);
}

// The second of all tests: of most pages of the pool no block has been taken.
static void
a_fault_near_no_block_is_reported_without_one(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    uintptr_t block = (uintptr_t)sampled(heap, 128);
    for (uintptr_t page = 100; page < 102; page++) { // a block's, and a guard
        assert_reported(read_byte, (void *)(block + page * PAGE));
        assert_report_has_address("guard page %p by thread ", (void *)(block + page * PAGE));
        assert_null(strstr(report, "block: "));
        assert_null(strstr(report, "allocated by"));
    }
    hhi_heap_destroy(heap);
}

static void *faulted_at;

static void
fault_passed_on_with_its_address(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    _exit(info->si_addr == faulted_at ? PASSED_ON : 1);
}

static void
read_byte_with_a_handler_of_three_arguments(void *address)
{
    struct sigaction action = {.sa_sigaction = fault_passed_on_with_its_address,
                               .sa_flags = SA_SIGINFO};
    faulted_at = address;
    sigaction(SIGSEGV, &action, NULL);
    hhi_sample_catch_faults();
    read_byte(address);
}

static void
a_handler_of_the_programs_is_told_the_address(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled(heap, 128);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    assert_reported(read_byte_with_a_handler_of_three_arguments, block);
    assert_report_has("hostheap: use after free: ");
    hhi_heap_destroy(heap);
}

enum { SURVIVED = 5 };

struct end {
    void (*before)(int number); // what the program had chosen
    bool sent;                  // by another process, as kill(1) does
};

static int
end_by_fault(void *argument)
{
    const struct end *end = argument;
    signal(SIGSEGV, end->before);
    hhi_sample_catch_faults();
    if (end->sent)
        kill(getpid(), SIGSEGV);
    else
        read_byte((void *)(uintptr_t)PAGE);
    return SURVIVED;
}

// Without a handler of the program's: a fault ends it even if the signal is ignored.
static void
a_fault_ends_the_process_and_a_signal_that_was_sent_does_what_the_program_chose(void **state)
{
    (void)state;
    static const struct {
        struct end end;
        int result;
    } rows[] = {{{SIG_DFL, false}, 64 + SIGSEGV},
                {{SIG_DFL, true}, 64 + SIGSEGV},
                {{SIG_IGN, false}, 64 + SIGSEGV},
                {{SIG_IGN, true}, SURVIVED}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct end end = rows[i].end;
        assert_int_equal(core_in_child(end_by_fault, &end), rows[i].result);
    }
}

// ---- Fork and threads ---------------------------------------------------------------------------

struct inherited {
    struct hh_heap *heap;
    char *live, *ended;
};

static int
child_uses_blocks(void *argument)
{
    struct inherited *from = argument;
    if (!core_holds(from->live, 96, 3) || hhi_heap_free(from->heap, from->live) != 0)
        return 1;
    if (hhi_heap_free(from->heap, from->live) != HH_BAD_NOT_LIVE ||
        hhi_heap_free(from->heap, from->ended) != HH_BAD_NOT_LIVE)
        return 2;
    char *own = sampled(from->heap, 96);
    core_fill(own, 96, 4);
    return hhi_heap_free(from->heap, own) == 0 ? 0 : 3;
}

static void
child_uses_after_free(void *argument)
{
    struct inherited *from = argument;
    hhi_heap_free(from->heap, from->live);
    read_byte(from->live);
}

static void
the_child_of_a_fork_has_the_blocks_and_the_reports(void **state)
{
    (void)state;
    struct inherited from = {.heap = core_heap()};
    from.live = sampled(from.heap, 96);
    from.ended = sampled(from.heap, 96);
    core_fill(from.live, 96, 3);
    assert_int_equal(hhi_heap_free(from.heap, from.ended), 0);
    assert_int_equal(core_in_child(child_uses_blocks, &from), 0);
    assert_reported(child_uses_after_free, &from);
    assert_report_has("hostheap: use after free: ");
    assert_true(core_holds(from.live, 96, 3));
    hhi_heap_destroy(from.heap);
}

enum { SWAPPERS = 4, SWAPS = 30000, SHELVES = 64 };

static struct {
    struct hh_heap *heap;
    _Atomic(void *) shelves[SHELVES];
    _Atomic uint32_t sampled;
    _Atomic uint32_t refused;
} swap;

static void *
swapper_run(void *argument)
{
    uint64_t seed = (uintptr_t)argument;
    for (int round = 0; round < SWAPS; round++) {
        char *block = core_alloc(swap.heap, 500);
        block[0] = block[499] = 1;
        // relaxed (all): counts, read when the threads were joined.
        if (hhi_sample_contains(block))
            hh_fetch_add_relaxed(&swap.sampled, 1);
        // order: acq_rel [TS-1] the block's contents.
        block = hh_exchange_acq_rel(&swap.shelves[core_random(&seed) % SHELVES], block);
        if (block != NULL && (block[0] != 1 || hhi_heap_free(swap.heap, block) != 0))
            hh_fetch_add_relaxed(&swap.refused, 1);
    }
    return NULL;
}

static void
threads_free_each_others_sampled_blocks(void **state)
{
    (void)state;
    pthread_t threads[SWAPPERS];
    swap.heap = core_heap();
    for (uintptr_t number = 0; number < SWAPPERS; number++)
        assert_int_equal(pthread_create(&threads[number], NULL, swapper_run, (void *)(number + 1)),
                         0);
    for (int number = 0; number < SWAPPERS; number++)
        pthread_join(threads[number], NULL);
    // relaxed (all): the threads were joined.
    assert_int_equal(hh_load_relaxed(&swap.refused), 0);
    assert_true(hh_load_relaxed(&swap.sampled) > 100);
    for (int shelf = 0; shelf < SHELVES; shelf++)
        if (hh_load_relaxed(&swap.shelves[shelf]) != NULL)
            hhi_heap_free(swap.heap, hh_load_relaxed(&swap.shelves[shelf]));
    assert_int_equal(core_census(swap.heap), 0);
    hhi_heap_destroy(swap.heap);
}

enum { RACES = 20000 };

static struct {
    struct hh_heap *heap;
    void *block;
    _Atomic uint32_t round;   // the block of this round is there
    _Atomic uint32_t arrived; // by both racers, all rounds
    _Atomic uint32_t done;    // rounds the other racer has ended
    _Atomic uint32_t accepted;
} race;

static void
await_count(_Atomic uint32_t *count, uint32_t value)
{
    // order: acquire [TS-2] the block, or that its race is over.
    for (unsigned spins = 1; hh_load_acquire(count) < value; spins++)
        if (spins % 4096 == 0)
            sched_yield();
}

// Both arrive before either frees.
static void
race_run(uint32_t round)
{
    // order: acq_rel [TS-2] the block, or that its race is over.
    hh_fetch_add_acq_rel(&race.arrived, 1);
    await_count(&race.arrived, 2 * round);
    // relaxed: a count.
    if (hhi_heap_free(race.heap, race.block) == 0)
        hh_fetch_add_relaxed(&race.accepted, 1);
}

static void *
racer_run(void *argument)
{
    for (uint32_t round = 1; round <= RACES; round++) {
        await_count(&race.round, round);
        race_run(round);
        // order: release [TS-2] that its race is over.
        hh_store_release(&race.done, round);
    }
    return argument;
}

static void
of_racing_double_frees_one_is_accepted(void **state)
{
    (void)state;
    pthread_t racer;
    race.heap = core_heap();
    assert_int_equal(pthread_create(&racer, NULL, racer_run, NULL), 0);
    for (uint32_t round = 1; round <= RACES; round++) {
        race.block = hhi_sample_take(race.heap, 4);
        assert_non_null(race.block);
        // order: release [TS-2] the block.
        hh_store_release(&race.round, round);
        race_run(round);
        await_count(&race.done, round);
    }
    pthread_join(racer, NULL);
    // relaxed: the thread was joined.
    assert_int_equal(hh_load_relaxed(&race.accepted), RACES);
    hhi_heap_destroy(race.heap);
}

static void
switched_off_again_no_more_blocks_are_sampled(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    char *block = sampled(heap, 64);
    assert_true(hhi_sample_start(0));
    for (int count = 0; count < 5000; count++)
        assert_false(hhi_sample_contains(core_alloc(heap, 64)));
    assert_int_equal(hhi_heap_free(heap, block), 0);
    hhi_heap_destroy(heap);
}

enum { SWITCHINGS = 300, SWITCHED_BLOCKS = 1500 };

static struct {
    struct hh_heap *heap;
    _Atomic uint32_t stop, sampled, refused;
} switched;

// Takes blocks and frees them all, again and again, while the rate changes under it.
static void *
switched_run(void *argument)
{
    char *blocks[SWITCHED_BLOCKS];
    // relaxed (all): a flag and counts.
    while (hh_load_relaxed(&switched.stop) == 0) {
        for (int number = 0; number < SWITCHED_BLOCKS; number++) {
            blocks[number] = hhi_heap_alloc(switched.heap, 64, HHI_LEVEL_TASK);
            if (blocks[number] == NULL)
                return argument;
            blocks[number][0] = blocks[number][63] = 1;
            if (hhi_sample_contains(blocks[number]))
                hh_fetch_add_relaxed(&switched.sampled, 1);
        }
        for (int number = 0; number < SWITCHED_BLOCKS; number++)
            if (hhi_heap_free(switched.heap, blocks[number]) != 0)
                hh_fetch_add_relaxed(&switched.refused, 1);
    }
    return NULL;
}

static void
the_rate_changes_while_threads_allocate(void **state)
{
    static const uint32_t rates[] = {1, 0, 1000, 2, 0};
    (void)state;
    pthread_t threads[SWAPPERS];
    void *failed;
    switched.heap = core_heap();
    for (int number = 0; number < SWAPPERS; number++)
        assert_int_equal(pthread_create(&threads[number], NULL, switched_run, switched.heap), 0);
    for (int number = 0; number < SWITCHINGS; number++) {
        assert_int_equal(hh_set_sampling(rates[(size_t)number % COUNT_OF(rates)]), HH_OK);
        usleep(1000);
    }
    // relaxed (all): a flag; the threads are joined.
    hh_store_relaxed(&switched.stop, 1);
    for (int number = 0; number < SWAPPERS; number++) {
        pthread_join(threads[number], &failed);
        assert_null(failed);
    }
    assert_true(hh_load_relaxed(&switched.sampled) > 0);
    assert_int_equal(hh_load_relaxed(&switched.refused), 0);
    assert_int_equal(core_census(switched.heap), 0);

    // Off stays off, for every thread.
    hh_store_relaxed(&switched.sampled, 0);
    hh_store_relaxed(&switched.stop, 0);
    assert_int_equal(hh_set_sampling(0), HH_OK);
    for (int number = 0; number < SWAPPERS; number++)
        assert_int_equal(pthread_create(&threads[number], NULL, switched_run, switched.heap), 0);
    usleep(50000);
    hh_store_relaxed(&switched.stop, 1);
    for (int number = 0; number < SWAPPERS; number++)
        pthread_join(threads[number], NULL);
    assert_int_equal(hh_load_relaxed(&switched.sampled), 0);
    hhi_heap_destroy(switched.heap);
}

// The last but one: sampling is off, and the smaller block can not be had.
static void
a_sampled_block_that_could_not_be_moved_has_its_new_size(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    assert_int_equal(hh_set_sampling(1), HH_OK);
    char *block = sampled(heap, 2000);
    assert_int_equal(hh_set_sampling(0), HH_OK);
    void *shrunk;
    hh_heap_stats stats;
    hhi_heap_get_stats(heap, &stats);
    assert_int_equal(hhi_heap_set_limits(heap, 0, stats.committed_bytes + 1), HH_OK);
    core_fill(block, 100, 5);
    assert_int_equal(hhi_heap_realloc(heap, block, 100, HHI_LEVEL_TASK, &shrunk), 0);
    assert_ptr_equal(shrunk, block);
    assert_true(core_holds(block, 100, 5));
    assert_int_equal(hhi_heap_free_sized(heap, block, 2000), HH_BAD_SIZE_MISMATCH);
    assert_int_equal(hhi_heap_free_sized(heap, block, 100), 0);
    hhi_heap_destroy(heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_mapped_while_sampling_is_off),
        cmocka_unit_test(a_fault_near_no_block_is_reported_without_one),
        cmocka_unit_test(a_sampled_block_touches_an_edge_of_its_page_and_is_whole),
        cmocka_unit_test(aligned_blocks_are_aligned_when_sampled_too),
        cmocka_unit_test(blocks_larger_than_a_page_and_executable_ones_are_not_sampled),
        cmocka_unit_test(realloc_moves_a_sampled_block_with_its_contents),
        cmocka_unit_test(wrong_frees_of_a_sampled_block_are_refused_with_their_reason),
        cmocka_unit_test(figures_and_walks_count_sampled_blocks),
        cmocka_unit_test(a_heap_that_ends_takes_its_sampled_blocks_with_it),
        cmocka_unit_test(a_slot_is_zero_again_and_rests_before_it_is_used_again),
        cmocka_unit_test(an_empty_pool_means_ordinary_blocks),
        cmocka_unit_test(a_kernel_that_refuses_costs_the_sample_only),
        cmocka_unit_test(a_read_after_the_free_is_reported_with_both_histories),
        cmocka_unit_test(an_overflow_and_an_underflow_are_reported),
        cmocka_unit_test(a_fault_elsewhere_is_passed_on_without_a_word),
        cmocka_unit_test(a_handler_of_the_programs_is_told_the_address),
        cmocka_unit_test(
            a_fault_ends_the_process_and_a_signal_that_was_sent_does_what_the_program_chose),
        cmocka_unit_test(the_child_of_a_fork_has_the_blocks_and_the_reports),
        cmocka_unit_test(threads_free_each_others_sampled_blocks),
        cmocka_unit_test(of_racing_double_frees_one_is_accepted),
        cmocka_unit_test(switched_off_again_no_more_blocks_are_sampled),
        cmocka_unit_test(a_sampled_block_that_could_not_be_moved_has_its_new_size),
        cmocka_unit_test(the_rate_changes_while_threads_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
