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

// What of a live block's slot the caller may use.
size_t hhi_block_usable_bytes(const void *base, size_t slot_bytes);
// The same for all live blocks of a run, whose heap's lock is held.
size_t hhi_blocks_usable_bytes(struct hhi_slab *slab, size_t slots_bytes);
/*
 * Whether an access to address, which faulted, was misuse of a block: of one that has ended, or past
 * one's end. What is said then. In signal handlers, too.
 */
bool hhi_block_fault(const void *address);
size_t hhi_block_fault_text(char *text, size_t capacity_bytes, const char *access,
                            const void *address);
// Look at the memory behind blocks and in freed ones now. What is damaged is raised as found by
// function, each once. How many blocks were.
size_t hhi_blocks_check(const char *function);

#endif
