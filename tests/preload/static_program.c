// SPDX-License-Identifier: MIT
/* Linked with the drop-in as one object: all of it runs on this heap, without a loader. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hostheap/hostheap.h>

static int
is_block(const void *address)
{
    hh_block_info info;
    hh_owns(address, &info);
    return info.heap == hh_heap_default() && info.live && info.base == address;
}

static void *
thread_main(void *block)
{
    free(block);
    return malloc(100);
}

int
main(void)
{
    char *text = strdup("of libc");
    if (!is_block(text))
        return 1;
    pthread_t thread;
    void *left;
    if (pthread_create(&thread, NULL, thread_main, text) != 0 || pthread_join(thread, &left) != 0)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        free(left);
        free(malloc(1 << 20));
        exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0 || !is_block(left))
        return 3;
    free(left);
    return is_block(left) ? 4 : 0;
}
