// SPDX-License-Identifier: MIT
/*
 * memload.c - the cached answer about memory is read whole or not at all (MLC-1), and the files it
 * comes from have one user at a time (MLB-1; os/os_memload_linux.h).
 *
 * FORKS: the user is lost in a fork after it has said that the files are ready. What a fork copies has no
 * word in C11: here the child is a thread that goes on when it sees so, with a fence in the fork's place.
 * Faults: RELAXED_WORDS, NO_ODD_NUMBER, NO_USER, RELAXED_READY.
 */
#include "proof.h"

#if defined(RELAXED_WORDS)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#if defined(NO_ODD_NUMBER)
#undef hh_store_relaxed
#define hh_store_relaxed(p, v) ((void)(v))
#endif
#if defined(RELAXED_READY)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#define hhi_os_process_id proof_process_id
#define hhi_kept_file_init proof_kept_file_init
#include "os/os_memload_linux.c"

static _Thread_local pid_t process = 1;

pid_t
proof_process_id(void)
{
    return process;
}

void
proof_kept_file_init(struct hhi_kept_file *file)
{
    (void)file;
}

#if FORKS
static void *
lost(void *arg)
{
    if (!shared_enter())
        abort();
    shared_files();
    return arg;
}

static void *
child(void *arg)
{
    process = 2;
    // relaxed: what the fork copied.
    PROOF_WAIT(hh_load_relaxed(&memload_shared.files_ready));
    PROOF_FENCE();
    bool entered = shared_enter();
    assert(entered && shared_files()->process_id == 0);
    return arg;
}

static void
scene_run(void)
{
    memload_shared.files.process_id = 7;
    // relaxed (both): no thread runs.
    hh_store_relaxed(&memload_shared.user, 0);
    hh_store_relaxed(&memload_shared.files_ready, false);
    PROOF_RUN(lost, child);
}
#else
static int descriptor; // of the user

static void *
user(void *arg)
{
#if defined(NO_USER)
    bool entered = true;
#else
    bool entered = shared_enter();
#endif
    if (entered) {
        uint64_t answer = (uint64_t)++descriptor;
        struct hhi_memload load;
        load.total_bytes = load.available_bytes = answer;
        cache_write(&load, answer);
        shared_leave();
    }
    return arg;
}

static void *
reader(void *arg)
{
    struct hhi_memload load;
    uint64_t taken_ms;
    if (cache_read(&load, &taken_ms))
        assert(load.total_bytes == taken_ms && load.available_bytes == taken_ms);
    return arg;
}

static void
scene_run(void)
{
    PROOF_RUN(user, user, reader);
}
#endif

int
main(void)
{
    if (HH_TSAN && FORKS)
        return 77;
    for (int round = 0; round < PROOF_ROUNDS; round++)
        scene_run();
    return 0;
}
