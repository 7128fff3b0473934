// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_virtual_faults.c - VirtualAlloc and its kin while the kernel refuses calls: all
 * or nothing, frees that never fail, zero after recommit. [16.4] [VA-1] [VA-6] [PR-3] [VF-4] [VF-5] [D30]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "heap/limit.h"
#include "host/host_load.h"
#include "host/host_virtual.h"
#include "meta/meta_arena.h"
#include "os/os.h"
#include "region/region.h"
#include "support/test.h"

#define P ((size_t)0x1000)
#define G ((size_t)0x10000)
#define COUNT(array) (sizeof(array) / sizeof *(array))

// ---- Injection ----

enum call { CALL_MAP, CALL_UNMAP, CALL_PROTECT, CALL_ADVISE, CALLS };

static struct hhi_os real;
static struct {
    enum call call;
    int error;
    unsigned at; // the first call to fail, from 1; 0 = none
    bool for_ever;
    bool half; // what fails has been done to the first half of the pages
    unsigned seen;
} fault;

static bool refuse_unmap; // besides

static bool
fault_hits(enum call call)
{
    if (fault.at == 0 || call != fault.call)
        return false;
    fault.seen++;
    return fault.for_ever ? fault.seen >= fault.at : fault.seen == fault.at;
}

static intptr_t
faulty_map(void *address, size_t size, int protection, int flags)
{
    return fault_hits(CALL_MAP) ? -fault.error : real.map(address, size, protection, flags);
}

static int
faulty_unmap(void *address, size_t size)
{
    return fault_hits(CALL_UNMAP) || refuse_unmap ? -fault.error : real.unmap(address, size);
}

// Until fault.at is 0 again.
static void
refuse_all(enum call call)
{
    fault.call = call;
    fault.error = ENOMEM;
    fault.for_ever = true;
    fault.seen = 0;
    fault.at = 1;
}

static int
faulty_protect(void *address, size_t size, int protection)
{
    if (!fault_hits(CALL_PROTECT))
        return real.protect(address, size, protection);
    if (fault.half && size >= 2 * P)
        assert_int_equal(real.protect(address, size / 2 / P * P, protection), 0);
    return -fault.error;
}

static int
faulty_advise(void *address, size_t size, int advice)
{
    return fault_hits(CALL_ADVISE) ? -fault.error : real.advise(address, size, advice);
}

static intptr_t
refused_map(void *address, size_t size, int protection, int flags)
{
    (void)address, (void)size, (void)protection, (void)flags;
    return -ENOMEM;
}

static int
refused_advise(void *address, size_t size, int advice)
{
    (void)address, (void)size, (void)advice;
    return -EINVAL;
}

// ---- The methods ----

static hh_hresult
do_alloc(uintptr_t address, size_t size, uint32_t type, uint32_t protect, uintptr_t *result)
{
    void *pointer = &pointer;
    hh_hresult answer =
        hhi_host_virtual_alloc(NULL, (void *)address, size, type, protect, 0, &pointer);
    assert_true((answer == S_OK) == (pointer != NULL));
    if (result != NULL)
        *result = (uintptr_t)pointer;
    return answer;
}

static hh_hresult
do_free(uintptr_t address, size_t size, uint32_t type)
{
    return hhi_host_virtual_free(NULL, (void *)address, size, type);
}

static hh_hresult
do_protect(uintptr_t address, size_t size, uint32_t protect)
{
    uint32_t old = 0;
    hh_hresult answer = hhi_host_virtual_protect(NULL, (void *)address, size, protect, &old);
    assert_true(answer == S_OK || old == PAGE_NOACCESS);
    return answer;
}

static hh_memory_basic_information
do_query(uintptr_t address)
{
    hh_memory_basic_information info;
    size_t length;
    assert_int_equal(hhi_host_virtual_query(NULL, (void *)address, &info, sizeof info, &length),
                     S_OK);
    return info;
}

// ---- One allocation with all kinds of pages, and what may be done to it ----

enum { PAGES = 12 };
static const uint32_t page_protections[PAGES] = {0,
                                                 0,
                                                 PAGE_READWRITE,
                                                 PAGE_READWRITE,
                                                 PAGE_READONLY,
                                                 PAGE_NOACCESS,
                                                 0,
                                                 PAGE_READWRITE,
                                                 PAGE_READWRITE | PAGE_GUARD,
                                                 0,
                                                 PAGE_EXECUTE_READWRITE,
                                                 PAGE_READWRITE};

static uintptr_t base;

static void
make_allocation(void)
{
    assert_int_equal(do_alloc(0, PAGES * P, MEM_RESERVE, PAGE_READWRITE, &base), S_OK);
    for (size_t page = 0; page < PAGES; page++) {
        if (page_protections[page] == 0)
            continue;
        uintptr_t at = base + page * P;
        assert_int_equal(do_alloc(at, P, MEM_COMMIT, PAGE_READWRITE, NULL), S_OK);
        memset((void *)at, 0x50 + (int)page, P);
        assert_int_equal(do_protect(at, P, page_protections[page]), S_OK);
    }
}

static void
expect_page(size_t page, uint32_t protection, bool contents)
{
    hh_memory_basic_information info = do_query(base + page * P);
    assert_int_equal(info.AllocationBase, base);
    assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
    assert_int_equal(info.State, protection == 0 ? MEM_RESERVE : MEM_COMMIT);
    assert_int_equal(info.Protect, protection);
    struct hhi_os_mapping mapping;
    assert_int_equal(hhi_os_find_mapping(base + page * P, &mapping), 0);
    if (protection != 0)
        assert_int_equal(mapping.access, hhi_region_access(protection));
    if (contents && (mapping.access & HHI_ACCESS_READ))
        assert_int_equal(*(unsigned char *)(base + page * P), 0x50 + page);
}

static void
expect_unchanged(void)
{
    for (size_t page = 0; page < PAGES; page++)
        expect_page(page, page_protections[page], true);
}

static hh_hresult
act_commit_all(void)
{
    return do_alloc(base, PAGES * P, MEM_COMMIT, PAGE_READWRITE, NULL);
}

static hh_hresult
act_commit_some_executable(void)
{
    return do_alloc(base + P, 7 * P, MEM_COMMIT, PAGE_EXECUTE_READ, NULL);
}

static hh_hresult
act_commit_without_access(void)
{
    return do_alloc(base, 4 * P, MEM_COMMIT, PAGE_NOACCESS, NULL);
}

static hh_hresult
act_protect_some(void)
{
    return do_protect(base + 2 * P, 4 * P, PAGE_READONLY);
}

static hh_hresult
act_protect_one(void)
{
    return do_protect(base + 11 * P, P, PAGE_NOACCESS);
}

static hh_hresult
act_reset(void)
{
    return do_alloc(base, PAGES * P, MEM_RESET, PAGE_READWRITE, NULL);
}

static hh_hresult
act_decommit_some(void)
{
    return do_free(base + P, 7 * P, MEM_DECOMMIT);
}

static hh_hresult
act_decommit_all(void)
{
    return do_free(base, 0, MEM_DECOMMIT);
}

static const struct action {
    const char *name;
    hh_hresult (*act)(void);
    bool may_fail;
    size_t decommit_first, decommit_end;
} actions[] = {
    {"commit all", act_commit_all, true, 0, 0},
    {"commit some executable", act_commit_some_executable, true, 0, 0},
    {"commit without access", act_commit_without_access, true, 0, 0},
    {"protect some", act_protect_some, true, 0, 0},
    {"protect one", act_protect_one, true, 0, 0},
    {"reset", act_reset, false, 0, 0},
    {"decommit some", act_decommit_some, false, 1, 8},
    {"decommit all", act_decommit_all, false, 0, PAGES},
};

static void
expect_zero_after_recommit(const struct action *action)
{
    for (size_t page = action->decommit_first; page < action->decommit_end; page++)
        expect_page(page, 0, false);
    size_t size = (action->decommit_end - action->decommit_first) * P;
    uintptr_t first = base + action->decommit_first * P;
    assert_int_equal(do_alloc(first, size, MEM_COMMIT, PAGE_READWRITE, NULL), S_OK);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((unsigned char *)first)[i], 0);
}

// True if the call that was to fail was not made at all.
static bool
run_action(const struct action *action, unsigned at)
{
    make_allocation();
    struct hhi_budget_reading before, after;
    hhi_limit_read(&before);
    fault.seen = 0;
    fault.at = at;
    hh_hresult answer = action->act();
    bool unused = fault.seen < at;
    struct hhi_budget_reading reading;
    hhi_limit_read(&reading);
    fault.at = 0;
    if (answer != S_OK) {
        assert_true(action->may_fail);
        assert_int_equal(answer, E_OUTOFMEMORY);
        expect_unchanged();
        assert_int_equal(reading.committed_bytes, before.committed_bytes);
    } else if (action->decommit_end != 0) {
        expect_zero_after_recommit(action);
    }
    assert_int_equal(do_free(base, 0, MEM_RELEASE), S_OK);
    assert_int_equal(do_query(base).State, MEM_FREE);
    hhi_limit_read(&after);
    assert_int_equal(after.committed_bytes, 0);
    return unused;
}

static void
every_refused_call_leaves_all_or_nothing(void **state)
{
    (void)state;
    static const int errors[] = {ENOMEM, EAGAIN, EINVAL};
    unsigned runs = 0;
    for (size_t i = 0; i < COUNT(actions); i++) {
        for (int call = 0; call < CALLS; call++) {
            for (size_t k = 0; k < COUNT(errors) * 2; k++) {
                bool unused = false;
                for (unsigned at = 1; !unused; at++, runs++) {
                    fault.call = (enum call)call;
                    fault.error = errors[k / 2];
                    fault.for_ever = k % 2 == 1;
                    unused = run_action(&actions[i], at);
                    assert_true(at < 100);
                }
            }
        }
    }
    print_message("%u runs\n", runs);
}

// Where it has no mapping left for the second part, the kernel leaves the first as it was asked for.
static void
a_protect_refused_half_way_leaves_all_or_nothing(void **state)
{
    (void)state;
    fault.call = CALL_PROTECT;
    fault.error = ENOMEM;
    fault.for_ever = false;
    fault.half = true;
    for (size_t i = 0; i < COUNT(actions); i++)
        for (unsigned at = 1; !run_action(&actions[i], at); at++)
            assert_true(at < 100);
    fault.half = false;
}

// Pages that are locked in memory, while the kernel has no mapping left to replace them with.
static void
a_decommit_that_can_not_empty_the_pages_is_made_up_for_by_the_next_commit(void **state)
{
    (void)state;
    make_allocation();
    hhi_os.map = refused_map;
    hhi_os.advise = refused_advise;
    assert_int_equal(do_free(base + 2 * P, 2 * P, MEM_DECOMMIT), S_OK);
    expect_page(2, 0, false);
    fault.call = CALL_PROTECT;
    fault.error = ENOMEM;
    fault.for_ever = true;
    fault.seen = 0;
    fault.at = 1;
    assert_int_equal(do_alloc(base + P, 3 * P, MEM_COMMIT, PAGE_READWRITE, NULL), E_OUTOFMEMORY);
    fault.at = 0;
    expect_page(1, 0, false);
    expect_page(3, 0, false);
    assert_int_equal(do_alloc(base + P, 3 * P, MEM_COMMIT, PAGE_READWRITE, NULL), S_OK);
    hhi_os.map = faulty_map;
    hhi_os.advise = faulty_advise;
    for (size_t i = P; i < 4 * P; i++)
        assert_int_equal(((unsigned char *)base)[i], 0);
    expect_page(4, PAGE_READONLY, true);
    assert_int_equal(do_free(base, 0, MEM_RELEASE), S_OK);
}

// [VF-2]: also while the kernel will not unmap.
static void
a_release_succeeds_and_the_address_is_free_though_unmapping_fails(void **state)
{
    (void)state;
    make_allocation();
    uintptr_t first = base;
    refuse_all(CALL_UNMAP);
    assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
    assert_int_equal(do_query(first).State, MEM_FREE);
    assert_true(do_query(first).RegionSize >= PAGES * P);
    assert_int_equal(do_free(first, 0, MEM_RELEASE), HOST_E_INVALIDOPERATION);
    fault.at = 0;
    // The next allocation finds the range unmapped, at the same address too.
    uintptr_t again;
    assert_int_equal(do_alloc(first, PAGES * P, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &again),
                     S_OK);
    assert_int_equal(again, first);
    for (size_t i = 0; i < PAGES * P; i++)
        assert_int_equal(((unsigned char *)first)[i], 0);
    assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
}

// A record stays for what could not be unmapped: the address serves again once it can.
static void
what_is_not_unmapped_is_tried_again(void **state)
{
    (void)state;
    const uintptr_t at = 0x7EA900000000;
    refuse_all(CALL_UNMAP);
    assert_true(hhi_region_place_is_free(at, 3 * P));
    assert_true(fault.seen != 0);
    assert_int_equal(do_query(at).State, MEM_FREE);
    assert_int_equal(do_alloc(at + G, P, MEM_RESERVE, PAGE_READWRITE, NULL), S_OK);
    assert_int_equal(do_alloc(at, 3 * P, MEM_RESERVE, PAGE_READWRITE, NULL), E_OUTOFMEMORY);
    assert_int_equal(do_alloc(at, 3 * G, MEM_RESERVE, PAGE_READWRITE, NULL), HH_W_INVALID_ADDRESS);
    fault.at = 0;
    assert_int_equal(do_free(at + G, 0, MEM_RELEASE), S_OK);
    uintptr_t result;
    assert_int_equal(do_alloc(at, 3 * P, MEM_RESERVE, PAGE_READWRITE, &result), S_OK);
    assert_int_equal(result, at);
    assert_int_equal(do_free(at, 0, MEM_RELEASE), S_OK);
}

// [8.4 row 5, AS-2]
static void
what_is_not_unmapped_is_in_the_way_and_nothing_to_protect(void **state)
{
    (void)state;
    uintptr_t at;
    assert_int_equal(do_alloc(0, G, MEM_RESERVE, PAGE_READWRITE, &at), S_OK);
    refuse_all(CALL_UNMAP);
    assert_int_equal(do_free(at, 0, MEM_RELEASE), S_OK);
    assert_int_equal(do_query(at).State, MEM_FREE);
    assert_int_equal(do_protect(at, P, PAGE_READWRITE), HH_W_INVALID_ADDRESS);
    assert_int_equal(hhi_host_needs_address_space(NULL, (void *)at, P), E_OUTOFMEMORY);
    assert_int_equal(hhi_host_needs_address_space(NULL, (void *)(at + G), 0), S_OK);
    fault.at = 0;
    assert_int_equal(hhi_host_needs_address_space(NULL, (void *)at, G), S_OK);
    assert_int_equal(hhi_os_reserve((void *)at, G), at);
    hhi_os_release((void *)at, G);
}

// [VF-2] That it is all reserved needs no memory to be described.
static void
a_decommit_of_all_pages_needs_no_memory(void **state)
{
    enum { MANY = 4096 };
    (void)state;
    uintptr_t at;
    assert_int_equal(do_alloc(0, MANY * P, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &at), S_OK);
    refuse_all(CALL_MAP);
    while (hhi_meta_alloc(sizeof(void *)) != NULL)
        continue;
    unsigned page = 1;
    while (page < MANY && do_protect(at + page * P, P, PAGE_READONLY) == S_OK)
        page += 2;
    assert_true(page < MANY); // until it could not be described any more
    assert_int_equal(do_free(at, 0, MEM_DECOMMIT), S_OK);
    assert_int_equal(do_query(at).State, MEM_RESERVE);
    assert_int_equal(do_query(at).RegionSize, MANY * P);
    assert_int_equal(do_free(at, 0, MEM_RELEASE), S_OK);
    fault.at = 0;
}

static unsigned
access_at(uintptr_t address)
{
    struct hhi_os_mapping mapping;
    assert_int_equal(hhi_os_find_mapping(address, &mapping), 0);
    assert_true(mapping.start <= address);
    return mapping.access;
}

// [PR-3] of memory that somebody else has mapped, with more than one access.
static void
a_protect_of_foreign_memory_refused_half_way_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        int error;
        hh_hresult answer;
    } rows[] = {{ENOMEM, E_OUTOFMEMORY}, {EACCES, E_INVALIDARG}};
    static const unsigned access[] = {HHI_ACCESS_READ, HHI_ACCESS_READ | HHI_ACCESS_WRITE,
                                      HHI_ACCESS_READ, HHI_ACCESS_NONE};
    uintptr_t foreign = (uintptr_t)hhi_os_reserve(NULL, COUNT(access) * P);
    for (size_t i = 0; i < COUNT(access); i++)
        assert_int_equal(hhi_os_protect((void *)(foreign + i * P), P, access[i]), 0);
    for (size_t row = 0; row < COUNT(rows); row++) {
        for (int half = 0; half < 2; half++) {
            fault.call = CALL_PROTECT;
            fault.error = rows[row].error;
            fault.for_ever = false;
            fault.half = half == 1;
            fault.seen = 0;
            fault.at = 1;
            assert_int_equal(do_protect(foreign, COUNT(access) * P, PAGE_READWRITE),
                             rows[row].answer);
            fault.at = 0;
            fault.half = false;
            for (size_t i = 0; i < COUNT(access); i++)
                assert_int_equal(access_at(foreign + i * P), access[i]);
        }
    }
    assert_int_equal(do_protect(foreign, COUNT(access) * P, PAGE_READWRITE), S_OK);
    hhi_os_release((void *)foreign, COUNT(access) * P);
}

// A file that may not be written, behind pages that may.
static void
a_protect_that_a_foreign_file_does_not_allow_changes_nothing(void **state)
{
    (void)state;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uintptr_t foreign = (uintptr_t)hhi_os_reserve(NULL, 2 * P);
    assert_int_equal(hhi_os_protect((void *)foreign, P, HHI_ACCESS_READ), 0);
    assert_ptr_equal(mmap((void *)(foreign + P), P, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0),
                     foreign + P);
    close(file);
    assert_int_equal(do_protect(foreign, 2 * P, PAGE_READWRITE), E_INVALIDARG);
    assert_int_equal(access_at(foreign), HHI_ACCESS_READ);
    assert_int_equal(access_at(foreign + P), HHI_ACCESS_READ);
    hhi_os_release((void *)foreign, 2 * P);
}

// Where somebody stands in the way the kernel is asked for a place, which it then does not take back.
static void
a_place_that_is_not_unmapped_is_used_as_it_is(void **state)
{
    (void)state;
    uintptr_t first, result;
    assert_int_equal(do_alloc(0, G, MEM_RESERVE, PAGE_READWRITE, &first), S_OK);
    intptr_t foreign = hhi_os_reserve((void *)(first - P), P);
    assert_true(foreign > 0 || foreign == -EEXIST); // somebody may stand there already
    for (int commit = 0; commit < 2; commit++) {
        refuse_unmap = true;
        assert_int_equal(
            do_alloc(0, 3 * P, MEM_RESERVE | (commit ? MEM_COMMIT : 0), PAGE_READWRITE, &result),
            S_OK);
        refuse_unmap = false;
        assert_true(result % G == 0);
        assert_int_equal(access_at(result), commit ? HHI_ACCESS_READ | HHI_ACCESS_WRITE : 0);
        assert_int_equal(do_query(result).RegionSize, 3 * P);
        assert_int_equal(access_at(result + 3 * P), HHI_ACCESS_NONE);
        assert_int_equal(do_query(result + 3 * P).State, MEM_FREE);
        assert_int_equal(do_free(result, 0, MEM_RELEASE), S_OK);
        assert_int_equal(do_query(result).State, MEM_FREE);
        // The next one goes below the first, where the foreign page is.
        assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
        assert_int_equal(do_alloc(first, G, MEM_RESERVE, PAGE_READWRITE, &first), S_OK);
    }
    assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
    if (foreign > 0)
        hhi_os_release((void *)foreign, P);
}

// Another thread maps something into each place just found, so many times.
static unsigned rivals;
static void *rival_pages[8];

static intptr_t
rivalled_map(void *address, size_t size, int protection, int flags)
{
    if (address != NULL && rivals > 0) {
        rivals--;
        rival_pages[rivals] =
            (void *)real.map(address, P, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE);
    }
    return real.map(address, size, protection, flags);
}

static void
a_place_lost_to_another_thread_is_looked_for_again(void **state)
{
    (void)state;
    uintptr_t result;
    for (int commit = 0; commit < 2; commit++) {
        rivals = COUNT(rival_pages);
        hhi_os.map = rivalled_map;
        hh_hresult answer =
            do_alloc(0, 3 * G, MEM_RESERVE | (commit ? MEM_COMMIT : 0), PAGE_READWRITE, &result);
        hhi_os.map = faulty_map;
        assert_int_equal(answer, S_OK);
        assert_int_equal(rivals, 0);
        assert_int_equal(do_query(result).RegionSize, 3 * G);
        assert_int_equal(do_free(result, 0, MEM_RELEASE), S_OK);
        for (size_t i = 0; i < COUNT(rival_pages); i++)
            if ((intptr_t)rival_pages[i] > 0)
                assert_int_equal(real.unmap(rival_pages[i], P), 0);
    }
}

static unsigned watched;

static intptr_t
watched_map(void *address, size_t size, int protection, int flags)
{
    bool pages = protection != PROT_NONE && address != NULL;
    uint32_t before = pages ? do_query((uintptr_t)address).State : 0;
    intptr_t result = real.map(address, size, protection, flags);
    if (pages && result == (intptr_t)address) {
        hh_memory_basic_information now = do_query((uintptr_t)address);
        assert_int_equal(before, MEM_FREE);
        assert_int_equal(now.State, MEM_COMMIT);
        assert_int_equal(now.AllocationBase, address);
        assert_int_equal(now.RegionSize, size);
        assert_int_equal(now.Protect, PAGE_READWRITE);
        assert_int_equal(now.AllocationProtect, PAGE_READWRITE);
        assert_int_equal(now.Type, MEM_PRIVATE);
        watched++;
    }
    return result;
}

// [VQ-7]: free at first, then at once what it is going to be, beside neighbours the kernel merges it with.
static void
a_query_in_the_middle_of_a_reserve_is_true(void **state)
{
    (void)state;
    uintptr_t bases[6];
    static const size_t sizes[] = {4 * G, G, 3 * P, 5 * G, 2 * G, 4 * G};
    hhi_os.map = watched_map;
    for (size_t i = 0; i < COUNT(sizes); i++)
        assert_int_equal(do_alloc(0, sizes[i], MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &bases[i]),
                         S_OK);
    // Between others.
    assert_int_equal(do_free(bases[3], 0, MEM_RELEASE), S_OK);
    assert_int_equal(do_alloc(bases[3], 5 * G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &bases[3]),
                     S_OK);
    hhi_os.map = faulty_map;
    assert_int_equal(watched, COUNT(sizes) + 1);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_int_equal(do_query(bases[i]).RegionSize, sizes[i]);
        assert_int_equal(do_free(bases[i], 0, MEM_RELEASE), S_OK);
    }
}

static void
a_reserve_that_fails_leaves_nothing_mapped(void **state)
{
    (void)state;
    static const int errors[] = {ENOMEM, EAGAIN, EPERM, EEXIST};
    const uintptr_t range = 0x7EA800000000;
    for (size_t i = 0; i < COUNT(errors); i++) {
        for (int call = CALL_MAP; call <= CALL_PROTECT; call += CALL_PROTECT - CALL_MAP) {
            for (int there = 0; there < 2; there++) {
                fault.call = (enum call)call;
                fault.error = errors[i];
                fault.for_ever = true;
                fault.seen = 0;
                fault.at = 1;
                uintptr_t result;
                hh_hresult answer = do_alloc(there ? range : 0, 3 * P, MEM_RESERVE | MEM_COMMIT,
                                             PAGE_READWRITE, &result);
                fault.at = 0;
                bool busy =
                    there && call == CALL_MAP && (errors[i] == EPERM || errors[i] == EEXIST);
                // Pages are mapped with their access: a refusal of changes does not matter.
                hh_hresult due = busy ? HH_W_INVALID_ADDRESS : E_OUTOFMEMORY;
                assert_int_equal(answer, call == CALL_PROTECT ? S_OK : due);
                if (answer == S_OK)
                    assert_int_equal(do_free(result, 0, MEM_RELEASE), S_OK);
                assert_int_equal(do_query(range).State, MEM_FREE);
                struct hhi_os_mapping mapping;
                int found = hhi_os_find_mapping(range, &mapping);
                assert_true(found != 0 || mapping.start > range + G);
            }
        }
    }
}

// ---- The kernel's own limit of mappings ----

enum { MANY_PAGES = 70000 };

static void
at_the_map_limit_changes_fail_whole_and_decommits_succeed(void **state)
{
    (void)state;
    assert_int_equal(do_alloc(0, MANY_PAGES * P, MEM_COMMIT, PAGE_READWRITE, &base), S_OK);
    size_t page = 1;
    hh_hresult answer = S_OK;
    while (page < MANY_PAGES - 100 && answer == S_OK) {
        answer = do_protect(base + page * P, P, PAGE_READONLY);
        page += 2;
    }
    if (answer == S_OK) {
        assert_int_equal(do_free(base, 0, MEM_RELEASE), S_OK);
        skip(); // this kernel allows more mappings than the test makes
    }
    page -= 2;
    assert_int_equal(answer, E_OUTOFMEMORY);
    assert_int_equal(do_query(base + page * P).Protect, PAGE_READWRITE);
    assert_int_equal(do_query(base + (page - 2) * P).Protect, PAGE_READONLY);
    assert_int_equal(do_query(base + (page - 2) * P).RegionSize, P);
    // A change over several runs that needs one more mapping at its end.
    assert_int_equal(do_protect(base + (page + 40) * P, 20 * P, PAGE_NOACCESS), E_OUTOFMEMORY);
    *(volatile char *)(base + (page + 50) * P) = 9;
    // Decommitting in the middle of a run needs two more; it succeeds all the same.
    memset((void *)(base + (page + 50) * P), 0xEE, P);
    assert_int_equal(do_free(base + (page + 50) * P, P, MEM_DECOMMIT), S_OK);
    assert_int_equal(do_query(base + (page + 50) * P).State, MEM_RESERVE);
    assert_int_equal(do_query(base + (page + 50) * P).RegionSize, P);
    // One protection over everything frees the mappings again.
    assert_int_equal(do_protect(base, (page - 1) * P, PAGE_READWRITE), S_OK);
    assert_int_equal(do_alloc(base + (page + 50) * P, P, MEM_COMMIT, PAGE_READWRITE, NULL), S_OK);
    for (size_t i = 0; i < P; i++)
        assert_int_equal(((unsigned char *)base)[(page + 50) * P + i], 0);
    assert_int_equal(do_free(base, 0, MEM_RELEASE), S_OK);
}

// ---- And of data ----

enum { RUN_PAGES = 16 };

// Bytes of writable private pages, as the kernel counts them.
static size_t
data_bytes(void)
{
    char line[200];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL && sscanf(line, "VmData: %lu", &kib) != 1)
        continue;
    fclose(status);
    return (size_t)kib << 10;
}

static void
at_the_data_limit_a_protect_over_several_runs_fails_whole(void **state)
{
    (void)state;
    struct rlimit before, lower;
    uintptr_t first, second;
    assert_int_equal(do_alloc(0, 2 * RUN_PAGES * P, MEM_COMMIT, PAGE_READONLY, &first), S_OK);
    second = first + RUN_PAGES * P;
    assert_int_equal(do_protect(second, RUN_PAGES * P, PAGE_NOACCESS), S_OK);
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    lower = before;
    lower.rlim_cur = data_bytes() + (RUN_PAGES + RUN_PAGES / 2) * P; // for one of the two
    assert_int_equal(setrlimit(RLIMIT_DATA, &lower), 0);
    hh_hresult answer = do_protect(first, 2 * RUN_PAGES * P, PAGE_READWRITE);
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
    if (answer == S_OK) {
        assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
        skip(); // this kernel does not count
    }
    assert_int_equal(answer, E_OUTOFMEMORY);
    assert_int_equal(access_at(first), HHI_ACCESS_READ);
    assert_int_equal(access_at(second), HHI_ACCESS_NONE);
    assert_int_equal(do_query(first).Protect, PAGE_READONLY);
    assert_int_equal(do_query(second).Protect, PAGE_NOACCESS);
    assert_int_equal(do_protect(first, 2 * RUN_PAGES * P, PAGE_READWRITE), S_OK);
    assert_int_equal(do_free(first, 0, MEM_RELEASE), S_OK);
}

// ---- The process's reserve ----

static struct {
    unsigned maps;
    uint64_t now_ms;
} reserve;

static void *
reserve_map(size_t size_bytes)
{
    static char place;
    (void)size_bytes;
    reserve.maps++;
    return &place;
}

static void
reserve_unmap(void *address, size_t size_bytes)
{
    (void)address, (void)size_bytes;
}

static void
reserve_wait(unsigned ms)
{
    reserve.now_ms += ms;
}

static uint64_t
reserve_now_ms(void)
{
    return reserve.now_ms;
}

static hh_hresult
ask_reserve(void)
{
    return do_alloc(0, G, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &base);
}

static hh_hresult
ask_commit(void)
{
    return do_alloc(base, G, MEM_COMMIT, PAGE_READWRITE, NULL);
}

static hh_hresult
ask_block(void)
{
    return hh_heap_alloc(hh_heap_default(), 3 << 20) != NULL ? S_OK : E_OUTOFMEMORY;
}

// A request that is refused makes no call for it.
static void
the_reserve_comes_back_after_a_request_that_was_served(void **state)
{
    static const struct hhi_limit_system system = {reserve_map, reserve_unmap, reserve_wait,
                                                   reserve_now_ms};
    static const struct {
        hh_hresult (*ask)(void);
        enum call refused;
    } asks[] = {{ask_reserve, CALL_MAP}, {ask_commit, CALL_PROTECT}, {ask_block, CALL_PROTECT}};
    (void)state;
    hhi_limit_set_system(&system);
    hhi_limit_prepare_reserve();
    for (size_t i = 0; i < COUNT(asks); i++) {
        if (asks[i].ask == ask_commit)
            assert_int_equal(do_alloc(0, G, MEM_RESERVE, PAGE_READWRITE, &base), S_OK);
        assert_true(hhi_limit_release_reserve());
        reserve.maps = 0;
        reserve.now_ms += HHI_LIMIT_REFILL_MS;
        fault.call = asks[i].refused;
        fault.error = ENOMEM;
        fault.at = 1;
        fault.for_ever = true;
        fault.seen = 0;
        assert_int_equal(asks[i].ask(), E_OUTOFMEMORY);
        assert_true(fault.seen > 0);
        assert_int_equal(reserve.maps, 0);
        fault.at = 0;
        assert_int_equal(asks[i].ask(), S_OK);
        assert_int_equal(reserve.maps, 1);
        if (asks[i].ask != ask_block)
            assert_int_equal(do_free(base, 0, MEM_RELEASE), S_OK);
    }
    assert_true(hhi_limit_release_reserve());
    hhi_limit_set_system(NULL);
}

static int
install_faults(void **state)
{
    (void)state;
    real = hhi_os;
    hhi_os.map = faulty_map;
    hhi_os.unmap = faulty_unmap;
    hhi_os.protect = faulty_protect;
    hhi_os.advise = faulty_advise;
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refused_call_leaves_all_or_nothing),
        cmocka_unit_test(a_protect_refused_half_way_leaves_all_or_nothing),
        cmocka_unit_test(a_decommit_that_can_not_empty_the_pages_is_made_up_for_by_the_next_commit),
        cmocka_unit_test(a_protect_of_foreign_memory_refused_half_way_changes_nothing),
        cmocka_unit_test(a_protect_that_a_foreign_file_does_not_allow_changes_nothing),
        cmocka_unit_test(a_release_succeeds_and_the_address_is_free_though_unmapping_fails),
        cmocka_unit_test(what_is_not_unmapped_is_tried_again),
        cmocka_unit_test(what_is_not_unmapped_is_in_the_way_and_nothing_to_protect),
        cmocka_unit_test(a_decommit_of_all_pages_needs_no_memory),
        cmocka_unit_test(a_place_that_is_not_unmapped_is_used_as_it_is),
        cmocka_unit_test(a_place_lost_to_another_thread_is_looked_for_again),
        cmocka_unit_test(a_query_in_the_middle_of_a_reserve_is_true),
        cmocka_unit_test(a_reserve_that_fails_leaves_nothing_mapped),
        cmocka_unit_test(the_reserve_comes_back_after_a_request_that_was_served),
        cmocka_unit_test(at_the_data_limit_a_protect_over_several_runs_fails_whole),
        cmocka_unit_test(at_the_map_limit_changes_fail_whole_and_decommits_succeed),
    };
    return cmocka_run_group_tests(tests, install_faults, NULL);
}
