// SPDX-License-Identifier: MIT
// rcu/library_loaded.c - liburcu loaded when the reclaimer starts.
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "diag/diag.h"
#include "rcu/library.h"

#define LIBRARY_NAME "liburcu-bp.so.8"

/*
 * Tells packagers of the dependency, which is not among the needed libraries: an entry of
 * .note.dlopen as the UAPI group specifies it.
 */
__asm__(
    ".pushsection .note.dlopen, \"a\", %note\n"
    ".balign 4\n"
    ".long 4\n"
    ".long 2f - 1f\n"
    ".long 0x407c0c0a\n"
    ".asciz \"FDO\"\n"
    "1: .asciz \"[{\\\"feature\\\":\\\"host\\\",\\\"description\\\":\\\"reclaiming region metadata "
    "of hosts\\\",\\\"priority\\\":\\\"required\\\",\\\"soname\\\":[\\\"" LIBRARY_NAME "\\\"]}]\"\n"
    "2: .balign 4\n"
    ".popsection\n");

static bool
symbol_find(void *handle, const char *name, void *field)
{
    void *address = dlsym(handle, name);
    memcpy(field, &address, sizeof address); // of data or of a function
    return address != NULL;
}

// liburcu's constructor ends the process if there is no key for thread-specific data.
static bool
key_is_left(void)
{
    pthread_key_t key;
    return pthread_key_create(&key, NULL) == 0 && pthread_key_delete(key) == 0;
}

// Never closed: readers' records are in its memory.
static void *
library_load(void)
{
    int flags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
    void *loaded = dlopen(LIBRARY_NAME, flags | RTLD_NOLOAD);
    return loaded != NULL || !key_is_left() ? loaded : dlopen(LIBRARY_NAME, flags);
}

bool
hhi_rcu_library_open(struct hhi_rcu_library *library)
{
    static bool told;
    void *handle = library_load();
    bool found = handle != NULL && symbol_find(handle, "urcu_bp_gp", &library->grace_period) &&
                 symbol_find(handle, "urcu_bp_register_thread", &library->register_thread) &&
                 symbol_find(handle, "urcu_bp_synchronize_rcu", &library->synchronize) &&
                 symbol_find(handle, "urcu_bp_reader", &library->reader);
    const int *asymmetric;
    // Set by the library's constructor. Where there is no such word readers have barriers.
    library->asymmetric =
        found && symbol_find(handle, "urcu_bp_has_sys_membarrier", &asymmetric) && *asymmetric != 0;
    if (!found && !told)
        hhi_diag_report("%s can not be loaded: region metadata is not reclaimed until it can",
                        LIBRARY_NAME);
    told = told || !found;
    return found;
}
