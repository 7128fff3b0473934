// SPDX-License-Identifier: MIT
/*
 * base/bits.h - alignment, powers of two, exact division by a fixed size.
 *
 * Layer: base. May include: base/compiler.h.
 */
#ifndef HHI_BASE_BITS_H
#define HHI_BASE_BITS_H

#include "base/compiler.h"

static inline bool
hh_is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

// alignment is a power of two.
static inline uintptr_t
hh_align_down(uintptr_t value, uintptr_t alignment)
{
    return value & ~(alignment - 1);
}

// alignment is a power of two; value + alignment - 1 must not overflow.
static inline uintptr_t
hh_align_up(uintptr_t value, uintptr_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

// Index of the highest set bit; value is not 0.
static inline unsigned
hh_log2_floor(size_t value)
{
    return 63u ^ (unsigned)__builtin_clzl(value); // the same as minus, and one instruction
}

// Smallest k with 2^k >= value; value is not 0.
static inline unsigned
hh_log2_ceil(size_t value)
{
    return value <= 1 ? 0 : hh_log2_floor(value - 1) + 1;
}

/*
 * Exact division by a fixed size with one multiplication. For magic = hh_divide_magic(size) and an
 * offset below 2^32, with product = offset * magic (128 bits):
 *   high half of product  = offset / size
 *   low half < magic      if and only if offset is a multiple of size
 * Holds for every size from 2 to 2^31 (tests/unit/test_bits.c checks all class sizes). For size 1
 * there is no such number; no class is that small.
 */
static inline uint64_t
hh_divide_magic(uint64_t size)
{
    return UINT64_MAX / size + 1;
}

static inline uint64_t
hh_divide(uint64_t offset, uint64_t magic, uint64_t *remainder_mark)
{
    unsigned __int128 product = (unsigned __int128)offset * magic;
    *remainder_mark = (uint64_t)product;
    return (uint64_t)(product >> 64);
}

#endif
