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

size_t
hhi_block_usable_bytes(const void *base, size_t slot_bytes)
{
    (void)base;
    return slot_bytes;
}

size_t
hhi_blocks_usable_bytes(struct hhi_slab *slab, size_t slots_bytes)
{
    (void)slab;
    return slots_bytes;
}

bool
hhi_block_fault(const void *address)
{
    (void)address;
    return false;
}

size_t
hhi_block_fault_text(char *text, size_t capacity_bytes, const char *access, const void *address)
{
    (void)access;
    return hhi_block_remark(text, capacity_bytes, address);
}

size_t
hhi_blocks_check(const char *function)
{
    (void)function;
    return 0;
}
