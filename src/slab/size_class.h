// SPDX-License-Identifier: MIT
/*
 * slab/size_class.h - which block size serves a request.
 *
 * Layer: slab. May include: base, region/window.h.
 *
 *   class 0          never carved: a request of 0 bytes takes the slow path and gets class 1
 *   class 1..64      16 .. 1024 bytes in steps of 16: class = (size + 15) / 16
 *   class 65..128    eight steps per doubling up to 256 KiB: at most 12.5 % of a block is unused
 *   above            a run of granules of its own
 *
 *   block size       slab        blocks
 *   16 .. 8 KiB      64 KiB      4096 .. 8
 *   .. 32 KiB        512 KiB     56 .. 16
 *   .. 256 KiB       2 MiB       56 .. 8
 *
 * A large slab costs no memory for blocks never handed out, so all of them may be generous. But the
 * first block of a class costs a page, a record and a part of an array of links. Where a thread has
 * asked for a class a few times only, classes share slabs: see hhi_class_coarse.
 */
#ifndef HHI_SLAB_SIZE_CLASS_H
#define HHI_SLAB_SIZE_CLASS_H

#include "base/bits.h"
#include "base/compiler.h"
#include "region/window.h"

enum {
    HHI_COARSE_MAX_BYTES = 2 * 1024, // largest class that shares slabs while it is new
    HHI_COARSE_BYTES = 2 * 1024,     // of a class, served from shared slabs before it has its own,
    HHI_COARSE_BLOCKS = 8,           // and no more blocks than that
    HHI_COARSE_TINY_BLOCKS = 16,     // the same of 16 bytes: a slab of these has 8 KiB of links
    HHI_CLASS_OWN = 128,             // said of how many it was given: it has slabs of its own,
    HHI_CLASS_FILLS = 64,            // and has used up a clean one
    HHI_COARSE_MIN_CLASS = 4,        // 64 bytes: smaller ones have many links
    HHI_ALIGNMENT_BYTES = 16,
    HHI_SMALL_MAX_BYTES = 1024,
    HHI_SMALL_CLASSES = 64,
    HHI_ONE_GRANULE_MAX_BYTES = 8 * 1024,     // largest block of a slab of one granule
    HHI_SLAB_MAX_BYTES = 256 * 1024,          // largest block served from a slab
    HHI_SMALL_WINDOW_LIMIT_BYTES = 32 * 1024, // the same in a small address space
    HHI_STEPS_BYTES = 32 * 1024,              // largest size in hhi_class_steps
    HHI_CLASSES = 1 + HHI_SMALL_CLASSES + 64,
    HHI_CLASS_NONE = 0,
};

/*
 * Requests above it get granules of their own. HHI_SLAB_MAX_BYTES, but less in a small address
 * space, where slabs of 2 MiB would be most of it. Set once at start.
 */
extern size_t hhi_slab_limit_bytes __attribute__((visibility("hidden")));

/*
 * Class of the sizes n * 128 + 1 to (n + 1) * 128, for n from 8 on. Five doublings further up the
 * classes are 32 times as large and 40 numbers higher. A search for the highest bit is fewer bytes, and eight
 * micro-operations on some processors.
 */
extern const uint8_t hhi_class_steps[256] __attribute__((visibility("hidden")));

// size_bytes from HHI_SMALL_MAX_BYTES + 1 to HHI_SLAB_MAX_BYTES.
static inline unsigned
hhi_class_of_medium(size_t size_bytes)
{
    size_t last = size_bytes - 1;
    return hh_likely(last < HHI_STEPS_BYTES) ? hhi_class_steps[last >> 7]
                                             : hhi_class_steps[last >> 12] + 40u;
}

// size_bytes from 1 to HHI_SLAB_MAX_BYTES.
static inline unsigned
hhi_class_of(size_t size_bytes)
{
    if (size_bytes <= HHI_SMALL_MAX_BYTES)
        return (unsigned)((size_bytes + HHI_ALIGNMENT_BYTES - 1) / HHI_ALIGNMENT_BYTES);
    return hhi_class_of_medium(size_bytes);
}

static inline uint32_t
hhi_class_bytes(unsigned class_index)
{
    if (class_index <= HHI_SMALL_CLASSES)
        return class_index * HHI_ALIGNMENT_BYTES;
    unsigned step = class_index - HHI_SMALL_CLASSES - 1;
    return ((uint32_t)1024 << (step / 8)) + ((uint32_t)128 << (step / 8)) * (step % 8 + 1);
}

static inline uint32_t
hhi_class_granules(unsigned class_index)
{
    uint32_t size_bytes = hhi_class_bytes(class_index);
    return size_bytes <= HHI_ONE_GRANULE_MAX_BYTES ? 1 : size_bytes <= 32 * 1024 ? 8 : 32;
}

static inline uint32_t
hhi_class_blocks(unsigned class_index)
{
    return (hhi_class_granules(class_index) << HHI_GRANULE_SHIFT) / hhi_class_bytes(class_index);
}

/*
 * The class whose slabs serve class_index while few blocks of it were asked for: one per doubling from
 * 64 bytes on, so that the first blocks of all classes lie in few pages, and their links too. A class
 * that serves itself has itself.
 */
static inline unsigned
hhi_class_coarse(unsigned class_index)
{
    if (class_index <= HHI_COARSE_MIN_CLASS)
        return HHI_COARSE_MIN_CLASS;
    if (class_index <= HHI_SMALL_CLASSES)
        return 1u << hh_log2_ceil(class_index);
    return hhi_class_bytes(class_index) <= HHI_COARSE_MAX_BYTES ? hhi_class_of(HHI_COARSE_MAX_BYTES)
                                                                : class_index;
}

// How many blocks of a class the coarser one serves.
static inline unsigned
hhi_class_coarse_blocks(unsigned class_index)
{
    unsigned blocks = HHI_COARSE_BYTES / hhi_class_bytes(class_index);
    unsigned most = class_index == 1 ? HHI_COARSE_TINY_BLOCKS : HHI_COARSE_BLOCKS;
    return blocks < most ? blocks : most;
}

#endif
