// SPDX-License-Identifier: MIT
/*
 * heap/stack_text.h - lines about the frames of a stack, from words that were on it.
 *
 * Layer: heap. May include: base, os, diag.
 *
 * A word is shown if it points into executable memory and a call instruction ends there.
 *
 * Thread rules: any thread, in signal handlers too; no lock, no malloc.
 */
#ifndef HHI_HEAP_STACK_TEXT_H
#define HHI_HEAP_STACK_TEXT_H

#include "base/compiler.h"

// One line for each of the first frames found among count words: "\n    address file+offset". Their
// length.
size_t hhi_stack_text(char *text, size_t capacity_bytes, const uintptr_t *words, uint32_t count,
                      unsigned frames);

#endif
