// SPDX-License-Identifier: MIT
/*
 * process/stats_print.h - statistics as text and as JSON.
 *
 * Layer: process. May include: everything down to base.
 *
 * One table of rows (name, unit, field) feeds both forms, so that they can not differ.
 */
#ifndef HHI_PROCESS_STATS_PRINT_H
#define HHI_PROCESS_STATS_PRINT_H

// At the end of the process: print what the options stats and stats_json ask for.
void hhi_stats_print_at_exit(void);

#endif
