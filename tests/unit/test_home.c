// SPDX-License-Identifier: MIT
// tests/unit/test_home.c - the thread that used a heap first finds its cache in the heap's key; others do not.
#include <string.h>

#include "base/atomic.h"
#include "heap/heap_fast.h"
#include "heap/thread_cache.h"
#include "host/host_malloc.h"
#include "region/run.h"
#include "support/core.h"

// Which thread is at home, as that thread sees it.
static void
expect_home(const struct hhi_heap_key *key, const struct hh_heap *heap)
{
    struct hhi_cache *cache = hhi_cache_find(hhi_self, heap);
    assert_non_null(cache);
    assert_ptr_equal(hh_load_relaxed(&key->home), hhi_self);
    assert_ptr_equal(hh_load_relaxed(&key->cache), cache);
    assert_ptr_equal(hh_load_relaxed(&key->bins), cache->bins);
    assert_int_equal(hh_load_relaxed(&key->small_bytes),
                     hhi_recent_of(hhi_self, &heap->key)->small_bytes);
}

static void
the_first_thread_is_at_home(void **state)
{
    (void)state;
    struct hh_heap *heap = core_heap();
    assert_null(hh_load_relaxed(&heap->key.home));
    void *block = core_alloc(heap, 40);
    expect_home(&heap->key, heap);
    assert_int_equal(hhi_heap_free(heap, block), 0);
    hhi_heap_destroy(heap);
    assert_null(hh_load_relaxed(&heap->key.home));
    hhi_run_check();
}

// The lists of a cache are made anew when a larger class is used, several times.
static void
home_follows_the_lists_of_its_cache(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 130, 200, 270, 500, 700, 1024, 5000, 16};
    struct hh_heap *heap = core_heap();
    void *blocks[COUNT_OF(sizes)], *bins = NULL;
    unsigned made = 0;
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        blocks[i] = core_alloc(heap, sizes[i]);
        core_fill(blocks[i], sizes[i], i);
        expect_home(&heap->key, heap);
        made += bins != hh_load_relaxed(&heap->key.bins);
        bins = hh_load_relaxed(&heap->key.bins);
    }
    assert_in_range(made, 4, 5);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        assert_true(core_holds(blocks[i], sizes[i], i));
        assert_int_equal(hhi_heap_free_fast(heap, blocks[i]), 0);
        assert_int_equal(hhi_heap_free_fast(heap, blocks[i]), HH_BAD_NOT_LIVE);
    }
    hhi_heap_destroy(heap);
}

struct visit {
    struct hh_heap *heap;
    struct hhi_thread *home;
    void *block;
};

static void
visitor(void *argument)
{
    struct visit *visit = argument;
    void *block = core_alloc(visit->heap, 40), *other = core_alloc(visit->heap, 2000);
    assert_ptr_not_equal(hhi_self, visit->home);
    assert_ptr_equal(hh_load_relaxed(&visit->heap->key.home), visit->home);
    assert_ptr_equal(hhi_cache_guess(visit->heap), hhi_cache_find(hhi_self, visit->heap));
    assert_ptr_not_equal(hhi_cache_guess(visit->heap), hh_load_relaxed(&visit->heap->key.cache));
    assert_int_equal(hhi_heap_free_fast(visit->heap, block), 0);
    assert_int_equal(hhi_heap_free_fast(visit->heap, other), 0);
    assert_int_equal(hhi_heap_free_fast(visit->heap, visit->block), 0);
    assert_int_equal(hhi_heap_free_fast(visit->heap, visit->block), HH_BAD_NOT_LIVE);
}

static void
other_threads_find_their_own_cache(void **state)
{
    (void)state;
    struct visit visit = {core_heap(), NULL, NULL};
    visit.block = core_alloc(visit.heap, 40);
    visit.home = hhi_self;
    core_in_thread(visitor, &visit);
    expect_home(&visit.heap->key, visit.heap);
    assert_int_equal(core_census(visit.heap), 0);
    hhi_heap_destroy(visit.heap);
}

static void
settler(void *argument)
{
    struct visit *visit = argument;
    if (visit->block == NULL) {
        visit->block = core_alloc(visit->heap, 40);
        visit->home = hhi_self;
        return;
    }
    // The record of the thread that ended is used again, with all that is in it.
    void *block = core_alloc(visit->heap, 40);
    assert_ptr_equal(hhi_self, visit->home);
    expect_home(&visit->heap->key, visit->heap);
    assert_int_equal(hhi_heap_free_fast(visit->heap, block), 0);
    assert_int_equal(hhi_heap_free_fast(visit->heap, visit->block), 0);
    assert_int_equal(hhi_heap_free_fast(visit->heap, visit->block), HH_BAD_NOT_LIVE);
}

static void
who_takes_over_the_record_is_at_home(void **state)
{
    (void)state;
    struct visit visit = {core_heap(), NULL, NULL};
    core_in_thread(settler, &visit);
    core_in_thread(settler, &visit);
    assert_int_equal(core_census(visit.heap), 0);
    hhi_heap_destroy(visit.heap);
}

// Ended heaps' records and caches are used again for other heaps.
static void
a_block_of_one_heap_is_refused_by_the_next_in_its_record(void **state)
{
    (void)state;
    struct hh_heap *old = core_heap();
    void *gone = core_alloc(old, 40);
    hhi_heap_destroy(old);
    struct hh_heap *heap = core_heap(), *another = core_heap();
    assert_ptr_equal(heap, old);
    assert_null(hh_load_relaxed(&heap->key.home));
    void *theirs = core_alloc(another, 40);
    assert_int_not_equal(hhi_heap_free_fast(heap, theirs), 0);
    void *block = core_alloc(heap, 40);
    expect_home(&heap->key, heap);
    expect_home(&another->key, another);
    assert_int_equal(hhi_heap_free_fast(heap, theirs), HH_BAD_OTHER_HEAP);
    assert_int_equal(hhi_heap_free_fast(another, block), HH_BAD_OTHER_HEAP);
    if (gone != block && gone != theirs)
        assert_int_not_equal(hhi_heap_free_fast(heap, gone), 0);
    assert_int_equal(hhi_heap_free_fast(another, theirs), 0);
    assert_int_equal(hhi_heap_free_fast(heap, block), 0);
    hhi_heap_destroy(another);
    hhi_heap_destroy(heap);
}

// ---- IHostMalloc's copy ----

static struct hhi_host_malloc *
object_make(void)
{
    IHostMemoryManager *manager = NULL;
    IHostMalloc *object = NULL;
    assert_int_equal(hh_get_memory_manager(&manager), S_OK);
    assert_int_equal(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &object), S_OK);
    manager->lpVtbl->Release(manager);
    return (struct hhi_host_malloc *)object;
}

static void *
object_alloc(struct hhi_host_malloc *object, size_t size_bytes)
{
    IHostMalloc *self = (IHostMalloc *)object;
    void *block = NULL;
    assert_int_equal(self->lpVtbl->Alloc(self, size_bytes, eTaskCritical, &block), S_OK);
    return block;
}

static void
an_object_has_a_copy_until_its_end(void **state)
{
    (void)state;
    struct hhi_host_malloc *object = object_make();
    IHostMalloc *self = (IHostMalloc *)object;
    assert_null(hh_load_relaxed(&object->key.home));
    void *kept = object_alloc(object, 40), *block = object_alloc(object, 900);
    expect_home(&object->key, object->heap);
    expect_home(&object->heap->key, object->heap);
    assert_int_equal(self->lpVtbl->Free(self, block), S_OK);
    assert_int_equal(self->lpVtbl->Free(self, block), HOST_E_INVALIDOPERATION);
    // With a live block: the heap stays, and nobody is at home there.
    struct hh_heap *heap = object->heap;
    assert_int_equal(self->lpVtbl->Release(self), 0);
    assert_null(hh_load_relaxed(&heap->key.home));
    assert_null(heap->face);
    assert_null(hh_load_relaxed(&object->key.home));
    assert_true(object->key.id == HHI_HEAP_ID_ENDED);
    // The next object in its place does not know the old one's block.
    struct hhi_host_malloc *next = object_make();
    assert_ptr_equal(next, object);
    block = object_alloc(next, 40);
    expect_home(&next->key, next->heap);
    self = (IHostMalloc *)next;
    assert_int_equal(self->lpVtbl->Free(self, kept), HOST_E_INVALIDOPERATION);
    assert_int_equal(self->lpVtbl->Free(self, block), S_OK);
    self->lpVtbl->Release(self);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_thread_is_at_home),
        cmocka_unit_test(home_follows_the_lists_of_its_cache),
        cmocka_unit_test(other_threads_find_their_own_cache),
        cmocka_unit_test(who_takes_over_the_record_is_at_home),
        cmocka_unit_test(a_block_of_one_heap_is_refused_by_the_next_in_its_record),
        cmocka_unit_test(an_object_has_a_copy_until_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
