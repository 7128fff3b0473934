// SPDX-License-Identifier: MIT
// workloads/start_child.c - the program that process-start starts: some blocks, then the end.
#include <stdlib.h>
#include <string.h>

int
main(void)
{
    void *blocks[100];
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = malloc(16 + i * 13);
        if (!blocks[i]) {
            return 1;
        }
        memset(blocks[i], 1, 16 + i * 13);
    }
    for (size_t i = 0; i < 100; i++) {
        free(blocks[i]);
    }
    return 0;
}
