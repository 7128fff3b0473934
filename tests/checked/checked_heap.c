// SPDX-License-Identifier: MIT
/*
 * checked_heap.c - what must hold in the checked library besides its reports: sizes as asked for,
 * placement by seed, memory limits, forks, threads; no false alarm. Parts by argument, so that each
 * can have options of its own.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "checked/front.h"

PLAIN_FUNCTION(size_t, hh_check_blocks, (void), ())
PLAIN_FUNCTION(void, hh_set_bad_free_handler, (hh_bad_free_handler handler, void *arg),
               (handler, arg))
PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(hh_status, hh_heap_destroy, (hh_heap * heap), (heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_free, (hh_heap * heap, void *block), (heap, block))
PLAIN_FUNCTION(hh_status, hh_heap_walk,
               (hh_heap * heap, int (*visit)(void *arg, void *block, size_t size_bytes), void *arg),
               (heap, visit, arg))

static uint32_t
random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

// ---- Sizes and alignments, grown and shrunk -----------------------------------------------------

static void
check_pattern(const unsigned char *block, size_t size_bytes, unsigned char tag)
{
    for (size_t at = 0; at < size_bytes; at++)
        check(block[at] == (unsigned char)(tag + at));
}

static unsigned char *
make_pattern(unsigned char *block, size_t size_bytes, unsigned char tag)
{
    check(block != NULL && malloc_usable_size(block) == size_bytes);
    for (size_t at = 0; at < size_bytes; at++)
        block[at] = (unsigned char)(tag + at);
    return block;
}

static void
sizes_main(void)
{
    static const size_t steps[] = {1,     15,   16,     17,     240,    241,     1000,   4080,
                                   4096,  8192, 32768,  65536,  262128, 262129,  300000, 1 << 20,
                                   70000, 24,   500000, 600000, 700000, 3000000, 300001, 1};
    unsigned char *block = make_pattern(malloc(1), 1, 1);
    size_t size_bytes = 1;
    for (size_t step = 0; step < sizeof steps / sizeof steps[0]; step++) {
        block = realloc(block, steps[step]);
        check(block != NULL);
        check_pattern(block, size_bytes < steps[step] ? size_bytes : steps[step],
                      (unsigned char)(step == 0 ? 1 : step));
        size_bytes = steps[step];
        make_pattern(block, size_bytes, (unsigned char)(step + 1));
        unsigned char *zeroed = calloc(1, size_bytes);
        for (size_t at = 0; at < size_bytes; at++)
            check(zeroed[at] == 0);
        memset(zeroed, 0xff, size_bytes);
        free(zeroed);
    }
    free(block);
    for (size_t alignment = 8; alignment <= (size_t)4 << 20; alignment *= 2) {
        for (size_t step = 0; step < 12; step++) {
            void *aligned;
            check(posix_memalign(&aligned, alignment, steps[step]) == 0);
            check((uintptr_t)aligned % alignment == 0);
            make_pattern(aligned, steps[step], 3);
            free(aligned);
        }
    }
    check(plain_hh_check_blocks() == 0);
}

// ---- Heaps end with blocks live and at rest -----------------------------------------------------

static int
visit_size(void *arg, void *block, size_t size_bytes)
{
    check(size_bytes == 1000 || size_bytes == 400000);
    memset(block, 7, size_bytes); // all of it may be used
    ++*(int *)arg;
    return 0;
}

static void
heaps_main(void)
{
    for (int turn = 0; turn < 200; turn++) {
        hh_heap *heap;
        void *blocks[50];
        int seen = 0;
        check(plain_hh_heap_create(NULL, &heap) == HH_OK);
        for (int at = 0; at < 50; at++) {
            blocks[at] = plain_hh_heap_alloc(heap, at % 10 == 0 ? 400000 : 1000);
            check(blocks[at] != NULL);
        }
        check(plain_hh_heap_walk(heap, visit_size, &seen) == HH_OK && seen == 50);
        for (int at = 0; at < 50; at += 2)
            check(plain_hh_heap_free(heap, blocks[at]) == HH_OK);
        check(plain_hh_heap_free(heap, blocks[0]) == HH_E_INVALID_BLOCK);
        check(plain_hh_heap_free(heap, blocks[2]) == HH_E_INVALID_BLOCK);
        check(plain_hh_heap_destroy(heap) == HH_OK);
        // What rested there must not come out of quarantine later, into other hands.
        for (int at = 0; at < 20; at++)
            free(memset(malloc(100000), turn, 100000));
    }
    check(plain_hh_check_blocks() == 0);
}

// ---- Placement ----------------------------------------------------------------------------------

// Prints the order of the first blocks of a class: the test compares two processes.
static void
placement_main(void)
{
    char line[512];
    int length = 0;
    char *first = malloc(900);
    for (int at = 0; at < 12; at++)
        length += snprintf(line + length, sizeof line - (size_t)length, " %ld",
                           (long)((char *)malloc(900) - first));
    line[length++] = '\n';
    check(write(1, line, (size_t)length) == length);
}

// ---- Limits: the quarantine gives way before a request is refused -------------------------------

static int
take_all(size_t size_bytes, void ***newest)
{
    int count = 0;
    void **block;
    for (*newest = NULL; (block = malloc(size_bytes)) != NULL; count++) {
        *block = *newest;
        *newest = block;
    }
    check(errno == ENOMEM);
    return count;
}

// What rests belongs to a heap that is not used any more.
static void
limit_other_heap(void)
{
    static void *blocks[64];
    size_t count = 0;
    hh_heap *heap;
    void **newest;
    check(plain_hh_heap_create(NULL, &heap) == HH_OK);
    while ((blocks[count] = plain_hh_heap_alloc(heap, 1000000)) != NULL)
        count++;
    while (count > 0)
        check(plain_hh_heap_free(heap, blocks[--count]) == HH_OK);
    check(take_all(1000000, &newest) > 42);
    check(plain_hh_heap_destroy(heap) == HH_OK);
}

static void
limit_main(void)
{
    static const size_t sizes[] = {3000, 100000, 1000000};
    for (int turn = 0; turn < 6; turn++) {
        void **newest;
        int count = take_all(sizes[turn % 3], &newest);
        // 64 MiB, of which no more than a third is lost to slabs and rounding.
        check((size_t)count * sizes[turn % 3] > (size_t)42 << 20);
        while (newest != NULL) {
            void **next = *newest;
            free(newest);
            newest = next;
        }
    }
    limit_other_heap();
}

// ---- Threads and forks --------------------------------------------------------------------------

enum { THREADS = 4, SHELVES = 256, TURNS = 20000, CHILDREN = 10 };

static struct shelf {
    pthread_mutex_t lock;
    unsigned char *block;
    size_t size_bytes;
    unsigned char tag;
} shelves[SHELVES];

static size_t
random_size(uint32_t *state)
{
    uint32_t kind = random_next(state) % 64;
    return kind == 0 ? 300000 + random_next(state) % 100000
                     : random_next(state) % (kind < 8 ? 20000 : 600);
}

// Takes blocks off shelves, whoever put them there, looks at them, frees or resizes them.
static void *
swap_run(void *argument)
{
    uint32_t state = (uint32_t)(uintptr_t)argument;
    for (int turn = 0; turn < TURNS; turn++) {
        struct shelf *shelf = &shelves[random_next(&state) % SHELVES];
        struct shelf mine = {.size_bytes = random_size(&state), .tag = (unsigned char)turn};
        pthread_mutex_lock(&shelf->lock);
        unsigned char *old = shelf->block;
        size_t old_bytes = shelf->size_bytes;
        unsigned char old_tag = shelf->tag;
        shelf->block = NULL;
        pthread_mutex_unlock(&shelf->lock);
        if (old != NULL)
            check(old_bytes == 0 || (old[0] == old_tag && old[old_bytes - 1] == old_tag));
        if (old != NULL && turn % 3 == 0) {
            mine.block = realloc(old, mine.size_bytes + 1);
            mine.size_bytes++;
        } else {
            free(old);
            mine.block = malloc(mine.size_bytes);
        }
        check(mine.block != NULL);
        memset(mine.block, mine.tag, mine.size_bytes);
        pthread_mutex_lock(&shelf->lock);
        unsigned char *other = shelf->block;
        shelf->block = mine.block;
        shelf->size_bytes = mine.size_bytes;
        shelf->tag = mine.tag;
        pthread_mutex_unlock(&shelf->lock);
        free(other);
    }
    return NULL;
}

static void
child_run(void)
{
    uint32_t state = (uint32_t)getpid();
    void *blocks[100] = {NULL};
    alarm(60);
    for (int turn = 0; turn < 1000; turn++) {
        void **block = &blocks[random_next(&state) % 100];
        free(*block);
        *block = malloc(random_size(&state));
        check(*block != NULL);
    }
    check(plain_hh_check_blocks() == 0);
    _exit(0);
}

static void
threads_main(void)
{
    pthread_t threads[THREADS];
    for (int shelf = 0; shelf < SHELVES; shelf++)
        pthread_mutex_init(&shelves[shelf].lock, NULL);
    for (uintptr_t thread = 0; thread < THREADS; thread++)
        check(pthread_create(&threads[thread], NULL, swap_run, (void *)(thread + 1)) == 0);
    for (int child = 0; child < CHILDREN; child++) {
        int status;
        pid_t process = fork();
        check(process >= 0);
        if (process == 0)
            child_run();
        check(waitpid(process, &status, 0) == process && status == 0);
    }
    for (int thread = 0; thread < THREADS; thread++)
        check(pthread_join(threads[thread], NULL) == 0);
    check(plain_hh_check_blocks() == 0);
}

// ---- A handler is called, with no lock held, and the program goes on ----------------------------

// volatile: libc's header says that free calls nothing of this file.
static volatile int handler_calls, handler_why;

static void
handler_note(void *arg, const char *function, const void *address, hh_bad_block why,
             const hh_block_info *info)
{
    (void)arg;
    check(function != NULL && address != NULL && info->base == address);
    handler_calls++;
    handler_why = (int)why;
    free(malloc(100));
}

static void
handler_main(void)
{
    plain_hh_set_bad_free_handler(handler_note, NULL);
    volatile char *blocks[40];
    for (int at = 0; at < 40; at++)
        blocks[at] = malloc(500);
    for (int at = 0; at < 40; at++)
        blocks[at][500] = 0;
    for (int at = 0; at < 20; at++)
        free((void *)blocks[at]);
    check(handler_calls >= 20 && handler_why != 0); // the canary before a block may be another's
    int before = handler_calls;
    check(plain_hh_check_blocks() == 20); // those that live still
    check(handler_calls == before + 20 && handler_why == HH_BAD_OVERFLOW);
    volatile char *freed = malloc(500);
    free((void *)freed);
    freed[100] = 1;
    check(plain_hh_check_blocks() == 1 && handler_why == HH_BAD_WRITE_AFTER_FREE);
    check(plain_hh_check_blocks() == 0);
    // A block that was written after its free is never handed out again.
    for (int at = 0; at < 100000; at++) {
        volatile char *block = malloc(500);
        check(block != freed);
        free((void *)block);
    }
}

// ---- Every block has a page of its own: written next to it, on the side without a guard ----------

static void
sampled_main(void)
{
    static const size_t sizes[] = {16, 100, 512, 4000};
    const uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    int low = 0, high = 0, calls = 0;
    plain_hh_set_bad_free_handler(handler_note, NULL);
    for (int turn = 0; turn < 400; turn++) {
        size_t size_bytes = sizes[turn % 4];
        volatile char *block = malloc(size_bytes);
        bool begins = (uintptr_t)block % page_bytes == 0;
        check(block != NULL);
        if (begins)
            block[turn % 8 < 4 ? size_bytes : page_bytes - 1] = 0;
        else
            block[turn % 8 < 4 ? -1 : -(intptr_t)((uintptr_t)block % page_bytes)] = 0;
        low += begins;
        high += !begins;
        free((void *)block);
        check(handler_calls == ++calls);
        check(handler_why == (begins ? HH_BAD_OVERFLOW : HH_BAD_UNDERFLOW));
    }
    check(low > 50 && high > 50);
}

// ---- Faults that are none of the library's ------------------------------------------------------

enum { LARGE = 1 << 20 };

// A child writes to address. It must end by the fault, and nothing be said.
static void
check_fault_is_silent(volatile char *address)
{
    char text[64];
    int ends[2], status;
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
        *address = 1;
        _exit(0);
    }
    close(ends[1]);
    check(read(ends[0], text, sizeof text) == 0);
    close(ends[0]);
    check(waitpid(child, &status, 0) == child);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void
faults_main(void)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    char *block = aligned_alloc(page_bytes, LARGE), *small = malloc(3 * page_bytes);
    check(block != NULL && small != NULL);
    check_fault_is_silent((char *)(uintptr_t)page_bytes);
    // A program may take access to its own block's pages away.
    char *page = small + (-(uintptr_t)small & (page_bytes - 1));
    check(mprotect(block + page_bytes, page_bytes, PROT_READ) == 0);
    check(mprotect(page, page_bytes, PROT_READ) == 0);
    check_fault_is_silent(block + page_bytes);
    check_fault_is_silent(page);
    check(mprotect(block + page_bytes, page_bytes, PROT_READ | PROT_WRITE) == 0);
    check(mprotect(page, page_bytes, PROT_READ | PROT_WRITE) == 0);
    free(block);
    free(small);
}

// ---- More large blocks than can have a guard behind them ----------------------------------------

enum { LARGE_BLOCKS = 17000 }; // 16,384 are guarded

static void
guards_main(void)
{
    static char *blocks[LARGE_BLOCKS];
    plain_hh_set_bad_free_handler(handler_note, NULL);
    for (int at = 0; at < LARGE_BLOCKS; at++) {
        blocks[at] = malloc(LARGE);
        check(blocks[at] != NULL);
        blocks[at][LARGE - 1] = 1;
    }
    // Behind the last there is a canary all the same, but for a block of whole pages.
    free(malloc(LARGE - 10));
    check(handler_calls == 0);
    volatile char *volatile odd = malloc(LARGE - 10);
    odd[LARGE - 10] = 0;
    free((void *)odd);
    check(handler_calls == 1 && handler_why == HH_BAD_OVERFLOW);
    for (int at = 0; at < LARGE_BLOCKS; at++) {
        check(blocks[at][LARGE - 1] == 1);
        free(blocks[at]);
    }
    check(handler_calls == 1 && plain_hh_check_blocks() == 0);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"sizes", sizes_main},     {"heaps", heaps_main},     {"placement", placement_main},
        {"limit", limit_main},     {"threads", threads_main}, {"handler", handler_main},
        {"sampled", sampled_main}, {"faults", faults_main},   {"guards", guards_main},
    };
    alarm(100);
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        if (argc == 2 && strcmp(argv[1], parts[part].name) == 0) {
            parts[part].run();
            return 0;
        }
    }
    return 2;
}
