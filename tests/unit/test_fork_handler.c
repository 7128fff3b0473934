// SPDX-License-Identifier: MIT
/*
 * tests/unit/test_fork_handler.c - fork(2) in a signal handler that interrupted the library.
 *
 * Parent and child both go on where they were interrupted; neither waits for itself.
 */
#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "heap/heap_list.h"
#include "heap/sweep.h"
#include "heap/thread_cache.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/run.h"
#include "support/core.h"

enum { FORKS = 150, OTHERS = 2, KEPT = 400, CHILD_STEPS = 400, PERIOD_US = 400 };
enum { CHILD_SECONDS = 30, ALL_SECONDS = 100, TRACE_MOST = 40 };

// ---- A hang tells where -------------------------------------------------------------------------

static struct {
    volatile sig_atomic_t child;  // of this process, waited for; 0: none
    volatile sig_atomic_t number; // which fork
} hang;

static void
say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

// What a process is at that lets no signal in, as one does in the middle of a fork: each thread's call of
// the kernel with its arguments, its stack and its place.
static void
hang_tell_calls(pid_t process)
{
    char path[320], text[256];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *threads = opendir(path);
    for (struct dirent *thread; threads != NULL && (thread = readdir(threads)) != NULL;) {
        if (thread->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/syscall", (int)process, thread->d_name);
        int file = open(path, O_RDONLY);
        ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
        text[length < 0 ? 0 : length] = 0;
        close(file);
        if (length > 0) {
            say(thread->d_name);
            say(": ");
            say(text);
        }
    }
    if (threads != NULL)
        closedir(threads);
}

// Of SIGALRM, in this process and in its children. The places are for addr2line.
static void
hang_tell(int signal_number)
{
    void *places[TRACE_MOST];
    char text[64];
    (void)signal_number;
    snprintf(text, sizeof text, "a process hangs, after fork %d:\n", (int)hang.number);
    say(text);
    backtrace_symbols_fd(places, backtrace(places, TRACE_MOST), STDERR_FILENO);
    if (hang.child != 0) {
        say("it waits for its child, which is at\n");
        hang_tell_calls(hang.child);
        kill(hang.child, SIGKILL);
    }
    _exit(2);
}

// A process that watches this one, which may hang with all signals blocked.
static pid_t
hang_watch(void)
{
    pid_t watched = getpid(), watcher = fork();
    if (watcher != 0)
        return watcher;
    for (int second = 0; second < ALL_SECONDS + 5; second++) {
        sleep(1);
        if (getppid() != watched)
            _exit(0);
    }
    say("the process hangs and lets no signal in, at\n");
    hang_tell_calls(watched);
    kill(watched, SIGKILL);
    _exit(0);
}

// The end of a child is told by its status: cmocka's handlers would go on with the next test in it.
static void
child_begin(int number)
{
    static const int faults[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGSYS};
    for (size_t at = 0; at < COUNT_OF(faults); at++)
        signal(faults[at], SIG_DFL);
    hang.child = 0;
    hang.number = number;
    alarm(CHILD_SECONDS);
}

static int
child_end(pid_t child, int number)
{
    int status = 1;
    sig_atomic_t outer = hang.child; // a handler's child, while the thread waits for another
    hang.child = child;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    hang.child = outer;
    if (status != 0) {
        char text[64];
        snprintf(text, sizeof text, "the child of fork %d ended with status %#x\n", number,
                 (unsigned)status);
        say(text);
    }
    return status;
}

// ---- A lock that the thread holds ---------------------------------------------------------------

static int
works_afterwards(void)
{
    for (size_t size_bytes = 1; size_bytes < 600000; size_bytes += size_bytes / 2 + 1) {
        void *block = hhi_heap_alloc(hhi_heap_default(), size_bytes, HHI_LEVEL_TASK);
        if (block == NULL || hhi_heap_free(hhi_heap_default(), block) != 0)
            return 1;
    }
    hhi_trim();
    hhi_run_check();
    return 0;
}

static int
leave_and_work(void *lock)
{
    hhi_lock_leave(lock);
    return works_afterwards();
}

static void
a_fork_leaves_a_lock_held_that_its_thread_holds(void **state)
{
    (void)state;
    struct hhi_lock *lock = &hhi_default_heap.lock;
    core_alloc(hhi_heap_default(), 1);
    hhi_lock_enter(lock);
    assert_int_equal(core_in_child(leave_and_work, lock), 0);
    assert_false(hhi_lock_try_enter(lock));
    hhi_lock_leave(lock);
    assert_int_equal(works_afterwards(), 0);
}

static int
admit_and_work(void *argument)
{
    (void)argument;
    hhi_sweep_admit();
    return works_afterwards();
}

static void
a_fork_in_a_sweep_lets_both_sides_finish_it(void **state)
{
    (void)state;
    hhi_sweep_exclude();
    assert_int_equal(core_in_child(admit_and_work, NULL), 0);
    assert_int_equal(admit_and_work(NULL), 0);
}

// ---- Handlers -----------------------------------------------------------------------------------

static struct {
    volatile sig_atomic_t left, in_child, failures, depth;
    _Atomic uint32_t stop;
    void *kept[KEPT];
    size_t sizes[KEPT];
    uint64_t seed;
    timer_t timer;
} storm;

// Each shot is asked for when the last one was dealt with: a fork that waits, for a lock of what it interrupted,
// would be followed by the next one at once, and what was interrupted would not get on. A child has no timers.
static void
timer_next(void)
{
    struct itimerspec once = {{0, 0}, {0, PERIOD_US * 1000}};
    if (timer_settime(storm.timer, 0, &once, NULL) != 0)
        storm.failures++;
}

// Forks; the child ends at once or goes on with what was interrupted.
static void
fork_in_handler(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    if (storm.left <= 0 || storm.in_child)
        return;
    int number = storm.left--;
    pid_t child = fork();
    if (child == 0) {
        child_begin(number);
        storm.failures = 0; // its own from here on
        if (number % 2 == 0)
            _exit(0);
        storm.in_child = 1;
        return;
    }
    if (child_end(child, number) != 0)
        storm.failures++;
    timer_next();
    errno = saved_errno;
}

static void
kept_step(void)
{
    size_t at = core_random(&storm.seed) % KEPT;
    struct hh_heap *heap = hhi_heap_default();
    if (storm.kept[at] != NULL) {
        if (!core_holds(storm.kept[at], storm.sizes[at], at) ||
            hhi_heap_free(heap, storm.kept[at]) != 0)
            storm.failures++;
        storm.kept[at] = NULL;
        return;
    }
    storm.sizes[at] = core_random(&storm.seed) % (at % 20 == 0 ? 600000 : 20000);
    storm.kept[at] = hhi_heap_alloc(heap, storm.sizes[at], HHI_LEVEL_TASK);
    if (storm.kept[at] == NULL)
        storm.failures++;
    else
        core_fill(storm.kept[at], storm.sizes[at], at);
}

// What takes the library's other locks.
static void
other_step(unsigned step)
{
    if (step % 64 == 0)
        hhi_heap_destroy(core_heap());
    if (step % 512 == 0)
        hhi_trim();
}

// The rest of a child's life, once the handler has returned in it.
static void
child_goes_on(void)
{
    for (unsigned step = 1; step < CHILD_STEPS; step++) {
        kept_step();
        other_step(step);
    }
    hhi_cache_check(&hhi_self->main);
    hhi_run_check();
    _exit(storm.failures != 0);
}

static void *
other_run(void *argument)
{
    void *blocks[64] = {0};
    uint64_t seed = *(uint64_t *)argument;
    // relaxed: a stop seen late does no harm.
    while (hh_load_relaxed(&storm.stop) == 0) {
        size_t at = core_random(&seed) % 64;
        if (blocks[at] != NULL)
            hhi_heap_free(hhi_heap_default(), blocks[at]);
        blocks[at] = hhi_heap_alloc(hhi_heap_default(), core_random(&seed) % 300000, 0);
    }
    for (int at = 0; at < 64; at++)
        if (blocks[at] != NULL)
            hhi_heap_free(hhi_heap_default(), blocks[at]);
    return argument;
}

// The main thread's own forks are interrupted as well.
static void
fork_now_and_then(unsigned step)
{
    if (step % 4096 != 0)
        return;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    // In the child of a handler that interrupted this, the other child is its parent's.
    if (child_end(child, -(int)step) != 0 && !storm.in_child)
        storm.failures++;
}

static void
storm_run(unsigned others)
{
    pthread_t threads[OTHERS];
    uint64_t seeds[OTHERS] = {3, 4};
    sigset_t timer_only, old;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &storm.timer), 0);
    storm.left = (sig_atomic_t)core_setting("HOSTHEAP_HANDLER_FORKS", FORKS);
    storm.failures = 0;
    storm.seed = others + 1;
    // relaxed: no thread is at work.
    hh_store_relaxed(&storm.stop, 0);
    sigemptyset(&timer_only);
    sigaddset(&timer_only, SIGUSR1);
    sigaddset(&timer_only, SIGALRM); // the main thread's
    pthread_sigmask(SIG_BLOCK, &timer_only, &old);
    for (unsigned at = 0; at < others; at++)
        assert_int_equal(pthread_create(&threads[at], NULL, other_run, &seeds[at]), 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    timer_next();
    for (unsigned step = 1; storm.left > 0; step++) {
        kept_step();
        other_step(step);
        fork_now_and_then(step);
        if (storm.in_child)
            child_goes_on();
    }
    timer_delete(storm.timer);
    if (storm.in_child)
        child_goes_on();
    // relaxed: a stop seen late does no harm.
    hh_store_relaxed(&storm.stop, 1);
    for (unsigned at = 0; at < others; at++)
        assert_int_equal(pthread_join(threads[at], NULL), 0);
    assert_int_equal(storm.failures, 0);
    for (int at = 0; at < KEPT; at++)
        if (storm.kept[at] != NULL)
            assert_int_equal(hhi_heap_free(hhi_heap_default(), storm.kept[at]), 0);
    memset(storm.kept, 0, sizeof storm.kept);
    assert_int_equal(works_afterwards(), 0);
}

static void
a_handler_may_fork_at_any_moment(void **state)
{
    (void)state;
    storm_run(0);
}

static void
a_handler_may_fork_while_other_threads_are_at_work(void **state)
{
    (void)state;
    storm_run(OTHERS);
}

// ---- Forks within forks -------------------------------------------------------------------------

static int
finish_outer_fork(void *argument)
{
    (void)argument;
    hhi_limbo_fork(HHI_FORK_PARENT);
    hhi_fork_end(HHI_FORK_PARENT);
    return hhi_fork_depth() == 0 ? works_afterwards() : 1;
}

static void
a_fork_leaves_the_locks_of_the_fork_it_interrupted(void **state)
{
    (void)state;
    hhi_fork_begin();
    hhi_limbo_fork(HHI_FORK_LOOK);
    hhi_limbo_fork(HHI_FORK_TAKE);
    assert_int_equal(core_in_child(finish_outer_fork, NULL), 0);
    assert_int_equal(hhi_fork_depth(), 1);
    assert_int_equal(finish_outer_fork(NULL), 0);
}

// ---- Two threads that wait for each other -------------------------------------------------------

static struct {
    struct hhi_lock first, second;
    _Atomic uint32_t stage;
} knot;

static void *
hold_first_want_second(void *argument)
{
    hhi_lock_enter(&knot.first);
    // order: release, acquire [FH-1] the lock is held.
    hh_fetch_add_acq_rel(&knot.stage, 1);
    hhi_lock_enter(&knot.second);
    hhi_lock_leave(&knot.second);
    hhi_lock_leave(&knot.first);
    return argument;
}

static int
enter_first(void *argument)
{
    (void)argument;
    hhi_lock_fork(&knot.first, HHI_FORK_CHILD);
    hhi_lock_fork(&knot.second, HHI_FORK_CHILD);
    hhi_fork_end(HHI_FORK_CHILD);
    hhi_lock_leave(&knot.second);
    hhi_lock_enter(&knot.first);
    return 0;
}

static void
a_lock_of_a_lost_thread_that_waits_for_the_forking_one_is_broken(void **state)
{
    (void)state;
    pthread_t thread;
    hhi_lock_enter(&knot.second);
    assert_int_equal(pthread_create(&thread, NULL, hold_first_want_second, NULL), 0);
    // order: acquire [FH-1].
    while (hh_load_acquire(&knot.stage) == 0)
        hhi_os_sleep_ms(1);
    hhi_fork_begin();
    hhi_lock_fork(&knot.first, HHI_FORK_LOOK);
    hhi_lock_fork(&knot.second, HHI_FORK_LOOK);
    hhi_lock_fork(&knot.first, HHI_FORK_TAKE); // ends though it can not be had
    hhi_lock_fork(&knot.second, HHI_FORK_TAKE);
    int ended = core_in_child(enter_first, NULL);
    assert_true(ended == 64 + SIGILL || ended == 64 + SIGTRAP);
    hhi_lock_fork(&knot.second, HHI_FORK_PARENT);
    hhi_lock_fork(&knot.first, HHI_FORK_PARENT);
    hhi_fork_end(HHI_FORK_PARENT);
    assert_true(hhi_lock_is_mine(&knot.second));
    hhi_lock_leave(&knot.second);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(hhi_lock_try_enter(&knot.first));
    hhi_lock_leave(&knot.first);
}

int
main(void)
{
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    void *place;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_leaves_a_lock_held_that_its_thread_holds),
        cmocka_unit_test(a_fork_in_a_sweep_lets_both_sides_finish_it),
        cmocka_unit_test(a_fork_leaves_the_locks_of_the_fork_it_interrupted),
        cmocka_unit_test(a_lock_of_a_lost_thread_that_waits_for_the_forking_one_is_broken),
        // The thread sanitizer runs handlers late, and no threads in the child of a threaded process.
        cmocka_unit_test(a_handler_may_fork_at_any_moment),
        cmocka_unit_test(a_handler_may_fork_while_other_threads_are_at_work),
    };
    const size_t count = sizeof tests / sizeof tests[0] - (HH_TSAN ? 2 : 0);
    sigaction(SIGUSR1, &action, NULL);
    (void)backtrace(&place, 1); // loads what it needs
    signal(SIGALRM, hang_tell);
    alarm(ALL_SECONDS);
    pid_t watcher = hang_watch();
    int failed = _cmocka_run_group_tests("fork_handler", tests, count, NULL, NULL);
    kill(watcher, SIGKILL);
    return failed;
}
