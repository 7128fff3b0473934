// SPDX-License-Identifier: MIT
/*
 * rcu/library.h - what rcu.c uses of liburcu, and how it is found.
 *
 * Layer: rcu. May include: base, os, diag; liburcu.
 *
 * Two files define it, of which a product has one:
 *   library_linked.c  liburcu is among the libraries the product needs: all but the drop-in
 *   library_loaded.c  liburcu is loaded by the reclaimer: the drop-in, since most programs under it
 *                     never ask for the memory manager, and would pay for liburcu's relocations,
 *                     constructor and pages at each start (docs/adr/0025)
 */
#ifndef HHI_RCU_LIBRARY_H
#define HHI_RCU_LIBRARY_H

#include <stdbool.h>

struct urcu_bp_reader;
struct urcu_bp_gp;

struct hhi_rcu_library {
    struct urcu_bp_gp *grace_period;
    bool asymmetric; // grace periods have a barrier for all threads
    void (*register_thread)(void);
    void (*synchronize)(void);
    struct urcu_bp_reader *
        *reader; // the thread-local pointer of the thread that opened the library
};

/*
 * Called by the reclaimer, inside the gate that keeps forks out, until it succeeds. False: liburcu is not there,
 * or not to be had for want of memory or of a key; said once.
 * May allocate, load a library and take the dynamic linker's locks.
 */
bool hhi_rcu_library_open(struct hhi_rcu_library *library);

/*
 * Called by the reclaimer before it registers its records. liburcu ends the process when it gets no memory
 * then, so this takes what that needs, and more, and gives it back. False: it is not to be had now. After true
 * only another thread can be in the way, that takes the last of the memory in this moment.
 */
bool hhi_rcu_library_has_memory(void);

#endif
