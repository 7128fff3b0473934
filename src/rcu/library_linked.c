// SPDX-License-Identifier: MIT
// rcu/library_linked.c - liburcu among the libraries that the product needs.
#define _LGPL_SOURCE // the thread-local pointer by its name
#include <urcu/urcu-bp.h>

#include "rcu/library.h"

bool
hhi_rcu_library_open(struct hhi_rcu_library *library)
{
    library->grace_period = &urcu_bp_gp;
    library->asymmetric = urcu_bp_has_sys_membarrier;
    library->register_thread = urcu_bp_register_thread;
    library->synchronize = urcu_bp_synchronize_rcu;
    library->reader = &URCU_TLS(urcu_bp_reader);
    return true;
}
