// SPDX-License-Identifier: MIT
/*
 * region/run_tree.h - the states of an allocation's pages, as runs of equal pages.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * A run begins at a page and ends where the next one begins, or with the allocation. Runs are the
 * nodes of a treap ordered by first page; the priority is a hash of the first page, so that the
 * shape depends on the runs alone. A node never changes once a root that leads to it was published:
 * an edit copies the nodes on two paths, the reader's root stays what it was, and a query sees all
 * pages as of one instant. Replaced nodes are retired (rcu.h).
 *
 * An allocation of one run, which most are, needs no node: its root is the code itself, shifted by
 * one, with bit 0 set.
 *
 *   pages     0....2....3.........8        codes   0 = reserved, else the page's PAGE_ value
 *   runs      |  0 | 04 |    0    |
 *             root = the node of highest priority; left = runs below it, right = runs above
 *
 * Thread rules: a find on a root read inside a read section needs nothing; all else is the writer's,
 * under the lock of the regions.
 *
 * Invariants
 *   I1  in order, first pages grow, and the first of them is 0.
 *   I2  neighbours have different codes.
 *   I3  a node's priority is not below that of its children.
 *   I4  a root that is a node has two runs or more.
 *   I5  published nodes are not written, except for their link after they are retired.
 *
 * Progress: find is wait-free; its steps are the depth, about 2 log2 of the number of runs.
 * Failure: edits take all nodes they need first, so that begin fails or nothing does.
 * Source: contract VQ-3, VQ-7, VA-1; ADR-0005.
 */
#ifndef HHI_REGION_RUN_TREE_H
#define HHI_REGION_RUN_TREE_H

#include "base/compiler.h"
#include "rcu/rcu.h"

// Reserved, but its old contents must be thrown away before it is committed again (VF-5).
#define HHI_RUN_STALE 0x800u
#define HHI_RUN_RESERVED 0u

struct hhi_page_run {
    struct hhi_rcu_link link;
    uint64_t key;  // first page << 12 | code
    uint64_t edit; // the edit that made it; the writer's
    const struct hhi_page_run *left, *right;
};

// What a find tells: pages [first, end) have code; end is UINT64_MAX for the last run.
struct hhi_run_span {
    uint64_t first, end;
    uint32_t code;
};

// An edit in progress: a new root that nobody can see yet.
struct hhi_run_edit {
    const struct hhi_page_run *root;
    struct hhi_rcu_link *fresh;   // nodes made by this edit
    struct hhi_rcu_link *retired; // nodes of the old root the new one does not use
    uint64_t number;
};

// Once, before anything else.
void hhi_run_tree_init(uint64_t secret);
// One run with code. Never NULL.
static inline const struct hhi_page_run *
hhi_run_tree_single(uint32_t code)
{
    return (const struct hhi_page_run *)((uintptr_t)code << 1 | 1);
}
void hhi_run_tree_retire(const struct hhi_page_run *root);

struct hhi_run_span hhi_run_tree_find(const struct hhi_page_run *root, uint64_t page);
// The same, with runs that a query can not tell apart taken together, forward from page.
struct hhi_run_span hhi_run_tree_find_visible(const struct hhi_page_run *root, uint64_t page);

// Set [first, end) to code in a new root. False without memory. pages: of the whole allocation.
bool hhi_run_edit_begin(struct hhi_run_edit *edit, const struct hhi_page_run *root, uint64_t first,
                        uint64_t end, uint64_t pages, uint32_t code);
// After edit->root was published.
void hhi_run_edit_commit(struct hhi_run_edit *edit);
// If it was not.
void hhi_run_edit_abort(struct hhi_run_edit *edit);

// Whether I1 to I4 hold. For tests.
bool hhi_run_tree_check(const struct hhi_page_run *root);
// Number of runs. For tests and statistics.
size_t hhi_run_tree_count(const struct hhi_page_run *root);

static inline uint64_t
hhi_run_page(const struct hhi_page_run *run)
{
    return run->key >> 12;
}

static inline uint32_t
hhi_run_code(const struct hhi_page_run *run)
{
    return (uint32_t)run->key & 0xFFF;
}

#endif
