// SPDX-License-Identifier: MIT
/*
 * mapping.c - a kept descriptor of /proc/self/maps is this process's, and the parent's is closed once
 * (OM-1; os/os_mapping.c).
 *
 * In the child of a fork two threads replace what the parent has kept while a third looks for it. The
 * note that is filled next is an older one of the parent's. The program has opened the parent's file
 * itself by then, under the number of the descriptor that was closed.
 * Faults: RELAXED_NOTE, RELAXED_LOOK, RELAXED_TURN.
 */
#include "proof.h"

#if defined(RELAXED_NOTE)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(RELAXED_TURN)
#undef hh_cas_strong_acquire
#define hh_cas_strong_acquire hh_cas_strong_relaxed
#endif
#include <sys/stat.h>
#include <sys/syscall.h>

#define HHI_OS_SYSCALL_H
#define HHI_SYSCALL2(number, descriptor, status) proof_fstat((descriptor), (status))
#define hhi_os_process_id proof_process_id
#define hhi_os_close proof_close
#define hhi_kept_file_raise proof_raise
static long proof_fstat(int descriptor, struct stat *status);
#include "os/os_mapping.c"

enum { PARENT = 1, SELF = 2 };
enum { OLDER = 2, NEWEST = 3, MINE = 5 }; // descriptors; from MINE on this process's

#if defined(HH_GENMC) // what the linker would find
struct hhi_os hhi_os;
#endif
static _Atomic int closed; // how often the parent's newest one

static long
proof_fstat(int descriptor, struct stat *status)
{
    status->st_dev = 1;
    status->st_ino = descriptor < MINE ? PARENT : SELF;
    return 0;
}

pid_t
proof_process_id(void)
{
    return SELF;
}

int
proof_close(int descriptor)
{
    assert(descriptor == NEWEST);
    hh_fetch_add_relaxed(&closed, 1);
    return 0;
}

int
proof_raise(int descriptor)
{
    return descriptor;
}

static void *
replacer(void *arg)
{
    descriptor_keep(MINE + (int)(uintptr_t)arg);
    return arg;
}

static void *
looker(void *arg)
{
    int descriptor = kept_descriptor();
    assert(descriptor == -1 || descriptor >= MINE);
    return arg;
}

static void
note_set(uint32_t turn, int descriptor)
{
    struct mapping_note *note = &mapping.notes[turn % MAPPING_NOTES];
    // relaxed (all): no thread runs.
    hh_store_relaxed(&note->descriptor, descriptor);
    hh_store_relaxed(&note->process, PARENT);
    hh_store_relaxed(&note->device, 1);
    hh_store_relaxed(&note->inode, PARENT);
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        note_set(8, OLDER);
        note_set(15, NEWEST);
        // relaxed (all): no thread runs.
        hh_store_relaxed(&mapping.newest, 15);
        hh_store_relaxed(&closed, 0);
        PROOF_RUN(replacer, replacer, looker);
        assert(hh_load_relaxed(&closed) == 1);
    }
    return 0;
}
