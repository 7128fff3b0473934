// SPDX-License-Identifier: MIT
// rcu/library_memory.c - whether liburcu will get the memory that it ends the process without.
#include <stdlib.h>

#include "os/os.h"
#include "rcu/library.h"

enum {
    ARENA_PAGES = 32,      // more than 65 records take, in four mappings at most
    KEY_BLOCKS = 10,       // more than libc may keep where calloc does not look
    KEY_BLOCK_BYTES = 512, // a thread's values of 32 keys
};

// Records, which liburcu maps.
static bool
arena_can_grow(void)
{
    size_t page_bytes = hhi_os_page_bytes(), size_bytes = ARENA_PAGES * page_bytes;
    intptr_t start = hhi_os_map_private(size_bytes);
    if (start < 0)
        return false;
    // One mapping becomes five.
    uintptr_t second = (uintptr_t)start + page_bytes, fourth = second + 2 * page_bytes;
    bool many = hhi_os_protect((void *)second, page_bytes, HHI_ACCESS_NONE) == 0 &&
                hhi_os_protect((void *)fourth, page_bytes, HHI_ACCESS_NONE) == 0;
    return hhi_os_release((void *)start, size_bytes) == 0 && many;
}

// The value of liburcu's key, for which libc callocs.
static bool
key_can_have_value(void)
{
    void *volatile blocks[KEY_BLOCKS]; // else the compiler may leave the calls out
    bool all = true;
    for (unsigned i = 0; i < KEY_BLOCKS; i++) {
        blocks[i] = malloc(KEY_BLOCK_BYTES);
        all = all && blocks[i] != NULL;
    }
    for (unsigned i = 0; i < KEY_BLOCKS; i++)
        free(blocks[i]);
    return all;
}

bool
hhi_rcu_library_has_memory(void)
{
    return key_can_have_value() && arena_can_grow();
}
