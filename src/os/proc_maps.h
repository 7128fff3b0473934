// SPDX-License-Identifier: MIT
/*
 * os/proc_maps.h - what is mapped at an address, for error reports.
 *
 * Layer: os. May include: base.
 */
#ifndef HHI_OS_PROC_MAPS_H
#define HHI_OS_PROC_MAPS_H

#include "base/compiler.h"

// Copy the line of /proc/self/maps that covers address (cut to fit, NUL-terminated). False when
// nothing is mapped there or the file can not be read. Slow: reads the whole file in the worst case.
bool hhi_os_describe_mapping(const void *address, char *line, size_t capacity_bytes);

struct hhi_os_range {
    uintptr_t start, end;
};
// The mapping that covers address. As above.
bool hhi_os_mapping_range(const void *address, struct hhi_os_range *range);
// The executable mappings, ascending, at most capacity of them; how many. Reads the whole file.
size_t hhi_os_executable_ranges(struct hhi_os_range *ranges, size_t capacity);

#endif
