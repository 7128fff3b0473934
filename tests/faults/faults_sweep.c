// SPDX-License-Identifier: MIT
/*
 * Every memory call of the library fails once, and from there on, in every workload below: nobody
 * crashes or hangs, what can not be had is refused with NULL and ENOMEM or E_OUTOFMEMORY, each
 * refusal costs a few system calls only, live blocks keep their contents, and when the kernel gives
 * again, everything is served and nothing was lost. Printed for each workload: which calls those were at
 * worst, a letter each: (m)map, m(u)nmap, m(p)rotect, m(a)dvise, m(r)emap; capitals were refused.
 *
 * Each run is a child process of its own. HOSTHEAP_SWEEP=long takes every call and three errors;
 * without it a sample of the calls, and ENOMEM. HOSTHEAP_SWEEP_CALLS=any: a refusal may cost any number of
 * calls, as in the checked library, where what rests is given up first. Arguments: workloads to run (all).
 */
#include <hostheap/host_memory.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "support/fault.h"
#include "support/plain.h"
#include "support/settle.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
    CHILD_SECONDS = 20, // of processor time
    CHILD_WAIT_SECONDS = 180,
    SHORT_DENSE = 3, // the short form takes calls 1..3, then each time twice as far
    BLOCKS = 600,
    SKIPPED = 40,
};

// Requests with a bound of their own: how many calls that map, unmap, protect, advise or move one may
// make that is refused. How many VirtualAlloc makes depends on where the kernel maps.
enum request { HEAP, PLACE, PAGES, CRITICAL, REQUESTS };
static const struct {
    const char *name;
    unsigned calls_most;
} requests[REQUESTS] = {
    {"heaps", 4},
    {"VirtualAlloc, anywhere", 4},
    {"other calls on virtual memory", 4},
    {"process-critical", 4 * 4 + 3}, // tried up to six times
};

PLAIN_FUNCTION(hh_heap *, hh_heap_default, (void), ())
PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(hh_status, hh_heap_destroy, (hh_heap * heap), (heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))
PLAIN_FUNCTION(size_t, hh_trim, (void), ())
PLAIN_FUNCTION(hh_status, hh_get_stats, (hh_stats * stats), (stats))
PLAIN_FUNCTION(hh_status, hh_heap_get_stats, (hh_heap * heap, hh_heap_stats *stats), (heap, stats))
PLAIN_FUNCTION(hh_status, hh_heap_walk,
               (hh_heap * heap, int (*visit)(void *, void *, size_t), void *arg),
               (heap, visit, arg))
PLAIN_FUNCTION(hh_hresult, hh_get_memory_manager, (IHostMemoryManager * *manager), (manager))

// What all children add up; shared with them.
static struct tally {
    unsigned runs, faults, refusals;
    struct worst {
        unsigned refusals, calls; // the most that one made
        unsigned above;           // refusals of more than CALLS_FEW
        char trace[FAULT_TRACE + 1];
        struct fault_plan plan;
    } worst[REQUESTS];
} * tally;
enum { CALLS_FEW = 4 };

static _Thread_local enum request request;
static struct fault_plan the_plan;
static bool calls_any;

// ---- Refusals -----------------------------------------------------------------------------------

static _Thread_local struct {
    unsigned calls, failed;
} before;

static void
ask(void)
{
    before.calls = fault_calls_here();
    before.failed = fault_failed();
    errno = 0;
}

static void
refusal_count(unsigned calls)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct worst *worst = &tally->worst[request];
    check(pthread_mutex_lock(&lock) == 0);
    tally->refusals++;
    worst->refusals++;
    worst->above += calls > CALLS_FEW;
    if (calls > worst->calls) {
        worst->calls = calls;
        worst->plan = the_plan;
        fault_trace(before.calls, worst->trace, sizeof worst->trace);
    }
    check(pthread_mutex_unlock(&lock) == 0);
}

// Whether what was asked for is refused, which only a refusing kernel excuses.
static bool
refused(bool is_refused)
{
    if (!is_refused)
        return false;
    check(fault_failed() > before.failed);
    unsigned calls = fault_calls_here() - before.calls;
    refusal_count(calls);
    if (calls_any)
        return true;
    if (calls > requests[request].calls_most) {
        char trace[FAULT_TRACE + 1];
        fault_trace(before.calls, trace, sizeof trace);
        fprintf(stderr, "%u system calls for one refusal: %s\n", calls, trace);
    }
    check(calls <= requests[request].calls_most);
    return true;
}

// A forbidden protection is told from one without memory by the kernel's reason.
static bool
is_policy(bool is_denied)
{
    return is_denied && the_plan.error == EPERM && the_plan.kind == FAULT_PROTECT;
}

static void *
taken(void *block)
{
    int error = errno;
    if (refused(block == NULL))
        check(error == ENOMEM);
    return block;
}

// With that error the kernel also forbids a place.
static bool
is_no_place(hh_hresult result)
{
    return result == HH_W_INVALID_ADDRESS && the_plan.error == EPERM && the_plan.kind == FAULT_MAP;
}

static bool
host_refused(hh_hresult result)
{
    if (refused(result != S_OK))
        check(result == E_OUTOFMEMORY || is_no_place(result) ||
              is_policy(result == E_ACCESSDENIED || result == E_INVALIDARG));
    return result != S_OK;
}

// ---- Blocks that know what they hold ------------------------------------------------------------

static struct {
    unsigned char *block;
    size_t size_bytes;
    unsigned char mark;
} held[BLOCKS];

// Large blocks are not touched everywhere: page faults would be most of the work.
static size_t
stride(size_t at)
{
    return at < 65536 ? 256 : 65536;
}

static void
fill(unsigned index)
{
    unsigned char *block = held[index].block;
    held[index].mark = (unsigned char)(index * 7 + 1);
    for (size_t at = 0; at < held[index].size_bytes; at += stride(at))
        block[at] = held[index].mark;
    block[held[index].size_bytes - 1] = held[index].mark;
}

static void
hold(unsigned index, void *block, size_t size_bytes)
{
    held[index].block = block;
    held[index].size_bytes = size_bytes;
    if (block != NULL)
        fill(index);
}

static void
check_held(unsigned index, size_t limit)
{
    const unsigned char *block = held[index].block;
    for (size_t at = 0; at < limit; at += stride(at))
        check(block[at] == held[index].mark);
}

static void
drop(unsigned index)
{
    if (held[index].block == NULL)
        return;
    check_held(index, held[index].size_bytes);
    free(held[index].block);
    held[index].block = NULL;
}

static void
drop_all(void)
{
    for (unsigned index = 0; index < BLOCKS; index++)
        drop(index);
}

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void *
get(size_t size_bytes)
{
    ask();
    return taken(malloc(size_bytes));
}

// ---- Workloads ----------------------------------------------------------------------------------

static void
work_small(void)
{
    for (unsigned index = 0; index < BLOCKS; index++) {
        size_t size_bytes = 8 + index * 7 % 1200;
        hold(index, get(size_bytes), size_bytes);
    }
    drop_all();
}

static void
work_mixed(void)
{
    uint64_t seed = 5;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned index = (unsigned)(next_random(&seed) % BLOCKS);
        size_t size_bytes = 1 + (next_random(&seed) & ((1u << (4 + next_random(&seed) % 13)) - 1));
        drop(index);
        hold(index, get(size_bytes), size_bytes);
    }
    drop_all();
}

static void
work_large(void)
{
    for (unsigned index = 0; index < 40; index++) {
        size_t size_bytes = (size_t)(1 + index % 9) * 700000;
        hold(index, get(size_bytes), size_bytes);
        if (index % 3 == 0)
            drop(index / 2);
    }
    drop_all();
    hold(0, get((size_t)100 << 20), (size_t)100 << 20); // more than a region
    drop_all();
}

static void
work_zeroed(void)
{
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned index = 0; index < 60; index++) {
            size_t size_bytes = (size_t)(index + 1) * 5000;
            ask();
            unsigned char *block = taken(calloc(1, size_bytes));
            for (size_t at = 0; block != NULL && at < size_bytes; at += 97)
                check(block[at] == 0);
            hold(index, block, size_bytes);
        }
        drop_all();
    }
}

static void
work_aligned(void)
{
    for (unsigned index = 0; index < 90; index++) {
        size_t alignment = (size_t)32 << index % 17, size_bytes = 100 + index * 900;
        void *block = NULL;
        ask();
        int error = posix_memalign(&block, alignment, size_bytes);
        if (refused(error != 0))
            check(error == ENOMEM && block == NULL);
        check((uintptr_t)block % alignment == 0);
        hold(index, block, size_bytes);
    }
    drop_all();
}

// Grown from a few bytes to 12 MiB and back: in place, by copy, by the kernel's move.
static void
resize(unsigned index, size_t size_bytes)
{
    if (held[index].block == NULL) {
        hold(index, get(size_bytes), size_bytes);
        return;
    }
    ask();
    void *block = taken(realloc(held[index].block, size_bytes));
    if (block != NULL) {
        size_t old_bytes = held[index].size_bytes;
        held[index].block = block;
        held[index].size_bytes = size_bytes;
        check_held(index, old_bytes < size_bytes ? old_bytes : size_bytes);
        fill(index);
    }
}

static void
work_realloc(void)
{
    for (size_t size_bytes = 24; size_bytes < (size_t)12 << 20; size_bytes += size_bytes / 2)
        for (unsigned index = 0; index < 3; index++)
            resize(index, size_bytes);
    for (size_t size_bytes = (size_t)12 << 20; size_bytes > 24; size_bytes /= 3)
        for (unsigned index = 0; index < 3; index++)
            resize(index, size_bytes);
    drop_all();
}

static void
work_heaps(void)
{
    hh_heap *heaps[24];
    for (unsigned i = 0; i < COUNT_OF(heaps); i++) {
        hh_heap_options options = {.struct_size = sizeof options,
                                   .flags = i % 5 == 4 ? HH_HEAP_EXECUTABLE : 0};
        heaps[i] = NULL;
        ask();
        hh_status status = plain_hh_heap_create(&options, &heaps[i]);
        if (refused(status != HH_OK))
            check(heaps[i] == NULL &&
                  (status == HH_E_NO_MEMORY || is_policy(status == HH_E_ACCESS_DENIED)));
        for (size_t size_bytes = 40; heaps[i] != NULL && size_bytes < 400000; size_bytes *= 4) {
            ask();
            char *block = plain_hh_heap_alloc(heaps[i], size_bytes);
            if (!refused(block == NULL) && block != NULL)
                memset(block, 3, size_bytes);
        }
    }
    for (unsigned i = 0; i < COUNT_OF(heaps); i++)
        check(heaps[i] == NULL || plain_hh_heap_destroy(heaps[i]) == HH_OK);
}

static void *
drop_half(void *argument)
{
    unsigned first = *(unsigned *)argument;
    for (unsigned index = first; index < BLOCKS; index += 2)
        drop(index);
    return NULL;
}

// A thread that can not be had is done without.
static void
on_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    unsigned failed = fault_failed();
    int error = pthread_create(&thread, NULL, run, argument);
    if (error == 0) {
        check(pthread_join(thread, NULL) == 0);
        return;
    }
    check((error == EAGAIN || error == ENOMEM) && fault_failed() > failed);
    run(argument);
}

static void
work_remote(void)
{
    for (unsigned round = 0; round < 3; round++) {
        unsigned first = round % 2;
        for (unsigned index = 0; index < BLOCKS; index++)
            if (held[index].block == NULL)
                hold(index, get(50 + index * 31 % 9000), 50 + index * 31 % 9000);
        on_thread(drop_half, &first);
    }
    drop_all();
}

static void *
small_blocks(void *argument)
{
    void *blocks[200];
    (void)argument;
    for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = get(16 + i * 40);
        if (blocks[i] != NULL)
            memset(blocks[i], (int)i, 16 + i * 40);
    }
    for (unsigned i = 0; i < COUNT_OF(blocks); i++) {
        const unsigned char *block = blocks[i];
        check(block == NULL || (block[0] == i && block[15 + i * 40] == i));
        free(blocks[i]);
    }
    return NULL;
}

static void
work_threads(void)
{
    pthread_t threads[6];
    bool started[COUNT_OF(threads)];
    for (unsigned i = 0; i < COUNT_OF(threads); i++) {
        int error = pthread_create(&threads[i], NULL, small_blocks, NULL);
        check(error == 0 || ((error == EAGAIN || error == ENOMEM) && fault_failed() > 0));
        started[i] = error == 0;
    }
    for (unsigned i = 0; i < COUNT_OF(threads); i++)
        check(!started[i] || pthread_join(threads[i], NULL) == 0);
}

static void
work_trim(void)
{
    enum { TRIMMED = 150 };
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned index = 0; index < TRIMMED; index++)
            hold(index, get(3000 + index * 400), 3000 + index * 400);
        for (unsigned index = round; index < TRIMMED; index += 2)
            drop(index);
        plain_hh_trim();
        drop_all();
        plain_hh_trim();
    }
}

static IHostMemoryManager *
manager(void)
{
    static IHostMemoryManager *only;
    if (only == NULL)
        check(plain_hh_get_memory_manager(&only) == S_OK);
    return only;
}

static void *
virtual_alloc_at(void *address, size_t size_bytes, uint32_t type, uint32_t protection,
                 uint32_t level)
{
    void *result = NULL;
    request = level == eProcessCritical ? CRITICAL : address == NULL ? PLACE : PAGES;
    ask();
    hh_hresult answer = manager()->lpVtbl->VirtualAlloc(manager(), address, size_bytes, type,
                                                        protection, level, &result);
    bool is_refused = host_refused(answer);
    request = HEAP;
    return is_refused ? NULL : result;
}

static void *
virtual_alloc(void *address, size_t size_bytes, uint32_t type, uint32_t protection)
{
    return virtual_alloc_at(address, size_bytes, type, protection, eTaskCritical);
}

// Allocations that the kernel would not unmap.
static void *unreleased[64];

static void
virtual_release(void *address)
{
    request = PAGES;
    ask();
    bool kept = host_refused(manager()->lpVtbl->VirtualFree(manager(), address, 0, MEM_RELEASE));
    request = HEAP;
    if (!kept)
        return;
    for (unsigned i = 0; i < COUNT_OF(unreleased); i++) {
        if (unreleased[i] == NULL) {
            unreleased[i] = address;
            return;
        }
    }
    check(!"room in the list");
}

static void
virtual_use(char *base, size_t size_bytes)
{
    const IHostMemoryManagerVtbl *calls = manager()->lpVtbl;
    size_t half = size_bytes / 2;
    uint32_t old;
    char *first = virtual_alloc(base, half, MEM_COMMIT, PAGE_READWRITE);
    if (first == NULL)
        return;
    memset(first, 5, half);
    if (virtual_alloc(base + 8192, 8192, MEM_RESET, PAGE_READWRITE) != NULL)
        base[8192] = 5;
    request = PAGES;
    ask();
    if (!host_refused(calls->VirtualProtect(manager(), base, 4096, PAGE_READONLY, &old)))
        check(old == PAGE_READWRITE);
    request = HEAP;
    check(base[4095] == 5 && base[4096] == 5);
    virtual_alloc(base + 12288, size_bytes - 12288, MEM_COMMIT, PAGE_READWRITE);
    request = PAGES;
    ask();
    host_refused(calls->VirtualFree(manager(), base + 4096, 4096, MEM_DECOMMIT));
    request = HEAP;
    char *again = virtual_alloc(base + 4096, 4096, MEM_COMMIT, PAGE_READWRITE);
    check(again == NULL || again[0] == 0 || again[0] == 5);
}

static void
work_virtual(void)
{
    void *bases[16];
    for (unsigned i = 0; i < COUNT_OF(bases); i++) {
        size_t size_bytes = 65536 + i * 20480;
        uint32_t type = i % 3 == 0 ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE;
        bases[i] = virtual_alloc(NULL, size_bytes, type, PAGE_READWRITE);
        if (bases[i] != NULL)
            virtual_use(bases[i], size_bytes);
        if (i % 4 == 3 && bases[i] != NULL) { // again, at an address
            void *there = bases[i];
            virtual_release(there);
            bases[i] = virtual_alloc(there, size_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        }
    }
    for (unsigned i = 0; i < COUNT_OF(bases); i++)
        if (bases[i] != NULL)
            virtual_release(bases[i]);
}

static void
work_host_heaps(void)
{
    static char file[] = "faults_sweep.c";
    IHostMalloc *heaps[8];
    for (unsigned i = 0; i < COUNT_OF(heaps); i++) {
        uint32_t type = i % 2 == 0 ? MALLOC_THREADSAFE : MALLOC_THREADSAFE | MALLOC_EXECUTABLE;
        heaps[i] = NULL;
        ask();
        if (host_refused(manager()->lpVtbl->CreateMalloc(manager(), type, &heaps[i])))
            continue;
        void *blocks[60];
        for (unsigned k = 0; k < COUNT_OF(blocks); k++) {
            size_t size_bytes = k % 20 == 19 ? 300000 : 16 + k * 100;
            blocks[k] = NULL;
            ask();
            if (!host_refused(heaps[i]->lpVtbl->DebugAlloc(heaps[i], size_bytes, eTaskCritical,
                                                           file, (int)k, &blocks[k])))
                memset(blocks[k], 9, size_bytes);
        }
        for (unsigned k = 0; k < COUNT_OF(blocks); k++)
            check(blocks[k] == NULL || heaps[i]->lpVtbl->Free(heaps[i], blocks[k]) == S_OK);
    }
    for (unsigned i = 0; i < COUNT_OF(heaps); i++)
        check(heaps[i] == NULL || heaps[i]->lpVtbl->Release(heaps[i]) == 0);
}

// A few requests only: each that is process-critical waits 45 ms before it is refused.
static void
work_critical(void)
{
    static const uint32_t levels[] = {eTaskCritical, eAppDomainCritical, eProcessCritical};
    enum { LEVELS = COUNT_OF(levels) };
    IHostMalloc *heap = NULL;
    void *blocks[LEVELS][2] = {0}, *bases[LEVELS][2] = {0};
    ask();
    host_refused(manager()->lpVtbl->CreateMalloc(manager(), MALLOC_THREADSAFE, &heap));
    for (unsigned i = 0; i < LEVELS; i++) {
        for (unsigned k = 0; heap != NULL && k < 2; k++) {
            size_t size_bytes = k == 0 ? 3000 : (size_t)70 << 20; // more than a region
            request = levels[i] == eProcessCritical ? CRITICAL : HEAP;
            ask();
            if (!host_refused(heap->lpVtbl->Alloc(heap, size_bytes, levels[i], &blocks[i][k])))
                memset(blocks[i][k], 1, 3000);
            request = HEAP;
        }
        uint32_t type = MEM_RESERVE | MEM_COMMIT;
        bases[i][0] = virtual_alloc_at(NULL, (size_t)70 << 20, type, PAGE_READWRITE, levels[i]);
        bases[i][1] = virtual_alloc_at(NULL, 69632, MEM_RESERVE, PAGE_READWRITE, levels[i]);
        if (bases[i][1] != NULL)
            virtual_alloc_at(bases[i][1], 4096, MEM_COMMIT, PAGE_READWRITE, levels[i]);
    }
    for (unsigned i = 0; i < LEVELS; i++) {
        for (unsigned k = 0; k < 2; k++) {
            check(blocks[i][k] == NULL || heap->lpVtbl->Free(heap, blocks[i][k]) == S_OK);
            if (bases[i][k] != NULL)
                virtual_release(bases[i][k]);
        }
    }
    check(heap == NULL || heap->lpVtbl->Release(heap) == 0);
}

static const struct workload {
    const char *name;
    void (*run)(void);
    unsigned kept_blocks; // of libc, for threads it may start again
} workloads[] = {
    {"small", work_small, 0},       {"mixed", work_mixed, 0},
    {"large", work_large, 0},       {"zeroed", work_zeroed, 0},
    {"aligned", work_aligned, 0},   {"realloc", work_realloc, 0},
    {"heaps", work_heaps, 0},       {"remote", work_remote, 8},
    {"threads", work_threads, 16},  {"trim", work_trim, 0},
    {"virtual", work_virtual, 0},   {"host_heaps", work_host_heaps, 0},
    {"critical", work_critical, 0},
};

// ---- One run ------------------------------------------------------------------------------------

static int
count_block(void *counter, void *block, size_t size_bytes)
{
    (void)block, (void)size_bytes;
    ++*(size_t *)counter;
    return 0;
}

// Live blocks of the default heap, as the walk and the statistics agree.
static size_t
census(void)
{
    size_t walked = 0;
    hh_heap_stats stats;
    check(plain_hh_heap_walk(plain_hh_heap_default(), count_block, &walked) == HH_OK);
    check(plain_hh_heap_get_stats(plain_hh_heap_default(), &stats) == HH_OK);
    check(stats.live_blocks == walked);
    return walked;
}

static size_t
heap_count(void)
{
    hh_stats stats;
    check(plain_hh_get_stats(&stats) == HH_OK);
    return stats.heaps;
}

static int
run_child(const struct workload *workload, const struct fault_plan *plan, unsigned seen[])
{
    void *symbol = dlsym(RTLD_DEFAULT, "hh_trim");
    manager();
    // It loads liburcu, and libc keeps blocks for that.
    settle_reclaimer();
    size_t blocks = census(), heaps = heap_count();
    if (!fault_install(symbol))
        return SKIPPED;
    the_plan = *plan;
    fault_arm(plan);
    workload->run();
    fault_disarm();
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        seen[kind] = fault_seen(kind);
    tally->faults += fault_failed();
    // The kernel gives again: nothing may be refused any more (refused() checks that).
    for (unsigned i = 0; i < COUNT_OF(unreleased) && unreleased[i] != NULL; i++) {
        void *address = unreleased[i];
        unreleased[i] = NULL;
        virtual_release(address);
    }
    workload->run();
    plain_hh_trim();
    check(heap_count() == heaps);
    size_t now = census();
    check(now >= blocks && now <= blocks + workload->kept_blocks);
    return 0;
}

static void
describe(const struct workload *workload, const struct fault_plan *plan)
{
    fprintf(stderr, "workload %s, %s %u%s, errno %d\n", workload->name, fault_names[plan->kind],
            plan->at, plan->for_ever ? " and on" : "", plan->error);
}

static bool
run(const struct workload *workload, const struct fault_plan *plan, unsigned seen[])
{
    static unsigned *shared;
    if (shared == NULL)
        shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        // One that spins has used its time soon; one that sleeps may only have been starved by others.
        check(setrlimit(RLIMIT_CPU, &(struct rlimit){CHILD_SECONDS, CHILD_SECONDS}) == 0);
        alarm(CHILD_WAIT_SECONDS);
        _exit(run_child(workload, plan, shared));
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    tally->runs++;
    if (seen != NULL)
        memcpy(seen, shared, FAULT_KINDS * sizeof *seen);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        _exit(EXIT_SKIPPED);
    if (status == 0)
        return true;
    describe(workload, plan);
    fprintf(stderr, "ended with status %#x\n", (unsigned)status);
    return false;
}

// ---- The sweep ----------------------------------------------------------------------------------

static const int errors[] = {ENOMEM, EAGAIN, EPERM};

static unsigned
sweep_call(const struct workload *workload, enum fault_kind kind, unsigned at, bool is_long)
{
    unsigned bad = 0;
    for (unsigned error = 0; error < (is_long ? COUNT_OF(errors) : 1); error++) {
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            struct fault_plan plan = {kind, at, errors[error], for_ever != 0};
            bad += !run(workload, &plan, NULL);
        }
    }
    return bad;
}

// What the refused requests of a workload made.
static void
worst_print(void)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct worst *worst = &tally->worst[i];
        if (worst->refusals != 0)
            printf("    %s: %u refused, %u made more than %u calls, at most %u: %s, %s %u%s\n",
                   requests[i].name, worst->refusals, worst->above, CALLS_FEW, worst->calls,
                   worst->trace, fault_names[worst->plan.kind], worst->plan.at,
                   worst->plan.for_ever ? " and on" : "");
        *worst = (struct worst){0};
    }
}

static unsigned
sweep(const struct workload *workload, bool is_long)
{
    unsigned seen[FAULT_KINDS], bad = 0;
    if (!run(workload, &(struct fault_plan){.at = 0}, seen))
        return 1;
    printf("%-10s", workload->name);
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        printf(" %s %u", fault_names[kind], seen[kind]);
        unsigned step = 1;
        for (unsigned at = 1; at <= seen[kind]; at += step) {
            bad += sweep_call(workload, kind, at, is_long);
            if (!is_long && at >= SHORT_DENSE)
                step = at;
        }
    }
    printf("\n");
    worst_print();
    return bad;
}

static bool
is_wanted(const char *name, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count < 2;
}

int
main(int count, char **names)
{
    const char *form = getenv("HOSTHEAP_SWEEP");
    bool is_long = form != NULL && strcmp(form, "long") == 0;
    const char *calls = getenv("HOSTHEAP_SWEEP_CALLS");
    calls_any = calls != NULL && strcmp(calls, "any") == 0;
    unsigned bad = 0;
    time_t start = time(NULL);
    check(dlsym(RTLD_DEFAULT, "hh_trim") != NULL); // runs on the drop-in
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(tally != MAP_FAILED);
    setvbuf(stdout, NULL, _IONBF, 0);
    for (unsigned i = 0; i < COUNT_OF(workloads); i++)
        if (is_wanted(workloads[i].name, count, names))
            bad += sweep(&workloads[i], is_long);
    printf("%u runs, %u calls failed, %u requests refused, %u runs wrong, %u s\n", tally->runs,
           tally->faults, tally->refusals, bad, (unsigned)(time(NULL) - start));
    return bad != 0;
}
