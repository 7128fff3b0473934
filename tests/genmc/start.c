// SPDX-License-Identifier: MIT
/*
 * start.c - whoever uses the library finds it set up, once, whichever thread did it (the order of
 * process/process.h).
 *
 * A constructor starts the library in most programs; here threads are the first, as when another
 * constructor starts some. Faults: RELAXED_UP, RELAXED_LOOK.
 */
#include "proof.h"
#include "proof_lock.h"

#if defined(RELAXED_UP)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_LOOK)
#undef hh_load_acquire
#define hh_load_acquire hh_load_relaxed
#endif
#define hhi_opt proof_opt
#define hhi_options_init proof_nothing
#define hhi_guard_init proof_nothing
#define hhi_slab_init proof_nothing
#define hhi_stats_print_at_exit proof_nothing
#define hhi_limit_set_purge proof_limit_set_purge
#define hhi_set_memory_limits proof_set_memory_limits
#define hhi_window_init proof_window_init
#define hhi_sample_start proof_sample_start
#define pthread_key_create proof_key_create
#define pthread_atfork(prepare, parent, child) ((void)(prepare), (void)(parent), (void)(child), 0)
#if defined(HH_GENMC)
typedef unsigned pthread_key_t;
int pthread_setspecific(pthread_key_t key, const void *value);
#endif
int proof_key_create(pthread_key_t *key, void (*ended)(void *));
#include "process/process.c"

struct hhi_options proof_opt;
#if defined(HH_GENMC)
__thread struct hhi_thread *hhi_self;
struct hh_heap hhi_default_heap;
const struct hhi_thread hhi_thread_none, hhi_thread_dead;
#endif
static int set_up; // how often

void
proof_nothing(void)
{
}

void
proof_limit_set_purge(size_t (*purge)(struct hhi_tries *tries))
{
    (void)purge;
}

hh_status
proof_set_memory_limits(size_t soft_bytes, size_t hard_bytes)
{
    (void)soft_bytes, (void)hard_bytes;
    return HH_OK;
}

bool
proof_window_init(void)
{
    set_up++;
    return true;
}

bool
proof_sample_start(uint32_t every)
{
    (void)every;
    return true;
}

int
proof_key_create(pthread_key_t *key, void (*ended)(void *))
{
    (void)key, (void)ended;
    return 0;
}

static void *
user(void *arg)
{
    assert(hhi_process_start());
    assert(set_up == 1);
    return arg;
}

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        hh_store_relaxed(&process.up, 0);
        set_up = 0;
        PROOF_RUN(user, user, user);
    }
    return 0;
}
