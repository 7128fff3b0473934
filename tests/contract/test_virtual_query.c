// SPDX-License-Identifier: MIT
// tests/contract/test_virtual_query.c - VirtualQuery: the worked examples, the fields, the walk.
#include "virtual.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

// ---- 8.7 worked examples ----

// Examples 1, 2, 3, 9. [VQ-1] [VQ-2] [VA-4]
static void
a_reserve_then_a_commit_of_its_first_page_reads_as_in_the_examples(void **state)
{
    (void)state;
    uintptr_t b = must_alloc(0, 0xFFFC, MEM_RESERVE, PAGE_NOACCESS);
    expect_reserved(b, b, 0x01, 0x10000);
    assert_int_equal(must_alloc(b, 0x1000, MEM_COMMIT, PAGE_NOACCESS), b);
    expect_committed(b, b, 0x01, 0x1000, 0x01);
    expect_reserved(b + 0x1000, b, 0x01, 0xF000);
    expect_query(b + 0x1FFF, b + 0x1000, b, 0x01, 0xF000, MEM_RESERVE, 0, MEM_PRIVATE);
    must_release(b);
    // What is free is free to others, too: a runtime's own thread may map something there at once.
    hh_memory_basic_information info = query(b);
    for (int turn = 0; turn < 20 && (info.State != MEM_FREE || info.RegionSize < 0x10000); turn++) {
        b = must_alloc(0, 0xFFFC, MEM_RESERVE, PAGE_NOACCESS);
        must_release(b);
        info = query(b);
    }
    assert_int_equal(info.State, MEM_FREE);
    assert_int_equal(info.Protect, PAGE_NOACCESS);
    assert_int_equal(info.AllocationBase, 0);
    assert_true(info.RegionSize >= 0x10000);
}

// Example 4. [VQ-3] [PR-8]
static void
a_protection_changed_and_put_back_leaves_one_run(void **state)
{
    (void)state;
    uint32_t old;
    uintptr_t c = must_alloc(0, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(virtual_protect(c + 0x1000, 0x1000, PAGE_READONLY, &old), S_OK);
    assert_int_equal(old, PAGE_READWRITE);
    expect_committed(c, c, 0x04, 0x1000, 0x04);
    expect_committed(c + 0x1000, c, 0x04, 0x1000, 0x02);
    expect_committed(c + 0x2000, c, 0x04, 0x2000, 0x04);
    assert_int_equal(virtual_protect(c + 0x1000, 0x1000, PAGE_READWRITE, &old), S_OK);
    assert_int_equal(old, PAGE_READONLY);
    expect_committed(c, c, 0x04, 0x4000, 0x04);
    must_release(c);
}

// Example 5. [VQ-3]
static void
two_commits_side_by_side_are_one_run(void **state)
{
    (void)state;
    uintptr_t d = must_alloc(0, 3 * G, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(d + 0x2000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    must_alloc(d + 0x3000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    expect_reserved(d, d, 0x04, 0x2000);
    expect_committed(d + 0x2000, d, 0x04, 0x2000, 0x04);
    expect_reserved(d + 0x4000, d, 0x04, 3 * G - 0x4000);
    must_release(d);
}

// Example 6. [VQ-4] [VA-3] [D28]
static void
the_tail_of_the_last_granule_is_free_and_joins_what_follows(void **state)
{
    (void)state;
    uintptr_t e = free_range(3 * G);
    foreign_map(e + 2 * G, P, PROT_READ);
    assert_int_equal(must_alloc(e, 0x3000, MEM_RESERVE, PAGE_READWRITE), e);
    expect_free(e + 0x3000, 2 * G - 0x3000);
    expect_free(e + 0xA000, 2 * G - 0xA000);
    expect_free(e + G, G);
    void *got = mmap((void *)(e + 0x3000), P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_int_not_equal(got, e + 0x3000);
    munmap(got, P);
    must_release(e);
    foreign_unmap(e + 2 * G, P);
}

// Example 7. [VQ-3]
static void
neighbouring_allocations_are_never_merged(void **state)
{
    (void)state;
    uintptr_t f = free_range(2 * G);
    must_alloc(f, G, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(f + G, G, MEM_RESERVE, PAGE_READWRITE);
    expect_reserved(f, f, 0x04, G);
    expect_reserved(f + G, f + G, 0x04, G);
    must_release(f);
    expect_free(f, G);
    must_release(f + G);
}

// Example 8.
static void
a_commit_in_the_middle_names_its_page_only(void **state)
{
    (void)state;
    uintptr_t b = must_alloc(0, 0x10000, MEM_RESERVE, PAGE_NOACCESS);
    must_alloc(b + 0xF000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    expect_query(b + 0xF700, b + 0xF000, b, 0x01, 0x1000, MEM_COMMIT, 0x04, MEM_PRIVATE);
    expect_reserved(b, b, 0x01, 0xF000);
    must_release(b);
}

// Example 11. [8.5 row 4]
static void
the_limit_is_refused_and_the_byte_below_it_is_not(void **state)
{
    (void)state;
    hh_memory_basic_information info;
    static const uintptr_t beyond[] = {LIMIT, LIMIT + P, (uintptr_t)1 << 47, (uintptr_t)1 << 63,
                                       UINTPTR_MAX};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        size_t length = 99;
        assert_int_equal(
            manager->lpVtbl->VirtualQuery(manager, (void *)beyond[i], &info, sizeof info, &length),
            E_INVALIDARG);
        assert_int_equal(length, 0);
    }
    assert_int_equal(query(LIMIT - 1).BaseAddress, LIMIT - P);
}

// Example 12. [PG-3] [PG-7]
static void
guard_is_part_of_what_is_reported(void **state)
{
    (void)state;
    uintptr_t h = must_alloc(0, 0x1000, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    expect_committed(h, h, 0x104, 0x1000, 0x104);
    must_release(h);
}

// ---- Arguments: 8.5 rows 1 to 3 ----

// [8.5 row 1] [8.5 row 2] [8.5 row 3] [8.5 row 4] [GEN-2] [GEN-3] [D5]
static void
bad_arguments_are_refused_in_order_and_the_buffer_is_untouched(void **state)
{
    (void)state;
    static const struct {
        bool buffer;
        size_t length;
        uintptr_t address;
        bool result;
        hh_hresult answer;
    } rows[] = {
        {false, 0, LIMIT, false, E_POINTER},
        {true, 48, 0, false, E_POINTER},
        {true, 0, 0, false, E_POINTER},
        {false, 48, 0, true, W_NOACCESS},
        {false, 0, LIMIT, true, W_NOACCESS},
        {true, 0, 0, true, W_LEN},
        {true, 47, 0, true, W_LEN},
        {true, 28, LIMIT, true, W_LEN},
        {true, 1, UINTPTR_MAX, true, W_LEN},
        {true, 48, LIMIT, true, E_INVALIDARG},
        {true, 4096, LIMIT, true, E_INVALIDARG},
        {true, 48, UINTPTR_MAX, true, E_INVALIDARG},
    };
    unsigned char buffer[64], untouched[64];
    memset(untouched, 0x5A, sizeof untouched);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t length = 77;
        memset(buffer, 0x5A, sizeof buffer);
        hh_hresult answer = manager->lpVtbl->VirtualQuery(
            manager, (void *)rows[i].address, rows[i].buffer ? buffer : NULL, rows[i].length,
            rows[i].result ? &length : NULL);
        assert_int_equal(answer, rows[i].answer);
        assert_int_equal(length, rows[i].result ? 0 : 77);
        assert_memory_equal(buffer, untouched, sizeof buffer);
    }
}

// [8.5 row 3] [GEN-2]
static void
a_longer_buffer_is_filled_to_48_bytes_only(void **state)
{
    (void)state;
    static const size_t lengths[] = {48, 49, 56, 64};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char buffer[64];
        size_t length = 0;
        memset(buffer, 0x5A, sizeof buffer);
        assert_int_equal(
            manager->lpVtbl->VirtualQuery(manager, buffer, buffer, lengths[i], &length), S_OK);
        assert_int_equal(length, 48);
        for (size_t k = 48; k < sizeof buffer; k++)
            assert_int_equal(buffer[k], 0x5A);
    }
}

// ---- Every protection, as reported ----

// [PG-1] [PG-3] [VQ-1]
static void
each_valid_protection_is_reported_as_it_was_given(void **state)
{
    (void)state;
    static const uint32_t protections[] = {0x01,  0x02,  0x04,  0x10,  0x20, 0x40,
                                           0x102, 0x104, 0x110, 0x120, 0x140};
    for (size_t i = 0; i < sizeof protections / sizeof *protections; i++) {
        uint32_t protect = protections[i];
        uintptr_t base = must_alloc(0, 2 * P, MEM_COMMIT, protect);
        expect_committed(base, base, protect, 2 * P, protect);
        must_release(base);
        base = must_alloc(0, 4 * P, MEM_RESERVE, protect);
        expect_reserved(base, base, protect, 4 * P);
        must_alloc(base + P, P, MEM_COMMIT, PAGE_READWRITE);
        expect_committed(base + P, base, protect, P, PAGE_READWRITE);
        must_release(base);
    }
}

// ---- Runs ----

// [VQ-2]: forward only, from whatever page of a run is asked.
static void
a_run_is_measured_from_the_page_asked(void **state)
{
    (void)state;
    uintptr_t base = must_alloc(0, 16 * P, MEM_RESERVE, PAGE_READWRITE);
    must_alloc(base + 4 * P, 8 * P, MEM_COMMIT, PAGE_READONLY);
    for (size_t page = 0; page < 16; page++) {
        uintptr_t at = base + page * P;
        if (page < 4)
            expect_reserved(at + 17, base, 0x04, (4 - page) * P);
        else if (page < 12)
            expect_committed(at + 4095, base, 0x04, (12 - page) * P, PAGE_READONLY);
        else
            expect_reserved(at, base, 0x04, (16 - page) * P);
    }
    must_release(base);
}

enum { MODEL_PAGES = 64, MODEL_STEPS = 4000 };

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void
expect_model(uintptr_t base, const uint32_t *model)
{
    for (size_t page = 0; page < MODEL_PAGES;) {
        size_t end = page;
        while (end < MODEL_PAGES && model[end] == model[page])
            end++;
        if (model[page] == 0)
            expect_reserved(base + page * P, base, PAGE_NOACCESS, (end - page) * P);
        else
            expect_committed(base + page * P, base, PAGE_NOACCESS, (end - page) * P, model[page]);
        page = end;
    }
}

// [VQ-1] [VQ-3] [VF-1] [PR-1] [PR-2] [VA-1]
static void
a_random_history_agrees_with_an_array_of_pages(void **state)
{
    (void)state;
    static const uint32_t protections[] = {PAGE_READWRITE, PAGE_READONLY, PAGE_NOACCESS,
                                           PAGE_READWRITE | PAGE_GUARD};
    uint32_t model[MODEL_PAGES] = {0};
    uint64_t seed = 7;
    uintptr_t base = must_alloc(0, MODEL_PAGES * P, MEM_RESERVE, PAGE_NOACCESS);
    for (int step = 0; step < MODEL_STEPS; step++) {
        size_t first = next_random(&seed) % MODEL_PAGES;
        size_t count = 1 + next_random(&seed) % (MODEL_PAGES - first);
        uint32_t protect = protections[next_random(&seed) % 4];
        uintptr_t at = base + first * P + next_random(&seed) % P;
        size_t size = (first + count) * P + base - at;
        size -= next_random(&seed) % size % P;
        count = (at + size + P - 1) / P - at / P;
        bool committed = true;
        for (size_t page = first; page < first + count; page++)
            committed = committed && model[page] != 0;
        uint32_t value = protect, old;
        switch (next_random(&seed) % 3) {
        case 0:
            assert_int_equal(must_alloc(at, size, MEM_COMMIT, protect), at & ~(P - 1));
            break;
        case 1:
            assert_int_equal(virtual_free(at, size, MEM_DECOMMIT), S_OK);
            value = 0;
            break;
        default:
            assert_int_equal(virtual_protect(at, size, protect, &old), committed ? S_OK : W_ADDR);
            assert_int_equal(old, committed ? model[first] : PAGE_NOACCESS);
            count = committed ? count : 0;
        }
        for (size_t page = first; page < first + count; page++)
            model[page] = value;
        if (step % 8 == 0)
            expect_model(base, model);
    }
    expect_model(base, model);
    must_release(base);
}

// ---- Foreign memory: 8.6 ----

static void
expect_foreign(uintptr_t at, uintptr_t base, size_t size, uint32_t protect, uint32_t type)
{
    expect_query(at, at & ~(P - 1), base, protect, size, MEM_COMMIT, protect, type);
}

// [FM-2] [FM-3] [FM-4] [D37]
static void
anonymous_memory_of_others_is_committed_private(void **state)
{
    (void)state;
    static const struct {
        int protection;
        uint32_t protect;
    } rows[] = {
        {PROT_NONE, 0x01},
        {PROT_READ, 0x02},
        {PROT_READ | PROT_WRITE, 0x04},
        {PROT_WRITE, 0x04},
        {PROT_EXEC, 0x10},
        {PROT_READ | PROT_EXEC, 0x20},
        {PROT_READ | PROT_WRITE | PROT_EXEC, 0x40},
        {PROT_WRITE | PROT_EXEC, 0x40},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uintptr_t at = free_range(3 * G) + G;
        foreign_map(at, 3 * P, rows[i].protection);
        expect_foreign(at, at, 3 * P, rows[i].protect, MEM_PRIVATE);
        expect_foreign(at + P + 5, at, 2 * P, rows[i].protect, MEM_PRIVATE);
        expect_free(at - P, P);
        foreign_unmap(at, 3 * P);
        expect_free(at, ANY_SIZE);
    }
}

// [FM-3] [FM-4]
static void
file_and_shared_memory_has_its_types(void **state)
{
    (void)state;
    static const struct {
        int protection;
        int flags;
        bool file;
        uint32_t protect;
        uint32_t type;
    } rows[] = {
        {PROT_READ, MAP_PRIVATE, true, 0x02, MEM_MAPPED},
        {PROT_READ | PROT_WRITE, MAP_PRIVATE, true, 0x08, MEM_MAPPED},
        {PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, true, 0x80, MEM_IMAGE},
        {PROT_READ | PROT_EXEC, MAP_PRIVATE, true, 0x20, MEM_IMAGE},
        {PROT_EXEC, MAP_PRIVATE, true, 0x10, MEM_IMAGE},
        {PROT_NONE, MAP_PRIVATE, true, 0x01, MEM_MAPPED},
        {PROT_READ, MAP_SHARED, true, 0x02, MEM_MAPPED},
        {PROT_READ | PROT_WRITE, MAP_SHARED, true, 0x04, MEM_MAPPED},
        {PROT_READ | PROT_EXEC, MAP_SHARED, true, 0x20, MEM_MAPPED},
        {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, false, 0x04, MEM_MAPPED},
    };
    char name[] = "/tmp/hostheap-test-XXXXXX";
    int file = mkstemp(name);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, 4 * (off_t)P), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uintptr_t at = free_range(3 * G) + G;
        void *got = mmap((void *)at, 4 * P, rows[i].protection, rows[i].flags | MAP_FIXED_NOREPLACE,
                         rows[i].file ? file : -1, 0);
        assert_int_equal(got, at);
        expect_foreign(at + P, at, 3 * P, rows[i].protect, rows[i].type);
        foreign_unmap(at, 4 * P);
    }
    close(file);
    unlink(name);
}

static int static_data = 1;

// [FM-2]: what a runtime asks about.
static void
stack_code_and_data_of_the_program_are_committed(void **state)
{
    (void)state;
    int local = 0;
    hh_memory_basic_information info = query((uintptr_t)&local);
    assert_int_equal(info.State, MEM_COMMIT);
    assert_int_equal(info.Protect, PAGE_READWRITE);
    assert_int_equal(info.Type, MEM_PRIVATE);
    assert_true((uintptr_t)info.AllocationBase <= (uintptr_t)&local);
    info = query((uintptr_t)(void (*)(void **))stack_code_and_data_of_the_program_are_committed);
    assert_int_equal(info.State, MEM_COMMIT);
    assert_int_equal(info.Protect, PAGE_EXECUTE_READ);
    assert_int_equal(info.Type, MEM_IMAGE);
    info = query((uintptr_t)&static_data);
    assert_int_equal(info.State, MEM_COMMIT);
    assert_int_equal(info.Protect, PAGE_WRITECOPY);
}

// [FM-2] [FM-5]: the kernel shows such neighbours as one mapping.
static void
what_the_kernel_merges_is_clipped_at_what_is_ours(void **state)
{
    (void)state;
    uintptr_t base = free_range(5 * G);
    foreign_map(base + G, G, PROT_NONE);
    foreign_map(base + 3 * G, G, PROT_NONE);
    must_alloc(base + 2 * G, G, MEM_RESERVE, PAGE_NOACCESS);
    expect_foreign(base + G, base + G, G, 0x01, MEM_PRIVATE);
    expect_foreign(base + G + P, base + G, G - P, 0x01, MEM_PRIVATE);
    expect_reserved(base + 2 * G, base + 2 * G, 0x01, G);
    expect_foreign(base + 3 * G, base + 3 * G, G, 0x01, MEM_PRIVATE);
    expect_free(base, G);
    expect_free(base + 4 * G, ANY_SIZE);
    must_release(base + 2 * G);
    expect_free(base + 2 * G, G);
    foreign_unmap(base + G, G);
    foreign_unmap(base + 3 * G, G);
}

// [D28] 16.3: foreign pages in the last granule stay foreign, the rest of the tail is taken.
static void
a_foreign_page_in_the_last_granule_is_left_alone(void **state)
{
    (void)state;
    uintptr_t base = free_range(2 * G);
    foreign_map(base + 8 * P, 2 * P, PROT_NONE);
    assert_int_equal(must_alloc(base, 4 * P, MEM_RESERVE, PAGE_NOACCESS), base);
    expect_reserved(base, base, 0x01, 4 * P);
    expect_free(base + 4 * P, 4 * P);
    expect_free(base + 7 * P, P);
    expect_foreign(base + 8 * P, base + 8 * P, 2 * P, 0x01, MEM_PRIVATE);
    expect_foreign(base + 9 * P, base + 8 * P, P, 0x01, MEM_PRIVATE);
    hh_memory_basic_information info = query(base + 10 * P);
    assert_int_equal(info.State, MEM_FREE);
    assert_true(info.RegionSize >= 6 * P + G);
    must_release(base);
    expect_foreign(base + 8 * P, base + 8 * P, 2 * P, 0x01, MEM_PRIVATE);
    foreign_unmap(base + 8 * P, 2 * P);
}

// ---- The walk ----

enum { WALK_SECONDS = 60, FAULT_SECONDS = 10, MAPS_BYTES = 1 << 20 };

// What is wrong with a step of the walk, or NULL.
static const char *
walk_step_fault(const hh_memory_basic_information *info, uintptr_t at, uint32_t state_before)
{
    if ((uintptr_t)info->BaseAddress != at)
        return "not where it was asked";
    if (info->RegionSize == 0 || info->RegionSize % P != 0)
        return "not a number of pages";
    if (state_before == MEM_FREE && info->State == MEM_FREE)
        return "a free run that is not as long as it can be"; // [VQ-4]
    if (info->State == MEM_FREE ? info->AllocationBase != NULL
                                : (uintptr_t)info->AllocationBase > at)
        return "not in an allocation";
    return NULL;
}

static const char *
walk_once(size_t *steps)
{
    uintptr_t at = 0;
    uint32_t before = 0;
    for (*steps = 0; at < LIMIT; ++*steps) {
        hh_memory_basic_information info = query(at);
        const char *fault = walk_step_fault(&info, at, before);
        if (fault != NULL)
            return fault;
        before = info.State;
        at += info.RegionSize;
    }
    return at == LIMIT ? NULL : "beyond the limit";
}

static size_t
maps_read(char *text)
{
    size_t length = 0;
    ssize_t more;
    int file = open("/proc/self/maps", O_RDONLY);
    assert_true(file >= 0);
    while ((more = read(file, text + length, MAPS_BYTES - length)) > 0)
        length += (size_t)more;
    assert_true(more == 0 && length < MAPS_BYTES);
    close(file);
    return length;
}

/*
 * Each answer is of its own moment, and another thread may map or unmap between two of them (liburcu's
 * does, when it starts). So only a walk counts during which the mappings stayed as they were; and a
 * fault must stay, since they may have changed and changed back, again and again.
 */
static size_t
walk_tiles(void)
{
    static char before[MAPS_BYTES], after[MAPS_BYTES];
    time_t deadline = time(NULL) + WALK_SECONDS, fault_end = 0;
    while (time(NULL) < deadline) {
        size_t steps, length = maps_read(before);
        const char *fault = walk_once(&steps);
        if (maps_read(after) != length || memcmp(before, after, length) != 0)
            continue;
        if (fault == NULL)
            return steps;
        if (fault_end == 0)
            fault_end = time(NULL) + FAULT_SECONDS;
        if (time(NULL) >= fault_end)
            fail_msg("step %zu of the walk: %s", steps, fault);
    }
    fail_msg("the mappings changed during each walk");
    return 0;
}

// [VQ-6]
static void
the_walk_from_0_reaches_the_limit_exactly(void **state)
{
    (void)state;
    size_t plain = walk_tiles();
    assert_true(plain > 10);
    enum { MANY = 50 };
    uintptr_t bases[MANY];
    for (size_t i = 0; i < MANY; i++) {
        bases[i] = must_alloc(0, (1 + i % 20) * P, MEM_RESERVE, PAGE_READWRITE);
        must_alloc(bases[i], P, MEM_COMMIT, PAGE_READWRITE);
        if (i % 3 == 0) {
            void *page = mmap(NULL, P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            assert_ptr_not_equal(page, MAP_FAILED);
        }
    }
    assert_true(walk_tiles() >= plain + MANY);
    for (size_t i = 0; i < MANY; i++)
        must_release(bases[i]);
    walk_tiles();
}

enum { OTHER_TURNS = 2000, OTHER_BYTES = 1 << 17 };

static atomic_bool other_ended;

static void *
map_and_unmap(void *unused)
{
    for (int turn = 0; turn < OTHER_TURNS; turn++) {
        void *got = mmap(NULL, OTHER_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        usleep(turn % 100 == 0 ? 5000 : 1);
        if (got != MAP_FAILED)
            munmap(got, OTHER_BYTES);
        usleep(turn % 100 == 50 ? 5000 : 1);
    }
    atomic_store(&other_ended, true);
    return unused;
}

static void
the_walk_holds_when_another_thread_has_mapped_and_unmapped(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, map_and_unmap, NULL), 0);
    while (!atomic_load(&other_ended))
        walk_tiles();
    assert_int_equal(pthread_join(thread, NULL), 0);
    walk_tiles();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reserve_then_a_commit_of_its_first_page_reads_as_in_the_examples),
        cmocka_unit_test(a_protection_changed_and_put_back_leaves_one_run),
        cmocka_unit_test(two_commits_side_by_side_are_one_run),
        cmocka_unit_test(the_tail_of_the_last_granule_is_free_and_joins_what_follows),
        cmocka_unit_test(neighbouring_allocations_are_never_merged),
        cmocka_unit_test(a_commit_in_the_middle_names_its_page_only),
        cmocka_unit_test(the_limit_is_refused_and_the_byte_below_it_is_not),
        cmocka_unit_test(guard_is_part_of_what_is_reported),
        cmocka_unit_test(bad_arguments_are_refused_in_order_and_the_buffer_is_untouched),
        cmocka_unit_test(a_longer_buffer_is_filled_to_48_bytes_only),
        cmocka_unit_test(each_valid_protection_is_reported_as_it_was_given),
        cmocka_unit_test(a_run_is_measured_from_the_page_asked),
        cmocka_unit_test(a_random_history_agrees_with_an_array_of_pages),
        cmocka_unit_test(anonymous_memory_of_others_is_committed_private),
        cmocka_unit_test(file_and_shared_memory_has_its_types),
        cmocka_unit_test(stack_code_and_data_of_the_program_are_committed),
        cmocka_unit_test(what_the_kernel_merges_is_clipped_at_what_is_ours),
        cmocka_unit_test(a_foreign_page_in_the_last_granule_is_left_alone),
        cmocka_unit_test(the_walk_from_0_reaches_the_limit_exactly),
        cmocka_unit_test(the_walk_holds_when_another_thread_has_mapped_and_unmapped),
    };
    return cmocka_run_group_tests(tests, virtual_setup, NULL);
}
