// SPDX-License-Identifier: MIT
// heap/sample.c - see sample.h.
#include "heap/sample.h"

#include "heap/sample_report.h"
#include "heap/thread_cache.h"
#include "os/lock.h"
#include "os/os.h"

enum {
    SAMPLE_PAGES = 2 * HHI_SAMPLE_SLOTS + 1,
    SAMPLE_QUEUED_MIN = HHI_SAMPLE_SLOTS / 4, // so many slots rest before one is used again
};

_Atomic uint32_t hhi_sample_every HH_START_STATE;
_Atomic uint32_t hhi_sample_pool_made;

static struct {
    struct hhi_lock lock;   // rank: sample, the last
    _Atomic uintptr_t base; // 0: not reserved yet  [SG-2]
    struct hhi_sample_slot *slots;
    _Atomic uint64_t refills; // seen while on, from a random number
    // Under lock: slots without a block, first ended first.
    uint16_t queue[HHI_SAMPLE_SLOTS];
    unsigned first, queued;
} pool;

static uintptr_t
pool_base(void)
{
    // order: acquire [SG-2] slots and queue.
    return hh_load_acquire(&pool.base);
}

bool
hhi_sample_contains(const void *address)
{
    uintptr_t base = pool_base();
    return base != 0 && (uintptr_t)address - base < SAMPLE_PAGES * hhi_os_page_bytes();
}

static void *
slot_page(const struct hhi_sample_slot *slot)
{
    size_t number = (size_t)(slot - pool.slots);
    return (void *)(pool_base() + (2 * number + 1) * hhi_os_page_bytes());
}

// The slot in whose page address lies, or NULL.
static struct hhi_sample_slot *
slot_at(const void *address)
{
    if (!hhi_sample_contains(address))
        return NULL;
    size_t page = ((uintptr_t)address - pool_base()) / hhi_os_page_bytes();
    return page % 2 == 0 ? NULL : &pool.slots[page / 2];
}

static uint32_t
slot_word(struct hhi_sample_slot *slot)
{
    // order: acquire [SG-1] the slot's fields.
    return hh_load_acquire(&slot->state);
}

static bool
word_is(uint32_t word, uint32_t state)
{
    return (word & HHI_SAMPLE_STATE_MASK) == state;
}

// ---- Queue --------------------------------------------------------------------------------------

static void
queue_put(struct hhi_sample_slot *slot)
{
    hhi_lock_enter(&pool.lock);
    pool.queue[(pool.first + pool.queued++) % HHI_SAMPLE_SLOTS] = (uint16_t)(slot - pool.slots);
    hhi_lock_leave(&pool.lock);
}

// The slot that has rested longest. NULL: too few are at rest.
static struct hhi_sample_slot *
queue_get(void)
{
    struct hhi_sample_slot *slot = NULL;
    hhi_lock_enter(&pool.lock);
    if (pool.queued > SAMPLE_QUEUED_MIN) {
        slot = &pool.slots[pool.queue[pool.first]];
        pool.first = (pool.first + 1) % HHI_SAMPLE_SLOTS;
        pool.queued--;
    }
    hhi_lock_leave(&pool.lock);
    return slot;
}

// ---- Events -------------------------------------------------------------------------------------

/*
 * Note the caller's thread and the words on its stack, to the end of the stack's page: what lies
 * above may not be mapped. Which of the words are return addresses is for the report to find out.
 */
HH_NOINLINE __attribute__((no_sanitize("address", "thread"))) static void
event_note(struct hhi_sample_event *event)
{
    const volatile uintptr_t *word = __builtin_frame_address(0);
    uintptr_t end = hh_align_up((uintptr_t)word + 1, hhi_os_page_bytes());
    uint32_t count = 0;
    // relaxed (all): published by the slot's state; else a report may mix two events.
    for (; count < HHI_SAMPLE_STACK_WORDS && (uintptr_t)&word[count] < end; count++)
        hh_store_relaxed(&event->stack[count], word[count]);
    hh_store_relaxed(&event->words, count);
    hh_store_relaxed(&event->thread, (uint32_t)hhi_os_thread_id());
}

// ---- Allocation ---------------------------------------------------------------------------------

// A bijection that makes neighbouring numbers look random (the finaliser of splitmix64).
static uint64_t
number_mix(uint64_t number)
{
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return number ^ number >> 31;
}

// Make the page of a slot accessible and zero.
static bool
slot_open(struct hhi_sample_slot *slot)
{
    void *page = slot_page(slot);
    if (!slot->clean && hhi_os_purge(page, hhi_os_page_bytes()) != 0)
        return false;
    slot->clean = true;
    return hhi_os_commit(page, hhi_os_page_bytes(), false) == 0;
}

void *
hhi_sample_take(struct hh_heap *heap, unsigned class_index)
{
    return hhi_sample_take_bytes(heap, hhi_class_bytes(class_index));
}

void *
hhi_sample_take_bytes(struct hh_heap *heap, size_t size_bytes)
{
    size_t page_bytes = hhi_os_page_bytes();
    // relaxed (both): off or on is seen sooner or later; a count.
    uint32_t every = hh_load_relaxed(&hhi_sample_every);
    uint64_t chance = number_mix(hh_fetch_add_relaxed(&pool.refills, 1));
    if (every == 0 || chance / 2 % every != 0 || size_bytes > page_bytes ||
        (heap->flags & HHI_HEAP_EXECUTABLE) != 0 || pool_base() == 0)
        return NULL;
    struct hhi_sample_slot *slot = queue_get();
    if (slot == NULL)
        return NULL;
    if (!slot_open(slot)) {
        queue_put(slot);
        return NULL;
    }
    uintptr_t base = (uintptr_t)slot_page(slot);
    if (chance % 2 == 0)
        base += page_bytes - hh_align_up(size_bytes, HHI_ALIGNMENT_BYTES);
    // relaxed (all): published by the state below.
    hh_store_relaxed(&slot->base, base);
    hh_store_relaxed(&slot->size_bytes, (uint32_t)size_bytes);
    hh_store_relaxed(&slot->heap, heap);
    hh_store_relaxed(&slot->heap_id, hhi_heap_id(heap));
    hh_store_relaxed(&slot->freed.thread, 0);
    event_note(&slot->allocated);
    uint32_t word = (hh_load_relaxed(&slot->state) | HHI_SAMPLE_STATE_MASK) + 1;
    // order: release [SG-1] the slot's fields.
    hh_store_release(&slot->state, word | HHI_SAMPLE_LIVE);
    return (void *)base;
}

// ---- Free ---------------------------------------------------------------------------------------

// What hhi_sample_free_looked is given; look NULL: nothing.
struct slot_looker {
    void (*look)(void *arg, uintptr_t base, size_t size_bytes);
    void *arg;
};

// End the block that word, read before, tells of. False: it has ended already.
static bool
slot_end(struct hhi_sample_slot *slot, uint32_t word, struct slot_looker looker)
{
    uint32_t ended = (word & ~(uint32_t)HHI_SAMPLE_STATE_MASK) | HHI_SAMPLE_ENDED;
    // relaxed: the winner alone ends the block; the word was read with its fields before, and the
    // queue's lock hands the slot on.
    if (!hh_cas_strong_relaxed(&slot->state, &word, ended))
        return false;
    if (looker.look != NULL)
        // relaxed (both): the winner's own.
        looker.look(looker.arg, hh_load_relaxed(&slot->base), hh_load_relaxed(&slot->size_bytes));
    event_note(&slot->freed);
    // Should the kernel refuse, at its limit of mappings, then uses after this free stay unseen.
    slot->clean = hhi_os_decommit(slot_page(slot), hhi_os_page_bytes()) == 0;
    queue_put(slot);
    return true;
}

static hhi_refusal
sample_free(struct hh_heap *heap, void *block, struct slot_looker looker)
{
    struct hhi_sample_slot *slot = slot_at(block);
    if (slot == NULL)
        return HH_BAD_FOREIGN;
    // Before the block is judged: a block that begins to live after this is not ended below.
    uint32_t word = slot_word(slot);
    hh_block_info info;
    hhi_refusal refusal = hhi_heap_judge(heap, block, &info);
    if (refusal != 0)
        return refusal;
    if (!word_is(word, HHI_SAMPLE_LIVE) || !slot_end(slot, word, looker))
        return HH_BAD_NOT_LIVE;
    return 0;
}

hhi_refusal
hhi_sample_free(struct hh_heap *heap, void *block)
{
    return sample_free(heap, block, (struct slot_looker){NULL, NULL});
}

hhi_refusal
hhi_sample_free_looked(struct hh_heap *heap, void *block,
                       void (*look)(void *arg, uintptr_t base, size_t size_bytes), void *arg)
{
    return sample_free(heap, block, (struct slot_looker){look, arg});
}

void
hhi_sample_shrink(const void *block, size_t size_bytes)
{
    struct hhi_sample_slot *slot = slot_at(block);
    if (slot != NULL)
        // relaxed: fixed while the block lives but for its owner, who is the caller.
        hh_store_relaxed(&slot->size_bytes, (uint32_t)hh_align_up(size_bytes == 0 ? 1 : size_bytes,
                                                                  HHI_ALIGNMENT_BYTES));
}

void
hhi_sample_end_heap(struct hh_heap *heap)
{
    if (pool_base() == 0)
        return;
    for (struct hhi_sample_slot *slot = pool.slots; slot < pool.slots + HHI_SAMPLE_SLOTS; slot++) {
        uint32_t word = slot_word(slot);
        // relaxed (both): changed by the slot's owner only, who is the caller or ends it here.
        if (hh_load_relaxed(&slot->heap) != heap)
            continue;
        if (word_is(word, HHI_SAMPLE_LIVE)) {
            hh_store_relaxed(&slot->heap, NULL);
            slot_end(slot, word, (struct slot_looker){NULL, NULL});
        } else {
            struct hh_heap *expected = heap;
            // relaxed: another heap's block may begin in the slot this moment.
            hh_cas_strong_relaxed(&slot->heap, &expected, NULL);
        }
    }
}

// ---- Questions ----------------------------------------------------------------------------------

void
hhi_sample_describe(const void *address, hh_block_info *info)
{
    struct hhi_sample_slot *slot = slot_at(address);
    if (slot == NULL)
        return;
    uint32_t word = slot_word(slot);
    if (word_is(word, HHI_SAMPLE_UNUSED))
        return;
    // relaxed (all): fixed while the block lives; else the answer may be out of date.
    info->heap = hh_load_relaxed(&slot->heap);
    uintptr_t base = hh_load_relaxed(&slot->base);
    size_t size_bytes = hh_load_relaxed(&slot->size_bytes);
    if (info->heap == NULL || (uintptr_t)address - base >= size_bytes)
        return;
    info->base = (void *)base;
    info->size_bytes = size_bytes;
    info->live = word_is(word, HHI_SAMPLE_LIVE);
}

int
hhi_sample_walk(struct hh_heap *heap, int (*visit)(void *arg, void *block, size_t size_bytes),
                void *arg)
{
    int stop = 0;
    if (pool_base() == 0)
        return 0;
    for (size_t number = 0; number < HHI_SAMPLE_SLOTS && stop == 0; number++) {
        struct hhi_sample_slot *slot = &pool.slots[number];
        uint32_t word = slot_word(slot);
        // relaxed (all): blocks taken or freed meanwhile may be seen or not.
        if (word_is(word, HHI_SAMPLE_LIVE) && hh_load_relaxed(&slot->heap) == heap)
            stop = visit(arg, (void *)hh_load_relaxed(&slot->base),
                         hh_load_relaxed(&slot->size_bytes));
    }
    return stop;
}

// How far address is from a slot's block; SIZE_MAX: the slot has had none.
static size_t
slot_distance(struct hhi_sample_slot *slot, uintptr_t address)
{
    if (word_is(slot_word(slot), HHI_SAMPLE_UNUSED))
        return SIZE_MAX;
    // relaxed (both): for a report.
    uintptr_t base = hh_load_relaxed(&slot->base);
    uintptr_t end = base + hh_load_relaxed(&slot->size_bytes);
    return address < base ? base - address : address < end ? 0 : address - end + 1;
}

struct hhi_sample_slot *
hhi_sample_find(const void *address)
{
    struct hhi_sample_slot *slot = slot_at(address);
    if (slot != NULL)
        return word_is(slot_word(slot), HHI_SAMPLE_UNUSED) ? NULL : slot;
    if (!hhi_sample_contains(address))
        return NULL;
    // A guard: an access past the block on its left, or before the one on its right.
    size_t right = ((uintptr_t)address - pool_base()) / hhi_os_page_bytes() / 2;
    size_t nearest = SIZE_MAX;
    for (size_t number = right == 0 ? 0 : right - 1; number <= right && number < HHI_SAMPLE_SLOTS;
         number++) {
        size_t distance = slot_distance(&pool.slots[number], (uintptr_t)address);
        if (distance < nearest) {
            nearest = distance;
            slot = &pool.slots[number];
        }
    }
    return slot;
}

// ---- Start and fork -----------------------------------------------------------------------------

static bool
pool_reserve(void)
{
    intptr_t slots =
        hhi_os_map_private(hh_align_up(HHI_SAMPLE_SLOTS * sizeof *pool.slots, hhi_os_page_bytes()));
    if (slots < 0)
        return false;
    intptr_t base = hhi_os_reserve(NULL, SAMPLE_PAGES * hhi_os_page_bytes());
    if (base < 0) {
        hhi_os_release((void *)slots,
                       hh_align_up(HHI_SAMPLE_SLOTS * sizeof *pool.slots, hhi_os_page_bytes()));
        return false;
    }
    pool.slots = (struct hhi_sample_slot *)slots;
    for (unsigned number = 0; number < HHI_SAMPLE_SLOTS; number++) {
        pool.slots[number].clean = true;
        pool.queue[number] = (uint16_t)number;
    }
    pool.queued = HHI_SAMPLE_SLOTS;
    // relaxed: a number to begin with.
    hh_store_relaxed(&pool.refills, hhi_os_random());
    // order: release [SG-2] slots and queue.
    hh_store_release(&pool.base, (uintptr_t)base);
    // relaxed: who has a block of the pool got it from a thread that saw its base.
    hh_store_relaxed(&hhi_sample_pool_made, 1);
    hhi_sample_catch_faults();
    return true;
}

bool
hhi_sample_start(uint32_t every)
{
    hhi_lock_enter(&pool.lock);
    bool ready = every == 0 || pool_base() != 0 || pool_reserve();
    hhi_lock_leave(&pool.lock);
    // relaxed: whoever samples looks at the pool's base.
    if (ready)
        hh_store_relaxed(&hhi_sample_every, every);
    return ready;
}

// A slot that a lost thread was taking or ending stays unused in the child.
void
hhi_sample_fork(enum hhi_fork_step step)
{
    hhi_lock_fork(&pool.lock, step);
    if (step == HHI_FORK_CHILD)
        hhi_sample_report_reset();
}
