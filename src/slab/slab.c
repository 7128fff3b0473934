// SPDX-License-Identifier: MIT
// slab/slab.c - what is done to the blocks of one slab.
#include "slab/slab.h"

#include "base/check.h"
#include "os/os.h"
#include "region/run.h"

/*
 * Links are looked through four at a time. Mixing widths on the same memory is outside of C11's
 * model but inside every processor's that we run on; the word loads have the order the protocol
 * asks of single ones.
 */
enum { LINKS_PER_WORD = 4 };
#define LANE_LOW 0x0001000100010001u
#define LANE_HIGH 0x8000800080008000u
#define LANES_NEXT 0x0004000300020001u // what to add to the first of four for the next of each

static _Atomic uint64_t *
links_words(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    return (_Atomic uint64_t *)(void *)hh_load_relaxed(&slab->links);
}

// The high bit of each 16-bit lane that equals value; a lane above a hit may be a false one.
static uint64_t
lanes_equal(uint64_t word, uint16_t value)
{
    uint64_t difference = word ^ (LANE_LOW * value);
    return (difference - LANE_LOW) & ~difference & LANE_HIGH;
}

static uint32_t
link_read(struct hhi_slab *slab, uint32_t index)
{
    // relaxed: the owner's own writes, or marks whose order the caller has established.
    return hh_load_relaxed(&hh_load_relaxed(&slab->links)[index]);
}

static void
link_write(struct hhi_slab *slab, uint32_t index, uint32_t value)
{
    // relaxed: only the slab's owner or holder follows it.
    hh_store_relaxed(&hh_load_relaxed(&slab->links)[index], (uint16_t)value);
}

// Make blocks [first, end) a list in the order of their addresses, four links in a store.
static void
links_chain(struct hhi_slab *slab, uint32_t first, uint32_t end)
{
    _Atomic uint64_t *words = links_words(slab);
    uint32_t index = first;
    for (; index < end && index % LINKS_PER_WORD != 0; index++)
        link_write(slab, index, index + 1);
    for (; index + LINKS_PER_WORD <= end; index += LINKS_PER_WORD)
        // relaxed: as link_write.
        hh_store_relaxed(&words[index / LINKS_PER_WORD], LANE_LOW * index + LANES_NEXT);
    for (; index < end; index++)
        link_write(slab, index, index + 1);
    link_write(slab, end - 1, HHI_LINK_END);
}

uint32_t
hhi_slab_extend_by(struct hhi_slab *slab, uint32_t most)
{
    uint32_t first = slab->init;
    // relaxed: fixed while carved.
    uint32_t end = hh_load_relaxed(&slab->block_count);
    if (end - first > most)
        end = first + (most > 0 ? most : 1);
    links_chain(slab, first, end);
    slab->init = end;
    // relaxed: fixed while carved.
    slab->head_fresh = (hh_load_relaxed(&slab->flags) & HHI_SLAB_CLEAN) != 0;
    return first;
}

uint32_t
hhi_slab_extend(struct hhi_slab *slab, bool sparing)
{
    // relaxed: fixed while carved.
    uint32_t block_bytes = (uint32_t)hh_load_relaxed(&slab->block_bytes);
    bool is_short = (slab->init == 0 || sparing) && block_bytes <= HHI_SMALL_MAX_BYTES;
    uint32_t most = (is_short ? HHI_EXTEND_SHORT_BYTES : HHI_EXTEND_BYTES) / block_bytes;
    return hhi_slab_extend_by(slab, most < HHI_EXTEND_BLOCKS ? most : HHI_EXTEND_BLOCKS);
}

void
hhi_slab_populate(struct hhi_slab *slab, uint32_t first, bool fills)
{
    // relaxed (both): fixed while carved.
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    size_t run_bytes = (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
    size_t from = first * block_bytes;
    if (from < HHI_POPULATE_FROM_BYTES && !fills)
        return;
    from = hh_align_up(from, HHI_POPULATE_STEP_BYTES);
    size_t to = hh_align_up(slab->init * block_bytes, HHI_POPULATE_STEP_BYTES);
    if (to > run_bytes)
        to = run_bytes;
    if (to > from && HHI_POPULATE_STEP_BYTES > hhi_os_page_bytes())
        (void)hhi_os_populate((void *)(hhi_slab_base(slab) + from), to - from);
}

// A list that grows at its end, through the links.
struct list_end {
    uint32_t first; // HHI_LINK_END: empty
    uint32_t last;
    uint32_t next; // what the link of last holds
};

static void
list_add(struct hhi_slab *slab, struct list_end *list, uint32_t index)
{
    if (list->first == HHI_LINK_END)
        list->first = index;
    else if (list->next != index)
        link_write(slab, list->last, index);
}

// Add the marked ones of four links from base on, of which word is a look. Returns how many.
static uint32_t
word_collect(struct hhi_slab *slab, struct list_end *list, uint32_t base, uint64_t word)
{
    uint32_t collected = 0;
    for (uint32_t lane = 0; lane < LINKS_PER_WORD; lane++) {
        if ((uint16_t)(word >> (16 * lane)) != HHI_LINK_REMOTE)
            continue;
        // order: acquire [SL-1] of the mark as it was written: the load of four links at once
        // finds marks, but is no operation on any of them.
        // relaxed: the address of the links is fixed while carved.
        HH_CHECK(hh_load_acquire(&hh_load_relaxed(&slab->links)[base + lane]) == HHI_LINK_REMOTE);
        list_add(slab, list, base + lane);
        list->last = base + lane;
        list->next = HHI_LINK_REMOTE;
        collected++;
    }
    return collected;
}

/*
 * The blocks come onto the list in the order of their addresses, which the processor's prefetch
 * follows. Where four neighbours are marked, as in a slab that was freed whole, they are linked by
 * one store: to each other and to the next word, which is right if that is marked, too.
 */
uint32_t
hhi_slab_collect(struct hhi_slab *slab)
{
    uint32_t collected = 0;
    struct list_end list = {.first = HHI_LINK_END};
    _Atomic uint64_t *words = links_words(slab);
    for (uint32_t base = 0; base < slab->init; base += LINKS_PER_WORD) {
        // order: seq_cst [SL-2] after the token exchange; acquire [SL-1].
        uint64_t word = hh_load_seq_cst(&words[base / LINKS_PER_WORD]);
        if (word == LANE_LOW * HHI_LINK_REMOTE && !HH_TSAN) { // it can not see this acquire
            list_add(slab, &list, base);
            list.last = base + LINKS_PER_WORD - 1;
            list.next = base + LINKS_PER_WORD;
            // relaxed: as link_write.
            hh_store_relaxed(&words[base / LINKS_PER_WORD], LANE_LOW * base + LANES_NEXT);
            collected += LINKS_PER_WORD;
        } else if (lanes_equal(word, HHI_LINK_REMOTE) != 0) {
            collected += word_collect(slab, &list, base, word);
        }
    }
    if (collected > 0) {
        link_write(slab, list.last, slab->freed);
        slab->freed = list.first;
    }
    return collected;
}

bool
hhi_slab_is_idle(struct hhi_slab *slab)
{
    static_assert((HHI_LINK_REMOTE | 1) == HHI_LINK_LIVE, "one comparison finds both");
    _Atomic uint64_t *words = links_words(slab);
    for (uint32_t base = 0; base < slab->init; base += LINKS_PER_WORD) {
        // relaxed: only the owner makes a block LIVE, and a block that is not is never marked.
        uint64_t word = hh_load_relaxed(&words[base / LINKS_PER_WORD]);
        if (lanes_equal(word | LANE_LOW, HHI_LINK_LIVE) != 0)
            return false;
    }
    return true;
}

uint32_t
hhi_slab_count_live(struct hhi_slab *slab)
{
    uint32_t live = 0;
    // relaxed: fixed while carved.
    uint32_t count = hh_load_relaxed(&slab->block_count);
    _Atomic uint64_t *words = links_words(slab);
    for (uint32_t base = 0; base < count; base += LINKS_PER_WORD) {
        // relaxed: a census; who needs it exact is the only one who changes links.
        uint64_t word = hh_load_relaxed(&words[base / LINKS_PER_WORD]);
        if (word == 0 || lanes_equal(word, HHI_LINK_LIVE) == 0)
            continue;
        for (uint32_t lane = 0; lane < LINKS_PER_WORD; lane++)
            live += (uint16_t)(word >> (16 * lane)) == HHI_LINK_LIVE;
    }
    return live;
}

void
hhi_slab_rebuild(struct hhi_slab *slab)
{
    slab->freed = slab->head = HHI_LINK_END;
    slab->head_fresh = false;
    for (uint32_t index = slab->init; index-- > 0;) {
        // What is LIVE may become REMOTE meanwhile, and is left to who collects; the rest is the owner's.
        uint32_t link = link_read(slab, index);
        if (link == HHI_LINK_LIVE || link == HHI_LINK_REMOTE)
            continue;
        link_write(slab, index, slab->freed);
        slab->freed = index;
    }
}

// Purge the whole pages inside blocks [first, end).
static size_t
blocks_purge(struct hhi_slab *slab, uint32_t first, uint32_t end)
{
    // relaxed: fixed while carved.
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes);
    size_t page_bytes = hhi_os_page_bytes();
    uintptr_t from = hh_align_up(hhi_slab_base(slab) + first * block_bytes, page_bytes);
    uintptr_t to = hh_align_down(hhi_slab_base(slab) + end * block_bytes, page_bytes);
    if (from >= to || hhi_os_purge((void *)from, to - from) != 0)
        return 0;
    return to - from;
}

static uint32_t
link_read_mark(struct hhi_slab *slab, uint32_t index)
{
    // order: acquire [SL-1] of a mark that the caller may know nothing of yet.
    // relaxed: the address of the links is fixed while carved.
    return hh_load_acquire(&hh_load_relaxed(&slab->links)[index]);
}

// Purge stretches of blocks below end for which want(link) holds.
static size_t
stretches_purge(struct hhi_slab *slab, uint32_t end, bool (*want)(uint32_t link))
{
    size_t purged_bytes = 0;
    for (uint32_t index = 0; index < end;) {
        if (!want(link_read_mark(slab, index))) {
            index++;
            continue;
        }
        uint32_t first = index;
        while (index < end && want(link_read_mark(slab, index)))
            index++;
        purged_bytes += blocks_purge(slab, first, index);
    }
    return purged_bytes;
}

static bool
link_is_remote(uint32_t link)
{
    return link == HHI_LINK_REMOTE;
}

// The next live block at or after from; end if there is none below it.
static uint32_t
next_live(struct hhi_slab *slab, uint32_t from, uint32_t end)
{
    _Atomic uint64_t *words = links_words(slab);
    uint64_t mask = ~(uint64_t)0 << (from % LINKS_PER_WORD * 16);
    for (uint32_t base = from & ~(LINKS_PER_WORD - 1u); base < end; base += LINKS_PER_WORD) {
        // relaxed: nobody makes blocks live meanwhile; one that is freed now is purged next time.
        uint64_t lanes = lanes_equal(hh_load_relaxed(&words[base / LINKS_PER_WORD]), HHI_LINK_LIVE);
        // The lowest hit is a true one, and so it is when the hits below from are left out: where
        // there is one below, all links at from and above are looked at one by one.
        if (lanes & ~mask)
            while (from < end && from < base + LINKS_PER_WORD) {
                if (link_read(slab, from) == HHI_LINK_LIVE)
                    return from;
                from++;
            }
        else if (lanes != 0) {
            uint32_t found = base + (uint32_t)__builtin_ctzl(lanes) / 16;
            return found < end ? found : end;
        }
        mask = ~(uint64_t)0;
    }
    return end;
}

size_t
hhi_slab_purge_owned(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    size_t block_bytes = hh_load_relaxed(&slab->block_bytes), page_bytes = hhi_os_page_bytes();
    size_t purged_pages = 0, before = slab->look >> HHI_LOOK_BITS;
    for (uint32_t first = 0; first < slab->init; first++) {
        uint32_t live = next_live(slab, first, slab->init);
        if ((live - first) * block_bytes >= page_bytes)
            purged_pages += blocks_purge(slab, first, live) / page_bytes;
        first = live;
    }
    size_t noted = purged_pages < HHI_PURGED_MOST ? purged_pages : HHI_PURGED_MOST;
    slab->look = (uint8_t)(noted << HHI_LOOK_BITS | HHI_LOOK_DONE);
    return purged_pages > before ? (purged_pages - before) * page_bytes : 0;
}

void
hhi_slab_purge_within(struct hhi_slab *slab, struct hhi_purge_budget *budget)
{
    size_t purged_bytes = hhi_slab_purge_owned(slab);
    budget->bytes -= purged_bytes < budget->bytes ? purged_bytes : budget->bytes;
    budget->looks -= slab->init < budget->looks ? slab->init : budget->looks;
}

size_t
hhi_slab_purge_remote(struct hhi_slab *slab)
{
    // REMOTE blocks can not be taken before the token's holder, the caller, collects them (I4).
    // relaxed: fixed while carved.
    return stretches_purge(slab, hh_load_relaxed(&slab->block_count), link_is_remote);
}

bool
hhi_slab_is_remote(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    uint32_t count = hh_load_relaxed(&slab->block_count);
    for (uint32_t index = 0; index < count; index++)
        if (!link_is_remote(link_read_mark(slab, index)))
            return false;
    return true;
}

bool
hhi_slab_purge_all(struct hhi_slab *slab)
{
    // relaxed: fixed while carved.
    size_t size_bytes = (size_t)hh_load_relaxed(&slab->granules) << HHI_GRANULE_SHIFT;
    return hhi_os_purge((void *)hhi_slab_base(slab), size_bytes) == 0;
}

// Length of a list, checking that it holds free blocks only and ends.
static uint32_t
list_check(struct hhi_slab *slab, uint32_t head)
{
    uint32_t length = 0;
    while (head != HHI_LINK_END) {
        HH_CHECK(head < slab->init && length < slab->init);
        uint32_t link = link_read(slab, head);
        HH_CHECK(link != HHI_LINK_LIVE && link != HHI_LINK_REMOTE);
        head = link;
        length++;
    }
    return length;
}

void
hhi_slab_check_lists(struct hhi_slab *slab, const uint32_t *heads, unsigned head_count)
{
    uint32_t remote = 0, live = 0, listed = list_check(slab, slab->freed);
    // relaxed: fixed while carved.
    uint32_t count = hh_load_relaxed(&slab->block_count);
    for (uint32_t index = 0; index <= count; index++) {
        uint32_t link = link_read(slab, index);
        live += link == HHI_LINK_LIVE;
        remote += link == HHI_LINK_REMOTE;
        HH_CHECK(index < slab->init || (link != HHI_LINK_LIVE && link != HHI_LINK_REMOTE)); // I3
    }
    for (unsigned each = 0; each < head_count; each++)
        listed += list_check(slab, heads[each]);
    HH_CHECK(listed + live + remote == slab->init); // I2
}
