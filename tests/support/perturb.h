// SPDX-License-Identifier: MIT
// tests/support/perturb.h - hold threads up at random in the midst of the library's protocols.
#ifndef HH_TESTS_SUPPORT_PERTURB_H
#define HH_TESTS_SUPPORT_PERTURB_H

#include <stdint.h>

/*
 * From now on threads are held up as seed says, each by its own turn among those that come by. With
 * the same seed the same delays are tried at the same operations of each thread; what the kernel
 * does in between is its own.
 */
void perturb_begin(uint64_t seed);
void perturb_end(void);
uint64_t perturb_seed(void);

#endif
