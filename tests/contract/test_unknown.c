// SPDX-License-Identifier: MIT
// QueryInterface, AddRef, Release and identity of all our objects. Contract section 4.

#include "support/host.h"

#include <pthread.h>

// All three interfaces begin with the same three slots.
struct unknown_table {
    hh_hresult (*QueryInterface)(void *self, const hh_guid *riid, void **ppv);
    uint32_t (*AddRef)(void *self);
    uint32_t (*Release)(void *self);
};

struct unknown {
    const struct unknown_table *table;
};

enum { MANAGER, HEAP, CONTROL, OBJECTS };

static struct unknown *objects[OBJECTS];

static int
objects_make(void **state)
{
    (void)state;
    IHostControl *control;
    assert_int_equal(hh_get_host_control(&control), S_OK);
    objects[MANAGER] = (struct unknown *)test_manager();
    objects[HEAP] = (struct unknown *)test_heap(MALLOC_THREADSAFE);
    objects[CONTROL] = (struct unknown *)control;
    return 0;
}

static int
objects_end(void **state)
{
    (void)state;
    test_heap_end((IHostMalloc *)objects[HEAP]);
    objects[CONTROL]->table->Release(objects[CONTROL]);
    return 0;
}

static const hh_guid unknown_id = {1, 2, 3, {4, 5, 6, 7, 8, 9, 10, 11}};
// The misprint of the IDL's comment (contract section 15).
static const hh_guid control_misprint = {
    0x02CA073D, 0x7079, 0x4860, {0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91}};

struct query {
    const char *rule;
    int object;
    const hh_guid *riid;
    hh_hresult expected;
};

static const struct query queries[] = {
    {"COM-1", MANAGER, &IID_IUnknown, S_OK},
    {"COM-1", MANAGER, &IID_IHostMemoryManager, S_OK},
    {"COM-1", MANAGER, &IID_IHostMalloc, E_NOINTERFACE},
    {"COM-1", MANAGER, &IID_IHostControl, E_NOINTERFACE},
    {"COM-1", MANAGER, &IID_ICLRMemoryNotificationCallback, E_NOINTERFACE},
    {"COM-2", MANAGER, &unknown_id, E_NOINTERFACE},
    {"COM-2", MANAGER, NULL, E_INVALIDARG},
    {"COM-1", HEAP, &IID_IUnknown, S_OK},
    {"COM-1", HEAP, &IID_IHostMalloc, S_OK},
    {"COM-1", HEAP, &IID_IHostMemoryManager, E_NOINTERFACE},
    {"COM-1", HEAP, &IID_IHostControl, E_NOINTERFACE},
    {"COM-1", HEAP, &IID_ICLRMemoryNotificationCallback, E_NOINTERFACE},
    {"COM-2", HEAP, &unknown_id, E_NOINTERFACE},
    {"COM-2", HEAP, NULL, E_INVALIDARG},
    {"16.8", CONTROL, &IID_IUnknown, S_OK},
    {"16.8", CONTROL, &IID_IHostControl, S_OK},
    {"16.8", CONTROL, &IID_IHostMemoryManager, E_NOINTERFACE},
    {"16.8", CONTROL, &IID_IHostMalloc, E_NOINTERFACE},
    {"section 15", CONTROL, &control_misprint, E_NOINTERFACE},
    {"COM-2", CONTROL, NULL, E_INVALIDARG},
};

static uint32_t
count_of(struct unknown *object)
{
    object->table->AddRef(object);
    return object->table->Release(object);
}

static void
query_interface_answers_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        const struct query *row = &queries[i];
        struct unknown *object = objects[row->object];
        uint32_t before = count_of(object);
        void *result = &result;
        hh_hresult answer = object->table->QueryInterface(object, row->riid, &result);
        if (answer != row->expected)
            fail_msg("row %zu (%s): %#x", i, row->rule, (unsigned)answer);
        // COM-2: on success the count grows; on failure the result is NULL and it does not.
        // COM-3: the result is the one pointer of the object, whichever interface was asked for.
        assert_ptr_equal(result, answer == S_OK ? object : NULL);
        assert_int_equal(count_of(object), before + (answer == S_OK));
        if (answer == S_OK)
            assert_int_equal(object->table->Release(object), before);
    }
}

// COM-2, section 16.8: the out-pointer is looked at before riid.
static void
query_interface_without_out_pointer_is_e_pointer(void **state)
{
    (void)state;
    for (int i = 0; i < OBJECTS; i++) {
        struct unknown *object = objects[i];
        uint32_t before = count_of(object);
        assert_int_equal(object->table->QueryInterface(object, &IID_IUnknown, NULL), E_POINTER);
        assert_int_equal(object->table->QueryInterface(object, NULL, NULL), E_POINTER);
        assert_int_equal(object->table->QueryInterface(object, &unknown_id, NULL), E_POINTER);
        assert_int_equal(count_of(object), before);
    }
}

// COM-3: a copy of an id is as good as the id; the pointer may lie at any 4-byte boundary.
static void
query_interface_compares_ids_by_value(void **state)
{
    (void)state;
    struct {
        uint32_t shift;
        hh_guid id;
    } copy = {0, IID_IHostMalloc};
    struct unknown *heap = objects[HEAP];
    void *result;
    assert_int_equal(heap->table->QueryInterface(heap, &copy.id, &result), S_OK);
    heap->table->Release(heap);
    for (size_t byte = 0; byte < sizeof copy.id; byte++) {
        ((uint8_t *)&copy.id)[byte] ^= 1;
        assert_int_equal(heap->table->QueryInterface(heap, &copy.id, &result), E_NOINTERFACE);
        ((uint8_t *)&copy.id)[byte] ^= 1;
    }
}

// COM-4: both return the new count.
static void
add_ref_and_release_return_the_new_count(void **state)
{
    (void)state;
    IHostMalloc *heap = test_heap(0);
    assert_int_equal(heap->lpVtbl->AddRef(heap), 2);
    assert_int_equal(heap->lpVtbl->AddRef(heap), 3);
    assert_int_equal(heap->lpVtbl->Release(heap), 2);
    assert_int_equal(heap->lpVtbl->Release(heap), 1);
    assert_int_equal(heap->lpVtbl->Release(heap), 0);
}

enum { COUNT_THREADS = 4, COUNT_ROUNDS = 20000 };

static void *
count_up_and_down(void *argument)
{
    struct unknown *object = argument;
    for (int i = 0; i < COUNT_ROUNDS; i++) {
        object->table->AddRef(object);
        object->table->AddRef(object);
        object->table->Release(object);
    }
    for (int i = 0; i < COUNT_ROUNDS; i++)
        object->table->Release(object);
    return NULL;
}

// COM-4, GEN-6: counting is atomic.
static void
counts_of_many_threads_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < OBJECTS; i++) {
        uint32_t before = count_of(objects[i]);
        pthread_t threads[COUNT_THREADS];
        for (int t = 0; t < COUNT_THREADS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, count_up_and_down, objects[i]), 0);
        for (int t = 0; t < COUNT_THREADS; t++)
            pthread_join(threads[t], NULL);
        assert_int_equal(count_of(objects[i]), before);
    }
}

// COM-6, DECISION 3: the manager serves on after its last reference is gone.
static int
manager_released_to_nothing(void *argument)
{
    (void)argument;
    IHostMemoryManager *manager = test_manager();
    while (manager->lpVtbl->Release(manager) != 0)
        continue;
    if (manager->lpVtbl->Release(manager) != 0)
        return 1;
    IHostMalloc *heap;
    if (manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap) != S_OK)
        return 2;
    void *block;
    if (heap->lpVtbl->Alloc(heap, 64, eTaskCritical, &block) != S_OK)
        return 3;
    IHostMemoryManager *again;
    if (hh_get_memory_manager(&again) != S_OK || again != manager)
        return 4;
    return manager->lpVtbl->Release(manager) == 0 ? 0 : 5;
}

static void
the_manager_outlives_its_last_reference(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(manager_released_to_nothing, NULL), 0);
}

static void
the_manager_is_one_per_process_and_comes_with_a_reference(void **state)
{
    (void)state;
    struct unknown *manager = objects[MANAGER];
    uint32_t before = count_of(manager);
    IHostMemoryManager *again = NULL;
    assert_int_equal(hh_get_memory_manager(&again), S_OK);
    assert_ptr_equal(again, manager);
    assert_int_equal(count_of(manager), before + 1); // COM-4
    assert_int_equal(again->lpVtbl->Release(again), before);
    assert_int_equal(hh_get_memory_manager(NULL), E_POINTER);
    assert_int_equal(hh_get_host_control(NULL), E_POINTER);
}

struct door {
    const char *rule;
    const hh_guid *riid;
    hh_hresult expected;
};

static const struct door doors[] = {
    {"COM-7", &IID_IHostMemoryManager, S_OK},   {"COM-7", &IID_IUnknown, E_NOINTERFACE},
    {"COM-7", &IID_IHostMalloc, E_NOINTERFACE}, {"COM-7", &IID_IHostControl, E_NOINTERFACE},
    {"COM-7", &unknown_id, E_NOINTERFACE},      {"COM-7", NULL, E_INVALIDARG},
};

static void
get_host_manager_answers_the_table(void **state)
{
    (void)state;
    IHostControl *control = (IHostControl *)objects[CONTROL];
    for (size_t i = 0; i < COUNT_OF(doors); i++) {
        uint32_t before = count_of(objects[MANAGER]);
        void *result = &result;
        hh_hresult answer = control->lpVtbl->GetHostManager(control, doors[i].riid, &result);
        if (answer != doors[i].expected)
            fail_msg("row %zu (%s): %#x", i, doors[i].rule, (unsigned)answer);
        assert_ptr_equal(result, answer == S_OK ? objects[MANAGER] : NULL);
        assert_int_equal(count_of(objects[MANAGER]), before + (answer == S_OK));
        if (answer == S_OK)
            objects[MANAGER]->table->Release(objects[MANAGER]);
        // DECISION 4, section 16.8
        assert_int_equal(control->lpVtbl->GetHostManager(control, doors[i].riid, NULL), E_POINTER);
    }
}

static void
set_app_domain_manager_accepts_anything(void **state)
{
    (void)state;
    IHostControl *control = (IHostControl *)objects[CONTROL];
    assert_int_equal(control->lpVtbl->SetAppDomainManager(control, 1, NULL), S_OK); // COM-7
    assert_int_equal(control->lpVtbl->SetAppDomainManager(control, UINT32_MAX, (void *)1), S_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_interface_answers_the_table),
        cmocka_unit_test(query_interface_without_out_pointer_is_e_pointer),
        cmocka_unit_test(query_interface_compares_ids_by_value),
        cmocka_unit_test(add_ref_and_release_return_the_new_count),
        cmocka_unit_test(counts_of_many_threads_add_up),
        cmocka_unit_test(the_manager_outlives_its_last_reference),
        cmocka_unit_test(the_manager_is_one_per_process_and_comes_with_a_reference),
        cmocka_unit_test(get_host_manager_answers_the_table),
        cmocka_unit_test(set_app_domain_manager_accepts_anything),
    };
    return cmocka_run_group_tests(tests, objects_make, objects_end);
}
