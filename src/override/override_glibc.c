// SPDX-License-Identifier: MIT
/*
 * override/override_glibc.c - the functions of glibc's <malloc.h> that ask about its heap or tune
 * it. Left to glibc they would speak of a heap that nobody uses.
 *
 * Here stdio is allowed: malloc_info is given a stream, and holds nothing while it writes.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>

#include "base/compiler.h"
#include "heap/heap.h"

#define GLIBC_FACE __attribute__((visibility("default"), used))
#define GLIBC_FACE_ALIAS(target)                                                                   \
    __attribute__((visibility("default"), weak, nothrow, leaf, alias(#target)))

// 1: memory went back to the system. The pad that glibc keeps at the top has no meaning here.
GLIBC_FACE int
malloc_trim(size_t pad_bytes)
{
    (void)pad_bytes;
    return hhi_trim() != 0;
}

GLIBC_FACE struct mallinfo2
mallinfo2(void)
{
    hh_stats stats;
    hhi_get_stats(&stats);
    size_t small_bytes = stats.all.committed_bytes - stats.all.large_bytes;
    return (struct mallinfo2){
        .arena = stats.all.committed_bytes < stats.all.large_bytes ? 0 : small_bytes,
        .hblks = stats.all.large_blocks,
        .hblkhd = stats.all.large_bytes,
        .uordblks = stats.all.live_bytes,
        .fordblks = stats.all.committed_bytes < stats.all.live_bytes
                        ? 0
                        : stats.all.committed_bytes - stats.all.live_bytes,
        .keepcost = stats.retained_bytes,
    };
}

static int
glibc_clip_int(size_t value)
{
    return value > INT_MAX ? INT_MAX : (int)value;
}

// The same with fields that are too small; they stop at INT_MAX instead of wrapping.
GLIBC_FACE struct mallinfo
mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = glibc_clip_int(wide.arena),
        .hblks = glibc_clip_int(wide.hblks),
        .hblkhd = glibc_clip_int(wide.hblkhd),
        .uordblks = glibc_clip_int(wide.uordblks),
        .fordblks = glibc_clip_int(wide.fordblks),
        .keepcost = glibc_clip_int(wide.keepcost),
    };
}

// The XML of glibc's version 1 as far as its terms exist here: totals, no arenas.
GLIBC_FACE int
malloc_info(int options, FILE *stream)
{
    if (options != 0)
        return EINVAL;
    hh_stats stats;
    hhi_get_stats(&stats);
    size_t free_bytes = stats.all.committed_bytes > stats.all.live_bytes
                            ? stats.all.committed_bytes - stats.all.live_bytes
                            : 0;
    fprintf(stream,
            "<malloc version=\"1\">\n"
            "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
            "<system type=\"current\" size=\"%zu\"/>\n"
            "<aspace type=\"total\" size=\"%zu\"/>\n"
            "</malloc>\n",
            stats.all.slab_count, free_bytes, stats.all.large_blocks, stats.all.large_bytes,
            stats.committed_bytes, stats.reserved_bytes);
    return 0;
}

GLIBC_FACE void
malloc_stats(void)
{
    hh_stats_print(NULL, NULL, 0);
}

// glibc's parameters are accepted and have no effect; 0 = there is no such parameter.
GLIBC_FACE int
mallopt(int parameter, int value)
{
    (void)value;
    switch (parameter) {
    case M_MXFAST:
    case M_NLBLKS:
    case M_GRAIN:
    case M_KEEP:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

struct mallinfo __libc_mallinfo(void);
struct mallinfo __libc_mallinfo(void) GLIBC_FACE_ALIAS(mallinfo);
int __libc_mallopt(int parameter, int value);
int __libc_mallopt(int parameter, int value) GLIBC_FACE_ALIAS(mallopt);
