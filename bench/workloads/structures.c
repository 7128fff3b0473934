// SPDX-License-Identifier: MIT
/*
 * workloads/structures.c - a search tree and a hash table whose keys are blocks of their own.
 *
 * Reason: programs spend their time using blocks, not getting them. After ageing (members removed
 * and added at random) it shows where an allocator has put what belongs together: half of the
 * operations are look-ups only.
 */
#include "../bench.h"

#include <string.h>

struct structures_node {
    struct structures_node *left;
    struct structures_node *right;
    char *key;
    uint32_t priority;
    uint32_t length;
};

struct structures_state {
    struct structures_node *root;
    struct structures_node **buckets;
    size_t bucket_count;
    uint64_t random;
    uint64_t found;
};

static uint32_t
structures_hash(uint32_t number)
{
    number ^= number >> 16;
    number *= 0x7feb352du;
    number ^= number >> 15;
    number *= 0x846ca68bu;
    return number ^ (number >> 16);
}

// The key's text begins with its number, so that comparing keys reads the key's block.
static uint32_t
structures_number(const struct structures_node *node)
{
    uint32_t number;
    memcpy(&number, node->key, sizeof number);
    return number;
}

static struct structures_node *
structures_node_new(struct bench_run *run, uint32_t number)
{
    struct structures_node *node = run->allocator->malloc(sizeof *node);
    uint32_t hash = structures_hash(number);
    node->left = NULL;
    node->right = NULL;
    node->priority = structures_hash(hash);
    node->length = 8 + hash % 40;
    node->key = run->allocator->malloc(node->length);
    memset(node->key, (int)number, node->length);
    memcpy(node->key, &number, sizeof number);
    return node;
}

static void
structures_node_free(struct bench_run *run, struct structures_node *node)
{
    if (run->verify) {
        uint32_t number = structures_number(node);
        if ((unsigned char)node->key[node->length - 1] != (unsigned char)number) {
            bench_fail("%s: a key lost its contents", run->row->name);
        }
        bench_check_sum(run, number);
    }
    run->allocator->free(node->key);
    run->allocator->free(node);
}

// A treap: balanced by random priorities. Splits tree into smaller than number, and the rest.
static void
structures_split(struct structures_node *tree, uint32_t number, struct structures_node **low,
                 struct structures_node **high)
{
    while (tree) {
        if (structures_number(tree) < number) {
            *low = tree;
            low = &tree->right;
            tree = tree->right;
        } else {
            *high = tree;
            high = &tree->left;
            tree = tree->left;
        }
    }
    *low = NULL;
    *high = NULL;
}

static struct structures_node **
structures_tree_find(struct structures_state *state, uint32_t number)
{
    struct structures_node **link = &state->root;
    while (*link) {
        uint32_t here = structures_number(*link);
        if (here == number) {
            break;
        }
        link = number < here ? &(*link)->left : &(*link)->right;
    }
    return link;
}

static void
structures_tree_add(struct bench_run *run, struct structures_state *state, uint32_t number)
{
    struct structures_node *node = structures_node_new(run, number);
    struct structures_node **link = &state->root;
    while (*link && (*link)->priority >= node->priority) {
        link = number < structures_number(*link) ? &(*link)->left : &(*link)->right;
    }
    structures_split(*link, number, &node->left, &node->right);
    *link = node;
}

static void
structures_tree_remove(struct bench_run *run, struct structures_node **link)
{
    struct structures_node *node = *link;
    struct structures_node *left = node->left;
    struct structures_node *right = node->right;
    while (left && right) {
        if (left->priority >= right->priority) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left ? left : right;
    structures_node_free(run, node);
}

static struct structures_node **
structures_hash_find(struct structures_state *state, uint32_t number)
{
    struct structures_node **link =
        &state->buckets[structures_hash(number) & (state->bucket_count - 1)];
    while (*link && structures_number(*link) != number) {
        link = &(*link)->left;
    }
    return link;
}

// One operation: a look-up, or the member is removed if it is there and added if not.
static void
structures_tree_step(struct bench_run *run, uint64_t random)
{
    struct structures_state *state = run->state;
    uint32_t number = (uint32_t)((random >> 8) % run->row->count);
    struct structures_node **link = structures_tree_find(state, number);
    if (random & 1) {
        state->found += *link != NULL;
    } else if (*link) {
        structures_tree_remove(run, link);
    } else {
        structures_tree_add(run, state, number);
    }
}

static void
structures_hash_step(struct bench_run *run, uint64_t random)
{
    struct structures_state *state = run->state;
    uint32_t number = (uint32_t)((random >> 8) % run->row->count);
    struct structures_node **link = structures_hash_find(state, number);
    if (random & 1) {
        state->found += *link != NULL;
    } else if (*link) {
        struct structures_node *node = *link;
        *link = node->left;
        structures_node_free(run, node);
    } else {
        *link = structures_node_new(run, number);
    }
}

static void
structures_repeat_with(struct bench_run *run, void (*step)(struct bench_run *, uint64_t),
                       uint64_t operations)
{
    struct structures_state *state = run->state;
    for (uint64_t i = 0; i < operations; i++) {
        step(run, bench_random(&state->random) >> 11);
    }
    if (run->verify) {
        bench_check_sum(run, state->found);
    }
}

static void
structures_tree_repeat(struct bench_run *run)
{
    structures_repeat_with(run, structures_tree_step, run->row->operations);
}

static void
structures_hash_repeat(struct bench_run *run)
{
    structures_repeat_with(run, structures_hash_step, run->row->operations);
}

// Ageing: four times as many operations as there are members, before anything is timed.
static void
structures_setup_with(struct bench_run *run, void (*step)(struct bench_run *, uint64_t))
{
    struct structures_state *state = bench_raw(sizeof *state);
    run->state = state;
    state->random = 1618033;
    state->bucket_count = 65536;
    state->buckets = bench_raw(state->bucket_count * sizeof *state->buckets);
    structures_repeat_with(run, step, 4 * run->row->count);
}

static void
structures_tree_setup(struct bench_run *run)
{
    structures_setup_with(run, structures_tree_step);
}

static void
structures_hash_setup(struct bench_run *run)
{
    structures_setup_with(run, structures_hash_step);
}

static void
structures_teardown(struct bench_run *run)
{
    struct structures_state *state = run->state;
    while (state->root) {
        structures_tree_remove(run, &state->root);
    }
    for (size_t i = 0; i < state->bucket_count; i++) {
        while (state->buckets[i]) {
            struct structures_node *node = state->buckets[i];
            state->buckets[i] = node->left;
            structures_node_free(run, node);
        }
    }
    bench_raw_free(state->buckets, state->bucket_count * sizeof *state->buckets);
    bench_raw_free(state, sizeof *state);
}

static const struct bench_row structures_rows[] = {
    {.name = "tree/50k",
     .threads = 1,
     .operations = 30000,
     .count = 100000,
     .setup = structures_tree_setup,
     .repeat = structures_tree_repeat,
     .teardown = structures_teardown},
    {.name = "hash/100k",
     .flags = BENCH_QUICK,
     .threads = 1,
     .operations = 60000,
     .count = 200000,
     .setup = structures_hash_setup,
     .repeat = structures_hash_repeat,
     .teardown = structures_teardown},
};

const struct bench_family bench_structures = {"structures", structures_rows,
                                              sizeof structures_rows / sizeof structures_rows[0]};
