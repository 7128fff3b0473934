// SPDX-License-Identifier: MIT
/*
 * memload.c - the cached answer about memory is read whole or not at all (MLC-1), and the files it
 * comes from have one user at a time (MLB-1; os/os_memload_linux.h).
 *
 * Faults: RELAXED_WORDS, NO_ODD_NUMBER, NO_USER.
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
#define hhi_os_process_id proof_process_id
#include "os/os_memload_linux.c"

pid_t
proof_process_id(void)
{
    return 1;
}

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

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++)
        PROOF_RUN(user, user, reader);
    return 0;
}
