// SPDX-License-Identifier: MIT
// install/consumer.c - a user's program against the installed tree. Built in several ways;
// EXPECT_MALLOC says whether this one's malloc must be hostheap.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hostheap/host_memory.h>
#include <hostheap/hostheap.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "consumer: %s does not hold\n", #condition);                           \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

int
main(void)
{
    char version[32];
    snprintf(version, sizeof(version), "%d.%d.%d", HOSTHEAP_VERSION_MAJOR, HOSTHEAP_VERSION_MINOR,
             HOSTHEAP_VERSION_PATCH);
    REQUIRE(strcmp(hh_version(), version) == 0);

    hh_heap *heap;
    REQUIRE(hh_heap_create(NULL, &heap) == HH_OK);
    char *block = hh_heap_alloc(heap, 100);
    REQUIRE(block != NULL);
    memset(block, 7, 100);
    REQUIRE(hh_heap_free(heap, block + 16) == HH_E_INVALID_BLOCK);
    REQUIRE(hh_heap_free(heap, block) == HH_OK);
    REQUIRE(hh_heap_destroy(heap) == HH_OK);

    IHostMemoryManager *manager;
    REQUIRE(hh_get_memory_manager(&manager) == S_OK);
    IHostMalloc *object;
    REQUIRE(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &object) == S_OK);
    void *memory;
    REQUIRE(object->lpVtbl->Alloc(object, 100, eTaskCritical, &memory) == S_OK);
    REQUIRE(object->lpVtbl->Free(object, memory) == S_OK);
    REQUIRE(object->lpVtbl->Free(object, memory) == HOST_E_INVALIDOPERATION);
    object->lpVtbl->Release(object);

    // volatile: the compiler must not fold the pair away.
    void *volatile from_malloc = malloc(100);
    hh_block_info info;
    REQUIRE(hh_owns(from_malloc, &info) == HH_OK);
    free(from_malloc);
    REQUIRE((info.heap != NULL) == EXPECT_MALLOC);
    REQUIRE(!EXPECT_MALLOC || info.heap == hh_heap_default());
    return 0;
}
