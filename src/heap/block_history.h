// SPDX-License-Identifier: MIT
/*
 * heap/block_history.h - what is on record about single blocks, for reports.
 *
 * Layer: heap. May include: base, slab, heap.
 *
 * Only sampled blocks have a history here. The checked library, which keeps records of all
 * blocks, has another file in the place of block_history.c.
 *
 * Thread rules: any thread, no lock held.
 */
#ifndef HHI_HEAP_BLOCK_HISTORY_H
#define HHI_HEAP_BLOCK_HISTORY_H

#include "base/compiler.h"
#include "slab/slab.h"

// Lines about who allocated and who freed the block near address; their length, 0 if none.
size_t hhi_block_history(char *text, size_t capacity_bytes, const void *address);
// What more is known of the block that begins at base, to stand behind its size and state; its
// length. Begins with a comma, or is empty.
size_t hhi_block_remark(char *text, size_t capacity_bytes, const void *base);

#endif
