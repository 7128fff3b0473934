// SPDX-License-Identifier: MIT
/*
 * heap/bad_block.h - what happens when the malloc family is given an address that is no live block.
 *
 * Layer: heap. May include: base, os, diag, options, meta.
 *
 * The policy comes from the option bad_free; hh_set_bad_free_handler replaces it. A report is one
 * write of a few lines: the function and the address, why it is refused, the slot or the mapping the
 * address lies in, its heap, class and neighbours, the nearest other live block, and the block's
 * history where there is one (block_history.h). Nothing here allocates, takes a lock that an allocation may hold, or changes
 * errno (a handler of the program may do what it likes).
 *
 * Thread rules: any thread, any time outside a signal handler.
 *
 * Memory ordering
 *   BB-1  setter's store -> raise: the handler and the argument of the choice in force. Without it a
 *         handler may be called with another's argument.
 *   BB-2  CAS on the list of choices -> next setter: the records it searches.
 */
#ifndef HHI_HEAP_BAD_BLOCK_H
#define HHI_HEAP_BAD_BLOCK_H

#include <hostheap/hostheap.h>

#include "heap/heap.h"

/*
 * Apply the policy to address, which function ("free") refused because of why (HH_BAD_*).
 * claim is the size or the alignment that was passed, used for the two mismatches only.
 * Returns under report, ignore and callback.
 */
void hhi_bad_block_raise(const char *function, const void *address, hhi_refusal why, size_t claim);

// The lines of a report without the prefix; returns the length. For tests too.
size_t hhi_bad_block_describe(char *text, size_t capacity_bytes, const char *function,
                              const void *address, hhi_refusal why, size_t claim);

#endif
