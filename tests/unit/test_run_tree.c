// SPDX-License-Identifier: MIT
// tests/unit/test_run_tree.c - runs of pages against a plain array; old roots stay what they were.
#include <stdlib.h>
#include <string.h>

#include "region/run_tree.h"
#include "support/test.h"

enum { PAGES = 300, STEPS = 20000 };

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static size_t
model_runs(const uint32_t *model)
{
    size_t runs = 1;
    for (int page = 1; page < PAGES; page++)
        runs += model[page] != model[page - 1];
    return runs;
}

static void
expect_same(const struct hhi_page_run *root, const uint32_t *model)
{
    assert_true(hhi_run_tree_check(root));
    assert_int_equal(hhi_run_tree_count(root), model_runs(model));
    for (int page = 0; page < PAGES;) {
        int end = page;
        while (end < PAGES && model[end] == model[page])
            end++;
        struct hhi_run_span span = hhi_run_tree_find(root, (uint64_t)page);
        assert_int_equal(span.first, page);
        assert_int_equal(span.end == UINT64_MAX ? PAGES : span.end, end);
        assert_int_equal(span.code, model[page]);
        page = end;
    }
}

static void
a_random_history_agrees_with_an_array(void **state)
{
    (void)state;
    uint32_t model[PAGES] = {0};
    uint64_t seed = 11;
    const struct hhi_page_run *root = hhi_run_tree_single(0);
    for (int step = 0; step < STEPS; step++) {
        uint64_t first = next_random(&seed) % PAGES;
        uint64_t longest = step % 100 < 50 ? 3 : PAGES - first;
        uint64_t end = first + 1 + next_random(&seed) % longest;
        uint32_t code = (uint32_t)(next_random(&seed) % 4);
        struct hhi_run_edit edit;
        if (end > PAGES)
            end = PAGES;
        assert_true(hhi_run_edit_begin(&edit, root, first, end, PAGES, code));
        if (step % 5 == 0) {
            hhi_run_edit_abort(&edit);
        } else {
            root = edit.root;
            hhi_run_edit_commit(&edit);
            for (uint64_t page = first; page < end; page++)
                model[page] = code;
        }
        if (step % 10 == 0)
            expect_same(root, model);
    }
    hhi_run_tree_retire(root);
}

static void
a_reader_with_an_old_root_sees_the_old_states(void **state)
{
    (void)state;
    uint32_t old_model[PAGES], model[PAGES] = {0};
    uint64_t seed = 3;
    const struct hhi_page_run *root = hhi_run_tree_single(0);
    for (int round = 0; round < 20; round++) {
        hhi_rcu_section section = hhi_rcu_enter();
        const struct hhi_page_run *old = root;
        memcpy(old_model, model, sizeof model);
        for (int step = 0; step < 100; step++) {
            uint64_t first = next_random(&seed) % PAGES;
            uint64_t end = first + 1 + next_random(&seed) % (PAGES - first);
            uint32_t code = (uint32_t)(next_random(&seed) % 3);
            struct hhi_run_edit edit;
            assert_true(hhi_run_edit_begin(&edit, root, first, end, PAGES, code));
            root = edit.root;
            hhi_run_edit_commit(&edit);
            for (uint64_t page = first; page < end; page++)
                model[page] = code;
        }
        for (uint64_t page = 0; page < PAGES; page++)
            assert_int_equal(hhi_run_tree_find(old, page).code, old_model[page]);
        hhi_rcu_leave(section);
        expect_same(root, model);
    }
    hhi_run_tree_retire(root);
}

static void
stale_and_reserved_pages_look_the_same_to_a_query(void **state)
{
    (void)state;
    const struct hhi_page_run *root = hhi_run_tree_single(0);
    struct hhi_run_edit edit;
    assert_true(hhi_run_edit_begin(&edit, root, 10, 20, PAGES, HHI_RUN_STALE));
    root = edit.root;
    hhi_run_edit_commit(&edit);
    assert_int_equal(hhi_run_tree_count(root), 3);
    struct hhi_run_span span = hhi_run_tree_find_visible(root, 5);
    assert_int_equal(span.code, 0);
    assert_int_equal(span.end, UINT64_MAX);
    assert_int_equal(hhi_run_tree_find_visible(root, 15).code, 0);
    hhi_run_tree_retire(root);
}

static void
every_node_comes_back(void **state)
{
    (void)state;
    struct hhi_rcu_stats before, after;
    assert_true(hhi_rcu_flush(20000));
    hhi_rcu_get_stats(&before);
    for (int round = 0; round < 50; round++) {
        const struct hhi_page_run *root = hhi_run_tree_single(0);
        for (uint64_t page = 0; page < PAGES; page += 2) {
            struct hhi_run_edit edit;
            assert_true(hhi_run_edit_begin(&edit, root, page, page + 1, PAGES, 4));
            root = edit.root;
            hhi_run_edit_commit(&edit);
        }
        assert_int_equal(hhi_run_tree_count(root), PAGES);
        hhi_run_tree_retire(root);
        assert_true(hhi_rcu_flush(20000));
    }
    hhi_rcu_get_stats(&after);
    assert_int_equal(after.retired, after.reclaimed);
    // One round's nodes are enough for all: none was lost.
    assert_true(after.made - before.made < 10000);
}

static int
init_tree(void **state)
{
    (void)state;
    hhi_run_tree_init(12345);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_history_agrees_with_an_array),
        cmocka_unit_test(a_reader_with_an_old_root_sees_the_old_states),
        cmocka_unit_test(stale_and_reserved_pages_look_the_same_to_a_query),
        cmocka_unit_test(every_node_comes_back),
    };
    return cmocka_run_group_tests(tests, init_tree, NULL);
}
