// SPDX-License-Identifier: MIT
/*
 * storms/storms_signals.c - handlers that ask about addresses while every thread churns, and
 * handlers that park the threads wherever they are.
 */
#include <hostheap/host_memory.h>
#include <signal.h>
#include <time.h>

#include "storms/storms.h"

enum { ASKING_MS = 3000, ASKING_LONG_MS = 120000, STOPS = 300, STOPS_LONG = 20000, KNOWN = 64 };

PLAIN_FUNCTION(hh_hresult, hh_get_memory_manager, (IHostMemoryManager * *manager), (manager))

static void
sleep_us(long microseconds)
{
    struct timespec time = {0, microseconds * 1000};
    nanosleep(&time, NULL);
}

// ---- Asking -------------------------------------------------------------------------------------

static void *known[KNOWN]; // blocks that stay
static IHostMemoryManager *manager;
static void *region; // of the host, committed
static atomic_uint answers, wrong;

// Async-signal-safe: the ownership query and VirtualQuery.
static void
ask(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    unsigned number = atomic_fetch_add(&answers, 1);
    hh_block_info info;
    void *block = known[number % KNOWN];
    plain_owns((char *)block + number % 2 * 5, &info);
    bool right = info.heap != NULL && info.live && info.base == block;
    hh_memory_basic_information found;
    size_t result_bytes = 0;
    right = right &&
            manager->lpVtbl->VirtualQuery(manager, region, &found, sizeof found, &result_bytes) ==
                S_OK &&
            result_bytes == sizeof found && found.State == MEM_COMMIT &&
            found.AllocationBase == region;
    right = right && manager->lpVtbl->VirtualQuery(manager, block, &found, sizeof found,
                                                   &result_bytes) == S_OK;
    if (!right)
        atomic_fetch_add(&wrong, 1);
    errno = saved_errno;
}

static void
handler_set(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    check(sigaction(number, &action, NULL) == 0);
}

static int
asking(const char *argument)
{
    static struct churners churners;
    hh_block_info info;
    (void)argument;
    check(plain_hh_get_memory_manager(&manager) == S_OK);
    check(manager->lpVtbl->VirtualAlloc(manager, NULL, 65536, MEM_RESERVE | MEM_COMMIT,
                                        PAGE_READWRITE, eTaskCritical, &region) == S_OK);
    for (unsigned i = 0; i < KNOWN; i++) {
        known[i] = malloc(i % 4 == 3 ? 500000 : 24 + i * 40);
        check(known[i] != NULL);
    }
    plain_owns(known[0], &info); // resolves the name before a handler does
    handler_set(SIGUSR1, ask);
    churners_start(&churners, 0);
    uint64_t end_ms = storm_now_ms() + storm_count(ASKING_MS, ASKING_LONG_MS);
    for (unsigned i = 0; storm_now_ms() < end_ms; i++) {
        check(pthread_kill(churners.threads[i % CHURNERS], SIGUSR1) == 0);
        if (i % CHURNERS == CHURNERS - 1)
            sleep_us(1000); // 1 kHz a thread
    }
    churners_stop(&churners);
    printf("%u answers, %u wrong\n", atomic_load(&answers), atomic_load(&wrong));
    check(atomic_load(&answers) > storm_count(ASKING_MS, ASKING_LONG_MS) / 10);
    check(atomic_load(&wrong) == 0);
    return 0;
}

// ---- Stopping -----------------------------------------------------------------------------------

static atomic_uint parked, stop_number;
static atomic_bool worker_end;
static atomic_ulong worker_steps;

static void
park(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    unsigned number = atomic_load(&stop_number);
    atomic_fetch_add(&parked, 1);
    while (atomic_load(&stop_number) == number)
        sleep_us(50);
    errno = saved_errno;
}

static void *
worker_run(void *argument)
{
    struct churn churn = {.seed = 99};
    while (!atomic_load(&worker_end)) {
        churn_step(&churn);
        atomic_fetch_add(&worker_steps, 1);
    }
    churn_end(&churn);
    return argument;
}

/*
 * All churners are parked while another thread allocates. One may be parked with a lock that the other
 * needs: then it waits, so the stop ends after a while whatever it does; it must get on in most stops.
 */
static int
stopping(const char *argument)
{
    static struct churners churners;
    pthread_t worker;
    (void)argument;
    handler_set(SIGUSR2, park);
    churners_start(&churners, 0);
    check(pthread_create(&worker, NULL, worker_run, NULL) == 0);
    unsigned stops = storm_count(STOPS, STOPS_LONG), moved = 0;
    for (unsigned number = 0; number < stops; number++) {
        atomic_store(&parked, 0);
        for (unsigned i = 0; i < CHURNERS; i++)
            check(pthread_kill(churners.threads[i], SIGUSR2) == 0);
        while (atomic_load(&parked) < CHURNERS)
            sleep_us(50);
        unsigned long before = atomic_load(&worker_steps);
        for (int wait = 0; wait < 100 && atomic_load(&worker_steps) < before + 200; wait++)
            sleep_us(100);
        moved += atomic_load(&worker_steps) >= before + 200;
        atomic_fetch_add(&stop_number, 1);
    }
    atomic_store(&worker_end, true);
    check(pthread_join(worker, NULL) == 0);
    churners_stop(&churners);
    printf("%u stops, in %u of them another thread got on\n", stops, moved);
    check(moved >= stops / 2);
    return 0;
}

const struct storm signal_storms[] = {
    {"asking", asking, 100, 900},
    {"stopping", stopping, 100, 1800},
    {NULL, NULL, 0, 0},
};
