// SPDX-License-Identifier: MIT
// tests/support/own_heap.h - a heap of its own for each test of a file, which keeps its pages while the test looks.
#ifndef HH_TESTS_SUPPORT_OWN_HEAP_H
#define HH_TESTS_SUPPORT_OWN_HEAP_H

#include "options/options.h"
#include "region/run.h"
#include "support/core.h"

static struct hh_heap *heap;

static int
heap_make(void **state)
{
    (void)state;
    hhi_opt.decay_ms = HHI_DECAY_OFF;
    heap = core_heap();
    return 0;
}

static int
heap_end(void **state)
{
    (void)state;
    hhi_heap_destroy(heap);
    hhi_run_check();
    return 0;
}

#endif
