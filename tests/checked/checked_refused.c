// SPDX-License-Identifier: MIT
/*
 * checked_refused.c - the checked library while the kernel refuses: what it took access from is given
 * back before others get it, or to nobody, and one refusal does not keep all that rests. Parts by
 * argument, for options of their own.
 */
#include "support/fault.h"
#include "support/plain.h"

PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(hh_status, hh_heap_destroy, (hh_heap * heap), (heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_free, (hh_heap * heap, void *block), (heap, block))
PLAIN_FUNCTION(hh_status, hh_get_stats, (hh_stats * stats), (stats))

enum { LARGE = 1000000, SMALL = 3000, BLOCKS = 8 };

static void
refuse(enum fault_kind kind, unsigned at, bool for_ever)
{
    struct fault_plan plan = {kind, at, ENOMEM, for_ever};
    fault_arm(&plan);
}

static void
use(size_t size_bytes)
{
    void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++)
        memset(blocks[at] = malloc(size_bytes), at, size_bytes);
    for (int at = 0; at < BLOCKS; at++)
        free(blocks[at]);
}

// Without quarantine. No guard behind the block, then no purge of its pages, only their access goes.
static void
rest_main(void)
{
    use(LARGE);
    refuse(FAULT_PROTECT, 1, false);
    void *block = malloc(LARGE);
    check(block != NULL && fault_failed() == 1);
    refuse(FAULT_ADVISE, 1, false);
    free(block);
    check(fault_failed() == 1);
    fault_disarm();
    use(LARGE);
}

// Its blocks live and rest while access can not be given back.
static void
heap_end_main(void)
{
    hh_stats before, after;
    hh_heap *heap;
    use(LARGE);
    check(plain_hh_get_stats(&before) == HH_OK && plain_hh_heap_create(NULL, &heap) == HH_OK);
    char *live = plain_hh_heap_alloc(heap, LARGE), *resting = plain_hh_heap_alloc(heap, LARGE);
    check(live != NULL && resting != NULL && plain_hh_heap_free(heap, resting) == HH_OK);
    refuse(FAULT_PROTECT, 1, true);
    check(plain_hh_heap_destroy(heap) == HH_OK && fault_failed() != 0);
    fault_disarm();
    check(plain_hh_get_stats(&after) == HH_OK && after.heaps == before.heaps);
    check(!plain_is_block(live) && !plain_is_block(resting));
    use(LARGE);
    check(plain_hh_heap_create(NULL, &heap) == HH_OK);
    for (int at = 0; at < BLOCKS; at++)
        memset(plain_hh_heap_alloc(heap, LARGE), at, LARGE);
    check(plain_hh_heap_destroy(heap) == HH_OK);
}

// A limit is reached. A large block rests first, whose access is refused, and small ones after it.
static void
give_way_main(void)
{
    void **newest = NULL, **block;
    void *large = malloc(LARGE);
    while ((block = malloc(SMALL)) != NULL) {
        *block = newest;
        newest = block;
    }
    free(large);
    for (; newest != NULL; newest = block) {
        block = *newest;
        free(newest);
    }
    refuse(FAULT_PROTECT, 1, true);
    check(malloc(SMALL) != NULL && fault_failed() != 0);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"rest", rest_main}, {"heap_end", heap_end_main}, {"give_way", give_way_main}};
    alarm(60);
    if (!fault_install(dlsym(RTLD_DEFAULT, "hh_trim")))
        return EXIT_SKIPPED;
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        if (argc == 2 && strcmp(argv[1], parts[part].name) == 0) {
            parts[part].run();
            return 0;
        }
    }
    return 2;
}
