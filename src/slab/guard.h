// SPDX-License-Identifier: MIT
/*
 * slab/guard.h - sections in which a thread looks at slabs it neither owns nor has a block of.
 *
 * Layer: slab. May include: base, os.
 *
 * A free by a thread that is not the owner reads the slab's record and then marks a link. If the
 * program is right, the block is live meanwhile and the slab can not go away. If it is wrong (the
 * block was freed before), the slab might be retired and its run carved for another class between
 * the read and the mark, and the mark would hit somebody else's block. So such frees run in a
 * guarded section, and a retired run is carved for another class only after every section that was
 * open at its retirement has ended.
 *
 * The same holds for another heap: who has marked the last block of a slab and not yet looked at its
 * token may put it into the inbox of its next owner, and that owner's heap must not be one that
 * somebody else, who knows of no such free, may end meanwhile.
 *
 * The same sections tell the sweeper when an owner has finished collecting (slab.h, I4).
 *
 * Epochs: a section stores the epoch it found; retiring stamps the run with the epoch and advances
 * it at times. A run may go when no open section is of its epoch or an older one.
 *
 * The section's store must be visible before its reads. That takes a full barrier, or, where the
 * kernel has membarrier(2), a barrier that the retiring side makes all threads pass: then opening
 * a section costs two plain stores.
 *
 * Memory ordering
 *   GD-1  section close, and the next open (release) -> guard read (acquire): the section's last
 *         accesses come before the run's next use.
 *   GD-3  guard registered (release) -> walk over the list (acquire): the guard's link.
 *   GD-4  new epoch (release) -> section open (acquire): the retirements of older epochs. Else the
 *         section's reads might come before its read of the epoch and see a run of an older one.
 * [GD-2] is no order of an operation but full barriers: section open, then reads; retirement, then
 * guard reads: by membarrier, or by the fences of both sides.
 *
 * Progress: sections wait-free; grace checks never wait.
 */
#ifndef HHI_SLAB_GUARD_H
#define HHI_SLAB_GUARD_H

#include "base/atomic.h"
#include "base/compiler.h"
#include "os/lock.h"

// One per thread, in a list that only grows. 0 = no section open.
struct hhi_guard {
    _Atomic uint64_t epoch;
    struct hhi_guard *next; // fixed once in the list
    bool registered;        // in the list, for the use of one thread
};

extern _Atomic uint64_t hhi_guard_epoch; // starts at 1
extern bool hhi_guard_asymmetric;        // set once at start

// Choose the barrier. Called once, before other threads are in the library.
void hhi_guard_init(void);
// Add a guard for good.
void hhi_guard_register(struct hhi_guard *guard);
/*
 * The guard of threads that have none of their own. Who takes it waits until nobody else uses it
 * (lock, rank: before heap), and returns it with the section closed.
 */
struct hhi_guard *hhi_guard_common_take(void);
void hhi_guard_common_return(void);
// Start a new epoch; everything retired before has an older stamp. Returns the oldest epoch an open
// section may have, UINT64_MAX if none is open, 0 if that can not be told now.
uint64_t hhi_guard_advance(void);
void hhi_guard_fork(enum hhi_fork_step step);
// In the child of a fork, before the step CHILD: sections of threads that are gone are closed. True:
// there was one.
bool hhi_guard_fork_child(struct hhi_guard *own);

static inline void
hhi_guard_open(struct hhi_guard *guard)
{
    // order: acquire [GD-4] an old epoch is only more careful; with a new one the section must see
    // all retirements that came before it.
    uint64_t epoch = hh_load_acquire(&hhi_guard_epoch);
    if (hh_likely(hhi_guard_asymmetric)) {
        // order: release [GD-1] whoever reads this epoch does not see that the last section was
        // closed, and its accesses may have come after the membarrier.
        // The other side's membarrier [GD-2] puts the store before the section's reads.
        hh_store_release(&guard->epoch, epoch);
        hh_compiler_barrier();
    } else {
        // relaxed: an exchange hands on what the close before it has released [GD-1]. The fence
        // [GD-2] puts it before the section's reads.
        hh_exchange_relaxed(&guard->epoch, epoch);
        hh_fence_after_rmw();
    }
}

static inline void
hhi_guard_close(struct hhi_guard *guard)
{
    // order: release [GD-1] the section's accesses are over.
    hh_store_release(&guard->epoch, 0);
}

#endif
