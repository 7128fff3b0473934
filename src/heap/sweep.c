// SPDX-License-Identifier: MIT
// heap/sweep.c - giving unused memory back, also when the program does nothing any more.
#include "heap/sweep.h"

#include "base/atomic.h"
#include "heap/heap.h"
#include "heap/heap_list.h"
#include "heap/inbox.h"
#include "heap/kept_runs.h"
#include "heap/kept_slabs.h"
#include "heap/lent.h"
#include "heap/thread_cache.h"
#include "options/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "region/run.h"

enum {
    TICK_SHORTEST_MS = 20,
    TICK_LONGEST_MS = 250,
    TICK_EVENTS = 64, // without a sweeper thread: slow events between looks at the clock
    IDLE_TICKS = 8,   // ticks without anything to do before the thread ends
    START_PAUSE_MS =
        500, // a thread that could not be started is tried again, and after twice as long
    START_PAUSE_LONGEST_MS = 64000,
};
// So much must have become unused before a thread is worth having.
#define NOTE_STARTS_BYTES ((size_t)1 << 20)
// What is smaller is not refused because slabs of one granule lie about.
#define SMALL_ONES_MAKE_BYTES ((size_t)1 << 20)
#define PORTION_BYTES ((size_t)1 << 20) // purged at a time by a thread that has other things to do

static struct {
    struct hhi_lock lock;            // one pass at a time
    bool passing;                    // its holder gives back at its end what it notes; under lock
    struct hhi_lock purge_lock;      // rank: after lock, before heap list
    _Atomic uint32_t running;        // 1: the thread exists or is being started [SW-1]
    _Atomic uint32_t unavailable;    // 1: it could not be started, the last time
    _Atomic uint32_t start_pause_ms; // from then to the next try
    _Atomic uint64_t start_next_ms;  // when that is due
    _Atomic size_t noted_bytes;      // became unused since the last pass [SW-1]
    _Atomic uint64_t last_tick_ms;   // without a thread: when a portion was done last
    _Atomic uint32_t events;
    _Atomic uint64_t purged_in_slabs; // a statistic
} sweep HH_START_STATE;

// Everything the passes share: what counts as old now, and what was given back so far.
struct sweep_pass {
    uint64_t now_ms; // HHI_RUN_ALL: everything is old
    uint32_t decay_ms;
    size_t purged_bytes;
    size_t waiting; // things that are not old enough yet
};

static bool
stamp_is_old(const struct sweep_pass *pass, uint32_t stamp_ms)
{
    return hhi_stamp_is_due(stamp_ms, pass->now_ms, pass->decay_ms);
}

// ---- Shared slabs -------------------------------------------------------------------------------

// A slab in our hands: nobody owns it, no list holds it, we have its token. budget NULL: no pages inside
// of it are given back.
static void
shared_slab_purge(struct hhi_slab *slab, struct hhi_purge_budget *budget)
{
    // order: seq_cst [SL-2] before the look at the links: either it finds a mark, or the mark's maker
    // finds 0 here and leads to another look.
    hh_fetch_and_seq_cst(&slab->notice, ~(uint32_t)HHI_NOTICE_TOUCHED);
    hhi_slab_collect(slab);
    if (hhi_slab_count_live(slab) == 0) {
        hhi_heap_retire_slab(slab);
        return;
    }
    if (budget != NULL) {
        slab->head_fresh = false;
        hhi_slab_purge_within(slab, budget);
    } else {
        hhi_slab_set_look(slab, HHI_LOOK_NEXT);
    }
    hhi_heap_return_shared(slab);
}

static void
pass_shared_slab(struct sweep_pass *pass, struct hhi_slab *slab)
{
    struct hhi_purge_budget budget = {SIZE_MAX, UINT32_MAX};
    shared_slab_purge(slab, &budget);
    pass->purged_bytes += SIZE_MAX - budget.bytes;
}

static bool
shared_slab_is_due(void *arg, struct hhi_slab *slab)
{
    struct sweep_pass *pass = arg;
    // relaxed: a hint.
    bool touched = (hh_load_relaxed(&slab->notice) & HHI_NOTICE_TOUCHED) != 0;
    if (hhi_slab_look(slab) == HHI_LOOK_DONE && !touched)
        return false;
    // relaxed: stored before the slab was shared, under the lock that is held.
    if (!stamp_is_old(pass, hh_load_relaxed(&slab->stamp_ms))) {
        pass->waiting++;
        return false;
    }
    return true;
}

static void
pass_heap_shared(struct sweep_pass *pass, struct hh_heap *heap)
{
    // relaxed: a hint.
    if (hh_load_relaxed(&heap->shared_count) == 0)
        return;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        struct hhi_slab *slab;
        while ((slab = hhi_heap_take_shared_if(heap, class_index, shared_slab_is_due, pass))) {
            for (struct hhi_slab *next; slab != NULL; slab = next) {
                next = slab->next;
                pass_shared_slab(pass, slab);
            }
        }
    }
}

static bool
shared_slab_is_stale(void *arg, struct hhi_slab *slab)
{
    (void)arg;
    // relaxed: a hint.
    return hhi_slab_look(slab) != HHI_LOOK_DONE ||
           (hh_load_relaxed(&slab->notice) & HHI_NOTICE_TOUCHED) != 0;
}

void
hhi_sweep_shared_stale(struct hh_heap *heap, struct hhi_purge_budget *budget)
{
    size_t bytes_before = budget->bytes;
    // relaxed (here and below): hints.
    uint32_t class_index = hh_load_relaxed(&heap->stale_class);
    for (unsigned classes = 1; classes < HHI_CLASSES && !hhi_purge_budget_is_spent(budget);) {
        struct hhi_slab *next,
            *slab = hhi_heap_take_shared_if(heap, class_index, shared_slab_is_stale, NULL);
        if (slab == NULL) {
            class_index = class_index % (HHI_CLASSES - 1) + 1;
            classes++;
        }
        for (; slab != NULL; slab = next) {
            next = slab->next;
            shared_slab_purge(slab, budget);
        }
    }
    hh_store_relaxed(&heap->stale_class, class_index);
    hh_fetch_add_relaxed(&sweep.purged_in_slabs, bytes_before - budget->bytes);
}

// ---- Threads ------------------------------------------------------------------------------------

/*
 * Slabs that wait for an owner who does not ask for them: pages that hold only REMOTE blocks are
 * given back, and the slabs put back into the inbox.
 */
static void
pass_inbox(struct sweep_pass *pass, struct hhi_cache *cache)
{
    struct hhi_slab *cold = hhi_inbox_take_cold(cache, pass->now_ms == HHI_RUN_ALL, &pass->waiting);
    if (cold == NULL)
        return;
    // relaxed: an owner that still collects from one of them read its section's epoch before it gave
    // the token back, so before the slab was taken [SL-4]: this is not an older one.
    uint64_t taken_epoch = hh_load_relaxed(&hhi_guard_epoch);
    // Else the owner may still be collecting from one of the slabs: the next pass looks again.
    bool alone = hhi_guard_advance() > taken_epoch;
    for (struct hhi_slab *slab = cold; alone && slab != NULL; slab = hhi_slab_inbox_next(slab))
        pass->purged_bytes += hhi_slab_purge_remote(slab);
    hhi_inbox_put_cold(cache, cold, alone);
    pass->waiting += !alone;
}

// Its memory waits for the decay time again when its run is free, so half of it is enough here.
static bool
kept_is_due(void *arg, struct hhi_slab *slab)
{
    struct sweep_pass *pass = arg;
    // relaxed: a hint; slab or run may have been taken from its slot by now.
    uint32_t stamp_ms = hh_load_relaxed(&slab->stamp_ms);
    struct sweep_pass half = *pass;
    half.decay_ms /= 2;
    if (stamp_ms != 0 ? stamp_is_old(&half, stamp_ms) : pass->now_ms == HHI_RUN_ALL)
        return true;
    if (stamp_ms == 0)
        // relaxed: as above.
        hh_store_relaxed(&slab->stamp_ms, (uint32_t)pass->now_ms | 1);
    pass->waiting++;
    return false;
}

// A heap's caches: they leave the list only when their heap ends, which the sweep lock excludes.
static struct hhi_cache *
heap_caches(struct hh_heap *heap)
{
    hhi_lock_enter(&heap->lock);
    struct hhi_cache *cache = heap->caches;
    hhi_lock_leave(&heap->lock);
    return cache;
}

static void
pass_heap_caches(struct sweep_pass *pass, struct hh_heap *heap)
{
    for (struct hhi_cache *cache = heap_caches(heap); cache != NULL; cache = cache->next_of_heap) {
        // Who mends a record tells lost slabs from those that it finds in inbox and slots.
        // relaxed: fixed once made.
        if (!hhi_thread_is_mended(hh_load_relaxed(&cache->thread)))
            continue;
        pass_inbox(pass, cache);
        hhi_kept_release(cache, kept_is_due, pass);
    }
}

static bool
orphan_is_due(struct hhi_cache *cache)
{
    // relaxed: a hint.
    return !cache->shared_all || !hhi_inbox_is_empty(cache);
}

static void
orphan_share(void *arg, struct hhi_cache *cache)
{
    (void)arg;
    hhi_cache_share_all(cache);
}

static void
pass_orphans(struct sweep_pass *pass)
{
    bool mended = true;
    struct hhi_thread *orphan;
    while (mended && (orphan = hhi_orphan_take_if(orphan_is_due)) != NULL) {
        // Not while some section is open, which may be for long: the next pass tries again.
        mended = hhi_thread_is_mended(orphan);
        if (mended)
            hhi_thread_for_each_cache(orphan, orphan_share, NULL);
        hhi_orphan_put(orphan);
    }
    pass->waiting += !mended;
}

// ---- A pass -------------------------------------------------------------------------------------

static size_t
purge_runs(uint64_t now_ms, uint32_t decay_ms, size_t limit_bytes)
{
    // One at a time: who is about to be refused for a limit waits for what another thread, the
    // sweeper say, is giving back at this moment and has not discharged yet.
    hhi_lock_enter(&sweep.purge_lock);
    size_t purged_bytes = hhi_run_purge(now_ms, decay_ms, limit_bytes);
    hhi_limit_discharge(purged_bytes); // retained memory counts until it is given back
    hhi_lock_leave(&sweep.purge_lock);
    return purged_bytes;
}

void
hhi_sweep_runs(struct hhi_purge_budget *budget)
{
    size_t purged_bytes = purge_runs(HHI_RUN_ALL, 0, budget->bytes);
    budget->bytes -= purged_bytes < budget->bytes ? purged_bytes : budget->bytes;
}

static void
pass_locked(struct sweep_pass *pass)
{
    sweep.passing = true;
    pass_orphans(pass);
    // Heaps leave the list only when they end, which the sweep lock excludes.
    for (struct hh_heap *heap = hhi_heap_first(); heap != NULL; heap = hhi_heap_next(heap)) {
        pass_heap_caches(pass, heap);
        (void)hhi_kept_runs_release(heap, kept_is_due, pass);
        pass_heap_shared(pass, heap);
    }
    // relaxed: a statistic.
    hh_fetch_add_relaxed(&sweep.purged_in_slabs, pass->purged_bytes);
    hhi_limbo_advance(true);
    pass->purged_bytes += purge_runs(pass->now_ms, pass->decay_ms, SIZE_MAX);
    sweep.passing = false;
}

static void
sweep_own_cache(void *arg, struct hhi_cache *cache)
{
    struct sweep_pass *pass = arg;
    pass->purged_bytes += hhi_cache_purge(cache);
}

uint64_t
hhi_sweep_purged_in_slabs(void)
{
    // relaxed: a statistic.
    return hh_load_relaxed(&sweep.purged_in_slabs);
}

size_t
hhi_sweep_all(void)
{
    struct sweep_pass pass = {.now_ms = HHI_RUN_ALL};
    struct hhi_thread *thread = hhi_thread_get();
    // The lock first: it keeps other threads from ending the heaps of our caches.
    hhi_lock_enter(&sweep.lock);
    if (thread != NULL) {
        hhi_thread_mend(thread);
        hhi_thread_for_each_cache(thread, sweep_own_cache, &pass);
    }
    pass_locked(&pass);
    hhi_lock_leave(&sweep.lock);
    hhi_thread_return(thread);
    return pass.purged_bytes;
}

// The kernel has refused something: of free runs it counts addresses and accessible pages, not contents.
static size_t
sweep_give_back(struct hhi_tries *tries)
{
    hhi_limbo_advance(true);
    hhi_lock_enter(&sweep.purge_lock);
    size_t purged_bytes = hhi_run_give_back(tries);
    hhi_limit_discharge(purged_bytes);
    hhi_lock_leave(&sweep.purge_lock);
    return purged_bytes;
}

static size_t
sweep_free_runs(void)
{
    hhi_limbo_advance(true);
    return purge_runs(HHI_RUN_ALL, 0, SIZE_MAX);
}

static void
heap_release_kept(struct hh_heap *heap)
{
    for (struct hhi_cache *cache = heap_caches(heap); cache != NULL; cache = cache->next_of_heap)
        // relaxed: fixed once made. See pass_heap_caches.
        if (hhi_thread_is_mended(hh_load_relaxed(&cache->thread)))
            hhi_kept_release(cache, NULL, NULL);
    (void)hhi_kept_runs_release(heap, NULL, NULL);
}

// A limit is reached.
static void
heap_lend_freed(struct hh_heap *heap)
{
    for (struct hhi_cache *cache = heap_caches(heap); cache != NULL; cache = cache->next_of_heap)
        // relaxed: fixed once made. See pass_heap_caches.
        if (hhi_thread_is_mended(hh_load_relaxed(&cache->thread)))
            hhi_lent_make(cache);
}

static bool
shared_slab_is_touched(void *arg, struct hhi_slab *slab)
{
    (void)arg;
    // relaxed: a hint. Nobody but others frees blocks of a slab without owner.
    return (hh_load_relaxed(&slab->notice) & HHI_NOTICE_TOUCHED) != 0;
}

// Retire the shared slabs of a heap whose blocks were all freed; the rest is left as it is.
static void
heap_retire_shared(struct hh_heap *heap)
{
    struct hhi_slab *next, *slab;
    // relaxed: a hint.
    if (hh_load_relaxed(&heap->shared_count) == 0)
        return;
    for (unsigned class_index = 1; class_index < HHI_CLASSES; class_index++) {
        slab = hhi_heap_take_shared_if(heap, class_index, shared_slab_is_touched, NULL);
        for (; slab != NULL; slab = next) {
            next = slab->next;
            shared_slab_purge(slab, NULL);
        }
    }
}

static void
give_back_own(void *arg, struct hhi_cache *cache)
{
    hhi_cache_give_back(cache, *(const bool *)arg);
}

size_t
hhi_sweep_retained(struct hhi_tries *tries)
{
    struct hhi_thread *self = hhi_self;
    struct sweep_pass pass = {.now_ms = HHI_RUN_ALL};
    bool small_ones =
        tries == NULL || (!tries->outside && tries->size_bytes >= SMALL_ONES_MAKE_BYTES &&
                          hhi_run_region_can_hold(tries->size_bytes));
    // It keeps other threads from ending the heaps of our caches, and heaps in their list.
    hhi_lock_enter(&sweep.lock);
    sweep.passing = true;
    if (hhi_thread_is_real(self) && hhi_thread_is_mended(self))
        hhi_thread_for_each_cache(self, give_back_own, &small_ones);
    pass_orphans(&pass);
    for (struct hh_heap *heap = hhi_heap_first(); heap != NULL; heap = hhi_heap_next(heap)) {
        heap_release_kept(heap);
        heap_retire_shared(heap);
        if (tries == NULL)
            heap_lend_freed(heap);
    }
    size_t purged_bytes = tries == NULL ? sweep_free_runs() : sweep_give_back(tries);
    sweep.passing = false;
    hhi_lock_leave(&sweep.lock);
    return purged_bytes;
}

bool
hhi_sweep_comes(void)
{
    // relaxed: a hint; what is kept meanwhile is seen to by the next one that starts.
    return hhi_opt.decay_ms != 0 && hhi_opt.background && hh_load_relaxed(&sweep.unavailable) == 0;
}

// ---- The sweeper's thread -----------------------------------------------------------------------

static unsigned
tick_ms(void)
{
    unsigned ms = hhi_opt.decay_ms / 4;
    return ms < TICK_SHORTEST_MS ? TICK_SHORTEST_MS : ms > TICK_LONGEST_MS ? TICK_LONGEST_MS : ms;
}

// Passes until there was nothing to do for a while.
static void
sweeper_work(void)
{
    for (unsigned idle = 0; idle < IDLE_TICKS;) {
        hhi_os_sleep_ms(tick_ms());
        struct sweep_pass pass = {hhi_os_clock_ms(), hhi_opt.decay_ms, 0, 0};
        // relaxed: a hint of activity.
        size_t noted_bytes = hh_exchange_relaxed(&sweep.noted_bytes, 0);
        hhi_lock_enter(&sweep.lock);
        pass_locked(&pass);
        hhi_lock_leave(&sweep.lock);
        bool busy = noted_bytes > 0 || pass.waiting > 0 || pass.purged_bytes > 0 ||
                    hhi_run_retained_bytes() > 0 || hhi_limbo_granules() > 0;
        idle = busy ? 0 : idle + 1;
    }
}

static void
sweeper_run(void *arg)
{
    (void)arg;
    uint32_t stopped = 0;
    do {
        sweeper_work();
        // order: seq_cst [SW-1] the next thread's start comes after this one's last access; and
        // either it sees our note, or we see its bytes.
        hh_store_seq_cst(&sweep.running, 0);
        stopped = 0;
        // order: seq_cst [SW-1] after the note above; acquire [SW-1] as any starter.
    } while (hh_load_seq_cst(&sweep.noted_bytes) >= NOTE_STARTS_BYTES &&
             hh_cas_strong_acquire(&sweep.running, &stopped, 1));
}

static void
sweeper_start(void)
{
    uint32_t stopped = 0;
    // A handler that forked in the middle would leave the child in doubt whether it has a sweeper.
    uint64_t signals = hhi_os_block_signals();
    // order: acquire [SW-1] the last thread is done.
    if (hh_cas_strong_acquire(&sweep.running, &stopped, 1)) {
        bool started =
            hhi_process_watches_forks() && hhi_os_start_hidden_thread(sweeper_run, NULL) == 0;
        // relaxed (all): hints. Until the next try, later each time, threads sweep in portions.
        uint32_t pause_ms = hh_load_relaxed(&sweep.start_pause_ms) * 2;
        pause_ms = pause_ms == 0 ? START_PAUSE_MS : pause_ms;
        pause_ms = pause_ms > START_PAUSE_LONGEST_MS ? START_PAUSE_LONGEST_MS : pause_ms;
        hh_store_relaxed(&sweep.start_pause_ms, started ? 0 : pause_ms);
        if (!started)
            hh_store_relaxed(&sweep.start_next_ms, hhi_os_clock_ms() + pause_ms);
        hh_store_relaxed(&sweep.unavailable, !started);
        if (!started)
            // order: release [SW-1].
            hh_store_release(&sweep.running, 0);
    }
    hhi_os_restore_signals(signals);
}

// Without a sweeper thread: now and then, purge a portion on the thread that comes by.
static void
sweep_portion(void)
{
    // relaxed (all): who loses a race only skips a portion.
    if (hh_fetch_add_relaxed(&sweep.events, 1) % TICK_EVENTS != 0)
        return;
    uint64_t now_ms = hhi_os_clock_ms();
    if (now_ms - hh_load_relaxed(&sweep.last_tick_ms) < tick_ms())
        return;
    hh_store_relaxed(&sweep.last_tick_ms, now_ms);
    hhi_limbo_advance(true);
    purge_runs(now_ms, hhi_opt.decay_ms, PORTION_BYTES);
    if (hhi_opt.background && now_ms >= hh_load_relaxed(&sweep.start_next_ms))
        sweeper_start();
}

static bool
sweeper_is_missing(void)
{
    // relaxed: a hint.
    return !hhi_opt.background || hh_load_relaxed(&sweep.unavailable) != 0;
}

// Whether who notes something gives nothing back now: a pass does so at its end, and a thread that asks for
// memory when it is served.
static bool
noted_for_later(void)
{
    if (hhi_lock_is_mine(&sweep.lock) && sweep.passing)
        return true;
    struct hhi_thread *self = hhi_self;
    if (self->asking == HHI_ASKING_NO || self->asking == HHI_ASKING_OWED)
        return false;
    self->asking = HHI_ASKING_NOTED;
    return true;
}

void
hhi_sweep_note(size_t size_bytes)
{
    if (hhi_opt.decay_ms == HHI_DECAY_OFF)
        return;
    bool later = noted_for_later();
    if (hhi_opt.decay_ms == 0 && !later)
        sweep_free_runs(); // what lies inside of slabs is left to the sweeper
    // order: seq_cst [SW-1] the note comes before the look whether the thread exists.
    size_t noted_bytes = hh_fetch_add_seq_cst(&sweep.noted_bytes, size_bytes) + size_bytes;
    if (hh_load_seq_cst(&sweep.running) != 0)
        return;
    if (sweeper_is_missing()) {
        if (!later)
            sweep_portion();
    } else if (noted_bytes >= NOTE_STARTS_BYTES) {
        sweeper_start();
    }
}

void
hhi_sweep_asked(void)
{
    if (hhi_opt.decay_ms == 0)
        sweep_free_runs();
    if (sweeper_is_missing())
        sweep_portion();
}

// ---- Keeping it out, fork -----------------------------------------------------------------------

void
hhi_sweep_exclude(void)
{
    hhi_lock_enter(&sweep.lock);
}

bool
hhi_sweep_exclude_once(void)
{
    if (hhi_lock_is_mine(&sweep.lock))
        return false;
    hhi_lock_enter(&sweep.lock);
    return true;
}

void
hhi_sweep_admit(void)
{
    hhi_lock_leave(&sweep.lock);
}

void
hhi_sweep_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&sweep.lock, step);
    hhi_lock_fork(&sweep.purge_lock, step);
    if (step != HHI_FORK_CHILD)
        return;
    // relaxed (both): the only thread of the process; the sweeper stayed behind.
    hh_store_relaxed(&sweep.running, 0);
    hh_store_relaxed(&sweep.noted_bytes, NOTE_STARTS_BYTES);
}
