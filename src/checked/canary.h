// SPDX-License-Identifier: MIT
/*
 * checked/canary.h - patterns behind blocks and in blocks that rest.
 *
 * Layer: checked. May include: base.
 *
 * The canary differs from process to process and from word to word, so that neither a copy of one
 * nor a constant passes for another. None of its bytes is even: a zero written behind a string is
 * always seen. Junk is the same everywhere: a pointer read from it can not be used, and it is
 * known on sight.
 *
 * Thread rules: hhi_canary_start once, before the others.
 */
#ifndef HHI_CHECKED_CANARY_H
#define HHI_CHECKED_CANARY_H

#include "base/compiler.h"

enum { HHI_JUNK_BYTE = 0xFD };

void hhi_canary_start(uint64_t secret);
void hhi_canary_fill(uintptr_t from, uintptr_t to);
// Address of the first byte in the range that is not as it was filled; 0: all are.
uintptr_t hhi_canary_check(uintptr_t from, uintptr_t to);
void hhi_junk_fill(uintptr_t from, uintptr_t to);
uintptr_t hhi_junk_check(uintptr_t from, uintptr_t to);

#endif
