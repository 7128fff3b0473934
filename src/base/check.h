// SPDX-License-Identifier: MIT
/*
 * base/check.h - assertions that hold in every build, and assertions for debug builds.
 *
 * Layer: base. May include: base/compiler.h.
 */
#ifndef HHI_BASE_CHECK_H
#define HHI_BASE_CHECK_H

#include "base/compiler.h"

// An invariant of our own records does not hold: nothing sensible can follow.
#define HH_CHECK(condition)                                                                        \
    do {                                                                                           \
        if (hh_unlikely(!(condition)))                                                             \
            __builtin_trap();                                                                      \
    } while (0)

// The same in debug builds only.
#ifdef NDEBUG
#define HH_ASSERT(condition) ((void)sizeof(condition))
#else
#define HH_ASSERT(condition) HH_CHECK(condition)
#endif

#endif
