// SPDX-License-Identifier: MIT
// tests/limits/limits_dropin.c - malloc of the drop-in under limits of the environment.
#include <stdlib.h>

#include "limits/limits_work.h"

static void *
zeroed(size_t size_bytes)
{
    return calloc(1, size_bytes);
}

static int
give(void *block)
{
    free(block); // a refused free ends the process
    return 0;
}

int
main(int count, char **arguments)
{
    static const struct limits_heap heap = {malloc, zeroed, realloc, give};
    return limits_main(count, arguments, &heap);
}
