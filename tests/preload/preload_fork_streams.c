// SPDX-License-Identifier: MIT
/*
 * fork while other threads use streams. libc locks the list of all streams in a fork; who has that lock
 * may wait for a stream (fflush(NULL)) whose user allocates. So a fork that took the heap's locks first
 * waited for itself. One that takes the list first and then waits for a heap's lock waits for itself, too: who
 * has it may want the list, for the visitor of a walk may flush all streams, and a thread with a lock of
 * ours may fork, in a handler. Both sides can use the list afterwards, from any thread. A hang is
 * ended by a timer and fails the test.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "support/plain.h"

PLAIN_FUNCTION(hh_status, hh_heap_create, (const hh_heap_options *options, hh_heap **heap),
               (options, heap))
PLAIN_FUNCTION(void *, hh_heap_alloc, (hh_heap * heap, size_t size_bytes), (heap, size_bytes))
PLAIN_FUNCTION(hh_status, hh_heap_walk,
               (hh_heap * heap, int (*visit)(void *arg, void *block, size_t size_bytes), void *arg),
               (heap, visit, arg))

enum { WRITERS = 3, FORKS = 60, SECONDS = 60, BLOCKS = 8, LARGE_BYTES = 70000 };

static atomic_int stop;

// Called with the stream locked: blocks of sizes for which the heap's locks are needed.
static ssize_t
write_and_allocate(void *cookie, const char *bytes, size_t size_bytes)
{
    (void)bytes;
    void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc((size_t)LARGE_BYTES << i % 4);
        check(blocks[i] != NULL);
        *(char *)blocks[i] = 1;
        atomic_fetch_add((atomic_uint *)cookie, 1);
    }
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return (ssize_t)size_bytes;
}

static void *
write_stream(void *argument)
{
    atomic_uint calls = 0;
    FILE *stream = fopencookie(&calls, "w", (cookie_io_functions_t){.write = write_and_allocate});
    check(stream != NULL);
    while (!atomic_load(&stop))
        check(fputc('x', stream) == 'x' && fflush(stream) == 0);
    check(fclose(stream) == 0 && atomic_load(&calls) > 0);
    return argument;
}

static void *
flush_all(void *argument)
{
    while (!atomic_load(&stop)) {
        check(fflush(NULL) == 0);
        usleep(200); // libc's lock is not fair
    }
    return argument;
}

// Takes the lock of the list.
static void *
open_and_close(void *argument)
{
    for (int i = 0; i < 3; i++) {
        FILE *stream = fopen("/dev/null", "w");
        check(stream != NULL && fputs("text", stream) >= 0 && fclose(stream) == 0);
    }
    return argument;
}

// The thread that forked, then another: neither must find the lock taken.
static void
use_list(void)
{
    pthread_t other;
    open_and_close(NULL);
    check(pthread_create(&other, NULL, open_and_close, NULL) == 0);
    check(pthread_join(other, NULL) == 0);
}

static void
fork_once(void)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        use_list();
        child = fork(); // with what the first one has left
        if (child == 0) {
            use_list();
            _exit(0);
        }
        int status;
        check(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        _exit(0);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

// ---- Who holds a heap's lock wants the list -----------------------------------------------------

enum { FLUSHES, FORKS_ITSELF, WANTS, WAIT_US = 50000 };

static void *
fork_beside(void *argument)
{
    fork_once();
    return argument;
}

// Of a walk, which holds the heap's lock. While another thread forks.
static int
visit(void *wants, void *block, size_t size_bytes)
{
    pthread_t other;
    (void)block, (void)size_bytes;
    check(pthread_create(&other, NULL, fork_beside, NULL) == 0);
    usleep(WAIT_US); // by now it waits for this heap
    if (*(int *)wants == FLUSHES) {
        check(fflush(NULL) == 0);
    } else {
        pid_t child = fork();
        check(child >= 0);
        if (child == 0)
            _exit(0);
        int status;
        check(waitpid(child, &status, 0) == child && status == 0);
    }
    check(pthread_detach(other) == 0);
    return 1; // ends the walk
}

static void
list_is_wanted_with_heap_locked(void)
{
    hh_heap *heap = NULL;
    for (int wants = 0; wants < WANTS; wants++) {
        check(plain_hh_heap_create(NULL, &heap) == HH_OK);
        check(plain_hh_heap_alloc(heap, 100) != NULL);
        check(plain_hh_heap_walk(heap, visit, &wants) == HH_OK);
        fork_once();
        use_list();
    }
}

int
main(void)
{
    pthread_t writers[WRITERS], flusher;
    alarm(SECONDS);
    fork_once(); // with one thread libc takes no lock
    list_is_wanted_with_heap_locked();
    for (int i = 0; i < WRITERS; i++)
        check(pthread_create(&writers[i], NULL, write_stream, NULL) == 0);
    check(pthread_create(&flusher, NULL, flush_all, NULL) == 0);
    for (int i = 0; i < FORKS; i++)
        fork_once();
    use_list();
    atomic_store(&stop, 1);
    for (int i = 0; i < WRITERS; i++)
        check(pthread_join(writers[i], NULL) == 0);
    check(pthread_join(flusher, NULL) == 0);
    use_list();
    return 0;
}
