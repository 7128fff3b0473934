// SPDX-License-Identifier: MIT
/*
 * support/settle.h - until the reclaimer has done what it does when it starts.
 */
#ifndef HH_TESTS_SUPPORT_SETTLE_H
#define HH_TESTS_SUPPORT_SETTLE_H

/*
 * Wait until each other thread of the process sleeps as the reclaimer does between its passes. For tests in
 * which there is no other thread than that, and under an alarm.
 */
void settle_reclaimer(void);

#endif
