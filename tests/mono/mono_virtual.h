// SPDX-License-Identifier: MIT
/*
 * tests/mono/mono_virtual.h - Mono's virtual memory on IHostMemoryManager.
 *
 * mono_valloc and its kin are Mono's mmap, munmap and mprotect; the linker leads them here, and
 * from here they go on in the words of Win32:
 *
 *   mono_valloc          VirtualAlloc(RESERVE|COMMIT); with an address below 2 GiB, found by
 *                        VirtualQuery, where Mono asks for one
 *   mono_valloc_aligned  reserve too much, release it, allocate at the aligned address in it
 *   mono_vfree           any range: over the ends of allocations, parts of one. Per allocation of
 *                        the range DECOMMIT; the last part of an allocation takes RELEASE
 *   mono_mprotect        VirtualProtect, on foreign memory too (the guard pages of stacks); with
 *                        the "discard" flag DECOMMIT and COMMIT
 *
 * Nothing here waits for another thread, since Mono's collector calls it while others are stopped.
 */
#ifndef HH_TESTS_MONO_VIRTUAL_H
#define HH_TESTS_MONO_VIRTUAL_H

#include <stddef.h>
#include <stdint.h>

enum mono_virtual_call {
    MONO_VIRTUAL_ALLOC,
    MONO_VIRTUAL_ALIGNED,
    MONO_VIRTUAL_LOW,
    MONO_VIRTUAL_FIXED,
    MONO_VIRTUAL_QUERY,
    MONO_VIRTUAL_DECOMMIT,
    MONO_VIRTUAL_RELEASE,
    MONO_VIRTUAL_PROTECT,
    MONO_VIRTUAL_PROTECT_FOREIGN,
    MONO_VIRTUAL_NO_MEMORY, // answered with NULL
    MONO_VIRTUAL_FAULT,     // an answer that must not be
    MONO_VIRTUAL_CALLS,
};

uint64_t mono_virtual_count(enum mono_virtual_call call);
// Allocations that Mono has not given back.
size_t mono_virtual_live(void);

void *__wrap_mono_valloc(void *address, size_t size_bytes, int flags, int account);
void *__wrap_mono_valloc_aligned(size_t size_bytes, size_t alignment_bytes, int flags, int account);
int __wrap_mono_vfree(void *address, size_t size_bytes, int account);
int __wrap_mono_mprotect(void *address, size_t size_bytes, int flags);

#endif
