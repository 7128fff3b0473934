// SPDX-License-Identifier: MIT
/*
 * storms/storms_threads.c - threads that come and go: short ones, cancelled ones, some whose
 * destructors allocate; libraries that come and go.
 */
#include "storms/storms.h"

PLAIN_FUNCTION(hh_heap *, hh_heap_default, (void), ())
PLAIN_FUNCTION(hh_status, hh_heap_get_stats, (hh_heap * heap, hh_heap_stats *stats), (heap, stats))

enum {
    AT_ONCE = 4,
    SHORT_THREADS = 3000,
    SHORT_THREADS_LONG = 100000,
    HANDED = 25,
    GROWTH_SHORT_KIB = 8192,
    // What was freed is given back after the decay time only, up to 200 MiB were seen.
    GROWTH_CHURNED_KIB = 131072,
    CANCELLED = 800,
    CANCELLED_LONG = 20000,
    DYING = 4000,
    DYING_LONG = 20000,
    OPENED = 100,
    OPENED_LONG = 1000,
};

// Start threads, at most AT_ONCE at a time. The most memory that was resident in the second half of
// them may be growth_kib more than in the first.
static void
threads_run(unsigned count, void *(*run)(void *), void (*disturb)(pthread_t), size_t growth_kib)
{
    size_t most_kib[2] = {0, 0};
    for (unsigned number = 0; number < count; number += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (unsigned i = 0; i < AT_ONCE; i++)
            check(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)(number + i)) == 0);
        for (unsigned i = 0; i < AT_ONCE && disturb != NULL; i++)
            disturb(threads[i]);
        for (unsigned i = 0; i < AT_ONCE; i++)
            check(pthread_join(threads[i], NULL) == 0);
        size_t now_kib = storm_rss_kib(), *most = &most_kib[number >= count / 2];
        if (now_kib > *most)
            *most = now_kib;
    }
    printf("%u threads, resident at most %zu KiB in the first half, %zu KiB in the second\n", count,
           most_kib[0], most_kib[1]);
    fflush(stdout);
    check(most_kib[1] < most_kib[0] + growth_kib);
}

// ---- Short ones ---------------------------------------------------------------------------------

static _Atomic(void *) handed[HANDED * AT_ONCE];

// Leaves blocks for the next, frees those of an earlier one.
static void *
short_run(void *argument)
{
    uintptr_t number = (uintptr_t)argument;
    for (unsigned i = 0; i < HANDED; i++) {
        void *block = malloc(16 + (number * 31 + i * 97) % 4000);
        check(block != NULL);
        free(malloc(i * 20 + 1));
        free(atomic_exchange(&handed[(number % AT_ONCE) * HANDED + i], block));
    }
    return NULL;
}

static int
short_threads(const char *argument)
{
    (void)argument;
    threads_run(storm_count(SHORT_THREADS, SHORT_THREADS_LONG), short_run, NULL, GROWTH_SHORT_KIB);
    for (unsigned i = 0; i < HANDED * AT_ONCE; i++)
        free(atomic_load(&handed[i]));
    return 0;
}

// ---- Cancelled ones -----------------------------------------------------------------------------

static void
churn_cleanup(void *churn)
{
    churn_end(churn);
}

static void *
cancelled_run(void *argument)
{
    struct churn churn = {.seed = (uintptr_t)argument + 1};
    pthread_cleanup_push(churn_cleanup, &churn);
    for (;;) {
        for (int step = 0; step < 100; step++)
            churn_step(&churn);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void
cancel(pthread_t thread)
{
    check(pthread_cancel(thread) == 0);
}

static int
cancelled_threads(const char *argument)
{
    (void)argument;
    threads_run(storm_count(CANCELLED, CANCELLED_LONG), cancelled_run, cancel, GROWTH_CHURNED_KIB);
    return 0;
}

// ---- Destructors --------------------------------------------------------------------------------

static pthread_key_t early_key, late_key;
static pthread_once_t keys_once = PTHREAD_ONCE_INIT;
static atomic_uint destroyed;

// Allocates, and comes again with another value: after the library's own destructor, too.
static void
destroy(void *value)
{
    unsigned char *counter = value;
    atomic_fetch_add(&destroyed, 1);
    free(malloc(3000));
    if (--counter[0] > 0) {
        void *next = malloc(100 + counter[0]);
        check(next != NULL);
        *(unsigned char *)next = counter[0];
        check(pthread_setspecific(early_key, next) == 0);
    }
    free(value);
}

static void
keys_make(void)
{
    check(pthread_key_create(&early_key, destroy) == 0);
    check(pthread_key_create(&late_key, destroy) == 0);
}

static void *
dying_run(void *argument)
{
    (void)argument;
    pthread_once(&keys_once, keys_make);
    unsigned char *early = malloc(200), *late = malloc(300);
    check(early != NULL && late != NULL);
    *early = 3;
    *late = 1;
    check(pthread_setspecific(early_key, early) == 0 && pthread_setspecific(late_key, late) == 0);
    free(malloc(70000));
    return NULL;
}

static int
dying_threads(const char *argument)
{
    (void)argument;
    unsigned count = storm_count(DYING, DYING_LONG);
    threads_run(count, dying_run, NULL, GROWTH_SHORT_KIB);
    check(atomic_load(&destroyed) == 4 * count);
    return 0;
}

// ---- Libraries ----------------------------------------------------------------------------------

static int
libraries(const char *path)
{
    static struct churners churners;
    unsigned count = storm_count(OPENED, OPENED_LONG);
    hh_heap_stats before, after;
    churners_start(&churners, 0);
    for (unsigned number = 0; number < count; number++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        check(library != NULL);
        check(dlclose(library) == 0);
    }
    churners_stop(&churners);
    // Nothing is left of them: opened once more, with nobody else at work.
    check(plain_hh_heap_get_stats(plain_hh_heap_default(), &before) == HH_OK);
    for (unsigned number = 0; number < 3; number++)
        check(dlclose(dlopen(path, RTLD_NOW | RTLD_LOCAL)) == 0);
    check(plain_hh_heap_get_stats(plain_hh_heap_default(), &after) == HH_OK);
    printf("%u times opened, live blocks %zu\n", count, (size_t)after.live_blocks);
    check(after.live_blocks == before.live_blocks);
    return 0;
}

const struct storm thread_storms[] = {
    {"threads", short_threads, 100, 900},
    {"cancel", cancelled_threads, 100, 900},
    {"destructors", dying_threads, 100, 900},
    {"dlopen", libraries, 100, 900},
    {NULL, NULL, 0, 0},
};
