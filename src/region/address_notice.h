// SPDX-License-Identifier: MIT
/*
 * region/address_notice.h - what the runtime told us it mapped itself.
 *
 * Layer: region. May include: base, os, diag, options, meta, rcu.
 *
 * A notice is a start address and a size. Notices say nothing about memory of ours and change no
 * mapping; they are kept for statistics. A second notice with the same start replaces the first.
 *
 * Thread rules: any thread; add and remove take a lock (rank: after every lock of the caller but
 * meta).
 * Failure: a notice that finds no memory for its record is not kept.
 * Source: contract AS-3, AS-4, AS-5 (DECISION 44).
 */
#ifndef HHI_REGION_ADDRESS_NOTICE_H
#define HHI_REGION_ADDRESS_NOTICE_H

#include "base/compiler.h"
#include "os/lock.h"

struct hhi_notice_stats {
    size_t ranges;
    size_t bytes;
};

// start and size_bytes are not 0.
void hhi_notice_add(uintptr_t start, size_t size_bytes);
// False if there was none.
bool hhi_notice_remove(uintptr_t start);
void hhi_notice_read_stats(struct hhi_notice_stats *stats);

// Around fork: hold the lock while the process is copied.
void hhi_notice_fork(enum hhi_fork_step step);

#endif
