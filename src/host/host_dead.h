// SPDX-License-Identifier: MIT
/*
 * host/host_dead.h - the dead state: what follows an E_FAIL (GEN-5, DECISION 7).
 *
 * Layer: host. May include: base, os, diag, options, region, heap, process.
 *
 * A method that finds our own records corrupt says `return hhi_host_die();`. From then on every
 * method of every object but QueryInterface, AddRef and Release answers HOST_E_CLRNOTAVAILABLE,
 * with out-parameters as on failure. It costs the living nothing: a second table is stored into
 * the objects, and the caller loads the table's address on every call anyway.
 *
 * The registry is one word: the newest IHostMalloc object, and in bit 0 whether the process is
 * dead. Objects are never taken out, they are used again (host_malloc.h), so walking it needs no
 * lock and hhi_host_die may run while any other thread is stopped anywhere (GEN-8).
 *
 * A dying thread and a thread that makes an object can not miss each other: both change the
 * object's table by an exchange. If the maker's comes last it has read the dying thread's, and so
 * sees bit 0; if the dying thread's comes last, the dead table is what stays.
 *
 * Memory ordering
 *   HD-1  registry word: maker -> dying thread and other makers: the object's fields and link.
 *   HD-2  table exchange: dying thread -> maker: the dead bit of the registry, set before.
 */
#ifndef HHI_HOST_HOST_DEAD_H
#define HHI_HOST_HOST_DEAD_H

#include <hostheap/host_memory.h>

#include "base/compiler.h"

struct hhi_host_malloc;

// Ends the service for the whole process. Any thread, any number of times; lock-free; keeps errno.
// Returns E_FAIL, the answer of the method that found the fault.
hh_hresult hhi_host_die(void);

// Whether hhi_host_die has been called. Wait-free.
bool hhi_host_is_dead(void);

// Enter a new object, once. Lock-free.
void hhi_host_register(struct hhi_host_malloc *object);
// The newest object, then those before it by hhi_host_malloc.next. NULL = none.
struct hhi_host_malloc *hhi_host_newest(void);

// The tables of the dead.
extern const IHostMallocVtbl hhi_host_malloc_dead;
extern const IHostMemoryManagerVtbl hhi_host_memory_manager_dead;
extern const IHostControlVtbl hhi_host_control_dead;

#endif
