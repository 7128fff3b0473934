// SPDX-License-Identifier: MIT
/*
 * os/os.h - the one door to the kernel.
 *
 * Layer: os. May include: base.
 *
 * States of a range of pages:
 *
 *   free --reserve--> reserved --commit--> committed --purge--> committed, contents zero again
 *     ^                  ^  (no access)        |  (accessible)
 *     |                  +------ decommit -----+
 *     +---------------- release ---------------+
 *
 * Rules for all functions: addresses and sizes are multiples of the OS page size; a result is 0 or
 * an address on success and a negative errno value on failure; the variable errno is never touched
 * (calls go to the kernel directly), nothing allocates, nothing takes a lock. They may be called
 * in a signal handler and on a thread that libc does not know.
 *
 * Tests replace single operations by assigning to hhi_os before other threads exist.
 */
#ifndef HHI_OS_OS_H
#define HHI_OS_OS_H

#include <sys/types.h>

#include "base/atomic.h"
#include "base/compiler.h"

// What the kernel is asked for, as it would answer: result or -errno.
struct hhi_os {
    intptr_t (*map)(void *address, size_t size_bytes, int protection, int flags);
    int (*unmap)(void *address, size_t size_bytes);
    int (*protect)(void *address, size_t size_bytes, int protection);
    int (*advise)(void *address, size_t size_bytes, int advice);
    int (*resident)(void *address, size_t size_bytes, unsigned char *pages);
    int (*populate)(void *address, size_t size_bytes);
    intptr_t (*remap)(void *address, size_t old_bytes, size_t new_bytes, int flags, void *target);
    // For the kernel's list of mappings (os_mapping.c).
    int (*open)(const char *path);
    ssize_t (*read)(int descriptor, void *buffer, size_t size_bytes);
    int (*control)(int descriptor, unsigned long request, void *argument);
};
extern struct hhi_os hhi_os;

// Memory calls made so far (statistics).
extern _Atomic uint64_t hhi_os_calls;
static inline uint64_t
hhi_os_calls_now(void)
{
    // relaxed: a statistic.
    return hh_load_relaxed(&hhi_os_calls);
}

size_t hhi_os_page_bytes(void);

// Reserve address space without access. address NULL: anywhere; else exactly there, -EEXIST when
// something is mapped in the range. Result: the address or -errno.
intptr_t hhi_os_reserve(void *address, size_t size_bytes);
// The same exactly at address, with HHI_ACCESS_ bits for the pages.
intptr_t hhi_os_map_at(void *address, size_t size_bytes, unsigned access);
// As hhi_os_reserve, but readable: untouched pages read as zero and cost no memory.
intptr_t hhi_os_reserve_readable(void *address, size_t size_bytes);
// Make reserved pages readable and writable (and executable).
int hhi_os_commit(void *address, size_t size_bytes, bool executable);
// Drop contents and access; the range stays reserved.
int hhi_os_decommit(void *address, size_t size_bytes);
// Drop contents only: the pages read as zero afterwards.
int hhi_os_purge(void *address, size_t size_bytes);
// Put memory behind committed pages that are about to be written, in one call instead of a fault for each. A
// hint: -errno where the kernel does not (before Linux 5.14 -EINVAL, and it is not asked again).
int hhi_os_populate(void *address, size_t size_bytes);
// Which pages are in memory: a byte for each, its lowest bit set if it is. A page without the bit may
// still have contents, in swap space. -errno when the kernel does not tell.
int hhi_os_resident(void *address, size_t size_bytes, unsigned char *pages);
// Whether the kernel may answer the first write to 2 MiB of the range with one huge page.
int hhi_os_allow_huge(void *address, size_t size_bytes, bool allow);
// Give address space back.
int hhi_os_release(void *address, size_t size_bytes);
// Move committed pages to a committed range of the same size; the old range stays committed and
// reads as zero. -errno when the kernel can not (the caller then copies).
int hhi_os_move(void *from, void *to, size_t size_bytes);
// A private readable and writable mapping of its own. Result: the address or -errno.
intptr_t hhi_os_map_private(size_t size_bytes);

// What pages may be used for; the values are the kernel's PROT_ ones.
enum { HHI_ACCESS_NONE = 0, HHI_ACCESS_READ = 1, HHI_ACCESS_WRITE = 2, HHI_ACCESS_EXECUTE = 4 };
// Set the access of mapped pages. The kernel may fail half way (ENOMEM at its map limit).
int hhi_os_protect(void *address, size_t size_bytes, unsigned access);
// Allow the kernel to drop contents: until the pages are written they read as before or as zero.
int hhi_os_reset(void *address, size_t size_bytes);
// Put fresh reserved pages in the place of our own; never over memory that is not ours.
int hhi_os_replace(void *address, size_t size_bytes);

// A mapping as the kernel lists it.
struct hhi_os_mapping {
    uintptr_t start, end;
    unsigned access; // HHI_ACCESS_ bits
    bool shared;
    bool file; // of a file or a shared memory object
};
/*
 * The mapping that holds address, or the next one above it. 0; -ENOENT if there is none; another
 * -errno if the kernel's list can not be read. Takes no lock; safe in signal handlers and in the
 * child of a fork. Keeps one descriptor, checked before each use.
 */
int hhi_os_find_mapping(uintptr_t address, struct hhi_os_mapping *found);

// Address space limit of the process (RLIMIT_AS) in bytes, SIZE_MAX if none.
size_t hhi_os_address_space_limit(void);
// Limit of its writable private pages (RLIMIT_DATA), the same.
size_t hhi_os_data_limit(void);
// Physical memory in bytes.
size_t hhi_os_physical_bytes(void);
// Monotonic time, a few milliseconds coarse, cheap.
uint64_t hhi_os_clock_ms(void);
uint64_t hhi_os_random(void);
void hhi_os_sleep_ms(unsigned milliseconds);
pid_t hhi_os_process_id(void);
pid_t hhi_os_thread_id(void);

// Write all of a buffer to a descriptor, as far as it goes.
void hhi_os_write(int descriptor, const void *data, size_t size_bytes);
// open(2) for reading with O_CLOEXEC, read(2), pread(2), close(2).
int hhi_os_open(const char *path);
ssize_t hhi_os_read(int descriptor, void *buffer, size_t size_bytes);
ssize_t hhi_os_read_at(int descriptor, void *buffer, size_t size_bytes, uint64_t offset);
int hhi_os_close(int descriptor);
HH_NORETURN void hhi_os_abort(void);

/*
 * Make every running thread of the process pass a full memory barrier (membarrier(2)).
 * hhi_os_barrier_init tells whether the kernel can; if not, readers must use barriers themselves.
 * A single barrier may still fail, for want of kernel memory: then no thread is known to have passed.
 */
bool hhi_os_barrier_init(void);
bool hhi_os_barrier_all_threads(void);

// Sleep while *word == expected, at most timeout_ms (0 = for ever); wake one or all sleepers.
void hhi_os_wait(_Atomic uint32_t *word, uint32_t expected, unsigned timeout_ms);
void hhi_os_wake(_Atomic uint32_t *word, bool all);

// Block all signals of the calling thread; the result restores them.
uint64_t hhi_os_block_signals(void);
void hhi_os_restore_signals(uint64_t before);

/*
 * Start a thread that libc does not know: no TLS of its own but a zeroed stub, all signals
 * blocked, not counted by pthread_exit. run must use only functions of this library, and no
 * thread-local variable. In thread sanitizer builds it is an ordinary detached thread.
 * At most one such thread at a time. Result: 0 or -errno.
 */
int hhi_os_start_hidden_thread(void (*run)(void *arg), void *arg);

#endif
