// SPDX-License-Identifier: MIT
/*
 * storms/storms_soak.c - a mixed load for hours: memory in use must not grow.
 *
 * soak SECONDS. Resident memory is sampled a hundred times; the slope of the straight line through the samples
 * after the first quarter, times the time they span, is the growth. It may not exceed what the load
 * itself varies by.
 */
#include "storms/storms.h"

enum {
    SHORT_SECONDS = 8,
    SAMPLES = 100,
    GROWTH_MOST_KIB = 8192,
    GROWTH_SHORT_KIB = 65536, // in seconds the load does not settle: 4 to 10 MiB were seen
    HANDED = 512,
    PHASE_STEPS = 20000
};

static _Atomic(void *) handed[HANDED];
static atomic_bool soak_end;

static void *
short_thread(void *argument)
{
    struct churn churn = {.seed = (uintptr_t)argument};
    for (int step = 0; step < 500; step++)
        churn_step(&churn);
    churn_end(&churn);
    return NULL;
}

// Hands blocks to other threads, starts short threads, rests now and then.
static void *
soak_thread(void *argument)
{
    struct churn churn = {.seed = (uintptr_t)argument};
    for (uint64_t step = 1; !atomic_load(&soak_end); step++) {
        churn_step(&churn);
        size_t at = (step * 7919 + (uintptr_t)argument * 31) % HANDED;
        free(atomic_exchange(&handed[at], malloc(1 + step % 5000)));
        if (step % PHASE_STEPS == 0) {
            pthread_t thread;
            check(pthread_create(&thread, NULL, short_thread, argument) == 0);
            check(pthread_join(thread, NULL) == 0);
            usleep(20000);
        }
    }
    churn_end(&churn);
    return NULL;
}

// KiB that the line through the samples rises by from first to last.
static double
growth_kib(const double *samples, unsigned first, unsigned count)
{
    double n = count - first, sum_x = 0, sum_y = 0, sum_xy = 0, sum_xx = 0;
    for (unsigned i = first; i < count; i++) {
        sum_x += i;
        sum_y += samples[i];
        sum_xy += i * samples[i];
        sum_xx += (double)i * i;
    }
    return (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x) * (n - 1);
}

static int
soak(const char *argument)
{
    static double samples[SAMPLES];
    pthread_t threads[CHURNERS];
    unsigned seconds = (unsigned)strtoul(argument, NULL, 10);
    if (seconds == 0)
        seconds = SHORT_SECONDS;
    alarm(seconds * 2 + 60);
    for (uintptr_t i = 0; i < CHURNERS; i++)
        check(pthread_create(&threads[i], NULL, soak_thread, (void *)(i + 1)) == 0);
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t next_ms = storm_now_ms() + (uint64_t)seconds * 1000 / SAMPLES;
        while (storm_now_ms() < next_ms)
            usleep(10000);
        samples[i] = (double)storm_rss_kib();
    }
    atomic_store(&soak_end, true);
    for (unsigned i = 0; i < CHURNERS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = 0; i < HANDED; i++)
        free(atomic_load(&handed[i]));
    double growth = growth_kib(samples, SAMPLES / 4, SAMPLES);
    printf("%u s, resident %.0f KiB after a quarter, %.0f KiB at the end, growth %.0f KiB\n",
           seconds, samples[SAMPLES / 4], samples[SAMPLES - 1], growth);
    check(growth < (seconds > SHORT_SECONDS ? GROWTH_MOST_KIB : GROWTH_SHORT_KIB));
    return 0;
}

const struct storm soak_storms[] = {
    {"soak", soak, 100, 100},
    {NULL, NULL, 0, 0},
};
