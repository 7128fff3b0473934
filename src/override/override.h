// SPDX-License-Identifier: MIT
/*
 * override/override.h - the malloc family as this library defines it.
 *
 * Layer: override. May include: base, diag, heap, process.
 *
 * The C library's headers are not included where these functions are defined: their attributes and
 * macros belong to callers. Prototypes are therefore written here, as POSIX, C23 and glibc have them.
 *
 * errno: ENOMEM on every failure for want of memory or by overflow; free and delete keep it.
 */
#ifndef HHI_OVERRIDE_OVERRIDE_H
#define HHI_OVERRIDE_OVERRIDE_H

#include "base/compiler.h"

#define HH_OVERRIDE __attribute__((visibility("default"), used))
// Another name of a function in the same file. Weak: a static libc may bring the name too.
#define HH_OVERRIDE_ALIAS(target) __attribute__((visibility("default"), weak, alias(#target)))

// C and C23
void *malloc(size_t size_bytes);
void *calloc(size_t count, size_t size_bytes);
void *realloc(void *block, size_t size_bytes);
void free(void *block);
void *aligned_alloc(size_t alignment_bytes, size_t size_bytes);
void free_sized(void *block, size_t size_bytes);
void free_aligned_sized(void *block, size_t alignment_bytes, size_t size_bytes);

// POSIX and BSD
int posix_memalign(void **result, size_t alignment_bytes, size_t size_bytes);
void *reallocarray(void *block, size_t count, size_t size_bytes);
void *memalign(size_t alignment_bytes, size_t size_bytes);
void *valloc(size_t size_bytes);
void *pvalloc(size_t size_bytes);
void cfree(void *block);
size_t malloc_usable_size(void *block);

// free, by a name that no program replaces.
void hhi_override_free(void *block) __attribute__((visibility("hidden")));

// Sets errno to ENOMEM, returns NULL.
HH_SLOW void *hhi_override_no_memory(void);
// malloc that is recorded. NULL: no memory, or nothing is recorded; errno is left alone.
HH_SLOW void *hhi_override_malloc_traced(size_t size_bytes);
// Sets errno to EINVAL, returns NULL.
HH_SLOW void *hhi_override_invalid(void);

// malloc when the fast path gives up; sets errno. The first two serve the larger classes, and small
// ones whose bin is empty, in few steps.
HH_NOINLINE void *hhi_override_malloc_medium(size_t size_bytes);
HH_NOINLINE void *hhi_override_malloc_refill(size_t size_bytes);
HH_NOINLINE void *hhi_override_malloc_slow(size_t size_bytes);

// Free a block whose alignment and size the caller names; function is the caller's name in reports.
void hhi_override_free_sized(const char *function, void *block, size_t size_bytes);
void hhi_override_free_aligned(const char *function, void *block, size_t alignment_bytes);
void hhi_override_free_aligned_sized(const char *function, void *block, size_t alignment_bytes,
                                     size_t size_bytes);

#endif
