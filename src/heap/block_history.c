// SPDX-License-Identifier: MIT
// heap/block_history.c - see block_history.h.
#include "heap/block_history.h"

#include "heap/sample_report.h"

size_t
hhi_block_history(char *text, size_t capacity_bytes, const void *address)
{
    return hhi_sample_history(text, capacity_bytes, address);
}

size_t
hhi_block_remark(char *text, size_t capacity_bytes, const void *base)
{
    (void)base;
    if (capacity_bytes > 0)
        text[0] = '\0';
    return 0;
}
