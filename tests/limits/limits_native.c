// SPDX-License-Identifier: MIT
// tests/limits/limits_native.c - a heap of the native interface under limits of the environment.
#include <hostheap/hostheap.h>

#include "limits/limits_work.h"

static hh_heap *heap;

static void *
take(size_t size_bytes)
{
    return hh_heap_alloc(heap, size_bytes);
}

static void *
zeroed(size_t size_bytes)
{
    return hh_heap_calloc(heap, 1, size_bytes);
}

static void *
resize(void *block, size_t size_bytes)
{
    void *moved;
    return hh_heap_realloc(heap, block, size_bytes, &moved) == HH_OK ? moved : NULL;
}

static int
give(void *block)
{
    return hh_heap_free(heap, block);
}

int
main(int count, char **arguments)
{
    static const struct limits_heap native = {take, zeroed, resize, give};
    if (hh_heap_create(NULL, &heap) != HH_OK)
        return 1;
    return limits_main(count, arguments, &native);
}
