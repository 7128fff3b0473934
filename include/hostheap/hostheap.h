// SPDX-License-Identifier: MIT
/*
 * hostheap/hostheap.h - the native C interface: heaps, blocks, ownership, limits, statistics.
 *
 * Every block is 16-byte aligned, and every free is checked exactly: an address that is not, at
 * that moment, a live block of the named heap is refused and nothing changes.
 *
 * Threads: unless a function says otherwise it may be called by any thread at any time, and a
 * block may be freed by another thread than the one that allocated it. No function here may be
 * called from a signal handler except hh_owns.
 *
 * errno: functions of this header leave errno as they found it.
 */
#ifndef HOSTHEAP_HOSTHEAP_H
#define HOSTHEAP_HOSTHEAP_H

#include <stddef.h>
#include <stdint.h>

#define HOSTHEAP_VERSION_MAJOR 0
#define HOSTHEAP_VERSION_MINOR 1
#define HOSTHEAP_VERSION_PATCH 0

#define HH_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* A heap: an identity for blocks, with its own limits and statistics. Opaque. */
typedef struct hh_heap hh_heap;

/* What a function answers when a pointer is not enough. */
typedef enum hh_status {
    HH_OK = 0,
    HH_E_NO_MEMORY = 1,        /* the system or a limit refused; nothing changed */
    HH_E_INVALID_ARGUMENT = 2, /* an argument is outside its documented range; nothing changed */
    HH_E_INVALID_BLOCK = 3,    /* the address is not a live block of that heap; nothing changed */
    HH_E_ACCESS_DENIED = 4     /* the system refuses executable pages */
} hh_status;

/*
 * The version of the library that is loaded, as "major.minor.patch".
 *
 * returns  a string with static lifetime, never NULL
 * cost     constant
 */
HH_API const char *hh_version(void);

/* ---- Heaps ---------------------------------------------------------------------------------- */

/* Bits of hh_heap_options.flags. */
#define HH_HEAP_EXECUTABLE 0x1u /* blocks may hold code: pages are readable, writable, executable */

/* How a heap is to be made. Zero-fill it, set struct_size to sizeof, then set what you need. */
typedef struct hh_heap_options {
    size_t struct_size;      /* sizeof(hh_heap_options) as the caller was compiled */
    uint32_t flags;          /* HH_HEAP_* bits; an unknown bit is HH_E_INVALID_ARGUMENT */
    size_t soft_limit_bytes; /* 0 = none; see hh_heap_set_limits */
    size_t hard_limit_bytes; /* 0 = none; see hh_heap_set_limits */
    const char *name;        /* for statistics; copied (first 31 bytes); NULL = unnamed */
} hh_heap_options;

/*
 * Make a heap.
 *
 * options  in; NULL = all defaults
 * heap     out; the new heap, NULL on failure; must not be NULL
 * returns  HH_OK; HH_E_NO_MEMORY; HH_E_INVALID_ARGUMENT (heap NULL, unknown flag, wrong
 *          struct_size); HH_E_ACCESS_DENIED (executable pages refused, tried once here)
 * cost     takes a lock; may call the kernel
 */
HH_API hh_status hh_heap_create(const hh_heap_options *options, hh_heap **heap);

/*
 * End a heap and free all its blocks at once. Their addresses are no longer live: freeing one
 * afterwards is HH_E_INVALID_BLOCK.
 *
 * heap     in; made by hh_heap_create and not ended yet; never the default heap
 * returns  HH_OK; HH_E_INVALID_ARGUMENT (NULL, the default heap, or a heap that belongs to an
 *          IHostMalloc object)
 * threads  the caller makes sure that no other thread is inside a call on this heap
 * cost     takes locks; proportional to the heap's slabs
 */
HH_API hh_status hh_heap_destroy(hh_heap *heap);

/*
 * The heap that serves malloc in libhostheap-malloc.so. It exists in every build, lives as long
 * as the process and can not be destroyed.
 *
 * returns  never NULL
 */
HH_API hh_heap *hh_heap_default(void);

/* ---- Blocks --------------------------------------------------------------------------------- */

/*
 * Allocate a block with undefined contents.
 *
 * heap        in; not NULL
 * size_bytes  0..PTRDIFF_MAX; 0 gives a unique block that can be freed
 * returns     the block, 16-byte aligned, owned by the caller; NULL when there is no memory, a
 *             limit is reached, or size_bytes is out of range
 * cost        without a lock and without a locked instruction while the thread's slab has a free
 *             block; else may take a lock and call the kernel
 */
HH_API void *hh_heap_alloc(hh_heap *heap, size_t size_bytes)
    __attribute__((malloc, alloc_size(2), warn_unused_result));

/*
 * Allocate count * size_bytes zeroed bytes. As hh_heap_alloc; NULL too when the product overflows.
 */
HH_API void *hh_heap_calloc(hh_heap *heap, size_t count, size_t size_bytes)
    __attribute__((malloc, alloc_size(2, 3), warn_unused_result));

/*
 * Allocate a block whose address is a multiple of alignment_bytes.
 *
 * alignment_bytes  a power of two, at most 1 GiB; below 16 means 16
 * returns          as hh_heap_alloc; NULL too when the alignment is out of range
 */
HH_API void *hh_heap_aligned_alloc(hh_heap *heap, size_t alignment_bytes, size_t size_bytes)
    __attribute__((malloc, alloc_size(3), warn_unused_result));

/*
 * Change the size of a block, moving it if it must be moved. The first min(old, new) bytes keep
 * their contents. A block that moves is 16-byte aligned, whatever it was before.
 *
 * block       in; a live block of heap, or NULL (then it allocates)
 * size_bytes  0..PTRDIFF_MAX; 0 gives the smallest block, it does not free
 * result      out; the block to use from now on; must not be NULL. On failure NULL, and the old
 *             block is untouched and still the caller's
 * returns     HH_OK; HH_E_NO_MEMORY; HH_E_INVALID_BLOCK; HH_E_INVALID_ARGUMENT (result NULL)
 */
HH_API hh_status hh_heap_realloc(hh_heap *heap, void *block, size_t size_bytes, void **result);

/*
 * Free a block.
 *
 * block    in; a live block of heap, or NULL (nothing happens). Any other value is legal too, it
 *          is only refused: no memory that is not the library's own is read to find out.
 * returns  HH_OK; HH_E_INVALID_BLOCK (foreign, interior, never allocated, already freed, of another
 *          heap): nothing changed
 * cost     without a lock and without a locked instruction on the thread that allocated the block;
 *          lock-free with one locked instruction on any other
 */
HH_API hh_status hh_heap_free(hh_heap *heap, void *block);

/*
 * Free a block whose size the caller still knows; the size is checked.
 *
 * size_bytes  the size that was asked for
 * returns     as hh_heap_free; HH_E_INVALID_BLOCK also when a block of size_bytes could not have
 *             been given this block's size class
 */
HH_API hh_status hh_heap_free_sized(hh_heap *heap, void *block, size_t size_bytes);

/*
 * The bytes a block really has, at least what was asked for. All of them may be used.
 *
 * returns  the size; 0 when block is NULL or not a live block of heap
 */
HH_API size_t hh_heap_usable_size(hh_heap *heap, const void *block);

/* ---- Ownership ------------------------------------------------------------------------------ */

/* What is known of an address. */
typedef struct hh_block_info {
    hh_heap *heap;     /* the heap whose slab the address lies in; NULL = not heap memory */
    void *base;        /* start of the block slot that holds the address; NULL if none does */
    size_t size_bytes; /* size of that slot; 0 if none */
    int live;          /* 1 = the slot is allocated; 0 = free or never allocated */
} hh_block_info;

/*
 * Ask who owns an address.
 *
 * address  in; any value
 * info     out; all fields are written; must not be NULL
 * returns  HH_OK (also when nobody of ours owns it: info->heap is then NULL);
 *          HH_E_INVALID_ARGUMENT (info NULL)
 * threads  any, also in a signal handler; wait-free
 */
HH_API hh_status hh_owns(const void *address, hh_block_info *info);

/* ---- Limits --------------------------------------------------------------------------------- */

/*
 * Limit what a heap may commit (its slabs and large blocks, whole pages).
 *
 * soft_bytes  above it only requests of a critical level above eTaskCritical are served (native
 *             calls and malloc count as eTaskCritical); 0 = none
 * hard_bytes  above it nothing is served; 0 = none
 * returns     HH_OK; HH_E_INVALID_ARGUMENT (heap NULL, or both set and soft above hard)
 * note        what is allocated already stays, even if it is above the new limit
 */
HH_API hh_status hh_heap_set_limits(hh_heap *heap, size_t soft_bytes, size_t hard_bytes);

/*
 * Limit what all heaps of the process and the memory manager may commit together. As
 * hh_heap_set_limits.
 */
HH_API hh_status hh_set_memory_limits(size_t soft_bytes, size_t hard_bytes);

/*
 * Give memory that nobody uses back to the system now: retained free memory, the free pages
 * inside slabs that no running thread owns, and those inside the calling thread's own slabs.
 *
 * returns  bytes given back
 * cost     takes locks, calls the kernel; milliseconds for a large heap
 */
HH_API size_t hh_trim(void);

/* ---- Statistics ----------------------------------------------------------------------------- */

/* Figures of one heap, or of all heaps together. Exact when no other thread is at work. */
typedef struct hh_heap_stats {
    size_t live_blocks;      /* blocks allocated and not freed */
    size_t live_bytes;       /* their usable sizes */
    size_t large_blocks;     /* of these, the ones with pages of their own */
    size_t large_bytes;      /* their usable sizes */
    size_t committed_bytes;  /* slabs and large blocks, as the limits count them */
    size_t slab_count;       /* slabs now carved */
    uint64_t slabs_carved;   /* since the heap was made */
    uint64_t slabs_retired;  /* since the heap was made */
    uint64_t bad_frees;      /* frees refused since the heap was made */
    size_t soft_limit_bytes; /* 0 = none */
    size_t hard_limit_bytes; /* 0 = none */
} hh_heap_stats;

/* Figures of the process. */
typedef struct hh_stats {
    hh_heap_stats all;      /* sums over the heaps */
    size_t heaps;           /* heaps that exist, the default one included */
    size_t threads;         /* thread caches in use by running threads */
    size_t regions;         /* address ranges reserved for slabs */
    size_t reserved_bytes;  /* their sizes */
    size_t committed_bytes; /* what of them is accessible */
    size_t retained_bytes;  /* free, but not yet given back to the system */
    size_t metadata_bytes;  /* the library's own records */
    uint64_t purged_bytes;  /* given back to the system since start */
    uint64_t system_calls;  /* calls to the kernel for memory since start */
    size_t
        acquired_ranges;   /* what the runtime said it mapped itself: AcquiredVirtualAddressSpace */
    size_t acquired_bytes; /* their sizes */
} hh_stats;

/*
 * Read a heap's figures. heap and stats must not be NULL.
 *
 * returns  HH_OK; HH_E_INVALID_ARGUMENT
 * cost     walks the heap's slabs; takes the heap's lock
 */
HH_API hh_status hh_heap_get_stats(hh_heap *heap, hh_heap_stats *stats);

/* Read the process's figures. As hh_heap_get_stats, over all heaps. */
HH_API hh_status hh_get_stats(hh_stats *stats);

/* Bits of hh_stats_print's flags. */
#define HH_STATS_JSON 0x1u  /* JSON instead of text */
#define HH_STATS_HEAPS 0x2u /* one entry per heap too */

/*
 * Write all statistics.
 *
 * write  called with consecutive pieces of text (not NUL-terminated); NULL = to standard error.
 *        It may allocate.
 * arg    passed through to write
 * flags  HH_STATS_* bits
 */
HH_API void hh_stats_print(void (*write)(void *arg, const char *text, size_t length_bytes),
                           void *arg, uint32_t flags);

/*
 * Visit every live block of a heap.
 *
 * visit    called with each live block and its usable size; a result other than 0 ends the walk.
 *          It must not allocate from or free to this heap.
 * returns  HH_OK; HH_E_INVALID_ARGUMENT (a NULL)
 * threads  blocks that other threads allocate or free meanwhile may be seen or not
 */
HH_API hh_status hh_heap_walk(hh_heap *heap,
                              int (*visit)(void *arg, void *block, size_t size_bytes), void *arg);

/* ---- Refused frees in the malloc family ------------------------------------------------------ */

/* Why an address was refused. */
typedef enum hh_bad_block {
    HH_BAD_FOREIGN = 1,    /* not heap memory */
    HH_BAD_INTERIOR = 2,   /* inside a block slot, not at its start */
    HH_BAD_NOT_LIVE = 3,   /* at the start of a slot that is free: freed already, or never used */
    HH_BAD_OTHER_HEAP = 4, /* a live block, but of another heap */
    HH_BAD_SIZE_MISMATCH = 5,      /* the size passed can not be this block's */
    HH_BAD_ALIGNMENT_MISMATCH = 6, /* the alignment passed can not be this block's */
    /* Seen by the checked library alone, in memory; the call that saw it does what it was asked: */
    HH_BAD_OVERFLOW = 7,        /* bytes behind a block were written */
    HH_BAD_UNDERFLOW = 8,       /* bytes before it were, unless the block before was overflowed */
    HH_BAD_WRITE_AFTER_FREE = 9 /* a freed block was written */
} hh_bad_block;

/*
 * Called for a refused free, realloc or malloc_usable_size of the malloc family when the option
 * bad_free is "callback". function is the name of the function that was called.
 */
typedef void (*hh_bad_free_handler)(void *arg, const char *function, const void *address,
                                    hh_bad_block why, const hh_block_info *info);

/*
 * Set the handler and switch the option bad_free to "callback"; NULL switches it to "abort".
 */
HH_API void hh_set_bad_free_handler(hh_bad_free_handler handler, void *arg);

/*
 * Look at the memory behind all blocks and in freed ones now. Damage is reported as the option bad_free
 * says, each once; a handler is called without a lock held.
 *
 * returns  how many damaged blocks were found; always 0 but in the checked library, which alone can
 *          tell
 * cost     takes locks, reads all blocks' ends and all that rests in quarantine
 */
HH_API size_t hh_check_blocks(void);

/* ---- Sampled guard pages --------------------------------------------------------------------- */

/*
 * Switch sampled guard pages on, off or to another rate while the program runs; the option "sample"
 * sets the rate to begin with. One of so many refills of a thread's list of free blocks then yields
 * a block between pages without access; misuse of it is reported (docs/security.md).
 *
 * every    one of so many refills; 1 = as many as possible; 0 = none from now on
 * returns  HH_OK; HH_E_NO_MEMORY: no memory for the pages, the rate is what it was
 * note     blocks sampled already stay so until they are freed. The first call with a rate other
 *          than 0 installs a handler of SIGSEGV, which passes on to the one that was there.
 * cost     the first time, reserves 2 MiB of addresses; else two stores
 */
HH_API hh_status hh_set_sampling(uint32_t every);

#ifdef __cplusplus
}
#endif

#endif
