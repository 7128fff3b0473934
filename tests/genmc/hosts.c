// SPDX-License-Identifier: MIT
/*
 * hosts.c - an object used again has its old life behind it (HM-1), the last holder sees what the
 * others did (HU-1), and no object stays alive among the dead (HD-1, HD-2; host/host_malloc.h,
 * host/host_dead.h, host/host_unknown.h).
 *
 * DIES: a thread finds the records corrupt while two others make objects (1), or another makes one,
 * ends it and makes one again (2). 0: two threads drop the
 * references of an object and a third makes one.
 * Faults: RELAXED_DROP, RELAXED_END, RELAXED_REGISTER, RELAXED_TABLE.
 */
#include "proof.h"

#if defined(RELAXED_DROP) || defined(RELAXED_REGISTER)
#undef hh_cas_weak_acq_rel
#define hh_cas_weak_acq_rel hh_cas_strong_relaxed
#undef hh_cas_strong_release
#define hh_cas_strong_release hh_cas_strong_relaxed
#endif
#if defined(RELAXED_END)
#undef hh_store_release
#define hh_store_release hh_store_relaxed
#endif
#if defined(RELAXED_TABLE)
#undef hh_exchange_release
#define hh_exchange_release hh_exchange_relaxed
#endif
#define hhi_heap_create proof_heap_create
#define hhi_heap_destroy proof_heap_destroy
#define hhi_heap_orphan proof_heap_orphan
#define hhi_limit_prepare_reserve proof_limit_prepare_reserve
#define hhi_meta_alloc proof_meta_alloc
#define hhi_host_memory_manager_bury proof_bury_manager
#define hhi_host_control_bury proof_bury_control
#include "host/host_dead.c"

#define hhi_heap_face(heap, face) ((void)(heap), (face)->id = HHI_HEAP_ID_STEP)
#include "host/host_malloc.c"
#include "host/host_unknown.c"

#if defined(HH_GENMC) // what the linker would find
struct hhi_window hhi_window;
size_t hhi_slab_limit_bytes;
const struct hhi_thread hhi_thread_none, hhi_thread_dead;
struct hhi_cache hhi_cache_none;
struct hh_heap hhi_default_heap;
__thread struct hhi_thread *hhi_self;
#endif

static struct hh_heap heap;
static struct hhi_host_malloc objects[3];
static _Atomic unsigned objects_made;
static int used; // what the holders of a reference did with the object

hh_status
proof_heap_create(uint32_t flags, size_t soft_bytes, size_t hard_bytes, const char *name,
                  struct hh_heap **made)
{
    (void)flags, (void)soft_bytes, (void)hard_bytes, (void)name;
    *made = &heap;
    return HH_OK;
}

void
proof_heap_destroy(struct hh_heap *ended)
{
    (void)ended;
}

void
proof_heap_orphan(struct hh_heap *ended)
{
    (void)ended;
    used = 0;
}

void
proof_limit_prepare_reserve(void)
{
}

void *
proof_meta_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return &objects[hh_fetch_add_relaxed(&objects_made, 1)];
}

void
proof_bury_manager(void)
{
}

void
proof_bury_control(void)
{
}

static IHostMalloc *
make(void)
{
    IHostMalloc *object;
    if (hhi_host_malloc_create(false, &object) != S_OK)
        abort();
    return object;
}

static bool
lives(struct hhi_host_malloc *object)
{
    // relaxed: all threads have ended, or the caller made it.
    return hh_load_relaxed(&object->table) == &malloc_live;
}

#if DIES
static void *
maker(void *arg)
{
    make();
    return arg;
}

static void *
remaker(void *arg)
{
    hhi_host_malloc_release(make());
    make();
    return arg;
}

static void *
finder(void *arg)
{
    hhi_host_die();
    return arg;
}

static void
look_again(void)
{
    for (unsigned i = 0; i < hh_load_relaxed(&objects_made); i++)
        assert(!lives(&objects[i]));
}
#else
static void *
holder(void *arg)
{
    int was = used; // each has read it, whoever ends the object writes it
    (void)was;
    hhi_host_malloc_release((IHostMalloc *)&objects[0]);
    return arg;
}

static void *
maker(void *arg)
{
    struct hhi_host_malloc *object = (struct hhi_host_malloc *)make();
    if (object == &objects[0])
        used = 0; // its old life is over
    assert(object->heap == &heap && lives(object));
    return arg;
}
#endif

int
main(void)
{
    for (int round = 0; round < PROOF_ROUNDS; round++) {
        hh_store_relaxed(&registry.word, 0);
        hh_store_relaxed(&objects_made, 0);
#if DIES
#if DIES == 2
        PROOF_RUN(remaker, finder);
        (void)maker;
#else
        PROOF_RUN(maker, maker, finder);
        (void)remaker;
#endif
        look_again();
#else
        hhi_host_malloc_add_ref(make());
        PROOF_RUN(holder, holder, maker);
#endif
    }
    return 0;
}
