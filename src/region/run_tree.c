// SPDX-License-Identifier: MIT
// region/run_tree.c - see run_tree.h.
#include "region/run_tree.h"

#include "base/check.h"

static struct hhi_rcu_pool run_pool HH_START_STATE = {.record_bytes = sizeof(struct hhi_page_run)};
static uint64_t run_secret;
static uint64_t run_edits; // numbers given to edits so far; the writer's

void
hhi_run_tree_init(uint64_t secret)
{
    run_secret = secret;
    hhi_rcu_pool_add(&run_pool);
}

static uint64_t
run_priority(const struct hhi_page_run *run)
{
    uint64_t x = hhi_run_page(run) + run_secret;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint32_t
code_visible(uint32_t code)
{
    return code == HHI_RUN_STALE ? HHI_RUN_RESERVED : code;
}

static bool
root_is_single(const struct hhi_page_run *root)
{
    return ((uintptr_t)root & 1) != 0;
}

static uint32_t
root_single_code(const struct hhi_page_run *root)
{
    return (uint32_t)((uintptr_t)root >> 1);
}

// ---- Readers ----

struct hhi_run_span
hhi_run_tree_find(const struct hhi_page_run *root, uint64_t page)
{
    struct hhi_run_span span = {0, UINT64_MAX, HHI_RUN_RESERVED};
    if (root_is_single(root)) {
        span.code = root_single_code(root);
        return span;
    }
    for (const struct hhi_page_run *run = root; run != NULL;) {
        uint64_t first = hhi_run_page(run);
        if (first > page) {
            span.end = first;
            run = run->left;
        } else {
            span.first = first;
            span.code = hhi_run_code(run);
            run = run->right;
        }
    }
    return span;
}

struct hhi_run_span
hhi_run_tree_find_visible(const struct hhi_page_run *root, uint64_t page)
{
    struct hhi_run_span span = hhi_run_tree_find(root, page);
    span.code = code_visible(span.code);
    while (span.end != UINT64_MAX) {
        struct hhi_run_span next = hhi_run_tree_find(root, span.end);
        if (code_visible(next.code) != span.code)
            break;
        span.end = next.end;
    }
    return span;
}

// ---- Edits ----

// A node of this edit; hhi_run_edit_begin has made sure that there is one.
static struct hhi_page_run *
edit_node(struct hhi_run_edit *edit, uint64_t key)
{
    struct hhi_page_run *run = hhi_rcu_pool_take(&run_pool);
    run->key = key;
    run->edit = edit->number;
    run->left = run->right = NULL;
    run->link.next = edit->fresh;
    edit->fresh = &run->link;
    return run;
}

// The node as this edit may write it: itself, or a copy in its place.
static struct hhi_page_run *
edit_own(struct hhi_run_edit *edit, const struct hhi_page_run *run)
{
    if (run->edit == edit->number)
        return (struct hhi_page_run *)run;
    struct hhi_page_run *copy = edit_node(edit, run->key);
    copy->left = run->left;
    copy->right = run->right;
    struct hhi_page_run *old = (struct hhi_page_run *)run;
    old->link.next = edit->retired;
    edit->retired = &old->link;
    return copy;
}

// Leave out a subtree: nodes of this edit are marked, older ones retired.
static void
edit_drop(struct hhi_run_edit *edit, const struct hhi_page_run *run)
{
    if (run == NULL)
        return;
    struct hhi_page_run *mine = (struct hhi_page_run *)run;
    edit_drop(edit, run->left);
    edit_drop(edit, run->right);
    if (run->edit == edit->number) {
        mine->edit = 0;
    } else {
        mine->link.next = edit->retired;
        edit->retired = &mine->link;
    }
}

// Runs that begin below page, and the others.
static void
edit_split(struct hhi_run_edit *edit, const struct hhi_page_run *run, uint64_t page,
           const struct hhi_page_run **below, const struct hhi_page_run **above)
{
    if (run == NULL) {
        *below = *above = NULL;
        return;
    }
    struct hhi_page_run *mine = edit_own(edit, run);
    if (hhi_run_page(run) < page) {
        edit_split(edit, mine->right, page, &mine->right, above);
        *below = mine;
    } else {
        edit_split(edit, mine->left, page, below, &mine->left);
        *above = mine;
    }
}

// One tree of two, where all of below comes before all of above.
static const struct hhi_page_run *
edit_join(struct hhi_run_edit *edit, const struct hhi_page_run *below,
          const struct hhi_page_run *above)
{
    if (below == NULL || above == NULL)
        return below == NULL ? above : below;
    if (run_priority(below) >= run_priority(above)) {
        struct hhi_page_run *top = edit_own(edit, below);
        top->right = edit_join(edit, top->right, above);
        return top;
    }
    struct hhi_page_run *top = edit_own(edit, above);
    top->left = edit_join(edit, below, top->left);
    return top;
}

static unsigned
path_length(const struct hhi_page_run *run, uint64_t page)
{
    unsigned length = 0;
    for (; run != NULL; length++)
        run = hhi_run_page(run) < page ? run->right : run->left;
    return length;
}

/*
 * All nodes on the path to first and to end are copied by the splits. The joins go down the right
 * rim of what is below and the left rim of what is above, which are such copies.
 */
static bool
edit_start(struct hhi_run_edit *edit, const struct hhi_page_run *root, uint64_t first, uint64_t end)
{
    unsigned needed = 3; // two new runs, and the single one made a node
    if (!root_is_single(root))
        needed += path_length(root, first) + path_length(root, end + 1);
    *edit = (struct hhi_run_edit){.number = ++run_edits};
    return hhi_rcu_pool_reserve(&run_pool, needed);
}

// I4
static const struct hhi_page_run *
edit_finish(struct hhi_run_edit *edit, const struct hhi_page_run *root)
{
    if (root->left != NULL || root->right != NULL)
        return root;
    HH_ASSERT(root->edit == edit->number);
    (void)edit;
    // Of this edit: whoever is alone now has lost its neighbours in it, on the path.
    ((struct hhi_page_run *)root)->edit = 0;
    return hhi_run_tree_single(hhi_run_code(root));
}

bool
hhi_run_edit_begin(struct hhi_run_edit *edit, const struct hhi_page_run *root, uint64_t first,
                   uint64_t end, uint64_t pages, uint32_t code)
{
    if (!edit_start(edit, root, first, end))
        return false;
    uint32_t code_before = first > 0 ? hhi_run_tree_find(root, first - 1).code : UINT32_MAX;
    uint32_t code_after = end < pages ? hhi_run_tree_find(root, end).code : UINT32_MAX;
    const struct hhi_page_run *below, *rest, *inside, *above;
    if (root_is_single(root))
        root = edit_node(edit, root_single_code(root));
    edit_split(edit, root, first, &below, &rest);
    edit_split(edit, rest, end + 1, &inside, &above);
    edit_drop(edit, inside);
    if (code != code_before)
        below = edit_join(edit, below, edit_node(edit, first << 12 | code));
    if (end < pages && code_after != code)
        below = edit_join(edit, below, edit_node(edit, end << 12 | code_after));
    edit->root = edit_finish(edit, edit_join(edit, below, above));
    return true;
}

void
hhi_run_edit_commit(struct hhi_run_edit *edit)
{
    struct hhi_rcu_link *next;
    for (struct hhi_rcu_link *link = edit->fresh; link != NULL; link = next) {
        next = link->next;
        struct hhi_page_run *run = hh_container_of(link, struct hhi_page_run, link);
        if (run->edit == 0)
            hhi_rcu_pool_put(&run_pool, run);
    }
    for (struct hhi_rcu_link *link = edit->retired; link != NULL; link = next) {
        next = link->next;
        hhi_rcu_pool_retire(&run_pool, link);
    }
}

void
hhi_run_edit_abort(struct hhi_run_edit *edit)
{
    struct hhi_rcu_link *next;
    for (struct hhi_rcu_link *link = edit->fresh; link != NULL; link = next) {
        next = link->next;
        hhi_rcu_pool_put(&run_pool, link);
    }
}

static void
nodes_retire(const struct hhi_page_run *run)
{
    if (run == NULL)
        return;
    nodes_retire(run->left);
    nodes_retire(run->right);
    hhi_rcu_pool_retire(&run_pool, (struct hhi_page_run *)run);
}

void
hhi_run_tree_retire(const struct hhi_page_run *root)
{
    if (!root_is_single(root))
        nodes_retire(root);
}

static size_t
nodes_count(const struct hhi_page_run *run)
{
    return run == NULL ? 0 : 1 + nodes_count(run->left) + nodes_count(run->right);
}

size_t
hhi_run_tree_count(const struct hhi_page_run *root)
{
    return root_is_single(root) ? 1 : nodes_count(root);
}

// The nodes below run agree with what a find from root tells, and with I3.
static bool
nodes_check(const struct hhi_page_run *root, const struct hhi_page_run *run)
{
    if (run == NULL)
        return true;
    const struct hhi_page_run *children[] = {run->left, run->right};
    for (int i = 0; i < 2; i++) {
        if (children[i] != NULL && run_priority(children[i]) > run_priority(run))
            return false;
        if (!nodes_check(root, children[i]))
            return false;
    }
    uint64_t first = hhi_run_page(run);
    struct hhi_run_span here = hhi_run_tree_find(root, first);
    if (here.first != first || here.code != hhi_run_code(run))
        return false;
    if (first > 0 && hhi_run_tree_find(root, first - 1).code == here.code)
        return false;
    return here.end == UINT64_MAX || hhi_run_tree_find(root, here.end).code != here.code;
}

bool
hhi_run_tree_check(const struct hhi_page_run *root)
{
    if (root_is_single(root))
        return true;
    return nodes_count(root) > 1 && hhi_run_tree_find(root, 0).first == 0 &&
           nodes_check(root, root);
}
