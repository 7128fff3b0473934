// SPDX-License-Identifier: MIT
// tests/unit/test_region_map.c - address -> region: bounds, levels, neighbours, visibility.
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "region/region_map.h"
#include "support/test.h"

#define GRANULE HHI_REGION_GRANULE_BYTES
#define MIB ((uintptr_t)1 << 20)
#define GIB ((uintptr_t)1 << 30)

static struct hhi_region_record
region(uintptr_t base, uintptr_t size_bytes)
{
    return (struct hhi_region_record){
        .base = base, .end = base + size_bytes, .kind = HHI_REGION_SLAB, .committed_end = base};
}

struct shape {
    const char *what;
    uintptr_t base;
    uintptr_t size_bytes;
};

// Sizes around every level's entry, at aligned and odd bases.
static const struct shape shapes[] = {
    {"one page", 16 * GIB, 4096},
    {"one granule", 16 * GIB, GRANULE},
    {"a granule and a page", 16 * GIB, GRANULE + 4096},
    {"the lowest granule", GRANULE, GRANULE},
    {"the highest whole granule", (HHI_ADDRESS_LIMIT & ~(GRANULE - 1)) - GRANULE, GRANULE},
    {"the clipped granule below the limit", HHI_ADDRESS_LIMIT & ~(GRANULE - 1), GRANULE - 4096},
    {"one leaf", 64 * MIB, 64 * MIB},
    {"a leaf less a granule", 64 * MIB, 64 * MIB - GRANULE},
    {"a leaf and a granule", 64 * MIB, 64 * MIB + GRANULE},
    {"over a leaf border", 128 * MIB - GRANULE, 2 * GRANULE},
    {"three leaves, odd ends", 100 * MIB, 200 * MIB + 12288},
    {"one node", 128 * GIB, 128 * GIB},
    {"over a node border", 128 * GIB - GRANULE, 2 * GRANULE},
    {"a node, odd ends", 127 * GIB + GRANULE, 130 * GIB},
    {"sixty-four terabytes", 1024 * GIB, 65536 * GIB},
};

static void
a_region_is_found_from_its_first_byte_to_its_last(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *shape = &shapes[i];
        struct hhi_region_record record = region(shape->base, shape->size_bytes);
        assert_int_equal(hhi_region_map_insert(&record), 0);
        assert_ptr_equal(hhi_region_map_find_live(record.base), &record);
        assert_ptr_equal(hhi_region_map_find_live(record.base + shape->size_bytes / 2), &record);
        assert_ptr_equal(hhi_region_map_find_live(record.end - 1), &record);
        assert_null(hhi_region_map_find_live(record.base - 1));
        assert_null(hhi_region_map_find_live(record.end));
        assert_ptr_equal(hhi_region_map_next(0), &record);
        assert_ptr_equal(hhi_region_map_next(record.base - 1), &record);
        assert_null(hhi_region_map_next(record.base));
        assert_ptr_equal(hhi_region_map_previous(HHI_ADDRESS_LIMIT - 1),
                         record.end == HHI_ADDRESS_LIMIT ? NULL : (void *)&record);
        assert_null(hhi_region_map_previous(record.base));
        hhi_region_map_remove(&record);
        assert_null(hhi_region_map_find(record.base));
        assert_null(hhi_region_map_find(record.end - 1));
        assert_null(hhi_region_map_next(0));
    }
}

static void
addresses_that_can_be_nobodys_are_not_found(void **state)
{
    (void)state;
    static const uintptr_t addresses[] = {
        0, 1, 0xFFFF, HHI_ADDRESS_LIMIT, (uintptr_t)1 << 48, UINTPTR_MAX, UINTPTR_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        assert_null(hhi_region_map_find(addresses[i]));
        assert_null(hhi_region_map_find_live(addresses[i]));
    }
}

static void
a_region_that_shares_a_granule_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct hhi_region_record first = region(64 * MIB, 80 * MIB);
    assert_int_equal(hhi_region_map_insert(&first), 0);
    static const struct shape overlapping[] = {
        {"inside", 70 * MIB, GRANULE},    {"the last granule", 144 * MIB - GRANULE, GRANULE},
        {"around", 32 * MIB, 200 * MIB},  {"from below", 64 * MIB - GRANULE, 2 * GRANULE},
        {"the same", 64 * MIB, 80 * MIB}, {"a terabyte over it", 0, 1024 * GIB},
    };
    for (size_t i = 0; i < sizeof overlapping / sizeof *overlapping; i++) {
        struct hhi_region_record other = region(overlapping[i].base, overlapping[i].size_bytes);
        assert_int_equal(hhi_region_map_insert(&other), -EEXIST);
        assert_ptr_equal(hhi_region_map_find_live(70 * MIB), &first);
        assert_null(hhi_region_map_find_live(64 * MIB - 1));
        assert_null(hhi_region_map_find_live(144 * MIB));
    }
    struct hhi_region_record below = region(64 * MIB - GRANULE, 4096);
    struct hhi_region_record above = region(144 * MIB, 4096);
    assert_int_equal(hhi_region_map_insert(&below), 0);
    assert_int_equal(hhi_region_map_insert(&above), 0);
    assert_ptr_equal(hhi_region_map_previous(70 * MIB), &below);
    assert_ptr_equal(hhi_region_map_next(70 * MIB), &above);
    hhi_region_map_remove(&above);
    hhi_region_map_remove(&first);
    hhi_region_map_remove(&below);
}

static void
a_prepared_region_is_invisible_until_published(void **state)
{
    (void)state;
    struct hhi_region_record record = region(GIB, 3 * GRANULE);
    uint64_t version = hhi_region_map_version();
    assert_int_equal(hhi_region_map_prepare(&record), 0);
    assert_null(hhi_region_map_find_live(GIB));
    assert_null(hhi_region_map_next(0));
    assert_ptr_equal(hhi_region_map_find(GIB), &record);
    assert_int_equal(hhi_region_map_version(), version);
    hhi_region_map_publish(&record, &record);
    assert_ptr_equal(hhi_region_map_find_live(GIB), &record);
    assert_int_not_equal(hhi_region_map_version(), version);
    hhi_region_map_unpublish(&record);
    assert_null(hhi_region_map_find_live(GIB));
    assert_null(hhi_region_map_previous(2 * GIB));
    hhi_region_map_withdraw(&record);
    assert_null(hhi_region_map_find(GIB));
}

enum { RANDOM_REGIONS = 64, RANDOM_STEPS = 20000, RANDOM_SLOTS = 4096 };

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

// Against an array of slots of 16 MiB, where a region fills a run of slots.
static void
a_random_history_agrees_with_a_plain_array(void **state)
{
    (void)state;
    static struct hhi_region_record records[RANDOM_REGIONS];
    static struct hhi_region_record *model[RANDOM_SLOTS];
    const uintptr_t slot_bytes = 16 * MIB;
    uint64_t seed = 42;
    memset(records, 0, sizeof records);
    for (int step = 0; step < RANDOM_STEPS; step++) {
        struct hhi_region_record *record = &records[next_random(&seed) % RANDOM_REGIONS];
        uintptr_t first = next_random(&seed) % (RANDOM_SLOTS - 40);
        uintptr_t count = 1 + next_random(&seed) % 40;
        if (record->end != 0) {
            hhi_region_map_remove(record);
            for (uintptr_t slot = record->base / slot_bytes; slot < record->end / slot_bytes;
                 slot++)
                model[slot] = NULL;
            record->end = 0;
            continue;
        }
        bool busy = false;
        for (uintptr_t slot = first; slot < first + count; slot++)
            busy = busy || model[slot] != NULL;
        *record = region(first * slot_bytes, count * slot_bytes);
        assert_int_equal(hhi_region_map_insert(record), busy ? -EEXIST : 0);
        if (busy)
            record->end = 0;
        for (uintptr_t slot = first; !busy && slot < first + count; slot++)
            model[slot] = record;
        uintptr_t at = next_random(&seed) % RANDOM_SLOTS;
        assert_ptr_equal(hhi_region_map_find_live(at * slot_bytes + 4097), model[at]);
        struct hhi_region_record *above = NULL, *below = NULL;
        for (uintptr_t slot = at; slot < RANDOM_SLOTS && above == NULL; slot++)
            above = model[slot] != model[at] ? model[slot] : NULL;
        for (uintptr_t slot = at + 1; slot-- > 0 && below == NULL;)
            below = model[slot] != model[at] ? model[slot] : NULL;
        assert_ptr_equal(hhi_region_map_next(at * slot_bytes), above);
        assert_ptr_equal(hhi_region_map_previous(at * slot_bytes), below);
    }
    for (int i = 0; i < RANDOM_REGIONS; i++) {
        if (records[i].end != 0)
            hhi_region_map_remove(&records[i]);
    }
    assert_null(hhi_region_map_next(0));
}

static _Atomic(bool) done;

static void *
look_up_for_ever(void *arg)
{
    struct hhi_region_record *record = arg;
    uint64_t hits = 0;
    // relaxed: only an end mark.
    while (!hh_load_relaxed(&done)) {
        struct hhi_region_record *found = hhi_region_map_find_live(record->base + GRANULE);
        assert_true(found == NULL || found == record);
        hits += found != NULL;
        found = hhi_region_map_next(0);
        assert_true(found == NULL || found == record);
    }
    return (void *)(uintptr_t)(hits > 0);
}

static void
readers_see_a_region_whole_or_not_at_all_while_it_comes_and_goes(void **state)
{
    (void)state;
    static struct hhi_region_record record;
    record = region(300 * GIB + GRANULE, 200 * GIB);
    pthread_t readers[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, look_up_for_ever, &record), 0);
    for (int round = 0; round < 300; round++) {
        assert_int_equal(hhi_region_map_insert(&record), 0);
        hhi_region_map_remove(&record);
    }
    assert_int_equal(hhi_region_map_insert(&record), 0);
    // relaxed: only an end mark.
    hh_store_relaxed(&done, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    hhi_region_map_remove(&record);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_is_found_from_its_first_byte_to_its_last),
        cmocka_unit_test(addresses_that_can_be_nobodys_are_not_found),
        cmocka_unit_test(a_region_that_shares_a_granule_is_refused_and_changes_nothing),
        cmocka_unit_test(a_prepared_region_is_invisible_until_published),
        cmocka_unit_test(a_random_history_agrees_with_a_plain_array),
        cmocka_unit_test(readers_see_a_region_whole_or_not_at_all_while_it_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
